//! Plain progress: BuildKit's `#5 [build 2/3] RUN make` lines, for logs and CI systems.
//!
//! Every line of a step's output carries a prefix, so that it cannot be a command to a CI system. No limit on output.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use cooper_engine::{Event, StepId, StepState};

use super::Fold;
use crate::human;
use crate::sanitise::{self, Lines};

/// The fold.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    colours: bool,
    steps: HashMap<StepId, Step>,
    /// Whose lines were printed last: a change leaves an empty line and repeats the name.
    current: Option<StepId>,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    started: Duration,
    streams: [Option<Lines>; 2],
    /// Last tenth that was printed of each thing with a size.
    tenths: HashMap<String, u64>,
}

impl Plain {
    /// Colours in the output of steps are kept or dropped.
    pub(crate) fn new(colours: bool) -> Self {
        Self { colours, ..Self::default() }
    }

    /// Prints a line that belongs to a step, under its name.
    fn line(&mut self, step: StepId, text: &str, out: &mut String) {
        self.head(step, out);
        let _ = writeln!(out, "#{} {text}", step.0);
    }

    fn head(&mut self, step: StepId, out: &mut String) {
        if self.current == Some(step) {
            return;
        }
        if self.current.replace(step).is_some() {
            out.push('\n');
        }
        let name = self.steps.get(&step).map_or("", |known| known.name.as_str());
        let _ = writeln!(out, "#{} {name}", step.0);
    }

    fn output(&mut self, now: Duration, step: StepId, stderr: bool, data: &[u8], out: &mut String) {
        let colours = self.colours;
        let known = self.steps.entry(step).or_default();
        let since = now.saturating_sub(known.started);
        let lines = known.streams[usize::from(stderr)].get_or_insert_with(|| Lines::new(colours)).push(data);
        for line in lines {
            self.line(step, &format!("{} {line}", clock(since)), out);
        }
    }

    fn flush(&mut self, now: Duration, step: StepId, out: &mut String) {
        let known = self.steps.entry(step).or_default();
        let since = now.saturating_sub(known.started);
        let rest: Vec<String> =
            known.streams.iter_mut().filter_map(Option::take).filter_map(|mut lines| lines.finish()).collect();
        for line in rest {
            self.line(step, &format!("{} {line}", clock(since)), out);
        }
    }

    fn progress(&mut self, step: StepId, what: &str, done: u64, total: Option<u64>, out: &mut String) {
        let tenth = match total {
            Some(total) => done.saturating_mul(10).checked_div(total).unwrap_or(10),
            None => done / (16 << 20),
        };
        let known = self.steps.entry(step).or_default();
        if known.tenths.insert(what.to_owned(), tenth) == Some(tenth) {
            return;
        }
        let total = total.map(|total| format!(" / {}", human::size(total))).unwrap_or_default();
        self.line(step, &format!("{} {}{total}", sanitise::line(what), human::size(done)), out);
    }

    fn finished(&mut self, step: StepId, state: &StepState, took: Duration, out: &mut String) {
        let text = match state {
            StepState::Cached => "CACHED".to_owned(),
            StepState::Done => format!("DONE {}", human::seconds(took)),
            StepState::Failed(why) => format!("ERROR: {}", sanitise::line(why)),
            StepState::Cancelled => "CANCELED".to_owned(),
        };
        self.line(step, &text, out);
    }
}

impl Fold for Plain {
    fn event(&mut self, now: Duration, event: Event, out: &mut String) {
        match event {
            Event::Planned { steps } => {
                for (id, name) in steps {
                    self.steps.entry(id).or_default().name = sanitise::line(&name);
                }
            }
            Event::Started { step, why } => {
                self.steps.entry(step).or_default().started = now;
                self.head(step, out);
                if let Some(why) = why {
                    self.line(step, &format!("not cached: {}", sanitise::line(&why)), out);
                }
            }
            Event::Output { step, stderr, data } => self.output(now, step, stderr, &data, out),
            Event::Progress { step, what, done, total } => self.progress(step, &what, done, total, out),
            Event::Finished { step, state, took } => {
                self.flush(now, step, out);
                self.finished(step, &state, took, out);
            }
            Event::Warning { message, diagnostic } => {
                if self.current.take().is_some() {
                    out.push('\n');
                }
                out.push_str(&super::warning(&message, diagnostic.as_ref()));
            }
        }
    }

    fn finish(&mut self, now: Duration, out: &mut String) {
        let mut open: Vec<StepId> = self.steps.keys().copied().collect();
        open.sort_unstable();
        open.into_iter().for_each(|step| self.flush(now, step, out));
    }
}

/// Seconds since the step's start in five characters, as BuildKit prints them.
fn clock(since: Duration) -> String {
    let seconds = since.as_secs_f64();
    let digits = if seconds < 9.9995 { 3 } else { if seconds < 99.995 { 2 } else { 1 } };
    format!("{seconds:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::super::script::{events, output, play};
    use super::*;

    #[test]
    fn a_build_as_lines() {
        insta::assert_snapshot!(play(&mut Plain::new(false), events()));
    }

    #[test]
    fn interleaved_steps_are_told_apart_and_every_line_is_prefixed() {
        let events = vec![(0, output(1, "a\n::set-output x\n")), (1, output(2, "b\n")), (2, output(1, "c\n"))];
        let text = play(&mut Plain::new(false), events);
        assert_eq!(text, "#1 \n#1 0.000 a\n#1 0.000 ::set-output x\n\n#2 \n#2 0.001 b\n\n#1 \n#1 0.002 c\n");
    }

    #[test]
    fn output_without_a_line_end_is_printed_when_the_build_ends() {
        let mut plain = Plain::new(false);
        let mut text = play(&mut plain, vec![(0, output(1, "partial"))]);
        assert_eq!(text, "");
        plain.finish(Duration::from_millis(5), &mut text);
        assert_eq!(text, "#1 \n#1 0.005 partial\n");
    }

    #[test]
    fn clock_has_five_characters() {
        for (ms, expect) in [(0, "0.000"), (120, "0.120"), (10_350, "10.35"), (123_400, "123.4")] {
            assert_eq!(clock(Duration::from_millis(ms)), expect);
        }
    }
}

//! The live display: running steps with their time and last lines, finished ones one line each while there is room.
//!
//! Draws below the cursor and takes everything back before it draws again, so that what stays on the screen is only
//! what was meant to: warnings, failed steps and one closing line. Knows nothing of the engine but its events.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cooper_engine::{Event, StepId, StepState};
use crossterm::cursor::{Hide, MoveToColumn, MoveUp, Show};
use crossterm::terminal::{Clear, ClearType};
use unicode_width::UnicodeWidthStr;

use super::Fold;
use crate::human;
use crate::sanitise::{self, Lines};

/// Lines of a running step's output that are shown, at most.
const OUTPUT_LINES: usize = 5;

/// The fold.
#[derive(Debug)]
pub(crate) struct Tty {
    colours: bool,
    /// Rows and columns of the terminal, asked for at every picture.
    size: fn() -> (u16, u16),
    steps: BTreeMap<StepId, Step>,
    /// Columns of each line of the last picture: after a resize they may take more rows than when they were drawn.
    drawn: Vec<usize>,
    hidden: bool,
}

#[derive(Debug)]
struct Step {
    name: String,
    phase: Phase,
    output: VecDeque<String>,
    streams: [Lines; 2],
    /// What is worked on: bytes done and in all.
    work: BTreeMap<String, (u64, Option<u64>)>,
}

#[derive(Debug, PartialEq)]
enum Phase {
    Waiting,
    Running { since: Duration, why: Option<String> },
    Ended { state: StepState, took: Duration },
}

impl Step {
    fn new(name: String) -> Self {
        let streams = [Lines::new(false), Lines::new(false)];
        Self { name, phase: Phase::Waiting, output: VecDeque::new(), streams, work: BTreeMap::new() }
    }
}

/// A line of a picture: text, and the colour it is drawn in.
#[derive(Debug)]
struct Row {
    text: String,
    colour: Option<&'static str>,
}

const CYAN: &str = "\u{1b}[36m";
const RED: &str = "\u{1b}[31m";
const FAINT: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

impl Tty {
    /// A display on the terminal.
    pub(crate) fn new(colours: bool) -> Self {
        Self::with_size(colours, crate::terminal::size)
    }

    fn with_size(colours: bool, size: fn() -> (u16, u16)) -> Self {
        Self { colours, size, steps: BTreeMap::new(), drawn: Vec::new(), hidden: false }
    }

    fn step(&mut self, id: StepId) -> &mut Step {
        self.steps.entry(id).or_insert_with(|| Step::new(format!("step {}", id.0)))
    }

    fn output(&mut self, id: StepId, stderr: bool, data: &[u8]) {
        let step = self.step(id);
        let lines = step.streams[usize::from(stderr)].push(data);
        step.output.extend(lines);
        while step.output.len() > OUTPUT_LINES {
            step.output.pop_front();
        }
    }

    /// What stays on the screen of a step that ended: nothing, unless it failed.
    fn ended(&mut self, now: Duration, id: StepId, state: StepState, took: Duration, out: &mut String) {
        if let StepState::Failed(why) = &state {
            let line = format!(" => ERROR {}: {}", self.step(id).name, sanitise::line(why));
            self.erase(out);
            self.row(&Row { text: line, colour: Some(RED) }, out);
        }
        self.step(id).phase = Phase::Ended { state, took };
        if matches!(self.step(id).phase, Phase::Ended { state: StepState::Failed(_), .. }) {
            self.draw(now, out);
        }
    }

    fn erase(&mut self, out: &mut String) {
        let columns = usize::from((self.size)().1).max(1);
        let rows: usize = self.drawn.drain(..).map(|width| width.div_ceil(columns).max(1)).sum();
        if rows > 0 {
            ansi(out, MoveToColumn(0));
            ansi(out, MoveUp(u16::try_from(rows).unwrap_or(u16::MAX)));
            ansi(out, Clear(ClearType::FromCursorDown));
        }
    }

    fn draw(&mut self, now: Duration, out: &mut String) {
        self.erase(out);
        if !self.hidden {
            self.hidden = true;
            ansi(out, Hide);
        }
        let (rows, columns) = (self.size)();
        // The last column stays free: some terminals wrap when it is written.
        let width = usize::from(columns).saturating_sub(1);
        for mut row in self.picture(now, usize::from(rows).saturating_sub(1), width) {
            row.text = human::fit(&row.text, width);
            self.drawn.push(row.text.width());
            self.row(&row, out);
        }
    }

    fn row(&self, row: &Row, out: &mut String) {
        match row.colour.filter(|_| self.colours) {
            Some(colour) => out.extend([colour, &row.text, RESET, "\n"]),
            None => out.extend([&row.text, "\n"]),
        }
    }

    /// The lines to show in a terminal of `height` rows: the head, then what fits of ended and running steps.
    fn picture(&self, now: Duration, height: usize, width: usize) -> Vec<Row> {
        let mut ended = Vec::new();
        let mut running = Vec::new();
        let room = height.saturating_sub(1);
        let output_lines = self.output_lines(room);
        for step in self.steps.values() {
            match &step.phase {
                Phase::Waiting => {}
                Phase::Running { since, why } => {
                    running.extend(running_rows(step, now.saturating_sub(*since), why.as_deref(), output_lines, width));
                }
                Phase::Ended { state, took } => ended.push(ended_row(step, state, *took, width)),
            }
        }
        running.truncate(room);
        let room = room - running.len();
        let skip = ended.len().saturating_sub(room);
        let mut picture = vec![Row { text: self.head(now), colour: None }];
        picture.extend(ended.into_iter().skip(skip));
        picture.extend(running);
        picture.truncate(height.max(1));
        picture
    }

    /// Lines of output each running step may show, so that all running steps have a line of their own.
    fn output_lines(&self, room: usize) -> usize {
        let running = self.steps.values().filter(|step| matches!(step.phase, Phase::Running { .. })).count();
        (room / running.max(1)).saturating_sub(1).min(OUTPUT_LINES)
    }

    fn head(&self, now: Duration) -> String {
        let count = |want: fn(&StepState) -> bool| {
            self.steps.values().filter(|step| matches!(&step.phase, Phase::Ended { state, .. } if want(state))).count()
        };
        let cached = count(|state| *state == StepState::Cached);
        let cached = if cached > 0 { format!(", {cached} cached") } else { String::new() };
        format!("[+] Building {} ({}/{}{cached})", human::seconds(now), count(|_| true), self.steps.len())
    }
}

impl Fold for Tty {
    fn event(&mut self, now: Duration, event: Event, out: &mut String) {
        match event {
            Event::Planned { steps } => {
                self.steps.extend(steps.into_iter().map(|(id, name)| (id, Step::new(sanitise::line(&name)))));
            }
            Event::Started { step, why } => self.step(step).phase = Phase::Running { since: now, why },
            Event::Output { step, stderr, data } => self.output(step, stderr, &data),
            Event::Progress { step, what, done, total } => {
                self.step(step).work.insert(sanitise::line(&what), (done, total));
            }
            Event::Finished { step, state, took } => self.ended(now, step, state, took, out),
            Event::Warning { message, diagnostic } => {
                self.erase(out);
                out.push_str(&super::warning(&message, diagnostic.as_ref()));
                self.draw(now, out);
            }
        }
    }

    fn tick(&mut self, now: Duration, out: &mut String) {
        self.draw(now, out);
    }

    fn finish(&mut self, now: Duration, out: &mut String) {
        self.erase(out);
        if !self.steps.is_empty() {
            let text = self.head(now);
            self.row(&Row { text, colour: None }, out);
        }
        if std::mem::take(&mut self.hidden) {
            ansi(out, Show);
        }
    }

    fn is_live(&self) -> bool {
        true
    }
}

fn running_rows(step: &Step, since: Duration, why: Option<&str>, output_lines: usize, width: usize) -> Vec<Row> {
    let mut rows = vec![Row { text: spread(&step.name, &human::seconds(since), width), colour: None }];
    let why = why.map(|why| format!("not cached: {}", sanitise::line(why)));
    let work = step.work.iter().filter(|(_, (done, total))| *total != Some(*done)).map(|(what, (done, total))| {
        let total = total.map(|total| format!(" / {}", human::size(total))).unwrap_or_default();
        format!("{what} {}{total}", human::size(*done))
    });
    let pending = step.streams.iter().filter_map(Lines::pending).map(str::to_owned);
    let output: Vec<String> = step.output.iter().cloned().chain(pending).collect();
    let last = output.len().saturating_sub(OUTPUT_LINES);
    let lines: Vec<String> = why.into_iter().chain(work).chain(output.into_iter().skip(last)).collect();
    let skip = lines.len().saturating_sub(output_lines);
    rows.extend(
        lines
            .into_iter()
            .skip(skip)
            .map(|line| Row { text: format!("    {}", line.replace('\t', "    ")), colour: Some(FAINT) }),
    );
    rows
}

fn ended_row(step: &Step, state: &StepState, took: Duration, width: usize) -> Row {
    let (mark, colour) = match state {
        StepState::Cached => ("CACHED".to_owned(), CYAN),
        StepState::Done => (human::seconds(took), CYAN),
        StepState::Failed(_) => ("ERROR".to_owned(), RED),
        StepState::Cancelled => ("CANCELED".to_owned(), FAINT),
    };
    Row { text: spread(&step.name, &mark, width), colour: Some(colour) }
}

/// A step's line: its name on the left, its time or state at the right edge.
fn spread(name: &str, mark: &str, width: usize) -> String {
    let room = width.saturating_sub(mark.width() + 5);
    let name = human::fit(name, room);
    let gap = room.saturating_sub(name.width()) + 1;
    format!(" => {name}{}{mark}", " ".repeat(gap))
}

fn ansi(out: &mut String, command: impl crossterm::Command) {
    let _ = command.write_ansi(out);
}

#[cfg(test)]
mod tests {
    use super::super::script::{events, output, play};
    use super::*;

    /// What the screen shows: control sequences spelled out, so that a snapshot can hold them.
    fn visible(text: &str) -> String {
        text.replace('\u{1b}', "ESC")
    }

    fn tty() -> Tty {
        Tty::with_size(false, || (10, 50))
    }

    #[test]
    fn a_running_build() {
        let mut tty = tty();
        let mut script = events();
        script.truncate(7);
        play(&mut tty, script);
        let mut out = String::new();
        tty.tick(Duration::from_millis(450), &mut out);
        insta::assert_snapshot!(visible(&out));
    }

    #[test]
    fn a_whole_build_leaves_warnings_failures_and_one_line() {
        let mut tty = tty();
        let mut out = play(&mut tty, events());
        tty.finish(Duration::from_millis(12_700), &mut out);
        insta::assert_snapshot!(visible(&out));
    }

    #[test]
    fn a_picture_fits_the_terminal_and_every_running_step_has_a_line() {
        for (rows, columns) in [(1, 1), (2, 10), (3, 20), (5, 50), (24, 80)] {
            let mut tty = Tty::with_size(false, || (10, 50));
            for id in 1..=4 {
                tty.event(
                    Duration::ZERO,
                    Event::Started { step: StepId(id), why: Some("because".into()) },
                    &mut String::new(),
                );
                play(&mut tty, vec![(0, output(id, "中文 long line of output that has to be cut somewhere\nx\ty\n"))]);
            }
            let picture = tty.picture(Duration::from_secs(1), rows, columns);
            assert!(picture.len() <= rows.max(1), "{rows}x{columns}: {picture:?}");
            let steps = picture.iter().filter(|row| row.text.starts_with(" => ")).count();
            assert!(steps >= 4.min(rows.saturating_sub(1)), "{rows}x{columns}: {picture:?}");
        }
    }

    #[test]
    fn a_narrower_terminal_takes_back_the_rows_that_wrapped() {
        let mut tty = Tty::with_size(false, || (10, 50));
        tty.drawn = vec![49, 49, 10];
        tty.size = || (10, 25);
        let mut out = String::new();
        tty.erase(&mut out);
        assert_eq!(visible(&out), "ESC[1GESC[5AESC[J");
    }

    #[test]
    fn hostile_output_draws_no_sequences() {
        let mut tty = tty();
        play(&mut tty, vec![(0, output(1, "\x1b[2J\x1b]0;t\x07\u{9b}5A\n"))]);
        tty.step(StepId(1)).phase = Phase::Running { since: Duration::ZERO, why: Some("\x1b[H".into()) };
        let picture = tty.picture(Duration::ZERO, 20, 80);
        assert!(picture.iter().all(|row| row.text.chars().all(|c| !c.is_control())), "{picture:?}");
    }
}

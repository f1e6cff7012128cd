//! What the user sees of a build while it runs: every way of showing it is a fold over the engine's events.
//!
//! Knows nothing of how events come about. Time is an argument of the folds, so that they can be tested.

mod plain;
mod rawjson;
mod tty;

use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cooper_engine::{Event, EventSink};

pub(crate) use plain::Plain;
pub(crate) use rawjson::RawJson;
pub(crate) use tty::Tty;

/// A way of showing a build: text to append to standard error.
pub(crate) trait Fold: Send + std::fmt::Debug {
    /// Takes an event, `now` after the beginning.
    fn event(&mut self, now: Duration, event: Event, out: &mut String);

    /// Time went on; called several times a second if [`Fold::is_live`].
    fn tick(&mut self, _now: Duration, _out: &mut String) {}

    /// Nothing more will come.
    fn finish(&mut self, _now: Duration, _out: &mut String) {}

    /// Wants ticks.
    fn is_live(&self) -> bool {
        false
    }
}

/// `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// One line for everything that happens.
    Plain,
    /// A live display of the steps that run.
    Tty,
    /// Only errors, and the image's digest on standard output.
    Quiet,
    /// Only errors.
    None,
    /// One JSON object a line for every event.
    Rawjson,
}

impl Mode {
    /// The fold, where it is known whether standard error is a terminal and whether colours are wanted.
    pub(crate) fn fold(self, terminal: bool, colours: bool) -> Option<Box<dyn Fold>> {
        match self {
            Self::Auto if terminal => Some(Box::new(Tty::new(colours))),
            Self::Tty => Some(Box::new(Tty::new(colours))),
            Self::Auto | Self::Plain => Some(Box::new(Plain::new(terminal && colours))),
            Self::Rawjson => Some(Box::new(RawJson)),
            Self::Quiet | Self::None => None,
        }
    }
}

/// Time between two pictures of the live display: ten a second are enough to read and cheap enough to ignore.
const TICK: Duration = Duration::from_millis(100);

/// A build's progress on standard error. An event sink for the engine.
#[derive(Debug)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
    ticker: Mutex<Option<(mpsc::Sender<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    fold: Mutex<Option<Box<dyn Fold>>>,
}

impl Progress {
    /// Starts to show events with `fold`; shows nothing without one.
    pub(crate) fn start(fold: Option<Box<dyn Fold>>) -> Self {
        let live = fold.as_ref().is_some_and(|fold| fold.is_live());
        let shared = Arc::new(Shared { began: Instant::now(), fold: Mutex::new(fold) });
        let ticker = live.then(|| start_ticker(Arc::clone(&shared))).flatten();
        Self { shared, ticker: Mutex::new(ticker) }
    }

    /// Ends the display; further events are dropped.
    pub(crate) fn finish(&self) {
        if let Some((stop, thread)) = lock(&self.ticker).take() {
            drop(stop);
            let _ = thread.join();
        }
        if let Some(mut fold) = lock(&self.shared.fold).take() {
            let mut out = String::new();
            fold.finish(self.shared.began.elapsed(), &mut out);
            write(&out);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl EventSink for Progress {
    fn event(&self, event: Event) {
        let now = self.shared.began.elapsed();
        self.shared.with_fold(|fold, out| fold.event(now, event, out));
    }
}

impl Shared {
    /// The text is written under the lock, so that two threads' texts do not mix.
    fn with_fold(&self, action: impl FnOnce(&mut dyn Fold, &mut String)) {
        if let Some(fold) = lock(&self.fold).as_mut() {
            let mut out = String::new();
            action(fold.as_mut(), &mut out);
            write(&out);
        }
    }
}

/// Without a thread for it the display moves with events only.
fn start_ticker(shared: Arc<Shared>) -> Option<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().spawn(move || {
        while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
            let now = shared.began.elapsed();
            shared.with_fold(|fold, out| fold.tick(now, out));
        }
    });
    thread.ok().map(|thread| (stop, thread))
}

/// A lost standard error must not stop a build.
fn write(text: &str) {
    if !text.is_empty() {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// A panic of one thread must not hide the progress of the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A warning as one or more safe lines.
fn warning(message: &str, diagnostic: Option<&cooper_dockerfile::Diagnostic>) -> String {
    let rule = diagnostic.map(|diagnostic| format!(" [{}]", diagnostic.rule)).unwrap_or_default();
    let mut out = format!("warning{rule}: {}\n", crate::sanitise::text(message.trim_end()).replace('\n', "\n    "));
    if let Some(hint) = diagnostic.and_then(|diagnostic| diagnostic.hint.as_ref()) {
        out.push_str(&format!("hint: {}\n", crate::sanitise::line(hint)));
    }
    out
}

#[cfg(test)]
mod script {
    //! A build as a list of events, for the snapshot tests of every fold.

    use std::time::Duration;

    use cooper_engine::{Event, StepId, StepState};

    pub(super) fn events() -> Vec<(u64, Event)> {
        let names = ["[base 1/1] FROM alpine", "[build 1/2] COPY . .", "[build 2/2] RUN make", "exporting"];
        let steps = names.iter().zip(1..).map(|(name, id)| (StepId(id), (*name).to_owned())).collect();
        vec![
            (0, Event::Planned { steps }),
            (5, Event::Finished { step: StepId(1), state: StepState::Cached, took: Duration::ZERO }),
            (10, Event::Started { step: StepId(2), why: None }),
            (120, Event::Finished { step: StepId(2), state: StepState::Done, took: Duration::from_millis(110) }),
            (130, Event::Started { step: StepId(3), why: Some("src/main.c changed".into()) }),
            (250, output(3, "cc -c main.c\ncc -c ")),
            (400, output(3, "\x1b[31mother.c\x1b[0m\n10%\r100%\n")),
            (500, Event::Warning { message: "a broken cache entry was dropped".into(), diagnostic: None }),
            (12_400, output(3, "no line end \u{202e}")),
            (12_500, Event::Finished { step: StepId(3), state: StepState::Done, took: Duration::from_millis(12_370) }),
            (12_510, Event::Started { step: StepId(4), why: None }),
            (12_520, Event::Progress { step: StepId(4), what: "sha256:0123".into(), done: 512, total: Some(2048) }),
            (12_530, Event::Progress { step: StepId(4), what: "sha256:0123".into(), done: 2048, total: Some(2048) }),
            (
                12_600,
                Event::Finished {
                    step: StepId(4),
                    state: StepState::Failed("disk full".into()),
                    took: Duration::from_millis(90),
                },
            ),
        ]
    }

    pub(super) fn output(step: u32, text: &str) -> Event {
        Event::Output { step: StepId(step), stderr: false, data: text.as_bytes().to_vec() }
    }

    pub(super) fn play(fold: &mut dyn super::Fold, events: Vec<(u64, Event)>) -> String {
        let mut out = String::new();
        for (ms, event) in events {
            fold.event(Duration::from_millis(ms), event, &mut out);
        }
        out
    }
}

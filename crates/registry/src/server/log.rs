//! The access log: one line a request. It is written by a thread of its own, so that whoever reads it slowly slows no
//! request down: lines that nobody takes are counted and lost. Knows no terminal; where lines go is the caller's affair.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Lines that wait for being written: a second or so of a busy server.
const WAITING_MAX: usize = 8192;
/// How long the last lines may take.
const FINISH_MAX: Duration = Duration::from_secs(1);
/// What is shown of a path: names and digests are shorter.
const PATH_MAX: usize = 1024;
/// Parts of a query that say what a request is about. The values of others are not shown: they may be anything.
const SHOWN: [&str; 8] = ["digest", "mount", "from", "n", "last", "artifactType", "ns", "service"];

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Words, for people.
    Plain,
    /// An object of JSON.
    Json,
}

/// A place for lines, opened again on request: a file that was moved away is begun anew.
pub type LogOpener = Box<dyn Fn() -> io::Result<Box<dyn Write + Send>> + Send>;

/// What is said of a request.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    pub(super) time: SystemTime,
    pub(super) address: IpAddr,
    pub(super) user: Option<&'a str>,
    pub(super) method: &'a str,
    /// As [`shown_path`] has it.
    pub(super) path: &'a str,
    pub(super) status: u16,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) took: Duration,
    pub(super) id: &'a str,
    /// Whether the answer was sent to its end.
    pub(super) whole: bool,
    /// What went wrong in here.
    pub(super) cause: Option<&'a str>,
}

impl Line<'_> {
    /// The line, without its end.
    pub(super) fn text(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Plain => self.plain(),
            LogFormat::Json => self.json(),
        }
    }

    fn time(&self) -> String {
        let time = OffsetDateTime::from(self.time);
        let time = time.replace_millisecond(time.millisecond()).unwrap_or(time);
        time.format(&Rfc3339).unwrap_or_default()
    }

    fn plain(&self) -> String {
        let user = self.user.map_or_else(|| "-".to_owned(), escape);
        let (method, path) = (escape(self.method), escape(self.path));
        let mut out = format!(
            "{} {} {user} \"{method} {path}\" {} {} {} {}ms {}",
            self.time(),
            self.address,
            self.status,
            self.received,
            self.sent,
            self.took.as_millis(),
            self.id
        );
        if !self.whole {
            out.push_str(" cut");
        }
        if let Some(cause) = self.cause {
            out.push_str(&format!(" \"{}\"", escape(cause)));
        }
        out
    }

    fn json(&self) -> String {
        let mut line = serde_json::json!({
            "time": self.time(),
            "address": self.address.to_string(),
            "user": self.user,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "received_bytes": self.received,
            "sent_bytes": self.sent,
            "duration_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "request_id": self.id,
        });
        if !self.whole {
            line["cut"] = true.into();
        }
        if let Some(cause) = self.cause {
            line["error"] = cause.into();
        }
        // JSON escapes what is below U+0020; the rest of what a terminal acts on is escaped here.
        line.to_string()
            .chars()
            .map(|c| if needs_escape(c) { format!("\\u{:04x}", c as u32) } else { c.into() })
            .collect()
    }
}

/// Characters that would break a line, or make a terminal show what is not there. They are all below U+10000.
fn needs_escape(c: char) -> bool {
    let invisible =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || invisible
}

/// Text between quotes, without any of its own.
fn escape(text: &str) -> String {
    let one = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if needs_escape(c) => format!("\\u{{{:x}}}", c as u32),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

/// A path and what of its query says what the request is about; never a secret that a client put where none belongs.
pub(super) fn shown_path(path: &str, query: Option<&str>) -> String {
    let mut out = path.to_owned();
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    for (index, pair) in pairs.enumerate() {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        out.push(if index == 0 { '?' } else { '&' });
        match SHOWN.contains(&key) {
            true => out.push_str(&format!("{key}={value}")),
            false => out.push_str("..."),
        }
    }
    match out.char_indices().nth(PATH_MAX) {
        Some((end, _)) => format!("{}...", out.get(..end).unwrap_or_default()),
        None => out,
    }
}

/// Where lines go.
#[derive(Clone)]
pub struct AccessLog {
    format: LogFormat,
    to: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.format).finish_non_exhaustive()
    }
}

enum Message {
    Line(String),
    Reopen,
    End(SyncSender<()>),
}

impl AccessLog {
    /// A log in what `open` opens; it is opened here for the first time.
    pub fn new(format: LogFormat, open: LogOpener) -> io::Result<Self> {
        let place = open()?;
        let (to, from) = sync_channel(WAITING_MAX);
        std::thread::Builder::new().name("access log".into()).spawn(move || write(from, place, &open))?;
        Ok(Self { format, to, lost: Arc::default() })
    }

    /// Writes a line, some time.
    pub(super) fn put(&self, line: &Line<'_>) {
        let mut text = line.text(self.format);
        text.push('\n');
        if self.to.try_send(Message::Line(text)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that nobody took.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Opens the place again.
    pub fn reopen(&self) {
        // When so many lines wait, whoever moved the file asks again.
        let _ = self.to.try_send(Message::Reopen);
    }

    /// Waits until all lines so far are written, for a second at most: whoever reads them may have stopped. Blocks.
    pub fn finish(&self) {
        let (done, finished) = sync_channel(1);
        if self.to.try_send(Message::End(done)).is_ok() {
            let _ = finished.recv_timeout(FINISH_MAX);
        }
    }
}

fn write(from: Receiver<Message>, mut place: Box<dyn Write + Send>, open: &LogOpener) {
    while let Ok(message) = from.recv() {
        match message {
            Message::Line(line) => {
                // A log that cannot be written stops no server: the next line may find room.
                let _ = place.write_all(line.as_bytes()).and_then(|()| place.flush());
            }
            Message::Reopen => {
                if let Ok(again) = open() {
                    place = again;
                }
            }
            Message::End(done) => {
                // First, so that a line put after the end counts as lost.
                drop(from);
                let _ = done.try_send(());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn line<'a>() -> Line<'a> {
        Line {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_123),
            address: Ipv4Addr::LOCALHOST.into(),
            user: Some("ann"),
            method: "GET",
            path: "/v2/a/manifests/1",
            status: 200,
            received: 0,
            sent: 1234,
            took: Duration::from_micros(12_345),
            id: "0af1",
            whole: true,
            cause: None,
        }
    }

    #[test]
    fn says_what_happened() {
        let plain = "2001-09-09T01:46:40.123Z 127.0.0.1 ann \"GET /v2/a/manifests/1\" 200 0 1234 12ms 0af1";
        assert_eq!(line().text(LogFormat::Plain), plain);
        let json: serde_json::Value = serde_json::from_str(&line().text(LogFormat::Json)).unwrap();
        let expect = serde_json::json!({
            "time": "2001-09-09T01:46:40.123Z", "address": "127.0.0.1", "user": "ann", "method": "GET",
            "path": "/v2/a/manifests/1", "status": 200, "received_bytes": 0, "sent_bytes": 1234, "duration_ms": 12,
            "request_id": "0af1",
        });
        assert_eq!(json, expect);
        let broken = Line { user: None, whole: false, cause: Some("disk \"full\""), ..line() };
        assert!(broken.text(LogFormat::Plain).contains(" - \"GET"));
        assert!(broken.text(LogFormat::Plain).ends_with(" 0af1 cut \"disk \\\"full\\\"\""));
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        let hostile = "a\nb\r\"\\\u{1b}[31m\u{202e}\u{2028}\u{9b}\u{0}é";
        let line = Line { user: Some(hostile), path: hostile, method: hostile, ..line() };
        for format in [LogFormat::Plain, LogFormat::Json] {
            let text = line.text(format);
            assert!(!text.chars().any(needs_escape), "{text:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&line.text(LogFormat::Json)).unwrap();
        assert_eq!(json["path"], hostile);
    }

    #[test]
    fn shows_no_secret_of_a_query() {
        for (query, expect) in [
            (None, "/p"),
            (Some(""), "/p"),
            (Some("digest=sha256:00&from=a/b"), "/p?digest=sha256:00&from=a/b"),
            (Some("password=canary&n=5&canary"), "/p?...&n=5&..."),
            (Some("account=canary&service=x"), "/p?...&service=x"),
        ] {
            assert_eq!(shown_path("/p", query), expect);
        }
        assert_eq!(shown_path(&"é".repeat(5000), None).chars().count(), PATH_MAX + 3);
    }

    #[test]
    fn writes_to_a_file_that_may_be_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let (file, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let path = file.clone();
        let open = move || {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
            Ok(Box::new(file) as Box<dyn Write + Send>)
        };
        let log = AccessLog::new(LogFormat::Plain, Box::new(open)).unwrap();
        log.put(&line());
        log.reopen();
        // What came before the file was moved is in the moved one, whenever it was written.
        std::fs::rename(&file, &moved).or_else(|_| std::fs::write(&moved, "")).unwrap();
        log.reopen();
        log.put(&line());
        log.finish();
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().last().unwrap(), line().text(LogFormat::Plain));
        assert_eq!(log.lost(), 0);
        log.put(&line());
        assert_eq!(log.lost(), 1, "nobody takes it");
    }
}

//! An HTTP server on loopback for a directory: honest, or with the fault a test asks for.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Each connection ends after this many bytes of a body, and ranges are answered.
    Breaks(usize),
    /// Likewise, and ranges are ignored: the whole comes again.
    BreaksWithoutRanges(usize),
    /// Every request is sent on to `/moved`.
    Redirects,
    /// Every request is sent round in a circle.
    Circles,
    /// More comes than the header says.
    Endless,
    /// Nothing but 503, this many times.
    Busy(usize),
}

/// The server; it lives as long as the process.
pub(crate) struct Server {
    pub(crate) uri: String,
    /// Request lines and ranges, in order.
    pub(crate) log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(dir: &Path, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let uri = format!("http://{}", listener.local_addr().expect("it is bound"));
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (dir, kept) = (dir.to_owned(), log.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that went away is no concern of ours.
                let _ = answer(stream, &dir, fault, &kept);
            }
        });
        Self { uri, log }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.log.lock().expect("no thread panics with it").clone()
    }
}

fn answer(mut stream: TcpStream, dir: &Path, fault: Fault, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("/").to_owned();
    let range =
        lines.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let start: usize = range.as_deref().and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
    let seen = {
        let mut log = log.lock().expect("no thread panics with it");
        log.push(format!("{path} {start}"));
        log.len()
    };
    let close = "Connection: close\r\n\r\n";
    match fault {
        Fault::Redirects if !path.starts_with("/moved") => {
            return write!(stream, "HTTP/1.1 302 Found\r\nLocation: /moved{path}\r\nContent-Length: 0\r\n{close}");
        }
        Fault::Circles => {
            return write!(stream, "HTTP/1.1 302 Found\r\nLocation: {path}\r\nContent-Length: 0\r\n{close}");
        }
        Fault::Busy(times) if seen <= times => {
            return write!(stream, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n{close}");
        }
        Fault::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\n{close}")?;
            loop {
                stream.write_all(&[b'x'; 65536])?;
            }
        }
        _ => {}
    }
    let file: PathBuf = dir.join(path.trim_start_matches("/moved").trim_start_matches('/'));
    let Ok(mut file) = std::fs::File::open(file) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{close}");
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.len();
    let start = if matches!(fault, Fault::BreaksWithoutRanges(_)) { 0 } else { start };
    let body = &bytes[start.min(whole)..];
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    let range =
        if start > 0 { format!("Content-Range: bytes {start}-{}/{whole}\r\n", whole - 1) } else { String::new() };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{range}{close}", body.len())?;
    let sent = match fault {
        // Without ranges each answer gets further than the one before.
        Fault::Breaks(after) => after,
        Fault::BreaksWithoutRanges(after) => after * seen,
        _ => body.len(),
    };
    stream.write_all(&body[..sent.min(body.len())])
}

//! `cooper serve` running beside a test, and requests to it as they are on the wire.
//!
//! Knows nothing of what is tested.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use cooper_oci::{Descriptor, Digest, Manifest, MediaType};

use crate::harness::{Cooper, Out};

/// No answer takes longer; one that does is a hang.
const LIMIT: Duration = Duration::from_secs(60);

/// A server; killed when dropped.
pub(crate) struct Serving {
    child: Option<Child>,
    pub(crate) address: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Serving {
    /// Starts a server on the world's store; returns once it listens.
    pub(crate) fn start(cooper: &Cooper, args: &[&str]) -> Self {
        let args = [&["serve", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = cooper.command(&args).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let place = line.trim().strip_prefix("serving ").and_then(|place| place.split_once("://"));
        let Some(address) = place.map(|(_, address)| address.to_owned()) else {
            panic!("{line}{}", cooper.wait(child).stderr);
        };
        Self { child: Some(child), address }
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        self.child.as_ref().map(rustix::process::Pid::from_child).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self, cooper: &Cooper) -> Out {
        self.signal(rustix::process::Signal::TERM);
        cooper.wait(self.child.take().unwrap())
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// `METHOD PATH`, headers after bars: `GET /v2/|Range: bytes=0-`.
    pub(crate) fn send(&self, head: &str, body: &[u8]) -> Answer {
        self.try_send(head, body).unwrap()
    }

    /// As [`Serving::send`], while the server may die.
    pub(crate) fn try_send(&self, head: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(wire(head, body.len()).as_bytes())?;
        stream.write_all(body)?;
        answer(&mut stream)
    }

    /// Pushes an image of one layer; the digest of its manifest, if all of it was acknowledged.
    pub(crate) fn push(&self, name: &str, tag: &str, layer: &[u8]) -> Option<Digest> {
        let config = b"{}";
        for blob in [layer, config] {
            let post = format!("POST /v2/{name}/blobs/uploads/?digest={}", Digest::of(blob));
            self.try_send(&post, blob).ok().filter(|answer| answer.status == 201)?;
        }
        let (config, layer) = (Descriptor::of(MediaType::CONFIG, config), Descriptor::of(MediaType::LAYER, layer));
        let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
        let put = format!("PUT /v2/{name}/manifests/{tag}|Content-Type: {}", MediaType::MANIFEST);
        self.try_send(&put, &manifest).ok().filter(|answer| answer.status == 201)?;
        Some(Digest::of(&manifest))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The head of a request with a body of this length.
pub(crate) fn wire(head: &str, length: usize) -> String {
    let (line, headers) = head.split_once('|').unwrap_or((head, ""));
    let headers: String =
        headers.split('|').filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n")
}

/// Reads an answer to the end of its connection. One that is cut short is an error.
pub(crate) fn answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    let cut = || std::io::Error::other("the answer was cut short");
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let found = Answer { status, body: raw[end + 4..].to_vec(), head };
    let length = found.header("content-length").and_then(|text| text.parse().ok());
    if length.is_some_and(|length: usize| length != found.body.len() && !found.body.is_empty()) {
        return Err(cut());
    }
    Ok(found)
}

//! Many pulls of one image at once, from one registry by plain HTTP: a load for measuring a server, so light that the server is
//! what is measured. Threads and sockets; bytes are counted and thrown away.
//!
//! Knows nothing of digests: it trusts what it is sent, and fails on anything but complete answers.
//!
//!     cargo run --release -p cooper-registry --example pulls -- 127.0.0.1:5000 team/app latest 200
#![expect(clippy::print_stdout, reason = "a program that measures and prints")]

use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Deserialize;

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// A server that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Threads only read: a small stack lets hundreds be.
const STACK_BYTES: usize = 256 * 1024;

#[derive(Deserialize)]
struct Manifest {
    config: Blob,
    layers: Vec<Blob>,
}

#[derive(Deserialize)]
struct Blob {
    digest: String,
    size: u64,
}

/// One keep-alive connection.
struct Connection {
    host: String,
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { host: host.to_owned(), stream: BufReader::new(stream), buffer: vec![0; 64 * 1024] })
    }

    /// Asks for `path`; the length of the body that follows.
    fn get(&mut self, path: &str) -> Result<u64> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {ACCEPT}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(Error::other(format!("{path}: {}", line.trim())));
        }
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                None => return length.ok_or_else(|| Error::other(format!("{path}: no length"))),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok()
                }
                Some(_) => {}
            }
        }
    }

    fn skip(&mut self, mut left: u64) -> Result<()> {
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.stream.read(&mut self.buffer[..want])?;
            if n == 0 {
                return Err(Error::other("the connection ended early"));
            }
            left -= n as u64;
        }
        Ok(())
    }
}

/// Pulls the image once; how many bytes came.
fn pull(host: &str, name: &str, tag: &str) -> Result<u64> {
    let mut connection = Connection::open(host)?;
    let length = connection.get(&format!("/v2/{name}/manifests/{tag}"))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(Error::other)?];
    connection.stream.read_exact(&mut bytes)?;
    let manifest: Manifest = serde_json::from_slice(&bytes)?;
    let mut total = length;
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        let length = connection.get(&format!("/v2/{name}/blobs/{}", blob.digest))?;
        if length != blob.size {
            return Err(Error::other(format!("{} has {length} bytes, not {}", blob.digest, blob.size)));
        }
        connection.skip(length)?;
        total += length;
    }
    Ok(total)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, name, tag, count] = &args[..] else {
        return Err(Error::other("usage: pulls HOST:PORT NAME TAG COUNT"));
    };
    let count: usize = count.parse().map_err(Error::other)?;
    let start = Instant::now();
    let pulls: Vec<(Result<u64>, Duration)> = std::thread::scope(|scope| {
        let one = || (pull(host, name, tag), start.elapsed());
        let builder = || std::thread::Builder::new().stack_size(STACK_BYTES);
        let threads: Result<Vec<_>> = (0..count).map(|_| builder().spawn_scoped(scope, one)).collect();
        let joined = threads?.into_iter().map(|thread| thread.join().map_err(|_| Error::other("a pull panicked")));
        joined.collect::<Result<_>>()
    })?;
    let took = start.elapsed().as_secs_f64();
    let mut times: Vec<f64> = pulls.iter().map(|(_, took)| took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let bytes = pulls.into_iter().map(|(pulled, _)| pulled).sum::<Result<u64>>()?;
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{{\"pulls\": {count}, \"bytes\": {bytes}, \"seconds\": {took:.3}, \"median\": {median:.3}}}");
    Ok(())
}

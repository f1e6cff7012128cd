//! A way to a registry that breaks: what is sent goes through until so many bytes of an upload's stream have passed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running cutter.
pub struct Cutter {
    pub addr: SocketAddr,
    streams: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the streams to come are cut, and the heads of those that came.
#[derive(Clone)]
struct Plan {
    cuts: Arc<Mutex<VecDeque<usize>>>,
    streams: Arc<Mutex<Vec<String>>>,
}

impl Cutter {
    /// Leads to `target`. The first PATCH is cut after `cuts[0]` bytes of its body, the second after `cuts[1]`, and so on.
    pub async fn start(target: SocketAddr, cuts: &[usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let addr = listener.local_addr().expect("an address");
        let plan = Plan { cuts: Arc::new(Mutex::new(cuts.iter().copied().collect())), streams: Arc::default() };
        let streams = plan.streams.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let plan = plan.clone();
                tokio::spawn(async move {
                    let server = TcpStream::connect(target).await.expect("the registry is there");
                    let (mut from, mut to) = server.into_split();
                    let (mut read, mut write) = client.into_split();
                    let back = tokio::spawn(async move { tokio::io::copy(&mut from, &mut write).await });
                    let _ = forward(&mut read, &mut to, &plan).await;
                    back.abort();
                });
            }
        });
        Self { addr, streams, task }
    }

    /// The heads of the PATCH requests that came, cut or not.
    pub fn streams(&self) -> Vec<String> {
        self.streams.lock().unwrap().clone()
    }
}

/// Passes on what a client sends, request by request: a client that waits for answers begins each in a read of its own.
async fn forward(
    read: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    plan: &Plan,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut left = usize::MAX;
    loop {
        let n = read.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let chunk = &buffer[..n];
        let is_request = [&b"GET "[..], b"HEAD ", b"POST ", b"PUT ", b"DELETE "].iter().any(|m| chunk.starts_with(m));
        let mut head = 0;
        if is_request {
            left = usize::MAX;
        } else if chunk.starts_with(b"PATCH ") {
            head = chunk.windows(4).position(|window| window == b"\r\n\r\n").expect("a head in one piece") + 4;
            plan.streams.lock().unwrap().push(String::from_utf8_lossy(&chunk[..head]).into_owned());
            left = plan.cuts.lock().unwrap().pop_front().unwrap_or(usize::MAX);
        }
        let pass = head + left.min(n - head);
        to.write_all(&chunk[..pass]).await?;
        if pass < n {
            return Ok(());
        }
        left = left.saturating_sub(n - head);
    }
}

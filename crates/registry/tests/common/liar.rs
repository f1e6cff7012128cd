//! A registry that lies by script: raw bytes on a socket, so that it can break HTTP as well. Remembers every byte it is
//! sent, for the tests that look for secrets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a liar does with one request.
#[derive(Clone, Debug)]
pub enum Lie {
    /// A complete answer: status, headers, body. The length is added.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// The head promises `length` bytes; these come, and the connection closes.
    Short { status: u16, headers: Vec<(String, String)>, length: usize, body: Vec<u8> },
    /// The head, then a byte at a time, with pauses, for ever.
    Drip { length: usize, pause: Duration },
    /// The head, then silence.
    Silence { length: usize },
    /// Says nothing, and stays.
    Mute,
    /// Closes without a word.
    Reset,
    /// Bytes that are no HTTP.
    Garbage(Vec<u8>),
    /// A body without length and without end.
    Endless,
}

/// A request: the first line and the headers.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub head: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Answers a request; the number counts requests for the same method and path, from 0.
pub type Script = Arc<dyn Fn(&Asked, usize) -> Lie + Send + Sync>;

/// A running liar.
pub struct Liar {
    pub addr: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    pub async fn start(script: impl Fn(&Asked, usize) -> Lie + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub async fn start_at(addr: &str, script: impl Fn(&Asked, usize) -> Lie + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a loopback port");
        let addr = listener.local_addr().expect("an address");
        let (received, asked) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<Vec<Asked>>>::default());
        let script: Script = Arc::new(script);
        let (bytes, requests) = (received.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), bytes.clone(), requests.clone()));
            }
        });
        Self { addr, received, asked, task }
    }

    /// Every byte that came.
    pub fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }

    /// The requests that came, without the probe of `/v2/`.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path != "/v2/").cloned().collect()
    }
}

async fn serve(mut stream: TcpStream, script: Script, received: Arc<Mutex<Vec<u8>>>, requests: Arc<Mutex<Vec<Asked>>>) {
    let Some(asked) = read(&mut stream, &received).await else { return };
    let before = {
        let mut requests = requests.lock().unwrap();
        let same = |other: &&Asked| (&other.method, &other.path) == (&asked.method, &asked.path);
        let before = requests.iter().filter(same).count();
        requests.push(asked.clone());
        before
    };
    let _ = lie(&mut stream, script(&asked, before)).await;
    let _ = stream.shutdown().await;
}

/// Reads head and body.
async fn read(stream: &mut TcpStream, received: &Mutex<Vec<u8>>) -> Option<Asked> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(at) = all.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        all.extend_from_slice(&buffer[..n]);
        received.lock().unwrap().extend_from_slice(&buffer[..n]);
    };
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut words = head.split(' ');
    let asked = Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), head: head.clone() };
    let length: usize = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while all.len() < end + length {
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        all.extend_from_slice(&buffer[..n]);
        received.lock().unwrap().extend_from_slice(&buffer[..n]);
    }
    Some(asked)
}

fn head(status: u16, headers: &[(String, String)], length: Option<usize>) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Because\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        text += &format!("Content-Length: {length}\r\n");
    }
    (text + "\r\n").into_bytes()
}

async fn lie(stream: &mut TcpStream, lie: Lie) -> std::io::Result<()> {
    match lie {
        Lie::Answer(status, headers, body) => {
            stream.write_all(&head(status, &headers, Some(body.len()))).await?;
            stream.write_all(&body).await
        }
        Lie::Short { status, headers, length, body } => {
            stream.write_all(&head(status, &headers, Some(length))).await?;
            stream.write_all(&body).await
        }
        Lie::Drip { length, pause } => {
            stream.write_all(&head(200, &[], Some(length))).await?;
            loop {
                stream.write_all(b"x").await?;
                tokio::time::sleep(pause).await;
            }
        }
        Lie::Silence { length } => {
            stream.write_all(&head(200, &[], Some(length))).await?;
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(())
        }
        Lie::Mute => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(())
        }
        Lie::Reset => stream.set_zero_linger(),
        Lie::Garbage(bytes) => stream.write_all(&bytes).await,
        Lie::Endless => {
            stream.write_all(&head(200, &[], None)).await?;
            loop {
                stream.write_all(&[b' '; 65_536]).await?;
            }
        }
    }
}

/// An answer with headers.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Lie {
    Lie::Answer(status, owned(headers), body.to_vec())
}

pub fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

//! A web server on loopback for one test: files with ETags, redirects, lies, and git repositories through git's own
//! `http-backend`. It notes what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Where Debian's git has the program that serves repositories.
const BACKEND: &str = "/usr/lib/git-core/git-http-backend";

/// What a path answers.
#[derive(Clone, Default)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Bytes that are promised beyond the body and never come.
    pub(crate) missing: usize,
    /// Send the body again even to who has it.
    pub(crate) stubborn: bool,
}

impl Page {
    /// A file with an ETag of its length and first byte.
    pub(crate) fn file(body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref().to_vec();
        let etag = format!("\"{}-{}\"", body.len(), body.first().copied().unwrap_or_default());
        Self { status: 200, headers: vec![("ETag", etag)], body, ..Self::default() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn redirect(to: impl Into<String>) -> Self {
        Self { status: 302, headers: vec![("Location", to.into())], ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[derive(Default)]
struct State {
    pages: HashMap<String, Page>,
    log: Vec<String>,
    /// What `Authorization` repositories want.
    login: Option<String>,
}

/// The server; it ends with the test's process.
pub(crate) struct Web {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Web {
    /// Serves pages, and below `/git/` the repositories of a directory.
    pub(crate) fn start(repositories: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, repositories) = (shared.clone(), repositories.clone());
                std::thread::spawn(move || serve(stream, &state, &repositories));
            }
        });
        Self { url, state }
    }

    /// Puts a page at a path.
    pub(crate) fn put(&self, path: &str, page: Page) {
        self.state.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    /// Repositories want this `Authorization`.
    pub(crate) fn want_login(&self, login: &str) {
        self.state.lock().unwrap().login = Some(login.to_owned());
    }

    /// What was asked since the last call, as `GET /path (header values that matter)`.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// An address on this server.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let size = headers.get("content-length").and_then(|size| size.parse().ok()).unwrap_or(0);
    let mut body = vec![0; size];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, repositories: &Path) {
    let Some(request) = read_request(&stream) else { return };
    let header = |name: &str| request.headers.get(name).cloned();
    let noted: Vec<String> =
        ["if-none-match", "if-modified-since", "authorization"].iter().filter_map(|n| header(n)).collect();
    let (page, login) = {
        let mut state = state.lock().unwrap();
        let path = request.path.split('?').next().unwrap_or_default();
        let noted = if noted.is_empty() { String::new() } else { format!(" ({})", noted.join(", ")) };
        state.log.push(format!("{} {path}{noted}", request.method));
        (state.pages.get(path).cloned(), state.login.clone())
    };
    let answer = match (page, request.path.strip_prefix("/git/")) {
        (Some(page), _) => page,
        (None, Some(_)) if login.is_some() && header("authorization") != login => {
            Page::status(401).header("WWW-Authenticate", "Basic realm=\"git\"")
        }
        (None, Some(rest)) => backend(&request, rest, repositories),
        _ => Page::status(404),
    };
    let etag = answer.headers.iter().find(|(name, _)| *name == "ETag").map(|(_, value)| value.clone());
    let date = answer.headers.iter().find(|(name, _)| *name == "Last-Modified").map(|(_, value)| value.clone());
    let same =
        etag.is_some() && header("if-none-match") == etag || date.is_some() && header("if-modified-since") == date;
    let (status, body) = if same && !answer.stubborn { (304, &[][..]) } else { (answer.status, &answer.body[..]) };
    let mut head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n");
    if status != 304 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len() + answer.missing));
    }
    answer.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
}

/// One request through git's program, which speaks CGI.
fn backend(request: &Request, path: &str, repositories: &Path) -> Page {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new(BACKEND)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GIT_PROJECT_ROOT", repositories)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{path}"))
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut stdin, body) = (child.stdin.take().unwrap(), request.body.clone());
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let out = child.wait_with_output().unwrap().stdout;
    feeding.join().unwrap();
    let end = out.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(out.len());
    let head = String::from_utf8_lossy(&out[..end]).into_owned();
    let mut page = Page { status: 200, body: out.get(end + 4..).unwrap_or_default().to_vec(), ..Page::default() };
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "Status" => page.status = value[..3].parse().unwrap(),
            "Content-Type" => page.headers.push(("Content-Type", value.to_owned())),
            _ => {}
        }
    }
    page
}

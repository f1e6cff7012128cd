//! An S3 bucket on loopback that checks every signature, by the letter of Amazon's "Signature Version 4" for query strings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use aws_lc_rs::{digest, hmac};

use crate::service::{Answer, Asked, Service};

pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-test-1";
const PATH: &str = "/cache/";

/// Objects by name.
type Objects = BTreeMap<String, Vec<u8>>;

/// What another builder does.
type Meanwhile = Box<dyn FnOnce(&mut Objects) + Send>;

/// What is in the bucket, and how it misbehaves.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: Objects,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Requests to be answered with 503 first.
    pub(crate) slow_down: usize,
    /// Downloads longer than this break here, once each.
    pub(crate) cut: Option<usize>,
    cuts: BTreeSet<String>,
    /// Conditions are not known (501).
    pub(crate) unconditional: bool,
    /// `Last-Modified` of everything.
    pub(crate) modified: Option<&'static str>,
    /// Runs once before a conditional write: another builder.
    pub(crate) meanwhile: Option<Meanwhile>,
    /// A write whose path has this text is told to the sender and never answered.
    pub(crate) stall: Option<(&'static str, Sender<()>)>,
    /// Signatures that were wrong, and why.
    pub(crate) wrong: Vec<String>,
}

pub(crate) struct Bucket {
    pub(crate) service: Service,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Bucket {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let service = Service::start(move |asked| {
            let stalls = shared.lock().unwrap().stall.clone();
            if let Some((_, told)) = stalls.filter(|(text, _)| asked.method == "PUT" && asked.path.contains(text)) {
                told.send(()).unwrap();
                loop {
                    std::thread::park();
                }
            }
            let mut state = shared.lock().unwrap();
            if let Err(why) = check(asked) {
                state.wrong.push(format!("{} {}: {why}", asked.method, asked.path));
                return error(403, "SignatureDoesNotMatch");
            }
            if state.slow_down > 0 {
                state.slow_down -= 1;
                return error(503, "SlowDown");
            }
            answer(asked, &mut state)
        });
        Self { service, state }
    }

    /// The options of a cache in it.
    pub(crate) fn options(&self, more: &str) -> String {
        let url = &self.service.url;
        format!(
            "type=s3,bucket=cache,region={REGION},endpoint_url={url},use_path_style=true,access_key_id={KEY},secret_access_key={SECRET}{more}"
        )
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    #[track_caller]
    pub(crate) fn all_signatures_were_right(&self) {
        assert_eq!(self.state.lock().unwrap().wrong, [""; 0]);
    }
}

fn error(status: u16, code: &str) -> Answer {
    Answer { status, body: format!("<Error><Code>{code}</Code></Error>").into(), ..Answer::default() }
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex(digest::digest(&digest::SHA256, bytes).as_ref()))
}

fn answer(asked: &Asked, state: &mut State) -> Answer {
    let (path, query) = asked.split();
    let Some(name) = path.strip_prefix(PATH) else { return error(404, "NoSuchBucket") };
    let (name, query) = (unescape(name), pairs(query));
    match asked.method.as_str() {
        "GET" | "HEAD" => read(asked, &name, state),
        "PUT" if query.contains_key("uploadId") => {
            let number = query["partNumber"].parse().unwrap();
            state.uploads.entry(query["uploadId"].clone()).or_default().insert(number, asked.body.clone());
            Answer::status(200).header("ETag", etag(&asked.body))
        }
        "PUT" => write(asked, name, state),
        "POST" if query.contains_key("uploads") => {
            let id = format!("upload-{}", state.uploads.len());
            state.uploads.insert(id.clone(), BTreeMap::new());
            Answer::body(format!(
                "<?xml version=\"1.0\"?><InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>cache</Bucket><Key>{name}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        "POST" => {
            let parts = state.uploads.remove(&query["uploadId"]).unwrap_or_default();
            let list = String::from_utf8_lossy(&asked.body).into_owned();
            if !parts.values().all(|part| list.contains(&etag(part).replace('"', ""))) {
                return error(400, "InvalidPart");
            }
            state.objects.insert(name, parts.into_values().flatten().collect());
            Answer::body("<CompleteMultipartUploadResult/>")
        }
        "DELETE" => {
            state.uploads.remove(query.get("uploadId").map_or("", String::as_str));
            Answer::status(204)
        }
        _ => error(405, "MethodNotAllowed"),
    }
}

fn read(asked: &Asked, name: &str, state: &mut State) -> Answer {
    let Some(bytes) = state.objects.get(name).cloned() else { return error(404, "NoSuchKey") };
    let tag = etag(&bytes);
    let all = bytes.len();
    let from = asked.header("range").strip_prefix("bytes=").and_then(|range| range.trim_end_matches('-').parse().ok());
    let mut answer = match from {
        None => Answer::body(bytes),
        Some(from) => {
            let range = format!("bytes {from}-{}/{all}", all - 1);
            Answer { status: 206, ..Answer::body(&bytes[from..]).header("Content-Range", range) }
        }
    };
    if asked.method == "HEAD" {
        (answer.length, answer.body) = (Some(all), Vec::new());
    } else if state.cut.is_some_and(|cut| cut < answer.body.len()) && state.cuts.insert(name.to_owned()) {
        answer.cut = state.cut;
    }
    let modified = state.modified.unwrap_or("Fri, 01 Jan 2100 00:00:00 GMT");
    answer.header("ETag", tag).header("Last-Modified", modified)
}

fn write(asked: &Asked, name: String, state: &mut State) -> Answer {
    let (if_match, if_none) = (asked.header("if-match"), asked.header("if-none-match"));
    if !if_match.is_empty() || !if_none.is_empty() {
        if state.unconditional {
            return error(501, "NotImplemented");
        }
        if let Some(meanwhile) = state.meanwhile.take() {
            meanwhile(&mut state.objects);
        }
        let there = state.objects.get(&name).map(|bytes| etag(bytes));
        let fits = if if_none == "*" { there.is_none() } else { there.as_deref() == Some(if_match) };
        if !fits {
            return error(412, "PreconditionFailed");
        }
    }
    let source = asked.header("x-amz-copy-source");
    let bytes = match source.strip_prefix(PATH) {
        None => asked.body.clone(),
        Some(from) => match state.objects.get(&unescape(from)) {
            Some(bytes) => bytes.clone(),
            None => return error(404, "NoSuchKey"),
        },
    };
    let tag = etag(&bytes);
    state.objects.insert(name, bytes);
    Answer::status(200).header("ETag", tag)
}

/// Recomputes the signature of a request and compares.
fn check(asked: &Asked) -> Result<(), String> {
    let (path, query) = asked.split();
    let pairs = pairs(query);
    let of = |name: &str| pairs.get(name).cloned().ok_or_else(|| format!("no {name}"));
    let (date, signed) = (of("X-Amz-Date")?, of("X-Amz-SignedHeaders")?);
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    if of("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" || of("X-Amz-Credential")? != format!("{KEY}/{scope}") {
        return Err("another algorithm or credential".into());
    }
    let mut rest: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-Signature=")).collect();
    rest.sort_unstable();
    let rest = rest.iter().map(|pair| if pair.contains('=') { (*pair).to_owned() } else { format!("{pair}=") });
    let headers: String = signed.split(';').map(|name| format!("{name}:{}\n", asked.header(name))).collect();
    // What would change the meaning of a request must be signed.
    for name in ["if-match", "if-none-match", "x-amz-copy-source", "x-amz-metadata-directive", "range"] {
        if asked.headers.contains_key(name) && !signed.split(';').any(|signed| signed == name) {
            return Err(format!("{name} is not signed"));
        }
    }
    let canonical = format!(
        "{}\n{path}\n{}\n{headers}\n{signed}\nUNSIGNED-PAYLOAD",
        asked.method,
        rest.collect::<Vec<_>>().join("&")
    );
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let key = [day, REGION, "s3", "aws4_request"]
        .iter()
        .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| sign(&key, part).as_ref().to_vec());
    match hex(sign(&key, &text).as_ref()) == of("X-Amz-Signature")? {
        true => Ok(()),
        false => Err(format!("wrong signature over {canonical:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(name), unescape(value))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

pub(crate) fn unescape(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
        match byte {
            b'%' => out.push((digit(bytes.next()).unwrap() * 16 + digit(bytes.next()).unwrap()) as u8),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap()
}

//! GitHub's cache service on loopback, in both of its versions, with the storage of blobs that it leads to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::bucket::unescape;
use crate::service::{Answer, Asked, Service};

pub(crate) const TOKEN: &str = "runner-token";
const TWIRP: &str = "/twirp/github.actions.results.api.v1.CacheService/";
const V1: &str = "/_apis/artifactcache/";

/// The entries, and how the service misbehaves.
#[derive(Default)]
pub(crate) struct State {
    /// Finished entries: key and content, the oldest first.
    pub(crate) entries: Vec<(String, Vec<u8>)>,
    /// Reserved ones, by number.
    open: BTreeMap<u64, Upload>,
    next: u64,
    /// Requests to be refused with 429 first.
    pub(crate) too_many: usize,
    /// What was wrong with requests.
    pub(crate) wrong: Vec<String>,
}

/// What came for a key so far.
#[derive(Default)]
struct Upload {
    key: String,
    bytes: Vec<u8>,
    blocks: BTreeMap<String, Vec<u8>>,
}

impl State {
    /// Takes a key; what its number is, if nobody has it.
    fn reserve(&mut self, key: &str) -> Option<u64> {
        let mut taken = self.entries.iter().map(|(key, _)| key).chain(self.open.values().map(|upload| &upload.key));
        if taken.any(|taken| taken == key) {
            return None;
        }
        self.next += 1;
        self.open.insert(self.next, Upload { key: key.to_owned(), ..Upload::default() });
        Some(self.next)
    }

    /// Makes what came an entry, if it is as long as it should be.
    fn finish(&mut self, id: u64, size: u64) -> bool {
        let Some(Upload { key, bytes, .. }) = self.open.remove(&id) else { return false };
        let right = bytes.len() as u64 == size;
        if right {
            self.entries.push((key, bytes));
        }
        right
    }

    /// The latest whose key begins so.
    fn find(&self, prefix: &str) -> Option<(usize, &str)> {
        let latest = self.entries.iter().enumerate().rev().find(|(_, (key, _))| key.starts_with(prefix));
        latest.map(|(index, (key, _))| (index, key.as_str()))
    }

    /// Somebody who reserves and dies.
    pub(crate) fn abandon(&mut self, key: &str) {
        self.reserve(key);
    }
}

pub(crate) struct Runner {
    pub(crate) service: Service,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Runner {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, url) = (state.clone(), Arc::new(Mutex::new(String::new())));
        let own = url.clone();
        let service = Service::start(move |asked| {
            let mut state = shared.lock().unwrap();
            if state.too_many > 0 {
                state.too_many -= 1;
                return Answer::status(429).header("Retry-After", "0");
            }
            let is_blob = asked.path.starts_with("/blob");
            if !is_blob && asked.header("authorization") != format!("Bearer {TOKEN}") {
                return Answer::status(401);
            }
            if is_blob && asked.headers.contains_key("authorization") {
                state.wrong.push("the token was shown to the storage".into());
            }
            answer(asked, &mut state, &own.lock().unwrap())
        });
        *url.lock().unwrap() = service.url.clone();
        Self { service, state }
    }

    pub(crate) fn options(&self, version: u8, more: &str) -> String {
        let key = if version == 2 { "url_v2" } else { "url" };
        format!("type=gha,version={version},{key}={},token={TOKEN},scope=test{more}", self.service.url)
    }

    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.entries.iter().map(|(key, _)| key.clone()).filter(|key| key.starts_with(prefix)).collect()
    }

    #[track_caller]
    pub(crate) fn nothing_was_wrong(&self) {
        assert_eq!(self.state.lock().unwrap().wrong, [""; 0]);
    }
}

fn json_answer(value: &Value) -> Answer {
    Answer::body(value.to_string()).header("Content-Type", "application/json")
}

fn answer(asked: &Asked, state: &mut State, url: &str) -> Answer {
    let (path, query) = asked.split();
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    if let Some(method) = path.strip_prefix(TWIRP) {
        return twirp(method, &body, state, url);
    }
    if let Some(rest) = path.strip_prefix(V1) {
        return first_version(asked, rest, query, &body, state, url);
    }
    if let Some(id) = path.strip_prefix("/blob-up/") {
        return put_blob(asked, id.parse().unwrap(), query, state);
    }
    match path.strip_prefix("/blob-down/").and_then(|id| state.entries.get(id.parse::<usize>().ok()?)) {
        Some((_, bytes)) => Answer::body(bytes.clone()),
        None => Answer::status(404),
    }
}

fn twirp(method: &str, body: &Value, state: &mut State, url: &str) -> Answer {
    let key = body["key"].as_str().unwrap_or_default();
    if body["version"].as_str().is_none_or(str::is_empty) {
        state.wrong.push(format!("{method} without a version"));
    }
    match method {
        "CreateCacheEntry" => match state.reserve(key) {
            Some(id) => json_answer(&json!({"ok": true, "signed_upload_url": format!("{url}/blob-up/{id}?sig=s")})),
            None => Answer {
                status: 409,
                ..json_answer(&json!({"code": "already_exists", "msg": "cache entry already exists"}))
            },
        },
        "FinalizeCacheEntryUpload" => {
            let id = state.open.iter().find(|(_, upload)| upload.key == key).map_or(0, |(id, _)| *id);
            let ok = state.finish(id, body["size_bytes"].as_u64().unwrap());
            json_answer(&json!({"ok": ok, "entry_id": "1"}))
        }
        "GetCacheEntryDownloadURL" => match state.find(key) {
            Some((index, found)) => {
                let down = format!("{url}/blob-down/{index}?sig=s");
                json_answer(&json!({"ok": true, "signed_download_url": down, "matched_key": found}))
            }
            None => json_answer(&json!({"ok": false})),
        },
        _ => Answer::status(404),
    }
}

fn put_blob(asked: &Asked, id: u64, query: &str, state: &mut State) -> Answer {
    if asked.header("x-ms-blob-type") != "BlockBlob" && !query.contains("comp=") {
        state.wrong.push("a blob without a type".into());
    }
    let Some(Upload { bytes, blocks, .. }) = state.open.get_mut(&id) else { return Answer::status(404) };
    let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).map(unescape);
    match of("comp=").as_deref() {
        None => bytes.clone_from(&asked.body),
        Some("block") => drop(blocks.insert(of("blockid=").unwrap(), asked.body.clone())),
        Some(_) => {
            let list = String::from_utf8(asked.body.clone()).unwrap();
            let ids = list.split("<Latest>").skip(1).filter_map(|rest| rest.split_once("</Latest>"));
            *bytes = ids.flat_map(|(id, _)| blocks[id].clone()).collect();
        }
    }
    Answer::status(201)
}

fn first_version(asked: &Asked, path: &str, query: &str, body: &Value, state: &mut State, url: &str) -> Answer {
    match (asked.method.as_str(), path) {
        ("GET", "cache") => {
            let key = query.split('&').find_map(|pair| pair.strip_prefix("keys=")).map(unescape).unwrap_or_default();
            match state.find(&key) {
                Some((index, found)) => json_answer(
                    &json!({"cacheKey": found, "scope": "s", "archiveLocation": format!("{url}/blob-down/{index}")}),
                ),
                None => Answer::status(204),
            }
        }
        ("POST", "caches") => match state.reserve(body["key"].as_str().unwrap()) {
            Some(id) => Answer { status: 201, ..json_answer(&json!({"cacheId": id})) },
            None => Answer {
                status: 409,
                ..json_answer(
                    &json!({"typeKey": "ArtifactCacheItemAlreadyExistsException", "message": "Cache already exists"}),
                )
            },
        },
        (method, path) => {
            let id: u64 = path.strip_prefix("caches/").and_then(|id| id.parse().ok()).unwrap_or(0);
            if method == "POST" {
                let ok = state.finish(id, body["size"].as_u64().unwrap());
                return Answer::status(if ok { 204 } else { 400 });
            }
            let Some(Upload { bytes, .. }) = state.open.get_mut(&id) else { return Answer::status(404) };
            let range = asked.header("content-range").strip_prefix("bytes ").and_then(|range| range.split_once('-'));
            let start: usize = range.map_or(0, |(start, _)| start.parse().unwrap());
            bytes.resize(bytes.len().max(start + asked.body.len()), 0);
            bytes[start..start + asked.body.len()].copy_from_slice(&asked.body);
            Answer::status(204)
        }
    }
}

//! Cases as text files: their unpacking, a base image for them, and what an image holds as text.
//!
//! `parity.py` writes the same text from BuildKit's images; both are to change together.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use cooper_oci::{Digest, Entry, EntryKind, TarReader, decompress};
use serde_json::Value;

/// A statically linked shell, from Debian's busybox-static.
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Why nothing can be built here; `None` if it can.
pub(crate) fn obstacle() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("skipped: needs root");
    }
    (!Path::new(BUSYBOX).is_file()).then_some("skipped: needs a static busybox in /bin")
}

/// The command with nothing of this environment but a store.
pub(crate) fn cooper(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("COOPER_ROOT", store).stdin(Stdio::null());
    command
}

/// What a case says besides the files of its context.
#[derive(Debug, Default)]
pub(crate) struct Case {
    /// Options of the command line, name and value.
    pub(crate) options: Vec<(String, String)>,
    /// It says why the result is not BuildKit's.
    pub(crate) differs: bool,
}

/// Writes the context of a case into `into`.
pub(crate) fn unpack(text: &str, into: &Path) -> Case {
    let mut case = Case::default();
    for (header, content) in sections(text) {
        let mut words = header.split(' ');
        let name = words.next().unwrap();
        match name {
            "options" => {
                let pair = |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
                case.options = content.lines().map(|line| pair(line).unwrap()).collect();
            }
            "differs" => case.differs = true,
            name => write(into, name, &words.collect::<Vec<_>>(), &content),
        }
    }
    case
}

/// Headers are lines `--- path attribute.. ---`.
fn sections(text: &str) -> Vec<(&str, String)> {
    let mut out: Vec<(&str, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let header = line.trim_end_matches('\n').strip_prefix("--- ").and_then(|rest| rest.strip_suffix(" ---"));
        match (header, out.last_mut()) {
            (Some(header), _) => out.push((header, String::new())),
            (None, Some((_, content))) => content.push_str(line),
            (None, None) => {}
        }
    }
    out
}

fn write(into: &Path, name: &str, attributes: &[&str], content: &str) {
    let attribute = |key: &str| attributes.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let path = into.join(name.trim_end_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if let Some(target) = attribute("link") {
        return symlink(target, path).unwrap();
    }
    if let Some(other) = attribute("hard") {
        return fs::hard_link(into.join(other), path).unwrap();
    }
    if name.ends_with('/') {
        fs::create_dir_all(&path).unwrap();
    } else if attributes.contains(&"base64") {
        let lines: String = content.split_whitespace().collect();
        fs::write(&path, base64::engine::general_purpose::STANDARD.decode(lines).unwrap()).unwrap();
    } else if attributes.contains(&"bare") {
        fs::write(&path, content.strip_suffix('\n').unwrap()).unwrap();
    } else {
        fs::write(&path, content).unwrap();
    }
    let mode = attribute("mode").unwrap_or(if name.ends_with('/') { "755" } else { "644" });
    fs::set_permissions(&path, fs::Permissions::from_mode(u32::from_str_radix(mode, 8).unwrap())).unwrap();
}

/// An image in an OCI layout.
#[derive(Debug)]
pub(crate) struct Image {
    layout: PathBuf,
    manifest: Value,
    config: Value,
}

impl Image {
    /// The only image of a layout.
    pub(crate) fn open(layout: &Path) -> Self {
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let mut image = Self { layout: layout.to_owned(), manifest: Value::Null, config: Value::Null };
        image.manifest = image.document(&index["manifests"][0]["digest"]);
        image.config = image.document(&image.manifest["config"]["digest"]);
        image
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        self.layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/"))
    }

    fn document(&self, digest: &Value) -> Value {
        serde_json::from_slice(&fs::read(self.blob(digest)).unwrap()).unwrap()
    }

    fn list(&self, pointer: &str) -> Vec<Value> {
        self.config.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Config, history and layers, without those of `base`.
    pub(crate) fn summary(&self, base: &Self) -> String {
        let on_base = self.list("/rootfs/diff_ids").starts_with(&base.list("/rootfs/diff_ids"));
        let mut config = self.config.clone();
        for key in ["history", "rootfs", "created"] {
            config.as_object_mut().unwrap().remove(key);
        }
        config.sort_all_objects();
        let mut out = serde_json::to_string_pretty(&config).unwrap();
        out.push_str(if on_base { "\nhistory on the base\n" } else { "\nhistory\n" });
        for entry in self.list("/history").iter().skip(if on_base { base.list("/history").len() } else { 0 }) {
            writeln!(out, "  {}", history_line(entry)).unwrap();
        }
        self.layers(&mut out, if on_base { base.list("/rootfs/diff_ids").len() } else { 0 });
        out
    }

    fn layers(&self, out: &mut String, skip: usize) {
        let (mut seen, mut shown) = (BTreeSet::new(), BTreeSet::new());
        for (index, layer) in self.manifest["layers"].as_array().unwrap().iter().enumerate() {
            let (entries, removed): (Vec<_>, Vec<_>) =
                inodes(&self.blob(&layer["digest"])).into_iter().partition(|(path, _)| !path.contains("/.wh."));
            apply(&mut shown, &entries, &removed);
            seen.extend(entries.iter().map(|(path, _)| path.clone()));
            if index >= skip {
                writeln!(out, "layer {}", index - skip).unwrap();
                entries.iter().for_each(|(_, line)| writeln!(out, "  {line}").unwrap());
            }
        }
        let gone: Vec<&String> = seen.difference(&shown).collect();
        if !gone.is_empty() {
            out.push_str("removed\n");
        }
        gone.iter().for_each(|path| writeln!(out, "  {path}").unwrap());
    }
}

fn history_line(entry: &Value) -> String {
    let mut line = entry.get("created_by").map_or("\"\"".to_owned(), Value::to_string);
    if entry["empty_layer"] == true {
        line.push_str(" empty");
    }
    for key in ["comment", "author"] {
        if let Some(value) = entry[key].as_str().filter(|value| !value.is_empty()) {
            write!(line, " {key}={value}").unwrap();
        }
    }
    line
}

/// The entries of a layer as (path, line), sorted.
fn inodes(blob: &Path) -> Vec<(String, String)> {
    let mut tar = TarReader::new(decompress(fs::File::open(blob).unwrap()).unwrap());
    let mut out = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        let mut content = Vec::new();
        tar.read_to_end(&mut content).unwrap();
        if !entry.path.as_os_str().is_empty() {
            out.push((format!("/{}", entry.path.display()), inode(&entry, &content)));
        }
    }
    out.sort();
    out
}

fn inode(entry: &Entry, content: &[u8]) -> String {
    let (kind, rest) = match &entry.kind {
        EntryKind::File { .. } => ('f', format!(" {} {}", content.len(), &Digest::of(content).hex()[..16])),
        EntryKind::Dir => ('d', String::new()),
        EntryKind::Symlink { target } => ('l', format!(" -> {}", target.display())),
        EntryKind::Hardlink { target } => ('h', format!(" => /{}", target.display())),
        EntryKind::Char { major, minor } => ('c', format!(" {major}:{minor}")),
        EntryKind::Block { major, minor } => ('b', format!(" {major}:{minor}")),
        EntryKind::Fifo => ('p', String::new()),
    };
    let Entry { mode, uid, gid, path, xattrs, .. } = entry;
    let mut line = format!("{kind} {mode:04o} {uid}:{gid} /{}{rest}", path.display());
    for (name, value) in xattrs {
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(line, " {}={hex}", String::from_utf8_lossy(name)).unwrap();
    }
    line
}

/// What the paths of a filesystem are after a layer.
fn apply(shown: &mut BTreeSet<String>, entries: &[(String, String)], removed: &[(String, String)]) {
    let below = |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    for (path, _) in removed {
        let (dir, name) = path.rsplit_once('/').unwrap();
        if name == ".wh..wh..opq" {
            shown.retain(|old| !below(old, dir));
        } else {
            let hidden = format!("{dir}/{}", name.strip_prefix(".wh.").unwrap());
            shown.retain(|old| *old != hidden && !below(old, &hidden));
        }
    }
    for (path, line) in entries {
        if !line.starts_with('d') {
            shown.retain(|old| !below(old, path));
        }
        shown.insert(path.clone());
    }
}

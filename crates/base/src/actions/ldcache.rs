//! `/etc/ld.so.cache` as glibc's `ldconfig` writes it (format `glibc-ld.so.cache1.1`), from the packages' files.
//!
//! ```text
//! 48 bytes      magic "glibc-ld.so.cache", version "1.1", entries u32, bytes of strings u32, 2 (little endian),
//!               3 zero bytes, offset of the extensions u32, 12 zero bytes
//! 24 an entry   flags u32, offset of the name u32, offset of the path u32, 0 u32, 0 u64; names descending
//! ..            strings, each with a final zero byte, tails shared
//! ..            at a multiple of 4: extension magic u32, 1 u32, then tag 0 (generator) u32, 0 u32, offset u32, length u32
//! ```
//!
//! All our machines are little endian. Knows nothing of `glibc-hwcaps` directories, which the loader searches by itself.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cooper_oci::EntryKind;

use super::View;
use super::elf::{Library, library};
use crate::layers::{Item, merged};
use crate::{Error, ErrorKind, Result};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;

/// Who wrote it; `ldconfig -p` shows it.
const GENERATOR: &[u8] = b"cooper";

const CONF: &str = "etc/ld.so.conf";

/// Bytes of a configuration file that are read.
const CONF_LIMIT: usize = 64 << 10;

/// Entries of one cache: far above any real image, and 24 of them below what an offset can hold.
const ENTRIES_LIMIT: usize = 100_000;

/// A library as programs ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    path: String,
    flags: u32,
}

/// The cache for these packages; nothing when there is no loader, or a file of that path is given.
pub(super) fn item(view: &View<'_>, given: &[Item]) -> Result<Option<Item>> {
    let is_given = given.iter().any(|item| item.path() == Path::new("etc/ld.so.cache"));
    let dirs = directories(view);
    let entries: Vec<Entry> = dirs.iter().flat_map(|dir| libraries(view, dir)).collect();
    let has_loader = entries.iter().any(|entry| entry.name.starts_with("ld-") || entry.name.starts_with("ld64"));
    if is_given || !has_loader {
        return Ok(None);
    }
    if entries.len() > ENTRIES_LIMIT {
        return Err(Error::new(ErrorKind::TooLarge, "the packages have too many libraries for /etc/ld.so.cache"));
    }
    Ok(Some(Item::file("etc/ld.so.cache", 0o644, encode(entries))))
}

/// Directories as ldconfig goes through them: ld.so.conf's, then the loader's own; each once, by its first name.
fn directories(view: &View<'_>) -> Vec<PathBuf> {
    let mut found = configured(view, Path::new(CONF));
    let is_multiarch = |item: &&Item| {
        let triplet = item.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        item.entry.kind == EntryKind::Dir && triplet.contains("-linux-gnu")
    };
    let multiarch = view.children(Path::new("usr/lib")).into_iter().filter(is_multiarch);
    let own = multiarch.map(|item| Path::new("/").join(item.path().strip_prefix("usr").unwrap_or(item.path())));
    found.extend(own);
    found.extend(["/lib", "/usr/lib"].map(PathBuf::from));
    let mut seen = BTreeSet::new();
    found.retain(|dir| seen.insert(merged(dir.strip_prefix("/").unwrap_or(dir))));
    found
}

/// Lines of a configuration file, with those of the files it includes.
fn configured(view: &View<'_>, conf: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for line in lines(view, conf) {
        let Some(pattern) = line.strip_prefix("include").map(str::trim) else {
            dirs.push(PathBuf::from(line));
            continue;
        };
        let pattern = Path::new(pattern.trim_start_matches('/'));
        let (Some(dir), Some(Ok(name))) =
            (pattern.parent(), pattern.file_name().and_then(|name| name.to_str()).map(glob::Pattern::new))
        else {
            continue;
        };
        let is_named = |item: &&Item| item.path().file_name().is_some_and(|f| name.matches(&f.to_string_lossy()));
        // One level: Debian's included files include nothing.
        let files = view.children(dir).into_iter().filter(is_named);
        dirs.extend(files.flat_map(|file| lines(view, file.path())).filter(|l| l.starts_with('/')).map(PathBuf::from));
    }
    dirs.into_iter().filter(|dir| dir.is_absolute()).collect()
}

fn lines(view: &View<'_>, path: &Path) -> Vec<String> {
    let bytes = view.resolve(path).and_then(|item| item.bytes(CONF_LIMIT).ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = |line: &str| line.split('#').next().unwrap_or_default().trim().trim_end_matches('/').to_owned();
    text.lines().map(line).filter(|line| !line.is_empty()).collect()
}

/// The libraries of one directory, by the names that programs ask for.
fn libraries(view: &View<'_>, dir: &Path) -> Vec<Entry> {
    let inside = merged(dir.strip_prefix("/").unwrap_or(dir));
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for item in view.children(&inside) {
        let name = item.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_library_name(name) {
            continue;
        }
        let Some(Library { soname, flags }) = view.resolve(item.path()).and_then(library) else { continue };
        let is_link = matches!(item.entry.kind, EntryKind::Symlink { .. });
        let soname = soname.unwrap_or_else(|| name.to_owned());
        // A link for the linker (`libx.so`) counts by its own name, every other file by its soname.
        let is_linkers = is_link && name.ends_with(".so") && soname.starts_with(name);
        let asked = if is_linkers { name.to_owned() } else { soname };
        if view.get(inside.join(&asked)).is_some() {
            found.insert(asked, flags);
        }
    }
    let entry = |(name, flags)| Entry { path: format!("{}/{name}", dir.display()), name, flags };
    found.into_iter().map(entry).collect()
}

fn is_library_name(name: &str) -> bool {
    (name.starts_with("lib") || name.starts_with("ld-") || name.starts_with("ld64.")) && name.contains(".so")
}

/// The bytes of a cache with these entries.
fn encode(mut entries: Vec<Entry>) -> Vec<u8> {
    entries.sort_by(|a, b| compare(&b.name, &a.name).then(b.flags.cmp(&a.flags)));
    let strings_at = HEADER + ENTRY * entries.len();
    let (strings, offsets) = strings(&entries);
    let offset = |text: &str| (strings_at + offsets.get(text).copied().unwrap_or_default()) as u32;
    let mut out = MAGIC.to_vec();
    let extensions_at = (strings_at + strings.len()).next_multiple_of(4);
    for word in [entries.len() as u32, strings.len() as u32, 2, extensions_at as u32, 0, 0, 0] {
        out.extend(word.to_le_bytes());
    }
    for entry in &entries {
        for word in [entry.flags, offset(&entry.name), offset(&entry.path), 0, 0, 0] {
            out.extend(word.to_le_bytes());
        }
    }
    out.extend(&strings);
    out.resize(extensions_at, 0);
    let generator_at = extensions_at as u32 + 24;
    for word in [EXTENSION_MAGIC, 1, 0, 0, generator_at, GENERATOR.len() as u32] {
        out.extend(word.to_le_bytes());
    }
    out.extend(GENERATOR);
    out
}

/// All names and paths with their offsets; one that another ends with is a part of it.
fn strings(entries: &[Entry]) -> (Vec<u8>, BTreeMap<&str, usize>) {
    let all: BTreeSet<&str> = entries.iter().flat_map(|entry| [entry.name.as_str(), entry.path.as_str()]).collect();
    let mut sorted: Vec<&str> = all.into_iter().collect();
    // Descending, from the last byte to the first; the longer one first.
    sorted.sort_by(|a, b| {
        let both = a.bytes().rev().zip(b.bytes().rev()).find(|(x, y)| x != y);
        both.map_or(b.len().cmp(&a.len()), |(x, y)| y.cmp(&x))
    });
    let (mut bytes, mut offsets) = (Vec::new(), BTreeMap::new());
    let mut before: (&str, usize) = ("", 0);
    for text in sorted {
        let at = match before.0.strip_suffix(text).filter(|_| !before.0.is_empty()) {
            Some(head) => before.1 + head.len(),
            None => {
                let at = bytes.len();
                bytes.extend(text.as_bytes());
                bytes.push(0);
                at
            }
        };
        offsets.insert(text, at);
        before = (text, at);
    }
    (bytes, offsets)
}

/// The loader's order of names: runs of digits by their value, digits after anything else (`_dl_cache_libcmp`).
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (digits_a, digits_b) = (run(a), run(b));
        let order = match (digits_a, digits_b) {
            (0, 0) => match (a.first(), b.first()) {
                (None, None) => return Ordering::Equal,
                (x, y) if x == y => Ordering::Equal,
                (x, y) => return x.cmp(&y),
            },
            (_, 0) => return Ordering::Greater,
            (0, _) => return Ordering::Less,
            _ => value(&a[..digits_a]).cmp(&value(&b[..digits_b])),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[digits_a.max(1)..], &b[digits_b.max(1)..]);
    }
}

fn run(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// glibc counts in a C int; no soname has a longer number than a u64 holds.
fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0u64, |sum, byte| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_loaders_order() {
        let mut names = ["libz.so.1", "liba.so.10", "liba.so.9", "liba.so", "lib1.so", "liba1.so", "libB.so"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["libB.so", "liba.so", "liba.so.9", "liba.so.10", "liba1.so", "libz.so.1", "lib1.so"]);
    }

    #[test]
    fn tails_are_shared() {
        let entry = |name: &str| Entry { name: name.into(), path: format!("/lib/{name}"), flags: 0x0303 };
        let entries = [entry("liba.so.1"), entry("libb.so.1")];
        let (bytes, offsets) = strings(&entries);
        assert_eq!(bytes, b"/lib/libb.so.1\0/lib/liba.so.1\0");
        assert_eq!((offsets["libb.so.1"], offsets["/lib/liba.so.1"], offsets["liba.so.1"]), (5, 15, 20));
    }

    #[test]
    fn the_bytes_of_a_cache() {
        let bytes = encode(vec![Entry { name: "liba.so.1".into(), path: "/lib/liba.so.1".into(), flags: 0x0303 }]);
        assert_eq!(&bytes[..20], MAGIC);
        // One entry, 15 bytes of strings, little endian, extensions at 48 + 24 + 15, rounded up.
        assert_eq!(&bytes[20..36], [1, 0, 0, 0, 15, 0, 0, 0, 2, 0, 0, 0, 88, 0, 0, 0]);
        // Flags, name at 72 + 5, path at 72.
        assert_eq!(&bytes[48..60], [3, 3, 0, 0, 77, 0, 0, 0, 72, 0, 0, 0]);
        assert_eq!(&bytes[88..92], EXTENSION_MAGIC.to_le_bytes());
        assert!(bytes.ends_with(GENERATOR));
    }
}

//! The small declared things: merged /usr, name service, time zone, alternatives, links, files, directories.

use std::path::Path;

use cooper_oci::EntryKind;

use super::{Given, View};
use crate::layers::{Item, MERGED_DIRS};
use crate::{Error, ErrorKind, Manifest, Result};

/// Links of merged /usr that every Debian has; the others come with a package that uses them.
const ALWAYS_MERGED: &[&str] = &["bin", "lib", "sbin"];

/// The default that libc-bin's script installs.
const NSSWITCH_DEFAULT: &str = "usr/share/libc-bin/nsswitch.conf";

/// Where programs look.
const NSSWITCH: &str = "etc/nsswitch.conf";

/// What libc does without the file, in words that other resolvers (Go's) read too.
const NSSWITCH_TEXT: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n";

/// In a path that a link or an alternative leads to: the Debian architecture of the image.
const ARCHITECTURE: &str = "{architecture}";

/// The zones.
const ZONEINFO: &str = "usr/share/zoneinfo";

/// Links into /usr, and what base-files' script makes: `/run` and the places for temporary files.
pub(crate) fn skeleton(view: &View<'_>) -> Vec<Item> {
    let uses = |name: &str| !view.below(&Path::new("usr").join(name)).is_empty();
    let wanted = MERGED_DIRS.iter().filter(|name| ALWAYS_MERGED.contains(name) || uses(name));
    let mut items: Vec<Item> = Vec::new();
    for name in wanted {
        items.push(Item::dir(format!("usr/{name}"), 0o755));
        items.push(Item::symlink(*name, format!("usr/{name}")));
    }
    items.extend([Item::dir("run", 0o755), Item::dir("tmp", 0o1777), Item::dir("var/tmp", 0o1777)]);
    items.extend([Item::symlink("var/run", "/run"), Item::symlink("var/lock", "/run/lock")]);
    items.push(Item::dir("run/lock", 0o1777));
    items.retain(|item| view.get(item.path()).is_none());
    items
}

/// `/etc/nsswitch.conf`, where there is a C library and no such file.
pub(super) fn name_service(view: &View<'_>) -> Option<Item> {
    if view.get(NSSWITCH).is_some() {
        return None;
    }
    let text = match view.resolve(Path::new(NSSWITCH_DEFAULT)) {
        Some(default) => default.bytes(1 << 16).ok()?,
        None => NSSWITCH_TEXT.into(),
    };
    Some(Item::file(NSSWITCH, 0o644, text))
}

/// `/etc/localtime` and `/etc/timezone`.
pub(super) fn timezone(manifest: &Manifest, view: &View<'_>) -> Result<Vec<Item>> {
    let Some(zone) = &manifest.timezone else { return Ok(Vec::new()) };
    let is_file = |item: &Item| matches!(item.entry.kind, EntryKind::File { .. });
    if zone.split('/').any(|part| matches!(part, "" | "." | ".."))
        || !view.resolve(&Path::new(ZONEINFO).join(zone)).is_some_and(is_file)
    {
        let what = format!("`timezone: {zone}`: there is no such zone in the packages");
        return Err(Error::new(ErrorKind::NotFound, what).with_hint("zones are in the package tzdata"));
    }
    Ok(vec![
        Item::symlink("etc/localtime", format!("/{ZONEINFO}/{zone}")),
        Item::file("etc/timezone", 0o644, format!("{zone}\n")),
    ])
}

/// Links of /usr/bin, by way of /etc/alternatives as update-alternatives makes them.
pub(super) fn alternatives(manifest: &Manifest, architecture: &str, view: &View<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (name, target) in &manifest.alternatives {
        let target = &target.replace(ARCHITECTURE, architecture);
        let wrong = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("alternative `{name}`: {what}")));
        if name.contains('/') {
            return wrong("it is a name, not a path");
        }
        if view.resolve(Path::new(target.trim_start_matches('/'))).is_none() {
            return wrong(&format!("`{target}` is in no package"));
        }
        if view.get(format!("usr/bin/{name}")).is_some() {
            return wrong("a package holds /usr/bin of that name");
        }
        items.push(Item::symlink(format!("etc/alternatives/{name}"), target));
        items.push(Item::symlink(format!("usr/bin/{name}"), format!("/etc/alternatives/{name}")));
    }
    Ok(items)
}

/// Declared directories, files and links, in this order.
pub(crate) fn files(manifest: &Manifest, architecture: &str, given: &Given) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for dir in &manifest.directories {
        let mut item = Item::dir(path(&dir.path)?, dir.mode.map_or(0o755, |mode| mode.0));
        (item.entry.uid, item.entry.gid) = (dir.uid, dir.gid);
        items.push(item);
    }
    for file in &manifest.files {
        let bytes = match (&file.text, &file.source) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(source)) => given.files.get(source).cloned().ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("cannot read {} for `{}`", source.display(), file.path))
            })?,
            (None, None) => Vec::new(),
        };
        let mut item = Item::file(path(&file.path)?, file.mode.map_or(0o644, |mode| mode.0), bytes);
        (item.entry.uid, item.entry.gid) = (file.uid, file.gid);
        items.push(item);
    }
    for (link, target) in &manifest.links {
        if target.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, format!("link `{link}` has no target")));
        }
        items.push(Item::symlink(path(link)?, target.replace(ARCHITECTURE, architecture)));
    }
    Ok(items)
}

/// A declared absolute path as layers have it.
fn path(text: &str) -> Result<std::path::PathBuf> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if !text.starts_with('/') || parts.is_empty() || parts.contains(&"..") || text.contains('\0') {
        return Err(Error::new(ErrorKind::Invalid, format!("`{text}` is not an absolute path of the image")));
    }
    Ok(crate::layers::merged(&parts.iter().collect::<std::path::PathBuf>()))
}

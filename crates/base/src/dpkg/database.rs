//! `/var/lib/dpkg` of packages that are unpacked and not yet configured (dpkg(1), deb-triggers(5)).

use std::collections::BTreeMap;
use std::path::Path;

use md5::{Digest as _, Md5};

use crate::layers::{Item, Unpacked, merged};
use crate::{Error, ErrorKind, Result};

const ADMIN: &str = "var/lib/dpkg";

/// Control files that dpkg does not keep: their content is in the status.
const NOT_KEPT: &[&str] = &["control"];

/// A configuration file has to be hashed; larger ones are none.
const CONFFILE_LIMIT: usize = 64 << 20;

/// The files of the database.
///
/// # Errors
/// A configuration file that the package does not hold.
pub(super) fn database(packages: &[Unpacked]) -> Result<Vec<Item>> {
    let mut items = vec![
        Item::dir(ADMIN, 0o755),
        Item::file(format!("{ADMIN}/info/format"), 0o644, "1\n"),
        Item::dir(format!("{ADMIN}/updates"), 0o755),
        Item::dir(format!("{ADMIN}/parts"), 0o755),
        Item::file(format!("{ADMIN}/triggers/Unincorp"), 0o644, ""),
    ];
    let mut status = String::new();
    for package in packages {
        status.push_str(&paragraph(package)?);
        items.extend(info(package));
    }
    items.push(Item::file(format!("{ADMIN}/status"), 0o644, status));
    items.extend(triggers(packages));
    Ok(items)
}

/// The package's name in the database: with its architecture where several may be installed.
pub(super) fn instance(package: &Unpacked) -> String {
    let name = &package.package.name;
    match package.control.field("Multi-Arch").as_deref() {
        Some("same") => format!("{name}:{}", package.package.architecture),
        _ => name.clone(),
    }
}

fn info(package: &Unpacked) -> Vec<Item> {
    let path = |name: &str| format!("{ADMIN}/info/{}.{name}", instance(package));
    let kept = package.control.files.iter().filter(|(name, _)| !NOT_KEPT.contains(&name.as_str()));
    let mut items: Vec<Item> = kept
        .map(|(name, bytes)| {
            let is_script = matches!(name.as_str(), "preinst" | "postinst" | "prerm" | "postrm" | "config");
            Item::file(path(name), if is_script { 0o755 } else { 0o644 }, bytes.clone())
        })
        .collect();
    let mut list = b"/.\n".to_vec();
    for listed in &package.listed {
        list.push(b'/');
        list.extend(listed.as_os_str().as_encoded_bytes());
        list.push(b'\n');
    }
    items.push(Item::file(path("list"), 0o644, list));
    items
}

/// The package's paragraph of the status file.
fn paragraph(package: &Unpacked) -> Result<String> {
    let control = package.control.text("control").unwrap_or_default().trim();
    let mut out = String::new();
    for line in control.lines().filter(|line| !line.trim().is_empty()) {
        out.push_str(&format!("{line}\n"));
        if line.to_ascii_lowercase().starts_with("package:") {
            out.push_str("Status: install ok unpacked\n");
        }
    }
    let conffiles = package.control.text("conffiles").unwrap_or_default();
    let names: Vec<&str> = conffiles.lines().map(str::trim).filter(|line| line.starts_with('/')).collect();
    if !names.is_empty() {
        out.push_str("Conffiles:\n");
    }
    for name in names {
        out.push_str(&format!(" {name} {}\n", md5_of(package, name)?));
    }
    Ok(out + "\n")
}

/// What dpkg remembers of a configuration file, to tell later whether somebody changed it.
fn md5_of(package: &Unpacked, conffile: &str) -> Result<String> {
    let path = merged(Path::new(conffile.trim_start_matches('/')));
    let found = package.items.iter().find(|item| item.path() == path);
    let bytes = found.and_then(|item| item.bytes(CONFFILE_LIMIT).ok()).ok_or_else(|| {
        let what =
            format!("package {}: its configuration file `{conffile}` is not among its files", package.package.name);
        Error::new(ErrorKind::Invalid, what)
    })?;
    Ok(Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Who waits for which trigger.
fn triggers(packages: &[Unpacked]) -> Vec<Item> {
    let mut waiting: BTreeMap<String, String> = BTreeMap::new();
    for package in packages {
        for (directive, name) in directives(package) {
            let Some(kind) = directive.strip_prefix("interest") else { continue };
            let noawait = if kind == "-noawait" { "/noawait" } else { "" };
            let line = format!("{}{noawait}\n", instance(package));
            match name.starts_with('/') {
                true => waiting.entry("File".into()).or_default().push_str(&format!("{name} {line}")),
                false => waiting.entry(name.to_owned()).or_default().push_str(&line),
            }
        }
    }
    waiting.into_iter().map(|(name, text)| Item::file(format!("{ADMIN}/triggers/{name}"), 0o644, text)).collect()
}

/// Lines of the package's triggers file: directive and name of the trigger, which is no path unless it starts with `/`.
pub(super) fn directives(package: &Unpacked) -> impl Iterator<Item = (&str, &str)> {
    let text = package.control.text("triggers").unwrap_or_default();
    text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (directive, name) = line.split_once(char::is_whitespace)?;
        let name = name.trim();
        let is_plain = name.starts_with('/') || !name.contains('/') && !name.starts_with('.');
        (is_plain && !name.contains(char::is_whitespace)).then_some((directive, name))
    })
}

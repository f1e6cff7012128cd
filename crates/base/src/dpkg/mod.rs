//! Packages that dpkg itself configures: the files it finds, and what is run then.
//!
//! The files are unpacked already, so dpkg is told so: every package is `unpacked`, as after `dpkg --unpack`. What dpkg
//! would do between unpacking and configuring is the script's work. Knows nothing of how the script is run.

mod database;
mod script;
mod sources;

use std::path::Path;

pub use script::{Step, configure_step};

use crate::actions::{Given, View, certificate, declared_files, homes, skeleton};
use crate::layers::{Item, Unpacked};
use crate::{Error, ErrorKind, Lock, Manifest, Result};

/// Where `update-ca-certificates` looks for certificates of the machine's owner.
const LOCAL_CERTIFICATES: &str = "usr/local/share/ca-certificates";

/// dpkg's own settings: what was left out stays out when packages are added to the image.
const EXCLUDES: &str = "etc/dpkg/dpkg.cfg.d/excludes";

/// The files that no package holds, for an image that dpkg configures.
///
/// # Errors
/// Something is declared that dpkg's scripts decide.
pub fn items(
    manifest: &Manifest,
    architecture: &str,
    lock: &Lock,
    packages: &[Unpacked],
    given: &Given,
) -> Result<Vec<Item>> {
    let view = View::of(packages);
    refuse(manifest, &view)?;
    let mut items = skeleton(&view);
    items.extend(database::database(packages)?);
    items.extend(sources::sources(lock, packages));
    items.extend(excludes(manifest));
    items.extend(homes(manifest));
    for (index, path) in manifest.certificates.iter().flat_map(|declared| &declared.add).enumerate() {
        let text = certificate(&path.display().to_string(), given.files.get(path).map_or(&[][..], Vec::as_slice))?;
        items.push(Item::file(format!("{LOCAL_CERTIFICATES}/declared-{index}.crt"), 0o644, text));
    }
    items.extend(declared_files(manifest, architecture, given)?);
    Ok(items)
}

/// What cannot be both declared and the scripts' business.
fn refuse(manifest: &Manifest, view: &View<'_>) -> Result<()> {
    let no = |what: &str| Err(Error::new(ErrorKind::Invalid, format!("{what} cannot be used with `configure: run`")));
    let certificates = manifest.certificates.clone().unwrap_or_default();
    if certificates.only_added {
        return no("`certificates: {only-added: true}`");
    }
    if !certificates.add.is_empty() && view.get("usr/sbin/update-ca-certificates").is_none() {
        return no("`certificates` without the package ca-certificates");
    }
    if manifest.ldconfig == Some(false) {
        return no("`ldconfig: false`");
    }
    if view.resolve(Path::new("bin/sh")).is_none() || view.resolve(Path::new("usr/bin/dpkg")).is_none() {
        let error = Error::new(ErrorKind::Invalid, "`configure: run` needs a shell and dpkg among the packages");
        return Err(error.with_hint("say `variant: minbase`, or add the packages dash and dpkg"));
    }
    Ok(())
}

fn excludes(manifest: &Manifest) -> Option<Item> {
    let lines =
        |word: &str, globs: &[String]| globs.iter().map(|glob| format!("path-{word} {glob}\n")).collect::<String>();
    let licences = "path-include /usr/share/doc/*/copyright\n";
    let text = lines("exclude", &manifest.path_exclude) + licences + &lines("include", &manifest.path_include);
    (!manifest.path_exclude.is_empty()).then(|| Item::file(EXCLUDES, 0o644, text))
}

//! What only the contents of packages tell, for the list of packages: their licences, who maintains them, and which
//! distribution they make up.
//!
//! Knows nothing of documents: names are the packages' own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::LockedPackage;
use crate::actions::View;
use crate::layers::Unpacked;
use crate::licence;

/// Bytes read of a copyright file or an os-release; the longest of Debian's has under 2 MiB.
const TEXT_LIMIT: usize = 4 << 20;

/// What the packages of an image tell of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// `ID` and `VERSION_ID` of os-release, if the image has one.
    pub distribution: Option<(String, String)>,
    /// By name and architecture.
    pub(crate) packages: BTreeMap<String, Own>,
}

/// What one package tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// `Maintainer` of its control file.
    pub(crate) maintainer: Option<String>,
    /// Names of its licences as its copyright file has them; none when that is not machine-readable.
    pub(crate) licences: BTreeSet<String>,
}

impl Described {
    /// Reads it from the packages.
    pub fn of(packages: &[Unpacked]) -> Self {
        let view = View::of(packages);
        let own = |it: &Unpacked| Own { maintainer: it.control.field("Maintainer"), licences: licences(&view, it) };
        Self {
            distribution: distribution(&view),
            packages: packages.iter().map(|it| (key(&it.package), own(it))).collect(),
        }
    }

    /// What a package tells of itself.
    pub(crate) fn own(&self, package: &LockedPackage) -> Option<&Own> {
        self.packages.get(&key(package))
    }
}

fn key(package: &LockedPackage) -> String {
    format!("{}:{}", package.name, package.architecture)
}

/// Debian policy 12.5: every package has this file, or a link to another's.
fn licences(view: &View<'_>, package: &Unpacked) -> BTreeSet<String> {
    let path = format!("usr/share/doc/{}/copyright", package.package.name);
    text(view, &path).map(|text| licence::declared(&text)).unwrap_or_default()
}

fn distribution(view: &View<'_>) -> Option<(String, String)> {
    let text = text(view, "etc/os-release").or_else(|| text(view, "usr/lib/os-release"))?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned())
    };
    Some((value("ID")?, value("VERSION_ID").unwrap_or_default()))
}

fn text(view: &View<'_>, path: &str) -> Option<String> {
    let bytes = view.resolve(Path::new(path))?.bytes(TEXT_LIMIT).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

//! The control files of a package: its paragraph, maintainer scripts, checksums, triggers (deb-control(5) and friends).
//!
//! Knows nothing of what the scripts do.

use std::collections::BTreeMap;
use std::io::Read;

use cooper_oci::EntryKind;

use super::{Tar, flat_name, invalid, within};
use crate::{Error, Result};

/// Bytes of all control files of a package; symbol lists reach some MiB.
const CONTROL_LIMIT: u64 = 64 << 20;

/// Control files of a package; real ones have a dozen.
const CONTROL_FILES_LIMIT: usize = 256;

/// Scripts that dpkg runs when it installs a package.
const INSTALL_SCRIPTS: &[&str] = &["preinst", "postinst"];

/// The control files of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Content by name (`control`, `postinst`, `md5sums`, ..).
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Control {
    /// The text of a control file; `None` when the package has none of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// A field of the package's paragraph, its further lines joined.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut lines = self.text("control")?.lines();
        let value = |line: &str| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        let mut found = lines.by_ref().find_map(value)?;
        for more in lines.take_while(|line| line.starts_with([' ', '\t'])) {
            found.push('\n');
            found.push_str(more.trim_end());
        }
        Some(found)
    }

    /// Name and text of the scripts that dpkg runs when it installs the package.
    pub fn scripts(&self) -> impl Iterator<Item = (&str, &[u8])> {
        INSTALL_SCRIPTS.iter().filter_map(|name| Some((*name, self.files.get(*name)?.as_slice())))
    }
}

pub(super) fn read(mut tar: Tar<'_>) -> Result<Control> {
    let told = |e: cooper_oci::Error| within("control.tar", e.into());
    let mut control = Control::default();
    let mut left = CONTROL_LIMIT;
    while let Some(entry) = tar.next_entry().map_err(told)? {
        let size = match entry.kind {
            EntryKind::Dir if entry.path.as_os_str().is_empty() => continue,
            EntryKind::File { size } => size,
            _ => return Err(odd(&entry.path.display().to_string())),
        };
        let name = flat_name(&entry.path).ok_or_else(|| odd(&entry.path.display().to_string()))?.to_owned();
        if size > left || control.files.len() == CONTROL_FILES_LIMIT {
            return Err(invalid(format!("its control files have more than {CONTROL_LIMIT} bytes or are too many")));
        }
        left -= size;
        let mut bytes = Vec::new();
        tar.read_to_end(&mut bytes).map_err(|e| told(cooper_oci::Error::io("cannot be read", e)))?;
        if control.files.insert(name.clone(), bytes).is_some() {
            return Err(invalid(format!("its control file `{name}` is there twice")));
        }
    }
    tar.finish().map_err(told)?;
    match control.text("control") {
        Some(_) => Ok(control),
        None => Err(invalid("it has no control file in UTF-8")),
    }
}

fn odd(name: &str) -> Error {
    invalid(format!("its control.tar holds `{name}`, which is not a plain file at its top"))
}

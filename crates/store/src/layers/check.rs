//! Compares a layer's directory with its listing. Does not repair: see `repair`.

use cooper_oci::EntryKind;

use super::{LISTING, fs_of, scan};
use crate::listing::{Record, read_file};
use crate::{LayerId, Ownership, Result, Store};

/// Differences told of one layer; more do not help.
const MAX_TOLD: usize = 20;

impl Store {
    /// What is wrong with a layer's listing and, with `read_data`, with its directory: every file is read. Empty when
    /// it is what its listing says, or when nobody has listed it yet.
    pub fn check_layer(&self, id: &LayerId, read_data: bool) -> Result<Vec<String>> {
        let listing = match read_file(&self.layer_path(id).join(LISTING)) {
            Err(error) if error.kind() == crate::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Ok(vec![error.to_string()]),
            Ok(_) if !read_data => return Ok(Vec::new()),
            Ok(listing) => listing,
        };
        // A disk that cannot give the bytes back has lost them.
        let found = match scan::list(&fs_of(self, id)) {
            Ok(found) => found,
            Err(error) => return Ok(vec![error.to_string()]),
        };
        let mut out: Vec<String> = Vec::new();
        for record in listing.records().iter().filter(|record| !record.path().as_os_str().is_empty()) {
            match found.get(record.path()) {
                None => out.push(format!("{} is missing", record.path().display())),
                Some(other) => {
                    out.extend(self.difference(record, other).map(|why| format!("{}: {why}", record.path().display())));
                }
            }
        }
        let extra = found.records().iter().filter(|record| listing.get(record.path()).is_none());
        out.extend(extra.map(|record| format!("{} was added", record.path().display())));
        if (listing.removed(), listing.opaque()) != (found.removed(), found.opaque()) {
            out.push("its removals are not those of the listing".into());
        }
        out.truncate(MAX_TOLD);
        Ok(out)
    }

    fn difference(&self, expected: &Record, found: &Record) -> Option<&'static str> {
        let (a, b) = (&expected.entry, &found.entry);
        let names = |kind: &EntryKind| matches!(kind, EntryKind::Hardlink { .. });
        // Which of several names comes first differs between a tar and a directory.
        if names(&a.kind) || names(&b.kind) {
            return None;
        }
        // A device that could not be made is an empty file.
        let device = matches!(a.kind, EntryKind::Char { .. } | EntryKind::Block { .. });
        if a.kind != b.kind && !(device && b.kind == EntryKind::File { size: 0 }) {
            return Some("its kind or size changed");
        }
        if expected.digest != found.digest && !device {
            return Some("its content changed");
        }
        if !matches!(a.kind, EntryKind::Symlink { .. }) && a.mode != b.mode {
            return Some("its mode changed");
        }
        let owned = self.ownership() == Ownership::All;
        if owned && a.xattrs != b.xattrs {
            return Some("its extended attributes changed");
        }
        (owned && (a.uid, a.gid) != (b.uid, b.gid)).then_some("its owner changed")
    }
}

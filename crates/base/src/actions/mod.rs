//! What maintainer scripts would have done, declared: the files of an image that no package holds.
//!
//! All of it is arithmetic on the declared file and the packages' files; nothing of the packages runs.

mod certificates;
mod declared;
mod elf;
mod ldcache;
mod metadata;
mod scripts;
mod users;
mod view;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::layers::{Item, Unpacked};
use crate::{Error, ErrorKind, Manifest, Result};
pub(crate) use certificates::certificate;
pub(crate) use declared::{files as declared_files, skeleton};
pub use scripts::check_scripts;
pub(crate) use users::{Lines, homes};
pub(crate) use view::View;

/// Files of the building machine that the declared file names, read by the caller.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Content by path, of `files` and `certificates`.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

/// The files that no package holds, for an image whose packages are configured as declared. Later ones of a path win.
///
/// # Errors
/// What is declared does not fit the packages: a zone or an alternative that is not there, ids used twice.
pub fn generate(manifest: &Manifest, architecture: &str, packages: &[Unpacked], given: &Given) -> Result<Vec<Item>> {
    if manifest.byte_compile == Some(true) {
        let error = Error::new(ErrorKind::Invalid, "`byte-compile` needs Python to run: it cannot be declared");
        return Err(error.with_hint("say `configure: run`, or compile in a RUN step"));
    }
    let view = View::of(packages);
    let mut items = declared::skeleton(&view);
    items.extend(metadata::items(packages));
    items.extend(declared::name_service(&view));
    items.extend(users::items(manifest)?);
    items.extend(declared::timezone(manifest, &view)?);
    items.extend(certificates::items(manifest, &view, given)?);
    items.extend(declared::alternatives(manifest, architecture, &view)?);
    items.extend(declared::files(manifest, architecture, given)?);
    if manifest.ldconfig.unwrap_or(true) {
        items.extend(ldcache::item(&view, &items)?);
    }
    Ok(items)
}

//! What says which packages an image holds, where there is no dpkg: `/var/lib/dpkg/status.d`, as scanners read it.

use crate::layers::{Item, Unpacked};

/// Directory of one paragraph a package, with its checksums beside it.
const STATUS: &str = "var/lib/dpkg/status.d";

/// The paragraphs and checksums of all packages.
pub(super) fn items(packages: &[Unpacked]) -> Vec<Item> {
    let mut items = Vec::new();
    for Unpacked { package, control, .. } in packages {
        let mut text = control.text("control").unwrap_or_default().trim_end().to_owned();
        text.push('\n');
        items.push(Item::file(format!("{STATUS}/{}", package.name), 0o644, text));
        if let Some(sums) = control.files.get("md5sums") {
            items.push(Item::file(format!("{STATUS}/{}.md5sums", package.name), 0o644, sums.clone()));
        }
    }
    items
}

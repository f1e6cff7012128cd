//! `/etc/apt/sources.list.d` of an image that has apt: where its packages came from (sources.list(5), deb822 form).

use std::collections::BTreeMap;

use crate::Lock;
use crate::layers::{Item, Unpacked};

/// Distributions, and their keys from a package of their own.
const KEYRINGS: &[(&str, &str)] = &[
    ("debian", "usr/share/keyrings/debian-archive-keyring.gpg"),
    ("ubuntu", "usr/share/keyrings/ubuntu-archive-keyring.gpg"),
];

/// The file, in an image with apt whose packages came from a server.
pub(super) fn sources(lock: &Lock, packages: &[Unpacked]) -> Option<Item> {
    let has =
        |path: &str| packages.iter().flat_map(|package| &package.items).any(|item| item.path().as_os_str() == path);
    if !has("usr/bin/apt-get") {
        return None;
    }
    // Suites of one archive with the same components are one paragraph.
    let mut archives: BTreeMap<(&str, &[String]), Vec<&str>> = BTreeMap::new();
    for release in lock.releases.values().filter(|release| release.uri.starts_with("http")) {
        archives.entry((&release.uri, &release.components)).or_default().push(&release.suite);
    }
    let keyring = KEYRINGS.iter().find(|(_, path)| has(path));
    let signed_by = keyring.map(|(_, path)| format!("Signed-By: /{path}\n")).unwrap_or_default();
    let paragraph = |((uri, components), suites): (&(&str, &[String]), &Vec<&str>)| {
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {}\nComponents: {}\n{signed_by}",
            suites.join(" "),
            components.join(" ")
        )
    };
    let text = archives.iter().map(paragraph).collect::<Vec<_>>().join("\n");
    let name = keyring.map_or(KEYRINGS[0].0, |(name, _)| name);
    (!text.is_empty()).then(|| Item::file(format!("etc/apt/sources.list.d/{name}.sources"), 0o644, text))
}

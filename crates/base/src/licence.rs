//! Licences of a package: read from its copyright file (DEP-5, "Machine-readable debian/copyright file"), said in SPDX's words.
//!
//! A name becomes an SPDX id only where both mean the same text. Knows nothing of packages and documents.

use std::collections::{BTreeMap, BTreeSet};

use crate::control;

/// What the first paragraph of a machine-readable file names as its format.
const FORMAT: &str = "copyright-format/1.0";

/// Longest name of a licence, and most of them in a file; real ones have 60 bytes and 150 names.
const NAME_MAX: usize = 200;
const NAMES_MAX: usize = 1000;

/// DEP-5 names whose SPDX id is another word.
const SAME: &[(&str, &str)] =
    &[("CC0", "CC0-1.0"), ("EFL-1", "EFL-1.0"), ("EFL-2", "EFL-2.0"), ("Expat", "MIT"), ("QPL", "QPL-1.0")];

/// Licences that come as `NAME-VERSION` and `NAME-VERSION+`: DEP-5's name, SPDX's, and what stands behind SPDX's version.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("AGPL", "AGPL", ""),
    ("GFDL", "GFDL", ""),
    ("GFDL-NIV", "GFDL", "-no-invariants"),
    ("GPL", "GPL", ""),
    ("LGPL", "LGPL", ""),
];

/// What the `License` fields of a copyright file say of its files, each once; none when the file is not machine-readable.
pub(crate) fn declared(copyright: &str) -> BTreeSet<String> {
    read(copyright).unwrap_or_default()
}

fn read(copyright: &str) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (index, paragraph) in control::paragraphs(copyright, "copyright").enumerate() {
        let paragraph = paragraph.ok()?;
        let is_head = index == 0;
        if is_head && !paragraph.get("Format")?.trim_end_matches('/').ends_with(FORMAT) {
            return None;
        }
        // The other paragraphs are texts of licences that these name.
        if is_head || paragraph.get("Files").is_some() {
            let name = paragraph.get("License").and_then(|field| field.lines().next()).unwrap_or_default().trim();
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    let is_plain = |name: &String| name.len() <= NAME_MAX && !name.contains(['(', ')']);
    (names.len() <= NAMES_MAX && names.iter().all(is_plain)).then_some(names)
}

/// An SPDX expression, and what the `LicenseRef`s in it stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expression {
    /// Its text (SPDX 2.3, annex D); empty when nothing is declared.
    pub(crate) text: String,
    /// The package's own names by `LicenseRef`.
    pub(crate) refs: BTreeMap<String, String>,
}

/// All that is declared, together.
pub(crate) fn expression(declared: &BTreeSet<String>) -> Expression {
    let mut out = Expression::default();
    let all: BTreeSet<String> = declared.iter().map(|text| any_of(text, &mut out.refs)).collect();
    let is_alone = all.len() == 1;
    let parts = all.into_iter().map(|text| if is_alone { text } else { in_brackets(text) });
    out.text = parts.collect::<Vec<_>>().join(" AND ");
    out
}

/// One field's text. `and` binds closer than `or`, unless a comma stands before it.
fn any_of(text: &str, refs: &mut BTreeMap<String, String>) -> String {
    for (word, joined) in [(", or ", " OR "), (", and ", " AND "), (" or ", " OR "), (" and ", " AND ")] {
        let parts: Vec<&str> = text.split(word).map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.len() > 1 {
            let parts = parts.into_iter().map(|part| in_brackets(any_of(part, refs)));
            return parts.collect::<Vec<_>>().join(joined);
        }
    }
    let name = text.trim().trim_end_matches(',');
    spdx_id(name).unwrap_or_else(|| {
        let id = reference(name);
        refs.insert(id.clone(), name.to_owned());
        id
    })
}

/// A choice or list inside of another.
fn in_brackets(text: String) -> String {
    if text.contains(' ') { format!("({text})") } else { text }
}

/// The id of a name, when both are of one licence text.
fn spdx_id(name: &str) -> Option<String> {
    if let Some((_, id)) = SAME.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)) {
        return Some((*id).to_owned());
    }
    if let Some(id) = of_family(name) {
        return Some(id);
    }
    let known = spdx::identifiers::LICENSES.iter().find(|known| known.name.eq_ignore_ascii_case(name));
    let id = known.and_then(|known| spdx::license_id(known.name)).filter(|id| !id.is_deprecated());
    id.map(|id| id.name.to_owned())
}

/// `GPL-2+` is `GPL-2.0-or-later`.
fn of_family(name: &str) -> Option<String> {
    let (own, version) =
        name.rsplit_once('-').filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))?;
    let (_, family, more) = FAMILIES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(own))?;
    let (version, kind) = version.strip_suffix('+').map_or((version, "only"), |version| (version, "or-later"));
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    let id = format!("{family}-{version}{more}-{kind}");
    spdx::license_id(&id).map(|known| known.name.to_owned())
}

/// A name of the document's own: letters, digits, dots and hyphens only (SPDX 2.3, 10.1).
fn reference(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    format!("LicenseRef-{}", name.replace('+', " or later").chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> String {
        expression(&names.iter().map(|name| (*name).to_owned()).collect()).text
    }

    #[test]
    fn names_with_an_exact_id_get_it() {
        for (name, expect) in [
            ("GPL-2", "GPL-2.0-only"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-3.0+", "GPL-3.0-or-later"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
            ("Expat", "MIT"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("zlib", "Zlib"),
            ("Apache-2.0", "Apache-2.0"),
            // Of several versions or texts, or of none that is known.
            ("GPL", "LicenseRef-GPL"),
            ("Artistic", "LicenseRef-Artistic"),
            ("BSD", "LicenseRef-BSD"),
            ("GPL-9", "LicenseRef-GPL-9"),
            ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2-or-later-with-OpenSSL-exception"),
        ] {
            assert_eq!(of(&[name]), expect, "{name}");
            assert!(spdx::Expression::parse(&of(&[name])).is_ok(), "{name}");
        }
    }

    #[test]
    fn choices_and_lists() {
        for (names, expect) in [
            (&["GPL-2 or Expat"][..], "GPL-2.0-only OR MIT"),
            (&["GPL-2 and Expat"], "GPL-2.0-only AND MIT"),
            (&["ISC", "GPL-2 or Expat"], "(GPL-2.0-only OR MIT) AND ISC"),
            (&["GPL-2 or Expat and ISC"], "GPL-2.0-only OR (MIT AND ISC)"),
            (&["GPL-2 or Expat, and ISC"], "(GPL-2.0-only OR MIT) AND ISC"),
            (&[], ""),
        ] {
            assert_eq!(of(names), expect);
        }
        let own = expression(&BTreeSet::from(["public-domain".to_owned()]));
        assert_eq!(own.refs, BTreeMap::from([("LicenseRef-public-domain".into(), "public-domain".into())]));
    }

    #[test]
    fn the_fields_of_files_are_read_and_the_texts_are_not() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: p\n\n\
            Files: *\nCopyright: a\nLicense: GPL-2+\n text of it\n .\n more\n\n\
            Files: debian/*\nCopyright: b\nLicense: GPL-2+\n\nFiles: x\nCopyright: c\nLicense: Expat or\n\n\
            License: Apache-2.0\n a text nothing names\n";
        assert_eq!(declared(text), BTreeSet::from(["GPL-2+".to_owned(), "Expat or".to_owned()]));
        for text in ["This package was debianised by hand.\n\nIt is GPL.\n", "", "Format: other\nLicense: GPL-2\n"] {
            assert!(declared(text).is_empty(), "{text}");
        }
        let long = format!("Format: x/copyright-format/1.0/\n\nFiles: *\nLicense: {}\n", "x".repeat(NAME_MAX + 1));
        assert!(declared(&long).is_empty());
    }
}

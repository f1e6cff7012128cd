//! What an image holds, as an SPDX 2.3 document: one entry a package, with its .deb, source package, licences and purl.
//!
//! Knows nothing of how the document is attached to the image.

use std::collections::{BTreeMap, BTreeSet};

use cooper_oci::Digest;
use serde_json::{Value, json};

use crate::described::Described;
use crate::image::rfc3339;
use crate::licence::{self, Expression};
use crate::{Lock, LockedPackage, Result};

/// What SPDX calls a fact that nobody states.
const UNSAID: &str = "NOASSERTION";

/// The distribution of packages that do not say.
const DEBIAN: &str = "debian";

/// Words in the names of maintainers that are several people.
const TEAMS: &[&str] = &["team", "maintainers", "developers", "group", "packagers", "project"];

/// What the document is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name of the image, for people.
    pub name: &'a str,
    /// Digest of its manifest.
    pub manifest: &'a Digest,
    /// Date of the image, seconds since 1970.
    pub created: i64,
    /// What its packages tell of themselves.
    pub described: &'a Described,
}

/// The document. The same packages give the same bytes: its date is the image's.
pub fn spdx(subject: Subject<'_>, lock: &Lock, packages: &[LockedPackage]) -> Result<Value> {
    let image = json!({
        "SPDXID": "SPDXRef-image",
        "name": subject.name,
        "versionInfo": subject.manifest.to_string(),
        "downloadLocation": UNSAID,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": subject.manifest.hex()}],
    });
    let relation = |from: &str, kind: &str, to: &str| json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to});
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image")];
    relations.extend(packages.iter().map(|package| relation("SPDXRef-image", "CONTAINS", &id(package))));
    let licences: Vec<Expression> = packages.iter().map(|package| licences(&subject, package)).collect();
    let entries = packages.iter().zip(&licences).map(|(package, licence)| entry(&subject, lock, package, licence));
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("urn:oci:{}", subject.manifest),
        "creationInfo": {"created": rfc3339(subject.created)?, "creators": ["Tool: cooper"]},
        "packages": std::iter::once(image).chain(entries).collect::<Vec<_>>(),
        "relationships": relations,
    });
    let own = own_licences(packages, &licences);
    if !own.is_empty() {
        document["hasExtractedLicensingInfos"] = own.into();
    }
    Ok(document)
}

fn licences(subject: &Subject<'_>, package: &LockedPackage) -> Expression {
    subject.described.own(package).map(|own| licence::expression(&own.licences)).unwrap_or_default()
}

/// The licences that SPDX has no id for: where each is written down.
fn own_licences(packages: &[LockedPackage], licences: &[Expression]) -> Vec<Value> {
    let mut all: BTreeMap<&String, (&String, BTreeSet<&str>)> = BTreeMap::new();
    for (package, expression) in packages.iter().zip(licences) {
        for (id, name) in &expression.refs {
            all.entry(id).or_insert_with(|| (name, BTreeSet::new())).1.insert(&package.name);
        }
    }
    let info = |(id, (name, packages)): (&String, (&String, BTreeSet<&str>))| {
        let files: Vec<String> = packages.iter().map(|name| format!("/usr/share/doc/{name}/copyright")).collect();
        json!({"licenseId": id, "name": name, "extractedText": format!("`{name}` in {}", files.join(", "))})
    };
    all.into_iter().map(info).collect()
}

fn id(package: &LockedPackage) -> String {
    let name = format!("{}-{}", package.name, package.architecture);
    format!("SPDXRef-deb-{}", name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-"))
}

fn entry(subject: &Subject<'_>, lock: &Lock, package: &LockedPackage, licence: &Expression) -> Value {
    let release = package.release.as_ref().and_then(|name| lock.releases.get(name));
    let origin = release.and_then(|release| release.origin.as_deref());
    let maintainer = subject.described.own(package).and_then(|own| own.maintainer.as_deref());
    let address = release.map(|release| format!("{}/{}", release.uri.trim_end_matches('/'), package.filename));
    json!({
        "SPDXID": id(package),
        "name": package.name,
        "versionInfo": package.version,
        "packageFileName": package.filename.rsplit('/').next().unwrap_or_default(),
        "downloadLocation": address.unwrap_or_else(|| UNSAID.into()),
        "filesAnalyzed": false,
        "checksums": [{"algorithm": "SHA256", "checksumValue": package.digest.hex()}],
        "sourceInfo": format!("built from the source package {} {}", package.source_name(), package.source_version()),
        "supplier": maintainer.map_or_else(|| UNSAID.into(), supplier),
        "licenseConcluded": UNSAID,
        "licenseDeclared": if licence.text.is_empty() { UNSAID } else { &licence.text },
        "copyrightText": UNSAID,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl(subject, origin, package),
        }],
    })
}

/// `Maintainer` (`Name <address>`) as SPDX 2.3 has it in 7.5: of a person, or of several.
fn supplier(maintainer: &str) -> String {
    let (name, address) = maintainer.split_once('<').unwrap_or((maintainer, ""));
    let (name, address) = (name.trim().trim_matches('"'), address.trim_end_matches('>').trim());
    let words = name.to_ascii_lowercase();
    let are_several = address.contains("@lists.") || words.split_whitespace().any(|word| TEAMS.contains(&word));
    let kind = if are_several { "Organization" } else { "Person" };
    if address.is_empty() { format!("{kind}: {name}") } else { format!("{kind}: {name} ({address})") }
}

/// `pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc` (purl-spec, type deb). Whose package it is
/// says the image's os-release, else `Origin` of the package's release.
fn purl(subject: &Subject<'_>, origin: Option<&str>, package: &LockedPackage) -> String {
    let (id, release) = subject.described.distribution.clone().unwrap_or_default();
    let origin = origin.unwrap_or(DEBIAN).to_ascii_lowercase();
    let distribution = escaped(if id.is_empty() { &origin } else { &id });
    let mut out = format!("pkg:deb/{distribution}/{}@{}", escaped(&package.name), escaped(&package.version));
    out.push_str(&format!("?arch={}", package.architecture));
    if !release.is_empty() {
        out.push_str(&format!("&distro={distribution}-{}", escaped(&release)));
    }
    if package.source.is_some() || package.source_version.is_some() {
        let source = format!("{}@{}", package.source_name(), package.source_version());
        out.push_str(&format!("&upstream={}", escaped(&source)));
    }
    out
}

/// Percent-encoded, all but what RFC 3986 calls unreserved.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::LOCK_VERSION;

    fn package(name: &str, source: Option<&str>) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            version: "12.2.0-14+deb12u1".into(),
            architecture: "amd64".into(),
            source: source.map(Into::into),
            source_version: None,
            release: None,
            filename: format!("pool/{name}.deb"),
            size: 1,
            digest: Digest::of(name.as_bytes()),
        }
    }

    fn document(described: &Described, packages: &[LockedPackage]) -> Value {
        let digest = Digest::of(b"m");
        let subject = Subject { name: "cc", manifest: &digest, created: 0, described };
        let lock = Lock {
            version: LOCK_VERSION,
            inputs: Digest::of(b""),
            releases: BTreeMap::new(),
            packages: BTreeMap::new(),
        };
        spdx(subject, &lock, packages).unwrap()
    }

    #[test]
    fn a_package_by_its_purl_and_its_deb() {
        let described = Described { distribution: Some(("debian".into(), "12".into())), ..Described::default() };
        let document = document(&described, &[package("libstdc++6", Some("gcc-12"))]);
        let entry = &document["packages"][1];
        assert_eq!(entry["SPDXID"], "SPDXRef-deb-libstdc--6-amd64");
        assert_eq!(entry["checksums"][0]["checksumValue"], Digest::of(b"libstdc++6").hex());
        assert_eq!(
            entry["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12\
             &upstream=gcc-12%4012.2.0-14%2Bdeb12u1"
        );
        assert_eq!(document["relationships"][1]["relatedSpdxElement"], entry["SPDXID"]);
        assert_eq!((&entry["licenseDeclared"], &entry["supplier"]), (&UNSAID.into(), &UNSAID.into()));
        assert!(document.get("hasExtractedLicensingInfos").is_none());
    }

    #[test]
    fn whose_package_it_is_says_os_release_then_the_archive() {
        let ubuntu = Described { distribution: Some(("ubuntu".into(), "24.04".into())), ..Described::default() };
        let none = Described::default();
        for (described, origin, expect) in [
            (&ubuntu, Some("Ubuntu"), "pkg:deb/ubuntu/p@12.2.0-14%2Bdeb12u1?arch=amd64&distro=ubuntu-24.04"),
            (&none, Some("Ubuntu"), "pkg:deb/ubuntu/p@12.2.0-14%2Bdeb12u1?arch=amd64"),
            (&none, None, "pkg:deb/debian/p@12.2.0-14%2Bdeb12u1?arch=amd64"),
        ] {
            let digest = Digest::of(b"m");
            let subject = Subject { name: "x", manifest: &digest, created: 0, described };
            assert_eq!(purl(&subject, origin, &package("p", None)), expect);
        }
    }

    #[test]
    fn suppliers_are_people_or_several() {
        for (maintainer, expect) in [
            (
                "GNU Libc Maintainers <debian-glibc@lists.debian.org>",
                "Organization: GNU Libc Maintainers (debian-glibc@lists.debian.org)",
            ),
            ("Santiago Vila <s@example.org>", "Person: Santiago Vila (s@example.org)"),
            ("Nobody", "Person: Nobody"),
        ] {
            assert_eq!(supplier(maintainer), expect);
        }
    }

    #[test]
    fn licences_without_an_id_are_explained_once() {
        let facts = r#"{"distribution": null, "packages": {
            "a:amd64": {"maintainer": null, "licences": ["GPL-2+", "odd"]}, "b:amd64": {"maintainer": null, "licences": ["odd"]}}}"#;
        let described: Described = serde_json::from_str(facts).unwrap();
        let document = document(&described, &[package("a", None), package("b", None)]);
        assert_eq!(document["packages"][1]["licenseDeclared"], "GPL-2.0-or-later AND LicenseRef-odd");
        assert_eq!(document["packages"][2]["licenseDeclared"], "LicenseRef-odd");
        let own = document["hasExtractedLicensingInfos"].as_array().unwrap();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0]["extractedText"], "`odd` in /usr/share/doc/a/copyright, /usr/share/doc/b/copyright");
    }
}

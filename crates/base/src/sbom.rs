//! What an image holds, as an SPDX 2.3 document: one entry a package, with its .deb, source package and purl.
//!
//! Knows nothing of how the document is attached to the image.

use cooper_oci::Digest;
use serde_json::{Value, json};

use crate::image::rfc3339;
use crate::{Lock, LockedPackage, Result};

/// What the document is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Name of the image, for people.
    pub name: &'a str,
    /// Digest of its manifest.
    pub manifest: &'a Digest,
    /// Date of the image, seconds since 1970.
    pub created: i64,
    /// `ID` of its os-release (`debian`).
    pub distribution: &'a str,
    /// `VERSION_ID` of its os-release (`12`).
    pub release: &'a str,
}

/// The document. The same packages give the same bytes: its date is the image's.
pub fn spdx(subject: Subject<'_>, lock: &Lock, packages: &[LockedPackage]) -> Result<Value> {
    let image = json!({
        "SPDXID": "SPDXRef-image",
        "name": subject.name,
        "versionInfo": subject.manifest.to_string(),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": subject.manifest.hex()}],
    });
    let relation = |from: &str, kind: &str, to: &str| json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to});
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image")];
    relations.extend(packages.iter().map(|package| relation("SPDXRef-image", "CONTAINS", &id(package))));
    let all: Vec<Value> = std::iter::once(image).chain(packages.iter().map(|p| entry(&subject, lock, p))).collect();
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("urn:oci:{}", subject.manifest),
        "creationInfo": {"created": rfc3339(subject.created)?, "creators": ["Tool: cooper"]},
        "packages": all,
        "relationships": relations,
    }))
}

fn id(package: &LockedPackage) -> String {
    let name = format!("{}-{}", package.name, package.architecture);
    format!("SPDXRef-deb-{}", name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-"))
}

fn entry(subject: &Subject<'_>, lock: &Lock, package: &LockedPackage) -> Value {
    let release = package.release.as_ref().and_then(|name| lock.releases.get(name));
    let address = release.map(|release| format!("{}/{}", release.uri.trim_end_matches('/'), package.filename));
    json!({
        "SPDXID": id(package),
        "name": package.name,
        "versionInfo": package.version,
        "packageFileName": package.filename.rsplit('/').next().unwrap_or_default(),
        "downloadLocation": address.unwrap_or_else(|| "NOASSERTION".into()),
        "filesAnalyzed": false,
        "checksums": [{"algorithm": "SHA256", "checksumValue": package.digest.hex()}],
        "sourceInfo": format!("built from the source package {} {}", package.source_name(), package.source_version()),
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl(subject, package),
        }],
    })
}

/// `pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc` (purl-spec, type deb).
fn purl(subject: &Subject<'_>, package: &LockedPackage) -> String {
    let distribution = escaped(subject.distribution);
    let mut out = format!("pkg:deb/{distribution}/{}@{}", escaped(&package.name), escaped(&package.version));
    out.push_str(&format!("?arch={}&distro={distribution}-{}", package.architecture, escaped(subject.release)));
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

    #[test]
    fn a_package_by_its_purl_and_its_deb() {
        let package = LockedPackage {
            name: "libstdc++6".into(),
            version: "12.2.0-14+deb12u1".into(),
            architecture: "amd64".into(),
            source: Some("gcc-12".into()),
            source_version: None,
            release: None,
            filename: "pool/libstdc++6.deb".into(),
            size: 1,
            digest: Digest::of(b"x"),
        };
        let digest = Digest::of(b"m");
        let subject = Subject { name: "cc", manifest: &digest, created: 0, distribution: "debian", release: "12" };
        let lock = Lock {
            version: LOCK_VERSION,
            inputs: Digest::of(b""),
            releases: BTreeMap::new(),
            packages: BTreeMap::new(),
        };
        let document = spdx(subject, &lock, std::slice::from_ref(&package)).unwrap();
        let entry = &document["packages"][1];
        assert_eq!(entry["SPDXID"], "SPDXRef-deb-libstdc--6-amd64");
        assert_eq!(entry["checksums"][0]["checksumValue"], Digest::of(b"x").hex());
        assert_eq!(
            entry["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12\
             &upstream=gcc-12%4012.2.0-14%2Bdeb12u1"
        );
        assert_eq!(document["relationships"][1]["relatedSpdxElement"], entry["SPDXID"]);
    }
}

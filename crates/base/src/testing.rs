//! Packages made of a few entries, for the tests of every crate above this one.
//!
//! Builds only what is right; a test that needs a broken package breaks one.

use cooper_oci::testing::{file, tar};
use cooper_oci::{Digest, Entry};

use crate::{LockedPackage, Result};

/// An ar archive of named members.
pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let zeros = "0           0     0     100644  ";
        out.extend(format!("{name:<16}{zeros}{:<10}`\n", bytes.len()).as_bytes());
        out.extend(*bytes);
        out.extend(vec![b'\n'; bytes.len() % 2]);
    }
    out
}

/// An uncompressed .deb of control files and entries. `control` is the text of the first control file.
pub fn deb(control: &str, scripts: &[(&str, &str)], entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut files = vec![file("control", control.as_bytes())];
    files.extend(scripts.iter().map(|(name, text)| file(name, text.as_bytes())));
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &tar(&files)), ("data.tar", &tar(entries))])
}

/// The paragraph of a package, with further lines.
pub fn control(name: &str, version: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
         Description: a test\n{more}"
    )
}

/// What a lock says of a .deb.
///
/// # Panics
/// When the package is broken; this is for tests.
pub fn locked(deb: &[u8]) -> LockedPackage {
    let control = crate::deb::read_deb(deb, &mut |_, _| -> Result<()> { Ok(()) }).expect("a test's package is whole");
    let field = |name: &str| control.field(name).expect("a test's package has its fields");
    LockedPackage {
        name: field("Package"),
        version: field("Version"),
        architecture: field("Architecture"),
        source: None,
        source_version: None,
        release: None,
        filename: format!("{}.deb", field("Package")),
        size: deb.len() as u64,
        digest: Digest::of(deb),
    }
}

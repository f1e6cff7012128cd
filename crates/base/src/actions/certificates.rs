//! The bundle of trusted certificates, as `update-ca-certificates` writes it.

use std::path::Path;

use cooper_oci::EntryKind;

use super::{Given, View};
use crate::layers::Item;
use crate::{Error, ErrorKind, Manifest, Result};

/// Where ca-certificates keeps them, one a file.
const SHARED: &str = "usr/share/ca-certificates";

/// The bundle that programs read.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// OpenSSL's own name of the bundle, a link.
const OPENSSL: &str = "usr/lib/ssl/cert.pem";

/// A certificate has some kB.
const PEM_LIMIT: usize = 1 << 20;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The bundle, and OpenSSL's link to it; nothing when there is no certificate.
pub(super) fn items(manifest: &Manifest, view: &View<'_>, given: &Given) -> Result<Vec<Item>> {
    let declared = manifest.certificates.clone().unwrap_or_default();
    let mut bundle = String::new();
    let packaged = view.below(Path::new(SHARED)).into_iter().filter(|item| {
        matches!(item.entry.kind, EntryKind::File { .. }) && item.path().extension().is_some_and(|ext| ext == "crt")
    });
    if !declared.only_added {
        for item in packaged {
            let name = format!("/{}", item.path().display());
            let bytes = item.bytes(PEM_LIMIT).map_err(|e| unreadable(&name).with_source(e))?;
            bundle.push_str(&certificate(&name, &bytes)?);
        }
    }
    for path in &declared.add {
        let name = path.display().to_string();
        let bytes = given.files.get(path).ok_or_else(|| unreadable(&name))?;
        bundle.push_str(&certificate(&name, bytes)?);
    }
    if bundle.is_empty() {
        return Ok(Vec::new());
    }
    let mut items = vec![Item::file(BUNDLE, 0o644, bundle)];
    if view.get(OPENSSL).is_none() {
        items.push(Item::symlink(OPENSSL, format!("/{BUNDLE}")));
    }
    Ok(items)
}

fn unreadable(name: &str) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read the certificate {name}"))
}

/// The text of a PEM file, with a line end. What is no certificate is refused: OpenSSL stops reading a bundle there.
pub(crate) fn certificate(name: &str, bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).ok().map(|text| text.replace('\r', "")).unwrap_or_default();
    let (begins, ends) = (text.matches(BEGIN).count(), text.matches(END).count());
    if begins == 0 || begins != ends || text.contains("PRIVATE KEY") {
        let what = format!("{name} is not a file of certificates in PEM, or it holds a private key");
        return Err(Error::new(ErrorKind::Invalid, what));
    }
    Ok(format!("{}\n", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_enter_the_bundle() {
        let pem = format!("{BEGIN}\r\nAAAA\r\n{END}");
        assert_eq!(certificate("x", pem.as_bytes()).unwrap(), format!("{BEGIN}\nAAAA\n{END}\n"));
        for bad in ["", "text", BEGIN, &format!("{pem}\n-----BEGIN PRIVATE KEY-----")] {
            assert!(certificate("x", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

//! The bundle of trusted certificates, as `update-ca-certificates` writes it.

use std::path::Path;

use base64::Engine as _;
use cooper_oci::EntryKind;
use sha1::{Digest as _, Sha1};

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

/// Java's own store, which its runtime's `cacerts` links to.
const JAVA: &str = "etc/ssl/certs/java/cacerts";

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
    let mut items = Vec::new();
    if view.links_to(Path::new(JAVA)) {
        items.push(Item::file(JAVA, 0o644, keystore(&bundle)?));
    }
    items.push(Item::file(BUNDLE, 0o644, bundle));
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

/// What keytool and Java ask for when nobody chose a password; it protects nothing.
const PASSWORD: &str = "changeit";

/// A Java keystore of the certificates (format JKS, version 2): entries of trusted certificates, then a digest.
fn keystore(bundle: &str) -> Result<Vec<u8>> {
    const MAGIC: u32 = 0xfeed_feed;
    const TRUSTED: u32 = 2;
    let ders = bundle.split(BEGIN).skip(1).map(|text| {
        let text: String = text.split(END).next().unwrap_or_default().split_whitespace().collect();
        let der = base64::engine::general_purpose::STANDARD.decode(text);
        der.map_err(|e| Error::new(ErrorKind::Invalid, "a certificate is not in base64").with_source(e))
    });
    let ders = ders.collect::<Result<Vec<_>>>()?;
    let mut out: Vec<u8> = [MAGIC, 2, ders.len() as u32].iter().flat_map(|word| word.to_be_bytes()).collect();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u16).to_be_bytes());
        out.extend(text.as_bytes());
    };
    for (index, der) in ders.iter().enumerate() {
        out.extend(TRUSTED.to_be_bytes());
        text(&mut out, &format!("certificate-{index}"));
        // No date: the same certificates give the same bytes.
        out.extend(0u64.to_be_bytes());
        text(&mut out, "X.509");
        out.extend((der.len() as u32).to_be_bytes());
        out.extend(der);
    }
    let seed: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let digest = Sha1::new().chain_update(seed).chain_update(b"Mighty Aphrodite").chain_update(&out).finalize();
    out.extend(digest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keystore_has_each_certificate() {
        let bytes = keystore(&format!("{BEGIN}\nAAEC\n{END}\n{BEGIN}\nAw==\n{END}\n")).unwrap();
        assert_eq!(&bytes[..16], [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]);
        assert_eq!(bytes.windows(7).filter(|bytes| bytes == b"\0\x05X.509").count(), 2);
        assert_eq!(&bytes[bytes.len() - 25..bytes.len() - 20], [0, 0, 0, 1, 3]);
    }

    #[test]
    fn only_certificates_enter_the_bundle() {
        let pem = format!("{BEGIN}\r\nAAAA\r\n{END}");
        assert_eq!(certificate("x", pem.as_bytes()).unwrap(), format!("{BEGIN}\nAAAA\n{END}\n"));
        for bad in ["", "text", BEGIN, &format!("{pem}\n-----BEGIN PRIVATE KEY-----")] {
            assert!(certificate("x", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

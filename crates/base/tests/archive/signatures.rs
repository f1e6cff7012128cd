//! What a signature is worth: one test for each rule.

use cooper_base::pgp::Keyring;
use pgp::composed::KeyType;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PacketParser, SignatureType};
use pgp::ser::Serialize;

use crate::NOW;
use crate::signer::{How, Signer};

const TEXT: &str = "Suite: stable\n- a line with a dash\n";

fn outcome(keyring: &Keyring, bytes: &[u8]) -> String {
    keyring.open_clearsigned(bytes, "InRelease", NOW).map_or_else(|e| e.to_string(), |signed| signed.keys.join(" "))
}

#[track_caller]
fn check(signer: &Signer, how: How, expect: &str) {
    let found = outcome(&signer.keyring(), &signer.clearsign(TEXT, how));
    let good = expect == "good" && found == signer.fingerprint();
    assert!(good || expect != "good" && found.contains(expect), "{found}\nis not: {expect}");
}

#[test]
fn a_good_signature_gives_the_text_that_was_signed() {
    let signer = Signer::ed25519();
    let signed = signer.keyring().open_clearsigned(&signer.clearsign(TEXT, How::default()), "InRelease", NOW).unwrap();
    assert_eq!(signed.text.replace("\r\n", "\n").trim_end(), TEXT.trim_end());
    assert_eq!(signed.keys, [signer.fingerprint()]);
    check(&signer, How { by_subkey: true, ..How::default() }, "good");
}

#[test]
fn a_detached_signature() {
    let signer = Signer::ed25519();
    let signature = signer.detached(TEXT);
    let keyring = signer.keyring();
    assert!(keyring.open_detached(TEXT.as_bytes(), &signature, "Release", NOW).is_ok());
    let error = keyring.open_detached(b"Suite: other\n", &signature, "Release", NOW).unwrap_err();
    assert!(error.to_string().contains("it was changed"), "{error}");
}

#[test]
fn changed_text_and_text_outside_the_signature_are_refused() {
    let signer = Signer::ed25519();
    let bytes = String::from_utf8(signer.clearsign(TEXT, How::default())).unwrap();
    let keyring = signer.keyring();
    assert!(outcome(&keyring, bytes.replace("stable", "stablE").as_bytes()).contains("it was changed"));
    for hostile in [format!("Suite: evil\n{bytes}"), format!("{bytes}\nSuite: evil\n"), TEXT.to_owned(), String::new()]
    {
        assert!(outcome(&keyring, hostile.as_bytes()).contains("is not a clear-signed text"), "{hostile}");
    }
}

#[test]
fn an_unknown_key_is_named() {
    let (signer, other) = (Signer::ed25519(), Signer::ed25519());
    let found = outcome(&other.keyring(), &signer.clearsign(TEXT, How::default()));
    assert!(found.contains("not in the keyring") && found.contains(&signer.fingerprint()), "{found}");
}

#[test]
fn weak_hashes_and_wrong_times_are_refused() {
    // With keys of this kind rPGP itself lets weak hashes pass.
    let signer = Signer::new(KeyType::Rsa(2048));
    check(&signer, How { hash: HashAlgorithm::Sha1, ..How::default() }, "hash that is too weak");
    check(&signer, How { hash: HashAlgorithm::Md5, ..How::default() }, "hash that is too weak");
    check(&signer, How { life: 30, ..How::default() }, "a signature has expired");
    check(&signer, How { life: 90, ..How::default() }, "good");
    check(&signer, How { created: NOW + 2 * 86400, ..How::default() }, "from the future");
}

#[test]
fn expired_revoked_and_unwilling_keys_are_refused() {
    let mut signer = Signer::new(KeyType::Rsa(2048));
    signer.describe(0, true, HashAlgorithm::Sha512);
    check(&signer, How::default(), "good");
    signer.describe(86400, true, HashAlgorithm::Sha512);
    check(&signer, How::default(), "has expired");
    signer.describe(0, false, HashAlgorithm::Sha512);
    check(&signer, How::default(), "may not sign documents");
    signer.describe(0, true, HashAlgorithm::Sha1);
    check(&signer, How::default(), "no valid signature by itself");
    signer.describe(0, true, HashAlgorithm::Sha512);
    signer.revoke();
    check(&signer, How::default(), "is revoked");
}

#[test]
fn subkeys_must_be_bound_both_ways_and_alive() {
    let by_subkey = How { by_subkey: true, ..How::default() };
    let with = |typ, life, with_back| {
        let mut signer = Signer::ed25519();
        signer.over_subkey(typ, life, with_back);
        signer
    };
    check(&with(SignatureType::SubkeyBinding, 0, true), by_subkey, "good");
    check(&with(SignatureType::SubkeyBinding, 86400, true), by_subkey, "has expired");
    check(&with(SignatureType::SubkeyBinding, 0, false), by_subkey, "does not confirm");
    check(&with(SignatureType::SubkeyRevocation, 0, true), by_subkey, "is revoked");
    let mut stolen = Signer::ed25519();
    stolen.public.public_subkeys = Signer::ed25519().public.public_subkeys;
    let own = Signer::ed25519();
    let foreign = Signer { key: own.key.clone(), public: stolen.public.clone() };
    check(&foreign, by_subkey, "not in the keyring");
    // The subkey's own key signs, under a primary key that never bound it.
    let mut adopted = Signer::ed25519();
    adopted.public.public_subkeys = own.public.public_subkeys.clone();
    let keyring = adopted.keyring();
    let found = outcome(&keyring, &own.clearsign(TEXT, by_subkey));
    assert!(found.contains("is not bound to it"), "{found}");
}

/// Made with GnuPG: an RSA key of 1024 bits, and what it signed.
#[test]
fn short_rsa_keys_are_refused() {
    let mut keyring = Keyring::default();
    keyring.add(include_bytes!("rsa1024.asc"), "rsa1024.asc").unwrap();
    let found = outcome(&keyring, include_bytes!("rsa1024.signed"));
    assert!(found.contains("fewer than 2048 bits"), "{found}");
}

/// As in Ubuntu's keyring, which was made with GnuPG.
#[test]
fn a_keyring_may_hold_notes_of_trust() {
    let signer = Signer::ed25519();
    let plain = signer.public.to_bytes().unwrap();
    let packets = PacketParser::new(&plain[..]).flat_map(|packet| {
        let trust = [0xb0, 2, 0, 0];
        [packet.unwrap().to_bytes().unwrap(), trust.to_vec()].concat()
    });
    let mut keyring = Keyring::default();
    keyring.add(&packets.collect::<Vec<u8>>(), "keyring").unwrap();
    assert_eq!(outcome(&keyring, &signer.clearsign(TEXT, How::default())), signer.fingerprint());
    let by_subkey = How { by_subkey: true, ..How::default() };
    assert_eq!(outcome(&keyring, &signer.clearsign(TEXT, by_subkey)), signer.fingerprint());
}

#[test]
fn what_is_no_keyring_is_refused() {
    for bytes in
        [&b""[..], b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"]
    {
        let error = Keyring::default().add(bytes, "keys.asc").unwrap_err().to_string();
        assert!(error.contains("keys.asc"), "{error}");
    }
}

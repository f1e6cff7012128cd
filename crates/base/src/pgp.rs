//! OpenPGP signatures of archives (RFC 9580): clear-signed and detached, against a pinned keyring.
//!
//! rPGP checks the arithmetic; what a signature is worth is decided here: expiry, revocation, bindings of subkeys, weak
//! algorithms. Reads no clock. Knows nothing of what is signed.

use std::io::Cursor;

use pgp::composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams, Tag, Timestamp, VerifyingKey};

use crate::{Error, ErrorKind, Result};

/// Bytes of a keyring; Debian's has 56 kB.
pub const KEYRING_LIMIT: usize = 4 << 20;

/// Signatures on one text; Debian's have three.
const SIGNATURES_MAX: usize = 32;

/// Bits of an RSA modulus below which a signature proves little.
const RSA_BITS_MIN: usize = 2048;

/// Clocks of archive and reader may differ this much, in seconds.
const CLOCK_SKEW: i64 = 24 * 60 * 60;

/// The keys that may sign.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

/// A text and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The text, exactly what was signed.
    pub text: String,
    /// Fingerprints of the primary keys whose signatures are good, upper-case hex, sorted.
    pub keys: Vec<String>,
}

impl Keyring {
    /// Adds the keys of a keyring, armoured or not. `what` names it in errors.
    pub fn add(&mut self, bytes: &[u8], what: &str) -> Result<()> {
        let fault = |why: String| Error::new(ErrorKind::Invalid, format!("{what} is not a keyring: {why}"));
        if bytes.len() > KEYRING_LIMIT {
            return Err(Error::new(ErrorKind::TooLarge, format!("{what} is too long for a keyring")));
        }
        let before = self.keys.len();
        if let Some(text) = armoured(bytes) {
            // apt takes several blocks in one file.
            for block in
                text.split_inclusive("-----END PGP PUBLIC KEY BLOCK-----").filter(|block| block.contains("-----BEGIN"))
            {
                let (keys, _) = SignedPublicKey::from_string_many(block).map_err(|e| fault(e.to_string()))?;
                self.keys.extend(keys.filter_map(std::result::Result::ok));
            }
        } else {
            self.keys
                .extend(SignedPublicKey::from_packets(packets(bytes).peekable()).filter_map(std::result::Result::ok));
        }
        if self.keys.len() == before { Err(fault("it has no key that can be read".to_owned())) } else { Ok(()) }
    }

    /// Verifies a clear-signed text (`InRelease`) at the time `now`, seconds since 1970. `what` names it in errors.
    pub fn open_clearsigned(&self, bytes: &[u8], what: &str, now: i64) -> Result<Signed> {
        let fault = |why: String| Error::new(ErrorKind::Untrusted, format!("{what} is not a clear-signed text: {why}"));
        let text = std::str::from_utf8(bytes).map_err(|e| fault(e.to_string()))?;
        let (message, _) = CleartextSignedMessage::from_string(text).map_err(|e| fault(e.to_string()))?;
        let text = message.signed_text();
        let keys = self.good_keys(message.signatures(), text.as_bytes(), what, now)?;
        Ok(Signed { text, keys })
    }

    /// Verifies a text (`Release`) by the detached signatures beside it.
    pub fn open_detached(&self, bytes: &[u8], signatures: &[u8], what: &str, now: i64) -> Result<Signed> {
        let fault = |why: String| Error::new(ErrorKind::Untrusted, format!("{what} or its signature is none: {why}"));
        let text = std::str::from_utf8(bytes).map_err(|e| fault(e.to_string()))?;
        let parsed = match armoured(signatures) {
            Some(armour) => DetachedSignature::from_string_many(armour).map(|(all, _)| all.collect::<Vec<_>>()),
            None => DetachedSignature::from_bytes_many(Cursor::new(signatures)).map(Iterator::collect),
        };
        let parsed = parsed.map_err(|e| fault(e.to_string()))?;
        let signatures: Vec<Signature> =
            parsed.into_iter().filter_map(|one| one.ok().map(|one| one.signature)).collect();
        let keys = self.good_keys(&signatures, bytes, what, now)?;
        Ok(Signed { text: text.to_owned(), keys })
    }

    /// One good signature is enough; those of unknown keys are no fault, and the first reason is told if none is good.
    fn good_keys(&self, signatures: &[Signature], text: &[u8], what: &str, now: i64) -> Result<Vec<String>> {
        let untrusted = |why: String| Error::new(ErrorKind::Untrusted, format!("{what}: {why}"));
        if signatures.len() > SIGNATURES_MAX {
            return Err(untrusted(format!("it has more than {SIGNATURES_MAX} signatures")));
        }
        let mut good = Vec::new();
        let mut reasons = Vec::new();
        for signature in signatures {
            match self.good_key(signature, text, now) {
                Ok(key) => good.push(key),
                Err(reason) => reasons.push(reason),
            }
        }
        good.sort();
        good.dedup();
        if !good.is_empty() {
            return Ok(good);
        }
        // A reason that names a known key says more than "unknown key".
        reasons.sort_by_key(|reason| reason.contains(UNKNOWN));
        let why = reasons.into_iter().next().unwrap_or_else(|| "it has no signature".to_owned());
        Err(untrusted(why).with_hint("check `signed-by`, and that the keyring is current"))
    }

    /// The fingerprint of the primary key a good signature belongs to, or why it is not good.
    fn good_key(&self, signature: &Signature, text: &[u8], now: i64) -> std::result::Result<String, String> {
        check_signature(signature, now)?;
        let mut reason = None;
        for key in &self.keys {
            let primary = fingerprint(&key.primary_key);
            if signature.verify(&key.primary_key, text).is_ok() {
                match check_primary(key, now).and_then(|()| check_may_sign(key)) {
                    Ok(()) => return Ok(primary),
                    Err(why) => reason = Some(format!("key {primary} {why}")),
                }
            }
            for subkey in &key.public_subkeys {
                if signature.verify(&subkey.key, text).is_ok() {
                    match check_primary(key, now).and_then(|()| check_subkey(key, subkey, now)) {
                        Ok(()) => return Ok(primary),
                        Err(why) => {
                            reason = Some(format!("subkey {} of key {primary} {why}", fingerprint(&subkey.key)))
                        }
                    }
                }
            }
        }
        Err(reason.unwrap_or_else(|| self.no_match(signature)))
    }

    fn no_match(&self, signature: &Signature) -> String {
        let named = |key: &dyn KeyDetails| {
            signature.issuer_fingerprint().iter().any(|issuer| **issuer == key.fingerprint())
                || signature.issuer_key_id().iter().any(|issuer| **issuer == key.legacy_key_id())
        };
        let known =
            self.keys.iter().any(|key| named(&key.primary_key) || key.public_subkeys.iter().any(|sub| named(&sub.key)));
        if known {
            return "the signature does not belong to this text: it was changed".to_owned();
        }
        let issuer = signature.issuer_fingerprint().first().map(|issuer| format!("{issuer:X}"));
        let issuer =
            issuer.or_else(|| signature.issuer_key_id().first().map(|issuer| format!("{issuer}").to_uppercase()));
        format!("{UNKNOWN} {}", issuer.unwrap_or_else(|| "nobody knows".to_owned()))
    }
}

/// Begins the reason given for signatures by keys that are not in the keyring.
const UNKNOWN: &str = "it is signed by a key that is not in the keyring:";

/// The packets of a binary keyring that keys are made of. GnuPG notes its own trust between them (RFC 9580, 5.10), which rPGP
/// would take for the end of a key; what cannot be read belongs to none, as in rPGP.
fn packets(bytes: &[u8]) -> impl Iterator<Item = pgp::errors::Result<Packet>> {
    let is_of_key = |packet: &pgp::errors::Result<Packet>| matches!(packet, Ok(packet) if !matches!(packet, Packet::Trust(_) | Packet::Marker(_) | Packet::Padding(_)));
    PacketParser::new(Cursor::new(bytes)).filter(is_of_key)
}

fn armoured(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.contains("-----BEGIN PGP").then_some(text)
}

fn fingerprint(key: &dyn KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

fn is_strong(hash: Option<HashAlgorithm>) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512))
}

/// What can be said of a signature without its key.
fn check_signature(signature: &Signature, now: i64) -> std::result::Result<(), String> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err("a signature is not one over a document".to_owned());
    }
    if !is_strong(signature.hash_alg()) {
        return Err("a signature uses a hash that is too weak".to_owned());
    }
    check_self_contained(signature, now)
}

/// Dates and critical parts of any signature.
fn check_self_contained(signature: &Signature, now: i64) -> std::result::Result<(), String> {
    let created = seconds(signature.created().ok_or("a signature has no date")?);
    if created > now + CLOCK_SKEW {
        return Err("a signature is from the future: check the clock".to_owned());
    }
    if signature
        .signature_expiration_time()
        .is_some_and(|life| life.as_secs() != 0 && created + i64::from(life.as_secs()) <= now)
    {
        return Err("a signature has expired".to_owned());
    }
    let mut parts = signature.config().into_iter().flat_map(|config| config.hashed_subpackets());
    let unknown = |data: &SubpacketData| matches!(data, SubpacketData::Other(..) | SubpacketData::Experimental(..));
    if parts.any(|part| part.is_critical && unknown(&part.data)) {
        return Err("a signature has a critical part that is not understood".to_owned());
    }
    Ok(())
}

fn seconds(time: Timestamp) -> i64 {
    i64::from(time.as_secs())
}

/// The primary key: strong, bound to itself, not revoked, not expired.
fn check_primary(key: &SignedPublicKey, now: i64) -> std::result::Result<(), String> {
    let primary = &key.primary_key;
    check_algorithm(primary)?;
    if key.details.revocation_signatures.iter().any(|revocation| revocation.verify_key(primary).is_ok()) {
        return Err("is revoked".to_owned());
    }
    let newest = newest_self_signature(key, now).ok_or("has no valid signature by itself")?;
    check_life(primary, newest, now)
}

/// The primary key signs documents itself only if it says so, or does not say anything.
fn check_may_sign(key: &SignedPublicKey) -> std::result::Result<(), String> {
    let newest = newest_self_signature(key, i64::MAX / 2);
    let says = newest.is_some_and(|signature| {
        let mut parts = signature.config().into_iter().flat_map(|config| config.hashed_subpackets());
        parts.any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
    });
    match newest {
        Some(signature) if says && !signature.key_flags().sign() => Err("may not sign documents".to_owned()),
        _ => Ok(()),
    }
}

/// The newest valid signature by which the primary key describes itself: of the key, or of one of its user ids.
fn newest_self_signature(key: &SignedPublicKey, now: i64) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        let is_by_key = move |signature: &&Signature| {
            signature.is_certification() && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(is_by_key)
    });
    let good = |signature: &&Signature| is_strong(signature.hash_alg()) && check_self_contained(signature, now).is_ok();
    direct.chain(users).filter(good).max_by_key(|signature| signature.created())
}

/// A subkey: strong, bound by the primary and binding it in return, allowed to sign, not revoked, not expired.
fn check_subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: i64) -> std::result::Result<(), String> {
    let primary = &key.primary_key;
    check_algorithm(&subkey.key)?;
    let is_valid = |signature: &&Signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok();
    let of_type = |typ: SignatureType| subkey.signatures.iter().filter(move |signature| signature.typ() == Some(typ));
    if of_type(SignatureType::SubkeyRevocation).any(|signature| is_valid(&signature)) {
        return Err("is revoked".to_owned());
    }
    let good = |signature: &&Signature| is_strong(signature.hash_alg()) && check_self_contained(signature, now).is_ok();
    let bindings = of_type(SignatureType::SubkeyBinding).filter(is_valid).filter(good);
    let binding = bindings.max_by_key(|signature| signature.created()).ok_or("is not bound to it")?;
    if !binding.key_flags().sign() {
        return Err("may not sign documents".to_owned());
    }
    let back = binding.embedded_signature().filter(|back| is_strong(back.hash_alg()));
    if back.is_none_or(|back| back.verify_primary_key_binding(&subkey.key, primary).is_err()) {
        return Err("does not confirm that it belongs to it".to_owned());
    }
    check_life(&subkey.key, binding, now)
}

fn check_life(key: &dyn KeyDetails, described_by: &Signature, now: i64) -> std::result::Result<(), String> {
    let created = seconds(key.created_at());
    if created > now + CLOCK_SKEW {
        return Err("is from the future: check the clock".to_owned());
    }
    let life = described_by.key_expiration_time().map_or(0, |life| i64::from(life.as_secs()));
    if life != 0 && created + life <= now { Err("has expired".to_owned()) } else { Ok(()) }
}

fn check_algorithm(key: &(impl VerifyingKey + Serialize)) -> std::result::Result<(), String> {
    if matches!(key.algorithm(), PublicKeyAlgorithm::DSA | PublicKeyAlgorithm::Elgamal) {
        return Err("is of an algorithm that is too weak".to_owned());
    }
    // An RSA key in a packet is little more than its modulus and exponent.
    let too_short =
        matches!(key.public_params(), PublicParams::RSA(_)) && key.public_params().write_len() * 8 < RSA_BITS_MIN;
    if too_short { Err(format!("is an RSA key of fewer than {RSA_BITS_MIN} bits")) } else { Ok(()) }
}

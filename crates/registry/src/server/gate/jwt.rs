//! JSON Web Tokens in the compact form (RFC 7515, 7519), as docker's token authentication uses them. A key has one
//! algorithm, and a token is checked with that of the key: what the token says of itself (`alg`, `jwk`, `x5c`) chooses
//! nothing. Pure: time is an argument.

use std::fmt;

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::grants::Access;
use crate::{Error, ErrorKind, Result};

/// Tokens of real issuers have a few kilobytes.
const TOKEN_MAX: usize = 16 * 1024;
/// Clocks of an issuer and of this host may differ by this many seconds.
const LEEWAY_SECS: u64 = 60;
/// Type of a token that gives access. Outside issuers also write nothing, or RFC 9068's.
const ACCESS: &str = "JWT";
/// Type of a token that buys others. It is never taken as one that gives access.
const REFRESH: &str = "cooper-refresh+jwt";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Access,
    Refresh,
}

/// What a token says (distribution's token specification).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    #[serde(default)]
    pub(super) sub: String,
    pub(super) aud: Audience,
    /// Seconds since 1970, as the next two.
    pub(super) exp: u64,
    #[serde(default)]
    pub(super) nbf: u64,
    #[serde(default)]
    pub(super) iat: u64,
    #[serde(default)]
    pub(super) jti: String,
    #[serde(default, deserialize_with = "or_nothing")]
    pub(super) access: Vec<Access>,
    /// Which password a refresh token stands for: it ends with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) password: String,
}

/// `aud`: one name, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Audience {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Several(several) => several.iter().any(|one| one == name),
        }
    }
}

/// Some issuers write `null` for no access.
fn or_nothing<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Access>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// A public key, the one algorithm it is used with, and the name that tokens may call it by.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: &'static str,
    pub(super) material: Material,
}

/// The key itself.
pub(super) enum Material {
    Parsed(ParsedPublicKey),
    Rsa(RsaPublicKeyComponents<Vec<u8>>, &'static RsaParameters),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    fn verify(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Parsed(key) => key.verify_sig(signed, signature).is_ok(),
            Material::Rsa(key, parameters) => key.verify(parameters, signed, signature).is_ok(),
        }
    }
}

/// The key that signs.
pub(super) struct Signer {
    pair: Ed25519KeyPair,
    id: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// A key in PKCS#8 (DER).
    pub(super) fn new(pkcs8: &[u8]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8));
        let pair = pair.map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("this is no private key of Ed25519 in PKCS#8: {error}"))
                .with_hint("`openssl genpkey -algorithm ed25519` makes one")
        })?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pair.public_key().as_ref());
        Ok(Self { id: URL_SAFE_NO_PAD.encode(digest), pair })
    }

    /// A new key, in PKCS#8 (DER).
    pub(super) fn generate() -> Result<Vec<u8>> {
        let failed = |_| Error::new(ErrorKind::Io, "failed to make a signing key");
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        Ok(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
    }

    /// The public half.
    pub(super) fn key(&self) -> Result<Key> {
        let parsed = ParsedPublicKey::new(&signature::ED25519, self.pair.public_key().as_ref());
        let parsed =
            parsed.map_err(|error| Error::new(ErrorKind::Io, format!("failed to use the signing key: {error}")))?;
        Ok(Key { id: Some(self.id.clone()), algorithm: "EdDSA", material: Material::Parsed(parsed) })
    }

    /// The token that says `claims`.
    pub(super) fn sign(&self, claims: &Claims, purpose: Use) -> String {
        let typ = match purpose {
            Use::Access => ACCESS,
            Use::Refresh => REFRESH,
        };
        let header = Header { alg: "EdDSA".into(), typ: Some(typ.into()), kid: Some(self.id.clone()), crit: None };
        let part = |value: serde_json::Result<Vec<u8>>| URL_SAFE_NO_PAD.encode(value.unwrap_or_default());
        let signed = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(claims)));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a token has to be.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) purpose: Use,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// What `token` says, if one of `keys` signed it, here and now and for this registry. Errors are for the log; they hold
/// nothing of the token.
pub(super) fn verify(token: &str, keys: &[Key], expected: &Expected<'_>) -> Result<Claims, &'static str> {
    if token.len() > TOKEN_MAX {
        return Err("too long");
    }
    let (signed, signature) = token.rsplit_once('.').ok_or("not a token")?;
    let (header, claims) = signed.split_once('.').ok_or("not a token")?;
    let header: Header = part(header)?;
    check_header(&header, expected.purpose)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "not a token")?;
    let by_id = |key: &&Key| match (&key.id, &header.kid) {
        (Some(id), Some(kid)) => id == kid,
        // A key without a name is tried for every token, a token without one with every key.
        (None, _) | (_, None) => true,
    };
    let mut named = keys.iter().filter(by_id).peekable();
    named.peek().ok_or("the key is unknown")?;
    let mut right = named.filter(|key| key.algorithm == header.alg).peekable();
    right.peek().ok_or("the algorithm is not the key's")?;
    if !right.any(|key| key.verify(signed.as_bytes(), &signature)) {
        return Err("the signature is wrong");
    }
    let claims: Claims = part(claims)?;
    check_claims(&claims, expected)?;
    Ok(claims)
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "not a token")?;
    serde_json::from_slice(&bytes).map_err(|_| "not a token")
}

fn check_header(header: &Header, purpose: Use) -> Result<(), &'static str> {
    if header.crit.is_some() {
        return Err("it asks for an extension");
    }
    let is = |name: &str| header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(name));
    let fits = match purpose {
        Use::Access => header.typ.is_none() || is(ACCESS) || is("at+jwt") || is("application/at+jwt"),
        Use::Refresh => is(REFRESH),
    };
    if fits { Ok(()) } else { Err("it is for something else") }
}

fn check_claims(claims: &Claims, expected: &Expected<'_>) -> Result<(), &'static str> {
    if claims.iss != expected.issuer {
        return Err("another issuer made it");
    }
    if !claims.aud.has(expected.audience) {
        return Err("it is for another service");
    }
    if expected.now >= claims.exp.saturating_add(LEEWAY_SECS) {
        return Err("it has expired");
    }
    if expected.now.saturating_add(LEEWAY_SECS) < claims.nbf {
        return Err("it is not valid yet");
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Public keys of an outside issuer of tokens, from PEM or from a JWK Set (RFC 7517), and the private key that signs this
//! server's own. Pure.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::Deserialize;

use super::jwt::{Key, Material, Signer};
use crate::{Error, ErrorKind, Result};

/// Keys of one issuer; more is a mistake, and each may be tried for each token.
const KEYS_MAX: usize = 64;

/// The public keys in `text`: `PUBLIC KEY` blocks of PEM, or a JWK Set.
pub(crate) fn public_keys(text: &str) -> Result<Vec<Key>> {
    let keys = if text.trim_start().starts_with('{') { from_set(text)? } else { from_pem(text)? };
    match keys.len() {
        0 => Err(invalid("it holds no key that signatures can be checked with")),
        1..=KEYS_MAX => Ok(keys),
        n => Err(invalid(format!("it holds {n} keys, more than {KEYS_MAX}"))),
    }
}

/// The signing key in `text`, PEM of PKCS#8.
pub(crate) fn signer(text: &str) -> Result<Signer> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        invalid("it holds no `PRIVATE KEY` in PEM").with_hint("`openssl genpkey -algorithm ed25519` makes one")
    })?;
    Signer::new(der.secret_pkcs8_der())
}

/// A new key for a server that makes its own tokens: PEM of PKCS#8, a secret.
pub fn new_signing_key() -> Result<String> {
    use base64::engine::general_purpose::STANDARD;
    // 48 bytes: one line of 64 characters.
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(Signer::generate()?)))
}

fn from_pem(text: &str) -> Result<Vec<Key>> {
    let keys = SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()).map(|found| {
        let der = found.map_err(|error| invalid(format!("broken PEM: {error}")))?;
        from_der(&der)
    });
    let keys = keys.collect::<Result<Vec<_>>>()?;
    if keys.is_empty() && text.contains("BEGIN CERTIFICATE") {
        let hint = "`openssl x509 -in FILE -noout -pubkey` prints the key of a certificate";
        return Err(invalid("it holds certificates, not public keys").with_hint(hint));
    }
    Ok(keys)
}

/// The key of a `SubjectPublicKeyInfo` (RFC 5280), by what kind it is.
fn from_der(der: &[u8]) -> Result<Key> {
    let kinds: [(&'static str, &'static dyn Parse); 4] = [
        ("EdDSA", &signature::ED25519),
        ("ES256", &signature::ECDSA_P256_SHA256_FIXED),
        ("ES384", &signature::ECDSA_P384_SHA384_FIXED),
        ("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
    ];
    let mut keys = kinds.into_iter().filter_map(|(algorithm, kind)| {
        Some(Key { id: None, algorithm, material: Material::Parsed(kind.parse(der)?) })
    });
    keys.next().ok_or_else(unusable)
}

/// What a public key is parsed for.
trait Parse: VerificationAlgorithm {
    fn parse(&'static self, key: &[u8]) -> Option<ParsedPublicKey>;
}

macro_rules! parse {
    ($($kind:ty),*) => {$(
        impl Parse for $kind {
            fn parse(&'static self, key: &[u8]) -> Option<ParsedPublicKey> {
                ParsedPublicKey::new(self, key).ok()
            }
        }
    )*};
}
parse!(signature::EdDSAParameters, signature::EcdsaVerificationAlgorithm, RsaParameters);

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// A JSON Web Key; what it has beside these is for other uses.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
}

fn from_set(text: &str) -> Result<Vec<Key>> {
    let set: Set = serde_json::from_str(text).map_err(|error| invalid(format!("broken JWK Set: {error}")))?;
    let signing = set.keys.into_iter().filter(|jwk| jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig"));
    signing
        .enumerate()
        .map(|(index, jwk)| {
            let name = jwk.kid.clone().unwrap_or_else(|| format!("number {}", index + 1));
            from_jwk(jwk).map_err(|error| {
                let hint = error.hint().map(str::to_owned);
                hint.into_iter().fold(invalid(format!("key {name}: {error}")), Error::with_hint)
            })
        })
        .collect()
}

fn from_jwk(jwk: Jwk) -> Result<Key> {
    let member = |value: &Option<String>, name: &str| {
        let bytes = value.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        bytes.ok_or_else(|| invalid(format!("`{name}` is missing or broken")))
    };
    let (algorithm, material) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => ("EdDSA", signature::ED25519.parse(&member(&jwk.x, "x")?)),
        ("EC", Some("P-256")) => {
            ("ES256", point(&jwk, 32)?.and_then(|key| signature::ECDSA_P256_SHA256_FIXED.parse(&key)))
        }
        ("EC", Some("P-384")) => {
            ("ES384", point(&jwk, 48)?.and_then(|key| signature::ECDSA_P384_SHA384_FIXED.parse(&key)))
        }
        ("RSA", _) => {
            let (n, e) = (member(&jwk.n, "n")?, member(&jwk.e, "e")?);
            return rsa(jwk, n, e);
        }
        _ => return Err(unusable()),
    };
    if jwk.alg.is_some_and(|alg| alg != algorithm && !(alg == "Ed25519" && algorithm == "EdDSA")) {
        return Err(invalid("its `alg` is not for keys of its kind"));
    }
    Ok(Key { id: jwk.kid, algorithm, material: Material::Parsed(material.ok_or_else(unusable)?) })
}

/// A point of a curve, uncompressed (SEC 1); nothing when its coordinates are not `size` bytes long.
fn point(jwk: &Jwk, size: usize) -> Result<Option<Vec<u8>>> {
    let coordinate = |value: &Option<String>| value.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let (Some(x), Some(y)) = (coordinate(&jwk.x), coordinate(&jwk.y)) else {
        return Err(invalid("`x` or `y` is missing or broken"));
    };
    Ok((x.len() == size && y.len() == size).then(|| [vec![4], x, y].concat()))
}

fn rsa(jwk: Jwk, n: Vec<u8>, e: Vec<u8>) -> Result<Key> {
    let (algorithm, parameters) = match jwk.alg.as_deref() {
        None | Some("RS256") => ("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
        Some("RS384") => ("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
        Some("RS512") => ("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
        Some(_) => return Err(unusable()),
    };
    if !(256..=1024).contains(&n.len()) {
        return Err(invalid("an RSA key has 2048 to 8192 bits"));
    }
    Ok(Key { id: jwk.kid, algorithm, material: Material::Rsa(RsaPublicKeyComponents { n, e }, parameters) })
}

fn unusable() -> Error {
    let hint =
        "there are Ed25519 (EdDSA), P-256 (ES256), P-384 (ES384) and RSA of 2048 bits or more (RS256, RS384, RS512)";
    invalid("signatures of this kind of key are not known").with_hint(hint)
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

//! An ssh agent in this process that has keys of files: `--ssh ID=KEY`. The keys stay in memory.
//!
//! Knows nothing of steps. Speaks draft-ietf-sshm-ssh-agent as far as listing keys and signing with them.

use std::fs::DirBuilder;
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use num_bigint::BigUint;
use ssh_key::PrivateKey;
use ssh_key::private::{EcdsaKeypair, KeypairData, RsaKeypair};

use crate::error::{CommandError, CommandResult};

/// Bytes of a key file; BuildKit's limit.
const FILE_MAX: u64 = 100 * 1024;
/// Bytes of a message: OpenSSH's limit.
const MESSAGE_MAX: usize = 256 * 1024;
/// Message numbers.
const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Flags of a sign request: which hash an RSA key is to use.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// A key that signs.
struct Key {
    /// The public key as ssh has it.
    blob: Vec<u8>,
    comment: String,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(&'static str, EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Keys behind a socket in a private directory, which is removed when this is dropped.
pub(crate) struct KeyAgent {
    dir: PathBuf,
}

impl std::fmt::Debug for KeyAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyAgent(..)")
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

impl KeyAgent {
    /// Reads the keys and serves them on a socket in a new directory below `place`.
    pub(crate) fn start(paths: &[PathBuf], place: &Path) -> CommandResult<Self> {
        let keys = paths.iter().map(|path| read(path)).collect::<CommandResult<Vec<Key>>>()?;
        let failed = |e: std::io::Error| CommandError::failure("cannot serve the ssh keys").with_source(e);
        let agent = Self { dir: private_directory(place).map_err(failed)? };
        let listener = UnixListener::bind(agent.socket()).map_err(failed)?;
        let keys: Arc<[Key]> = keys.into();
        // Ends with the process; its connections end with their steps.
        let accept = move || {
            for client in listener.incoming().map_while(Result::ok) {
                let keys = Arc::clone(&keys);
                std::thread::spawn(move || serve(client, &keys));
            }
        };
        std::thread::Builder::new().spawn(accept).map_err(failed)?;
        Ok(agent)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("agent")
    }
}

fn private_directory(place: &Path) -> std::io::Result<PathBuf> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(std::io::Error::other)?;
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let dir = place.join(format!("cooper-ssh-{name}"));
    DirBuilder::new().mode(0o700).create(&dir)?;
    Ok(dir)
}

/// Reads a key file in OpenSSH's format.
fn read(path: &Path) -> CommandResult<Key> {
    let shown = path.display();
    let wrong = |what: &str| CommandError::usage(format!("--ssh: the key `{shown}` {what}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| wrong("cannot be read").with_source(e))?;
    file.take(FILE_MAX).read_to_string(&mut text).map_err(|e| wrong("cannot be read").with_source(e))?;
    if text.contains("ENCRYPTED") {
        return Err(encrypted(&wrong, path));
    }
    let key = PrivateKey::from_openssh(&text).map_err(|_| {
        wrong("is not in OpenSSH's format").with_hint(format!("change it with `ssh-keygen -p -f {shown}`"))
    })?;
    if key.is_encrypted() {
        return Err(encrypted(&wrong, path));
    }
    let blob = key.public_key().to_bytes().map_err(|e| wrong("has no public key").with_source(e))?;
    let pair = Pair::of(key.key_data()).ok_or_else(|| {
        wrong("is of a kind that is not supported")
            .with_hint("there are Ed25519, RSA and ECDSA; use an agent for others")
    })?;
    Ok(Key { blob, comment: key.comment().to_owned(), pair })
}

fn encrypted(wrong: &dyn Fn(&str) -> CommandError, path: &Path) -> CommandError {
    let hint = format!(
        "add it to an agent, which asks for the passphrase: `ssh-add {}`, then `--ssh default`",
        path.display()
    );
    wrong("has a passphrase").with_hint(hint)
}

impl Pair {
    fn of(key: &KeypairData) -> Option<Self> {
        match key {
            KeypairData::Ed25519(pair) => {
                let (seed, public) = (pair.private.to_bytes(), pair.public.0);
                Ed25519KeyPair::from_seed_and_public_key(&seed, &public).ok().map(Self::Ed25519)
            }
            KeypairData::Ecdsa(pair) => {
                let (name, algorithm, private) = match pair {
                    EcdsaKeypair::NistP256 { private, .. } => {
                        ("nistp256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING, private.as_slice())
                    }
                    EcdsaKeypair::NistP384 { private, .. } => {
                        ("nistp384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING, private.as_slice())
                    }
                    EcdsaKeypair::NistP521 { private, .. } => {
                        ("nistp521", &signature::ECDSA_P521_SHA512_FIXED_SIGNING, private.as_slice())
                    }
                };
                let public = pair.public_key_bytes();
                EcdsaKeyPair::from_private_key_and_public_key(algorithm, private, public)
                    .ok()
                    .map(|pair| Self::Ecdsa(name, pair))
            }
            KeypairData::Rsa(pair) => RsaKeyPair::from_der(&pkcs1(pair)?).ok().map(Self::Rsa),
            _ => None,
        }
    }

    /// A signature as ssh has it: the name of its algorithm, then its bytes.
    fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let (name, bytes) = match self {
            Self::Ed25519(pair) => ("ssh-ed25519".to_owned(), pair.sign(data).as_ref().to_vec()),
            Self::Ecdsa(curve, pair) => {
                let signed = pair.sign(&random, data).ok()?;
                let (r, s) = signed.as_ref().split_at(signed.as_ref().len() / 2);
                (format!("ecdsa-sha2-{curve}"), [string(&positive(r)), string(&positive(s))].concat())
            }
            Self::Rsa(pair) => {
                let (name, encoding) = match flags {
                    flags if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &signature::RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &signature::RSA_PKCS1_SHA256),
                    // SHA-1.
                    _ => return None,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, data, &mut signed).ok()?;
                (name.to_owned(), signed)
            }
        };
        Some([string(name.as_bytes()), string(&bytes)].concat())
    }
}

/// An RSA key as PKCS#1 has it (RFC 8017, A.1.2), which ssh's form lacks two numbers of.
fn pkcs1(pair: &RsaKeypair) -> Option<Vec<u8>> {
    let number = |bytes: &ssh_key::Mpint| bytes.as_positive_bytes().map(BigUint::from_bytes_be);
    let (n, e) = (number(&pair.public.n)?, number(&pair.public.e)?);
    let private = &pair.private;
    let (d, p, q, qinv) = (number(&private.d)?, number(&private.p)?, number(&private.q)?, number(&private.iqmp)?);
    let one = BigUint::from(1_u8);
    if p <= one || q <= one {
        return None;
    }
    let (dp, dq) = (&d % (&p - &one), &d % (&q - &one));
    let numbers = [BigUint::from(0_u8), n, e, d, p, q, dp, dq, qinv];
    let body: Vec<u8> = numbers.iter().flat_map(|number| der(0x02, &positive(&number.to_bytes_be()))).collect();
    Some(der(0x30, &body))
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let length = match body.len() {
        short @ 0..=0x7f => vec![short as u8],
        _ => [vec![0x80 | length.len() as u8], length].concat(),
    };
    [vec![tag], length, body.to_vec()].concat()
}

/// The shortest form that is not negative.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let bare: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    let sign = bare.first().is_none_or(|first| first & 0x80 != 0).then_some(0);
    sign.into_iter().chain(bare).collect()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn serve(mut client: UnixStream, keys: &[Key]) -> Option<()> {
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length).ok()?;
        let mut request = vec![
            0;
            (1..=MESSAGE_MAX)
                .contains(&(u32::from_be_bytes(length) as usize))
                .then(|| u32::from_be_bytes(length) as usize)?
        ];
        client.read_exact(&mut request).ok()?;
        let answer = answer(&request, keys).unwrap_or_else(|| vec![FAILURE]);
        client.write_all(&string(&answer)).ok()?;
    }
}

fn answer(request: &[u8], keys: &[Key]) -> Option<Vec<u8>> {
    let (kind, mut rest) = request.split_first()?;
    match *kind {
        REQUEST_IDENTITIES => {
            let one = |key: &Key| [string(&key.blob), string(key.comment.as_bytes())].concat();
            let count = (keys.len() as u32).to_be_bytes().to_vec();
            Some([vec![IDENTITIES], count, keys.iter().flat_map(one).collect()].concat())
        }
        SIGN_REQUEST => {
            let (blob, data) = (take(&mut rest)?, take(&mut rest)?);
            let flags = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
            let key = keys.iter().find(|key| key.blob == blob)?;
            Some([vec![SIGN_RESPONSE], string(&key.pair.sign(data, flags)?)].concat())
        }
        _ => None,
    }
}

/// The next string of a message.
fn take<'m>(rest: &mut &'m [u8]) -> Option<&'m [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(string)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn keygen(dir: &Path, kind: &[&str], passphrase: &str) -> Option<PathBuf> {
        let path = dir.join(kind.concat());
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", passphrase, "-C", "mine", "-t"]).args(kind).arg("-f").arg(&path);
        command.status().ok().filter(|status| status.success()).map(|_| path)
    }

    /// OpenSSH itself lists the keys, signs with them and verifies.
    #[test]
    fn openssh_can_use_the_keys() {
        let dir = tempfile::tempdir().unwrap();
        let kinds = [
            &["ed25519"][..],
            &["rsa", "-b", "2048"],
            &["ecdsa", "-b", "256"],
            &["ecdsa", "-b", "384"],
            &["ecdsa", "-b", "521"],
        ];
        let Some(paths) = kinds.iter().map(|kind| keygen(dir.path(), kind, "")).collect::<Option<Vec<_>>>() else {
            return eprintln!("skipped: there is no ssh-keygen (Debian: openssh-client)");
        };
        let agent = KeyAgent::start(&paths, dir.path()).unwrap();
        let ssh = |args: &[&str]| {
            let mut command = Command::new(args[0]);
            command.args(&args[1..]).env("SSH_AUTH_SOCK", agent.socket()).stdin(Stdio::null());
            command.output().unwrap()
        };
        let listed = String::from_utf8(ssh(&["ssh-add", "-l"]).stdout).unwrap();
        assert_eq!(listed.lines().filter(|line| line.contains(" mine ")).count(), kinds.len(), "{listed}");
        let data = dir.path().join("data");
        for path in &paths {
            std::fs::write(&data, "to be signed").unwrap();
            // The private file is gone: only the agent can sign.
            std::fs::remove_file(path).unwrap();
            let public = format!("{}.pub", path.display());
            let data = data.to_str().unwrap();
            let signed = ssh(&["ssh-keygen", "-q", "-Y", "sign", "-n", "test", "-f", &public, data]);
            assert!(signed.status.success(), "{public}: {}", String::from_utf8_lossy(&signed.stderr));
            let checked = Command::new("ssh-keygen")
                .args(["-Y", "check-novalidate", "-n", "test", "-s", &format!("{data}.sig")])
                .stdin(std::fs::File::open(data).unwrap())
                .output()
                .unwrap();
            assert!(checked.status.success(), "{public}: {}", String::from_utf8_lossy(&checked.stderr));
            std::fs::remove_file(format!("{data}.sig")).unwrap();
        }
        let place = agent.dir.clone();
        drop(agent);
        assert!(!place.exists());
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let junk = dir.path().join("junk");
        std::fs::write(&junk, "-----BEGIN RSA PRIVATE KEY-----\n").unwrap();
        let error = KeyAgent::start(&[junk], dir.path()).unwrap_err();
        assert!(error.message().contains("hint: change it with `ssh-keygen -p -f"), "{}", error.message());
        assert!(KeyAgent::start(&["/no/such".into()], dir.path()).is_err());
        if let Some(path) = keygen(dir.path(), &["ed25519"], "secret") {
            let error = KeyAgent::start(&[path], dir.path()).unwrap_err();
            assert!(error.message().contains("has a passphrase\nhint: add it to an agent"), "{}", error.message());
        }
    }

    #[test]
    fn hostile_requests_are_failures() {
        for request in [&[][..], &[99], &[13], &[13, 0, 0, 0, 9, 1], &[13, 255, 255, 255, 255], &[17, 0]] {
            assert_eq!(answer(request, &[]), None, "{request:?}");
        }
        assert_eq!(answer(&[11], &[]), Some(vec![12, 0, 0, 0, 0]));
    }
}

//! Content digests and the reader that cannot forget to check one (image-spec, descriptor.md, "Digests").

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::{Error, ErrorKind};

/// A registered digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `algorithm:hex` of some bytes. Always well formed: hex is lower case and of the algorithm's length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

impl Digest {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_sha256(sha2::Sha256::digest(bytes).into())
    }

    /// From the raw 32 bytes of a SHA-256.
    pub fn from_sha256(raw: [u8; 32]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex(&raw).into() }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The lower-case hex digits: safe as a file name.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first 12 hex digits, as users see it.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

fn hex(raw: &[u8]) -> String {
    use fmt::Write as _;
    raw.iter().fold(String::with_capacity(raw.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("invalid digest `{text}`: {why}"));
        let (name, hex) = text.split_once(':').ok_or_else(|| invalid("no `algorithm:` prefix"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(invalid("the algorithm is neither sha256 nor sha512")),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(invalid(&format!("expected {} hex digits, found {}", algorithm.hex_len(), hex.len())));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid("only the digits 0-9a-f are allowed"));
        }
        Ok(Self { algorithm, hex: hex.into() })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes and counts what is written to it.
#[derive(Clone, Debug)]
pub struct Hasher {
    state: State,
    size: u64,
}

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new(Algorithm::Sha256)
    }
}

impl Hasher {
    /// A fresh hasher.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::default()),
        };
        Self { state, size: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match &mut self.state {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// Bytes seen so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of everything seen.
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(hash) => Digest::from_sha256(hash.finalize().into()),
            State::Sha512(hash) => Digest { algorithm: Algorithm::Sha512, hex: hex(&hash.finalize()).into() },
        }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads exactly the bytes named by a digest and size, or fails: a short, long or different stream
/// is an error at the read that would have been the last, never a clean end of file.
#[derive(Debug)]
pub struct VerifyReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    size: Option<u64>,
}

impl<R: Read> VerifyReader<R> {
    /// Verifies `inner` against `expected`, and against `size` when it is known.
    pub fn new(inner: R, expected: Digest, size: Option<u64>) -> Self {
        let hasher = Some(Hasher::new(expected.algorithm()));
        Self { inner, hasher, expected, size }
    }

    fn corrupt(&self, why: String) -> io::Error {
        Error::new(ErrorKind::Corrupt, format!("blob {} is corrupt: {why}", self.expected)).into()
    }

    fn finish(&mut self) -> io::Result<()> {
        // Taken only by success, so that a second read past a wrong end fails again.
        let Some(hasher) = self.hasher.clone() else { return Ok(()) };
        if let Some(size) = self.size.filter(|size| *size != hasher.size()) {
            return Err(self.corrupt(format!("expected {size} bytes, found {}", hasher.size())));
        }
        let found = hasher.finish();
        if found != self.expected {
            return Err(self.corrupt(format!("its content has digest {found}")));
        }
        self.hasher = None;
        Ok(())
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let n = self.inner.read(buf)?;
        if n == 0 {
            self.finish()?;
            return Ok(0);
        }
        let Some(hasher) = &mut self.hasher else {
            return Err(self.corrupt("read past its end".into()));
        };
        hasher.update(&buf[..n]);
        let seen = hasher.size();
        if let Some(size) = self.size.filter(|size| seen > *size) {
            return Err(self.corrupt(format!("longer than its {size} bytes")));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        let digest = Digest::of(b"hello");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn refuses_malformed_digests() {
        for text in
            ["", "sha256", "sha256:", "sha256:ABC", "md5:00", "sha256:../../x", &format!("sha256:{}", "A".repeat(64))]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn verify_reader_fails_on_wrong_short_and_long_content() {
        let read = |bytes: &[u8], expected: &[u8]| {
            let mut out = Vec::new();
            VerifyReader::new(bytes, Digest::of(expected), Some(expected.len() as u64))
                .read_to_end(&mut out)
                .map(|_| out)
        };
        assert_eq!(read(b"abc", b"abc").unwrap(), b"abc");
        assert!(read(b"abd", b"abc").is_err());
        assert!(read(b"ab", b"abc").is_err());
        assert!(read(b"abcd", b"abc").is_err());
    }
}

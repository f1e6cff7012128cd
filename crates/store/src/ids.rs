//! The names of things in the store: keys and records by BLAKE3, layers by directory name.
//! Does not know what a key is computed from.

use std::fmt;
use std::str::FromStr;

use cooper_oci::Digest;

use crate::{Error, ErrorKind, Result};

macro_rules! blake3_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The id of `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                parse_hex(text).map(Self).ok_or_else(|| {
                    Error::new(ErrorKind::Invalid, format!(concat!("invalid ", $what, " `{}`: expected 64 hex digits"), text))
                })
            }
        }
    };
}

blake3_id!(
    /// A cache key: names a record by one way of asking for it.
    Key, "key"
);
blake3_id!(
    /// Names a record of a finished step.
    RecordId, "record id"
);

impl RecordId {
    /// From a database column.
    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self> {
        bytes.try_into().map(Self).map_err(|_| Error::new(ErrorKind::Corrupt, "a record id is not 32 bytes"))
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

/// Names an unpacked layer: the hex of its diff id, or `chain-` and the hex of a chain id for a layer that cannot be
/// unpacked without the ones below it. Always safe as a file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(Box<str>);

/// What a layer that depends on its chain is named with.
const CHAIN: &str = "chain-";

impl LayerId {
    /// A layer that unpacks by itself.
    pub fn diff(diff_id: &Digest) -> Self {
        Self(diff_id.hex().into())
    }

    /// A layer that only unpacks on top of its parents.
    pub fn chain(chain_id: &Digest) -> Self {
        Self(format!("{CHAIN}{}", chain_id.hex()).into())
    }

    /// The text: its directory's name and its key in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LayerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.strip_prefix(CHAIN).unwrap_or(text);
        let ok = matches!(hex.len(), 64 | 128) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(Error::new(ErrorKind::Invalid, format!("invalid layer id `{text}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_what_they_print() {
        let key = Key::of(b"x");
        assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        let digest = Digest::of(b"x");
        for id in [LayerId::diff(&digest), LayerId::chain(&digest)] {
            assert_eq!(id.to_string().parse::<LayerId>().unwrap(), id);
        }
    }

    #[test]
    fn hostile_ids_are_refused() {
        for text in ["", "..", "../x", "chain-", "chain-..", &"A".repeat(64), &format!("{}/", "a".repeat(63))] {
            assert!(text.parse::<LayerId>().is_err(), "{text}");
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }
}

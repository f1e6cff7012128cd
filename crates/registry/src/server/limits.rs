//! How much of everything a client may have. Pure.

use std::time::Duration;

use super::gate::Patterns;
use crate::Result;

/// Limits of a server. The defaults let a hundred machines pull at once and keep one of them from taking it all.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; others wait to be taken.
    pub connections: usize,
    /// Connections of one client at once; more are closed. A client is an address of IPv4, or a network of 64 bits.
    pub connections_per_client: usize,
    /// Requests a second of one client, on average over a few seconds; more are answered with 429.
    pub requests_per_second: Option<u32>,
    /// Uploads that are open at once.
    pub uploads: usize,
    /// Uploads of one client that are open at once.
    pub uploads_per_client: usize,
    /// Bytes of one blob.
    pub upload_bytes: Option<u64>,
    /// Bytes of the repositories.
    pub quotas: Quotas,
    /// From the connection to the end of TLS's handshake.
    pub handshake: Duration,
    /// From the first byte of a request, or the end of the last one, to the end of its head.
    pub head: Duration,
    /// Without a byte of a body that is awaited. An answer that nobody takes is given up after twice as long.
    pub idle: Duration,
    /// Bytes a second of a body, on average, beyond the first [`Limits::GRACE`].
    pub bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_client: 512,
            requests_per_second: None,
            uploads: 1024,
            uploads_per_client: 256,
            upload_bytes: None,
            quotas: Quotas::default(),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            bytes_per_second: 1024,
        }
    }
}

impl Limits {
    /// A body may be slow for so long before its pace counts.
    pub const GRACE: Duration = Duration::from_secs(30);
    /// Fields of a request's head.
    pub(super) const FIELDS: usize = 100;
    /// Bytes held of a request's head, its first line included, and of an answer before more of it is read: with hundreds of
    /// slow clients this is what memory goes into. What comes with one read may go beyond.
    pub(super) const HEAD_BYTES: usize = 64 * 1024;
}

/// How many bytes repositories may hold.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    by_pattern: Vec<(Patterns, u64)>,
    otherwise: Option<u64>,
}

impl Quotas {
    /// `otherwise` is for repositories that no pattern matches; the first that matches counts. Patterns are those of rules.
    pub fn new(by_pattern: &[(Vec<String>, u64)], otherwise: Option<u64>) -> Result<Self> {
        let checked = by_pattern.iter().map(|(patterns, bytes)| Ok((Patterns::new(patterns)?, *bytes)));
        Ok(Self { by_pattern: checked.collect::<Result<_>>()?, otherwise })
    }

    /// The bytes that `repository` may hold, if they are limited.
    pub(super) fn of(&self, repository: &str) -> Option<u64> {
        let found = self.by_pattern.iter().find(|(patterns, _)| patterns.match_name(repository));
        found.map(|(_, bytes)| *bytes).or(self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let quotas = Quotas::new(&[(own(&["big/one"]), 100), (own(&["big/**", "huge"]), 10)], Some(1)).unwrap();
        for (name, expect) in [("big/one", 100), ("big/two", 10), ("huge", 10), ("small", 1)] {
            assert_eq!(quotas.of(name), Some(expect), "{name}");
        }
        assert_eq!(Quotas::default().of("any"), None);
        assert!(Quotas::new(&[(own(&["BAD"]), 1)], None).is_err());
    }
}

//! Token buckets by client: who asks too often waits. The table is bounded: when it is full, whoever is not in it shares one
//! bucket. Reads no clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients remembered at once: about a megabyte.
const CLIENTS_MAX: usize = 10_000;

/// A client by its address: one of IPv4, or the network of 64 bits that one host of IPv6 has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client(IpAddr);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// How many tokens a bucket holds, and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// One bucket for each client.
#[derive(Debug)]
pub(super) struct Buckets {
    clients_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_client: HashMap<Client, Bucket>,
    others: Option<Bucket>,
    swept: Option<Instant>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { clients_max: CLIENTS_MAX, table: Mutex::default() }
    }
}

impl Buckets {
    /// Takes a token, or says how long it is until there is one.
    pub(super) fn take(&self, client: Client, rate: Rate, now: Instant) -> Result<(), Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = table.bucket(client, rate, now, self.clients_max);
        bucket.fill(rate, now);
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate.per_second.max(0.001)));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// How long it is until there is a token; nothing if there is one.
    pub(super) fn wait(&self, client: Client, rate: Rate, now: Instant) -> Option<Duration> {
        let taken = self.take(client, rate, now);
        if taken.is_ok() {
            self.give_back(client, rate, now);
        }
        taken.err()
    }

    /// Gives a token back that was not used up.
    pub(super) fn give_back(&self, client: Client, rate: Rate, now: Instant) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.bucket(client, rate, now, self.clients_max).tokens += 1.0;
    }
}

impl Table {
    fn bucket(&mut self, client: Client, rate: Rate, now: Instant, max: usize) -> &mut Bucket {
        let full = Bucket { tokens: rate.burst, at: now };
        if !self.by_client.contains_key(&client) && self.by_client.len() >= max {
            self.sweep(rate, now);
            if self.by_client.len() >= max {
                return self.others.get_or_insert(full);
            }
        }
        self.by_client.entry(client).or_insert(full)
    }

    /// Forgets whose bucket is full again. At most once a second: a flood of clients must not make each request a sweep.
    fn sweep(&mut self, rate: Rate, now: Instant) {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < Duration::from_secs(1)) {
            return;
        }
        self.swept = Some(now);
        self.by_client.retain(|_, bucket| {
            bucket.fill(rate, now);
            bucket.tokens < rate.burst
        });
    }
}

impl Bucket {
    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.at = now.max(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    fn client(text: &str) -> Client {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_at_the_rate() {
        let buckets = Buckets::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let one = client("10.0.0.1");
        assert!((0..3).all(|_| buckets.take(one, RATE, start).is_ok()));
        assert_eq!(buckets.take(one, RATE, start), Err(Duration::from_millis(500)));
        assert_eq!(buckets.take(one, RATE, at(250)), Err(Duration::from_millis(250)));
        assert_eq!(buckets.take(one, RATE, at(500)), Ok(()));
        assert!(buckets.take(one, RATE, at(501)).is_err());
        assert_eq!(buckets.take(client("10.0.0.2"), RATE, at(501)), Ok(()), "clients do not share");
        buckets.give_back(one, RATE, at(501));
        assert_eq!(buckets.take(one, RATE, at(501)), Ok(()));
        // However long the pause, the bucket holds no more than the burst.
        let taken = (0..10).filter(|_| buckets.take(one, RATE, at(3_600_000)).is_ok()).count();
        assert_eq!(taken, 3);
    }

    #[test]
    fn one_host_is_one_client() {
        for (left, right, same) in [
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            assert_eq!(client(left) == client(right), same, "{left} {right}");
        }
    }

    #[test]
    fn a_full_table_stays_bounded_and_closed() {
        let buckets = Buckets { clients_max: 100, ..Buckets::default() };
        let start = Instant::now();
        let flood = |now| {
            let address = |n: u32| Client::from(IpAddr::V4(n.into()));
            (0..5000).filter(|n| buckets.take(address(*n), RATE, now).is_ok()).count()
        };
        assert_eq!(flood(start), 100 + 3, "the rest share one bucket");
        assert_eq!(buckets.table.lock().unwrap().by_client.len(), 100);
        // All are full again after a while: they are forgotten, and new ones find room.
        assert_eq!(buckets.take(client("192.0.2.1"), RATE, start + Duration::from_secs(5)), Ok(()));
        assert_eq!(buckets.table.lock().unwrap().by_client.len(), 1);
    }
}

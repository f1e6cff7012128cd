//! Checks names and passwords. A hash is made to be slow, so it is done off the reactor, a few at once; what proved right is
//! remembered for a short while, under a key that only this process has; who guesses has to wait.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use tokio::sync::Semaphore;

use super::passwords::Passwords;
use crate::server::buckets::{Buckets, Client, Rate};
use crate::server::watched::Watched;
use crate::{Error, ErrorKind, Result};

/// A login is remembered this long: requests of one pull come within seconds, and a user who is removed is gone at once
/// because the hash is part of what is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Logins remembered.
const REMEMBERED_MAX: usize = 10_000;
/// Logins that wait for their turn. At 60 ms each, the last of them waits for two seconds.
const WAITING_MAX: usize = 64;
/// Wrong passwords of one client: ten at once, then one in five seconds.
const FAILURES: Rate = Rate { per_second: 0.2, burst: 10.0 };

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no such user, or it is not the password.
    Wrong,
    /// Ask again later.
    Wait(Duration),
}

/// Users, and who of them proved it lately.
pub(crate) struct Logins {
    passwords: Watched<Passwords>,
    seal: hmac::Key,
    /// Until when a login is remembered, by the seal of user, password and hash.
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    failures: Buckets,
    failed: AtomicU64,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").field("passwords", &self.passwords).finish_non_exhaustive()
    }
}

impl Logins {
    pub(super) fn new(passwords: Watched<Passwords>) -> Result<Self> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| Error::new(ErrorKind::Io, "no random numbers"))?;
        // Half of the processors, so that a flood of logins leaves the other half to those who pull.
        let slots = std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2)).min(4);
        Ok(Self {
            passwords,
            seal: hmac::Key::new(hmac::HMAC_SHA256, &key),
            remembered: Mutex::default(),
            slots: Arc::new(Semaphore::new(slots)),
            waiting: AtomicUsize::new(0),
            failures: Buckets::default(),
            failed: AtomicU64::new(0),
        })
    }

    /// Reads the users again if they changed, or `always`.
    pub(super) fn refresh(&self, always: bool) -> Result<bool> {
        self.passwords.refresh(always)
    }

    /// Logins that failed so far.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Which password a user has, for what has to end with it; nothing if there is no such user.
    pub(super) fn fingerprint(&self, user: &str) -> Option<String> {
        let passwords = self.passwords.get();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, passwords.hash(user)?.as_bytes());
        Some(digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether there is such a user.
    pub(super) fn know(&self, user: &str) -> bool {
        self.passwords.get().hash(user).is_some()
    }

    /// Checks a password that came from `client`.
    pub(super) async fn check(&self, user: &str, password: &str, client: Client) -> Result<(), Failure> {
        let passwords = self.passwords.get();
        let (known, hash) = passwords.hash_or_nobody(user);
        // bcrypt takes a zero for the end and starts over: `a\0a` would be as good as `a`.
        let known = known && !password.contains('\0');
        let seal = self.seal(user, password, hash);
        if self.is_remembered(&seal) {
            return Ok(());
        }
        if let Some(pause) = self.failures.wait(client, FAILURES, Instant::now()) {
            return Err(Failure::Wait(pause));
        }
        let slot = self.slot().await.ok_or(Failure::Wait(Duration::from_secs(1)))?;
        // Somebody else may have proved the same in the meantime.
        if self.is_remembered(&seal) {
            return Ok(());
        }
        // Taken before it is known whether it fails, so that guesses at the same time do not share one token.
        self.failures.take(client, FAILURES, Instant::now()).map_err(Failure::Wait)?;
        let (password, hash) = (password.to_owned(), hash.to_owned());
        let compared = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        if !compared.await.unwrap_or(false) || !known {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::Wrong);
        }
        self.failures.give_back(client, FAILURES, Instant::now());
        self.remember(seal);
        Ok(())
    }

    /// A turn at hashing; nothing if too many wait for one.
    async fn slot(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            return Some(slot);
        }
        let waiting = Waiting::new(&self.waiting)?;
        let slot = self.slots.clone().acquire_owned().await.ok();
        drop(waiting);
        slot
    }

    fn seal(&self, user: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.seal);
        for part in [user, password, hash] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut seal = [0; 32];
        seal.copy_from_slice(context.sign().as_ref());
        seal
    }

    fn is_remembered(&self, seal: &[u8; 32]) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(seal).is_some_and(|until| Instant::now() < *until)
    }

    fn remember(&self, seal: [u8; 32]) {
        let now = Instant::now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, until| now < *until);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(seal, now + REMEMBERED);
        }
    }
}

/// One of those who wait, as long as it lives: a client that goes away is not counted any more.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::AcqRel) < WAITING_MAX).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(last: u8) -> Client {
        std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)).into()
    }

    fn logins() -> Logins {
        Logins::new(Watched::fixed(Passwords::of("ann", "secret").unwrap())).unwrap()
    }

    #[tokio::test]
    async fn lets_in_who_knows_the_password() {
        let logins = logins();
        for (user, password, expect) in [
            ("ann", "secret", Ok(())),
            ("ann", "secret", Ok(())),
            ("ann", "Secret", Err(Failure::Wrong)),
            ("ann", "", Err(Failure::Wrong)),
            ("ann", "secret\0", Err(Failure::Wrong)),
            ("ann", "secret\0secret", Err(Failure::Wrong)),
            ("Ann", "secret", Err(Failure::Wrong)),
            ("", "", Err(Failure::Wrong)),
            ("anns", "ecret", Err(Failure::Wrong)),
        ] {
            assert_eq!(logins.check(user, password, client(1)).await, expect, "{user:?} {password:?}");
        }
        assert_eq!(logins.remembered.lock().unwrap().len(), 1);
        assert_eq!(logins.failed(), 7);
        assert!(!format!("{logins:?}").contains("secret"));
    }

    #[tokio::test]
    async fn who_guesses_waits_and_others_do_not() {
        let logins = logins();
        logins.check("ann", "secret", client(1)).await.unwrap();
        for _ in 0..10 {
            assert_eq!(logins.check("ann", "guess", client(1)).await, Err(Failure::Wrong));
        }
        let Err(Failure::Wait(pause)) = logins.check("ann", "guess", client(1)).await else {
            panic!("it may guess on")
        };
        assert!(pause <= Duration::from_secs(5));
        assert!(matches!(logins.check("bob", "secret", client(1)).await, Err(Failure::Wait(_))));
        assert_eq!(logins.check("ann", "secret", client(1)).await, Ok(()), "who proved it lately goes on");
        assert_eq!(logins.check("ann", "secret", client(2)).await, Ok(()));
        assert_eq!(logins.check("ann", "guess", client(2)).await, Err(Failure::Wrong));
    }

    #[tokio::test]
    async fn guesses_at_once_share_no_token() {
        let logins = Arc::new(logins());
        let guess = |n: usize| {
            let logins = logins.clone();
            tokio::spawn(async move { logins.check("ann", &format!("guess {n}"), client(1)).await })
        };
        let guesses: Vec<_> = (0..60).map(guess).collect();
        let mut wrong = 0;
        for guess in guesses {
            wrong += usize::from(guess.await.unwrap() == Err(Failure::Wrong));
        }
        assert!(wrong <= 11, "{wrong} guesses of one client were compared");
    }

    #[tokio::test]
    async fn many_at_once_prove_it_once() {
        let logins = Arc::new(logins());
        let login = |_| {
            let logins = logins.clone();
            tokio::spawn(async move { logins.check("ann", "secret", client(1)).await })
        };
        let all: Vec<_> = (0..WAITING_MAX).map(login).collect();
        for login in all {
            assert_eq!(login.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn a_changed_password_ends_what_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        let write = |password: &str| {
            std::fs::write(&file, format!("ann:{}\n", bcrypt::hash(password, 4).unwrap())).unwrap();
        };
        write("old");
        let path = file.clone();
        let read = move || Passwords::parse(&std::fs::read_to_string(&path).unwrap());
        let logins = Logins::new(Watched::new(vec![file.clone()], read).unwrap()).unwrap();
        let before = logins.fingerprint("ann").unwrap();
        assert_eq!(logins.check("ann", "old", client(1)).await, Ok(()));
        write("new");
        logins.refresh(true).unwrap();
        assert_eq!(logins.check("ann", "old", client(1)).await, Err(Failure::Wrong));
        assert_eq!(logins.check("ann", "new", client(1)).await, Ok(()));
        assert_ne!(logins.fingerprint("ann").unwrap(), before);
        std::fs::write(&file, "").unwrap();
        logins.refresh(true).unwrap();
        assert_eq!(logins.check("ann", "new", client(1)).await, Err(Failure::Wrong));
        assert!(!logins.know("ann"));
    }
}

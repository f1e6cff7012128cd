//! A file of users and bcrypt hashes of their passwords, as `htpasswd -B` writes it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::rules::ANONYMOUS;
use crate::{Error, ErrorKind, Result};

/// Costs of hashes: below, they protect nobody; above, one login takes seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=16;
/// Users in one file.
const USERS_MAX: usize = 100_000;

/// Hashes by user. Prints none.
pub(crate) struct Passwords {
    hashes: BTreeMap<String, String>,
    /// What the password of an unknown user is compared with: it costs as much as that of a known one.
    nobody: String,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("users", &self.hashes.len()).finish()
    }
}

impl Passwords {
    /// Reads lines of `user:hash`. Errors name the line, never a hash.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut hashes = BTreeMap::new();
        let mut cost = *COSTS.start();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash, own_cost) = entry(line).map_err(|error| {
                let hint = error.hint().map(str::to_owned);
                hint.into_iter().fold(invalid(format!("line {}: {error}", index + 1)), Error::with_hint)
            })?;
            cost = cost.max(own_cost);
            if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(invalid(format!("line {}: user `{user}` is there twice", index + 1)));
            }
            if hashes.len() > USERS_MAX {
                return Err(invalid(format!("there are more than {USERS_MAX} users")));
            }
        }
        // A hash of nothing in particular; nobody is let in by it, because nobody has it.
        let nobody = format!("$2b${cost:02}$......................{}", ".".repeat(31));
        Ok(Self { hashes, nobody })
    }

    /// One user, for tests of clients: the cheapest hash there is.
    pub(crate) fn of(user: &str, password: &str) -> Result<Self> {
        let hash = bcrypt::hash(password, *COSTS.start()).map_err(|_| invalid("the password cannot be hashed"))?;
        Self::parse(&format!("{user}:{hash}"))
    }

    /// The hash of a user, if there is one.
    pub(crate) fn hash(&self, user: &str) -> Option<&str> {
        self.hashes.get(user).map(String::as_str)
    }

    /// The hash to compare the password of `user` with, known or not.
    pub(super) fn hash_or_nobody(&self, user: &str) -> (bool, &str) {
        self.hash(user).map_or((false, self.nobody.as_str()), |hash| (true, hash))
    }
}

/// User, hash, and the hash's cost.
fn entry(line: &str) -> Result<(&str, &str, u32)> {
    let (user, hash) = line.split_once(':').ok_or_else(|| invalid("it is not `user:hash`"))?;
    if user.is_empty() || user.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("the name of the user is empty or holds blanks"));
    }
    if user == ANONYMOUS || user.contains('*') {
        let hint = "rules speak of `anonymous` and `*`; nobody can be called so";
        return Err(invalid(format!("`{user}` cannot be a user")).with_hint(hint));
    }
    let known = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix));
    let cost = known.then(|| hash.parse::<bcrypt::HashParts>().ok()).flatten().map(|parts| parts.get_cost());
    let Some(cost) = cost else {
        let hint = format!("only bcrypt is taken: `htpasswd -B FILE {user}`");
        return Err(invalid(format!("the password of `{user}` is {}", kind(hash))).with_hint(hint));
    };
    if !COSTS.contains(&cost) {
        let hint = format!("`htpasswd -B -C 10 FILE {user}` makes one of cost 10");
        let what = format!("the hash of `{user}` has cost {cost}: {} to {} are taken", COSTS.start(), COSTS.end());
        return Err(invalid(what).with_hint(hint));
    }
    Ok((user, hash, cost))
}

/// What a hash of another kind is.
fn kind(hash: &str) -> &'static str {
    let kinds = [
        ("$2", "a broken or unsound hash of bcrypt"),
        ("$apr1$", "hashed by MD5"),
        ("$1$", "hashed by MD5"),
        ("{SHA}", "hashed by SHA-1"),
        ("$5$", "hashed by SHA-256 crypt"),
        ("$6$", "hashed by SHA-512 crypt"),
        ("$argon2", "hashed by Argon2"),
        ("$y$", "hashed by yescrypt"),
    ];
    let found = kinds.iter().find(|(prefix, _)| hash.starts_with(prefix));
    found.map_or("not hashed, or by DES crypt", |(_, kind)| kind)
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `crypt(3)` of `secret` by `$2a$`, `$2b$` and `$2y$` alike.
    const HASH: &str = "04$hQwg9FmMJ7Xzq1Hyyd8yx.kL3ZkR5H32XC8uumm.lFveH5ZDLahVW";

    #[test]
    fn reads_users() {
        let text = format!("# comment\n\nann:$2y${HASH}\nbob:$2a${HASH}\r\n eve:$2b${HASH} ");
        let passwords = Passwords::parse(&text).unwrap();
        assert_eq!(passwords.hash("ann"), Some(format!("$2y${HASH}").as_str()));
        assert_eq!(passwords.hash("eve"), Some(format!("$2b${HASH}").as_str()));
        assert_eq!(passwords.hash("Ann"), None);
        assert!(!format!("{passwords:?}").contains("hQwg"));
    }

    #[test]
    fn refuses_all_else_with_the_line() {
        for (line, expect) in [
            ("ann".to_owned(), "line 2: it is not `user:hash`"),
            (format!(":$2y${HASH}"), "line 2: the name of the user is empty or holds blanks"),
            (format!("a b:$2y${HASH}"), "line 2: the name of the user is empty or holds blanks"),
            (format!("anonymous:$2y${HASH}"), "line 2: `anonymous` cannot be a user"),
            (format!("*:$2y${HASH}"), "line 2: `*` cannot be a user"),
            (format!("first:$2y${HASH}"), "line 2: user `first` is there twice"),
            ("ann:secret".to_owned(), "line 2: the password of `ann` is not hashed, or by DES crypt"),
            ("ann:$apr1$x$y".to_owned(), "line 2: the password of `ann` is hashed by MD5"),
            ("ann:{SHA}xxxx".to_owned(), "line 2: the password of `ann` is hashed by SHA-1"),
            ("ann:$6$x$y".to_owned(), "line 2: the password of `ann` is hashed by SHA-512 crypt"),
            (format!("ann:$2x${HASH}"), "line 2: the password of `ann` is a broken or unsound hash of bcrypt"),
            (format!("ann:$2y${}", &HASH[1..]), "line 2: the password of `ann` is a broken or unsound hash of bcrypt"),
            (format!("ann:$2y$é{}", &HASH[2..]), "line 2: the password of `ann` is a broken or unsound hash of bcrypt"),
            (format!("ann:$2y$31{}", &HASH[2..]), "line 2: the hash of `ann` has cost 31: 4 to 16 are taken"),
        ] {
            let error = Passwords::parse(&format!("first:$2y${HASH}\n{line}\n")).unwrap_err();
            assert_eq!(error.to_string(), expect);
            assert!(!error.to_string().contains("hQwg"));
        }
    }

    #[test]
    fn nobody_costs_as_much_as_the_dearest() {
        let dear = HASH.replacen("04", "06", 1);
        let passwords = Passwords::parse(&format!("a:$2y${HASH}\nb:$2y${dear}\n")).unwrap();
        let (known, hash) = passwords.hash_or_nobody("eve");
        assert!(!known);
        assert_eq!(hash.parse::<bcrypt::HashParts>().unwrap().get_cost(), 6);
        // It is a hash that can be compared with, and is no password's.
        assert!(!bcrypt::verify("", hash).unwrap());
    }
}

//! Looks up `name|uid[:group|gid]` in the passwd and group files of a root.
//!
//! Only regular files of the tree are read, up to a limit, by our own parser: no name service is ever loaded from a
//! tree that is not trusted. Does not know who asks.

use std::io::Read;
use std::path::Path;

use super::Root;
use crate::{Error, ErrorKind, Result};

/// Largest passwd or group file that is read: some 200,000 accounts (CVE-2024-9676 and its kin).
const MAX_ACCOUNTS_LEN: u64 = 16 << 20;
/// Supplementary groups given to a process: the kernel's NGROUPS_MAX.
const MAX_GROUPS: usize = 65536;
/// Largest id: larger ones are negative in programs that keep them in 32 signed bits.
const MAX_ID: u32 = i32::MAX as u32;

/// An account of a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, sorted; empty if a group was named.
    pub groups: Vec<u32>,
    /// Name in the passwd file, if it is there.
    pub name: Option<String>,
    /// Home directory in the passwd file, if it is there.
    pub home: Option<String>,
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

enum Who<'a> {
    Id(u32),
    Name(&'a str),
}

impl Root {
    /// Who `name|uid[:group|gid]` is in this tree. An empty text is root. A number that is not a plain decimal id up
    /// to 2^31-1 is refused and never taken for a name; a number need not be in the files.
    pub fn lookup_user(&self, spec: &str) -> Result<User> {
        let (user, group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (spec, None),
        };
        let who = if user.is_empty() { Who::Id(0) } else { parse_who(user, spec)? };
        let account = self.account(&who)?;
        let (uid, mut gid) = match (&who, &account) {
            (_, Some(account)) => (account.uid, account.gid),
            (Who::Id(uid), None) => (*uid, 0),
            (Who::Name(name), None) => return Err(unknown("user", name, "/etc/passwd")),
        };
        let mut groups = Vec::new();
        match group.filter(|group| !group.is_empty()) {
            Some(group) => gid = self.lookup_group(group)?,
            None => groups = self.groups_of(account.as_ref())?,
        }
        let (name, home) = account.map(|account| (account.name, account.home)).unzip();
        Ok(User { uid, gid, groups, name, home })
    }

    /// The id of a group by name or number.
    pub fn lookup_group(&self, group: &str) -> Result<u32> {
        let name = match parse_who(group, group)? {
            Who::Id(gid) => return Ok(gid),
            Who::Name(name) => name,
        };
        let text = self.accounts_file("etc/group")?;
        text.lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))
            .and_then(|fields| fields.get(2).and_then(|gid| gid.trim().parse().ok()))
            .ok_or_else(|| unknown("group", name, "/etc/group"))
    }

    fn account(&self, who: &Who<'_>) -> Result<Option<Account>> {
        let text = self.accounts_file("etc/passwd")?;
        Ok(text.lines().filter_map(parse_account).find(|account| match who {
            Who::Id(uid) => account.uid == *uid,
            Who::Name(name) => account.name == *name,
        }))
    }

    fn groups_of(&self, account: Option<&Account>) -> Result<Vec<u32>> {
        let Some(account) = account else { return Ok(Vec::new()) };
        let text = self.accounts_file("etc/group")?;
        let mut groups: Vec<u32> = text
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':').skip(2);
                let gid = fields.next()?.trim().parse().ok()?;
                fields.next()?.split(',').any(|member| member.trim() == account.name).then_some(gid)
            })
            .take(MAX_GROUPS)
            .collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// The text of an accounts file; empty if it is missing.
    fn accounts_file(&self, path: &str) -> Result<String> {
        let file = match self.open_file(Path::new(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            file => file?,
        };
        let mut bytes = Vec::new();
        let io = |error| Error::io(format!("cannot read /{path}"), error);
        file.take(MAX_ACCOUNTS_LEN + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_ACCOUNTS_LEN {
            return Err(Error::new(ErrorKind::TooLarge, format!("/{path} is larger than {MAX_ACCOUNTS_LEN} bytes")));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn parse_account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.trim().parse().ok()?;
    let gid = fields.next()?.trim().parse().ok()?;
    let home = fields.nth(1).unwrap_or("");
    Some(Account { name: name.to_owned(), uid, gid, home: home.to_owned() })
}

fn parse_who<'a>(text: &'a str, spec: &str) -> Result<Who<'a>> {
    let invalid = || Error::new(ErrorKind::Invalid, format!("`{spec}` is neither a name nor an id from 0 to {MAX_ID}"));
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        return match text.parse::<u32>() {
            Ok(id) if plain && id <= MAX_ID => Ok(Who::Id(id)),
            _ => Err(invalid()),
        };
    }
    let strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
    if text.is_empty() || text.starts_with(['-', '+']) || text.contains(strange) {
        return Err(invalid());
    }
    Ok(Who::Name(text))
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no {what} `{name}` in {file} of the image"))
}

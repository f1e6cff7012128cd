//! Who a step runs as: `name|uid[:group|gid]` looked up in the passwd and group files of its root.
//!
//! Pure: the files are text. Never falls back: what is not found is an error, not root.

use crate::{Error, ErrorKind, Result};

/// The user database of a root.
pub(crate) const PASSWD: &str = "/etc/passwd";
/// The group database of a root.
pub(crate) const GROUP: &str = "/etc/group";
/// Bytes read of either; the largest real ones are a few hundred kilobytes.
pub(crate) const MAX_DATABASE: u64 = 16 << 20;
/// Supplementary groups given to a process, as in the kernel.
const MAX_GROUPS: usize = 65_536;
/// Largest id accepted: beyond it, signed 32-bit readers see another user.
const MAX_ID: u32 = i32::MAX as u32;

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one first: a program that changes its group keeps what the first one denies it
    /// (CVE-2022-2989).
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

struct Entry<'t> {
    name: &'t str,
    uid: u32,
    gid: u32,
    home: &'t str,
}

/// Looks `user` up. Empty means `0`.
pub(crate) fn lookup(user: &str, passwd: &str, group: &str) -> Result<Account> {
    let (user, wanted) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let found = match number(user, "user")? {
        Some(uid) => {
            entries(passwd).find(|entry| entry.uid == uid).unwrap_or(Entry { name: "", uid, gid: 0, home: "" })
        }
        None => entries(passwd).find(|entry| entry.name == user).ok_or_else(|| unknown("user", user, PASSWD))?,
    };
    let (gid, groups) = match wanted {
        Some(wanted) => (group_id(wanted, group)?, Vec::new()),
        None => (found.gid, memberships(found.name, group)),
    };
    let groups = with_primary(gid, groups);
    let home = if found.home.starts_with('/') { found.home } else { "/" };
    Ok(Account { uid: found.uid, gid, groups, home: home.to_owned() })
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::new(ErrorKind::Process, format!("no {what} {name:?} in {file} of the root"))
        .with_hint(format!("create it in an earlier step, or use a numeric {what} id"))
}

/// The id if `text` is one; an error if it looks like a number but is not a plain one in range: such a text must
/// never be taken for a name.
fn number(text: &str, what: &str) -> Result<Option<u32>> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID && id.to_string() == text => Ok(Some(id)),
        _ => Err(Error::new(ErrorKind::Process, format!("{text:?} is no {what} id of 0 to {MAX_ID}"))),
    }
}

fn group_id(wanted: &str, group: &str) -> Result<u32> {
    match number(wanted, "group")? {
        Some(gid) => Ok(gid),
        None => groups(group)
            .find(|(name, ..)| *name == wanted)
            .map(|(_, gid, _)| gid)
            .ok_or_else(|| unknown("group", wanted, GROUP)),
    }
}

fn memberships(name: &str, group: &str) -> Vec<u32> {
    if name.is_empty() {
        return Vec::new();
    }
    let member = |list: &str| list.split(',').any(|member| member.trim() == name);
    let mut ids: Vec<u32> = groups(group).filter(|(.., list)| member(list)).map(|(_, gid, _)| gid).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(MAX_GROUPS);
    ids
}

fn with_primary(gid: u32, mut groups: Vec<u32>) -> Vec<u32> {
    groups.retain(|group| *group != gid);
    groups.insert(0, gid);
    groups
}

/// Lines of a passwd file; malformed ones are passed over, as every reader does.
fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, id(fields.next()?)?, id(fields.next()?)?);
        Some(Entry { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, id(fields.next()?)?);
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD_TEXT: &str = "root:x:0:0:root:/root:/bin/sh\nbad line\n4294967296:x:0:0::/:\n-1:x:0:0::/:\n\
        2147483648:x:0:0::/:\n1 0:x:0:0::/:\n00:x:0:0::/:\n0x0:x:0:0::/:\nhuge:x:4294967295:0::/:\nada:x:1000:100:Ada:/home/ada:/bin/sh\nodd:x:7:8\n";
    const GROUP_TEXT: &str =
        "root:x:0:\nwheel:x:10:root,ada\nusers:x:100:\ndocker:x:20:bob, ada\ndup:x:10:ada\nbig:x:4294967295:ada\n";

    fn check(user: &str, expect: (u32, u32, &[u32], &str)) {
        let got = lookup(user, PASSWD_TEXT, GROUP_TEXT).unwrap();
        assert_eq!((got.uid, got.gid, got.groups.as_slice(), got.home.as_str()), expect, "{user:?}");
    }

    #[test]
    fn users_are_found() {
        check("", (0, 0, &[0, 10], "/root"));
        check("root", (0, 0, &[0, 10], "/root"));
        check("ada", (1000, 100, &[100, 10, 20], "/home/ada"));
        check("1000", (1000, 100, &[100, 10, 20], "/home/ada"));
        check("ada:", (1000, 100, &[100, 10, 20], "/home/ada"));
        check("ada:wheel", (1000, 10, &[10], "/home/ada"));
        check("1234", (1234, 0, &[0], "/"));
        check("1234:5678", (1234, 5678, &[5678], "/"));
        check("odd", (7, 8, &[8], "/"));
        check(":users", (0, 100, &[100], "/root"));
        check("2147483647", (2_147_483_647, 0, &[0], "/"));
    }

    #[test]
    fn what_is_not_a_user_is_never_root() {
        let hostile = ["2147483648", "4294967295", "4294967296", "-1", "00", "0x0", "1 0", "+0", "huge", "nobody"];
        for user in hostile {
            assert_eq!(lookup(user, PASSWD_TEXT, GROUP_TEXT).unwrap_err().kind(), ErrorKind::Process, "{user:?}");
            let with_group = format!("ada:{user}");
            assert!(lookup(&with_group, PASSWD_TEXT, GROUP_TEXT).is_err(), "{with_group:?}");
        }
    }

    #[test]
    fn an_empty_root_has_numbers_only() {
        assert_eq!(lookup("", "", "").unwrap(), Account { uid: 0, gid: 0, groups: vec![0], home: "/".into() });
        let error = lookup("ada", "", "").unwrap_err();
        assert!(error.to_string().contains("ada") && error.to_string().contains(PASSWD), "{error}");
    }
}

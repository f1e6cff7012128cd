//! `/etc/passwd`, `/etc/group` and their shadows from the declared users and groups (passwd(5), group(5), shadow(5)).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::layers::Item;
use crate::manifest::User;
use crate::{Error, ErrorKind, Manifest, Result};

/// Home of users that have none.
const NO_HOME: &str = "/nonexistent";

/// Shell of users that may not log in.
const NO_SHELL: &str = "/usr/sbin/nologin";

/// Group that may read the shadow files, in Debian's base-passwd.
const SHADOW_GID: u32 = 42;

/// The lines of the four files.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) passwd: Vec<String>,
    pub(crate) group: Vec<String>,
    pub(crate) shadow: Vec<String>,
    pub(crate) gshadow: Vec<String>,
}

/// The files and homes, if anyone is declared.
pub(super) fn items(manifest: &Manifest) -> Result<Vec<Item>> {
    let lines = Lines::of(manifest)?;
    if lines.passwd.is_empty() && lines.group.is_empty() {
        return Ok(Vec::new());
    }
    let shadow = |name: &str, lines: &[String]| {
        let mut item = Item::file(format!("etc/{name}"), 0o640, text(lines));
        item.entry.gid = SHADOW_GID;
        item
    };
    let mut items = vec![
        Item::file("etc/passwd", 0o644, text(&lines.passwd)),
        Item::file("etc/group", 0o644, text(&lines.group)),
        shadow("shadow", &lines.shadow),
        shadow("gshadow", &lines.gshadow),
    ];
    items.extend(homes(manifest));
    Ok(items)
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Homes that are there to be used; root's is as private as Debian makes it.
pub(crate) fn homes(manifest: &Manifest) -> Vec<Item> {
    let home = |user: &User| {
        let path = user.home.as_deref().filter(|home| *home != NO_HOME)?.trim_matches('/').to_owned();
        let mut item = Item::dir(path, if user.uid == 0 { 0o700 } else { 0o755 });
        (item.entry.uid, item.entry.gid) = (user.uid, user.gid.unwrap_or(user.uid));
        (!item.path().as_os_str().is_empty()).then_some(item)
    };
    manifest.users.iter().filter_map(home).collect()
}

impl Lines {
    pub(crate) fn of(manifest: &Manifest) -> Result<Self> {
        let mut lines = Self::default();
        let (mut names, mut uids) = (BTreeSet::new(), BTreeSet::new());
        for user in &manifest.users {
            let User { name, uid, .. } = user;
            if !names.insert(name) || !uids.insert(uid) {
                return Err(twice("user", name, *uid));
            }
            let (gid, login) = (user.gid.unwrap_or(*uid), field("name", name, name)?);
            let gecos = field("gecos", name, user.gecos.as_deref().unwrap_or(name))?;
            let home = field("home", name, user.home.as_deref().unwrap_or(NO_HOME))?;
            let shell = field("shell", name, user.shell.as_deref().unwrap_or(NO_SHELL))?;
            lines.passwd.push(format!("{login}:x:{uid}:{gid}:{gecos}:{home}:{shell}"));
            // No password, and no date of its last change: that would be today's.
            lines.shadow.push(format!("{name}:*:::::::"));
        }
        for (gid, (name, members)) in groups(manifest)? {
            lines.group.push(format!("{}:x:{gid}:{members}", field("name", &name, &name)?));
            lines.gshadow.push(format!("{name}:*::{members}"));
        }
        Ok(lines)
    }
}

/// Groups by id: the declared ones, and one for each user whose own id is its group's.
fn groups(manifest: &Manifest) -> Result<BTreeMap<u32, (String, String)>> {
    let (mut groups, mut names) = (BTreeMap::new(), BTreeSet::new());
    for group in &manifest.groups {
        let line = (group.name.clone(), group.members.join(","));
        if groups.insert(group.gid, line).is_some() || !names.insert(group.name.clone()) {
            return Err(twice("group", &group.name, group.gid));
        }
    }
    for user in manifest.users.iter().filter(|user| user.gid.is_none_or(|gid| gid == user.uid)) {
        if let Entry::Vacant(place) = groups.entry(user.uid) {
            if !names.insert(user.name.clone()) {
                return Err(twice("group", &user.name, user.uid));
            }
            place.insert((user.name.clone(), String::new()));
        }
    }
    Ok(groups)
}

fn twice(what: &str, name: &str, id: u32) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what} `{name}` ({id}): its name or id is declared twice"))
}

/// A colon or a line end would make further fields and users.
fn field<'a>(what: &str, name: &str, value: &'a str) -> Result<&'a str> {
    if value.is_empty() && what == "name" || value.contains([':', '\n', '\r', '\0']) {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("the {what} of `{name}` is empty or has a `:` or line end"),
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Group;

    fn user(name: &str, uid: u32) -> User {
        User { name: name.into(), uid, gid: None, home: None, shell: None, gecos: None }
    }

    #[test]
    fn users_and_groups_as_declared() {
        let manifest = Manifest {
            users: vec![
                User { home: Some("/root".into()), ..user("root", 0) },
                User { gid: Some(50), ..user("app", 1000) },
            ],
            groups: vec![Group { name: "staff".into(), gid: 50, members: vec!["root".into(), "app".into()] }],
            ..Manifest::default()
        };
        let lines = Lines::of(&manifest).unwrap();
        assert_eq!(
            lines.passwd,
            ["root:x:0:0:root:/root:/usr/sbin/nologin", "app:x:1000:50:app:/nonexistent:/usr/sbin/nologin"]
        );
        assert_eq!(lines.group, ["root:x:0:", "staff:x:50:root,app"]);
        assert_eq!(lines.shadow, ["root:*:::::::", "app:*:::::::"]);
        let homes: Vec<_> =
            homes(&manifest).into_iter().map(|item| (item.path().to_owned(), item.entry.mode)).collect();
        assert_eq!(homes, [("root".into(), 0o700)]);
    }

    #[test]
    fn no_second_user_hides_in_a_field() {
        for (users, expect) in [
            (vec![User { gecos: Some("x\nroot::0:0".into()), ..user("a", 1) }], "the gecos of `a`"),
            (vec![user("a:b", 1)], "the name of `a:b`"),
            (vec![user("a", 1), user("b", 1)], "user `b` (1)"),
            (vec![user("a", 1), user("a", 2)], "user `a` (2)"),
        ] {
            let error = Lines::of(&Manifest { users, ..Manifest::default() }).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }
}

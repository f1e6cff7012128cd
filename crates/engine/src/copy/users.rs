//! User and group names of `--chown`, looked up in the destination's passwd and group files.

use std::io::Read;
use std::path::Path;

use cooper_llb::{Chown, UserName};
use cooper_oci::EntryKind;

use crate::files::{Files, resolve};
use crate::{Error, ErrorKind, Result};

/// A passwd file larger than this is not one (CVE-2024-9676: an image's file may be endless).
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// The uid and gid that `chown` means in `files`.
pub(crate) fn owner(files: &dyn Files, chown: &Chown) -> Result<(u32, u32)> {
    let (uid, primary) = match &chown.user {
        UserName::Id(id) => (*id, *id),
        UserName::Name(name) => {
            let found = find(files, "etc/passwd", name)?;
            let [uid, gid] = [2, 3].map(|i| found.as_ref().and_then(|fields| fields.get(i)?.parse().ok()));
            uid.zip(gid).ok_or_else(|| unknown("user", name, "/etc/passwd"))?
        }
    };
    let gid = match &chown.group {
        None => primary,
        Some(UserName::Id(id)) => *id,
        Some(UserName::Name(name)) => {
            let found = find(files, "etc/group", name)?;
            found.and_then(|fields| fields.get(2)?.parse().ok()).ok_or_else(|| unknown("group", name, "/etc/group"))?
        }
    };
    Ok((uid, gid))
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::new(ErrorKind::User, format!("there is no {what} `{name}` in {file} of the image"))
        .with_hint("use the number, or create the user in an earlier step")
}

/// The fields of the line whose first field is `name`.
fn find(files: &dyn Files, path: &str, name: &str) -> Result<Option<Vec<String>>> {
    let path = resolve(files, Path::new(path))?;
    let Some(entry) = files.lookup(&path)? else { return Ok(None) };
    let EntryKind::File { size } = entry.kind else { return Ok(None) };
    if size > FILE_MAX {
        return Err(Error::new(ErrorKind::User, format!("`/{}` of the image has {size} bytes", path.display())));
    }
    let mut text = Vec::new();
    let cannot =
        |e| Error::new(ErrorKind::Io, format!("cannot read `/{}` of the image", path.display())).with_source(e);
    files.open(&entry)?.take(FILE_MAX).read_to_end(&mut text).map_err(|e: std::io::Error| cannot(e))?;
    let text = String::from_utf8_lossy(&text);
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    Ok(text.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name)))
}

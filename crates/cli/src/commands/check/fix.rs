//! `--fix`: applies what the findings offer, until nothing is left to apply.
//!
//! Knows nothing of rules. Files are replaced whole, and keep their permissions.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cooper_dockerfile::{Diagnostic, Fix, apply_fixes};

use super::examine::Examined;
use super::{Check, counted, verify};
use crate::error::{CommandError, CommandResult, Kind};
use crate::output::{data, note};
use crate::surroundings::Surroundings;

/// Rounds of fixes: one fix may make room for the next, but two must not undo each other for ever.
const ROUNDS_MAX: usize = 10;

/// After this time a diff is no longer the shortest, only right: the shortest is quadratic.
const DIFF_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// `--fix=..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum How {
    /// Only what cannot change the image.
    Safe,
    /// Also what may change it.
    Unsafe,
    /// Build before and after, and compare.
    Verify,
}

/// Mends a file, or prints how it would. What is in the file afterwards is returned.
pub(super) async fn fix(args: &Check, at: &Surroundings, before: Examined) -> CommandResult<Examined> {
    let text = before.source.text.clone();
    let wanted = |fix: &Fix| fix.safe || args.fix.contains(&How::Unsafe);
    let (after, fixed) = to_the_end(before, &wanted);
    if fixed == 0 {
        return Ok(after);
    }
    let shown = after.source.shown.clone();
    if args.diff {
        data(&diff(&shown, &text, &after.source.text))?;
        return Ok(after.with_text(text));
    }
    let Some(path) = after.source.path.clone() else {
        return Err(CommandError::usage("standard input cannot be mended in place").with_hint("add `--diff`"));
    };
    if args.fix.contains(&How::Verify) {
        // A failed build is no unreadable file.
        let failed = |error: CommandError| match error.kind {
            Kind::Failure => error.with_kind(Kind::Code(1)),
            _ => error,
        };
        verify::verify(args, at, &after.source, &text).await.map_err(failed)?;
    }
    write_file(&path, after.source.text.as_bytes())?;
    note(&format!("mended {} in `{shown}`", counted(fixed, "finding")));
    Ok(after)
}

/// Applies fixes and checks again until none applies. Returns how many were applied in all.
fn to_the_end(mut examined: Examined, wanted: &dyn Fn(&Fix) -> bool) -> (Examined, usize) {
    let mut count = 0;
    for _ in 0..ROUNDS_MAX {
        let fixes = examined.found.iter().filter_map(|found| found.fix.as_deref()).filter(|fix| wanted(fix));
        let fixed = apply_fixes(&examined.source.text, fixes);
        if fixed.applied.is_empty() || fixed.text == examined.source.text {
            break;
        }
        let errors = |found: &[Diagnostic]| found.iter().filter(|found| found.rule == "syntax").count();
        let before = errors(&examined.found);
        let text = examined.source.text.clone();
        let after = examined.with_text(fixed.text);
        // A fix that breaks the file is a mistake of its rule, and not the user's to clean up after.
        if errors(&after.found) > before {
            return (after.with_text(text), count);
        }
        count += fixed.applied.len();
        examined = after;
    }
    (examined, count)
}

/// What changes, as a unified diff.
pub(crate) fn diff(name: &str, before: &str, after: &str) -> String {
    let name = crate::sanitise::line(name);
    let name = name.trim_start_matches('/');
    let diff = similar::TextDiff::configure().timeout(DIFF_MAX).diff_lines(before, after);
    let unified = diff.unified_diff().header(&format!("a/{name}"), &format!("b/{name}")).to_string();
    crate::sanitise::text(&unified).to_string()
}

/// Replaces a file whole: through a temporary file beside it, with the old one's permissions and owner. A link stays a link.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> CommandResult {
    let failed =
        |error: std::io::Error| CommandError::failure(format!("cannot write `{}`", path.display())).with_source(error);
    let target = std::fs::canonicalize(path).map_err(failed)?;
    let metadata = target.metadata().map_err(failed)?;
    let mut name = target.clone().into_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = std::path::PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        // Only root can give files away; for everyone else the new file is theirs, as the old one mostly was.
        let _ = std::os::unix::fs::chown(&temporary, Some(metadata.uid()), Some(metadata.gid()));
        file.sync_all()?;
        std::fs::rename(&temporary, &target)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("Dockerfile"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_diff_is_unified_and_harmless() {
        let shown = diff("D\u{1b}[2J", "a\nb\n", "a\n\u{1b}c\n");
        assert!(shown.starts_with("--- a/D") && shown.contains("\n-b\n+"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}

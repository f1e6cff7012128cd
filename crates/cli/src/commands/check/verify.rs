//! `--fix=verify`: builds the file as it was and as it would be, and compares what comes of it.
//!
//! Knows nothing of fixes. Times are left out of the comparison: a build that runs a step again gives its files new ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_engine::{Export, ExportKind, Outcome};
use cooper_oci::{Algorithm, Compression, Digest, Entry, EntryKind, Hasher, TarReader};
use serde_json::Value;

use super::Check;
use super::files::Source;
use crate::commands::build;
use crate::engine_calls;
use crate::error::{CommandError, CommandResult, Kind};
use crate::output::note;
use crate::progress::{Mode, Progress};
use crate::sanitise;
use crate::surroundings::Surroundings;

/// Differences that are told one by one.
const TOLD_MAX: usize = 20;

/// Largest image config that is read.
const CONFIG_MAX: u64 = 4 << 20;

/// Compares the build of `source` with that of the text `before`; an error if they differ, unless the caller wants them all the same.
pub(super) async fn verify(args: &Check, at: &Surroundings, source: &Source, before: &str) -> CommandResult {
    let Some(context) = &source.context_dir else {
        return Err(CommandError::usage(format!("the context of `{}` is not known", source.shown))
            .with_hint("`cooper check --fix=verify -f FILE DIR` names it"));
    };
    let old = built(args, at, source, context, before).await?;
    let new = built(args, at, source, context, &source.text).await?;
    let differences = differences(&old, &new);
    if differences.is_empty() {
        note(&format!("verified: `{}` builds the same image, {} files and the config", source.shown, new.files.len()));
        return Ok(());
    }
    let mut told = format!("the image of `{}` changes:\n", source.shown);
    for difference in differences.iter().take(TOLD_MAX) {
        told.push_str(&format!("  {}\n", sanitise::line(difference)));
    }
    if let Some(more) = differences.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        told.push_str(&format!("  and {more} more\n"));
    }
    note(&told);
    if args.force {
        return Ok(());
    }
    Err(CommandError::failure(format!("`{}` is left as it was", source.shown))
        .with_hint("`--force` writes the fixes all the same"))
}

/// What a build came to.
#[derive(Debug, Default)]
struct Image {
    /// Path to everything about the file but its times, in words.
    files: BTreeMap<PathBuf, String>,
    /// The `config` of the image, by field.
    config: BTreeMap<String, Value>,
}

async fn built(args: &Check, at: &Surroundings, source: &Source, context: &Path, text: &str) -> CommandResult<Image> {
    let failed = |error| CommandError::failure("cannot make a temporary directory").with_source(error);
    let scratch = tempfile::Builder::new().prefix("cooper-verify-").tempdir().map_err(failed)?;
    let file = source.path.as_deref().unwrap_or(Path::new("-"));
    let mut flags = vec![format!("--file={}", file.display())];
    flags.extend(args.target.iter().map(|target| format!("--target={target}")));
    flags.extend(args.build_args.iter().map(|arg| format!("--build-arg={arg}")));
    flags.extend(["--".to_owned(), context.display().to_string()]);
    let (mut request, session) = build::request_of(&flags, &at.environment)?;
    text.clone_into(&mut request.dockerfile);
    let export = |kind, name: &str| Export {
        compression: Compression::None,
        ..Export::new(kind, Some(scratch.path().join(name)))
    };
    request.exports = vec![export(ExportKind::Tar, "tree.tar"), export(ExportKind::Oci { tar: false }, "image")];
    let progress = Arc::new(Progress::start(Mode::Quiet.fold(false, false)));
    let machinery = engine_calls::Machinery::default();
    let building = engine_calls::build(at, machinery, request, Arc::new(session), Arc::clone(&progress) as _);
    let outcome = tokio::select! {
        outcome = building => outcome,
        code = crate::terminal::interrupted() => Err(CommandError::new(Kind::Code(code), "the build was stopped")),
    };
    progress.finish();
    read(&outcome?, scratch.path())
}

fn read(outcome: &Outcome, dir: &Path) -> CommandResult<Image> {
    let tree = dir.join("tree.tar");
    let failed = |error| CommandError::failure(format!("cannot read `{}`", tree.display())).with_source(error);
    let mut tar = TarReader::new(File::open(&tree).map_err(failed)?);
    let mut image = Image::default();
    while let Some(entry) = tar.next_entry()? {
        let words = words(&entry, &mut tar).map_err(failed)?;
        image.files.insert(entry.path, words);
    }
    if let Some(digest) = &outcome.config {
        let blob = dir.join("image/blobs").join(digest.to_string().replacen(':', "/", 1));
        let failed = |error| CommandError::failure(format!("cannot read `{}`", blob.display())).with_source(error);
        let mut text = String::new();
        File::open(&blob).map_err(failed)?.take(CONFIG_MAX).read_to_string(&mut text).map_err(failed)?;
        let config: Value = serde_json::from_str(&text).unwrap_or_default();
        let fields = config.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        image.config = fields.into_iter().collect();
    }
    Ok(image)
}

/// A file in words: kind, content, mode, owner, attributes.
fn words(entry: &Entry, data: &mut impl Read) -> std::io::Result<String> {
    let what = match &entry.kind {
        EntryKind::File { size } => {
            format!("file of {size} bytes {}", digest(data)?.short())
        }
        other => format!("{other:?}"),
    };
    Ok(format!("{what}, mode {:o}, owner {}:{}, {:?}", entry.mode, entry.uid, entry.gid, entry.xattrs))
}

fn digest(data: &mut impl Read) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = data.read(&mut buffer)?;
        match buffer.get(..count).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => hasher.update(bytes),
            None => return Ok(hasher.finish()),
        }
    }
}

fn differences(old: &Image, new: &Image) -> Vec<String> {
    let mut told = Vec::new();
    for (path, was) in &old.files {
        match new.files.get(path) {
            None => told.push(format!("/{} is gone ({was})", path.display())),
            Some(is) if is != was => told.push(format!("/{} was {was}, is {is}", path.display())),
            Some(_) => {}
        }
    }
    let added = new.files.iter().filter(|(path, _)| !old.files.contains_key(*path));
    told.extend(added.map(|(path, is)| format!("/{} is new ({is})", path.display())));
    let fields: std::collections::BTreeSet<&String> = old.config.keys().chain(new.config.keys()).collect();
    for field in fields {
        let (was, is) = (old.config.get(field), new.config.get(field));
        if was != is {
            let shown = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
            told.push(format!("{field} of the config was {}, is {}", shown(was), shown(is)));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(files: &[(&str, &str)], config: &[(&str, &str)]) -> Image {
        Image {
            files: files.iter().map(|(path, words)| (PathBuf::from(path), (*words).to_owned())).collect(),
            config: config.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect(),
        }
    }

    #[test]
    fn every_difference_is_told() {
        let old = image(&[("a", "x"), ("b", "x"), ("same", "x")], &[("User", "a"), ("Gone", "b")]);
        let new = image(&[("b", "y"), ("c", "x"), ("same", "x")], &[("User", "c")]);
        assert_eq!(
            differences(&old, &new),
            [
                "/a is gone (x)",
                "/b was x, is y",
                "/c is new (x)",
                "Gone of the config was \"b\", is not set",
                "User of the config was \"a\", is \"c\"",
            ]
        );
        assert_eq!(differences(&old, &old), [""; 0]);
    }
}

//! The Dockerfiles a command line means, with what is known of their contexts.
//!
//! Knows nothing of what is in them.

use std::io::Read;
use std::path::{Path, PathBuf};

use cooper_dockerfile::lint;

use super::Check;
use crate::context::{self, Place};
use crate::error::{CommandError, CommandResult};

/// Names at the top of a context that are looked at; rules only ask for a few well-known ones.
const NAMES_MAX: usize = 10_000;

/// Dockerfiles of one directory; more are no directory of Dockerfiles.
const FILES_MAX: usize = 1_000;

/// Gives standard input.
pub(super) type Stdin = fn() -> Box<dyn Read + Send>;

/// A Dockerfile to look at.
#[derive(Debug)]
pub(super) struct Source {
    /// As it is called in messages: a path relative to the current directory, or as given.
    pub(super) shown: String,
    /// Where it is; `None` for standard input.
    pub(super) path: Option<PathBuf>,
    pub(super) text: String,
    /// The directory of the build's files, if it is known.
    pub(super) context_dir: Option<PathBuf>,
    pub(super) context: Option<lint::Context>,
}

/// All Dockerfiles of the command line.
pub(super) fn sources(args: &Check, stdin: Stdin) -> CommandResult<Vec<Source>> {
    if let Some(file) = &args.file {
        let [.., path] = args.paths.as_slice() else { return Ok(vec![in_context(".", file, stdin)?]) };
        if args.paths.len() > 1 {
            return Err(CommandError::usage("with `-f` there is one PATH, the directory of the build's files"));
        }
        return Ok(vec![in_context(path, file, stdin)?]);
    }
    let mut sources = Vec::new();
    for path in files_of(&args.paths)? {
        sources.push(match path.as_str() {
            "-" => in_context(".", "-", stdin).map(|source| Source { context_dir: None, context: None, ..source })?,
            path => beside(path, stdin)?,
        });
    }
    Ok(sources)
}

/// Files as they are given, and the Dockerfiles of each directory; the current one if nothing is given.
pub(crate) fn files_of(paths: &[String]) -> CommandResult<Vec<String>> {
    let here = [".".to_owned()];
    let mut files = Vec::new();
    for path in if paths.is_empty() { &here } else { paths } {
        match path != "-" && Path::new(path).is_dir() {
            true => files.extend(dockerfiles(path)?),
            false => files.push(path.clone()),
        }
    }
    Ok(files)
}

/// `Dockerfile`, `Containerfile`, and names that begin or end with them, sorted.
fn dockerfiles(dir: &str) -> CommandResult<Vec<String>> {
    let failed = |error| CommandError::failure(format!("cannot read the directory `{dir}`")).with_source(error);
    let entries = std::fs::read_dir(dir).map_err(failed)?.flatten();
    let files = entries.filter(|entry| entry.path().is_file()).filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = files.filter(|name| is_dockerfile(name)).take(FILES_MAX).collect();
    names.sort();
    if names.is_empty() {
        return Err(CommandError::failure(format!("there is no Dockerfile in `{dir}`")).with_hint("name one"));
    }
    Ok(names
        .into_iter()
        .map(|name| if dir == "." { name } else { Path::new(dir).join(name).display().to_string() })
        .collect())
}

fn is_dockerfile(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let named =
        |what: &str| lower == what || lower.starts_with(&format!("{what}.")) || lower.ends_with(&format!(".{what}"));
    (named("dockerfile") || named("containerfile")) && !lower.ends_with(".dockerignore") && !lower.ends_with('~')
}

/// A file whose context is its own directory. In another directory than the current one that is a guess, made only if an
/// ignore file is there.
fn beside(path: &str, stdin: Stdin) -> CommandResult<Source> {
    let dir = Path::new(path).parent().filter(|dir| !dir.as_os_str().is_empty());
    let source = in_context(dir.unwrap_or(Path::new(".")).to_string_lossy().as_ref(), path, stdin)?;
    let ignored = source.context.as_ref().is_some_and(|context| context.ignore.is_some());
    Ok(match dir.is_none() || ignored {
        true => source,
        false => Source { context: None, context_dir: None, ..source },
    })
}

fn in_context(dir: &str, file: &str, stdin: Stdin) -> CommandResult<Source> {
    let inputs = context::find(dir, Some(file), stdin())?;
    let Place::Directory(dir) = inputs.context else {
        return Err(CommandError::usage(format!("`{dir}` is not a directory"))
            .with_hint("only Dockerfiles at hand are checked: fetch the context first"));
    };
    let ignore = inputs.ignore.as_ref().map(|(text, _)| text.as_str());
    Ok(Source {
        shown: inputs.name,
        path: (file != "-").then(|| PathBuf::from(file)),
        text: inputs.dockerfile,
        context: Some(context_of(&dir, ignore)),
        context_dir: Some(dir),
    })
}

/// What the rules may know of a context.
pub(crate) fn context_of(dir: &Path, ignore: Option<&str>) -> lint::Context {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).take(NAMES_MAX).collect();
    names.sort();
    lint::Context::new(names, ignore)
}

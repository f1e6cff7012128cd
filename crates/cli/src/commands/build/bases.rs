//! Bases of a build that are declared files or presets: `--build-context NAME=base:WHAT`, and `FROM base:./FILE`.
//!
//! Each is built first; the build then finds it in the store.

use std::path::Path;

use cooper_dockerfile::ast::InstructionKind;
use cooper_engine::{NamedContext, Request};
use cooper_oci::Reference;

use super::Build;
use crate::commands::base::build::make;
use crate::commands::base::prepare::Prepare;
use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;

/// What such places begin with.
const SCHEME: &str = "base:";

/// Repository that such images are called by in a build's words.
const NAME: &str = "localhost/base";

/// The declared file or preset of a `--build-context`, if it is one.
pub(super) fn declared(text: &str) -> Option<(&str, &str)> {
    let (name, place) = text.split_once('=')?;
    Some((name, place.strip_prefix(SCHEME)?))
}

/// Builds the bases that the command line and the FROM lines name, for the platforms of the build.
pub(super) async fn build(args: &Build, request: &mut Request, at: &Surroundings) -> CommandResult {
    let mut wanted: Vec<(String, String)> = Vec::new();
    for (name, what) in args.contexts.iter().filter_map(|text| declared(text)) {
        wanted.push((name.to_ascii_lowercase(), what.to_owned()));
    }
    for written in from_lines(&request.dockerfile) {
        let is_given = request.contexts.contains_key(&written) || wanted.iter().any(|(name, _)| *name == written);
        if !is_given {
            let file = file_of_context(&written, Path::new(&request.context_key))?;
            wanted.push((written, file));
        }
    }
    for (name, what) in wanted {
        let outcome = make(at, &what, &Prepare::default(), &request.platforms, args.quiet).await?;
        let reference: Reference = NAME.parse()?;
        let reference = reference.with_digest(outcome.image.digest.clone());
        request.contexts.insert(name, NamedContext::Stored(reference, outcome.image));
    }
    Ok(())
}

/// Images of FROM lines that are declared files: `base:` and a path. `base:slim` is an image's name and tag.
fn from_lines(dockerfile: &str) -> Vec<String> {
    let (dockerfile, _) = cooper_dockerfile::parse(dockerfile);
    let image = |instruction: &cooper_dockerfile::ast::Instruction| match &instruction.kind {
        InstructionKind::From(from) => Some(from.image.text.clone()),
        _ => None,
    };
    let is_file = |image: &String| image.strip_prefix(SCHEME).is_some_and(|file| file.contains('/'));
    dockerfile.instructions.iter().filter_map(image).filter(is_file).collect()
}

/// The path of a declared file of the context: a Dockerfile may not name files outside of it.
fn file_of_context(written: &str, context: &Path) -> CommandResult<String> {
    let file = context.join(written.strip_prefix(SCHEME).unwrap_or(written));
    let found = std::fs::canonicalize(&file).map_err(|e| {
        let error = CommandError::failure(format!("cannot find the declared file of `FROM {written}`")).with_source(e);
        error.with_hint("the path is relative to the build's context")
    })?;
    if !found.starts_with(context) {
        return Err(CommandError::failure(format!("`FROM {written}` leads out of the build's context"))
            .with_hint(format!("name it on the command line: `--build-context NAME=base:{}`", file.display())));
    }
    Ok(found.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_are_declared_files() {
        let text = "FROM base:./base.yaml AS a\nFROM base:slim\nFROM base\nFROM a\nFROM base:dir/x.toml\n";
        assert_eq!(from_lines(text), ["base:./base.yaml", "base:dir/x.toml"]);
        assert_eq!(declared("debian=base:slim"), Some(("debian", "slim")));
        assert_eq!(declared("debian=docker-image://x"), None);
    }

    #[test]
    fn a_dockerfile_stays_in_its_context() {
        let dir = tempfile::tempdir().unwrap();
        let context = dir.path().canonicalize().unwrap().join("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("in.yaml"), "").unwrap();
        std::fs::write(dir.path().join("out.yaml"), "").unwrap();
        assert!(file_of_context("base:./in.yaml", &context).unwrap().ends_with("/context/in.yaml"));
        for (file, expect) in [("base:../out.yaml", "leads out of"), ("base:./no.yaml", "cannot find")] {
            assert!(file_of_context(file, &context).unwrap_err().message().contains(expect), "{file}");
        }
    }
}

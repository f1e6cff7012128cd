//! What a build leaves behind beside its exports: the id file, the metadata file, the closing words.
//!
//! Knows nothing of how the outcome came about.

use std::path::Path;

use cooper_engine::Outcome;
use serde_json::{Map, Value, json};

use super::Build;
use crate::error::{CommandError, CommandResult};

/// Refuses files that cannot be written before anything is built.
pub(super) fn check_files(args: &Build) -> CommandResult {
    let files = [("--iidfile", &args.iidfile), ("--metadata-file", &args.metadata_file)];
    for (flag, path) in files.iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?))) {
        let shown = path.display();
        if path.is_dir() {
            return Err(CommandError::failure(format!("{flag} `{shown}`: `{shown}` is a directory")));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            let parent = parent.display();
            return Err(CommandError::failure(format!("{flag} `{shown}`: there is no directory `{parent}`"))
                .with_hint(format!("make it: `mkdir -p {parent}`")));
        }
    }
    Ok(())
}

/// Writes `--iidfile` and `--metadata-file`.
pub(super) fn write_files(args: &Build, outcome: &Outcome, warnings: bool) -> CommandResult {
    if let Some(path) = &args.iidfile {
        let id = outcome.config.as_ref().or(outcome.image.as_ref().map(|image| &image.digest));
        write_whole(path, id.map(ToString::to_string).unwrap_or_default().as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        write_whole(path, format!("{:#}\n", metadata(outcome, warnings)).as_bytes())?;
    }
    Ok(())
}

/// The fields docker buildx writes, by its names.
fn metadata(outcome: &Outcome, warnings: bool) -> Value {
    let mut fields = Map::new();
    fields.insert("buildx.build.ref".into(), json!(outcome.build));
    if warnings {
        let list: Vec<Value> =
            outcome.warnings.iter().map(|w| json!({"ruleName": w.rule, "short": w.message})).collect();
        fields.insert("buildx.build.warnings".into(), list.into());
    }
    if let Some(config) = &outcome.config {
        fields.insert("containerimage.config.digest".into(), json!(config.to_string()));
    }
    if let Some(image) = &outcome.image {
        fields.insert("containerimage.descriptor".into(), json!(image));
        fields.insert("containerimage.digest".into(), json!(image.digest.to_string()));
    }
    if !outcome.names.is_empty() {
        let names: Vec<String> = outcome.names.iter().map(ToString::to_string).collect();
        fields.insert("image.name".into(), json!(names.join(",")));
    }
    Value::Object(fields)
}

/// A file appears whole or not at all. Something that is not a plain file (`/dev/stdout`) is written into.
fn write_whole(path: &Path, bytes: &[u8]) -> CommandResult {
    let failed = |error| CommandError::failure(format!("cannot write `{}`", path.display())).with_source(error);
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::write(path, bytes).map_err(failed);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&name);
    std::fs::write(temporary, bytes).and_then(|()| std::fs::rename(temporary, path)).map_err(|error| {
        let _ = std::fs::remove_file(temporary);
        failed(error)
    })
}

/// The closing words: what was made and under which names.
pub(super) fn summary(outcome: &Outcome) -> String {
    let (ran, cached) = outcome.ran_and_cached;
    let steps = format!("{ran} {} run, {cached} cached", if ran == 1 { "step" } else { "steps" });
    let names: Vec<String> = outcome.names.iter().map(cooper_oci::Reference::familiar).collect();
    match (&outcome.image, names.is_empty()) {
        (Some(image), true) => format!("built {} ({steps})", image.digest),
        (Some(image), false) => format!("built {} as {} ({steps})", image.digest, names.join(", ")),
        (None, _) => format!("done ({steps})"),
    }
}

#[cfg(test)]
mod tests {
    use cooper_oci::{Descriptor, Digest, MediaType};

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            image: Some(Descriptor::of(MediaType::MANIFEST, b"m")),
            config: Some(Digest::of(b"c")),
            names: vec!["a:1".parse().unwrap()],
            warnings: Vec::new(),
            build: "b1".into(),
            ran_and_cached: (1, 2),
        }
    }

    #[test]
    fn metadata_has_buildx_names() {
        let value = metadata(&outcome(), true);
        assert_eq!(value["buildx.build.ref"], "b1");
        assert_eq!(value["buildx.build.warnings"], json!([]));
        assert_eq!(value["containerimage.digest"], Digest::of(b"m").to_string());
        assert_eq!(value["containerimage.config.digest"], Digest::of(b"c").to_string());
        assert_eq!(value["containerimage.descriptor"]["mediaType"], MediaType::MANIFEST);
        assert_eq!(value["image.name"], "docker.io/library/a:1");
    }

    #[test]
    fn closing_words() {
        let digest = Digest::of(b"m");
        assert_eq!(summary(&outcome()), format!("built {digest} as a:1 (1 step run, 2 cached)"));
        assert_eq!(summary(&Outcome { image: None, ..outcome() }), "done (1 step run, 2 cached)");
    }

    #[test]
    fn files_are_replaced_whole_and_a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("iid");
        std::fs::write(&path, "old and longer").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(write_whole(&dir.path().join("no/such"), b"x").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

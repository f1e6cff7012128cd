//! `--output`, `--push` and `--load` as exports.
//!
//! Knows nothing of how an export is done.

use std::path::PathBuf;

use cooper_engine::{Export, ExportKind};
use cooper_oci::{Compression, Reference};

use crate::csv;
use crate::error::{CommandError, CommandResult};

/// The exports a command line asks for: into the store if it asks for none.
pub(super) fn exports(
    outputs: &[String],
    push: bool,
    load: bool,
    stdout_is_terminal: bool,
) -> CommandResult<Vec<Export>> {
    let mut exports = Vec::new();
    for text in outputs {
        exports.extend(export(text)?);
    }
    if load {
        exports.push(plain(ExportKind::Load, None));
    }
    if push {
        push_images(&mut exports);
    }
    if exports.is_empty() && outputs.is_empty() {
        exports.push(plain(ExportKind::Image { push: false }, None));
    }
    check_stdout(&exports, stdout_is_terminal)?;
    Ok(exports)
}

/// `--push` turns the image exports into pushing ones, or adds one.
fn push_images(exports: &mut Vec<Export>) {
    let mut found = false;
    for export in exports.iter_mut().filter(|export| matches!(export.kind, ExportKind::Image { .. })) {
        export.kind = ExportKind::Image { push: true };
        found = true;
    }
    if !found {
        exports.push(plain(ExportKind::Image { push: true }, None));
    }
}

fn check_stdout(exports: &[Export], terminal: bool) -> CommandResult {
    let to_stdout = exports.iter().filter(|export| export.dest.is_none() && is_archive(export.kind)).count();
    if to_stdout > 1 {
        return Err(CommandError::usage("only one output can go to standard output"));
    }
    if to_stdout == 1 && terminal {
        return Err(CommandError::usage("refusing to write an archive to a terminal")
            .with_hint("redirect it (`> image.tar`) or name a file (`--output type=..,dest=image.tar`)"));
    }
    Ok(())
}

fn is_archive(kind: ExportKind) -> bool {
    matches!(kind, ExportKind::Oci { tar: true } | ExportKind::Docker { tar: true } | ExportKind::Tar)
}

fn plain(kind: ExportKind, dest: Option<PathBuf>) -> Export {
    Export { kind, dest, compression: Compression::GZIP, force_compression: false, names: Vec::new() }
}

/// The fields of one `--output`.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    dest: Option<String>,
    compression: Option<String>,
    level: Option<String>,
    force_compression: bool,
    push: bool,
    tar: Option<bool>,
    names: Vec<Reference>,
}

/// `None` for `type=cacheonly`, which asks for no result.
fn export(text: &str) -> CommandResult<Option<Export>> {
    // docker: a text without `=` is a directory, and `-` a tar on standard output.
    if text == "-" {
        return Ok(Some(plain(ExportKind::Tar, None)));
    }
    if !text.contains('=') {
        return Ok(Some(plain(ExportKind::Local, Some(absolute(text)?))));
    }
    let fields = read_fields(text)?;
    let compression = compression(text, fields.compression.as_deref(), fields.level.as_deref())?;
    let Some((kind, dest)) = kind_and_dest(text, &fields)? else { return Ok(None) };
    Ok(Some(Export { kind, dest, compression, force_compression: fields.force_compression, names: fields.names }))
}

fn read_fields(text: &str) -> CommandResult<Fields> {
    let mut fields = Fields::default();
    for (key, value) in csv::pairs(text)? {
        let given = value.as_deref();
        match key.as_str() {
            "type" => fields.kind = value,
            "dest" => fields.dest = value,
            "compression" => fields.compression = value,
            "compression-level" => fields.level = value,
            "force-compression" => fields.force_compression = csv::switch(&key, given)?,
            "push" => fields.push = csv::switch(&key, given)?,
            "tar" => fields.tar = Some(csv::switch(&key, given)?),
            "name" => fields.names = names(given.unwrap_or_default())?,
            "store" | "oci-mediatypes" | "unpack" | "name-canonical" if csv::switch(&key, given)? => {}
            "rewrite-timestamp" | "push-by-digest" | "oci-artifact" | "platform-split" | "unpack"
            | "name-canonical"
                if !csv::switch(&key, given)? => {}
            "rewrite-timestamp" => {
                return Err(not_supported(&key).with_hint("layers are clamped by default; see `--timestamps`"));
            }
            key => return Err(unknown_key(text, key)),
        }
    }
    Ok(fields)
}

fn names(text: &str) -> CommandResult<Vec<Reference>> {
    text.split(',').filter(|name| !name.is_empty()).map(super::request::image_name).collect()
}

fn not_supported(key: &str) -> CommandError {
    CommandError::usage(format!("--output with {key} is not supported yet"))
}

fn unknown_key(text: &str, key: &str) -> CommandError {
    /// Keys of BuildKit's exporters that are meant, not mistyped.
    const KNOWN: [&str; 13] = [
        "push-by-digest",
        "registry.insecure",
        "oci-mediatypes",
        "oci-artifact",
        "unpack",
        "store",
        "dangling-name-prefix",
        "name-canonical",
        "source-date-epoch",
        "prefer-nondist-layers",
        "attestation-inline",
        "platform-split",
        "mode",
    ];
    if KNOWN.contains(&key) || key.starts_with("annotation") || key.starts_with("attestation") {
        return not_supported(key);
    }
    CommandError::usage(format!("--output `{text}`: unknown key `{key}`"))
        .with_hint("the keys are type, dest, name, push, tar, compression, compression-level and force-compression")
}

fn kind_and_dest(text: &str, fields: &Fields) -> CommandResult<Option<(ExportKind, Option<PathBuf>)>> {
    let tar = fields.tar.unwrap_or(true);
    let kind = match fields.kind.as_deref() {
        Some("image") => ExportKind::Image { push: fields.push },
        Some("registry") => ExportKind::Image { push: true },
        Some("oci") => ExportKind::Oci { tar },
        Some("docker") if fields.dest.is_none() && tar => ExportKind::Load,
        Some("docker") => ExportKind::Docker { tar },
        Some("tar") => ExportKind::Tar,
        Some("local") => ExportKind::Local,
        Some("cacheonly") => return Ok(None),
        Some(other) => {
            let error = CommandError::usage(format!("--output `{text}`: unknown type `{other}`"));
            return Err(error.with_hint("the types are image, registry, oci, docker, tar, local and cacheonly"));
        }
        None => {
            return Err(CommandError::usage(format!("--output `{text}` has no type"))
                .with_hint("write `type=oci,dest=FILE`, or just a directory"));
        }
    };
    Ok(Some((kind, dest(text, kind, fields.dest.as_deref())?)))
}

fn dest(text: &str, kind: ExportKind, dest: Option<&str>) -> CommandResult<Option<PathBuf>> {
    let takes_none = matches!(kind, ExportKind::Image { .. } | ExportKind::Load);
    match dest {
        Some(_) if takes_none => Err(CommandError::usage(format!("--output `{text}`: this type has no dest"))),
        _ if takes_none => Ok(None),
        None | Some("" | "-") if is_archive(kind) => Ok(None),
        None | Some("" | "-") => Err(CommandError::usage(format!("--output `{text}` needs `dest=DIRECTORY`"))),
        Some(path) => absolute(path).map(Some),
    }
}

fn absolute(path: &str) -> CommandResult<PathBuf> {
    std::path::absolute(path).map_err(|error| CommandError::usage(format!("`{path}` is not a path")).with_source(error))
}

fn compression(text: &str, name: Option<&str>, level: Option<&str>) -> CommandResult<Compression> {
    let wrong =
        |max: u8| CommandError::usage(format!("--output `{text}`: the compression level is a number from 1 to {max}"));
    let read = |default: u8, max: u8| match level {
        None => Ok(default),
        Some(text) => text.parse::<u8>().ok().filter(|level| (1..=max).contains(level)).ok_or_else(|| wrong(max)),
    };
    let default = |compression| match compression {
        Compression::Gzip(level) | Compression::Zstd(level) => level,
        Compression::None => 0,
    };
    match name {
        None | Some("gzip") => read(default(Compression::GZIP), 12).map(Compression::Gzip),
        Some("zstd") => read(default(Compression::ZSTD), 22).map(Compression::Zstd),
        Some("uncompressed") => Ok(Compression::None),
        Some("estargz" | "nydus") => Err(not_supported(&format!("compression={}", name.unwrap_or_default()))),
        Some(other) => Err(CommandError::usage(format!("--output `{text}`: unknown compression `{other}`"))
            .with_hint("the compressions are gzip, zstd and uncompressed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let export = export(text).map_err(|error| error.message())?;
        let Some(export) = export else { return Ok("nothing".into()) };
        let dest = export.dest.map_or("-".into(), |dest| dest.display().to_string());
        let names: Vec<String> = export.names.iter().map(ToString::to_string).collect();
        let force = if export.force_compression { " forced" } else { "" };
        Ok(format!("{:?} {dest} {:?}{force} {}", export.kind, export.compression, names.join(" "))
            .trim_end()
            .to_owned())
    }

    #[test]
    fn outputs_mean_what_they_mean_to_docker() {
        for (text, expect) in [
            ("-", "Tar - Gzip(6)"),
            ("/out", "Local /out Gzip(6)"),
            ("type=local,dest=/out", "Local /out Gzip(6)"),
            ("type=tar", "Tar - Gzip(6)"),
            ("type=tar,dest=/o.tar", "Tar /o.tar Gzip(6)"),
            ("type=oci,dest=/o.tar", "Oci { tar: true } /o.tar Gzip(6)"),
            ("type=oci,dest=-", "Oci { tar: true } - Gzip(6)"),
            ("type=oci,dest=/o,tar=false,compression=zstd", "Oci { tar: false } /o Zstd(3)"),
            (
                "type=oci,compression=zstd,compression-level=19,force-compression=true",
                "Oci { tar: true } - Zstd(19) forced",
            ),
            ("type=docker", "Load - Gzip(6)"),
            ("type=docker,dest=/d.tar,compression=uncompressed", "Docker { tar: true } /d.tar None"),
            ("type=image", "Image { push: false } - Gzip(6)"),
            ("type=image,push=true,name=a", "Image { push: true } - Gzip(6) docker.io/library/a:latest"),
            (
                "type=registry,\"name=a:1,b:2\"",
                "Image { push: true } - Gzip(6) docker.io/library/a:1 docker.io/library/b:2",
            ),
            ("type=image,oci-mediatypes=true,rewrite-timestamp=false", "Image { push: false } - Gzip(6)"),
            ("type=cacheonly", "nothing"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn wrong_outputs_say_what_is_right() {
        for (text, expect) in [
            ("type=x", "hint: the types are"),
            ("dest=/x", "has no type"),
            ("type=local", "needs `dest=DIRECTORY`"),
            ("type=oci,tar=false", "needs `dest=DIRECTORY`"),
            ("type=image,dest=/x", "has no dest"),
            ("type=oci,compresion=gzip", "unknown key `compresion`"),
            ("type=oci,compression=lz4", "hint: the compressions are"),
            ("type=oci,compression=estargz", "not supported yet"),
            ("type=oci,compression-level=13", "from 1 to 12"),
            ("type=oci,compression-level=0", "from 1 to 12"),
            ("type=oci,tar=maybe", "`tar` is true or false"),
            ("type=image,push-by-digest=true", "push-by-digest is not supported yet"),
            ("type=image,annotation.a=b", "annotation.a is not supported yet"),
            ("type=image,rewrite-timestamp=true", "hint: layers are clamped by default"),
            ("type=image,name=UPPER", "invalid image name"),
            ("type=oci,\"dest=x", "without a closing one"),
        ] {
            assert!(shown(text).unwrap_err().contains(expect), "{text}: {}", shown(text).unwrap_err());
        }
    }

    fn kinds(outputs: &[&str], push: bool, load: bool) -> Vec<ExportKind> {
        let outputs: Vec<String> = outputs.iter().map(|text| (*text).to_owned()).collect();
        exports(&outputs, push, load, false).unwrap().iter().map(|export| export.kind).collect()
    }

    #[test]
    fn push_and_load_add_to_the_outputs() {
        assert_eq!(kinds(&[], false, false), [ExportKind::Image { push: false }]);
        assert_eq!(kinds(&[], true, false), [ExportKind::Image { push: true }]);
        assert_eq!(kinds(&[], false, true), [ExportKind::Load]);
        assert_eq!(kinds(&["type=image"], true, false), [ExportKind::Image { push: true }]);
        assert_eq!(kinds(&["/o"], true, false), [ExportKind::Local, ExportKind::Image { push: true }]);
        assert_eq!(kinds(&["type=cacheonly"], false, false), []);
    }

    #[test]
    fn an_archive_does_not_go_to_a_terminal_nor_two_to_one_pipe() {
        let one = ["type=oci".to_owned()];
        assert!(exports(&one, false, false, true).unwrap_err().what.contains("terminal"));
        assert!(exports(&one, false, false, false).is_ok());
        let two = ["type=oci".to_owned(), "-".to_owned()];
        assert!(exports(&two, false, false, false).unwrap_err().what.contains("only one"));
    }
}

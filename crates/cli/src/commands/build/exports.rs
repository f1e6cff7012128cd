//! `--output`, `--push` and `--load` as exports.
//!
//! Knows nothing of how an export is done.

use std::path::PathBuf;

use cooper_dockerfile::nearest;
use cooper_engine::{Dangling, Export, ExportKind};
use cooper_oci::{Compression, Reference};

use super::annotation;
use crate::csv;
use crate::error::{CommandError, CommandResult};

/// What of a command line says where results go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    /// `--output`.
    pub(super) outputs: &'a [String],
    /// `--push`.
    pub(super) push: bool,
    /// `--load`.
    pub(super) load: bool,
    /// `--annotation`.
    pub(super) annotations: &'a [String],
}

/// The exports a command line asks for: into the store if it asks for none.
pub(super) fn exports(asked: Asked<'_>, stdout_is_terminal: bool) -> CommandResult<Vec<Export>> {
    let mut exports = Vec::new();
    for text in asked.outputs {
        exports.extend(export(text)?);
    }
    if asked.load {
        exports.push(Export::new(ExportKind::Load, None));
    }
    if asked.push {
        push_images(&mut exports);
    }
    if exports.is_empty() && asked.outputs.is_empty() {
        exports.push(Export::new(ExportKind::Image { push: false }, None));
    }
    annotate(&mut exports, asked.annotations)?;
    check_stdout(&exports, stdout_is_terminal)?;
    Ok(exports)
}

/// `--annotation` is for every image that comes of the build.
fn annotate(exports: &mut [Export], texts: &[String]) -> CommandResult {
    let mut annotations = Vec::new();
    for text in texts {
        annotations.extend(annotation::of_flag(text)?);
    }
    let mut images = exports.iter_mut().filter(|export| export.kind.is_image()).peekable();
    if images.peek().is_none() && !annotations.is_empty() {
        return Err(CommandError::usage("--annotation needs an output that is an image")
            .with_hint("files (`type=local`, `type=tar`) have no place for annotations"));
    }
    images.for_each(|export| export.annotations.extend(annotations.clone()));
    Ok(())
}

/// `--push` turns the image exports into pushing ones, or adds one.
fn push_images(exports: &mut Vec<Export>) {
    let mut found = false;
    for export in exports.iter_mut().filter(|export| matches!(export.kind, ExportKind::Image { .. })) {
        export.kind = ExportKind::Image { push: true };
        found = true;
    }
    if !found {
        exports.push(Export::new(ExportKind::Image { push: true }, None));
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

/// The fields of one `--output`.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    dest: Option<String>,
    compression: Option<String>,
    level: Option<String>,
    push: bool,
    tar: Option<bool>,
    names: Option<String>,
    dangling: Option<Reference>,
    only_nameless: bool,
    /// Keys that were given, for those that only some types have.
    given: Vec<String>,
    /// All that is copied as it is.
    export: Option<Export>,
}

/// `None` for `type=cacheonly`, which asks for no result.
fn export(text: &str) -> CommandResult<Option<Export>> {
    // docker: a text without `=` is a directory, and `-` a tar on standard output.
    if text == "-" {
        return Ok(Some(Export::new(ExportKind::Tar, None)));
    }
    if !text.contains('=') {
        return Ok(Some(Export::new(ExportKind::Local, Some(absolute(text)?))));
    }
    let mut fields = read_fields(text)?;
    let compression = compression(text, fields.compression.as_deref(), fields.level.as_deref())?;
    let Some((kind, dest)) = kind_and_dest(text, &fields)? else { return Ok(None) };
    let misplaced = fields.given.iter().find(|key| !fits(key, kind));
    if let Some(key) = misplaced {
        return Err(CommandError::usage(format!("--output `{text}`: this type has no `{key}`")));
    }
    let only_nameless = fields.only_nameless;
    let dangling = fields.dangling.map(|name| Dangling { name, only_nameless });
    let export = fields.export.take().unwrap_or_else(|| Export::new(kind, None));
    if export.by_digest
        && let Some(name) = fields.names.iter().flat_map(|names| names.split(',')).find(|name| has_tag(name))
    {
        return Err(with_tag(name));
    }
    if export.docker_types && matches!(compression, Compression::Zstd(_)) {
        return Err(CommandError::usage(format!("--output `{text}`: Docker's media types have none for zstd"))
            .with_hint("leave out oci-mediatypes=false, or write compression=gzip"));
    }
    Ok(Some(Export { kind, dest, compression, dangling, ..export }))
}

/// Whether a name says which tag it is.
pub(super) fn has_tag(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'))
}

/// A tag beside `push-by-digest`.
pub(super) fn with_tag(name: &str) -> CommandError {
    CommandError::usage(format!("push-by-digest gives no tag, but `{name}` has one"))
        .with_hint("name the repository alone")
}

/// Keys that only some types have. Those of other exporters that are not named here do nothing to files.
fn fits(key: &str, kind: ExportKind) -> bool {
    let is_store = matches!(kind, ExportKind::Image { .. });
    match key {
        "push"
        | "push-by-digest"
        | "store"
        | "unpack"
        | "dangling-name-prefix"
        | "danging-name-empty-only"
        | "name-canonical" => is_store,
        "platform-split" => !kind.is_image(),
        "context" => kind == ExportKind::Load,
        "tar" => matches!(kind, ExportKind::Oci { .. } | ExportKind::Docker { .. }),
        _ => kind.is_image(),
    }
}

fn read_fields(text: &str) -> CommandResult<Fields> {
    let mut fields = Fields::default();
    let mut export = Export::new(ExportKind::Local, None);
    for (key, value) in csv::pairs(text)? {
        let given = value.as_deref();
        match key.as_str() {
            "type" => fields.kind = value,
            "dest" => fields.dest = value,
            key => {
                read_field(&mut fields, &mut export, text, key, given)?;
                fields.given.push(key.to_owned());
            }
        }
    }
    fields.export = Some(export);
    Ok(fields)
}

/// One key of BuildKit's exporters besides type and dest.
fn read_field(fields: &mut Fields, export: &mut Export, text: &str, key: &str, given: Option<&str>) -> CommandResult {
    let owned = || given.map(str::to_owned);
    let on = || csv::switch(key, given);
    match key {
        "compression" => fields.compression = owned(),
        "compression-level" => fields.level = owned(),
        "force-compression" => export.force_compression = on()?,
        "push" => fields.push = on()?,
        "tar" => fields.tar = Some(on()?),
        "name" => {
            fields.names = owned();
            export.names = names(given.unwrap_or_default())?;
        }
        "oci-mediatypes" => export.docker_types = !on()?,
        "rewrite-timestamp" => export.rewrite_timestamp = on()?,
        "platform-split" => export.platform_split = Some(on()?),
        "store" => export.transient = !on()?,
        "unpack" => export.unpack = on()?,
        "push-by-digest" => export.by_digest = on()?,
        "context" => export.docker_context = owned().filter(|name| !name.is_empty()),
        "dangling-name-prefix" => fields.dangling = Some(super::request::image_name(given.unwrap_or_default())?),
        // BuildKit's spelling.
        "danging-name-empty-only" => fields.only_nameless = on()?,
        // An image of the store goes by `name@digest` in any case.
        "name-canonical" => drop(on()?),
        "oci-artifact" | "prefer-nondist-layers" | "attestation-inline" if !on()? => {}
        key if key.starts_with("annotation") => export.annotations.push(annotation::of_key(key, given)?),
        key => return Err(unknown_key(text, key)),
    }
    Ok(())
}

fn names(text: &str) -> CommandResult<Vec<Reference>> {
    text.split(',').filter(|name| !name.is_empty()).map(super::request::image_name).collect()
}

fn not_supported(key: &str) -> CommandError {
    CommandError::usage(format!("--output with {key} is not supported yet"))
}

fn unknown_key(text: &str, key: &str) -> CommandError {
    /// Keys of BuildKit's exporters that are meant, not mistyped.
    const KNOWN: [&str; 6] = [
        "registry.insecure",
        "oci-artifact",
        "source-date-epoch",
        "prefer-nondist-layers",
        "attestation-inline",
        "mode",
    ];
    const KEYS: [&str; 18] = [
        "type",
        "dest",
        "name",
        "push",
        "tar",
        "compression",
        "compression-level",
        "force-compression",
        "oci-mediatypes",
        "rewrite-timestamp",
        "platform-split",
        "store",
        "unpack",
        "push-by-digest",
        "context",
        "dangling-name-prefix",
        "name-canonical",
        "annotation",
    ];
    if KNOWN.contains(&key) || key.starts_with("attestation") {
        return not_supported(key);
    }
    let error = CommandError::usage(format!("--output `{text}`: unknown key `{key}`"));
    match nearest(key, KEYS.into_iter()) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("the keys are {}", KEYS.join(", "))),
    }
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
        let dest = export.dest.as_ref().map_or("-".into(), |dest| dest.display().to_string());
        let names: Vec<String> = export.names.iter().map(ToString::to_string).collect();
        let force = if export.force_compression { " forced" } else { "" };
        let more = Export { force_compression: false, names: Vec::new(), ..export.clone() };
        let plain = Export::new(more.kind, more.dest.clone());
        let more = if more == (Export { compression: more.compression, ..plain }) { "" } else { " more" };
        Ok(format!("{:?} {dest} {:?}{force}{more} {}", export.kind, export.compression, names.join(" "))
            .trim_end()
            .to_owned())
    }

    #[test]
    fn outputs_mean_what_they_mean_to_docker() {
        for (text, expect) in [
            ("-", "Tar - Gzip(5)"),
            ("/out", "Local /out Gzip(5)"),
            ("type=local,dest=/out", "Local /out Gzip(5)"),
            ("type=tar", "Tar - Gzip(5)"),
            ("type=tar,dest=/o.tar", "Tar /o.tar Gzip(5)"),
            ("type=oci,dest=/o.tar", "Oci { tar: true } /o.tar Gzip(5)"),
            ("type=oci,dest=-", "Oci { tar: true } - Gzip(5)"),
            ("type=oci,dest=/o,tar=false,compression=zstd", "Oci { tar: false } /o Zstd(3)"),
            (
                "type=oci,compression=zstd,compression-level=19,force-compression=true",
                "Oci { tar: true } - Zstd(19) forced",
            ),
            ("type=docker", "Load - Gzip(5)"),
            ("type=docker,dest=/d.tar,compression=uncompressed", "Docker { tar: true } /d.tar None"),
            ("type=image", "Image { push: false } - Gzip(5)"),
            ("type=image,push=true,name=a", "Image { push: true } - Gzip(5) docker.io/library/a:latest"),
            (
                "type=registry,\"name=a:1,b:2\"",
                "Image { push: true } - Gzip(5) docker.io/library/a:1 docker.io/library/b:2",
            ),
            ("type=image,oci-mediatypes=true,rewrite-timestamp=false", "Image { push: false } - Gzip(5)"),
            ("type=image,oci-mediatypes=false", "Image { push: false } - Gzip(5) more"),
            ("type=image,name-canonical=true,oci-artifact=false", "Image { push: false } - Gzip(5)"),
            (
                "type=image,push-by-digest=true,push=true,name=a",
                "Image { push: true } - Gzip(5) more docker.io/library/a:latest",
            ),
            ("type=local,dest=/o,platform-split=false", "Local /o Gzip(5) more"),
            ("type=docker,context=remote", "Load - Gzip(5) more"),
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
            ("type=oci,compresion=gzip", "did you mean `compression`?"),
            ("type=oci,compression=lz4", "hint: the compressions are"),
            ("type=oci,compression=estargz", "not supported yet"),
            ("type=oci,compression-level=13", "from 1 to 12"),
            ("type=oci,compression-level=0", "from 1 to 12"),
            ("type=oci,tar=maybe", "`tar` is true or false"),
            ("type=image,registry.insecure=true", "registry.insecure is not supported yet"),
            ("type=image,annotation-x.a=b", "annotations are put on"),
            ("type=oci,push=true", "this type has no `push`"),
            ("type=local,dest=/x,name=a", "this type has no `name`"),
            ("type=image,platform-split=true", "this type has no `platform-split`"),
            ("type=oci,oci-mediatypes=false,compression=zstd", "none for zstd"),
            ("type=image,name=UPPER", "invalid image name"),
            ("type=oci,\"dest=x", "without a closing one"),
        ] {
            assert!(shown(text).unwrap_err().contains(expect), "{text}: {}", shown(text).unwrap_err());
        }
    }

    fn kinds(outputs: &[&str], push: bool, load: bool) -> Vec<ExportKind> {
        let outputs: Vec<String> = outputs.iter().map(|text| (*text).to_owned()).collect();
        let asked = Asked { outputs: &outputs, push, load, annotations: &[] };
        exports(asked, false).unwrap().iter().map(|export| export.kind).collect()
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
        let asked = |outputs| Asked { outputs, ..Asked::default() };
        assert!(exports(asked(&one), true).unwrap_err().what.contains("terminal"));
        assert!(exports(asked(&one), false).is_ok());
        let two = ["type=oci".to_owned(), "-".to_owned()];
        assert!(exports(asked(&two), false).unwrap_err().what.contains("only one"));
    }

    #[test]
    fn annotations_go_to_every_image() {
        let outputs = ["type=oci,annotation.own=1".to_owned(), "/files".to_owned(), "type=image".to_owned()];
        let annotations = ["a=b".to_owned()];
        let asked = Asked { outputs: &outputs, annotations: &annotations, ..Asked::default() };
        let exports = exports(asked, false).unwrap();
        let keys = |n: usize| exports[n].annotations.iter().map(|a| a.key.as_str()).collect::<Vec<_>>();
        assert_eq!((keys(0), keys(1), keys(2)), (vec!["own", "a"], vec![], vec!["a"]));
        let asked = Asked { outputs: &outputs[1..2], annotations: &annotations, ..Asked::default() };
        assert!(super::exports(asked, false).unwrap_err().what.contains("needs an output that is an image"));
    }
}

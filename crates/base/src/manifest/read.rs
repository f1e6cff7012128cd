//! Reads a declared file: format, errors with their place and the nearest key, `extends`.
//!
//! Knows nothing of what the declarations mean.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Configure, ImageSettings, Manifest};
use crate::nearest::nearest;
use crate::{Error, ErrorKind, Result, presets};

/// Bytes of a declared file: far above what people write, far below what hurts.
pub const MANIFEST_LIMIT: u64 = 1 << 20;

/// Files that extend one another; more are taken for a mistake.
const EXTENDS_LIMIT: usize = 16;

/// Where a declared file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file; its extension tells the format (`.toml`, else YAML).
    File(PathBuf),
    /// One of the built-in presets.
    Preset(&'static str),
}

impl Origin {
    /// A preset where the word is one's name, else a file. Words with a `/` or an extension are always files.
    pub fn of(word: &str, beside: &Path) -> Result<Self> {
        if !word.contains(['/', '.']) {
            return match presets::NAMES.iter().find(|name| **name == word) {
                Some(name) => Ok(Self::Preset(name)),
                None => Err(no_preset(word)),
            };
        }
        Ok(Self::File(beside.join(word)))
    }

    fn text(&self) -> Result<String> {
        match self {
            Self::Preset(name) => presets::text(name).map(str::to_owned).ok_or_else(|| no_preset(name)),
            Self::File(path) => read_file(path),
        }
    }

    fn dir(&self) -> PathBuf {
        match self {
            Self::Preset(_) => PathBuf::new(),
            Self::File(path) => path.parent().unwrap_or(Path::new("")).to_owned(),
        }
    }

    fn is_toml(&self) -> bool {
        matches!(self, Self::File(path) if path.extension().is_some_and(|extension| extension == "toml"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Preset(name) => write!(f, "preset {name}"),
        }
    }
}

fn no_preset(word: &str) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("there is no preset `{word}`"));
    match nearest(word, presets::NAMES.iter().copied()) {
        Some(name) => error.with_hint(format!("did you mean `{name}`?")),
        None => error.with_hint(format!(
            "presets: {}; a file is written with its path (`./base.yaml`)",
            presets::NAMES.join(", ")
        )),
    }
}

fn read_file(path: &Path) -> Result<String> {
    let file = fs::File::open(path).map_err(|e| Error::at("open", path, e))?;
    let mut text = String::new();
    file.take(MANIFEST_LIMIT + 1).read_to_string(&mut text).map_err(|e| Error::at("read", path, e))?;
    if text.len() as u64 > MANIFEST_LIMIT {
        let what = format!("{} is longer than {MANIFEST_LIMIT} bytes", path.display());
        return Err(Error::new(ErrorKind::TooLarge, what));
    }
    Ok(text)
}

impl Manifest {
    /// Reads a declared file and all it extends.
    ///
    /// What a file says adds to the lists and maps of the one it extends and overrides its single values; sources,
    /// architectures and layers are taken as a whole.
    pub fn load(origin: &Origin) -> Result<Self> {
        let mut chain: Vec<Origin> = Vec::new();
        let mut merged: Option<Self> = None;
        let mut next = Some(origin.clone());
        while let Some(origin) = next {
            if chain.contains(&origin) || chain.len() == EXTENDS_LIMIT {
                return Err(Error::new(ErrorKind::Invalid, format!("{origin} extends itself, or too long a chain")));
            }
            let mut manifest = Self::read(&origin)?;
            let parent = manifest.extends.take();
            next = parent.map(|word| Origin::of(&word, &origin.dir())).transpose()?;
            if next.is_some() && matches!(origin, Origin::Preset(_)) && matches!(next, Some(Origin::File(_))) {
                return Err(Error::new(ErrorKind::Invalid, format!("{origin} extends a file")));
            }
            merged = Some(match merged {
                None => manifest,
                Some(child) => child.over(Self { tags: Vec::new(), ..manifest }),
            });
            chain.push(origin);
        }
        Ok(merged.unwrap_or_default())
    }

    /// Reads one file; `extends` is not followed, paths are anchored at the file's directory.
    pub fn read(origin: &Origin) -> Result<Self> {
        let text = origin.text()?;
        let parsed = if origin.is_toml() { parse_toml(&text) } else { parse_yaml(&text) };
        let mut manifest = parsed.map_err(|fault| fault.at(origin))?;
        manifest.check().map_err(|what| Error::new(ErrorKind::Invalid, format!("{origin}: {what}")))?;
        manifest.anchor(&origin.dir());
        Ok(manifest)
    }

    fn anchor(&mut self, dir: &Path) {
        let keyrings = self.sources.iter_mut().flat_map(|source| source.signed_by.iter_mut());
        let sources = self.files.iter_mut().filter_map(|file| file.source.as_mut());
        let certificates = self.certificates.iter_mut().flat_map(|certificates| certificates.add.iter_mut());
        for path in keyrings.chain(sources).chain(certificates) {
            *path = dir.join(&*path);
        }
    }

    /// What serde cannot say.
    fn check(&self) -> std::result::Result<(), String> {
        for source in &self.sources {
            if source.uris.is_empty() || source.suites.is_empty() || source.signed_by.is_empty() {
                return Err("a source needs at least one of each: uris, suites, signed-by".to_owned());
            }
        }
        if let Some(file) = self.files.iter().find(|file| file.text.is_some() == file.source.is_some()) {
            return Err(format!("file {}: give either its text or its source", file.path));
        }
        let files = self.files.iter().map(|file| &file.path);
        let directories = self.directories.iter().map(|directory| &directory.path);
        let links = self.links.keys();
        let mut paths = files.chain(directories).chain(links);
        if let Some(path) = paths.find(|path| !is_clean_path(path)) {
            return Err(format!("`{path}` is not an absolute path without `..`"));
        }
        if self.configure == Some(Configure::Run) && !self.slices.is_empty() {
            return Err("`slices` need `configure: declared`: scripts expect whole packages".to_owned());
        }
        let unknown = self.architectures.iter().find(|name| crate::platform_of(name).is_none());
        unknown.map_or(Ok(()), |name| {
            let hint = nearest(name, crate::architectures())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Err(format!("`{name}` is not a Debian architecture{hint}"))
        })
    }

    /// `self` laid over `parent`.
    fn over(self, parent: Self) -> Self {
        Self {
            extends: None,
            suite: self.suite.or(parent.suite),
            sources: whole(self.sources, parent.sources),
            architectures: whole(self.architectures, parent.architectures),
            variant: self.variant.or(parent.variant),
            packages: added(parent.packages, self.packages),
            omit: added(parent.omit, self.omit),
            recommends: self.recommends.or(parent.recommends),
            configure: self.configure.or(parent.configure),
            scripts: added(parent.scripts, self.scripts),
            users: added(parent.users, self.users),
            groups: added(parent.groups, self.groups),
            files: added(parent.files, self.files),
            directories: added(parent.directories, self.directories),
            links: added(parent.links, self.links),
            certificates: self.certificates.or(parent.certificates),
            timezone: self.timezone.or(parent.timezone),
            ldconfig: self.ldconfig.or(parent.ldconfig),
            alternatives: added(parent.alternatives, self.alternatives),
            byte_compile: self.byte_compile.or(parent.byte_compile),
            path_exclude: added(parent.path_exclude, self.path_exclude),
            path_include: added(parent.path_include, self.path_include),
            slices: added(parent.slices, self.slices),
            layers: self.layers.or(parent.layers),
            config: self.config.over(parent.config),
            tags: self.tags,
        }
    }
}

impl ImageSettings {
    fn over(self, parent: Self) -> Self {
        Self {
            env: added(parent.env, self.env),
            entrypoint: self.entrypoint.or(parent.entrypoint),
            cmd: self.cmd.or(parent.cmd),
            user: self.user.or(parent.user),
            workdir: self.workdir.or(parent.workdir),
            labels: added(parent.labels, self.labels),
            expose: added(parent.expose, self.expose),
            volumes: added(parent.volumes, self.volumes),
            stop_signal: self.stop_signal.or(parent.stop_signal),
        }
    }
}

/// `more` after, or over, `first`.
fn added<C: Extend<T> + IntoIterator<Item = T>, T>(mut first: C, more: C) -> C {
    first.extend(more);
    first
}

fn whole<T>(own: Vec<T>, inherited: Vec<T>) -> Vec<T> {
    if own.is_empty() { inherited } else { own }
}

fn is_clean_path(path: &str) -> bool {
    path.starts_with('/') && path.len() > 1 && !path.contains('\0') && !path.split('/').any(|part| part == "..")
}

/// A syntax error before it knows its file.
struct Fault {
    message: String,
    /// One-based line and column.
    place: Option<(usize, usize)>,
}

impl Fault {
    fn at(self, origin: &Origin) -> Error {
        let place = self.place.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
        let error = Error::new(ErrorKind::Invalid, format!("{origin}{place}: {}", self.message));
        match near_key(&self.message) {
            Some(key) => error.with_hint(format!("did you mean `{key}`?")),
            None => error,
        }
    }
}

/// serde says "unknown field `x`, expected one of `a`, `b`" (or "unknown variant"): the nearest of those expected.
fn near_key(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("unknown field `").or_else(|| message.split_once("unknown variant `"))?;
    let (word, expected) = rest.split_once('`')?;
    nearest(word, expected.split('`').skip(1).step_by(2))
}

fn parse_yaml(text: &str) -> std::result::Result<Manifest, Fault> {
    // An empty document is null, which is no map.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Manifest::default());
    }
    yaml_serde::from_str(text).map_err(|error| {
        let place = error.location().map(|location| (location.line(), location.column()));
        let message = error.to_string();
        // The place is told once, ahead of the message.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
        Fault { message: message.to_owned(), place }
    })
}

fn parse_toml(text: &str) -> std::result::Result<Manifest, Fault> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| {
            let before = text.get(..span.start).unwrap_or(text);
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            (before.matches('\n').count() + 1, column)
        });
        Fault { message: error.message().to_owned(), place }
    })
}

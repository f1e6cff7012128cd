//! `--cache-from` and `--cache-to`, in docker buildx's syntax.

use std::path::PathBuf;

use cooper_engine::{CacheFrom, CachePlace, CacheTo, MountChoice};
use cooper_oci::Reference;

use super::object_caches;
use crate::commands::prune;
use crate::csv;
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};

/// What a local cache is called in its layout, as BuildKit calls it.
const TAG: &str = "latest";

/// For hints.
const TYPES: &str = "types are registry, local, inline, s3 and gha";

/// Kinds that buildx knows.
const KINDS: [&str; 6] = ["registry", "local", "inline", "gha", "s3", "azblob"];

/// Bytes of files that a cache mount may have in a cache unless `mounts-max-size=` says otherwise: what CI services store
/// and move in reasonable time.
pub(crate) const MOUNTS_MAX_SIZE: u64 = 2_000_000_000;

/// Parses one `--cache-from`: `type=..,key=value..`, or the name of an image.
pub(crate) fn cache_from(text: &str, environment: &Environment) -> CommandResult<CacheFrom> {
    let flag = "--cache-from";
    if !text.contains('=') {
        return Ok(CacheFrom { place: CachePlace::Registry(reference(flag, text)?), mounts: MountChoice::All });
    }
    let mut fields = Fields::parse(flag, text)?;
    let place = place(&mut fields, Side::From, environment)?;
    // What there is of mounts was written on purpose.
    let mounts = fields.take("mounts").map_or(MountChoice::All, |text| choice(&text));
    fields.end()?;
    Ok(CacheFrom { place, mounts })
}

/// Parses one `--cache-to`.
pub(crate) fn cache_to(text: &str, environment: &Environment) -> CommandResult<CacheTo> {
    let flag = "--cache-to";
    let to = |place| CacheTo {
        place,
        max: false,
        mounts: MountChoice::None,
        mounts_max_size: MOUNTS_MAX_SIZE,
        ignore_error: false,
    };
    if !text.contains('=') {
        return Ok(to(CachePlace::Registry(reference(flag, text)?)));
    }
    let mut fields = Fields::parse(flag, text)?;
    let mut to = to(place(&mut fields, Side::To, environment)?);
    to.max = match fields.take("mode").as_deref() {
        None | Some("min") => false,
        Some("max") if to.place == CachePlace::Inline => {
            return Err(CommandError::usage("--cache-to: an inline cache holds only what the image does (mode=min)"));
        }
        Some("max") => true,
        Some(other) => {
            return Err(CommandError::usage(format!("--cache-to: mode=`{other}` is neither `min` nor `max`")));
        }
    };
    to.mounts = fields.take("mounts").map_or(MountChoice::None, |text| choice(&text));
    if to.mounts != MountChoice::None && to.place == CachePlace::Inline {
        return Err(CommandError::usage("--cache-to: an inline cache holds no cache mounts")
            .with_hint("give them a cache of their own: `type=registry,ref=..,mounts=..`"));
    }
    if let Some(text) = fields.take("mounts-max-size") {
        to.mounts_max_size = prune::size(&text)?;
    }
    to.ignore_error = fields.boolean("ignore-error")?;
    // A cache of cooper's is an OCI image manifest, and its layers keep the compression they have: what asks for just that is
    // no question.
    for (key, value) in [("image-manifest", "true"), ("oci-mediatypes", "true"), ("force-compression", "false")] {
        if fields.take(key).is_some_and(|given| given != value) {
            return Err(CommandError::usage(format!(
                "--cache-to: {key} can only be {value}: a cache is an OCI manifest"
            )));
        }
    }
    for key in ["compression", "compression-level"] {
        if fields.take(key).is_some() {
            let error =
                CommandError::usage(format!("--cache-to: `{key}` is not supported: layers keep the form they have"));
            return Err(error.with_hint("the compression of the image's own layers is a key of `--output`"));
        }
    }
    fields.end()?;
    Ok(to)
}

/// Parses a place of cache mounts: `type=..` as in `--cache-to`, or a place as in `cooper copy`.
pub(crate) fn kept_at(text: &str, side: Side, environment: &Environment) -> CommandResult<CachePlace> {
    if !text.starts_with("type=") {
        return Ok(CachePlace::at(&text.parse()?)?);
    }
    let mut fields = Fields::parse("the place", text)?;
    let place = place(&mut fields, side, environment)?;
    fields.end()?;
    Ok(place)
}

/// Which way a cache goes: a directory is `src` there, `dest` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    From,
    To,
}

fn place(fields: &mut Fields, side: Side, environment: &Environment) -> CommandResult<CachePlace> {
    let flag = fields.flag;
    let kind = fields.needed("type")?;
    Ok(match (kind.as_str(), side) {
        ("inline", Side::To) => CachePlace::Inline,
        ("registry" | "inline", _) => CachePlace::Registry(reference(flag, &fields.needed("ref")?)?),
        ("local", Side::From) => {
            let src = absolute(&fields.needed("src")?)?;
            let name = fields.take("digest").or_else(|| fields.take("tag"));
            CachePlace::Local(src, name.unwrap_or_else(|| TAG.into()))
        }
        ("local", Side::To) => {
            let dest = absolute(&fields.needed("dest")?)?;
            CachePlace::Local(dest, fields.take("tag").unwrap_or_else(|| TAG.into()))
        }
        ("s3", _) => CachePlace::S3(object_caches::s3(fields, environment)?),
        ("gha", _) => CachePlace::Gha(object_caches::gha(fields, environment)?),
        (kind, _) => return Err(fields.refused(kind)),
    })
}

/// `all`, `none`, or ids.
fn choice(text: &str) -> MountChoice {
    match text {
        "all" => MountChoice::All,
        "none" | "" => MountChoice::None,
        ids => MountChoice::Ids(ids.split(',').map(|id| id.trim().to_owned()).collect()),
    }
}

/// `key=value` pairs, taken out one by one; what is left over is a mistake.
pub(super) struct Fields {
    pub(super) flag: &'static str,
    fields: Vec<(String, String)>,
}

impl Fields {
    pub(super) fn parse(flag: &'static str, text: &str) -> CommandResult<Self> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for field in csv::split(text)?.iter().filter(|field| !field.trim().is_empty()) {
            match (field.split_once('='), fields.last_mut()) {
                (Some((key, value)), _) => fields.push((key.trim().to_ascii_lowercase(), value.to_owned())),
                // `mounts=a,b`: a list within the list.
                (None, Some((key, ids))) if key == "mounts" => ids.push_str(&format!(",{field}")),
                (None, _) => return Err(CommandError::usage(format!("{flag}: `{field}` is not key=value"))),
            }
        }
        Ok(Self { flag, fields })
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        let at = self.fields.iter().position(|(name, _)| name == key)?;
        Some(self.fields.remove(at).1)
    }

    fn needed(&mut self, key: &str) -> CommandResult<String> {
        self.take(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| CommandError::usage(format!("{}: `{key}=` is missing", self.flag)))
    }

    /// What to say when neither the option nor the variable is there.
    pub(super) fn missing(&self, key: &str, variable: &str) -> CommandError {
        CommandError::usage(format!("{}: `{key}=` is missing", self.flag)).with_hint(format!("or set {variable}"))
    }

    pub(super) fn boolean(&mut self, key: &str) -> CommandResult<bool> {
        match self.take(key).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(CommandError::usage(format!("{}: {key}=`{other}` is not true or false", self.flag))),
        }
    }

    fn refused(&self, kind: &str) -> CommandError {
        if KINDS.contains(&kind) {
            return CommandError::usage(format!("{} of type {kind} is not supported yet", self.flag)).with_hint(TYPES);
        }
        let error = CommandError::usage(format!("{}: `{kind}` is not a type of cache", self.flag));
        match cooper_dockerfile::nearest(kind, KINDS.into_iter()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(TYPES),
        }
    }

    fn end(self) -> CommandResult {
        match self.fields.first() {
            None => Ok(()),
            Some((key, _)) => Err(CommandError::usage(format!("{}: `{key}` is not known", self.flag))),
        }
    }
}

fn reference(flag: &str, name: &str) -> CommandResult<Reference> {
    name.parse().map_err(|error: cooper_oci::Error| {
        CommandError::usage(format!("{flag}: `{name}` is not the name of an image: {error}"))
    })
}

fn absolute(path: &str) -> CommandResult<PathBuf> {
    std::path::absolute(path).map_err(|error| CommandError::usage(format!("`{path}` is not a path")).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_from(text: &str) -> CommandResult<CacheFrom> {
        super::cache_from(text, &Environment::default())
    }

    fn cache_to(text: &str) -> CommandResult<CacheTo> {
        super::cache_to(text, &Environment::default())
    }

    #[test]
    fn caches_are_written_as_in_buildx() {
        let from = |place| CacheFrom { place, mounts: MountChoice::All };
        let registry = |name: &str| from(CachePlace::Registry(name.parse().unwrap()));
        assert_eq!(cache_from("user/app:cache").unwrap(), registry("user/app:cache"));
        assert_eq!(cache_from("type=registry,ref=r.example/a").unwrap(), registry("r.example/a"));
        let local = CachePlace::Local("/c".into(), "latest".into());
        assert_eq!(cache_from("type=local,src=/c").unwrap(), from(local));
        let to = cache_to("type=registry,ref=r.example/a,mode=max,image-manifest=true,ignore-error=true").unwrap();
        assert_eq!((to.max, to.ignore_error), (true, true));
        assert_eq!(cache_to("type=inline").unwrap().place, CachePlace::Inline);
        let local = CachePlace::Local("/c".into(), "x".into());
        assert_eq!(cache_to("type=local,dest=/c,tag=x").unwrap().place, local);
    }

    #[test]
    fn mounts_are_a_list_in_the_list() {
        let ids = |ids: &[&str]| MountChoice::Ids(ids.iter().map(|id| (*id).to_owned()).collect());
        for (text, mounts) in [
            ("type=local,dest=/c", MountChoice::None),
            ("type=local,dest=/c,mounts=all", MountChoice::All),
            ("type=local,mounts=npm,/root/.cache,dest=/c", ids(&["npm", "/root/.cache"])),
            ("type=local,\"mounts=npm,go\",dest=/c", ids(&["npm", "go"])),
        ] {
            assert_eq!(cache_to(text).unwrap().mounts, mounts, "{text}");
        }
        assert_eq!(cache_to("type=local,dest=/c,mounts=a,mounts-max-size=1kb").unwrap().mounts_max_size, 1000);
        assert_eq!(cache_from("type=local,src=/c,mounts=none").unwrap().mounts, MountChoice::None);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expect) in [
            ("type=registry", "`ref=` is missing"),
            ("type=registri,ref=a", "`registri` is not a type of cache"),
            ("type=azblob,name=b", "not supported yet"),
            ("type=local,dest=/c,mode=most", "neither `min` nor `max`"),
            ("type=inline,mode=max", "holds only what the image does"),
            ("type=local,dest=/c,x=y", "`x` is not known"),
            ("type=local,dest", "is not key=value"),
            ("type=local,dest=/c,image-manifest=false", "can only be true"),
            ("type=inline,mounts=all", "holds no cache mounts"),
            ("type=local,dest=/c,compression=zstd", "layers keep the form they have"),
            ("type=local,dest=/c,mounts-max-size=much", "is not a size"),
        ] {
            let error = cache_to(text).unwrap_err();
            assert!(error.what.contains(expect), "{text}: {}", error.what);
        }
    }
}

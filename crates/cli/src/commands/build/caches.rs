//! `--cache-from` and `--cache-to`, in docker buildx's syntax.

use std::path::PathBuf;

use cooper_engine::{CacheFrom, CachePlace, CacheTo};
use cooper_oci::Reference;

use crate::csv;
use crate::error::{CommandError, CommandResult};

/// What a local cache is called in its layout, as BuildKit calls it.
const TAG: &str = "latest";

/// Kinds that buildx knows.
const KINDS: [&str; 6] = ["registry", "local", "inline", "gha", "s3", "azblob"];

/// Parses one `--cache-from`: `type=..,key=value..`, or the name of an image.
pub(crate) fn cache_from(text: &str) -> CommandResult<CacheFrom> {
    if !text.contains('=') {
        return Ok(CacheFrom::Registry(reference("--cache-from", text)?));
    }
    let mut fields = Fields::parse("--cache-from", text)?;
    let from = match fields.kind()?.as_str() {
        "registry" | "inline" => CacheFrom::Registry(reference("--cache-from", &fields.needed("ref")?)?),
        "local" => {
            let src = fields.needed("src")?;
            let name = fields.take("digest").or_else(|| fields.take("tag"));
            CacheFrom::Local(absolute(&src)?, name.unwrap_or_else(|| TAG.into()))
        }
        kind => return Err(fields.refused(kind)),
    };
    fields.end()?;
    Ok(from)
}

/// Parses one `--cache-to`.
pub(crate) fn cache_to(text: &str) -> CommandResult<CacheTo> {
    if !text.contains('=') {
        let place = CachePlace::Registry(reference("--cache-to", text)?);
        return Ok(CacheTo { place, max: false, ignore_error: false });
    }
    let mut fields = Fields::parse("--cache-to", text)?;
    let place = match fields.kind()?.as_str() {
        "inline" => CachePlace::Inline,
        "registry" => CachePlace::Registry(reference("--cache-to", &fields.needed("ref")?)?),
        "local" => {
            CachePlace::Local(absolute(&fields.needed("dest")?)?, fields.take("tag").unwrap_or_else(|| TAG.into()))
        }
        kind => return Err(fields.refused(kind)),
    };
    let max = match fields.take("mode").as_deref() {
        None | Some("min") => false,
        Some("max") if place == CachePlace::Inline => {
            return Err(CommandError::usage("--cache-to: an inline cache holds only what the image does (mode=min)"));
        }
        Some("max") => true,
        Some(other) => {
            return Err(CommandError::usage(format!("--cache-to: mode=`{other}` is neither `min` nor `max`")));
        }
    };
    let ignore_error = fields.boolean("ignore-error")?;
    // A cache of cooper's is an OCI image manifest, and its layers keep the compression they have: what asks for just that is
    // no question.
    for (key, value) in [("image-manifest", "true"), ("oci-mediatypes", "true"), ("force-compression", "false")] {
        if fields.take(key).is_some_and(|given| given != value) {
            return Err(CommandError::usage(format!(
                "--cache-to: {key} can only be {value}: a cache is an OCI manifest"
            )));
        }
    }
    fields.end()?;
    Ok(CacheTo { place, max, ignore_error })
}

/// `key=value` pairs, taken out one by one; what is left over is a mistake.
struct Fields {
    flag: &'static str,
    fields: Vec<(String, String)>,
}

impl Fields {
    fn parse(flag: &'static str, text: &str) -> CommandResult<Self> {
        let pair = |(key, value): (String, Option<String>)| match value {
            Some(value) => Ok((key, value)),
            None => Err(CommandError::usage(format!("{flag}: `{key}` is not key=value"))),
        };
        Ok(Self { flag, fields: csv::pairs(text)?.into_iter().map(pair).collect::<CommandResult<_>>()? })
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.fields.iter().position(|(name, _)| name == key)?;
        Some(self.fields.remove(at).1)
    }

    fn kind(&mut self) -> CommandResult<String> {
        self.needed("type")
    }

    fn needed(&mut self, key: &str) -> CommandResult<String> {
        self.take(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| CommandError::usage(format!("{}: `{key}=` is missing", self.flag)))
    }

    fn boolean(&mut self, key: &str) -> CommandResult<bool> {
        match self.take(key).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(CommandError::usage(format!("{}: {key}=`{other}` is not true or false", self.flag))),
        }
    }

    fn refused(&self, kind: &str) -> CommandError {
        if KINDS.contains(&kind) {
            return CommandError::usage(format!("{} of type {kind} is not supported yet", self.flag))
                .with_hint("types are registry, local and inline");
        }
        let error = CommandError::usage(format!("{}: `{kind}` is not a type of cache", self.flag));
        match cooper_dockerfile::nearest(kind, KINDS.into_iter()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint("types are registry, local and inline"),
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

    #[test]
    fn caches_are_written_as_in_buildx() {
        let registry = |name: &str| CacheFrom::Registry(name.parse().unwrap());
        assert_eq!(cache_from("user/app:cache").unwrap(), registry("user/app:cache"));
        assert_eq!(cache_from("type=registry,ref=r.example/a").unwrap(), registry("r.example/a"));
        assert_eq!(cache_from("type=local,src=/c").unwrap(), CacheFrom::Local("/c".into(), "latest".into()));
        let to = cache_to("type=registry,ref=r.example/a,mode=max,image-manifest=true,ignore-error=true").unwrap();
        assert_eq!((to.max, to.ignore_error), (true, true));
        assert_eq!(cache_to("type=inline").unwrap().place, CachePlace::Inline);
        let local = CachePlace::Local("/c".into(), "x".into());
        assert_eq!(cache_to("type=local,dest=/c,tag=x").unwrap().place, local);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expect) in [
            ("type=registry", "`ref=` is missing"),
            ("type=registri,ref=a", "`registri` is not a type of cache"),
            ("type=s3,bucket=b", "not supported yet"),
            ("type=local,dest=/c,mode=most", "neither `min` nor `max`"),
            ("type=inline,mode=max", "holds only what the image does"),
            ("type=local,dest=/c,x=y", "`x` is not known"),
            ("type=local,dest", "is not key=value"),
            ("type=local,dest=/c,image-manifest=false", "can only be true"),
        ] {
            let error = cache_to(text).unwrap_err();
            assert!(error.what.contains(expect), "{text}: {}", error.what);
        }
    }
}

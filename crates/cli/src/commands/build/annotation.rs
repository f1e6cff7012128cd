//! Annotations of images: `--annotation` and the `annotation..` keys of `--output`.
//!
//! Knows nothing of where in an image they end up.

use cooper_engine::{Annotation, AnnotationLevel};
use cooper_oci::Platform;

use crate::error::{CommandError, CommandResult};

const LEVELS: [(&str, AnnotationLevel); 4] = [
    ("manifest", AnnotationLevel::Manifest),
    ("manifest-descriptor", AnnotationLevel::ManifestDescriptor),
    ("index", AnnotationLevel::Index),
    ("index-descriptor", AnnotationLevel::IndexDescriptor),
];

/// `[LEVEL[[PLATFORM]],..:]KEY=VALUE`: one annotation for each level, the manifest if none is named.
pub(super) fn of_flag(text: &str) -> CommandResult<Vec<Annotation>> {
    let wrong = |why: &str| {
        CommandError::usage(format!("--annotation `{text}`: {why}"))
            .with_hint("write it as [LEVEL[[PLATFORM]]:]KEY=VALUE, such as `index,manifest[linux/amd64]:a.b=c`")
    };
    let (key, value) = text.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
    let (levels, key) = key.split_once(':').unwrap_or(("manifest", key));
    if key.is_empty() {
        return Err(wrong("there is no key"));
    }
    let annotation = |level: &str| {
        let (at, platform) = level_of(level).map_err(|why| wrong(&why))?;
        Ok(Annotation { at, platform, key: key.to_owned(), value: value.to_owned() })
    };
    levels.split(',').map(annotation).collect()
}

/// `annotation[-LEVEL][[PLATFORM]].KEY`, a key of `--output`.
pub(super) fn of_key(name: &str, value: Option<&str>) -> CommandResult<Annotation> {
    let wrong = |why: &str| {
        CommandError::usage(format!("--output with `{name}`: {why}"))
            .with_hint("write it as annotation[-LEVEL][[PLATFORM]].KEY=VALUE, such as `annotation-index.a.b=c`")
    };
    let rest = name.strip_prefix("annotation").unwrap_or_default();
    // A platform has no dot, so the first one ends the level.
    let (level, key) =
        rest.split_once('.').filter(|(_, key)| !key.is_empty()).ok_or_else(|| wrong("there is no key"))?;
    let level = match level.strip_prefix('-') {
        Some(level) => level.to_owned(),
        None if level.is_empty() || level.starts_with('[') => format!("manifest{level}"),
        None => return Err(wrong("the level follows after `-`")),
    };
    let (at, platform) = level_of(&level).map_err(|why| wrong(&why))?;
    Ok(Annotation { at, platform, key: key.to_owned(), value: value.unwrap_or_default().to_owned() })
}

/// `LEVEL` or `LEVEL[PLATFORM]`; the reason if it is neither.
fn level_of(text: &str) -> Result<(AnnotationLevel, Option<Platform>), String> {
    let (name, platform) = match text.split_once('[') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(']').ok_or("a `]` is missing")?)),
        None => (text, None),
    };
    let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
    let found = LEVELS.iter().find(|(known, _)| *known == name);
    let (_, level) = found.ok_or_else(|| format!("annotations are put on {}, not on `{name}`", names.join(", ")))?;
    let platform = platform.map(|text| text.parse::<Platform>().map_err(|e| e.to_string())).transpose()?;
    if platform.is_some() && name.starts_with("index") {
        return Err("an index is of no one platform".to_owned());
    }
    Ok((*level, platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(annotations: &[Annotation]) -> String {
        let one = |a: &Annotation| {
            let platform = a.platform.as_ref().map(|p| format!("[{p}]")).unwrap_or_default();
            format!("{:?}{platform} {}={}", a.at, a.key, a.value)
        };
        annotations.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn flags_name_levels_and_platforms() {
        for (text, expect) in [
            ("a.b=c", "Manifest a.b=c"),
            ("a=", "Manifest a="),
            ("index:a=b=c", "Index a=b=c"),
            ("index,manifest:a=b", "Index a=b; Manifest a=b"),
            ("manifest[linux/amd64]:a=b", "Manifest[linux/amd64] a=b"),
            (
                "manifest-descriptor[linux/arm64/v8],index-descriptor:a=b",
                "ManifestDescriptor[linux/arm64] a=b; IndexDescriptor a=b",
            ),
            ("a=b:c", "Manifest a=b:c"),
        ] {
            assert_eq!(shown(&of_flag(text).unwrap()), expect, "{text}");
        }
        for (text, expect) in [
            ("a", "there is no `=`"),
            ("manifest:=b", "there is no key"),
            (
                "config:a=b",
                "annotations are put on manifest, manifest-descriptor, index, index-descriptor, not on `config`",
            ),
            ("index[linux/amd64]:a=b", "of no one platform"),
            ("manifest[linux/amd64:a=b", "a `]` is missing"),
            ("manifest[lunix]:a=b", "invalid platform"),
        ] {
            let message = of_flag(text).unwrap_err().message();
            assert!(message.contains(expect) && message.contains("hint: "), "{text}: {message}");
        }
    }

    #[test]
    fn keys_of_outputs_name_them_too() {
        for (key, expect) in [
            ("annotation.a.b", "Manifest a.b=v"),
            ("annotation[linux/arm/v7].a", "Manifest[linux/arm/v7] a=v"),
            ("annotation-index.a", "Index a=v"),
            ("annotation-manifest-descriptor[linux/amd64].a.b", "ManifestDescriptor[linux/amd64] a.b=v"),
        ] {
            assert_eq!(shown(&[of_key(key, Some("v")).unwrap()]), expect, "{key}");
        }
        for key in ["annotation", "annotation.", "annotations.a", "annotation-x.a", "annotation-index[linux].a"] {
            assert!(of_key(key, None).is_err(), "{key}");
        }
    }
}

//! Manifests and indexes from outside: parsed strictly, so that no two readers take one document for different things.
//!
//! A document with two meanings is how CVE-2021-41190 worked. Does not fetch anything.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{Descriptor, Error, ErrorKind, Index, Manifest, MediaType, Result};

/// Longest manifest or index; what registries accept (distribution-spec, "Pushing Manifests").
pub const DOCUMENT_LIMIT: u64 = 4 << 20;

/// Manifests of an index, or layers of a manifest. Runtimes stop at some hundred layers; an index has one entry a platform.
pub const CHILDREN_LIMIT: usize = 4096;

/// A parsed document.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few are alive at once, and callers match them by value")]
pub enum Document {
    /// An index or manifest list.
    Index(Index),
    /// An image manifest.
    Manifest(Manifest),
    /// Bytes of any other type; they name nothing.
    Other,
}

impl Document {
    /// What the document names directly, in its order; configs before layers.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Self::Index(index) => index.manifests.iter().collect(),
            Self::Manifest(manifest) => std::iter::once(&manifest.config).chain(&manifest.layers).collect(),
            Self::Other => Vec::new(),
        }
    }
}

/// Reads `bytes`, known by `media_type`, as what they are.
pub fn parse_document(media_type: &MediaType, bytes: &[u8]) -> Result<Document> {
    if !media_type.is_index() && !media_type.is_manifest() {
        return Ok(Document::Other);
    }
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(Error::new(ErrorKind::TooLarge, format!("a manifest has more than {DOCUMENT_LIMIT} bytes")));
    }
    let keys =
        serde_json::from_slice::<Keys>(bytes).map_err(|error| invalid("it is not a JSON object").with_source(error))?;
    check_keys(&keys.0, media_type.is_index())?;
    if media_type.is_index() && !keys.0.contains("manifests") {
        return Err(invalid("an index has no `manifests`"));
    }
    let document = match media_type.is_index() {
        true => Document::Index(parse(bytes)?),
        false => Document::Manifest(parse(bytes)?),
    };
    check_document(&document, media_type)?;
    Ok(document)
}

fn invalid(why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("invalid manifest: {why}"))
}

fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| invalid(&error).with_source(error))
}

fn check_keys(keys: &BTreeSet<String>, index: bool) -> Result<()> {
    let foreign: &[&str] = if index { &["layers", "config", "fsLayers"] } else { &["manifests", "fsLayers"] };
    // Go's JSON ignores case: `Layers` would be layers to other tools.
    match keys.iter().find(|key| foreign.iter().any(|name| key.eq_ignore_ascii_case(name))) {
        Some(key) => Err(invalid(format!("{} has `{key}`", if index { "an index" } else { "an image manifest" }))),
        None => Ok(()),
    }
}

fn check_document(document: &Document, media_type: &MediaType) -> Result<()> {
    let (version, own_type) = match document {
        Document::Index(index) => (index.schema_version, &index.media_type),
        Document::Manifest(manifest) => (manifest.schema_version, &manifest.media_type),
        Document::Other => return Ok(()),
    };
    if version != 2 {
        return Err(invalid(format!("schema version {version} is not supported")));
    }
    match own_type {
        Some(own) if own != media_type => {
            return Err(invalid(format!("it is called {} and calls itself {}", media_type.as_str(), own.as_str())));
        }
        // OCI left the field out at first, and much that exists has none; Docker always required it.
        None if matches!(media_type.as_str(), MediaType::DOCKER_LIST | MediaType::DOCKER_MANIFEST) => {
            return Err(invalid("it has no media type"));
        }
        _ => {}
    }
    let children = document.children().len();
    if children > CHILDREN_LIMIT {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("a manifest names {children} blobs; at most {CHILDREN_LIMIT}"),
        ));
    }
    Ok(())
}

/// The keys of a JSON object; a repeated one, in any case, is an error.
struct Keys(BTreeSet<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Keys, A::Error> {
        let (mut keys, mut folded) = (BTreeSet::new(), BTreeSet::new());
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            if !folded.insert(key.to_ascii_lowercase()) {
                return Err(serde::de::Error::custom(format!("the key `{key}` is there twice")));
            }
            keys.insert(key);
        }
        Ok(Keys(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#""config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

    fn check(media_type: &str, text: &str, expect: std::result::Result<(), &str>) {
        let found = parse_document(&media_type.into(), text.as_bytes());
        match (found, expect) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error} for {text}"),
            (found, _) => panic!("{found:?} for {text}"),
        }
    }

    #[test]
    fn refuses_documents_with_two_meanings() {
        let manifest = |more: &str| format!(r#"{{"schemaVersion":2,{CONFIG},"layers":[]{more}}}"#);
        for (text, expect) in [
            (manifest(""), Ok(())),
            (manifest(r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#), Ok(())),
            (manifest(r#","mediaType":"application/vnd.oci.image.index.v1+json""#), Err("calls itself")),
            (manifest(r#","manifests":[]"#), Err("`manifests`")),
            (manifest(r#","Manifests":[]"#), Err("`Manifests`")),
            (manifest(r#","layers":[]"#), Err("JSON")),
            (manifest(r#","Layers":[]"#), Err("JSON")),
            (r#"{"schemaVersion":1,"layers":[]}"#.into(), Err("config")),
            ("[]".into(), Err("JSON")),
            ("{".into(), Err("JSON")),
        ] {
            check(MediaType::MANIFEST, &text, expect);
        }
        check(MediaType::DOCKER_MANIFEST, &manifest(""), Err("no media type"));
        check(MediaType::INDEX, r#"{"schemaVersion":2,"manifests":[]}"#, Ok(()));
        check(MediaType::INDEX, r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, Err("`layers`"));
        check(MediaType::INDEX, r#"{"schemaVersion":3,"manifests":[]}"#, Err("version 3"));
        check(MediaType::INDEX, r#"{"schemaVersion":2}"#, Err("no `manifests`"));
        check("text/plain", "anything", Ok(()));
    }

    #[test]
    fn counts_children() {
        let child = CONFIG.trim_start_matches(r#""config":"#);
        let list = vec![child; CHILDREN_LIMIT + 1].join(",");
        check(MediaType::INDEX, &format!(r#"{{"schemaVersion":2,"manifests":[{list}]}}"#), Err("names 4097"));
    }
}

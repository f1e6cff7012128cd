//! What the verbs ask of the store: images, their documents, space, soundness.
//!
//! Turns the store's values into the rows the verbs print. Knows nothing of arguments, printing or builds.

use cooper_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, best};
use cooper_store::{ErrorKind, Image, PruneOptions, Report, Store};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{CommandError, CommandResult};
use crate::human;
use crate::open;
use crate::rows::{HistoryRow, ImageRow, Removed, Sums, UsageRow};
use crate::surroundings::Surroundings;

/// image-spec and registries keep manifests under 4 MiB; configs are held to the same.
pub(crate) const DOCUMENT_MAX: u64 = 4 << 20;

/// The images of the store.
pub(crate) fn images(at: &Surroundings) -> CommandResult<Vec<ImageRow>> {
    let store = open::store(at)?;
    Ok(store.images()?.into_iter().map(|image| image_row(&store, image)).collect())
}

/// When the image that a person means was made.
pub(crate) fn created(at: &Surroundings, text: &str) -> CommandResult<i64> {
    let store = open::store(at)?;
    let image = store.resolve(text)?;
    image_row(&store, image)
        .created
        .ok_or_else(|| CommandError::failure(format!("`{text}` does not say when it was made")))
}

/// A document that cannot be read leaves its cells empty: one broken image must not hide the others.
fn image_row(store: &Store, image: Image) -> ImageRow {
    let digest = image.descriptor.digest.clone();
    let opened = open_image(store, &image.descriptor).ok();
    ImageRow {
        name: image.name,
        id: image.config.unwrap_or_else(|| digest.clone()),
        digest,
        created: opened.as_ref().and_then(|(_, config)| human::parse_date(config.created.as_deref()?)),
        size: opened.as_ref().map_or(0, |(manifest, _)| size(manifest)),
        labels: opened.map(|(_, config)| config.config.labels).unwrap_or_default(),
    }
}

fn size(manifest: &Manifest) -> u64 {
    manifest.layers.iter().map(|layer| layer.size).fold(manifest.config.size, u64::saturating_add)
}

/// The manifest and config of an image: of an index, those for this machine, else the first that are there.
fn open_image(store: &Store, descriptor: &Descriptor) -> CommandResult<(Manifest, ImageConfig)> {
    let manifest: Manifest = match descriptor.media_type.is_index() {
        false => document(store, &descriptor.digest)?,
        true => document(store, &choose(store, descriptor)?)?,
    };
    let config = document(store, &manifest.config.digest)?;
    Ok((manifest, config))
}

fn choose(store: &Store, index: &Descriptor) -> CommandResult<Digest> {
    let list: Index = document(store, &index.digest)?;
    let host = Platform::host();
    let here = |wanted: &Descriptor| wanted.media_type.is_manifest() && store.has_blob(&wanted.digest).unwrap_or(false);
    let manifests: Vec<&Descriptor> = list.manifests.iter().filter(|manifest| here(manifest)).collect();
    let chosen = best(&manifests, &host).or(manifests.first().copied());
    let chosen = chosen
        .ok_or_else(|| CommandError::failure(format!("no image of the index {} is in the store", index.digest)))?;
    Ok(chosen.digest.clone())
}

fn document<T: DeserializeOwned>(store: &Store, digest: &Digest) -> CommandResult<T> {
    let bytes = store.read_blob(digest, DOCUMENT_MAX)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CommandError::failure(format!("{digest} is not the document it should be")).with_source(error))
}

/// How an image came to be, newest line first.
pub(crate) fn history(at: &Surroundings, text: &str) -> CommandResult<Vec<HistoryRow>> {
    let store = open::store(at)?;
    let image = store.resolve(text)?;
    let (manifest, config) = open_image(&store, &image.descriptor)?;
    let mut rows = history_rows(&manifest, &config);
    if let Some(first) = rows.first_mut() {
        first.id = Some(image.config.unwrap_or(image.descriptor.digest));
    }
    Ok(rows)
}

/// Lines with a layer take the layers in order; layers without a line come last made, first shown.
fn history_rows(manifest: &Manifest, config: &ImageConfig) -> Vec<HistoryRow> {
    let mut layers = manifest.layers.iter();
    let mut rows: Vec<HistoryRow> = config
        .history
        .iter()
        .map(|line| HistoryRow {
            created: line.created.as_deref().and_then(human::parse_date),
            created_by: line.created_by.clone(),
            size: if line.empty_layer { 0 } else { layers.next().map_or(0, |layer| layer.size) },
            comment: line.comment.clone(),
            id: None,
        })
        .collect();
    rows.extend(layers.map(|layer| HistoryRow {
        created: None,
        created_by: String::new(),
        size: layer.size,
        comment: String::new(),
        id: None,
    }));
    rows.reverse();
    rows
}

/// What docker's `inspect` says of an image.
pub(crate) fn inspect(at: &Surroundings, text: &str) -> CommandResult<Value> {
    let store = open::store(at)?;
    let image = store.resolve(text)?;
    let digest = &image.descriptor.digest;
    let names: Vec<Reference> =
        store.images()?.into_iter().filter(|other| other.descriptor.digest == *digest).filter_map(|i| i.name).collect();
    let (manifest, config) = open_image(&store, &image.descriptor)?;
    Ok(inspected(&image, &names, &manifest, &config))
}

pub(crate) fn inspected(image: &Image, names: &[Reference], manifest: &Manifest, config: &ImageConfig) -> Value {
    let digest = &image.descriptor.digest;
    let repositories = names.iter().map(|name| format!("{}/{}@{digest}", name.registry(), name.repository()));
    let mut repositories: Vec<String> = repositories.collect();
    repositories.dedup();
    let last = config.history.last();
    json!({
        "Id": image.config.as_ref().unwrap_or(digest).to_string(),
        "RepoTags": names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "RepoDigests": repositories,
        "Comment": last.map(|line| line.comment.as_str()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": config.config,
        "Architecture": config.architecture,
        "Variant": config.variant.as_deref().unwrap_or_default(),
        "Os": config.os,
        "Size": size(manifest),
        "RootFS": {"Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": human::date(image.created_at)},
        "Descriptor": image.descriptor,
    })
}

/// Gives an image one more name.
pub(crate) fn tag(at: &Surroundings, image: &str, name: &Reference) -> CommandResult {
    let store = open::store(at)?;
    let image = store.resolve(image)?;
    Ok(store.tag(name, &image.descriptor)?)
}

/// Takes a name from an image, and the image away with its last name. By id, only one that has at most one name, or
/// with `force` all names.
pub(crate) fn remove(at: &Surroundings, text: &str, force: bool) -> CommandResult<Vec<Removed>> {
    let store = open::store(at)?;
    let image = match store.resolve(text) {
        Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        image => image?,
    };
    let digest = &image.descriptor.digest;
    let all = store.images()?;
    let names: Vec<&Reference> =
        all.iter().filter(|other| other.descriptor.digest == *digest).filter_map(|other| other.name.as_ref()).collect();
    let named: Option<Reference> = text.parse().ok().filter(|name| names.contains(&name));
    let gone: Vec<&Reference> = match &named {
        Some(name) => vec![name],
        None if names.len() > 1 && !force => return Err(several_names(text, &names)),
        None => names.clone(),
    };
    let mut removed = Vec::new();
    for name in &gone {
        store.untag(name)?;
        removed.push(Removed::Untagged((*name).clone()));
    }
    if gone.len() == names.len() && store.remove_unnamed(digest)? {
        removed.push(Removed::Deleted(digest.clone()));
    }
    Ok(removed)
}

fn several_names(text: &str, names: &[&Reference]) -> CommandError {
    let list: Vec<String> = names.iter().map(|name| name.familiar()).collect();
    CommandError::failure(format!("the image `{text}` has {} names: {}", names.len(), list.join(", ")))
        .with_hint("name the one to remove, or add --force to remove all")
}

/// What takes how much space.
pub(crate) fn usage(at: &Surroundings) -> CommandResult<Vec<UsageRow>> {
    let rows = open::store(at)?.du()?;
    Ok(rows
        .into_iter()
        .map(|row| UsageRow {
            id: row.id,
            kind: row.kind.as_str().to_owned(),
            size: row.size,
            shared: row.shared,
            reclaimable: !row.in_use,
            used: Some(row.last_used),
            description: row.description,
        })
        .collect())
}

/// What the whole store takes, and what a prune would free.
pub(crate) fn sums(at: &Surroundings) -> CommandResult<Sums> {
    let store = open::store(at)?;
    let would = store.prune(&PruneOptions { all: true, dry_run: true, ..PruneOptions::default() })?;
    Ok(Sums { reclaimable: would.bytes, total: store.used_bytes()? })
}

/// Removes what is not needed.
pub(crate) fn prune(at: &Surroundings, options: &PruneOptions) -> CommandResult<Report> {
    Ok(open::store(at)?.prune(options)?)
}

/// What is wrong with the store, a line each.
pub(crate) fn check(at: &Surroundings) -> CommandResult<Vec<String>> {
    Ok(open::store(at)?.check(true)?.iter().map(ToString::to_string).collect())
}

/// Mends the store; what was done, a line each.
pub(crate) fn repair(at: &Surroundings) -> CommandResult<Vec<String>> {
    let actions = open::store_for_repair(at)?.repair()?;
    Ok(actions.iter().map(|action| format!("{}: {}", action.problem, action.done)).collect())
}

#[cfg(test)]
mod tests {
    use cooper_oci::{History, MediaType};

    use super::*;
    use crate::args::Global;
    use crate::environment::Environment;

    /// A store with one image of two layers under two names.
    fn with_image(names: &[&str]) -> (tempfile::TempDir, Surroundings, Digest) {
        let dir = tempfile::tempdir().unwrap();
        let global = Global { root: Some(dir.path().join("store")), ..Global::default() };
        let at = Surroundings::of(&global, Environment::of(&[]), false).unwrap();
        let store = open::store(&at).unwrap();
        let line = |by: &str, empty_layer| History {
            created: Some("2026-01-02T03:04:05Z".into()),
            created_by: by.into(),
            empty_layer,
            ..History::default()
        };
        let config = ImageConfig {
            architecture: "amd64".into(),
            os: "linux".into(),
            created: Some("2026-01-02T03:04:05Z".into()),
            history: vec![line("ADD rootfs", false), line("ENV A=b", true), line("RUN make", false)],
            ..ImageConfig::default()
        };
        let config = store.put_bytes(MediaType::CONFIG, &serde_json::to_vec(&config).unwrap()).unwrap();
        let layer = |bytes: &[u8]| store.put_bytes(MediaType::LAYER, bytes).unwrap();
        let manifest = Manifest::new(config, vec![layer(b"one"), layer(b"twotwo")]);
        let image = store.put_bytes(MediaType::MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap();
        store.add_image(&image).unwrap();
        names.iter().for_each(|name| store.tag(&name.parse().unwrap(), &image).unwrap());
        (dir, at, image.digest)
    }

    #[test]
    fn rows_of_an_image() {
        let (_dir, at, digest) = with_image(&["app:1", "app:2"]);
        let rows = images(&at).unwrap();
        let names: Vec<String> = rows.iter().filter_map(|row| Some(row.name.as_ref()?.familiar())).collect();
        assert_eq!(names, ["app:1", "app:2"]);
        let row = rows.first().unwrap();
        assert_eq!((row.created, &row.digest), (human::parse_date("2026-01-02T03:04:05Z"), &digest));
        assert!(row.size > 9 && row.id != digest);
    }

    #[test]
    fn history_gives_each_layer_to_its_line_newest_first() {
        let (_dir, at, _) = with_image(&["app:1"]);
        let rows = history(&at, "app:1").unwrap();
        let lines: Vec<(&str, u64)> = rows.iter().map(|row| (row.created_by.as_str(), row.size)).collect();
        assert_eq!(lines, [("RUN make", 6), ("ENV A=b", 0), ("ADD rootfs", 3)]);
        assert!(rows.iter().position(|row| row.id.is_some()) == Some(0));
    }

    #[test]
    fn inspect_has_dockers_fields() {
        let (_dir, at, digest) = with_image(&["app:1"]);
        let value = inspect(&at, "app:1").unwrap();
        assert_eq!(value["RepoTags"], json!(["app:1"]));
        assert_eq!(value["RepoDigests"], json!([format!("docker.io/library/app@{digest}")]));
        assert_eq!((&value["Os"], &value["Architecture"]), (&json!("linux"), &json!("amd64")));
        assert_eq!(value["Descriptor"]["digest"], digest.to_string());
    }

    fn removed(at: &Surroundings, text: &str, force: bool) -> Result<Vec<String>, String> {
        let removed = remove(at, text, force).map_err(|error| error.message())?;
        let shown = removed.iter().map(|removed| match removed {
            Removed::Untagged(name) => name.familiar(),
            Removed::Deleted(_) => "image".into(),
        });
        Ok(shown.collect())
    }

    #[test]
    fn an_image_goes_with_its_last_name() {
        let (_dir, at, _) = with_image(&["app:1", "app:2"]);
        assert_eq!(removed(&at, "app:1", false).unwrap(), ["app:1"]);
        assert_eq!(removed(&at, "app:2", false).unwrap(), ["app:2", "image"]);
        assert!(images(&at).unwrap().is_empty());
        assert!(removed(&at, "app:2", false).unwrap_err().contains("app:2"));
        assert!(removed(&at, "app:2", true).unwrap().is_empty());
    }

    #[test]
    fn by_id_an_image_of_several_names_needs_force() {
        let (_dir, at, digest) = with_image(&["app:1", "app:2"]);
        let message = removed(&at, digest.short(), false).unwrap_err();
        assert!(message.contains("has 2 names: app:1, app:2\nhint: name the one"), "{message}");
        assert_eq!(removed(&at, digest.short(), true).unwrap(), ["app:1", "app:2", "image"]);
    }

    #[test]
    fn a_new_name_and_a_sound_store() {
        let (_dir, at, _) = with_image(&["app:1"]);
        tag(&at, "app:1", &"other/name:x".parse().unwrap()).unwrap();
        assert_eq!(images(&at).unwrap().len(), 2);
        assert_eq!(check(&at).unwrap(), Vec::<String>::new());
        assert_eq!(repair(&at).unwrap(), Vec::<String>::new());
        assert!(usage(&at).unwrap().iter().any(|row| row.kind == "image" && !row.reclaimable));
    }
}

//! Images between the store and archives: `save` and `load`.

use std::path::{Path, PathBuf};

use cooper_oci::{
    CopyOptions, Descriptor, IMAGE_NAME, Layout, Platform, REF_NAME, Reference, choose, copy, read_archive,
};

use crate::error::{from_oci, from_store};
use crate::export::{Format, write_archive};
use crate::{Engine, Error, ErrorKind, Result};

/// Writes images of the store to an archive, standard output when `dest` is `None`: of an index only the image for
/// `platform`, if one is given. An image that is named more than once is there once, with all these names.
///
/// # Errors
/// No such image, or none for the platform, or the archive cannot be written.
pub async fn save(
    engine: &Engine,
    images: &[String],
    platform: Option<&Platform>,
    format: Format,
    dest: Option<&Path>,
) -> Result<()> {
    let mut found: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
    for text in images {
        let what = format!("cannot save `{text}`");
        let image = engine.store.resolve(text).map_err(|e| from_store(e, &what))?;
        let mut root = image.descriptor;
        if let Some(platform) = platform {
            root = choose(&root, platform, &engine.store).await.map_err(|e| from_oci(e, &what))?;
        }
        match found.iter_mut().find(|(known, _)| known.digest == root.digest) {
            Some((_, names)) => {
                names.extend(image.name.filter(|name| !names.contains(name)).into_iter().collect::<Vec<_>>())
            }
            None => found.push((root, image.name.into_iter().collect())),
        }
    }
    write_archive(&engine.store, &found, format, true, dest).await
}

/// Reads the images of an archive, of an OCI layout directory, or of standard input into the store, under the names they
/// have there; returned with their descriptors.
///
/// # Errors
/// Not an archive of images, or one with wrong contents: then nothing is named.
pub async fn load(engine: &Engine, from: Option<&Path>) -> Result<Vec<(Vec<Reference>, Descriptor)>> {
    // A handle of its own keeps what has arrived from being collected before it has a name.
    let engine = &Engine { store: engine.store.deferred(), ..engine.clone() };
    let what = format!("cannot load `{}`", from.map_or("standard input".into(), |path| path.display().to_string()));
    let images = match from {
        Some(dir) if dir.is_dir() => from_layout(engine, dir, &what).await?,
        Some(file) => from_archive(engine, file, &what).await?,
        None => {
            let spooled = spool(engine, &what)?;
            let images = from_archive(engine, &spooled, &what).await;
            let _ = std::fs::remove_file(&spooled);
            images?
        }
    };
    if images.is_empty() {
        return Err(Error::new(ErrorKind::User, format!("{what}: it holds no image")));
    }
    let mut loaded = Vec::new();
    for (names, descriptor) in images {
        let kind = &descriptor.media_type;
        if !kind.is_manifest() && !kind.is_index() {
            return Err(Error::new(ErrorKind::User, format!("{what}: `{}` is not an image", kind.as_str())));
        }
        // A bare tag is no image name; only full ones are taken over.
        let full = names.iter().filter(|name| name.contains([':', '/']));
        let parsed = full.map(|name| name.parse::<Reference>().map_err(|e| from_oci(e, &what)));
        let mut names = Vec::new();
        for name in parsed.collect::<Result<Vec<_>>>()? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        loaded.push((names, descriptor));
    }
    for (names, descriptor) in &loaded {
        engine.store.add_image(descriptor).map_err(|e| from_store(e, &what))?;
        for name in names {
            engine.store.tag(name, descriptor).map_err(|e| from_store(e, &what))?;
        }
    }
    engine.store.durable().map_err(|e| from_store(e, &what))?;
    Ok(loaded)
}

type Named = Vec<(Vec<String>, Descriptor)>;

async fn from_archive(engine: &Engine, file: &Path, what: &str) -> Result<Named> {
    let spool = engine.store.root().join("tmp");
    let archive = read_archive(file, &spool).map_err(|e| from_oci(e, what))?;
    let images = archive.images();
    for (_, descriptor) in &images {
        copy(descriptor, &archive, &engine.store, &CopyOptions::default()).await.map_err(|e| from_oci(e, what))?;
    }
    Ok(images)
}

async fn from_layout(engine: &Engine, dir: &Path, what: &str) -> Result<Named> {
    let layout = Layout::open(dir).map_err(|e| from_oci(e, what))?;
    let mut images = Named::new();
    for descriptor in layout.index().map_err(|e| from_oci(e, what))?.manifests {
        copy(&descriptor, &layout, &engine.store, &CopyOptions::default()).await.map_err(|e| from_oci(e, what))?;
        let name = [IMAGE_NAME, REF_NAME].iter().find_map(|key| descriptor.annotations.get(*key)).cloned();
        match images.iter_mut().find(|(_, known)| known.digest == descriptor.digest) {
            Some((names, _)) => names.extend(name),
            None => images.push((name.into_iter().collect(), descriptor)),
        }
    }
    Ok(images)
}

/// Standard input as a file: archives are read back and forth.
fn spool(engine: &Engine, what: &str) -> Result<PathBuf> {
    let path = engine.store.temporary().map_err(|e| from_store(e, what))?;
    let copied =
        std::fs::File::create(&path).and_then(|mut file| std::io::copy(&mut std::io::stdin().lock(), &mut file));
    copied.map(|_| path).map_err(|e| Error::new(ErrorKind::Io, what).with_source(e))
}

//! Images between the store and archives: `save` and `load`.

use std::path::Path;

use cooper_oci::{CopyOptions, Descriptor, Reference, copy, read_archive};

use crate::error::{from_oci, from_store};
use crate::export::{Format, write_archive};
use crate::{Engine, Error, ErrorKind, Result};

/// Writes images of the store to one archive, standard output when `dest` is `None`.
///
/// # Errors
/// No such image, or the archive cannot be written.
pub async fn save(engine: &Engine, image: &str, format: Format, dest: Option<&Path>) -> Result<()> {
    let what = format!("cannot save `{image}`");
    let found = engine.store.resolve(image).map_err(|e| from_store(e, &what))?;
    let names: Vec<Reference> = found.name.into_iter().collect();
    write_archive(&engine.store, &found.descriptor, &names, format, true, dest).await
}

/// Reads an archive's images into the store under the names it gives them, returned with their descriptors.
///
/// # Errors
/// Not an archive of images, or one with wrong contents: then nothing is named.
pub async fn load(engine: &Engine, archive: &Path) -> Result<Vec<(Vec<Reference>, Descriptor)>> {
    let what = format!("cannot load `{}`", archive.display());
    let archive = read_archive(archive, &engine.store.root().join("tmp")).map_err(|e| from_oci(e, &what))?;
    let mut loaded = Vec::new();
    for (names, descriptor) in archive.images() {
        copy(&descriptor, &archive, &engine.store, &CopyOptions::default()).await.map_err(|e| from_oci(e, &what))?;
        let names = names.iter().map(|name| name.parse::<Reference>().map_err(|e| from_oci(e, &what)));
        loaded.push((names.collect::<Result<Vec<_>>>()?, descriptor));
    }
    if loaded.is_empty() {
        return Err(Error::new(ErrorKind::User, format!("{what}: it holds no image")));
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

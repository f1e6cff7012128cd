//! `rewrite-timestamp`: a layer once more, with no time later than one that is given.
//!
//! Knows nothing of what made the layer.

use std::fs::File;

use cooper_oci::{Compression, Descriptor, Digest, LayerReader, TarReader, Whiteout, parse_whiteout};
use cooper_store::{NewLayer, Store};

use crate::engine::blocking;
use crate::error::{from_oci, from_store};
use crate::{Error, ErrorKind, Result};

const WHAT: &str = "cannot rewrite the times of a layer";

/// Writes a layer, whose blob the store holds, with times of at most `epoch` (seconds since 1970). One that has no
/// later ones comes out as it was.
pub(crate) async fn rewrite(
    store: &Store,
    (blob, diff_id): (Descriptor, Digest),
    compression: Compression,
    epoch: i64,
) -> Result<NewLayer> {
    let store = store.clone();
    blocking(move || clamped(&store, &blob, &diff_id, compression, epoch)).await
}

fn clamped(
    store: &Store,
    blob: &Descriptor,
    diff_id: &Digest,
    compression: Compression,
    epoch: i64,
) -> Result<NewLayer> {
    let (of_store, of_tar) = (|e| from_store(e, WHAT), |e| from_oci(e, WHAT));
    let file = File::open(store.blob_path(&blob.digest)).map_err(|e| Error::new(ErrorKind::Io, WHAT).with_source(e))?;
    let mut tar = TarReader::new(LayerReader::new(file, blob, diff_id).map_err(of_tar)?);
    let mut layer = store.new_layer(compression, Some(epoch)).map_err(of_store)?;
    while let Some(entry) = tar.next_entry().map_err(of_tar)? {
        match parse_whiteout(&entry.path).map_err(of_tar)? {
            Some(Whiteout::Remove(path)) => layer.remove(&path, entry.mtime),
            Some(Whiteout::Opaque(dir)) => layer.set_opaque(&dir, entry.mtime),
            None => layer.append(&entry, &mut tar),
        }
        .map_err(of_store)?;
    }
    layer.finish().map_err(of_store)
}

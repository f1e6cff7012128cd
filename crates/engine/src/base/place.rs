//! A layer of entries as a directory that a step can stand on, at once: its blob is packed from there beside the step.
//!
//! Knows nothing of packages.

use std::io::{BufWriter, Write};

use cooper_base::Layer;
use cooper_oci::tar::TarWriter;
use cooper_oci::{Hasher, Mtime};
use cooper_store::{LayerId, Store};

use crate::error::from_store;
use crate::{Error, ErrorKind, Result};

const WHAT: &str = "cannot write a layer";

/// Bytes of the tar that are written at once.
const BUFFER: usize = 256 << 10;

/// Unpacks a layer, unless the store has its directory; times later than `clamp` (seconds since 1970) are set to it.
pub(super) fn place(store: &Store, layer: &Layer, clamp: i64) -> Result<LayerId> {
    let failed = |e| Error::new(ErrorKind::Io, WHAT).with_source(e);
    // Twice the tar: a directory is kept under the digest of all of it, and is made by whoever checks that digest.
    let diff_id = write(layer, clamp, Hasher::default())?.finish();
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    std::thread::scope(|scope| {
        // It fails when the reader wants no more of it, and is then not asked.
        let write = move || write(layer, clamp, BufWriter::with_capacity(BUFFER, writer)).map(drop);
        std::thread::Builder::new().name("layer-tar".into()).spawn_scoped(scope, write).map_err(failed)?;
        store.unpack_tar(&diff_id, reader).map_err(|e| from_store(e, WHAT))
    })
}

fn write<W: Write>(layer: &Layer, clamp: i64, to: W) -> Result<W> {
    let mut tar = TarWriter::new(to);
    let told = |e: cooper_oci::Error| Error::new(ErrorKind::Io, WHAT).with_source(e);
    for item in &layer.items {
        let mut entry = item.entry.clone();
        entry.mtime = entry.mtime.min(Mtime { secs: clamp, nanos: 0 });
        tar.append(&entry, &mut *item.open()).map_err(told)?;
    }
    let mut out = tar.finish().map_err(told)?;
    out.flush().map_err(|e| Error::new(ErrorKind::Io, WHAT).with_source(e))?;
    Ok(out)
}

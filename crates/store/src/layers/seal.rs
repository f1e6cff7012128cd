//! Makes a blob of a layer: from its directory, or from a blob of another compression.
//!
//! Does not know when a layer is needed.

use std::fs::File;
use std::io;
use std::sync::Arc;

use cooper_oci::tar::TarWriter;
use cooper_oci::{Compression, Descriptor, LayerReader, LayerSums, LayerWriter, MediaType};

use super::pieces::StorePieces;
use super::scan::{self, Sealing, Visit};
use super::{ROOT, fs_of, has, rows};
use crate::{BlobWriter, Error, LayerId, ListingBuilder, Result, Store};

pub(crate) type Sink = LayerWriter<BlobWriter>;

pub(super) fn media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => MediaType::LAYER,
        Compression::Gzip(_) => MediaType::LAYER_GZIP,
        Compression::Zstd(_) => MediaType::LAYER_ZSTD,
    }
}

impl Store {
    /// The layer as a blob of this compression, made if there is none. Reads every file once.
    pub fn seal(&self, id: &LayerId, compression: Compression) -> Result<Descriptor> {
        let _lock = self.named_lock(&format!("seal {id}"), true)?;
        for blob in rows::blobs(self, id, Some(compression))? {
            if self.blob_size(&blob.digest)? == Some(blob.size) {
                return Ok(blob);
            }
        }
        match self.local_blob(id) {
            Ok(blob) => self.recompress(id, &blob, compression),
            Err(_) => self.seal_directory(id, compression),
        }
    }

    pub(crate) fn layer_sink(&self, compression: Compression) -> Result<Sink> {
        let pieces = Arc::new(StorePieces(self.clone()));
        Ok(LayerWriter::new(self.blob_writer_unhashed()?, compression, Some(pieces))?)
    }

    /// Publishes a blob that was written, with its pieces.
    pub(crate) fn publish_layer_blob(&self, sink: Sink, compression: Compression) -> Result<(Descriptor, LayerSums)> {
        let (blob, sums) = sink.finish()?;
        blob.commit_known(&sums.digest, sums.size)?;
        super::pieces::insert(self, &sums)?;
        let descriptor = Descriptor::new(media_type(compression), sums.digest.clone(), sums.size);
        Ok((descriptor, sums))
    }

    fn recompress(&self, id: &LayerId, blob: &Descriptor, compression: Compression) -> Result<Descriptor> {
        let diff_id = self.known_diff_id(id)?;
        let path = self.blob_path(&blob.digest);
        let file = File::open(&path).map_err(|error| Error::at("open", &path, error))?;
        let mut reader = LayerReader::with_limits(file, blob, &diff_id, super::unpack::LIMITS)?;
        let mut sink = self.layer_sink(compression)?;
        io::copy(&mut reader, &mut sink).map_err(|error| Error::io(format!("cannot recompress layer {id}"), error))?;
        let (descriptor, _) = self.publish_layer_blob(sink, compression)?;
        rows::insert_blob(self, id, compression, &descriptor)?;
        Ok(descriptor)
    }

    fn seal_directory(&self, id: &LayerId, compression: Compression) -> Result<Descriptor> {
        let fs = fs_of(self, id);
        let mut tar = TarWriter::new(self.layer_sink(compression)?);
        let mut sealing = Sealing { tar: &mut tar, listing: ListingBuilder::new() };
        if has(self, id, ROOT) {
            sealing.entry(scan::root_entry(&fs)?, None)?;
        }
        scan::scan(&fs, &mut sealing)?;
        let listing = sealing.listing.finish();
        let (descriptor, sums) = self.publish_layer_blob(tar.finish()?, compression)?;
        self.keep_listing(id, &listing)?;
        rows::set_diff_id(self, id, &sums.diff_id)?;
        rows::insert_blob(self, id, compression, &descriptor)?;
        Ok(descriptor)
    }
}

//! Compressed pieces of earlier layers, found in their blobs. Does not know how layers are cut.

use std::fs::File;
use std::os::unix::fs::FileExt;

use cooper_oci::{Digest, LayerSums, PieceKey, Pieces};
use rusqlite::{OptionalExtension, params};

use crate::{Result, Store};

/// Longest compressed piece that is read: twice the longest piece before compression.
const MAX_PIECE: usize = 8 << 20;

/// The pieces of a store.
#[derive(Debug)]
pub(super) struct StorePieces(pub(super) Store);

type Row = (String, i64, i64, Vec<u8>);

impl Pieces for StorePieces {
    fn get(&self, key: &PieceKey) -> Option<(Vec<u8>, [u8; 32])> {
        let found: Option<Row> = self
            .0
            .db()
            .read(|c| {
                c.prepare_cached("SELECT blob, offset, len, sum FROM pieces WHERE key = ?1")?
                    .query_row([&key.0[..]], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                    .optional()
            })
            .ok()?;
        let (blob, offset, len, sum) = found?;
        let digest: Digest = blob.parse().ok()?;
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_PIECE)?;
        let mut bytes = vec![0; len];
        let file = File::open(self.0.blob_path(&digest)).ok()?;
        file.read_exact_at(&mut bytes, u64::try_from(offset).ok()?).ok()?;
        // A blob that rotted is a miss here, never wrong bytes in a new layer.
        let found: [u8; 32] = blake3::hash(&bytes).into();
        (found[..] == sum[..]).then_some((bytes, found))
    }
}

/// Remembers where the pieces of a blob are.
pub(super) fn insert(store: &Store, sums: &LayerSums) -> Result<()> {
    if sums.pieces.is_empty() {
        return Ok(());
    }
    let blob = sums.digest.to_string();
    store.db().write(|c| {
        let mut statement =
            c.prepare_cached("INSERT OR IGNORE INTO pieces(key, blob, offset, len, sum) VALUES(?1, ?2, ?3, ?4, ?5)")?;
        for piece in &sums.pieces {
            let offset = crate::db::column(piece.offset);
            statement.execute(params![&piece.key.0[..], blob, offset, piece.len, &piece.sum[..]])?;
        }
        Ok(())
    })
}

//! The tables of layers. Their queries live with the code that unpacks and seals layers.

/// `state` is `volatile:<boot id>` or `durable`. `unpacked` is 1 when `layers/<id>/` is complete.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS layers(
    id TEXT PRIMARY KEY, diff_id TEXT, size INTEGER, created INTEGER, used INTEGER, unpacked INTEGER,
    state TEXT NOT NULL, parent_chain TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS layers_state ON layers(state) WHERE state <> 'durable';
CREATE TABLE IF NOT EXISTS layer_blobs(
    layer TEXT NOT NULL, compression TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL,
    PRIMARY KEY(layer, compression)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS layer_blobs_digest ON layer_blobs(digest);
CREATE TABLE IF NOT EXISTS pieces(
    key BLOB PRIMARY KEY, blob TEXT NOT NULL, offset INTEGER NOT NULL, len INTEGER NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pieces_blob ON pieces(blob);
";

//! Blobs by digest in `blobs/sha256/`: written through a temporary file, verified on every read.
//! Does not know what a blob holds.

/// `durable` is 1 once the bytes are known to survive a power cut; else `boot` is the boot that wrote them.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS blobs(
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_state ON blobs(state) WHERE state <> 'durable';
CREATE TABLE IF NOT EXISTS origins(
    digest TEXT NOT NULL, registry TEXT NOT NULL, repository TEXT NOT NULL,
    PRIMARY KEY(digest, registry, repository)) WITHOUT ROWID;
";

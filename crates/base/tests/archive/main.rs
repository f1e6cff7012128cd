//! A small signed archive, made here, and everything that may be wrong with one. No network but loopback.

mod archive;
mod fetching;
mod locking;
mod server;
mod signatures;
mod signer;
mod updating;

/// The time of all tests, far ahead of any clock: keys are made at the present time of the machine.
const NOW: i64 = 4_000_000_000;

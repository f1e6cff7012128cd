//! Faults at the level of the whole program: rot, kills, full disks, power cuts, crowds, hostile images, secrets.
//!
//! Each test breaks something and then holds the result against a build that met no fault.

#![expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "skipped tests say why, and seeds are told and given"
)]

mod carry;
mod cut;
mod full;
mod hostile;
mod kill;
mod place;
mod rot;
mod secrets;
mod tars;
mod together;

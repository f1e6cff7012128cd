//! Faults at the level of the whole program: rot, kills, full disks, power cuts, crowds, hostile images, secrets.
//!
//! Each test breaks something and then holds the result against a build that met no fault.

mod cut;
mod full;
mod hostile;
mod kill;
mod place;
mod rot;
mod secrets;
mod tars;
mod together;

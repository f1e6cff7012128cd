//! Programs for a processor that this machine does not have.
//!
//! Knows nothing of how they are run: the kernel does that, with an emulator that it was told of.

use std::path::PathBuf;

use cooper_executor::{MountSource, ProcessMount, emulator, register};
use cooper_oci::Platform;
use rustix::fs::{Mode, OFlags};

use crate::error::from_executor;
use crate::{Error, ErrorKind, Result};

/// What a process of `platform` has to be shown so that it can run here. `search` is where emulators are looked for if
/// none is registered and this program may register some for itself. Where there is no emulator nothing is refused yet:
/// a stage for another platform may well run a program of this one.
pub(crate) fn prepare(platform: &Platform, search: &[PathBuf]) -> Result<Vec<ProcessMount>> {
    if Platform::host().executes(platform) {
        return Ok(Vec::new());
    }
    let Some(emulator) = emulator(&platform.architecture) else {
        register(&platform.architecture, search).map_err(from_executor)?;
        return Ok(Vec::new());
    };
    if emulator.fixed {
        return Ok(Vec::new());
    }
    let path = emulator.interpreter;
    let file = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|e| {
        Error::new(ErrorKind::Host, format!("cannot open the emulator `{}` of {platform}", path.display()))
            .with_source(std::io::Error::from(e))
            .with_hint("it is registered (`cooper doctor`) but not there: install it again")
    })?;
    let target = path.to_string_lossy().into_owned();
    Ok(vec![ProcessMount { target, source: MountSource::Bind(file), readonly: true }])
}

/// Says what lacks when a program could not be executed because nothing here runs programs of `platform`.
pub(crate) fn explain(error: Error, platform: &Platform) -> Error {
    let host = Platform::host();
    let foreign = error.what.contains("exec format error") && error.kind == ErrorKind::NotExecutable;
    if !foreign || host.executes(platform) || emulator(&platform.architecture).is_some() {
        return error;
    }
    let what = format!("{}: the step is for {platform}, and this machine ({host}) has no emulator for it", error.what);
    let architecture = &platform.architecture;
    let hints = [
        "as root on Debian or Ubuntu: `apt-get install qemu-user-static binfmt-support`".to_owned(),
        format!("with docker: `docker run --privileged --rm tonistiigi/binfmt --install {architecture}`"),
        "or let the stage cross-compile: `FROM --platform=$BUILDPLATFORM ..` and `ARG TARGETARCH`".to_owned(),
    ];
    Error { what, hints: hints.into(), ..error }
}

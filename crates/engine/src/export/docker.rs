//! `--load`: an image into a running docker engine.
//!
//! `docker load` does the talking: it knows the engine's address, context and credentials, and gets the environment of
//! this process. Knows nothing of docker's API.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::Stdio;

use cooper_oci::{Descriptor, Reference};
use cooper_store::Store;
use tokio::process::Command;

use super::archive::{self, Format};
use crate::error::from_oci;
use crate::{Error, ErrorKind, Result};

const HINT: &str =
    "is a docker engine running? without one, leave --load away: `cooper run` and `cooper images` need none";

/// Streams the image to `docker load`; `context` is that of `docker --context`.
pub(super) async fn load(store: &Store, image: &Descriptor, names: &[Reference], context: Option<&str>) -> Result<()> {
    let mut command = Command::new("docker");
    command.args(context.map(|name| ["--context", name]).into_iter().flatten()).arg("load");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let cannot =
        |e: std::io::Error| Error::new(ErrorKind::Host, "cannot run `docker load`").with_source(e).with_hint(HINT);
    let mut child = command.spawn().map_err(cannot)?;
    let input = child.stdin.take().and_then(|input| input.into_owned_fd().ok());
    // Beside the writing: a full pipe of messages must not stop it.
    let ended = tokio::spawn(child.wait_with_output());
    let written = match input {
        Some(input) => feed(File::from(input), store, image, names).await,
        None => Err(Error::new(ErrorKind::Io, "`docker load` has no standard input")),
    };
    let output = ended.await.map_err(|e| cannot(e.into()))?.map_err(cannot)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(ErrorKind::Host, format!("`docker load` failed: {said}")).with_hint(HINT));
    }
    written
}

async fn feed(input: File, store: &Store, image: &Descriptor, names: &[Reference]) -> Result<()> {
    let mut out = BufWriter::with_capacity(archive::BUFFER, input);
    let images = [(image.clone(), names.to_vec())];
    let what = "cannot write the image to `docker load`";
    archive::write(&mut out, store, &images, Format::Docker).await.map_err(|e| from_oci(e, what))?;
    out.flush().map_err(|e| Error::new(ErrorKind::Io, what).with_source(e))
}

//! An image into a running docker engine, and out of one.
//!
//! The `docker` command does the talking: it knows the engine's address, context and credentials, and gets the environment of
//! this process. Knows nothing of docker's API.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Output, Stdio};

use cooper_oci::{Blobs, Descriptor, Reference};
use tokio::process::Command;

use super::archive::{self, Format};
use crate::error::from_oci;
use crate::{Error, ErrorKind, Result};

const HINT: &str = "is a docker engine running? `cooper run` and `cooper images` need none";

/// Streams the image to `docker load`; `context` is that of `docker --context`.
pub(crate) async fn load(
    from: &dyn Blobs,
    image: &Descriptor,
    names: &[Reference],
    context: Option<&str>,
) -> Result<()> {
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
        Some(input) => feed(File::from(input), from, image, names).await,
        None => Err(Error::new(ErrorKind::Io, "`docker load` has no standard input")),
    };
    let output = ended.await.map_err(|e| cannot(e.into()))?.map_err(cannot)?;
    if !output.status.success() {
        return Err(refused("docker load", &output));
    }
    written
}

/// Writes an image of the engine, with its name, to an archive.
pub(crate) async fn save(name: &str, archive: &Path) -> Result<()> {
    let mut command = Command::new("docker");
    command.args(["save", "--output"]).arg(archive).arg(name).stdin(Stdio::null()).kill_on_drop(true);
    let cannot = |e| Error::new(ErrorKind::Host, "cannot run `docker save`").with_source(e).with_hint(HINT);
    let output = command.output().await.map_err(cannot)?;
    if output.status.success() { Ok(()) } else { Err(refused("docker save", &output)) }
}

fn refused(command: &str, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Error::new(ErrorKind::Host, format!("`{command}` failed: {said}")).with_hint(HINT)
}

async fn feed(input: File, from: &dyn Blobs, image: &Descriptor, names: &[Reference]) -> Result<()> {
    let mut out = BufWriter::with_capacity(archive::BUFFER, input);
    let images = [(image.clone(), names.to_vec())];
    let what = "cannot write the image to `docker load`";
    archive::write(&mut out, from, &images, Format::Docker).await.map_err(|e| from_oci(e, what))?;
    out.flush().map_err(|e| Error::new(ErrorKind::Io, what).with_source(e))
}

//! Images as files: OCI layouts and docker archives, as one tar or as a directory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use cooper_oci::{Blobs, CopyOptions, Descriptor, Layout, Reference, copy, write_docker_archive, write_oci_archive};

use crate::error::from_oci;
use crate::{Error, ErrorKind, Result};

/// Bytes gathered before the archive's file is written to.
pub(super) const BUFFER: usize = 1024 * 1024;

/// The two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An OCI image layout.
    Oci,
    /// What `docker load` reads.
    Docker,
}

/// Writes images to `dest`, standard output when there is none. A file appears whole or not at all.
pub(crate) async fn write_archive(
    from: &dyn Blobs,
    images: &[(Descriptor, Vec<Reference>)],
    format: Format,
    tar: bool,
    dest: Option<&Path>,
) -> Result<()> {
    let cannot = |e: cooper_oci::Error| {
        let place = dest.map_or("standard output".into(), |dest| format!("`{}`", dest.display()));
        from_oci(e, &format!("cannot write the image to {place}"))
    };
    if !tar {
        let dest = dest.ok_or_else(|| Error::new(ErrorKind::User, "a directory cannot go to standard output"))?;
        let layout = Layout::create(dest).map_err(cannot)?;
        for (image, names) in images {
            copy(image, from, &layout, &CopyOptions::default()).await.map_err(cannot)?;
            layout.add(image, names).map_err(cannot)?;
        }
        return Ok(());
    }
    let Some(dest) = dest else {
        let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout());
        write(&mut out, from, images, format).await.map_err(cannot)?;
        return out.flush().map_err(|e| Error::new(ErrorKind::Io, "cannot write to standard output").with_source(e));
    };
    let part = part_name(dest);
    let io =
        |e: std::io::Error| Error::new(ErrorKind::User, format!("cannot write `{}`", dest.display())).with_source(e);
    let mut out = BufWriter::with_capacity(BUFFER, File::create(&part).map_err(io)?);
    let written = write(&mut out, from, images, format).await.map_err(cannot);
    let finished = written.and_then(|()| out.flush().and_then(|()| std::fs::rename(&part, dest)).map_err(io));
    if finished.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    finished
}

pub(super) async fn write<W: Write + Send>(
    out: &mut W,
    from: &dyn Blobs,
    images: &[(Descriptor, Vec<Reference>)],
    format: Format,
) -> cooper_oci::Result<()> {
    match format {
        Format::Oci => write_oci_archive(out, images, from).await,
        Format::Docker => write_docker_archive(out, images, from).await,
    }
}

/// Beside the destination, so that the rename stays on one filesystem.
fn part_name(dest: &Path) -> PathBuf {
    let mut name = dest.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    dest.with_file_name(name)
}

//! The program of a step's init in a form that nothing in the step can change.
//!
//! The init is this very program, and a step may get at the file of a process it can look at (CVE-2019-5736: through
//! `/proc/<pid>/exe`). So the init is started from a read-only mount of the file that is mounted nowhere, else from a
//! sealed copy in memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mount::MountAttrFlags;

use crate::init::device;
use crate::sys::{self, MountAttr};

/// A program to be started by [`Sealed::path`].
#[derive(Debug)]
pub(crate) struct Sealed(OwnedFd);

impl Sealed {
    /// Seals the program at `path`; a link such as `/proc/self/exe` is followed.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let program = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        match mounted(path, &program) {
            Ok(fd) => Ok(Self(fd)),
            Err(_) => copied(program.into()).map(Self),
        }
    }

    /// What to execute. Only for a child of this process, which has the descriptor until it executes.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// A read-only mount. The file is looked up by its name again: what this process runs from is of the mount namespace it
/// was started in, from which nothing can be mounted in this one.
fn mounted(path: &Path, program: &OwnedFd) -> std::io::Result<OwnedFd> {
    let name = std::fs::canonicalize(path)?;
    let file = rustix::fs::open(&name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let (named, wanted) = (rustix::fs::fstat(&file)?, rustix::fs::fstat(program)?);
    if (named.st_dev, named.st_ino) != (wanted.st_dev, wanted.st_ino) {
        // Replaced since: an upgrade.
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let mount = device::clone(file.as_fd(), false)?;
    let readonly = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    sys::mount_setattr(mount.as_fd(), false, MountAttr { set: readonly, ..MountAttr::default() })?;
    Ok(mount)
}

fn copied(mut program: File) -> std::io::Result<OwnedFd> {
    let mut copy = File::from(rustix::fs::memfd_create(c"cooper", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    std::io::copy(&mut program, &mut copy)?;
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(0o500))?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    // A file that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_copy_cannot_be_written() {
        let program = File::open("/proc/self/exe").unwrap();
        let size = program.metadata().unwrap().len();
        let copy = copied(program).unwrap();
        assert_eq!(rustix::fs::fstat(&copy).unwrap().st_size as u64, size);
        let writable = std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", copy.as_raw_fd()));
        assert!(writable.and_then(|mut file| file.write_all(b"x")).is_err());
    }
}

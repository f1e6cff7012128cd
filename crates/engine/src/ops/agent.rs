//! The caller's ssh agent in a step: a socket of the step's own, through which keys can be listed and used, and nothing
//! else (draft-ietf-sshm-ssh-agent, section 3).
//!
//! Knows nothing of keys: requests and answers are passed on as they are.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cooper_store::Store;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};

use crate::error::from_store;
use crate::{Error, ErrorKind, Result};

/// SSH_AGENTC_REQUEST_IDENTITIES and SSH_AGENTC_SIGN_REQUEST.
const ALLOWED: [u8; 2] = [11, 13];
/// SSH_AGENT_FAILURE, as a whole message.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// Bytes of a message: OpenSSH's limit.
const MESSAGE_MAX: usize = 256 * 1024;
/// Connections of a step at once; programs use one each.
const CONNECTIONS_MAX: usize = 64;
/// Name of the socket in its directory.
const NAME: &str = "agent";

/// A socket for one step; closed and removed when dropped.
pub(super) struct Forwarded {
    dir: PathBuf,
    listener: Arc<UnixListener>,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // Wakes the thread that accepts; nothing of this can fail in a way that matters: the step is over.
        let _closed = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// Makes a socket with this mode and owner whose other end is the agent at `agent`. The descriptor is for mounting.
pub(super) fn forward(store: &Store, agent: &Path, owner: (u32, u32, u32)) -> Result<(OwnedFd, Forwarded)> {
    if !is_socket(agent) {
        let what = format!("cannot use the ssh agent at `{}`: it is not a socket", agent.display());
        return Err(Error::new(ErrorKind::User, what));
    }
    let dir = store.temporary().map_err(|e| from_store(e, "cannot make a place for the ssh agent of a step"))?;
    let failed =
        |e: std::io::Error| Error::new(ErrorKind::Io, "cannot make the ssh agent socket of a step").with_source(e);
    let (socket, listener) = bind(&dir, owner).map_err(failed)?;
    let listener = Arc::new(listener);
    let forwarded = Forwarded { dir, listener: Arc::clone(&listener) };
    let agent = agent.to_owned();
    std::thread::Builder::new().spawn(move || accept(&listener, &agent)).map_err(failed)?;
    Ok((socket, forwarded))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn bind(dir: &Path, (mode, uid, gid): (u32, u32, u32)) -> std::io::Result<(OwnedFd, UnixListener)> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(dir)?;
    let held = rustix::fs::openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // The name of a socket has at most 107 bytes, which the store's own path may exceed.
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", held.as_raw_fd()))?;
    rustix::fs::chmodat(&held, NAME, Mode::from_raw_mode(mode & 0o777), AtFlags::empty())?;
    if (uid, gid) != (0, 0) {
        rustix::fs::chownat(
            &held,
            NAME,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok((rustix::fs::openat(&held, NAME, flags, Mode::empty())?, listener))
}

fn accept(listener: &UnixListener, agent: &Path) {
    let open = Arc::new(AtomicUsize::new(0));
    // Ends when the listener is shut down.
    while let Ok((client, _)) = listener.accept() {
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (open, agent) = (Arc::clone(&open), agent.to_owned());
        let serve = move || {
            // A broken connection concerns the program that has it, which sees it closed.
            let _closed = serve(client, &agent);
            open.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new().spawn(serve).is_err() {
            return;
        }
    }
}

/// Answers one program until it closes its end.
fn serve(mut client: UnixStream, agent: &Path) -> std::io::Result<()> {
    let mut upstream: Option<UnixStream> = None;
    loop {
        let request = message(&mut client)?;
        if !request.get(4).is_some_and(|kind| ALLOWED.contains(kind)) {
            client.write_all(&FAILURE)?;
            continue;
        }
        let agent = match &mut upstream {
            Some(agent) => agent,
            none => none.insert(UnixStream::connect(agent)?),
        };
        agent.write_all(&request)?;
        let answer = message(agent)?;
        client.write_all(&answer)?;
    }
}

/// The next message with its length; an end of the stream is an error.
fn message(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let size = u32::from_be_bytes(length) as usize;
    if size == 0 || size > MESSAGE_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut whole = length.to_vec();
    whole.resize(4 + size, 0);
    stream.read_exact(&mut whole[4..])?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listing_and_signing_reach_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("upstream");
        let upstream = UnixListener::bind(&path).unwrap();
        let agent = std::thread::spawn(move || {
            let (mut stream, _) = upstream.accept().unwrap();
            let mut kinds = Vec::new();
            while let Ok(request) = message(&mut stream) {
                kinds.push(request[4]);
                stream.write_all(&[0, 0, 0, 2, 12, request[4]]).unwrap();
            }
            kinds
        });
        let (socket, listener) = bind(&dir.path().join("own"), (0o600, 0, 0)).unwrap();
        let serving = std::thread::spawn(move || serve(listener.accept().unwrap().0, &path));
        let mut client = UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        for (kind, expect) in [(11, &[12, 11][..]), (17, &[5]), (13, &[12, 13]), (19, &[5]), (22, &[5]), (27, &[5])] {
            client.write_all(&[0, 0, 0, 1, kind]).unwrap();
            assert_eq!(&message(&mut client).unwrap()[4..], expect, "{kind}");
        }
        client.write_all(&[0xff; 4]).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "a length beyond all bounds ends the connection");
        assert!(serving.join().unwrap().is_err());
        assert_eq!(agent.join().unwrap(), [11, 13]);
    }
}

//! What an executor and the init it starts say to each other over one socket pair.
//!
//! Knows nothing of how either side does its work.

use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::{DeviceNode, Error, ErrorKind, Profile, Result, Ulimit};

/// Descriptors in one packet; the kernel takes 253.
const FDS_PER_PACKET: usize = 200;
/// Descriptors altogether: root, streams and one for each bind mount. Far above what a Dockerfile asks for.
const MAX_FDS: usize = 4_000;
/// Bytes of a description; secrets and environment are in it.
const MAX_SPEC_BYTES: u64 = 64 << 20;
/// Bytes of a report; an error message is the longest.
const MAX_REPORT_BYTES: usize = 32 << 10;

/// A step as the init is told of it. Descriptors follow in the order: root, `cgroup.procs` of the groups
/// to join, streams (if not a terminal), bind mounts and devices.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) readonly_root: bool,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
    pub(crate) hostname: String,
    pub(crate) extra_hosts: Vec<(String, String)>,
    pub(crate) mounts: Vec<MountSpec>,
    pub(crate) own_network: bool,
    pub(crate) profile: Profile,
    pub(crate) ulimits: Vec<Ulimit>,
    /// How many control groups the program joins.
    pub(crate) groups: usize,
    pub(crate) resolv_conf: Option<Vec<u8>>,
    /// Rows and columns.
    pub(crate) pty: Option<(u16, u16)>,
}

/// A mount of a [`Spec`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountSpec {
    pub(crate) target: String,
    pub(crate) readonly: bool,
    pub(crate) source: SourceSpec,
}

/// The source of a [`MountSpec`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SourceSpec {
    /// The next descriptor.
    Bind,
    /// Likewise, a device.
    Device(DeviceNode),
    Tmpfs(Option<u64>),
    Bytes {
        content: Vec<u8>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// What the init reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program runs; the terminal's controlling end comes along.
    Started,
    /// It never ran.
    Failed(Failure),
    /// It exited.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

/// An [`Error`] in a form that can be sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: u8,
    what: String,
    hint: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Process => 0,
            ErrorKind::Host => 1,
            ErrorKind::Io => 2,
            ErrorKind::NoProgram => 3,
            ErrorKind::NotExecutable => 4,
        };
        let cause = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
        let mut what = format!("{error}{cause}");
        truncate(&mut what, MAX_REPORT_BYTES / 4);
        Self { kind, what, hint: error.hint().map(str::to_owned) }
    }
}

/// Cuts `text` to at most `max` bytes at a character boundary.
fn truncate(text: &mut String, max: usize) {
    while text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            0 => ErrorKind::Process,
            1 => ErrorKind::Host,
            3 => ErrorKind::NoProgram,
            4 => ErrorKind::NotExecutable,
            _ => ErrorKind::Io,
        };
        let error = Self::new(kind, failure.what);
        match failure.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// A connected pair that keeps the boundaries of messages.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::io("cannot make a socket pair", e.into()))
}

/// Sends a description and its descriptors.
pub(crate) fn send_spec(socket: BorrowedFd<'_>, spec: &Spec, fds: &[OwnedFd]) -> Result<()> {
    if fds.len() > MAX_FDS {
        return Err(Error::new(ErrorKind::Process, format!("{} mounts are too many", fds.len())));
    }
    let text = spec_file(spec).map_err(|e| Error::io("cannot write the description of the step", e))?;
    let all: Vec<BorrowedFd<'_>> = std::iter::once(text.as_fd()).chain(fds.iter().map(AsFd::as_fd)).collect();
    let packets = all.chunks(FDS_PER_PACKET);
    let last = packets.len().saturating_sub(1);
    for (at, packet) in packets.enumerate() {
        send(socket, &[u8::from(at < last)], packet).map_err(|e| Error::io("cannot hand over descriptors", e))?;
    }
    Ok(())
}

fn spec_file(spec: &Spec) -> std::io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(c"cooper-step", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&serde_json::to_vec(spec)?)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

/// Receives what [`send_spec`] sent.
pub(crate) fn receive_spec(socket: BorrowedFd<'_>) -> std::io::Result<(Spec, std::vec::IntoIter<OwnedFd>)> {
    let mut fds = Vec::new();
    let mut more = [1_u8];
    while more == [1] {
        if receive(socket, &mut more, &mut fds)? == 0 || fds.len() > MAX_FDS + 1 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut fds = fds.into_iter();
    let file = fds.next().ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut text = Vec::new();
    std::fs::File::from(file).take(MAX_SPEC_BYTES).read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text)?, fds))
}

/// Sends a report, with a descriptor if there is one.
pub(crate) fn send_report(socket: BorrowedFd<'_>, report: &Report, fd: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
    send(socket, &serde_json::to_vec(report)?, fd.as_slice())
}

/// Receives a report; `None` when the other end is gone.
pub(crate) fn receive_report(socket: BorrowedFd<'_>) -> std::io::Result<Option<(Report, Option<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_REPORT_BYTES];
    let mut fds = Vec::new();
    let len = receive(socket, &mut bytes, &mut fds)?;
    match bytes.get(..len) {
        None | Some([]) => Ok(None),
        Some(text) => Ok(Some((serde_json::from_slice(text)?, fds.pop()))),
    }
}

/// Asks the init to pass on a signal.
pub(crate) fn send_signal(socket: BorrowedFd<'_>, signal: u8) -> std::io::Result<()> {
    send(socket, &[signal], &[])
}

/// The next signal asked for; `None` when the other end is gone.
pub(crate) fn receive_signal(socket: BorrowedFd<'_>) -> std::io::Result<Option<u8>> {
    let mut signal = [0];
    let len = receive(socket, &mut signal, &mut Vec::new())?;
    Ok((len > 0).then_some(signal[0]))
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(fds).size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> std::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_PACKET))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message =
        rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags));
    let message = match message {
        Err(rustix::io::Errno::CONNRESET) => return Ok(0),
        other => other?,
    };
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = item {
            fds.extend(rights);
        }
    }
    Ok(message.bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn descriptors_beyond_one_packet_arrive_in_order() {
        let (ours, theirs) = socket_pair().unwrap();
        let fds: Vec<OwnedFd> = (0..FDS_PER_PACKET + 50).map(|n| spec_file(&spec(&n.to_string())).unwrap()).collect();
        let sender = std::thread::spawn(move || send_spec(ours.as_fd(), &spec("all"), &fds).unwrap());
        let (got, fds) = receive_spec(theirs.as_fd()).unwrap();
        sender.join().unwrap();
        assert_eq!(got.cwd, "all");
        for (n, fd) in fds.enumerate() {
            let got: Spec = serde_json::from_reader(std::fs::File::from(fd)).unwrap();
            assert_eq!(got.cwd, n.to_string());
        }
    }

    #[test]
    fn an_error_survives_the_journey() {
        let (ours, theirs) = socket_pair().unwrap();
        let error = Error::new(ErrorKind::Process, "é".repeat(MAX_REPORT_BYTES)).with_hint("look");
        send_report(ours.as_fd(), &Report::Failed(error.into()), Some(ours.as_fd())).unwrap();
        let (report, fd) = receive_report(theirs.as_fd()).unwrap().unwrap();
        let Report::Failed(failure) = report else { panic!("{report:?}") };
        let error = Error::from(failure);
        assert_eq!((error.kind(), error.hint(), fd.is_some()), (ErrorKind::Process, Some("look"), true));
    }

    #[test]
    fn a_closed_end_is_not_an_error() {
        let (ours, theirs) = socket_pair().unwrap();
        drop(ours);
        assert!(receive_report(theirs.as_fd()).unwrap().is_none());
        assert_eq!(receive_signal(theirs.as_fd()).unwrap(), None);
    }

    pub(crate) fn spec(cwd: &str) -> Spec {
        Spec {
            readonly_root: false,
            args: vec![],
            env: vec![],
            cwd: cwd.into(),
            user: String::new(),
            hostname: String::new(),
            extra_hosts: vec![],
            mounts: vec![],
            own_network: false,
            profile: Profile::SANDBOX,
            ulimits: vec![],
            groups: 0,
            resolv_conf: None,
            pty: None,
        }
    }
}

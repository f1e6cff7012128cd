//! The program of a step: its arguments, environment and streams, where it is found, and why it could not start.
//!
//! Knows nothing of mounts and of the process that waits for it.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::Winsize;
use rustix::thread::UnshareFlags;

use super::confine;
use super::rootfs::Root;
use super::tree::Tree;
use super::user::{self, Account};
use crate::sys;
use crate::wire::Spec;
use crate::{Error, ErrorKind, Profile, Result, Ulimit};

/// Searched if the environment has no PATH.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Scripts that are the interpreter of a script, as in the kernel.
const SCRIPTS_MAX: usize = 5;
/// Bytes looked at to find out what a program is.
const MAX_HEADER: u64 = 4096;

/// A program ready to be executed.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    candidates: Vec<CString>,
    path: Option<String>,
    args: Vec<CString>,
    env: Vec<CString>,
    account: Account,
    cwd: OwnedFd,
    /// `cgroup.procs` of the groups to join.
    groups: Vec<OwnedFd>,
    profile: Profile,
    ulimits: Vec<Ulimit>,
}

/// The standard streams.
#[derive(Debug)]
pub(super) struct Streams {
    fds: Vec<OwnedFd>,
    terminal: bool,
}

impl Streams {
    /// The given streams, or a new terminal with its controlling end.
    pub(super) fn open(
        given: Option<[OwnedFd; 3]>,
        pty: Option<(u16, u16)>,
        root: &Root,
    ) -> Result<(Self, Option<OwnedFd>)> {
        match (given, pty, root.terminals()) {
            (Some(fds), ..) => Ok((Self { fds: fds.into(), terminal: false }, None)),
            (None, Some(size), Some(pts)) => {
                let (controlling, terminal) =
                    open_terminal(pts, size).map_err(|e| Error::io("cannot open a terminal", e.into()))?;
                Ok((Self { fds: vec![terminal], terminal: true }, Some(controlling)))
            }
            _ => Err(Error::new(ErrorKind::Io, "the step has no streams")),
        }
    }

    fn nth(&self, at: usize) -> Option<&OwnedFd> {
        self.fds.get(at).or(self.fds.first())
    }

    /// Makes them descriptors 0 to 2 of a new session, owned by the user.
    fn install(&self, uid: u32) -> std::result::Result<(), Errno> {
        rustix::process::setsid()?;
        for (at, dup) in
            [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr].into_iter().enumerate()
        {
            let fd = self.nth(at).ok_or(Errno::BADF)?;
            own(fd, uid)?;
            dup(fd)?;
        }
        if self.terminal { rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()) } else { Ok(()) }
    }
}

/// Gives a pipe or our own terminal to the user, so that /dev/stdout can be opened again.
fn own(fd: &OwnedFd, uid: u32) -> std::result::Result<(), Errno> {
    use rustix::fs::{FileType, Uid, fchown, fstat};
    let ours = matches!(FileType::from_raw_mode(fstat(fd)?.st_mode), FileType::Fifo | FileType::CharacterDevice);
    if uid != 0 && ours && !is_null(fd)? {
        // Not ours to give if the caller passed someone else's; it then cannot be opened again, and still works.
        let _refused = fchown(fd, Some(Uid::from_raw(uid)), None);
    }
    Ok(())
}

fn is_null(fd: &OwnedFd) -> std::result::Result<bool, Errno> {
    Ok(rustix::fs::fstat(fd)?.st_rdev == rustix::fs::makedev(1, 3))
}

/// A terminal of the devpts `pts`: the other end is asked of the descriptor, not of a path.
fn open_terminal(pts: BorrowedFd<'_>, (rows, cols): (u16, u16)) -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let controlling = rustix::fs::openat(pts, "ptmx", flags, Mode::empty())?;
    unlockpt(&controlling)?;
    let terminal = ioctl_tiocgptpeer(&controlling, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&controlling, size)?;
    Ok((controlling, terminal))
}

impl Program {
    /// Looks the user up and puts arguments and environment into the kernel's form. Entries of the environment
    /// without `=` mean nothing to a program and are left out.
    pub(super) fn prepare(spec: Spec, groups: Vec<OwnedFd>, root: &mut Root) -> Result<Self> {
        let tree = root.tree().ok_or_else(|| Error::new(ErrorKind::Io, "the step has no root"))?;
        let account = account(&spec.user, tree)?;
        let cwd = root.cwd().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3));
        let cwd =
            cwd.unwrap_or(Err(Errno::BADF)).map_err(|e| Error::io("cannot use the working directory", e.into()))?;
        let mut env: Vec<String> = spec.env.into_iter().filter(|entry| entry.find('=') > Some(0)).collect();
        if !env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(format!("HOME={}", account.home));
        }
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).map(str::to_owned);
        let name = spec.args.first().filter(|name| !name.is_empty()).cloned();
        let name = name.ok_or_else(|| Error::new(ErrorKind::Process, "there is no program to run"))?;
        let candidates = strings(candidates(&name, path.as_deref()))?;
        let (args, env) = (strings(spec.args)?, strings(env)?);
        let (profile, ulimits) = (spec.profile, spec.ulimits);
        Ok(Self { name, candidates, path, args, env, account, cwd, groups, profile, ulimits })
    }

    /// Becomes the program; returns why not. Called in the forked child.
    pub(super) fn execute(&self, streams: &Streams) -> Error {
        match self.settle(streams) {
            Ok(()) => self.run(),
            Err(error) => error,
        }
    }

    fn settle(&self, streams: &Streams) -> Result<()> {
        let failed = |e: Errno| Error::io("cannot prepare the process of the step", e.into());
        self.join_groups()?;
        rustix::process::fchdir(&self.cwd).map_err(failed)?;
        streams.install(self.account.uid).map_err(failed)?;
        sys::cloexec_from(3).map_err(|e| Error::io("cannot close descriptors", e))?;
        confine::confine(&self.account, &self.profile, &self.ulimits, self.is_narrow())?;
        sys::reset_signals().map_err(|e| Error::io("cannot reset signals", e))
    }

    /// Enters the control groups, which from then on look like the uppermost ones.
    fn join_groups(&self) -> Result<()> {
        for group in &self.groups {
            rustix::io::write(group, b"0")
                .map_err(|e| Error::caused(ErrorKind::Host, "cannot enter the control group of the step", e.into()))?;
        }
        sys::unshare(UnshareFlags::NEWCGROUP)
            .map_err(|e| Error::caused(ErrorKind::Host, "cannot make a control group namespace for the step", e))
    }

    /// Tries the candidates in order; as in a shell, the search goes on where one is absent or may not be executed.
    fn run(&self) -> Error {
        let mut denied = None;
        for candidate in &self.candidates {
            let error = sys::execve(candidate, &self.args, &self.env);
            match error.raw_os_error() {
                Some(libc::ENOENT) if exists(candidate) => return no_interpreter(candidate),
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                Some(libc::EACCES) => denied = denied.or(Some(candidate)),
                _ => return refusal(candidate, error),
            }
        }
        match denied {
            Some(candidate) => no_permission(candidate),
            None => self.absent(),
        }
    }

    /// The program, or the interpreter of the script it is, is a 32-bit one.
    fn is_narrow(&self) -> bool {
        let Some(found) = self.candidates.iter().find(|path| exists(path)) else { return false };
        let mut file = header(found).unwrap_or_default();
        for _ in 0..SCRIPTS_MAX {
            match interpreter(&file).filter(|_| file.starts_with(b"#!")).and_then(|name| CString::new(name).ok()) {
                Some(name) => file = header(&name).unwrap_or_default(),
                None => break,
            }
        }
        file.starts_with(b"\x7fELF\x01")
    }

    fn absent(&self) -> Error {
        let name = &self.name;
        let path = self.path.as_deref().unwrap_or(DEFAULT_PATH);
        let searched = if name.contains('/') { String::new() } else { format!("'s PATH ({path})") };
        let error = Error::new(ErrorKind::NoProgram, format!("no such program `{name}` in the root{searched}"));
        if matches!(name.as_str(), "sh" | "/bin/sh") {
            error.with_hint("an image without a shell needs the exec form: RUN [\"program\", ..]")
        } else {
            error
        }
    }
}

/// Looks a user up in the files of a root.
pub(crate) fn account(name: &str, tree: &mut Tree) -> Result<Account> {
    let passwd = tree.read(user::PASSWD, user::MAX_DATABASE)?.unwrap_or_default();
    let group = tree.read(user::GROUP, user::MAX_DATABASE)?.unwrap_or_default();
    user::lookup(name, &String::from_utf8_lossy(&passwd), &String::from_utf8_lossy(&group))
}

fn candidates(name: &str, path: Option<&str>) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let in_directory = |dir: &str| if dir.is_empty() { format!("./{name}") } else { format!("{dir}/{name}") };
    path.unwrap_or(DEFAULT_PATH).split(':').map(in_directory).collect()
}

fn strings(texts: Vec<String>) -> Result<Vec<CString>> {
    let convert = |text: String| {
        CString::new(text)
            .map_err(|_| Error::new(ErrorKind::Process, "an argument or environment entry contains a NUL byte"))
    };
    texts.into_iter().map(convert).collect()
}

fn exists(path: &CString) -> bool {
    rustix::fs::stat(path).is_ok()
}

fn refusal(path: &CString, error: std::io::Error) -> Error {
    let path = path.to_string_lossy();
    match error.raw_os_error() {
        Some(libc::ENOEXEC) => Error::new(ErrorKind::NotExecutable, format!("exec format error: `{path}`"))
            .with_hint("it is built for another architecture, or a script without a `#!` line"),
        Some(libc::E2BIG) => {
            Error::new(ErrorKind::Process, format!("arguments and environment are too long for `{path}`"))
        }
        _ => Error::caused(ErrorKind::NotExecutable, format!("cannot execute `{path}`"), error),
    }
}

fn no_permission(path: &CString) -> Error {
    let is_dir = rustix::fs::stat(path)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory);
    let path = path.to_string_lossy();
    if is_dir {
        return Error::new(ErrorKind::NotExecutable, format!("`{path}` is a directory, not a program"));
    }
    Error::new(ErrorKind::NotExecutable, format!("permission denied to execute `{path}`"))
        .with_hint("it, its interpreter or a directory above has no execute permission for this user")
}

fn no_interpreter(path: &CString) -> Error {
    let name = path.to_string_lossy();
    match header(path).as_deref().and_then(interpreter) {
        Some(missing) => Error::new(
            ErrorKind::NotExecutable,
            format!("`{name}` needs the interpreter `{missing}`, which does not exist"),
        )
        .with_hint("install it, or use a program linked for the libc of this image"),
        None => Error::new(ErrorKind::NotExecutable, format!("`{name}` exists but what it needs to start does not")),
    }
}

fn header(path: &CString) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(MAX_HEADER).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The interpreter a script or a dynamically linked 64-bit program names, if it is in the part of the file given.
pub(crate) fn interpreter(file: &[u8]) -> Option<String> {
    let text = match file.strip_prefix(b"#!") {
        Some(line) => line.split(|b| *b == b'\n').next()?,
        None => elf_interpreter(file)?,
    };
    let text = String::from_utf8_lossy(text);
    text.trim_matches(['\0', ' ', '\t', '\r']).split([' ', '\t']).next().map(str::to_owned).filter(|s| !s.is_empty())
}

fn elf_interpreter(file: &[u8]) -> Option<&[u8]> {
    const INTERP: u64 = 3;
    const ENTRY: usize = 56;
    if file.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let number = |at: usize, len: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    };
    let table = usize::try_from(number(32, 8)?).ok()?;
    let count = usize::try_from(number(56, 2)?).ok()?;
    let entries = (0..count).map_while(|n| table.checked_add(n * ENTRY));
    let mut found = entries.take_while(|at| *at < file.len()).filter(|at| number(*at, 4) == Some(INTERP));
    let entry = found.next()?;
    let start = usize::try_from(number(entry + 8, 8)?).ok()?;
    let len = usize::try_from(number(entry + 32, 8)?).ok()?;
    file.get(start..start.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_searched_in_path() {
        let check = |name, path, expect: &[&str]| assert_eq!(candidates(name, path), expect);
        check("x", Some("/a:/b"), &["/a/x", "/b/x"]);
        check("x", Some("/a::"), &["/a/x", "./x", "./x"]);
        check("./x", Some("/a"), &["./x"]);
        assert_eq!(candidates("x", None).len(), 6);
    }

    #[test]
    fn interpreters_are_named() {
        let check = |file: &[u8], expect: Option<&str>| assert_eq!(interpreter(file).as_deref(), expect);
        check(b"#!/bin/bash -e\necho", Some("/bin/bash"));
        check(b"#! /usr/bin/env python\r\n", Some("/usr/bin/env"));
        check(b"#!/bin/sh\r\n", Some("/bin/sh"));
        check(b"#!", None);
        check(b"", None);
        check(b"\x7fELF\x02", None);
        let mut elf = vec![0; 200];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        elf[32] = 64;
        elf[56] = 1;
        (elf[64], elf[72], elf[96]) = (3, 150, 8);
        elf[150..158].copy_from_slice(b"/lib/ld\0");
        check(&elf, Some("/lib/ld"));
        elf[72..80].fill(0xff);
        check(&elf, None);
        elf[32..40].fill(0xff);
        check(&elf, None);
    }
}

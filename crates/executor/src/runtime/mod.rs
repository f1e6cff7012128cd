//! The executor that hands a process to an OCI runtime (`runc`, `crun`).
//!
//! Knows nothing of how the runtime does it. Weaker than our own executor in these ways: small files, secrets among
//! them, are on disk in a private directory while the step runs; stubs below bind mounts stay; an exit code above 128
//! may stand for a signal. A change of the terminal's size does not reach the step.

mod config;

use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio as ChildStdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::{UnmountFlags, unmount};
use serde_json::Value;

use self::config::{Extras, NamedMount};
use crate::cgroup::{Meter, check_parent};
use crate::init::device;
use crate::init::exec::account;
use crate::init::rootfs::{hostname, hosts};
use crate::init::tree::{Missing, Tree};
use crate::init::user::Account;
use crate::namespaces::describe;
use crate::wire::{SourceSpec, Spec};
use crate::{DeviceNode, Error, ErrorKind, Executor, Exit, Output, Process, Result, Running};

/// How often is looked whether the runtime has started the process; it takes ten times as long.
const POLL: Duration = Duration::from_millis(1);
/// Names of the mounts in a bundle begin so.
const BOUND: &str = "bound-";
/// Bytes of the runtime's log shown in an error.
const MAX_LOG: usize = 4096;

/// Distinguishes the steps of this process.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Runs processes with an OCI runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    program: PathBuf,
    state: PathBuf,
}

impl Runtime {
    /// `program` is the runtime; bundles and its state are kept under `state_dir` while a process runs.
    pub fn new(program: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), state: state_dir.into() }
    }
}

impl Executor for Runtime {
    fn start(&self, process: Process) -> Result<Box<dyn Running>> {
        let path = process.root.clone();
        let root = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| Error::io(format!("cannot open the root {}", path.display()), e.into()))?;
        check_parent(&process.limits)?;
        let meter = Meter::of_host();
        let limits = process.limits.clone();
        let (spec, mut fds, output) = describe(process, root)?;
        let root = if fds.is_empty() { None } else { Some(fds.remove(0)) };
        let mut tree = Tree::new(root.ok_or_else(|| Error::new(ErrorKind::Io, "the step has no root"))?);
        let (streams, pty) = match spec.pty {
            Some(size) => terminal(size)?,
            None => (fds.drain(..fds.len().min(3)).collect(), None),
        };
        let bundle = Bundle::create(self)?;
        let extras = Extras { limits, id: bundle.id.clone(), ..Extras::default() };
        match launch(&bundle, &mut tree, &path, &Step { spec: &spec, fds: &fds, extras }, streams) {
            Ok(child) => Contained { bundle, tree, child, _sources: fds, output, pty, meter, exit: None }.started(),
            Err(error) => {
                bundle.remove();
                tree.remove_unmounted_stubs();
                Err(error)
            }
        }
    }
}

/// A terminal of the host as the runtime's streams, and its controlling end. The runtime makes another inside, of the
/// same size, and copies between the two.
fn terminal((rows, cols): (u16, u16)) -> Result<(Vec<OwnedFd>, Option<OwnedFd>)> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let failed = |e: rustix::io::Errno| Error::io("cannot open a terminal", e.into());
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controlling = openpt(flags).map_err(failed)?;
    unlockpt(&controlling).map_err(failed)?;
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&controlling, size).map_err(failed)?;
    let open = || ioctl_tiocgptpeer(&controlling, flags).map_err(failed);
    Ok((vec![open()?, open()?, open()?], Some(controlling)))
}

/// A step as it is written down.
struct Step<'s> {
    spec: &'s Spec,
    fds: &'s [OwnedFd],
    extras: Extras,
}

/// Writes everything down and starts the runtime.
fn launch(bundle: &Bundle, tree: &mut Tree, root: &Path, step: &Step<'_>, streams: Vec<OwnedFd>) -> Result<Child> {
    let spec = step.spec;
    let (mounts, devices) = bundle.mounts(spec, step.fds)?;
    let extras = Extras { devices, limits: step.extras.limits.clone(), id: step.extras.id.clone() };
    let account = prepare(tree, spec, &mounts)?;
    let text = config::config(&root.to_string_lossy(), spec, &account, &mounts, &extras);
    bundle.write("config.json", text.to_string().as_bytes(), (0o600, 0, 0))?;
    bundle.spawn(streams)
}

/// Makes the working directory and the mount targets of the root, and looks the user up.
fn prepare(tree: &mut Tree, spec: &Spec, mounts: &[NamedMount]) -> Result<Account> {
    if !spec.cwd.starts_with('/') {
        return Err(Error::new(ErrorKind::Process, format!("the working directory {:?} is not absolute", spec.cwd)));
    }
    for target in ["/proc", "/sys", "/dev"] {
        tree.resolve(target, Missing::StubDirectory)?;
    }
    for mount in mounts {
        let directory = mount.kind == "tmpfs" || Path::new(&mount.source).is_dir();
        tree.resolve(&mount.target, if directory { Missing::StubDirectory } else { Missing::StubFile })?;
    }
    tree.resolve(&spec.cwd, Missing::Make)?;
    account(&spec.user, tree)
}

/// The directory a runtime reads a step from.
#[derive(Clone, Debug)]
struct Bundle {
    program: PathBuf,
    state: PathBuf,
    dir: PathBuf,
    id: String,
}

impl Bundle {
    fn create(runtime: &Runtime) -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("cooper-{}-{number}", std::process::id());
        let dir = runtime.state.join(&id);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(runtime.state.join("state"));
        made.and_then(|()| DirBuilder::new().mode(0o700).create(&dir))
            .map_err(|e| Error::io(format!("cannot make {}", dir.display()), e))?;
        Ok(Self { program: runtime.program.clone(), state: runtime.state.join("state"), dir, id })
    }

    fn write(&self, name: &str, content: &[u8], (mode, uid, gid): (u32, u32, u32)) -> Result<()> {
        use std::io::Write;
        let path = self.dir.join(name);
        let failed = |e| Error::io(format!("cannot write {}", path.display()), e);
        let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = options.map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).map_err(|e| failed(e.into()))
    }

    /// The mounts of a step by name. What a descriptor holds is mounted once more in the bundle: the runtime has another
    /// mount namespace, which can take over mounts but not descriptors of this one.
    fn mounts(&self, spec: &Spec, fds: &[OwnedFd]) -> Result<(Vec<NamedMount>, Vec<Value>)> {
        let (mut all, mut devices) = (Vec::new(), Vec::new());
        let mut file = |name: &str, target: &str, content: &[u8], owner| -> Result<()> {
            self.write(name, content, owner)?;
            let source = self.dir.join(name).to_string_lossy().into_owned();
            all.push(bind(target, source, true));
            Ok(())
        };
        file("hosts", "/etc/hosts", hosts(spec)?.as_bytes(), (0o644, 0, 0))?;
        file("hostname", "/etc/hostname", format!("{}\n", hostname(spec)).as_bytes(), (0o644, 0, 0))?;
        if let Some(content) = &spec.resolv_conf {
            file("resolv.conf", "/etc/resolv.conf", content, (0o644, 0, 0))?;
        }
        let mut fds = fds.iter();
        for (number, mount) in spec.mounts.iter().enumerate() {
            match &mount.source {
                SourceSpec::Bytes { content, mode, uid, gid } => {
                    self.write(&number.to_string(), content, (*mode, *uid, *gid))?;
                    let source = self.dir.join(number.to_string()).to_string_lossy().into_owned();
                    all.push(bind(&mount.target, source, true));
                }
                SourceSpec::Bind => {
                    let fd =
                        fds.next().ok_or_else(|| Error::new(ErrorKind::Io, "a descriptor of the step is missing"))?;
                    let source = self.dir.join(format!("{BOUND}{number}"));
                    show(fd, &source)
                        .map_err(|e| Error::io(format!("cannot mount the source of {}", mount.target), e))?;
                    all.push(bind(&mount.target, source.to_string_lossy().into_owned(), mount.readonly));
                }
                SourceSpec::Device(node) => devices.push(shown_device(&mount.target, fds.next(), node)?),
                SourceSpec::Tmpfs(size) => all.push(tmpfs(&mount.target, *size, mount.readonly)),
            }
        }
        Ok((all, devices))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).arg("--log").arg(self.dir.join("log")).env_clear();
        command
    }

    fn spawn(&self, streams: Vec<OwnedFd>) -> Result<Child> {
        let failed = |e| Error::caused(ErrorKind::Host, format!("cannot run {}", self.program.display()), e);
        let mut command = self.command();
        command.arg("run").arg("--bundle").arg(&self.dir).arg("--pid-file").arg(self.dir.join("pid"));
        let mut streams = streams.into_iter();
        let mut stream = || streams.next().map_or_else(ChildStdio::null, ChildStdio::from);
        command.stdin(stream()).stdout(stream()).stderr(stream());
        command.arg(&self.id).spawn().map_err(failed)
    }

    fn kill(&self, signal: i32) {
        let mut command = self.command();
        command.arg("kill").arg(&self.id).arg(signal.to_string());
        // Fails if the step has ended, which is as well.
        let _ended = command.stdin(ChildStdio::null()).stdout(ChildStdio::null()).stderr(ChildStdio::null()).status();
    }

    fn remove(&self) {
        let mut command = self.command();
        command.args(["delete", "--force"]).arg(&self.id);
        // The runtime has removed its state itself unless it was killed.
        let _none = command.stdin(ChildStdio::null()).stdout(ChildStdio::null()).stderr(ChildStdio::null()).status();
        // Never with a mount in it: what is shown there is not ours to remove.
        if self.unbind().is_ok() {
            let _gone = std::fs::remove_dir_all(&self.dir);
        }
    }

    /// Ends the mounts of [`show`]. A mount point that is still one cannot be removed, which is an error here.
    fn unbind(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(BOUND.as_bytes()) {
                continue;
            }
            let path = entry.path();
            // Refused if it was never mounted.
            let _never = unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            std::fs::remove_dir(&path).or_else(|_| std::fs::remove_file(&path))?;
        }
        Ok(())
    }

    /// Why the runtime did not start the step.
    fn refusal(&self) -> Error {
        let log = crate::enter::read(&self.dir.join("log").to_string_lossy());
        let text = log.lines().last().unwrap_or("it gave no reason");
        let text = &text[..text.floor_char_boundary(MAX_LOG)];
        // runc's log has a time and a level as well; crun's is the reason alone.
        let quoted = text.split_once(" msg=\"").map(|(_, reason)| reason.trim_end_matches('"').replace("\\\"", "\""));
        let text = quoted.as_deref().unwrap_or(text);
        let what = format!("{} refused the step: {text}", self.program.display());
        if text.contains("cgroups in hybrid mode") {
            return Error::new(ErrorKind::Host, what)
                .with_hint("this crun needs a pure cgroup hierarchy: use runc, or cooper's own executor");
        }
        Error::new(kind_of(text), what)
    }
}

/// The kind of a runtime's reason: runc and crun only give words, which both take from the kernel and from Go's library.
fn kind_of(reason: &str) -> ErrorKind {
    let reason = reason.to_ascii_lowercase();
    let of = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
    if of(&["exec format", "permission denied", "is a directory"]) {
        return ErrorKind::NotExecutable;
    }
    if of(&["executable file", "no such file or directory"]) { ErrorKind::NoProgram } else { ErrorKind::Host }
}

/// A device the runtime is to make a node for. One outside of /dev would stay in the layer.
fn shown_device(target: &str, fd: Option<&OwnedFd>, node: &DeviceNode) -> Result<Value> {
    let fd = fd.ok_or_else(|| Error::new(ErrorKind::Io, "a descriptor of the step is missing"))?;
    let stat = rustix::fs::fstat(fd).map_err(|e| Error::io(format!("cannot look at the device {target}"), e.into()))?;
    let shown = config::device_node(target, &stat, node).filter(|_| target.starts_with("/dev/"));
    shown.ok_or_else(|| {
        Error::new(ErrorKind::Process, format!("{target} is no device below /dev, which is all a runtime can show"))
    })
}

/// Mounts what `fd` holds on a new file or directory of ours.
fn show(fd: &OwnedFd, at: &Path) -> std::io::Result<()> {
    let tree = device::clone(fd.as_fd(), true)?;
    match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
        FileType::Directory => DirBuilder::new().mode(0o700).create(at)?,
        _ => drop(std::fs::File::create_new(at)?),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(at, flags, Mode::empty())?;
    Ok(device::attach(tree.as_fd(), target.as_fd())?)
}

fn bind(target: &str, source: String, readonly: bool) -> NamedMount {
    let access = if readonly { "ro" } else { "rw" };
    NamedMount {
        target: target.into(),
        source,
        kind: "bind",
        options: ["rbind", "nodev", access].map(String::from).into(),
    }
}

fn tmpfs(target: &str, size: Option<u64>, readonly: bool) -> NamedMount {
    let mut options: Vec<String> = ["nosuid", "nodev", "mode=1777"].map(String::from).into();
    options.extend(size.map(|bytes| format!("size={bytes}")));
    options.extend(readonly.then(|| "ro".to_owned()));
    NamedMount { target: target.into(), source: "tmpfs".into(), kind: "tmpfs", options }
}

/// A step that an OCI runtime runs.
#[derive(Debug)]
struct Contained {
    bundle: Bundle,
    tree: Tree,
    child: Child,
    /// Held because the runtime was given their names.
    _sources: Vec<OwnedFd>,
    output: Option<Output>,
    pty: Option<OwnedFd>,
    meter: Meter,
    exit: Option<Exit>,
}

impl Contained {
    /// Waits until the runtime has started the process or given up.
    fn started(mut self) -> Result<Box<dyn Running>> {
        let failed = |e| Error::io("cannot wait for the runtime", e);
        loop {
            // Looked at first: a process may have started and ended since.
            let ended = self.child.try_wait().map_err(failed)?.is_some();
            if self.bundle.dir.join("pid").exists() {
                return Ok(Box::new(self));
            }
            if ended {
                return Err(self.bundle.refusal());
            }
            std::thread::sleep(POLL);
        }
    }

    fn clean_up(&mut self) {
        self.bundle.remove();
        self.tree.remove_unmounted_stubs();
    }
}

impl Running for Contained {
    fn take_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    fn take_pty(&mut self) -> Option<OwnedFd> {
        self.pty.take()
    }

    fn killer(&self) -> Result<Box<dyn Fn(i32) + Send + Sync>> {
        let bundle = self.bundle.clone();
        Ok(Box::new(move |signal| bundle.kill(signal)))
    }

    fn wait(&mut self) -> Result<Exit> {
        use std::os::unix::process::ExitStatusExt;
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let status = self.child.wait().map_err(|e| Error::io("cannot wait for the runtime", e))?;
        let signal = status.signal().unwrap_or(libc::SIGKILL);
        let killed = status.code().is_none_or(|code| code == 128 + libc::SIGKILL);
        let exit = match killed && self.meter.ran_out() {
            true => Exit::OutOfMemory,
            false => status.code().map_or(Exit::Signal(signal), Exit::Code),
        };
        self.exit = Some(exit);
        self.clean_up();
        Ok(exit)
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        if self.exit.is_none() {
            self.bundle.kill(libc::SIGKILL);
            let _ended = self.child.wait();
            self.clean_up();
        }
    }
}

//! Programs of other processors: what the kernel (binfmt_misc) has been told to run them with.
//!
//! Knows nothing of images. Names of architectures are Go's, as everywhere outside the kernel.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::enter::{find, read};
use crate::init::exec::interpreter;
use crate::subid::mapped_from_zero;
use crate::{Error, ErrorKind, Result};

/// Where the kernel lists its registrations.
const REGISTRATIONS: &str = "/proc/sys/fs/binfmt_misc";

/// Registrations looked at; Debian's packages make some thirty.
const REGISTRATIONS_MAX: usize = 1000;

/// Bytes of an ELF header that registrations look at.
const HEADER: usize = 20;

/// Bytes of an emulator that tell whether it needs a loader.
const PROGRAM_HEADERS: u64 = 4096;

/// A kind of processor: Go's name, QEMU's, whether it is a 64-bit and a big-endian one, and its number in ELF files.
struct Processor(&'static str, &'static str, bool, bool, u16);

const PROCESSORS: [Processor; 14] = [
    Processor("386", "i386", false, false, 3),
    Processor("amd64", "x86_64", true, false, 62),
    Processor("arm", "arm", false, false, 40),
    Processor("arm64", "aarch64", true, false, 183),
    Processor("loong64", "loongarch64", true, false, 258),
    Processor("mips", "mips", false, true, 8),
    Processor("mips64", "mips64", true, true, 8),
    Processor("mips64le", "mips64el", true, false, 8),
    Processor("mipsle", "mipsel", false, false, 8),
    Processor("ppc64", "ppc64", true, true, 21),
    Processor("ppc64le", "ppc64le", true, false, 21),
    Processor("riscv64", "riscv64", true, false, 243),
    Processor("s390x", "s390x", true, true, 22),
    Processor("sparc64", "sparc64", true, true, 43),
];

/// A program that runs those of another processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// The processor, as in a platform (`arm64`).
    pub architecture: &'static str,
    /// The program.
    pub interpreter: PathBuf,
    /// The kernel holds it open (flag `F`), so that it need not be in the root of a step.
    pub fixed: bool,
}

/// The emulators that are registered, one an architecture.
pub fn emulators() -> Vec<Emulator> {
    registered(Path::new(REGISTRATIONS))
}

/// The emulator of an architecture, if one is registered.
pub fn emulator(architecture: &str) -> Option<Emulator> {
    emulators().into_iter().find(|emulator| emulator.architecture == architecture)
}

fn registered(dir: &Path) -> Vec<Emulator> {
    if read_text(&dir.join("status")).trim() != "enabled" {
        return Vec::new();
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(REGISTRATIONS_MAX);
    let mut rules: Vec<Rule> = entries.filter_map(|entry| Rule::parse(&read_text(&entry.path()))).collect();
    rules.sort_by(|a, b| a.interpreter.cmp(&b.interpreter));
    let emulator = |processor: &Processor| {
        let rule = rules.iter().find(|rule| rule.takes(&processor.header()))?;
        Some(Emulator { architecture: processor.0, interpreter: rule.interpreter.clone(), fixed: rule.fixed })
    };
    PROCESSORS.iter().filter_map(emulator).collect()
}

fn read_text(path: &Path) -> String {
    path.to_str().map(read).unwrap_or_default()
}

impl Processor {
    /// The start of its programs.
    fn header(&self) -> [u8; HEADER] {
        let Self(_, _, wide, big, machine) = *self;
        let mut header = [0; HEADER];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1 + u8::from(big), 1]);
        let number = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        // 2 is an executable file.
        header[16..18].copy_from_slice(&number(2));
        header[18..20].copy_from_slice(&number(machine));
        header
    }

    /// What of the header counts: not its version and ABI, and a shared object (3) may be a program too.
    fn mask(&self) -> [u8; HEADER] {
        let mut mask = [0xff; HEADER];
        mask[7..16].fill(0);
        mask[if self.3 { 17 } else { 16 }] = 0xfe;
        mask
    }
}

/// A registration by magic bytes (the kernel's admin-guide, "binfmt_misc").
#[derive(Debug)]
struct Rule {
    interpreter: PathBuf,
    fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Rule {
    /// `None` for one that is switched off, or that goes by file names.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim()));
        let magic = hex(value("magic ")?)?;
        Some(Self {
            interpreter: value("interpreter ")?.into(),
            fixed: value("flags:")?.contains('F'),
            offset: value("offset ")?.parse().ok()?,
            mask: value("mask ").map_or_else(|| Some(vec![0xff; magic.len()]), hex)?,
            magic,
        })
    }

    fn takes(&self, header: &[u8; HEADER]) -> bool {
        let bytes = self.magic.iter().zip(&self.mask).enumerate();
        self.magic.len() == self.mask.len()
            && !self.magic.is_empty()
            && bytes.into_iter().all(|(at, (magic, mask))| {
                let byte = self.offset.checked_add(at).and_then(|at| header.get(at)).copied().unwrap_or_default();
                byte & mask == magic & mask
            })
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

/// The registrations of this program's own user namespace. They last as long as this is mounted.
static OWN: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Registers the emulators installed in `search` for this program alone. That takes a user namespace and Linux 6.7; where
/// there is none, or no emulator for `architecture`, nothing is done and the answer is false.
///
/// # Errors
/// The kernel refused something it should not.
pub fn register(architecture: &str, search: &[PathBuf]) -> Result<bool> {
    let mut own = OWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let installed = installed(search);
    // The first namespace is everybody's: what is registered there is for the host's administrator to decide.
    let everybody = mapped_from_zero(&read("/proc/self/uid_map")) == u32::MAX;
    let found = installed.iter().any(|(processor, _)| processor.0 == architecture);
    if own.is_some() || everybody || !found {
        return Ok(own.is_some() && found);
    }
    let Some(mount) = own_instance() else { return Ok(false) };
    let failed = |e: std::io::Error| Error::caused(ErrorKind::Host, "cannot register emulators", e);
    for (processor, path) in installed {
        let file = rustix::fs::openat(&mount, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let line = rule(processor, &path);
        File::from(file.map_err(|e| failed(e.into()))?).write_all(&line).map_err(failed)?;
    }
    *own = Some(mount);
    Ok(true)
}

/// An instance that belongs to the user namespace of this program; `None` where the kernel has only one.
fn own_instance() -> Option<OwnedFd> {
    let context = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_create(&context).ok()?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID).ok()
}

/// What is written to `register`. `C`: set-user-id programs keep their meaning; it implies `O`.
fn rule(processor: &Processor, interpreter: &Path) -> Vec<u8> {
    let escaped = |bytes: [u8; HEADER]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let (magic, mask) = (escaped(processor.header()), escaped(processor.mask()));
    format!(":cooper-{}:M::{magic}:{mask}:{}:OCF", processor.0, interpreter.display()).into_bytes()
}

/// Emulators that are there, registered or not, and that need no loader of the root they would be used in. Those that the
/// host has registered come first: a registration of our own hides them.
fn installed(search: &[PathBuf]) -> Vec<(&'static Processor, PathBuf)> {
    let registered = emulators();
    let path = |processor: &Processor| {
        let known = registered.iter().find(|emulator| emulator.architecture == processor.0);
        let named = |suffix: &str| find(search, &format!("qemu-{}{suffix}", processor.1));
        known.map(|known| known.interpreter.clone()).or_else(|| named("-static")).or_else(|| named(""))
    };
    // What the processor executes itself must not go to an emulator.
    let native: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["i386", "x86_64"],
        "aarch64" => &["arm", "aarch64"],
        other => &[other],
    };
    let usable = |processor: &'static Processor| {
        let path = path(processor).filter(|path| is_static(path) && !path.to_string_lossy().contains(':'))?;
        (!native.contains(&processor.1)).then_some((processor, path))
    };
    PROCESSORS.iter().filter_map(usable).collect()
}

/// Architectures for which [`register`] would find an emulator.
pub(crate) fn available(search: &[PathBuf]) -> Vec<&'static str> {
    installed(search).into_iter().map(|(processor, _)| processor.0).collect()
}

fn is_static(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PROGRAM_HEADERS).read_to_end(&mut bytes));
    read.is_ok() && bytes.starts_with(b"\x7fELF") && interpreter(&bytes).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's qemu-user-static registers it.
    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn dir(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in entries {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn found(entries: &[(&str, &str)]) -> Vec<(String, bool)> {
        let dir = dir(entries);
        registered(dir.path()).into_iter().map(|e| (e.architecture.to_owned(), e.fixed)).collect()
    }

    #[test]
    fn registrations_are_known_by_what_they_take() {
        let status = ("status", "enabled\n");
        let arm64 = || vec![("arm64".to_owned(), true)];
        assert_eq!(found(&[status, ("register", ""), ("anything", ARM64)]), arm64());
        let open = ARM64.replace("POCF", "OC");
        assert_eq!(found(&[status, ("qemu-aarch64", &open)]), [("arm64".to_owned(), false)]);
        for off in [ARM64.replace("enabled", "disabled"), ARM64.replace("magic", "extension")] {
            assert_eq!(found(&[status, ("qemu-aarch64", &off)]), [], "{off}");
        }
        assert_eq!(found(&[("status", "disabled\n"), ("qemu-aarch64", ARM64)]), []);
        assert_eq!(found(&[]), []);
        let python = "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic f30d0d0a\n";
        assert_eq!(found(&[status, ("python3", python)]), []);
        for broken in
            ["enabled", "enabled\nmagic zz\n", "enabled\ninterpreter x\nflags: F\noffset 99999999999\nmagic 7f\n"]
        {
            assert_eq!(found(&[status, ("x", broken)]), [], "{broken}");
        }
    }

    #[test]
    fn a_rule_of_ours_takes_the_programs_of_one_processor() {
        for processor in &PROCESSORS {
            let (magic, mask) = (processor.header().to_vec(), processor.mask().to_vec());
            let rule = Rule { interpreter: "/q".into(), fixed: true, offset: 0, magic, mask };
            let taken: Vec<&str> = PROCESSORS.iter().filter(|p| rule.takes(&p.header())).map(|p| p.0).collect();
            assert_eq!(taken, [processor.0]);
        }
    }

    #[test]
    fn the_line_is_the_kernels() {
        let arm64 = PROCESSORS.iter().find(|processor| processor.0 == "arm64").unwrap();
        let line = String::from_utf8(rule(arm64, Path::new("/usr/bin/qemu-aarch64-static"))).unwrap();
        let expect = r":cooper-arm64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:OCF";
        assert_eq!(line, expect);
    }
}

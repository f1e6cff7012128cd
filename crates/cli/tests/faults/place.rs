//! A store, a context and the command, for tests that break things. Knows nothing of the faults.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Steps that write, link, remove, copy between stages, and end in a file made from all of it.
pub(crate) const DOCKERFILE: &str = r#"FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
FROM base AS one
RUN head -c 300000 /dev/zero | tr '\0' 'a' > /one
FROM base
WORKDIR /w
COPY a tree /w/
RUN cat a a > b; mkdir -p d/e; ln -s b d/l; ln b d/h; chmod 600 b; rm f0
COPY --from=one /one /w/one
RUN cat one b > two
"#;

/// Why these tests cannot run here, if they cannot: they need a shell that needs no libraries, and root.
pub(crate) fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    busybox().is_none().then_some("there is no static busybox on this machine")
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| is_static(path))
}

/// An ELF file that names no dynamic loader.
fn is_static(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| !bytes.windows(8).take(8192).any(|part| part == b"ld-linux"))
}

/// The program is on PATH.
pub(crate) fn has_program(name: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Says why a test does nothing here.
macro_rules! skip_if_missing {
    ($($program:expr),*) => {
        if let Some(why) = crate::place::missing() {
            eprintln!("skipped: {why}");
            return;
        }
        $(if !crate::place::has_program($program) {
            eprintln!("skipped: there is no {}", $program);
            return;
        })*
    };
}
pub(crate) use skip_if_missing;

/// A directory with a context; stores are made in it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    /// The store that commands use.
    pub(crate) store: PathBuf,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// It worked.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// It failed as a command does: neither by a signal nor by a panic.
    #[track_caller]
    pub(crate) fn refused(self) -> Self {
        assert!(matches!(self.code, Some(code) if code != 0 && code != 101), "{self:?}");
        self.no_panic()
    }

    #[track_caller]
    pub(crate) fn no_panic(self) -> Self {
        assert!(!self.stderr.contains("panicked") && self.code != Some(101), "{}", self.stderr);
        self
    }

    /// Digest of the image that a build says it made.
    #[track_caller]
    pub(crate) fn built(&self) -> String {
        let line = self.stderr.lines().find_map(|line| line.strip_prefix("built ")).unwrap_or_else(|| {
            panic!("nothing was built: {}", self.stderr);
        });
        line.split_whitespace().next().unwrap_or_default().to_owned()
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { store: dir.path().join("store"), dir };
        let context = place.context();
        std::fs::create_dir_all(context.join("tree/sub")).unwrap();
        std::fs::copy(busybox().unwrap(), context.join("busybox")).unwrap();
        for n in 0..40 {
            std::fs::write(context.join(format!("tree/f{n}")), format!("file {n}\n").repeat(50)).unwrap();
        }
        place.write("Dockerfile", DOCKERFILE);
        place.write("a", "hello\n");
        place
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    /// Writes a file of the context.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.context().join(name), text).unwrap();
    }

    /// The command with these arguments on this store; the environment is empty.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("COOPER_ROOT", &self.store);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn cooper(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// `cooper build` of the context.
    pub(crate) fn build_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(&["build", "--progress", "plain"]);
        command.args(args).arg("context");
        command
    }

    pub(crate) fn build(&self, args: &[&str]) -> Done {
        Done::of(self.build_command(args).output().unwrap())
    }

    /// The digest that a store that knows nothing gives.
    pub(crate) fn cold(&self) -> String {
        let fresh = tempfile::tempdir_in(self.dir.path()).unwrap();
        let output = self.build_command(&[]).env("COOPER_ROOT", fresh.path()).output().unwrap();
        Done::of(output).ok().built()
    }

    #[track_caller]
    pub(crate) fn sound(&self) {
        let done = self.cooper(&["store", "check"]);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    }

    /// Nothing of the store is mounted where this process can see it.
    #[track_caller]
    pub(crate) fn nothing_mounted(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let inside = format!("{}/", self.store.display());
        assert!(!mounts.contains(&inside), "{mounts}");
    }

    /// After everything may go, nothing but the store's own few files is left.
    #[track_caller]
    pub(crate) fn prune_leaves_nothing(&self) {
        self.cooper(&["prune", "-a", "-f"]).ok();
        for dir in ["tmp", "mounts", "leases", "layers"] {
            let left: Vec<_> = std::fs::read_dir(self.store.join(dir)).unwrap().map(|e| e.unwrap().path()).collect();
            assert_eq!(left, Vec::<PathBuf>::new(), "{dir}");
        }
    }
}

/// A small generator: tests print its seed, and the same seed gives the same run.
#[derive(Debug)]
pub(crate) struct Dice(u64);

/// The seed of runs that are given none.
const USUAL_SEED: u64 = 7;

impl Dice {
    /// Seeded from `FAULTS_SEED`, else with the same number every time, so that a run that passed passes again; loop
    /// over seeds by hand to look for more. The seed is printed.
    pub(crate) fn new(what: &str) -> Self {
        let given = std::env::var("FAULTS_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(USUAL_SEED);
        eprintln!("{what}: FAULTS_SEED={seed}");
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end.max(1)
    }
}

/// Every regular file below a directory.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let (mut todo, mut out) = (vec![dir.to_owned()], Vec::new());
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => todo.push(entry.path()),
                kind if kind.is_file() => out.push(entry.path()),
                _ => {}
            }
        }
    }
    out.sort();
    out
}

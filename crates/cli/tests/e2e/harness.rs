//! A store, a context and a home of their own for one test, and the `cooper` command in them.
//!
//! Knows nothing of what is tested.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Debian's busybox-static: every base image is made from it.
const BUSYBOX: &str = "/bin/busybox";

/// The base image's Dockerfile: a shell, two users, a home.
const BASE: &str = r#"FROM scratch
COPY --from=host busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY <<EOF /etc/passwd
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
EOF
COPY <<EOF /etc/group
root:x:0:
app:x:1000:
extra:x:2000:app
EOF
ENV PATH=/bin
CMD ["sh"]
"#;

/// What one call of the command came to.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Out {
    /// The same, if the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// What the command said, if it failed with `code` and put nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        self.stderr
    }

    /// Names of the steps that ran, sorted: neither cached nor exports.
    pub(crate) fn ran(&self) -> Vec<String> {
        self.steps("DONE")
    }

    fn steps(&self, state: &str) -> Vec<String> {
        let ended = |number: &str| {
            let line = format!("{number} {state}");
            self.stderr.lines().any(|other| other == line || other.starts_with(&format!("{line} ")))
        };
        let name = |line: &str| {
            let (number, rest) = line.split_once(' ')?;
            let (_, instruction) = rest.strip_prefix('[')?.split_once("] ")?;
            (number.starts_with('#') && ended(number)).then(|| (instruction.to_owned(), number.to_owned()))
        };
        // A step's title is shown again whenever its output goes on after another's.
        let names: BTreeSet<_> = self.stderr.lines().filter_map(name).collect();
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// One test's world.
pub(crate) struct Cooper {
    dir: tempfile::TempDir,
    pub(crate) env: Vec<(String, String)>,
}

impl Cooper {
    /// A world with the image `base` in the store; nothing, and a printed reason, where the host cannot run steps.
    pub(crate) fn new() -> Option<Self> {
        let cooper = Self::bare()?;
        cooper.make_base("base").ok();
        Some(cooper)
    }

    /// The same with an empty store: for builds from nothing.
    pub(crate) fn bare() -> Option<Self> {
        static HOST: OnceLock<Result<(), String>> = OnceLock::new();
        if let Err(reason) = HOST.get_or_init(probe) {
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(Self::empty())
    }

    /// A world with an empty store: for what runs no step.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["context", "home", "base"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, env: Vec::new() }
    }

    /// Builds the base image under a name.
    pub(crate) fn make_base(&self, name: &str) -> Out {
        self.put("../base/Dockerfile", BASE);
        std::fs::create_dir_all(self.path("../host")).unwrap();
        std::fs::copy(BUSYBOX, self.path("../host/busybox")).unwrap();
        let host = format!("host={}", self.path("../host").display());
        self.run(&["build", "-t", name, "--build-context", &host, self.text("../base").as_str()])
    }

    /// A path relative to the context.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match name.strip_prefix("../") {
            Some(name) => self.dir.path().join(name),
            None => self.dir.path().join("context").join(name),
        }
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The directory of the store.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Writes a file of the context.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Reads a file of the context.
    pub(crate) fn get(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The command, in the world's directory, with nothing of this process's environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cooper"));
        command.args(args).current_dir(self.path("")).env_clear().envs(self.env.iter().cloned());
        command.env("PATH", "/usr/bin:/bin").env("COOPER_ROOT", self.root()).env("HOME", self.dir.path().join("home"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Out {
        self.wait(self.command(args).spawn().unwrap())
    }

    /// Runs the command to its end with this on standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Out {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // A command that does not want its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input);
        self.wait(child)
    }

    /// The end of a command, with this world's paths, digests and times taken out of what it said.
    pub(crate) fn wait(&self, child: Child) -> Out {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Out { code, stdout: text(output.stdout), stderr: self.plain(&text(output.stderr)) }
    }

    /// Text without what differs between two runs of a test.
    pub(crate) fn plain(&self, text: &str) -> String {
        let text = text.replace(self.dir.path().to_str().unwrap(), "[DIR]");
        text.lines().map(|line| format!("{}\n", words(line))).collect()
    }

    /// Builds `dockerfile` in the context.
    pub(crate) fn build(&self, dockerfile: &str, args: &[&str]) -> Out {
        self.put("Dockerfile", dockerfile);
        self.run(&[&["build"], args, &["."]].concat())
    }

    /// What a shell in a container of `image` prints.
    #[track_caller]
    pub(crate) fn sh(&self, image: &str, script: &str) -> String {
        self.run(&["run", image, "sh", "-c", script]).ok().stdout
    }

    /// `inspect`'s answer for one image.
    #[track_caller]
    pub(crate) fn inspect(&self, image: &str) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_str(&self.run(&["inspect", image]).ok().stdout).unwrap();
        value[0].clone()
    }
}

/// Digests and times of one line.
fn words(line: &str) -> String {
    let mut out = String::new();
    for (index, word) in line.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let bare = word.strip_prefix("sha256:").unwrap_or(word);
        let seconds = word.strip_suffix('s').unwrap_or(word);
        let is_time = seconds.split_once('.').is_some_and(|(a, b)| digits(a) && digits(b));
        if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            out.push_str("[DIGEST]");
        } else if is_time && line.starts_with('#') {
            out.push_str("<TIME>");
        } else {
            out.push_str(word);
        }
    }
    out
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this host can build the base image at all.
fn probe() -> Result<(), String> {
    let mut start = [0; 4];
    let elf = std::fs::File::open(BUSYBOX).and_then(|mut file| file.read_exact(&mut start));
    if elf.is_err() || &start != b"\x7fELF" {
        return Err(format!("there is no {BUSYBOX} (Debian: busybox-static)"));
    }
    let out = Cooper::empty().make_base("base");
    if out.code == 0 { Ok(()) } else { Err(format!("this host does not run steps: {}", out.stderr)) }
}

/// Whether a program of the peers is installed; says so if not.
pub(crate) fn installed(program: &str) -> bool {
    let found = ["/usr/bin", "/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(program).exists());
    if !found {
        eprintln!("skipped: there is no {program}");
    }
    found
}

/// Runs a peer; its standard output.
#[track_caller]
pub(crate) fn peer(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

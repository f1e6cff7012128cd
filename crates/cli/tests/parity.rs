//! Builds every case in `cases/` and holds the image against what BuildKit made of it.
//!
//! The `.expected` files come from BuildKit by `parity.py`, except where a case says why it differs: those, and what
//! cooper says to the cases it rejects, are cooper's own.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod kit;

use std::fs;
use std::path::{Path, PathBuf};

use kit::{BUSYBOX, Case, Image, cooper, obstacle, unpack};

/// Builds at once.
const THREADS: usize = 4;

fn cases_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// All cases but the base, as `<instruction>/<name>`.
fn cases() -> Vec<String> {
    let mut out = Vec::new();
    for dir in fs::read_dir(cases_dir()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "case") {
                let name = file.strip_prefix(cases_dir()).unwrap().with_extension("");
                out.push(name.to_str().unwrap().to_owned());
            }
        }
    }
    out.sort();
    out
}

fn read(name: &str, extension: &str) -> String {
    let path = cases_dir().join(format!("{name}.{extension}"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A store, and the base image in a layout.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        let context = bench.dir.path().join("base");
        unpack(&read("base", "case"), &context);
        fs::copy(BUSYBOX, context.join("busybox")).unwrap();
        let output = format!("type=oci,tar=false,dest={}", bench.layout().display());
        let done = cooper(&bench.store()).args(["build", "-o", &output]).arg(&context).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        bench
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn layout(&self) -> PathBuf {
        self.dir.path().join("layout")
    }

    /// What the case comes to: the image as text, or the complaint.
    fn build(&self, name: &str) -> Result<String, String> {
        let work = self.dir.path().join(name);
        let context = work.join("context");
        fs::create_dir_all(&context).unwrap();
        let case = unpack(&read(name, "case"), &context);
        let output = work.join("image");
        let mut command = cooper(&self.store());
        command.args(["build", "--progress=plain", "-o", &format!("type=oci,tar=false,dest={}", output.display())]);
        command.args(["--build-context", &format!("base=oci-layout://{}", self.layout().display())]);
        let done = command.args(arguments(&case, &context)).arg(&context).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).replace(context.to_str().unwrap(), "CONTEXT");
        if !done.status.success() {
            return Err(told);
        }
        let text = Image::open(&output).summary(&Image::open(&self.layout()));
        fs::remove_dir_all(&work).unwrap();
        Ok(text)
    }
}

fn arguments(case: &Case, context: &Path) -> Vec<String> {
    let here = context.display();
    let argument = |(name, value): &(String, String)| {
        let value = match name.as_str() {
            "secret" => value.replace("src=", &format!("src={here}/")),
            "file" => format!("{here}/{value}"),
            "build-context" if !value.contains("://") => value.replacen('=', &format!("={here}/"), 1),
            _ => value.clone(),
        };
        [format!("--{name}"), value]
    };
    case.options.iter().flat_map(argument).collect()
}

/// The complaint without what came before it.
fn message(told: &str) -> String {
    let start = told.find("\nerror: ").map_or(0, |at| at + 1);
    format!("{}\n", told[start..].trim())
}

/// What is wrong with a case.
fn fault(bench: &Bench, name: &str) -> Option<String> {
    let expected = read(name, "expected");
    let got = match (bench.build(name), name.starts_with("rejected/")) {
        (Ok(text), false) => text,
        (Err(told), true) => message(&told),
        (Ok(_), true) => return Some(format!("== {name} is accepted")),
        (Err(told), false) => return Some(format!("== {name} fails\n{told}")),
    };
    (got != expected).then(|| format!("== {name}\n{}", differences(&expected, &got)))
}

fn differences(expected: &str, got: &str) -> String {
    let only = |these: &str, those: &str, sign: &str| -> String {
        these
            .lines()
            .filter(|line| !those.lines().any(|other| other == *line))
            .map(|line| format!("{sign}{line}\n"))
            .collect()
    };
    only(expected, got, "-") + &only(got, expected, "+")
}

#[test]
fn privileged_images_are_those_of_buildkit() {
    if let Some(why) = obstacle() {
        return eprintln!("{why}");
    }
    let (bench, all) = (Bench::new(), cases());
    let faults: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|first| {
                let (bench, all) = (&bench, &all);
                let run =
                    move || all.iter().skip(first).step_by(THREADS).filter_map(|name| fault(bench, name)).collect();
                scope.spawn::<_, Vec<String>>(run)
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), all.len(), faults.join("\n"));
}

#[test]
fn every_case_has_an_expectation_and_the_other_way_round() {
    let all = cases();
    assert!(all.len() > 200, "{} cases", all.len());
    for name in &all {
        assert!(!read(name, "expected").is_empty(), "{name}");
    }
    for dir in fs::read_dir(cases_dir()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            assert!(file.with_extension("case").is_file(), "{} has no case", file.display());
        }
    }
}

#[test]
fn deliberate_differences_are_documented() {
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/differences.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in cases() {
        let case = unpack(&read(&name, "case"), &dir.path().join(&name));
        assert_eq!(case.differs, table.contains(&format!("`{name}`")), "{name} and docs/differences.md do not agree");
    }
}

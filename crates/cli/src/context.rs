//! Finds what a build's arguments mean: the context, the Dockerfile and the ignore file, with errors that say what to do.
//!
//! Knows nothing of what is in them, and fetches nothing.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cooper_engine::{DockerfileSource, GitSource, without_password};

use crate::error::{CommandError, CommandResult};
use crate::session::Sent;

/// Largest Dockerfile or ignore file read: a hundred times the largest known; protects the parser.
const TEXT_MAX: u64 = 1 << 20;

/// Bytes of standard input that tell an archive from a Dockerfile: one tar header.
const HEAD: u64 = 512;

/// Where the main context is.
#[derive(Debug)]
pub(crate) enum Place {
    /// A directory, canonical.
    Directory(PathBuf),
    /// A git repository.
    Git(GitSource),
    /// An address.
    Http(String),
    /// An archive on standard input.
    Archive(Sent),
    /// Nowhere: there is only a Dockerfile.
    Empty,
}

/// What a build starts from.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// The main context.
    pub(crate) context: Place,
    /// Where the Dockerfile is.
    pub(crate) dockerfile_source: DockerfileSource,
    /// The Dockerfile's name: for messages, or to find it in the context.
    pub(crate) name: String,
    /// Its text, if it is here.
    pub(crate) dockerfile: String,
    /// Text and name of the ignore file.
    pub(crate) ignore: Option<(String, String)>,
}

impl Inputs {
    /// What two builds of the same thing have in common.
    pub(crate) fn key(&self) -> String {
        match &self.context {
            Place::Directory(dir) => dir.to_string_lossy().into_owned(),
            Place::Git(git) => git.shown(),
            Place::Http(url) => without_password(url.split('?').next().unwrap_or_default()),
            Place::Archive(_) | Place::Empty => "-".to_owned(),
        }
    }
}

/// Looks up what `cooper build -f FILE PATH` means; `-` is `stdin`.
pub(crate) fn find(path: &str, file: Option<&str>, stdin: Box<dyn Read + Send>) -> CommandResult<Inputs> {
    if path == "-" {
        return from_stdin(file, stdin);
    }
    if let Some(git) = repository(path)? {
        return remote(Place::Git(git), file, stdin);
    }
    if is_address(path) {
        return remote(Place::Http(path.to_owned()), file, stdin);
    }
    let context = directory(path)?;
    let beside = match file {
        None => Some(default_dockerfile(&context, path)?),
        Some("-") => None,
        Some(file) => Some(PathBuf::from(file)).filter(|_| !is_address(file)),
    };
    let ignore = ignore_file(&context, beside.as_deref())?;
    let name = |found: &Path| found.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut inputs = match (file, &beside) {
        (None, Some(found)) => local(name(found), read_file(found)?),
        (Some(file), _) => dockerfile(file, stdin)?,
        (None, None) => return Err(CommandError::failure(format!("there is no Dockerfile in `{path}`"))),
    };
    (inputs.context, inputs.ignore) = (Place::Directory(context), ignore);
    Ok(inputs)
}

/// A context that is fetched. `-f` names a file of it, unless that is absolute, an address, or standard input.
fn remote(context: Place, file: Option<&str>, stdin: Box<dyn Read + Send>) -> CommandResult<Inputs> {
    let inputs = match file {
        Some(file) if file == "-" || file.starts_with('/') || is_address(file) => dockerfile(file, stdin)?,
        file => Inputs {
            dockerfile_source: DockerfileSource::Context,
            ..local(file.unwrap_or_default().to_owned(), String::new())
        },
    };
    Ok(Inputs { context, ..inputs })
}

/// Standard input is an archive, which is the context, or else a Dockerfile, which needs none.
fn from_stdin(file: Option<&str>, mut stdin: Box<dyn Read + Send>) -> CommandResult<Inputs> {
    if file == Some("-") {
        return Err(CommandError::usage("standard input cannot be both the context and the Dockerfile"));
    }
    let mut head = Vec::new();
    let cannot = |error| CommandError::failure("cannot read standard input").with_source(error);
    stdin.as_mut().take(HEAD).read_to_end(&mut head).map_err(cannot)?;
    let is_archive = cooper_oci::detect(&head).is_some();
    let whole: Box<dyn Read + Send> = Box::new(Cursor::new(head).chain(stdin));
    if is_archive {
        return remote(Place::Archive(Sent(Mutex::new(Some(whole)))), file, Box::new(std::io::empty()));
    }
    if let Some(file) = file {
        let error =
            CommandError::usage("standard input is no archive, so it is the Dockerfile, but `-f` names another");
        return Err(error.with_hint(format!("leave out `-f {file}`, or send an archive: `tar -c . | cooper build -`")));
    }
    dockerfile("-", whole)
}

/// The Dockerfile that `-f` names outside of a fetched context.
fn dockerfile(file: &str, mut stdin: Box<dyn Read + Send>) -> CommandResult<Inputs> {
    if file == "-" {
        return Ok(local("<stdin>".to_owned(), read_text(&mut stdin, "the Dockerfile on standard input")?));
    }
    if is_address(file) {
        let source = DockerfileSource::Http(file.to_owned());
        return Ok(Inputs { dockerfile_source: source, ..local(file.to_owned(), String::new()) });
    }
    if let Some(git) = repository(file)? {
        let error = CommandError::usage(format!(
            "a Dockerfile in a repository (`{}`) needs the repository as the context",
            git.shown()
        ));
        return Err(error.with_hint("cooper build -f FILE URL.git#REF"));
    }
    Ok(local(file.to_owned(), read_file(Path::new(file))?))
}

/// A Dockerfile with its text, and no context.
fn local(name: String, dockerfile: String) -> Inputs {
    Inputs { context: Place::Empty, dockerfile_source: DockerfileSource::Given, name, dockerfile, ignore: None }
}

/// The text of a Dockerfile by itself; `-` is `stdin`.
pub(crate) fn read_dockerfile(file: &str, stdin: &mut dyn Read) -> CommandResult<String> {
    match file {
        "-" => read_text(stdin, "the Dockerfile on standard input"),
        file => read_file(Path::new(file)),
    }
}

/// A local directory given on the command line, canonical.
pub(crate) fn directory(path: &str) -> CommandResult<PathBuf> {
    let canonical = std::fs::canonicalize(path).map_err(|error| {
        CommandError::failure(format!("cannot find the context `{path}`"))
            .with_source(error)
            .with_hint("the last argument of `cooper build` is a directory, usually `.`")
    })?;
    if !canonical.is_dir() {
        let error = CommandError::failure(format!("the context `{path}` is not a directory"));
        return Err(error.with_hint(format!("to name the Dockerfile: `cooper build -f {path} DIR`")));
    }
    Ok(canonical)
}

/// The git repository that a place is; `None` for anything else.
pub(crate) fn repository(place: &str) -> CommandResult<Option<GitSource>> {
    // What is on disk is not to be taken for an address: `github.com/x/y` may be a checkout.
    if Path::new(place).exists() {
        return Ok(None);
    }
    let wrong = |why| CommandError::usage(format!("the context `{}`: {why}", without_password(place)));
    GitSource::parse_context(place).transpose().map_err(wrong)
}

/// An address that is no repository.
pub(crate) fn is_address(place: &str) -> bool {
    (place.starts_with("http://") || place.starts_with("https://")) && GitSource::parse(place).is_none()
}

fn default_dockerfile(context: &Path, path: &str) -> CommandResult<PathBuf> {
    let found = ["Dockerfile", "dockerfile"].map(|name| context.join(name)).into_iter().find(|file| file.exists());
    found.ok_or_else(|| {
        let mut error = CommandError::failure(format!("there is no Dockerfile in `{path}`"));
        for near in similar_names(context) {
            error = error
                .with_hint(format!("there is `{near}`: name it with `-f {}`", Path::new(path).join(&near).display()));
        }
        error.with_hint("name one with `-f FILE`")
    })
}

/// File names in the context that look like a Dockerfile, a few of them, sorted.
fn similar_names(context: &Path) -> Vec<String> {
    let names = std::fs::read_dir(context).into_iter().flatten().flatten();
    let mut similar: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let lower = name.to_ascii_lowercase();
            (lower.contains("dockerfile") || lower == "containerfile") && !lower.ends_with("ignore")
        })
        .collect();
    similar.sort();
    similar.truncate(3);
    similar
}

/// The text of the ignore file at the root of a named context.
pub(crate) fn named_ignore(dir: &Path) -> CommandResult<Option<String>> {
    Ok(ignore_file(dir, None)?.map(|(text, _)| text))
}

/// `<Dockerfile>.dockerignore` replaces the context's own ignore file; the two are never merged.
fn ignore_file(context: &Path, dockerfile: Option<&Path>) -> CommandResult<Option<(String, String)>> {
    let beside = dockerfile.map(|file| {
        let mut name = file.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    let mut candidates = beside.into_iter().chain([context.join(".dockerignore")]);
    let Some(file) = candidates.find(|file| file.is_file()) else { return Ok(None) };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Some((read_file(&file)?, name)))
}

/// The text of a file of at most [`TEXT_MAX`] bytes.
pub(crate) fn read_file(path: &Path) -> CommandResult<String> {
    let shown = path.display();
    let failed = |error| CommandError::failure(format!("cannot read `{shown}`")).with_source(error);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(CommandError::failure(format!("`{shown}` is a directory, not a file")));
    }
    let mut file = std::fs::File::open(path).map_err(failed)?;
    read_text(&mut file, &format!("`{shown}`"))
}

fn read_text(from: &mut dyn Read, what: &str) -> CommandResult<String> {
    let mut bytes = Vec::new();
    from.take(TEXT_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::failure(format!("cannot read {what}")).with_source(error))?;
    if bytes.len() as u64 > TEXT_MAX {
        return Err(CommandError::failure(format!("{what} is larger than {TEXT_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| CommandError::failure(format!("{what} is not UTF-8 text")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn check(files: &[(&str, &str)], file: Option<&str>, expect: Result<(&str, &str, Option<&str>), &str>) {
        let dir = tree(files);
        let path = dir.path().to_str().unwrap();
        let file = file.map(|file| if file == "-" { file.to_owned() } else { format!("{path}/{file}") });
        let found = find(path, file.as_deref(), Box::new(&b"FROM stdin"[..]));
        match (found, expect) {
            (Ok(found), Ok((name, text, ignore))) => {
                assert!(found.name.ends_with(name), "{}", found.name);
                assert_eq!(found.dockerfile, text);
                assert_eq!(found.ignore.as_ref().map(|(text, _)| text.as_str()), ignore);
                let context = std::fs::canonicalize(dir.path()).unwrap();
                assert!(matches!(found.context, Place::Directory(found) if found == context));
            }
            (Err(error), Err(expect)) => assert!(error.message().contains(expect), "{}", error.message()),
            (found, expect) => panic!("{found:?} is not {expect:?}"),
        }
    }

    #[test]
    fn looks_up_the_dockerfile_and_its_ignore_file() {
        let d = ("Dockerfile", "FROM a");
        let root_ignore = (".dockerignore", "root");
        check(&[d], None, Ok(("Dockerfile", "FROM a", None)));
        check(&[("dockerfile", "FROM b")], None, Ok(("dockerfile", "FROM b", None)));
        check(&[d, ("dockerfile", "FROM b")], None, Ok(("Dockerfile", "FROM a", None)));
        check(&[d, root_ignore], None, Ok(("Dockerfile", "FROM a", Some("root"))));
        check(&[d, root_ignore, ("Dockerfile.dockerignore", "own")], None, Ok(("Dockerfile", "FROM a", Some("own"))));
        check(&[("x/My.df", "FROM c"), root_ignore], Some("x/My.df"), Ok(("x/My.df", "FROM c", Some("root"))));
        check(
            &[("x/My.df", "FROM c"), ("x/My.df.dockerignore", "own")],
            Some("x/My.df"),
            Ok(("My.df", "FROM c", Some("own"))),
        );
        check(&[d, root_ignore], Some("-"), Ok(("<stdin>", "FROM stdin", Some("root"))));
    }

    #[test]
    fn says_what_to_do() {
        check(&[], None, Err("hint: name one with `-f FILE`"));
        check(&[("Containerfile", "")], None, Err("hint: there is `Containerfile`"));
        check(&[("app.Dockerfile", "")], None, Err("hint: there is `app.Dockerfile`"));
        check(&[], Some("absent"), Err("cannot read"));
        check(&[("dir/x", "")], Some("dir"), Err("is a directory"));
        check(&[("Dockerfile", &"x".repeat(1 + (1 << 20)))], None, Err("is larger than 1048576 bytes"));
    }

    #[test]
    fn refuses_contexts_it_cannot_read() {
        let dir = tree(&[("file", "")]);
        let file = dir.path().join("file").to_str().unwrap().to_owned();
        for (path, expect) in
            [("no/such/dir", "cannot find the context `no/such/dir`"), (file.as_str(), "is not a directory")]
        {
            let error = directory(path).unwrap_err();
            assert!(error.what.contains(expect), "{path}: {}", error.what);
        }
    }

    /// What `cooper build -f FILE PATH` starts from, in a word, and where its Dockerfile is.
    fn place(path: &str, file: Option<&str>, stdin: &'static [u8]) -> String {
        let found = match find(path, file, Box::new(stdin)) {
            Ok(found) => found,
            Err(error) => return error.message(),
        };
        let key = found.key();
        let context = match found.context {
            Place::Directory(_) => "directory",
            Place::Git(_) => "git",
            Place::Http(_) => "http",
            Place::Archive(_) => "archive",
            Place::Empty => "empty",
        };
        let dockerfile = match found.dockerfile_source {
            DockerfileSource::Given => format!("text {:?} of {}", found.dockerfile, found.name),
            DockerfileSource::Context => format!("file {:?}", found.name),
            DockerfileSource::Http(url) => url,
        };
        format!("{context} {key}: {dockerfile}")
    }

    #[test]
    fn contexts_that_are_fetched_or_sent() {
        let tar: &[u8] = b"\x1f\x8b\x08 and more";
        let text: &[u8] = b"FROM x";
        for (path, file, stdin, expect) in [
            ("https://u:p@h/a.git#main:d", None, text, "git https://h/a.git#main:d: file \"\""),
            ("git@h:a", Some("x/Dockerfile"), text, "git git@h:a: file \"x/Dockerfile\""),
            ("https://h/a.git", Some("-"), text, "git https://h/a.git: text \"FROM x\" of <stdin>"),
            ("https://h/a.git", Some("https://h/D"), text, "git https://h/a.git: https://h/D"),
            ("github.com/a/b", None, text, "git https://github.com/a/b: file \"\""),
            ("https://u:p@h/a.tgz?token=x", None, text, "http https://h/a.tgz: file \"\""),
            ("-", None, tar, "archive -: file \"\""),
            ("-", Some("D"), tar, "archive -: file \"D\""),
            ("-", None, text, "empty -: text \"FROM x\" of <stdin>"),
            ("-", Some("D"), text, "error: standard input is no archive"),
            ("-", Some("-"), text, "error: standard input cannot be both"),
            (
                "https://h/a.git#-x",
                None,
                text,
                "error: the context `https://h/a.git#-x`: `-x` is not the name of a branch",
            ),
            ("https://h/a.tgz", Some("/no/such/file"), text, "error: cannot read `/no/such/file`"),
        ] {
            let found = place(path, file, stdin);
            assert!(found.starts_with(expect), "{path} {file:?}: {found}");
        }
    }

    #[test]
    fn a_dockerfile_may_be_anywhere() {
        let dir = tree(&[("Dockerfile", "FROM a")]);
        let path = dir.path().to_str().unwrap();
        assert!(place(path, Some("https://h/D"), b"").ends_with(": https://h/D"));
        assert!(place(path, Some("https://h/a.git#main"), b"").contains("needs the repository as the context"));
    }

    #[test]
    fn a_dockerfile_that_is_not_text_is_refused() {
        let error = read_text(&mut &b"\xff\xfe"[..], "it").unwrap_err();
        assert_eq!(error.what, "it is not UTF-8 text");
    }
}

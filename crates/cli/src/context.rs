//! Finds the build's context, Dockerfile and ignore file on disk, with errors that say what to do.
//!
//! Knows nothing of what is in them.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{CommandError, CommandResult};

/// Largest Dockerfile or ignore file read: a hundred times the largest known; protects the parser.
const TEXT_MAX: u64 = 1 << 20;

/// What a build starts from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// The context directory, canonical.
    pub(crate) context: PathBuf,
    /// The Dockerfile's name, for messages.
    pub(crate) name: String,
    /// Its text.
    pub(crate) dockerfile: String,
    /// Text and name of the ignore file.
    pub(crate) ignore: Option<(String, String)>,
}

/// Looks up what `cooper build -f FILE PATH` means; `-f -` reads the Dockerfile from `stdin`.
pub(crate) fn find(path: &str, file: Option<&str>, stdin: &mut dyn Read) -> CommandResult<Inputs> {
    let context = directory(path)?;
    let (name, dockerfile, beside) = match file {
        Some("-") => ("<stdin>".to_owned(), read_text(stdin, "the Dockerfile on standard input")?, None),
        Some(file) => {
            refuse_remote(file, "a Dockerfile")?;
            (file.to_owned(), read_file(Path::new(file))?, Some(PathBuf::from(file)))
        }
        None => {
            let found = default_dockerfile(&context, path)?;
            let name = found.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (name, read_file(&found)?, Some(found))
        }
    };
    let ignore = ignore_file(&context, beside.as_deref())?;
    Ok(Inputs { context, name, dockerfile, ignore })
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
    if path == "-" {
        return Err(CommandError::failure("a context on standard input is not supported yet")
            .with_hint("to read only the Dockerfile from there: `cooper build -f - .`"));
    }
    refuse_remote(path, "a context")?;
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

fn refuse_remote(path: &str, what: &str) -> CommandResult {
    let remote = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    if remote.iter().any(|prefix| path.starts_with(prefix)) {
        let error = CommandError::failure(format!("{what} from a remote address (`{path}`) is not supported yet"));
        return Err(error.with_hint("clone or download it first"));
    }
    Ok(())
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
        let found = find(path, file.as_deref(), &mut &b"FROM stdin"[..]);
        match (found, expect) {
            (Ok(found), Ok((name, text, ignore))) => {
                assert!(found.name.ends_with(name), "{}", found.name);
                assert_eq!(found.dockerfile, text);
                assert_eq!(found.ignore.as_ref().map(|(text, _)| text.as_str()), ignore);
                assert_eq!(found.context, std::fs::canonicalize(dir.path()).unwrap());
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
        for (path, expect) in [
            ("-", "standard input is not supported yet"),
            ("https://example.invalid/x.git", "not supported yet"),
            ("git@example.invalid:x", "not supported yet"),
            ("no/such/dir", "cannot find the context `no/such/dir`"),
            (file.as_str(), "is not a directory"),
        ] {
            let error = directory(path).unwrap_err();
            assert!(error.what.contains(expect), "{path}: {}", error.what);
        }
    }

    #[test]
    fn a_dockerfile_that_is_not_text_is_refused() {
        let error = read_text(&mut &b"\xff\xfe"[..], "it").unwrap_err();
        assert_eq!(error.what, "it is not UTF-8 text");
    }
}

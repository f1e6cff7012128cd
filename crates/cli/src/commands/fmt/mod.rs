//! `cooper fmt`: Dockerfiles in their one form.
//!
//! Knows nothing of what that form is: the Dockerfile crate does.

use clap::Args;

use crate::commands::check::{diff, files_of, write_file};
use crate::context;
use crate::error::{CommandError, CommandResult, Kind};
use crate::output::{data, note};
use crate::surroundings::Surroundings;

/// Format Dockerfiles: case of keywords, blanks, indentation of continuations, blank lines
///
/// Comments, here-documents, quoted text and the words of commands stay as they are. Where blanks of a RUN change, its step runs
/// once more.
#[derive(Args, Clone, Debug)]
pub(crate) struct Fmt {
    /// Dockerfiles, directories that hold some, or `-` from standard input to standard output [default: the current directory]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<String>,

    /// Write nothing; name the files that would change, and exit with 1 if there are any
    #[arg(long)]
    pub(crate) check: bool,

    /// Write nothing; print what would change
    #[arg(long)]
    pub(crate) diff: bool,
}

/// Formats.
pub(crate) fn run(args: &Fmt, _at: &Surroundings) -> CommandResult {
    let result = format_all(args);
    result.map_err(|error| if error.kind == Kind::Failure { error.with_kind(Kind::Usage) } else { error })
}

fn format_all(args: &Fmt) -> CommandResult {
    let mut changed = 0;
    for path in files_of(&args.paths)? {
        changed += usize::from(format_one(args, &path)?);
    }
    match args.check && changed > 0 {
        true => Err(CommandError::new(Kind::Silent(1), "files would change")),
        false => Ok(()),
    }
}

/// Formats a file; true if that changes it.
fn format_one(args: &Fmt, path: &str) -> CommandResult<bool> {
    let before = context::read_dockerfile(path, &mut std::io::stdin())?;
    let after = cooper_dockerfile::format(&before).map_err(|errors| {
        let name = crate::sanitise::line(path);
        let mut error = CommandError::failure(format!("`{name}` cannot be read, and is left as it is"));
        error.excerpt = Some(cooper_dockerfile::render(&errors, &name, &before, false).into());
        error
    })?;
    let changes = after != before;
    match (args.diff, args.check, path) {
        (true, ..) if changes => data(&diff(path, &before, &after))?,
        (true, ..) => {}
        (_, true, _) if changes => data(&format!("{}\n", crate::sanitise::line(path)))?,
        (_, true, _) => {}
        (.., "-") => data(&after)?,
        _ if changes => {
            write_file(std::path::Path::new(path), after.as_bytes())?;
            note(&format!("formatted `{path}`"));
        }
        _ => {}
    }
    Ok(changes)
}

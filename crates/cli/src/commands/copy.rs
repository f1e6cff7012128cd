//! `cooper copy`: images between any two places, one or many.
//!
//! Knows nothing of how they are moved.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use cooper_engine::{Carry, Location};
use cooper_oci::{Platform, Reference};

use crate::error::{CommandError, CommandResult, Kind};
use crate::progress::{Mode, Progress};
use crate::surroundings::Surroundings;
use crate::{engine_calls, open, output};

/// Lines of a list; a larger one is a mistake.
const LIST_MAX: usize = 100_000;

/// Copy images between registries, the store, directories, archives and docker engines
///
/// A place is `NAME` or `docker://NAME` (a registry), `store:NAME`, `oci:DIR[:TAG]`, `dir:DIR`, `oci-archive:FILE[:NAME]`,
/// `docker-archive:FILE[:NAME]` or `docker-daemon:NAME`. Every platform is copied unless one is named; what is there
/// already is not sent again.
#[derive(Args, Clone, Debug)]
pub(crate) struct Copy {
    /// Where the image is
    #[arg(value_name = "SRC", value_parser = place, required_unless_present = "list", conflicts_with = "list")]
    pub(crate) from: Option<Location>,

    /// Where it goes
    #[arg(value_name = "DST", value_parser = place, required_unless_present = "list", conflicts_with = "list")]
    pub(crate) to: Option<Location>,

    /// Copy many: a file with `SRC DST` on each line, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) list: Option<PathBuf>,

    /// Only the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,

    /// Copy signatures, SBOMs and other statements about the image too
    #[arg(long)]
    pub(crate) referrers: bool,

    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// How progress is shown.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// How progress is shown
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) progress: Option<Mode>,

    /// Show only errors
    #[arg(short, long, conflicts_with = "progress")]
    pub(crate) quiet: bool,
}

/// Copies.
pub(crate) async fn run(args: &Copy, at: &Surroundings) -> CommandResult {
    let pairs = match (&args.list, &args.from, &args.to) {
        (Some(file), _, _) => list(file)?,
        (None, Some(from), Some(to)) => vec![(from.clone(), to.clone())],
        _ => return Err(CommandError::usage("copy needs a source and a destination")),
    };
    let carry_one = |(from, to)| Carry { from, to, platform: args.platform.clone(), referrers: args.referrers };
    let work: Vec<Carry> = pairs.into_iter().map(carry_one).collect();
    carry(&work, &args.shown, at).await
}

/// Does the work and shows it; an interrupt stops it.
pub(crate) async fn carry(work: &[Carry], shown: &Shown, at: &Surroundings) -> CommandResult {
    let mode = if shown.quiet { Mode::None } else { shown.progress.unwrap_or(Mode::Auto) };
    let colours = !at.environment.is_set("NO_COLOR");
    let progress = Arc::new(Progress::start(mode.fold(output::stderr_is_terminal(), colours)));
    let carried = tokio::select! {
        carried = engine_calls::carry(at, work, &*progress) => carried,
        code = crate::terminal::interrupted() => Err(CommandError::new(Kind::Code(code), "stopped")),
    };
    progress.finish();
    carried.map(drop)
}

/// All images of a repository, by its tags.
pub(crate) async fn tags_of(name: &Reference, at: &Surroundings) -> CommandResult<Vec<Reference>> {
    let tags = open::client(at)?.repository(name).tags().await?;
    let named = |tag: String| format!("{}/{}:{tag}", name.registry(), name.repository()).parse();
    tags.into_iter().map(named).collect::<Result<_, cooper_oci::Error>>().map_err(|error| {
        CommandError::failure(format!("the tags of `{}` cannot be used", name.familiar())).with_source(error)
    })
}

/// `SRC DST` a line; empty lines and `#` comments are passed over.
fn list(file: &std::path::Path) -> CommandResult<Vec<(Location, Location)>> {
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin().lock()),
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|error| {
        CommandError::failure(format!("cannot read the list `{}`", file.display())).with_source(error)
    })?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).take(LIST_MAX);
    lines.map(|(number, line)| pair(line).map_err(|why| at_line(file, number, why))).collect()
}

fn pair(line: &str) -> Result<(Location, Location), String> {
    let [from, to] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("a line is `SRC DST`".into());
    };
    Ok((place(from)?, place(to)?))
}

/// A place; clap prints no hints, so they are part of what is wrong.
fn place(text: &str) -> Result<Location, String> {
    text.parse::<Location>().map_err(|error| match error.hints.is_empty() {
        true => error.to_string(),
        false => format!("{error} ({})", error.hints.join("; ")),
    })
}

fn at_line(file: &std::path::Path, number: usize, why: String) -> CommandError {
    CommandError::usage(format!("{}:{number}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_two_places_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("list");
        std::fs::write(&file, "# all\n\na:1 store:a:1\n b  oci:x:1 \n").unwrap();
        let shown: Vec<String> = list(&file).unwrap().iter().map(|(from, to)| format!("{from} {to}")).collect();
        assert_eq!(shown, ["a:1 store:a:1", "b:latest oci:x:1"]);
        std::fs::write(&file, "a b\na\n").unwrap();
        let error = list(&file).unwrap_err();
        assert!(error.what.ends_with(":2: a line is `SRC DST`"), "{}", error.what);
    }
}

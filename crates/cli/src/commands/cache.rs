//! `cooper cache`: the cache mounts of RUN steps, to and from where they are kept.
//!
//! Knows nothing of how they are packed or sent.

use std::sync::Arc;

use clap::{Args, Subcommand};
use cooper_engine::{CachePlace, ListedMount, MountChoice, MountDate};
use serde_json::json;

use super::build::caches::{MOUNTS_MAX_SIZE, Side, kept_at};
use super::copy::Shown;
use super::{Format, print_json_lines, prune};
use crate::error::{CommandError, CommandResult, Kind};
use crate::progress::{Mode, Progress};
use crate::surroundings::Surroundings;
use crate::{engine_calls, human, output, sanitise};

/// Keep the cache mounts of RUN steps elsewhere, and bring them back
///
/// A place is a registry's `NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE`, or `type=..` as in `build --cache-to`. A build does
/// the same by itself with `--cache-to ..,mounts=all` and `--cache-from ..`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cache {
    #[command(subcommand)]
    action: Action,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
enum Action {
    List(List),
    Export(Export),
    Import(Import),
}

/// List the cache mounts of the store, or those that a place has
#[derive(Args, Clone, Debug)]
struct List {
    /// A place; the store without
    #[arg(value_name = "PLACE")]
    place: Option<String>,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Write cache mounts to a place, beside those it has; only what it lacks is sent
#[derive(Args, Clone, Debug)]
struct Export {
    /// Ids of the cache mounts, and the place last
    #[arg(value_name = "ID|PLACE", required = true)]
    ids_and_place: Vec<String>,

    /// All cache mounts of the store
    #[arg(long)]
    all: bool,

    /// Size of the files of each mount; over it, those used least recently stay behind
    #[arg(long, value_name = "SIZE")]
    max_size: Option<String>,

    #[command(flatten)]
    shown: Shown,
}

/// Restore cache mounts from a place
///
/// A mount that is missing or empty is made; one that was restored before and not used since is brought up to date. One that
/// steps have written to stays as it is, unless --replace is given.
#[derive(Args, Clone, Debug)]
struct Import {
    /// The place
    #[arg(value_name = "PLACE")]
    place: String,

    /// Ids of the cache mounts; all without
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// Replace mounts that steps have written to
    #[arg(long)]
    replace: bool,

    #[command(flatten)]
    shown: Shown,
}

/// Does it.
pub(crate) async fn run(args: &Cache, at: &Surroundings) -> CommandResult {
    match &args.action {
        Action::List(args) => list(args, at).await,
        Action::Export(args) => export(args, at).await,
        Action::Import(args) => import(args, at).await,
    }
}

async fn list(args: &List, at: &Surroundings) -> CommandResult {
    let engine = engine_calls::plain(at)?;
    let mounts = match &args.place {
        None => cooper_engine::list_mounts(&engine).await?,
        Some(place) => cooper_engine::list_kept_mounts(&engine, &kept_at(place, Side::From, &at.environment)?).await?,
    };
    match args.format {
        Format::Table => output::data(&table(&mounts, human::now())),
        Format::Json => print_json_lines(mounts.iter().map(object)),
    }
}

fn table(mounts: &[ListedMount], now: i64) -> String {
    let cells = |mount: &ListedMount| {
        let date = match &mount.date {
            MountDate::Used(used) => human::ago(Some(*used), now),
            MountDate::Kept(date) => human::ago(human::parse_date(date), now),
        };
        vec![sanitise::line(&mount.id), sanitise::line(&mount.key), human::size(mount.size), date]
    };
    let when = if mounts.iter().any(|mount| matches!(mount.date, MountDate::Kept(_))) { "KEPT" } else { "LAST USED" };
    human::table(&["ID", "KEY", "SIZE", when], &mounts.iter().map(cells).collect::<Vec<_>>())
}

fn object(mount: &ListedMount) -> serde_json::Value {
    let (used, kept) = match &mount.date {
        MountDate::Used(used) => (Some(human::date(*used)), None),
        MountDate::Kept(kept) => (None, Some(kept)),
    };
    json!({"ID": mount.id, "Key": mount.key, "Size": mount.size, "LastUsedAt": used, "KeptAt": kept})
}

async fn export(args: &Export, at: &Surroundings) -> CommandResult {
    let (choice, place) = parse_export(args, at)?;
    let max_size = args.max_size.as_deref().map_or(Ok(MOUNTS_MAX_SIZE), prune::size)?;
    let engine = engine_calls::plain(at)?;
    let progress = shown(&args.shown, at);
    let work = cooper_engine::export_mounts(&engine, &choice, max_size, &place, &*progress);
    let sent = until_interrupted(work).await;
    progress.finish();
    if sent?.is_empty() && !args.shown.quiet {
        output::note("there is no cache mount to keep");
    }
    Ok(())
}

fn parse_export(args: &Export, at: &Surroundings) -> CommandResult<(MountChoice, CachePlace)> {
    let Some((place, ids)) = args.ids_and_place.split_last() else {
        return Err(CommandError::usage("cache export needs a place"));
    };
    let choice = match (args.all, ids.is_empty()) {
        (true, true) => MountChoice::All,
        (false, false) => MountChoice::Ids(ids.to_vec()),
        (true, false) => return Err(CommandError::usage("cache export takes ids or `--all`, not both")),
        (false, true) => {
            return Err(CommandError::usage("cache export needs the ids of cache mounts before the place")
                .with_hint("`cooper cache list` shows them; `--all` takes all"));
        }
    };
    Ok((choice, kept_at(place, Side::To, &at.environment)?))
}

async fn import(args: &Import, at: &Surroundings) -> CommandResult {
    let place = kept_at(&args.place, Side::From, &at.environment)?;
    let choice = if args.ids.is_empty() { MountChoice::All } else { MountChoice::Ids(args.ids.clone()) };
    let engine = engine_calls::plain(at)?;
    let progress = shown(&args.shown, at);
    let work = cooper_engine::import_mounts(&engine, &place, &choice, args.replace, &*progress);
    let restored = until_interrupted(work).await;
    progress.finish();
    let kept: Vec<_> = restored?.into_iter().filter(|(_, bytes)| bytes.is_none()).map(|(id, _)| id).collect();
    if !kept.is_empty() && !args.shown.quiet {
        let ids = kept.iter().map(|id| format!("`{}`", sanitise::line(id))).collect::<Vec<_>>().join(", ");
        output::note(&format!("left as they are, because they are up to date or steps have used them: {ids}"));
    }
    Ok(())
}

fn shown(shown: &Shown, at: &Surroundings) -> Arc<Progress> {
    let mode = if shown.quiet { Mode::None } else { shown.progress.unwrap_or(Mode::Auto) };
    let colours = !at.environment.is_set("NO_COLOR");
    Arc::new(Progress::start(mode.fold(output::stderr_is_terminal(), colours)))
}

async fn until_interrupted<T>(work: impl Future<Output = cooper_engine::Result<T>>) -> CommandResult<T> {
    tokio::select! {
        done = work => Ok(done?),
        code = crate::terminal::interrupted() => Err(CommandError::new(Kind::Code(code), "stopped")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_say_what_the_date_is() {
        let mount = |date| ListedMount { id: "npm".into(), key: "ab".into(), size: 1000, date };
        let here = table(&[mount(MountDate::Used(0))], 60);
        assert_eq!(here, "ID    KEY   SIZE   LAST USED\nnpm   ab    1kB    about a minute ago\n");
        let there = table(&[mount(MountDate::Kept("1970-01-01T00:00:00Z".into()))], 60);
        assert!(there.contains("KEPT") && there.contains("about a minute ago"), "{there}");
    }
}

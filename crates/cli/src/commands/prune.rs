//! `cooper prune`: frees space.
//!
//! Knows nothing of what refers to what.

use std::io::{BufRead, IsTerminal};

use clap::Args;
use cooper_store::{Kind, PruneOptions};

use crate::error::{CommandError, CommandResult};
use crate::human;
use crate::output;
use crate::sanitise;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// Free space in the store
///
/// Removes what no named image and no running build needs. Named images always stay.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Prune {
    /// Remove the cache of named images as well
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Remove only what matches: `until=24h` (not used since), `type=record`, `id=0123`
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,

    /// Remove the least recently used until the store takes at most this much
    #[arg(long, visible_alias = "keep-storage", value_name = "SIZE")]
    pub(crate) max_used_space: Option<String>,

    /// Keep at least this much, the latest used
    #[arg(long, value_name = "SIZE")]
    pub(crate) reserved_space: Option<String>,

    /// Remove the least recently used until the file system has this much free
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_free_space: Option<String>,

    /// Only say what would go
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Asks, then prunes.
pub(crate) fn run(args: &Prune, at: &Surroundings) -> CommandResult {
    let options = options(args, human::now())?;
    if !args.force && !args.dry_run && !confirmed(&options)? {
        return Ok(());
    }
    let report = store_calls::prune(at, &options)?;
    let line =
        |kind: Kind, id: &str, bytes| format!("{}   {}   {}\n", kind.as_str(), sanitise::line(id), human::size(bytes));
    let list: String = report.removed.iter().map(|gone| line(gone.kind, &gone.id, gone.bytes)).collect();
    report.left.iter().for_each(|left| output::note(&format!("warning: {}", sanitise::line(left))));
    let words = if args.dry_run { "Reclaimable space" } else { "Total reclaimed space" };
    output::data(&format!("{list}{words}: {}\n", human::size(report.bytes)))
}

fn options(args: &Prune, now: i64) -> CommandResult<PruneOptions> {
    let mut options = PruneOptions {
        all: args.all,
        dry_run: args.dry_run,
        max_used_bytes: args.max_used_space.as_deref().map(size).transpose()?,
        reserved_bytes: args.reserved_space.as_deref().map(size).transpose()?,
        min_free_bytes: args.min_free_space.as_deref().map(size).transpose()?,
        ..PruneOptions::default()
    };
    for text in &args.filters {
        match text.split_once('=') {
            Some(("until", value)) => options.unused_for_secs = Some(unused_for(value, now)?),
            Some(("type", value)) => options.kinds.push(kind(value)?),
            Some(("id", value)) => options.ids.push(value.to_owned()),
            _ => {
                let error = CommandError::usage(format!("--filter `{text}` is not supported"));
                return Err(error.with_hint("the filters are `until=DURATION|DATE`, `type=KIND` and `id=PREFIX`"));
            }
        }
    }
    Ok(options)
}

pub(super) fn size(text: &str) -> CommandResult<u64> {
    let error = || CommandError::usage(format!("`{text}` is not a size")).with_hint("such as 20GB");
    human::parse_size(text).ok_or_else(error)
}

/// BuildKit's names of its kinds are understood where there is such a thing here.
fn kind(text: &str) -> CommandResult<Kind> {
    const KINDS: [Kind; 6] = [Kind::Record, Kind::Layer, Kind::Blob, Kind::Image, Kind::CacheMount, Kind::Leftover];
    let text = match text {
        "exec.cachemount" => "cachemount",
        "regular" => "record",
        other => other,
    };
    KINDS.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.as_str()).collect();
        CommandError::usage(format!("there is no kind `{text}`"))
            .with_hint(format!("the kinds are {}", known.join(", ")))
    })
}

/// Seconds from a duration, or since a date or a moment in seconds since 1970.
pub(super) fn unused_for(text: &str, now: i64) -> CommandResult<i64> {
    let duration = human::parse_duration(text).map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    let moment = human::parse_date(text).or_else(|| text.parse().ok());
    let seconds = duration.or_else(|| moment.map(|moment: i64| now.saturating_sub(moment).max(0)));
    seconds.ok_or_else(|| {
        CommandError::usage(format!("`until={text}` is neither a duration nor a date"))
            .with_hint("such as `until=24h` or `until=2026-01-31T00:00:00Z`")
    })
}

fn confirmed(options: &PruneOptions) -> CommandResult<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let error = CommandError::usage("prune asks before it removes, and there is nobody to ask");
        return Err(error.with_hint("add --force"));
    }
    let more = if options.all { ", and the cache of named images" } else { "" };
    output::note(&format!("This will remove all that no named image and no running build needs{more}. Go on? [y/N]"));
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|error| CommandError::failure("cannot read the answer").with_source(error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(filters: &[&str], space: Option<&str>) -> Prune {
        let filters = filters.iter().map(|text| (*text).to_owned()).collect();
        Prune { filters, max_used_space: space.map(str::to_owned), force: true, ..Prune::default() }
    }

    #[test]
    fn filters() {
        for (filters, space, expect) in [
            (&[][..], None, (None, vec![], None)),
            (&["until=1h"], None, (Some(3600), vec![], None)),
            (&["until=1970-01-01T00:00:05Z"], None, (Some(9995), vec![], None)),
            (&["until=77"], None, (Some(9923), vec![], None)),
            (&["until=20000"], None, (Some(0), vec![], None)),
            (
                &["type=exec.cachemount", "type=blob"],
                Some("2GB"),
                (None, vec![Kind::CacheMount, Kind::Blob], Some(2_000_000_000)),
            ),
        ] {
            let made = options(&args(filters, space), 10_000).unwrap();
            assert_eq!((made.unused_for_secs, made.kinds, made.max_used_bytes), expect, "{filters:?}");
        }
        for (filters, space) in [
            (&["until=soon"][..], None),
            (&["colour=red"], None),
            (&["x"], None),
            (&["type=x"], None),
            (&[], Some("much")),
        ] {
            let error = options(&args(filters, space), 0).unwrap_err();
            assert!(!error.hints.is_empty(), "{filters:?} {space:?}");
        }
    }
}

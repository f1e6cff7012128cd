//! `cooper prune`: frees space.
//!
//! Knows nothing of what refers to what.

use std::io::{BufRead, IsTerminal};

use clap::Args;

use crate::engine_calls;
use crate::error::{CommandError, CommandResult};
use crate::human;
use crate::output;
use crate::rows::PruneRequest;
use crate::sanitise;
use crate::surroundings::Surroundings;

/// Free space in the store
///
/// Removes what nothing refers to; with `--all`, the cache of every build as well.
#[derive(Args, Clone, Debug)]
pub(crate) struct Prune {
    /// Remove everything that no named image needs
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Remove only what matches: `until=24h` (not used since), `type=record`
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,

    /// Remove the least recently used until the store takes at most this much
    #[arg(long = "max-used-space", visible_alias = "keep-storage", value_name = "SIZE")]
    pub(crate) max_used_space: Option<String>,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Asks, then prunes.
pub(crate) async fn run(args: &Prune, at: &Surroundings) -> CommandResult {
    let request = request(args, human::now())?;
    if !args.force && !confirmed(&request)? {
        return Ok(());
    }
    let pruned = engine_calls::prune(at, &request).await?;
    let list: String = pruned.removed.iter().map(|id| sanitise::line(id) + "\n").collect();
    output::data(&format!("{list}Total reclaimed space: {}\n", human::size(pruned.bytes)))
}

fn request(args: &Prune, now: i64) -> CommandResult<PruneRequest> {
    let mut request = PruneRequest { all: args.all, ..PruneRequest::default() };
    for text in &args.filters {
        match text.split_once('=') {
            Some(("until", value)) => request.unused_since = Some(moment(value, now)?),
            Some(("type", value)) => request.kinds.push(value.to_owned()),
            _ => {
                let error = CommandError::usage(format!("--filter `{text}` is not supported"));
                return Err(error.with_hint("the filters are `until=DURATION|DATE` and `type=KIND` (see `cooper du`)"));
            }
        }
    }
    if let Some(text) = &args.max_used_space {
        let bytes = human::parse_size(text);
        let bytes =
            bytes.ok_or_else(|| CommandError::usage(format!("`{text}` is not a size")).with_hint("such as 20GB"))?;
        request.keep_bytes = Some(bytes);
    }
    Ok(request)
}

/// A duration before now, a date, or seconds since 1970.
fn moment(text: &str, now: i64) -> CommandResult<i64> {
    let duration =
        human::parse_duration(text).map(|d| now.saturating_sub(i64::try_from(d.as_secs()).unwrap_or(i64::MAX)));
    let moment = duration.or_else(|| human::parse_date(text)).or_else(|| text.parse().ok());
    moment.ok_or_else(|| {
        CommandError::usage(format!("`until={text}` is neither a duration nor a date"))
            .with_hint("such as `until=24h` or `until=2026-01-31T00:00:00Z`")
    })
}

fn confirmed(request: &PruneRequest) -> CommandResult<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(
            CommandError::usage("prune asks before it removes, and there is nobody to ask").with_hint("add --force")
        );
    }
    let what = if request.all { "all that no named image needs" } else { "all that nothing refers to" };
    output::note(&format!("This will remove {what}. Go on? [y/N]"));
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
        Prune { all: false, filters, max_used_space: space.map(str::to_owned), force: true }
    }

    #[test]
    fn filters() {
        for (filters, space, expect) in [
            (&[][..], None, PruneRequest::default()),
            (&["until=1h"], None, PruneRequest { unused_since: Some(6400), ..PruneRequest::default() }),
            (&["until=1970-01-01T00:00:05Z"], None, PruneRequest { unused_since: Some(5), ..PruneRequest::default() }),
            (&["until=77"], None, PruneRequest { unused_since: Some(77), ..PruneRequest::default() }),
            (
                &["type=record", "type=blob"],
                Some("2GB"),
                PruneRequest {
                    kinds: vec!["record".into(), "blob".into()],
                    keep_bytes: Some(2_000_000_000),
                    ..PruneRequest::default()
                },
            ),
        ] {
            assert_eq!(request(&args(filters, space), 10_000).unwrap(), expect, "{filters:?}");
        }
        for (filters, space) in
            [(&["until=soon"][..], None), (&["colour=red"], None), (&["x"], None), (&[], Some("much"))]
        {
            let error = request(&args(filters, space), 0).unwrap_err();
            assert!(!error.hints.is_empty(), "{filters:?} {space:?}");
        }
    }
}

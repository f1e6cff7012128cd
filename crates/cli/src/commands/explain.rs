//! `cooper explain`: why each step of a build was not cached.
//!
//! Knows nothing of keys; the engine compares them.

use clap::Args;
use serde_json::{Value, json};

use super::{Format, print_json_lines};
use crate::engine_calls;
use crate::error::CommandResult;
use crate::output;
use crate::rows::StepReason;
use crate::sanitise;
use crate::surroundings::Surroundings;

/// Say why steps were not cached
///
/// Without a build, the last one. Each step is compared with its nearest earlier record; with two builds, with the second.
#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    /// Name of the build
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,

    /// The build to compare it with
    #[arg(value_name = "BUILD")]
    pub(crate) against: Option<String>,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Explains.
pub(crate) async fn run(args: &Explain, at: &Surroundings) -> CommandResult {
    let reasons = engine_calls::explain(at, args.build.as_deref(), args.against.as_deref()).await?;
    match args.format {
        Format::Table => output::data(&text(&reasons)),
        Format::Json => print_json_lines(reasons.iter().map(object)),
    }
}

fn text(reasons: &[StepReason]) -> String {
    let mut out = String::new();
    for reason in reasons {
        let state = if reason.cached { "cached    " } else { "not cached" };
        out.push_str(&format!("{state}  {}\n", sanitise::line(&reason.step)));
        if reason.cached {
            continue;
        }
        for (name, before, now) in &reason.changes {
            out.push_str(&format!("            {}\n", change(name, before.as_deref(), now.as_deref())));
        }
        if let Some(note) = &reason.note {
            out.push_str(&format!("            {}\n", sanitise::line(note)));
        }
    }
    out
}

fn change(name: &str, before: Option<&str>, now: Option<&str>) -> String {
    let name = sanitise::line(name);
    match (before.map(sanitise::line), now.map(sanitise::line)) {
        (Some(before), Some(now)) => format!("{name} changed from `{before}` to `{now}`"),
        (None, Some(now)) => format!("{name} is new: `{now}`"),
        (Some(before), None) => format!("{name} is gone: it was `{before}`"),
        (None, None) => format!("{name} differs"),
    }
}

fn object(reason: &StepReason) -> Value {
    let changes: Vec<Value> =
        reason.changes.iter().map(|(name, before, now)| json!({"name": name, "before": before, "now": now})).collect();
    json!({"step": reason.step, "cached": reason.cached, "changes": changes, "note": reason.note})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_as_text() {
        let reason = |cached, changes: &[(&str, Option<&str>, Option<&str>)], note: Option<&str>| StepReason {
            step: "RUN make".into(),
            cached,
            changes: changes
                .iter()
                .map(|(n, b, a)| ((*n).into(), b.map(str::to_owned), a.map(str::to_owned)))
                .collect(),
            note: note.map(str::to_owned),
        };
        let reasons = [
            reason(true, &[], None),
            reason(
                false,
                &[("arg V", Some("1"), Some("2")), ("env A", None, Some("\x1b[2Jx")), ("f", Some("y"), None)],
                None,
            ),
            reason(false, &[], Some("never run before")),
        ];
        let expect = "cached      RUN make\n\
                      not cached  RUN make\n\
                      \x20           arg V changed from `1` to `2`\n\
                      \x20           env A is new: `x`\n\
                      \x20           f is gone: it was `y`\n\
                      not cached  RUN make\n\
                      \x20           never run before\n";
        assert_eq!(text(&reasons), expect);
    }
}

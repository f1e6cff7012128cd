//! `cooper doctor`: what this host gives, and what is weaker without it.
//!
//! Knows nothing of how it is found out.

use clap::Args;
use cooper_executor::{Check, Strength, probe};
use serde_json::{Value, json};

use super::{Format, print_json_lines};
use crate::error::{CommandError, CommandResult};
use crate::human;
use crate::output;
use crate::sanitise;
use crate::surroundings::Surroundings;

/// Show what this host allows, and what is weaker without the rest
#[derive(Args, Clone, Debug)]
pub(crate) struct Doctor {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Looks and tells; something missing is a failure, so that scripts can ask.
pub(crate) fn run(args: &Doctor, at: &Surroundings) -> CommandResult {
    let checks = probe(&at.search_path());
    match args.format {
        Format::Table => output::data(&text(&checks))?,
        Format::Json => print_json_lines(checks.iter().map(object))?,
    }
    let missing = checks.iter().filter(|check| check.ok == Strength::Missing).count();
    match missing {
        0 => Ok(()),
        _ => Err(CommandError::failure(format!("{missing} of {} things are missing on this host", checks.len()))),
    }
}

fn word(strength: Strength) -> &'static str {
    match strength {
        Strength::Ok => "ok",
        Strength::Weaker => "weaker",
        Strength::Missing => "missing",
    }
}

fn text(checks: &[Check]) -> String {
    let cells = |check: &Check| vec![check.name.to_owned(), word(check.ok).to_owned(), sanitise::line(&check.detail)];
    let mut out = human::table(&["WHAT", "STATE", "FOUND"], &checks.iter().map(cells).collect::<Vec<_>>());
    let hints = checks.iter().filter_map(|check| Some((check.name, check.hint.as_ref()?)));
    for (index, (name, hint)) in hints.enumerate() {
        if index == 0 {
            out.push('\n');
        }
        out.push_str(&format!("{name}: {}\n", sanitise::line(hint)));
    }
    out
}

fn object(check: &Check) -> Value {
    json!({"name": check.name, "state": word(check.ok), "detail": check.detail, "hint": check.hint})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_hints_below() {
        let check =
            |name, ok, hint: Option<&str>| Check { name, ok, detail: "d".into(), hint: hint.map(str::to_owned) };
        let checks = [check("overlay", Strength::Ok, None), check("ids", Strength::Weaker, Some("add a range"))];
        let expect = "WHAT      STATE    FOUND\noverlay   ok       d\nids       weaker   d\n\nids: add a range\n";
        assert_eq!(text(&checks), expect);
    }
}

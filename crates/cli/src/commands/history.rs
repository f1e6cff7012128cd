//! `cooper history`: how an image came to be, docker's table.
//!
//! Knows nothing of how the history is found.

use clap::Args;
use serde_json::{Value, json};

use super::{Format, print_json_lines};
use crate::error::CommandResult;
use crate::human;
use crate::output;
use crate::rows::HistoryRow;
use crate::sanitise;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// Show how an image came to be
#[derive(Args, Clone, Debug)]
pub(crate) struct History {
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,

    /// Print only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print whole instructions and ids
    #[arg(long)]
    pub(crate) no_trunc: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Columns of an instruction that is not shown whole, as in docker.
const INSTRUCTION_WIDTH: usize = 45;

/// Shows.
pub(crate) fn run(args: &History, at: &Surroundings) -> CommandResult {
    let rows = store_calls::history(at, &args.image)?;
    if args.quiet {
        return output::data(&rows.iter().map(|row| id(row, args.no_trunc) + "\n").collect::<String>());
    }
    match args.format {
        Format::Table => output::data(&table(&rows, args.no_trunc, human::now())),
        Format::Json => print_json_lines(rows.iter().map(|row| object(row, args.no_trunc, human::now()))),
    }
}

fn id(row: &HistoryRow, whole: bool) -> String {
    row.id.as_ref().map_or_else(|| "<missing>".to_owned(), |id| super::shown_digest(id, whole))
}

fn instruction(row: &HistoryRow, whole: bool) -> String {
    let text = sanitise::line(&row.created_by);
    if whole { text } else { human::fit(&text, INSTRUCTION_WIDTH) }
}

fn table(rows: &[HistoryRow], whole: bool, now: i64) -> String {
    let cells = |row: &HistoryRow| {
        let created = human::ago(row.created, now);
        vec![id(row, whole), created, instruction(row, whole), human::size(row.size), sanitise::line(&row.comment)]
    };
    human::table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows.iter().map(cells).collect::<Vec<_>>())
}

fn object(row: &HistoryRow, whole: bool, now: i64) -> Value {
    json!({
        "ID": id(row, whole),
        "CreatedAt": row.created.map(human::date),
        "CreatedSince": human::ago(row.created, now),
        "CreatedBy": instruction(row, whole),
        "Size": human::size(row.size),
        "SizeBytes": row.size,
        "Comment": row.comment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_as_dockers_and_hostile_instructions_stay_on_their_line() {
        let row = |by: &str| HistoryRow {
            created: Some(0),
            created_by: by.into(),
            size: 1000,
            comment: "c".into(),
            id: None,
        };
        let long = format!("RUN {}", "x".repeat(60));
        let text = table(&[row("RUN a\n\x1b[2Jb"), row(&long)], false, 60);
        let expect = format!(
            "IMAGE       CREATED              CREATED BY                                      SIZE   COMMENT\n\
             <missing>   about a minute ago   RUN a b                                         1kB    c\n\
             <missing>   about a minute ago   RUN {}…   1kB    c\n",
            "x".repeat(40)
        );
        assert_eq!(text, expect);
    }
}

//! `cooper du`: what takes how much space in the store.
//!
//! Knows nothing of how space is counted.

use clap::Args;
use serde_json::{Value, json};

use super::{Format, print_json_lines};
use crate::error::CommandResult;
use crate::human;
use crate::output;
use crate::rows::{Sums, UsageRow};
use crate::sanitise;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// Show how much space the store takes
#[derive(Args, Clone, Debug)]
pub(crate) struct Du {
    /// Print what every entry is
    #[arg(long)]
    pub(crate) verbose: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Shows.
pub(crate) fn run(args: &Du, at: &Surroundings) -> CommandResult {
    let rows = store_calls::usage(at)?;
    match args.format {
        Format::Table => output::data(&table(&rows, &store_calls::sums(at)?, args.verbose, human::now())),
        Format::Json => print_json_lines(rows.iter().map(object)),
    }
}

fn table(rows: &[UsageRow], sums: &Sums, verbose: bool, now: i64) -> String {
    let mut head = vec!["ID", "TYPE", "RECLAIMABLE", "SIZE", "LAST ACCESSED"];
    head.extend(verbose.then_some(["SHARED", "DESCRIPTION"]).into_iter().flatten());
    let cells = |row: &UsageRow| {
        let mut cells = vec![
            sanitise::line(&row.id),
            row.kind.clone(),
            row.reclaimable.to_string(),
            human::size(row.size),
            row.used.map(|used| human::ago(Some(used), now)).unwrap_or_default(),
        ];
        if verbose {
            cells.extend([human::size(row.shared), sanitise::line(&row.description)]);
        }
        cells
    };
    let mut out = human::table(&head, &rows.iter().map(cells).collect::<Vec<_>>());
    // Not the sums of the column: what several rows are made of is in the store once.
    let (reclaimable, total) = (human::size(sums.reclaimable), human::size(sums.total));
    out.push_str(&format!("Reclaimable:  {reclaimable}\nTotal:        {total}\n"));
    out
}

fn object(row: &UsageRow) -> Value {
    json!({
        "ID": row.id,
        "Type": row.kind,
        "Reclaimable": row.reclaimable,
        "Size": row.size,
        "Shared": row.shared,
        "LastUsedAt": row.used.map(human::date),
        "Description": row.description,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_sums() {
        let row = |id: &str, reclaimable, size| UsageRow {
            id: id.into(),
            kind: "layer".into(),
            size,
            shared: 0,
            reclaimable,
            used: Some(0),
            description: "RUN make".into(),
        };
        let sums = Sums { reclaimable: 500, total: 2500 };
        let text = table(&[row("a", true, 1000), row("b", false, 2000)], &sums, true, 60);
        let expect = "ID   TYPE    RECLAIMABLE   SIZE   LAST ACCESSED        SHARED   DESCRIPTION\n\
                      a    layer   true          1kB    about a minute ago   0B       RUN make\n\
                      b    layer   false         2kB    about a minute ago   0B       RUN make\n\
                      Reclaimable:  500B\nTotal:        2.5kB\n";
        assert_eq!(text, expect);
    }
}

//! `cooper images`: docker's table of the images in the store.
//!
//! Knows nothing of how images are kept.

use clap::Args;
use serde_json::{Value, json};

use super::{Format, print_json_lines, shown_digest};
use crate::error::CommandResult;
use crate::human;
use crate::output;
use crate::rows::ImageRow;
use crate::store_calls;
use crate::surroundings::Surroundings;

/// List the images in the store
#[derive(Args, Clone, Debug)]
pub(crate) struct Images {
    /// Only images of this name (`REPOSITORY` or `REPOSITORY:TAG`)
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Show images that have lost their names as well
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Print only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print whole ids
    #[arg(long)]
    pub(crate) no_trunc: bool,

    /// Show the digests of manifests
    #[arg(long)]
    pub(crate) digests: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Lists.
pub(crate) fn run(args: &Images, at: &Surroundings) -> CommandResult {
    let mut rows = store_calls::images(at)?;
    rows.retain(|row| is_wanted(args, row));
    // docker: newest first; by name among equals, so that the order never depends on the store.
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)).then_with(|| a.id.cmp(&b.id)));
    if args.quiet {
        let mut seen = std::collections::HashSet::new();
        let ids = rows.iter().filter(|row| seen.insert(&row.id));
        return output::data(&ids.map(|row| shown_digest(&row.id, args.no_trunc) + "\n").collect::<String>());
    }
    match args.format {
        Format::Table => output::data(&table(args, &rows, human::now())),
        Format::Json => print_json_lines(rows.iter().map(|row| object(row, args.no_trunc, human::now()))),
    }
}

fn is_wanted(args: &Images, row: &ImageRow) -> bool {
    match (&args.name, &row.name) {
        (None, name) => args.all || name.is_some(),
        (Some(_), None) => false,
        (Some(wanted), Some(name)) => {
            let repository = repository(row);
            let full = format!("{}/{}", name.registry(), name.repository());
            [repository.clone(), full, name.familiar(), name.to_string()].contains(wanted)
        }
    }
}

fn repository(row: &ImageRow) -> String {
    let Some(name) = &row.name else { return "<none>".into() };
    let full = format!("{}/{}", name.registry(), name.repository());
    full.strip_prefix("docker.io/library/").or_else(|| full.strip_prefix("docker.io/")).unwrap_or(&full).to_owned()
}

fn tag(row: &ImageRow) -> String {
    row.name.as_ref().and_then(|name| name.tag()).unwrap_or("<none>").to_owned()
}

fn table(args: &Images, rows: &[ImageRow], now: i64) -> String {
    let mut head = vec!["REPOSITORY", "TAG"];
    if args.digests {
        head.push("DIGEST");
    }
    head.extend(["IMAGE ID", "CREATED", "SIZE"]);
    let cells = |row: &ImageRow| {
        let mut cells = vec![repository(row), tag(row)];
        if args.digests {
            cells.push(row.digest.to_string());
        }
        let id = shown_digest(&row.id, args.no_trunc);
        cells.extend([id, human::ago(row.created, now), human::size(row.size)]);
        cells
    };
    human::table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn object(row: &ImageRow, whole: bool, now: i64) -> Value {
    json!({
        "Repository": repository(row),
        "Tag": tag(row),
        "ID": shown_digest(&row.id, whole),
        "Digest": row.digest.to_string(),
        "CreatedAt": row.created.map(human::date),
        "CreatedSince": human::ago(row.created, now),
        "Size": human::size(row.size),
        "SizeBytes": row.size,
    })
}

#[cfg(test)]
mod tests {
    use cooper_oci::Digest;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn args() -> Images {
        Images { name: None, all: false, quiet: false, no_trunc: false, digests: false, format: Format::Table }
    }

    fn row(name: Option<&str>) -> ImageRow {
        let name = name.map(|name| name.parse().unwrap());
        ImageRow { name, digest: Digest::of(b"m"), id: Digest::of(b"c"), created: Some(NOW - 7200), size: 7_800_000 }
    }

    #[test]
    fn a_table_as_dockers() {
        let rows = [row(Some("alpine:3")), row(Some("localhost:5000/a/b")), ImageRow { created: None, ..row(None) }];
        let expect = "REPOSITORY           TAG      IMAGE ID       CREATED       SIZE\n\
                      alpine               3        2e7d2c03a950   2 hours ago   7.8MB\n\
                      localhost:5000/a/b   latest   2e7d2c03a950   2 hours ago   7.8MB\n\
                      <none>               <none>   2e7d2c03a950   N/A           7.8MB\n";
        assert_eq!(table(&args(), &rows, NOW), expect);
    }

    #[test]
    fn names_are_matched_as_a_person_writes_them() {
        for (wanted, expect) in [
            ("alpine", true),
            ("alpine:3", true),
            ("docker.io/library/alpine", true),
            ("docker.io/library/alpine:3", true),
            ("alp", false),
            ("alpine:4", false),
        ] {
            let args = Images { name: Some(wanted.into()), ..args() };
            assert_eq!(is_wanted(&args, &row(Some("alpine:3"))), expect, "{wanted}");
        }
        assert!(!is_wanted(&args(), &row(None)));
        assert!(is_wanted(&Images { all: true, ..args() }, &row(None)));
    }
}

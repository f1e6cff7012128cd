//! `cooper images`: docker's table of the images in the store.
//!
//! Knows nothing of how images are kept.

use clap::Args;
use serde_json::{Value, json};

use super::{print_json_lines, shown_digest};
use crate::csv;
use crate::error::{CommandError, CommandResult};
use crate::human;
use crate::output;
use crate::rows::ImageRow;
use crate::sanitise;
use crate::store_calls;
use crate::surroundings::Surroundings;
use crate::template::Template;

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

    /// Only images that match: `reference=PATTERN`, `label=KEY[=VALUE]`, `dangling=true|false`, `before=IMAGE`,
    /// `since=IMAGE`, `until=DURATION|DATE`
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<String>,

    /// How to print: `table`, `json`, or text with fields, such as `{{.Repository}}:{{.Tag}}`
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
}

/// The fields of `--format`, and their heads in a table.
const FIELDS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("Digest", "DIGEST"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
];

/// Lists.
pub(crate) fn run(args: &Images, at: &Surroundings) -> CommandResult {
    let created = |text: &str| store_calls::created(at, text);
    let filters: Vec<Filter> =
        args.filters.iter().map(|text| Filter::parse(text, human::now(), &created)).collect::<CommandResult<_>>()?;
    let template = match args.format.as_str() {
        "table" | "json" => None,
        text => Some(Template::parse(text, FIELDS)?),
    };
    let mut rows = store_calls::images(at)?;
    rows.retain(|row| is_wanted(args, &filters, row));
    // docker: newest first; by name among equals, so that the order never depends on the store.
    rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)).then_with(|| a.id.cmp(&b.id)));
    if args.quiet {
        let mut seen = std::collections::HashSet::new();
        let ids = rows.iter().filter(|row| seen.insert(&row.id));
        return output::data(&ids.map(|row| shown_digest(&row.id, args.no_trunc) + "\n").collect::<String>());
    }
    let now = human::now();
    let mut objects = rows.iter().map(|row| object(row, args.no_trunc, now));
    match template {
        Some(template) => output::data(&sanitise::text(&template.render(&objects.collect::<Vec<_>>(), FIELDS))),
        None if args.format == "json" => print_json_lines(objects.by_ref()),
        None => output::data(&table(args, &rows, now)),
    }
}

fn is_wanted(args: &Images, filters: &[Filter], row: &ImageRow) -> bool {
    let nameless = args.all || filters.iter().any(|filter| matches!(filter, Filter::Dangling(true)));
    let named = match (&args.name, &row.name) {
        (None, name) => nameless || name.is_some(),
        (Some(_), None) => false,
        (Some(wanted), Some(_)) => spellings(row).iter().any(|name| matches(wanted, name)),
    };
    // Of several patterns one is enough, as docker has it.
    let (patterns, others): (Vec<_>, Vec<_>) =
        filters.iter().partition(|filter| matches!(filter, Filter::Reference(_)));
    let pattern = patterns.is_empty() || patterns.iter().any(|filter| filter.takes(row));
    named && pattern && others.iter().all(|filter| filter.takes(row))
}

/// One `--filter`.
#[derive(Debug)]
enum Filter {
    Reference(String),
    Label(String, Option<String>),
    Dangling(bool),
    /// Made before this moment.
    Before(i64),
    /// Made after it.
    Since(i64),
}

impl Filter {
    fn parse(text: &str, now: i64, created: &dyn Fn(&str) -> CommandResult<i64>) -> CommandResult<Self> {
        match text.split_once('=') {
            Some(("reference", pattern)) => Ok(Self::Reference(pattern.to_owned())),
            Some(("label", label)) => Ok(match label.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(label.to_owned(), None),
            }),
            Some(("dangling", value)) => csv::switch("dangling", Some(value)).map(Self::Dangling),
            Some(("before", image)) => created(image).map(Self::Before),
            Some(("since", image)) => created(image).map(Self::Since),
            Some(("until", value)) => {
                super::prune::unused_for(value, now).map(|seconds| Self::Before(now.saturating_sub(seconds)))
            }
            _ => {
                let error = CommandError::usage(format!("--filter `{text}` is not supported"));
                Err(error.with_hint("the filters are reference, label, dangling, before, since and until"))
            }
        }
    }

    fn takes(&self, row: &ImageRow) -> bool {
        match self {
            Self::Reference(pattern) => spellings(row).iter().any(|name| matches(pattern, name)),
            Self::Label(key, None) => row.labels.contains_key(key),
            Self::Label(key, value) => row.labels.get(key) == value.as_ref(),
            Self::Dangling(dangling) => row.name.is_none() == *dangling,
            Self::Before(moment) => row.created.is_some_and(|created| created < *moment),
            Self::Since(moment) => row.created.is_some_and(|created| created > *moment),
        }
    }
}

/// The ways a person writes an image's name.
fn spellings(row: &ImageRow) -> Vec<String> {
    let Some(name) = &row.name else { return Vec::new() };
    let full = format!("{}/{}", name.registry(), name.repository());
    vec![repository(row), full, name.familiar(), name.to_string()]
}

/// Go's path.Match without classes, which no name needs: `*` and `?` stand for anything but a slash.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on if what followed the last `*` does not match: it takes one byte more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') if name[n] != b'/' => (p, n) = (p + 1, n + 1),
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) if name[taken] != b'/' => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
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
        Images {
            name: None,
            all: false,
            quiet: false,
            no_trunc: false,
            digests: false,
            filters: Vec::new(),
            format: "table".into(),
        }
    }

    fn row(name: Option<&str>) -> ImageRow {
        let name = name.map(|name| name.parse().unwrap());
        let labels = [("stage".to_owned(), "test".to_owned())].into();
        let (digest, id) = (Digest::of(b"m"), Digest::of(b"c"));
        ImageRow { name, digest, id, created: Some(NOW - 7200), size: 7_800_000, labels }
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
            assert_eq!(is_wanted(&args, &[], &row(Some("alpine:3"))), expect, "{wanted}");
        }
        assert!(!is_wanted(&args(), &[], &row(None)));
        assert!(is_wanted(&Images { all: true, ..args() }, &[], &row(None)));
    }

    #[test]
    fn filters() {
        let created = |text: &str| if text == "old" { Ok(NOW - 9000) } else { Ok(NOW) };
        let wanted = |filters: &[&str], name: Option<&str>| {
            let parse = |text: &&str| Filter::parse(text, NOW, &created).unwrap();
            is_wanted(&args(), &filters.iter().map(parse).collect::<Vec<_>>(), &row(name))
        };
        for (filters, name, expect) in [
            (&["reference=alp*"][..], Some("alpine:3"), true),
            (&["reference=alpine:?"], Some("alpine:3"), true),
            (&["reference=*"], Some("a/b"), false),
            (&["reference=*/*"], Some("a/b"), true),
            (&["reference=b*"], Some("alpine:3"), false),
            (&["reference=b*", "reference=a*"], Some("alpine:3"), true),
            (&["reference=a*", "label=stage=x"], Some("alpine:3"), false),
            (&["label=stage"], Some("a"), true),
            (&["label=stage=test"], Some("a"), true),
            (&["label=other"], Some("a"), false),
            (&["dangling=true"], None, true),
            (&["dangling=true"], Some("a"), false),
            (&["dangling=false"], None, false),
            (&["before=new"], Some("a"), true),
            (&["before=old"], Some("a"), false),
            (&["since=old"], Some("a"), true),
            (&["since=new"], Some("a"), false),
            (&["until=1h"], Some("a"), true),
            (&["until=3h"], Some("a"), false),
        ] {
            assert_eq!(wanted(filters, name), expect, "{filters:?} {name:?}");
        }
        for text in ["colour=red", "x", "dangling=maybe", "until=soon"] {
            assert!(Filter::parse(text, NOW, &created).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_are_those_of_paths() {
        for (pattern, name, expect) in [
            ("", "", true),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcdef", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("a*", "a/b", false),
            ("a?b", "a/b", false),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
    }
}

//! Every format from the same findings, and what code scanning demands of SARIF.
//!
//! Knows nothing of rules: the findings are made here.

use cooper_dockerfile::{Args, Edit, Fix, Span};
use cooper_oci::Platform;
use serde_json::Value;

use super::*;
use crate::commands::check::files::Source;

const TEXT: &str = "FROM a as b\nRUN é && \\\n  x\nRUN é && \\\n  x\n";

fn examined() -> Vec<Examined> {
    let at = |start, end| Span { start, end };
    let fix = Fix { title: "write `AS`".into(), edits: vec![Edit { span: at(7, 9), text: "AS".into() }], safe: true };
    let found = vec![
        Diagnostic::warning("FromAsCasing", at(7, 9), "casing").with_fix(fix),
        Diagnostic::error(at(16, 27), "it's 100% wrong\n::error::").with_hint("mend it"),
        Diagnostic::error(at(32, 43), "it's 100% wrong\n::error::"),
        Diagnostic { severity: Severity::Info, ..Diagnostic::warning("StageNameCasing", at(10, 11), "name") },
    ];
    let source =
        Source { shown: "dir one/Docker,file".into(), path: None, text: TEXT.into(), context_dir: None, context: None };
    let args = Args::new(Platform::new("linux", "amd64"));
    vec![Examined { source, options: lint::Options::default(), args, found }]
}

#[test]
fn formats() {
    for format in [Format::Json, Format::Gitlab, Format::Github, Format::Gnu] {
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("check_{format:?}").to_lowercase(), format.print(&examined(), false));
        });
    }
}

#[test]
fn no_text_of_the_file_can_give_a_command_to_the_runner() {
    let printed = Format::Github.print(&examined(), false);
    assert_eq!(printed.lines().count(), 4, "{printed}");
    assert!(printed.lines().all(|line| {
        ["::error file=", "::warning file=", "::notice file="].iter().any(|start| line.starts_with(start))
    }));
}

#[test]
fn nothing_found_is_a_document_all_the_same() {
    let mut nothing = examined();
    nothing[0].found.clear();
    for format in [Format::Json, Format::Sarif, Format::Gitlab] {
        assert!(serde_json::from_str::<Value>(&format.print(&nothing, false)).is_ok(), "{format:?}");
    }
    assert_eq!(Format::Text.print(&nothing, false), "");
    assert_eq!(Format::Github.print(&nothing, false), "");
}

fn sarif() -> Value {
    serde_json::from_str(&Format::Sarif.print(&examined(), false)).unwrap()
}

#[test]
fn sarif_has_what_code_scanning_demands() {
    let document = sarif();
    assert_eq!(document["version"], "2.1.0");
    assert!(document["$schema"].as_str().unwrap().contains("sarif-schema-2.1.0"));
    let runs = document["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!((driver["name"].as_str(), runs[0]["columnKind"].as_str()), (Some("cooper"), Some("unicodeCodePoints")));
    assert!(driver["semanticVersion"].is_string());
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        for key in ["/id", "/name", "/shortDescription/text", "/fullDescription/text", "/help/text", "/help/markdown"] {
            assert!(rule.pointer(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()), "{key}: {rule}");
        }
        assert!(["note", "warning", "error"].contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
        assert!(
            ["recommendation", "warning", "error"].contains(&rule["properties"]["problem.severity"].as_str().unwrap())
        );
        assert!(rule["shortDescription"]["text"].as_str().unwrap().chars().count() <= 1024);
    }
    let ids: Vec<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    let results = runs[0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    let mut fingerprints = std::collections::BTreeSet::new();
    for result in results {
        assert_eq!(ids[result["ruleIndex"].as_u64().unwrap() as usize], result["ruleId"].as_str().unwrap());
        assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert_eq!(uri, "dir%20one/Docker%2Cfile");
        let number = |key: &str| place["region"][key].as_u64().unwrap();
        assert!(number("startLine") >= 1 && number("startColumn") >= 1);
        assert!((number("endLine"), number("endColumn")) >= (number("startLine"), number("startColumn")));
        assert!(
            fingerprints.insert(result["partialFingerprints"]["primaryLocationLineHash"].as_str().unwrap().to_owned())
        );
    }
}

#[test]
fn sarif_points_at_characters_and_carries_fixes() {
    let document = sarif();
    let results = document["runs"][0]["results"].as_array().unwrap();
    let region = |result: &Value| result["locations"][0]["physicalLocation"]["region"].clone();
    assert_eq!(
        region(&results[1]),
        serde_json::json!({"startLine": 2, "startColumn": 5, "endLine": 3, "endColumn": 4})
    );
    let change = &results[0]["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["replacements"][0]["insertedContent"]["text"], "AS");
    assert_eq!(change["replacements"][0]["deletedRegion"]["startColumn"], 8);
}

#[test]
fn fingerprints_stay_when_lines_are_added_above() {
    let before = placed_fingerprints(examined());
    let mut moved = examined();
    moved[0].source.text = format!("# new\n{TEXT}");
    for found in &mut moved[0].found {
        found.span = Span { start: found.span.start + 6, end: found.span.end + 6 };
    }
    assert_eq!(placed_fingerprints(moved), before);
}

fn placed_fingerprints(examined: Vec<Examined>) -> Vec<String> {
    placed(&examined).into_iter().map(|placed| placed.fingerprint).collect()
}

#[test]
fn places_are_those_the_drawing_has() {
    let text = "aé\n\nb\r\nc";
    let lines = Lines::of(text);
    for offset in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
        let offset = u32::try_from(offset).unwrap();
        assert_eq!(lines.position(offset), cooper_dockerfile::line_column(text, offset), "{offset}");
    }
    assert_eq!((lines.line(1), lines.line(3), lines.line(4), lines.line(9)), ("aé", "b", "c", ""));
}

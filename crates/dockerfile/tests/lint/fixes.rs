//! What fixes make of the examples.

use cooper_dockerfile::lint::rules;
use cooper_dockerfile::{Diagnostic, parse};

use crate::support::{drawn, findings, options_of};

/// Applies the first fix of each finding, from the end, so that places hold.
fn fixed(text: &str, found: &[Diagnostic]) -> String {
    let mut edits: Vec<_> = found.iter().filter_map(|found| found.fix.as_ref()).flat_map(|fix| &fix.edits).collect();
    edits.sort_by_key(|edit| edit.span.start);
    let mut out = text.to_owned();
    for edit in edits.iter().rev() {
        out.replace_range(edit.span.start as usize..edit.span.end as usize, &edit.text);
    }
    out
}

/// A fix mends what it was offered for, and leaves a file that can be read.
#[test]
fn fixes_mend() {
    for rule in rules().filter(|rule| rule.fixable) {
        let options = options_of(rule);
        let found = findings(rule.bad, &options);
        let text = fixed(rule.bad, &found);
        let after = findings(&text, &options);
        assert!(after.iter().all(|found| found.rule != rule.id), "{}: {:?}\n{text}", rule.id, drawn(&text, &after));
        assert!(parse(&text).1.is_empty(), "{}: {text}", rule.id);
        assert_ne!(text, rule.bad);
    }
}

#[track_caller]
fn check(rule: &str, text: &str, expect: &str, safe: bool) {
    let found: Vec<Diagnostic> =
        findings(text, &Default::default()).into_iter().filter(|found| found.rule == rule).collect();
    assert_eq!(fixed(text, &found), expect);
    assert!(found.iter().filter_map(|found| found.fix.as_ref()).all(|fix| fix.safe == safe), "{found:#?}");
}

#[test]
fn the_rest_of_the_file_stays() {
    check(
        "FromAsCasing",
        "# x\r\nFROM  alpine:3.22   as  b # no\r\n",
        "# x\r\nFROM  alpine:3.22   as  b # no\r\n",
        true,
    );
    check("FromAsCasing", "# x\r\nFROM  alpine:3.22   as  b\r\n", "# x\r\nFROM  alpine:3.22   AS  b\r\n", true);
    check("NoEmptyContinuation", "FROM a:1\nRUN b \\\n\n\n  c\n", "FROM a:1\nRUN b \\\n  c\n", true);
    check("RedundantTargetPlatform", "FROM   --platform=$TARGETPLATFORM  a:1\n", "FROM   a:1\n", true);
    check("ExposeInvalidFormat", "FROM a:1\nEXPOSE 1 2:3 \\\n 4:5\n", "FROM a:1\nEXPOSE 1 3 \\\n 5\n", true);
    check(
        "DL3014",
        "FROM a:1\nRUN apt-get \\\n  -q install \\\n  b=1\n",
        "FROM a:1\nRUN apt-get \\\n  -q install -y \\\n  b=1\n",
        true,
    );
    check("DL3020", "from a:1\nadd  b /c\n", "from a:1\ncopy  b /c\n", false);
}

#[test]
fn no_fix_where_the_meaning_could_change() {
    check("LegacyKeyValueFormat", "FROM a:1\nENV B \"c\" d\n", "FROM a:1\nENV B \"c\" d\n", true);
    check("LegacyKeyValueFormat", "FROM a:1\nENV B c d\n", "FROM a:1\nENV B=\"c d\"\n", true);
    check("LegacyKeyValueFormat", "FROM a:1\nENV B c \\\n d\n", "FROM a:1\nENV B c \\\n d\n", true);
    check("JSONArgsRecommended", "FROM a:1\nCMD b $C\n", "FROM a:1\nCMD b $C\n", false);
    check("JSONArgsRecommended", "FROM a:1\nCMD exec b\n", "FROM a:1\nCMD exec b\n", false);
    check("StageNameCasing", "FROM a:1 AS B\\\nC\n", "FROM a:1 AS B\\\nC\n", true);
}

//! Matching, against the behaviour of moby's patternmatcher and Go's `filepath.Match`.
//!
//! Knows nothing of files.

use cooper_llb::{Ignore, MatchState, glob_match};
use proptest::prelude::*;

fn ignore(patterns: &[&str]) -> Ignore {
    let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Ignore::new(&patterns).unwrap()
}

/// Asks at once, and again on a walk from the root.
fn check(patterns: &[&str], path: &str, expect: bool) {
    let ignore = ignore(patterns);
    assert_eq!(ignore.excludes(path), expect, "{patterns:?} {path}");
    let mut state = MatchState::default();
    for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
        state = ignore.step(&state, &path[..at]);
    }
    assert_eq!(ignore.step(&state, path).excluded(), expect, "walk: {patterns:?} {path}");
}

#[test]
fn one_pattern() {
    for (pattern, path, expect) in [
        ("**", "file", true),
        ("**/", "file", true),
        ("**", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("dir/", "dir/x", true),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir", "a/b/dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**file", "file", true),
        ("**file", "dir/dir/xfile", true),
        ("**/file", "dir/dir/file", true),
        ("**/file", "dir/xfile", false),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("a\\\\", "a\\", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("dist/*.whl", "dist/p.py-2.4.0rc3.dev36+g08acad9-none.whl", true),
        ("*", "a/b", true),
        ("/a", "a", false),
        ("./a/../b", "b", true),
        ("a^b*", "a^bc", false),
        ("^a*", "abc", true),
        ("[a-ζ]*", "α", true),
    ] {
        check(&[pattern], path, expect);
    }
}

#[test]
fn the_last_match_decides() {
    for (patterns, path, expect) in [
        (&["!f.go", "*.go"][..], "f.go", true),
        (&["*.go", "!f.go"], "f.go", false),
        (&["docs", "!docs/README.md"], "docs/README.md", false),
        (&["docs", "!docs/README.md"], "docs/other", true),
        (&["docs/*", "!docs/README.md"], "docs/README.md", false),
        (&["**", "!util/docker/web"], "util/docker/web/foo", false),
        (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
        (&["**", "!dist/*.whl"], "dist/a+b.whl", false),
        (&["a", "!a/b", "a/b/c"], "a/b/c/d", true),
        (&["a", "!a/b", "a/b/c"], "a/b/x", false),
        (&[" a ", "", "  "], "a", true),
    ] {
        check(patterns, path, expect);
    }
    check(&[], "anything/at/all", false);
}

/// moby's two ways differ here, and BuildKit's context walks.
#[test]
fn a_walk_and_a_question_differ_as_in_moby() {
    let ignore = ignore(&["x/y", "!x"]);
    let parent = ignore.step(&MatchState::default(), "x");
    assert!(ignore.step(&parent, "x/y").excluded());
    assert!(!ignore.excludes("x/y"));
}

#[test]
fn ignore_files() {
    let text = "\u{feff}# comment\n /abs/path \r\n\n  # not a comment\n! /kept\n!\n[\n/\nlast//x/";
    let (ignore, errors) = Ignore::parse(text);
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["invalid pattern `!`: `!` needs a pattern", "invalid pattern `[`: a `[` is not closed"]);
    assert!(ignore.excludes("abs/path/x"));
    assert!(ignore.excludes("# not a comment"));
    assert!(ignore.excludes("last/x/y"));
    assert!(!ignore.excludes("abs"));
    assert_eq!(ignore.which("abs/path/x"), Some("/abs/path"));
    assert_eq!(ignore.which("kept"), None);
    let (ignore, _) = Ignore::parse("*\n!kept");
    assert_eq!(ignore.which("kept/x"), Some("!kept"));
    assert_eq!(ignore.which("other"), Some("*"));
}

#[test]
fn walks_prune_what_cannot_come_back() {
    for (patterns, dir, expect) in [
        (&["a"][..], "a", false),
        (&["a", "!a/b/c"], "a", true),
        (&["a", "!a/b/c"], "a/b", true),
        (&["a", "!a/b/c"], "a/x", false),
        (&["a", "!ab/c"], "a", false),
        (&["*", "!**/*.go"], "x", true),
        (&["*", "!*.go"], "x", false),
        (&["*", "!a/*/c"], "a", true),
        (&["*", "!a/*/c"], "a/x", true),
        (&["*", "!a/*/c"], "a/x/c", false),
        (&["*", "!a/*/c"], "b", false),
        (&["*", "!a/**"], "a/x/y", true),
        (&["*", "!**x"], "y", true),
        (&["*", "!a**/x"], "b", false),
    ] {
        assert_eq!(ignore(patterns).may_include_below(dir), expect, "{patterns:?} {dir}");
    }
}

#[test]
fn go_match() {
    for (pattern, name, expect) in [
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "a", Some(true)),
        ("a*", "ab/c", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
        ("ab[^e-g]", "abc", Some(true)),
        ("ab[^b-d]", "abc", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("*[a-ζ]", "A", Some(false)),
        ("a?b", "a/b", Some(false)),
        ("[\\]a]", "]", Some(true)),
        ("[\\-x]", "-", Some(true)),
        ("[x\\-]", "z", Some(false)),
        ("[z-a]", "b", Some(false)),
        ("a**b", "axxb", Some(true)),
        ("a**b", "a/b", Some(false)),
        ("^a", "^a", Some(true)),
        ("", "", Some(true)),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[-x]", "x", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "ab", None),
        ("\\", "a", None),
        ("*x\\", "x", None),
    ] {
        assert_eq!(glob_match(pattern, name).ok(), expect, "{pattern} {name}");
    }
}

/// A backtracking matcher would not come back from this.
#[test]
fn hostile_patterns_are_cheap() {
    let pattern = "*a".repeat(500) + "b";
    assert!(!glob_match(&pattern, &"a".repeat(1000)).unwrap());
    check(&[&("**/a*".repeat(50) + "/b")], &"a/".repeat(60), false);
    assert!(glob_match(&"*".repeat(5000), "a").is_err());
}

proptest! {
    /// Pruning a walk loses nothing that the walk would have kept.
    #[test]
    fn pruning_loses_nothing(
        patterns in prop::collection::vec("!?[ab*?/]{1,5}", 0..5),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        let Ok(ignore) = Ignore::new(&patterns) else { return Ok(()) };
        let mut state = MatchState::default();
        let mut pruned = false;
        for (at, _) in path.match_indices('/') {
            state = ignore.step(&state, &path[..at]);
            pruned |= state.excluded() && !ignore.may_include_below(&path[..at]);
        }
        let last = ignore.step(&state, &path);
        prop_assert!(!pruned || last.excluded(), "{patterns:?} {path} was pruned");
    }

    #[test]
    fn nothing_panics(pattern in "\\PC{0,12}", path in "\\PC{0,12}") {
        let _ = glob_match(&pattern, &path);
        let (ignore, _) = Ignore::parse(&pattern);
        ignore.excludes(&path);
        ignore.may_include_below(&path);
    }
}

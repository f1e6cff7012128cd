//! Resolution by example: an index in a few lines, what is asked for, what is installed or why not.

use super::*;
use crate::index::parse_index;

/// `name version[/architecture]; field: value; ..` a line; `*` before the name marks another, reluctant release.
fn universe_of(index: &str, goal: &[PackageSpec], omit: &[&str]) -> Universe {
    let mut offers = Vec::new();
    for line in index.trim().lines() {
        let mut parts = line.split(';').map(str::trim);
        let head = parts.next().unwrap();
        let (name, version) = head.trim_start_matches('*').split_once(' ').unwrap();
        let (version, architecture) = version.split_once('/').unwrap_or((version, "amd64"));
        let mut text = format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n");
        text += &format!("Filename: pool/{name}.deb\nSize: 1\nSHA256: {:064}\n", 0);
        parts.for_each(|field| text += &format!("{field}\n"));
        let packages = parse_index(&text, "index").unwrap();
        offers.extend(packages.into_iter().map(|package| Offer {
            package: package.into(),
            release: None,
            reluctant: head.starts_with('*'),
        }));
    }
    let omit: Vec<String> = omit.iter().map(|name| (*name).to_owned()).collect();
    Universe::new(offers, "amd64", goal, &omit)
}

fn specs(goal: &str) -> Vec<PackageSpec> {
    goal.split(',').map(str::trim).filter(|word| !word.is_empty()).map(|word| word.parse().unwrap()).collect()
}

fn solved(index: &str, goal: &str) -> Result<String> {
    solved_with(index, goal, &[], Variant::Extract)
}

fn solved_with(index: &str, goal: &str, omit: &[&str], variant: Variant) -> Result<String> {
    let packages = specs(goal);
    let universe = universe_of(index, &packages, omit);
    let ids = solve(&universe, &Goal { packages: &packages, variant, recommends: false })?;
    let name = |id: &Id| {
        let package = universe.package(*id);
        let foreign = !matches!(package.architecture.as_str(), "amd64" | "all");
        let architecture = if foreign { format!(":{}", package.architecture) } else { String::new() };
        format!("{}{architecture}={}", package.name, package.version)
    };
    Ok(ids.iter().map(name).collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn check(index: &str, goal: &str, expect: &str) {
    assert_eq!(solved(index, goal).map_err(|e| e.to_string()), Ok(expect.to_owned()));
}

#[track_caller]
fn check_fails(index: &str, goal: &str, kind: ErrorKind, expect: &[&str]) {
    let error = solved(index, goal).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = format!("{error}; hint: {}", error.hint().unwrap_or_default());
    for part in expect {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
}

#[test]
fn dependencies_are_followed_and_cycles_end() {
    check("aa 1; Depends: bb\nbb 1; Depends: cc (>= 1), aa\ncc 1; Pre-Depends: bb\ndd 1", "aa", "aa=1 bb=1 cc=1");
}

#[test]
fn the_newest_version_wins_unless_one_is_asked_for_or_a_release_is_reluctant() {
    check("aa 1\naa 2\naa 1.5", "aa", "aa=2");
    check("aa 1\naa 2\naa 1.5", "aa=1.5", "aa=1.5");
    check("aa 1.5-1\naa 2\naa 1.5-2", "aa=1.5*", "aa=1.5-2");
    check("aa 1\n*aa 2\n*bb 1", "aa, bb", "aa=1 bb=1");
}

#[test]
fn choices_go_from_left_to_right_unless_one_is_there_anyway() {
    check("aa 1; Depends: xx | yy\nxx 1\nyy 1", "aa", "aa=1 xx=1");
    check("aa 1; Depends: xx | yy\nxx 1\nyy 1", "aa, yy", "aa=1 yy=1");
    check("aa 1; Depends: xx | yy, bb\nbb 1; Depends: yy\nxx 1\nyy 1", "aa", "aa=1 bb=1 yy=1");
    check("xx 1\nyy 1", "zz | yy", "yy=1");
}

#[test]
fn virtual_packages_and_versioned_provides() {
    let index = "aa 1; Depends: vv (>= 2)\nold 9; Provides: vv\nnew 1; Provides: vv (= 2)\nbb 1; Depends: vv";
    check(index, "aa", "aa=1 new=1");
    check(index, "bb, old", "bb=1 old=9");
    check(
        "aa 1; Depends: vv\npp 1; Provides: vv; Priority: optional\nqq 1; Provides: vv; Priority: required",
        "aa",
        "aa=1 qq=1",
    );
    check("aa 1; Depends: vv\nvv 1\npp 1; Provides: vv; Priority: required", "aa", "aa=1 vv=1");
    check("pp 1; Provides: vv", "vv", "pp=1");
    check_fails("pp 1; Provides: vv\nqq 1; Provides: vv", "vv", ErrorKind::NotFound, &["name one of pp, qq"]);
}

#[test]
fn a_failed_choice_is_taken_back() {
    let index = "aa 1; Depends: xx | yy, bb | cc\nxx 1\nyy 1\nbb 1; Conflicts: xx\ncc 1; Depends: none";
    check(index, "aa", "aa=1 bb=1 yy=1");
}

#[test]
fn conflicts_breaks_and_names_provided_by_oneself() {
    check("aa 1; Conflicts: vv; Provides: vv\nbb 1", "aa, bb", "aa=1 bb=1");
    check("aa 1; Breaks: bb (<< 2)\nbb 2", "aa, bb", "aa=1 bb=2");
    check_fails(
        "aa 1; Breaks: bb (<< 2)\nbb 1",
        "aa, bb",
        ErrorKind::Unsatisfiable,
        &["aa 1", "bb 1", "exclude one another"],
    );
    check_fails(
        "aa 1; Depends: cc\ncc 1; Conflicts: bb\nbb 1",
        "aa, bb",
        ErrorKind::Unsatisfiable,
        &["`cc`", "cc 1 and bb 1 exclude", "listed as `bb`"],
    );
}

#[test]
fn several_architectures() {
    let index = "lib 1/amd64; Multi-Arch: same\nlib 1/i386; Multi-Arch: same; Depends: tool, data, py:any\n\
                 tool 1/amd64; Multi-Arch: foreign\ntool 1/i386; Multi-Arch: foreign\ndata 1/all; Multi-Arch: foreign\n\
                 py 1/amd64; Multi-Arch: allowed";
    check(index, "lib, lib:i386", "data=1 lib=1 lib:i386=1 py=1 tool=1");
    check_fails("app 1/i386; Depends: lib\nlib 1/amd64", "app:i386", ErrorKind::Unsatisfiable, &["lib is 1 for amd64"]);
    let versions = "lib 1/amd64; Multi-Arch: same\nlib 2/i386; Multi-Arch: same";
    check_fails(versions, "lib, lib:i386", ErrorKind::Unsatisfiable, &["exclude one another"]);
}

#[test]
fn variants_and_omissions() {
    let index = "base 1; Essential: yes; Depends: lib, awk\nlib 1\nmawk 1; Provides: awk\nreq 1; Priority: required\n\
                 imp 1; Priority: important\napt 1\nother 1";
    let of = |variant, omit: &[&str]| solved_with(index, "", omit, variant).unwrap();
    assert_eq!(of(Variant::Essential, &[]), "base=1 lib=1 mawk=1");
    assert_eq!(of(Variant::Apt, &["awk"]), "apt=1 base=1 lib=1");
    assert_eq!(of(Variant::Minbase, &["lib"]), "apt=1 base=1 mawk=1 req=1");
    assert_eq!(of(Variant::Important, &["lib", "awk", "apt"]), "base=1 imp=1 req=1");
    assert_eq!(solved_with(index, "other, lib", &["lib"], Variant::Extract).unwrap(), "other=1");
}

#[test]
fn recommends_are_followed_where_they_can_be() {
    let packages = specs("aa");
    let universe = universe_of("aa 1; Recommends: bb, missing, cc\nbb 1\ncc 1; Conflicts: aa", &packages, &[]);
    let ids = solve(&universe, &Goal { packages: &packages, variant: Variant::Extract, recommends: true }).unwrap();
    assert_eq!(ids.len(), 2);
}

#[test]
fn what_is_unmet_is_told_as_a_chain() {
    let index = "app 1; Depends: lib\nlib 2; Depends: core (>= 3)\ncore 1";
    check_fails(
        index,
        "app",
        ErrorKind::Unsatisfiable,
        &[
            "`core (>= 3)`, which lib 2 depends on",
            "core is 1 for amd64",
            "listed as `app`: app -> lib",
            "omit: [core]",
        ],
    );
    check_fails(
        "app 1; Depends: gone | lost",
        "app",
        ErrorKind::Unsatisfiable,
        &["no package is called gone", "called lost"],
    );
    check_fails(
        "python3 1",
        "pyhton3",
        ErrorKind::NotFound,
        &["no package `pyhton3` for amd64", "did you mean `python3`?"],
    );
    check_fails("aa 1\naa 2", "aa=3", ErrorKind::NotFound, &["there is 1, 2"]);
}

#[test]
fn alternatives_that_fail_in_circles_come_to_an_end() {
    let mut index = String::from("goal 1; Depends: none\n");
    for at in 0..24 {
        index += &format!("n{at} 1; Depends: n{} | m{}\nm{at} 1; Depends: n{} | m{}\n", at + 1, at + 1, at + 1, at + 1);
    }
    index += "n24 1; Depends: gone\nm24 1; Depends: gone";
    check_fails(&index, "n0", ErrorKind::Unsatisfiable, &["gone"]);
}

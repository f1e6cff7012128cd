//! The allowed arrows between crates, held against what cargo says. The table is ARCHITECTURE.md's.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may use whom, of our own crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("cooper-oci", &[]),
    ("cooper-llb", &["cooper-oci"]),
    ("cooper-dockerfile", &["cooper-llb", "cooper-oci"]),
    ("cooper-solver", &[]),
    ("cooper-store", &["cooper-oci"]),
    ("cooper-registry", &["cooper-oci"]),
    ("cooper-executor", &[]),
    ("cooper-base", &["cooper-oci"]),
    (
        "cooper-engine",
        &[
            "cooper-base",
            "cooper-dockerfile",
            "cooper-executor",
            "cooper-llb",
            "cooper-oci",
            "cooper-registry",
            "cooper-solver",
            "cooper-store",
        ],
    ),
    (
        "cooper-cli",
        &[
            "cooper-base",
            "cooper-dockerfile",
            "cooper-engine",
            "cooper-executor",
            "cooper-oci",
            "cooper-registry",
            "cooper-store",
        ],
    ),
];

/// Crates of others that only some of ours may name.
const KEPT_TO: &[(&str, &[&str])] = &[
    ("tokio", &["cooper-base", "cooper-registry", "cooper-engine", "cooper-cli"]),
    ("clap", &["cooper-cli"]),
    ("crossterm", &["cooper-cli"]),
    ("rusqlite", &["cooper-store"]),
    ("reqwest", &["cooper-base", "cooper-registry"]),
    ("rusty-s3", &["cooper-engine"]),
    ("hyper", &["cooper-registry"]),
];

/// Dependencies of each of our crates, apart from those of their tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs: it runs this test");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("a workspace has packages");
    let of = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        dependencies.filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    packages.iter().map(|package| (name(package), of(package))).collect()
}

#[test]
fn arrows_only_go_down() {
    let dependencies = dependencies();
    assert_eq!(dependencies.len(), ARROWS.len(), "a crate is missing from the table: {:?}", dependencies.keys());
    for (from, allowed) in ARROWS {
        let ours = dependencies[*from].iter().filter(|name| name.starts_with("cooper-"));
        for to in ours {
            assert!(allowed.contains(&to.as_str()), "{from} must not know {to}");
        }
    }
}

#[test]
fn outside_crates_stay_behind_their_wall() {
    for (from, names) in dependencies() {
        for (kept, allowed) in KEPT_TO {
            let crosses = names.contains(*kept) && !allowed.contains(&from.as_str());
            assert!(!crosses, "{from} must not use {kept}");
        }
    }
}

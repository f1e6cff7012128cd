//! Every verb about images and the store, whole outputs.

use crate::harness::Cooper;

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Runs lines of arguments and takes down everything.
fn transcript(cooper: &Cooper, lines: &[&str]) -> String {
    let mut all = String::new();
    for line in lines {
        let args: Vec<&str> = line.split_whitespace().collect();
        let out = cooper.run(&args);
        all.push_str(&format!("$ cooper {line}\n{}{}", cooper.plain(&out.stdout), out.stderr));
        if out.code != 0 {
            all.push_str(&format!("[exit {}]\n", out.code));
        }
        all.push('\n');
    }
    all
}

/// Without what depends on when and on which busybox: ids and sizes.
fn shape(cooper: &Cooper, line: &str) -> String {
    let args: Vec<&str> = line.split_whitespace().collect();
    let out = cooper.run(&args).ok();
    out.stdout.lines().map(|line| line.split_whitespace().next().unwrap_or_default().to_owned() + "\n").collect()
}

#[test]
fn privileged_names_are_given_and_taken() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build("FROM base\nRUN echo 1 > /one\n", &["-t", "app:1", "-t", "app:latest"]).ok();
    let lines = [
        "tag app:1 registry.example/team/app:v1",
        "tag app:1 UPPER",
        "tag nosuch x",
        "images -q nosuch",
        "inspect ap:1",
        "history bsae",
        "rmi app:2",
        "rmi app:1",
        "rmi app:1",
        "rmi -f app:1",
    ];
    snapshot("names", &transcript(&cooper, &lines));
    assert_eq!(shape(&cooper, "images"), "REPOSITORY\napp\nbase\nregistry.example/team/app\n");
    let id = cooper.run(&["images", "-q", "app"]).ok().stdout.trim().to_owned();
    let short = id.trim_start_matches("sha256:")[..12].to_owned();
    assert!(cooper.run(&["rmi", &short]).fails(1).contains("hint: "), "an id with several names is not removed");
    cooper.run(&["rmi", "-f", &short]).ok();
    assert_eq!(shape(&cooper, "images"), "REPOSITORY\nbase\n");
}

#[test]
fn privileged_lists_of_images() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build("FROM base\nCMD true\n", &["-t", "app:1", "-t", "app:2"]).ok();
    assert_eq!(cooper.run(&["images", "-q"]).ok().stdout.lines().count(), 2, "one line an image, not a name");
    assert_eq!(cooper.run(&["images", "app"]).ok().stdout.lines().count(), 3);
    assert_eq!(cooper.run(&["images", "app:2"]).ok().stdout.lines().count(), 2);
    let whole = cooper.run(&["images", "-q", "--no-trunc", "app:1"]).ok().stdout;
    assert!(whole.starts_with("sha256:") && whole.trim().len() == 71, "{whole}");
    let json = cooper.run(&["images", "--format", "json"]).ok().stdout;
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3, "{json}");
    assert!(cooper.run(&["images", "--digests"]).ok().stdout.contains("DIGEST"));
    // A new image of the name takes it; the old one is only shown with --all.
    cooper.build("FROM base\nCMD false\n", &["-t", "app:1", "-t", "app:2"]).ok();
    assert_eq!(cooper.run(&["images"]).ok().stdout.lines().count(), 4);
    assert_eq!(cooper.run(&["images", "-a"]).ok().stdout.lines().count(), 5);
}

#[test]
fn privileged_the_history_of_an_image() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build("FROM base\nRUN echo x > /x\nENV A=1\nCOPY Dockerfile /\n", &["-t", "app"]).ok();
    let json = cooper.run(&["history", "--no-trunc", "--format", "json", "app"]).ok().stdout;
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let created: Vec<&str> = rows.iter().take(4).map(|row| row["CreatedBy"].as_str().unwrap_or_default()).collect();
    let expect = ["COPY Dockerfile / # buildkit", "ENV A=1", "RUN /bin/sh -c echo x > /x # buildkit", "CMD [\"sh\"]"];
    assert_eq!(created, expect, "{json}");
    assert_eq!(cooper.run(&["history", "app"]).ok().stdout.lines().count(), rows.len() + 1);
    assert_eq!(cooper.run(&["history", "-q", "app"]).ok().stdout.lines().count(), rows.len());
}

#[test]
fn privileged_prefixes_of_ids() {
    let Some(cooper) = Cooper::new() else { return };
    for n in 0..17 {
        cooper.build(&format!("FROM base\nENV N={n}\n"), &["-t", &format!("n:{n}")]).ok();
    }
    // Of seventeen ids two begin alike.
    let ids = cooper.run(&["images", "-q", "n"]).ok().stdout;
    let first: Vec<char> = ids.lines().filter_map(|id| id.trim_start_matches("sha256:").chars().next()).collect();
    let twice = first.iter().find(|c| first.iter().filter(|other| other == c).count() > 1).unwrap();
    let message = cooper.run(&["run", &twice.to_string(), "true"]).fails(125);
    assert!(message.contains("error: "), "{message}");
    let id = ids.lines().next().unwrap();
    cooper.run(&["run", id, "true"]).ok();
    cooper.run(&["inspect", id]).ok();
    cooper.run(&["tag", id, "by-id"]).ok();
}

#[test]
fn privileged_space_is_shown_and_freed() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build("FROM base\nRUN --mount=type=cache,target=/c echo x > /c/x; echo y > /y\n", &["-t", "app"]).ok();
    assert!(cooper.run(&["du"]).ok().stdout.contains("TYPE"));
    let types = |cooper: &Cooper| {
        let json = cooper.run(&["du", "--format", "json"]).ok().stdout;
        let row = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        json.lines().map(row).collect::<Vec<_>>()
    };
    let before = types(&cooper).len();
    let sum = |word: &str| {
        let out = cooper.run(&["du"]).ok().stdout;
        out.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim().to_owned()
    };
    let would = cooper.run(&["prune", "--dry-run", "--all"]).ok().stdout;
    assert!(would.ends_with(&format!("Reclaimable space: {}\n", sum("Reclaimable:"))), "{would}");
    let dry = cooper.run(&["prune", "--dry-run", "--all"]).ok().stdout;
    assert_eq!(types(&cooper).len(), before, "{dry}");
    cooper.run(&["prune", "-f"]).ok();
    assert_eq!(cooper.sh("app", "cat /y"), "y\n", "named images stay");
    cooper.run(&["rmi", "app"]).ok();
    cooper.run(&["prune", "-f", "--all"]).ok();
    assert!(types(&cooper).len() < before);
    assert_eq!(cooper.sh("base", "echo here"), "here\n");
    let out =
        cooper.build("FROM base\nRUN --mount=type=cache,target=/c echo x > /c/x; echo y > /y\n", &["-t", "app"]).ok();
    assert_eq!(out.ran().len(), 1);
    cooper.run(&["prune", "-f", "--filter", "until=24h"]).ok();
    assert!(cooper.build(&cooper.get("Dockerfile"), &["-t", "app"]).ok().ran().is_empty(), "it was used just now");
    cooper.run(&["prune", "-f", "--keep-storage", "100GB"]).ok();
    cooper.run(&["prune", "-f", "--max-used-space", "1KB", "--all"]).ok();
    cooper.run(&["store", "check"]).ok();
}

#[test]
fn privileged_images_travel_through_archives() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build("FROM base\nRUN echo x > /x\n", &["-t", "app:1"]).ok();
    let digest = |cooper: &Cooper| cooper.inspect("app:1")["Descriptor"]["digest"].as_str().unwrap().to_owned();
    let id = |cooper: &Cooper| cooper.inspect("app:1")["Id"].as_str().unwrap().to_owned();
    for format in ["oci", "docker"] {
        let file = cooper.text(&format!("../{format}.tar"));
        cooper.run(&["save", "--format", format, "-o", &file, "app:1"]).ok();
        let other = Cooper::empty();
        let loaded = other.run(&["load", "-i", &file]).ok().stdout;
        assert!(loaded.contains("app:1"), "{loaded}");
        assert_eq!(id(&other), id(&cooper), "{format}");
        if format == "oci" {
            assert_eq!(digest(&other), digest(&cooper));
        }
        assert_eq!(other.sh("app:1", "cat /x"), "x\n");
        other.run(&["store", "check"]).ok();
    }
    let mut save = cooper.command(&["save", "app:1"]).spawn().unwrap();
    let other = Cooper::empty();
    let mut load = other.command(&["load"]);
    let out = other.wait(load.stdin(save.stdout.take().unwrap()).spawn().unwrap()).ok();
    assert!(save.wait().unwrap().success() && out.stdout.contains("app:1"), "{}", out.stdout);
}

#[test]
fn privileged_a_broken_store_is_found_and_mended() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.build("FROM base\nRUN echo x > /x\n", &["-t", "app"]).ok();
    cooper.run(&["store", "check"]).ok();
    let blobs = cooper.root().join("blobs/sha256");
    let largest = std::fs::read_dir(blobs).unwrap().filter_map(Result::ok).max_by_key(|e| e.metadata().unwrap().len());
    let path = largest.unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let found = cooper.run(&["store", "check"]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
    cooper.run(&["store", "repair"]).ok();
    cooper.run(&["store", "check"]).ok();
    assert_eq!(cooper.make_base("base").code, 0);
    cooper.build("FROM base\nRUN echo x > /x\n", &["-t", "app"]).ok();
    assert_eq!(cooper.sh("app", "cat /x"), "x\n");
}

#[test]
fn an_empty_store_has_nothing_to_show() {
    let cooper = Cooper::empty();
    snapshot(
        "empty_store",
        &transcript(
            &cooper,
            &[
                "images",
                "images -q",
                "du",
                "prune -f",
                "store check",
                "store repair",
                "store path",
                "save",
                "inspect x",
                "history x",
            ],
        ),
    );
}

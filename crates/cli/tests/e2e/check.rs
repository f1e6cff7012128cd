//! `cooper check`, `cooper fmt` and `cooper build --call`, from outside.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::{Cooper, Out};

/// Two findings: a warning that has a safe fix, and one whose fix changes the image.
const DIRTY: &str = "FROM scratch as out\nCOPY file /\nCMD run it\n";
const CLEAN: &str = "FROM scratch AS out\nCOPY file /\nCMD [\"run\", \"it\"]\n";

/// Checks only what BuildKit does, so that further rules do not change these tests.
const ONLY: &str = "--only=FromAsCasing,JSONArgsRecommended,MaintainerDeprecated,UndefinedVar,CopyIgnoredFile";

fn world(dockerfile: &str) -> Cooper {
    let cooper = Cooper::empty();
    cooper.put("Dockerfile", dockerfile);
    cooper.put("file", "x");
    cooper
}

fn check(cooper: &Cooper, args: &[&str]) -> Out {
    cooper.run(&[&["check", ONLY], args].concat())
}

#[track_caller]
fn json(out: &Out) -> Value {
    serde_json::from_str(&out.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", out.stdout, out.stderr))
}

fn rules(out: &Out) -> Vec<String> {
    let document = json(out);
    let files = document["files"].as_array().unwrap();
    let findings = files.iter().flat_map(|file| file["findings"].as_array().unwrap());
    findings.map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn findings_are_data_and_decide_the_exit_code() {
    let cooper = world(DIRTY);
    let out = check(&cooper, &[]);
    assert_eq!(out.code, 1, "{}", out.stderr);
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots", omit_expression => true }, {
        insta::assert_snapshot!("check_text", out.stdout);
    });
    assert_eq!(out.stderr, "2 findings in 1 file: 2 warnings; `--fix` mends 1\n");
    assert_eq!(check(&cooper, &["--fail-on=error"]).code, 0);
    assert_eq!(check(&cooper, &["--fail-on=never"]).code, 0);
    assert_eq!(check(&cooper, &["--error=FromAsCasing", "--fail-on=error"]).code, 1);
    cooper.put("Dockerfile", CLEAN);
    let out = check(&cooper, &[]);
    assert_eq!((out.code, out.stdout.as_str(), out.stderr.as_str()), (0, "", "no findings in 1 file\n"));
}

#[test]
fn what_cannot_be_read_is_no_finding() {
    let cooper = world("FROM scratch\nRUNN x\n");
    let out = check(&cooper, &["--format=json"]);
    assert_eq!((out.code, rules(&out)), (1, vec!["syntax".to_owned()]));
    for args in [
        &["nosuch"][..],
        &["-f", "nosuch"],
        &["--config=nosuch"],
        &["--only=Nosuch"],
        &["--explain=DL9"],
        &["--call=x"],
    ] {
        let message = check(&cooper, args).fails(2);
        assert!(message.starts_with("error: "), "{args:?}: {message}");
    }
    let message = check(&cooper, &["--skip=FromAsCasin"]).fails(2);
    assert!(message.contains("hint: did you mean `FromAsCasing`?"), "{message}");
}

#[test]
fn every_format_is_chosen_by_name() {
    let cooper = world(DIRTY);
    let printed = |format: &str| check(&cooper, &[&format!("--format={format}")]).stdout;
    assert!(printed("text").contains("--> Dockerfile:1:14"));
    assert_eq!(printed("github").lines().filter(|line| line.starts_with("::warning file=Dockerfile,line=")).count(), 2);
    assert!(printed("gnu").starts_with("Dockerfile:1:14: warning: "));
    let parsed = |format: &str| serde_json::from_str::<Value>(&printed(format)).unwrap();
    assert_eq!(parsed("json")["counts"]["warning"], 2);
    assert_eq!(parsed("sarif")["runs"][0]["results"].as_array().unwrap().len(), 2);
    assert_eq!(parsed("gitlab").as_array().unwrap().len(), 2);
}

#[test]
fn files_directories_and_standard_input() {
    let cooper = world(CLEAN);
    cooper.put("api.Dockerfile", DIRTY);
    cooper.put("Dockerfile.dockerignore", "");
    cooper.put("sub/Containerfile", DIRTY);
    let files = |args: &[&str]| {
        let document = json(&check(&cooper, &[args, &["--format=json"]].concat()));
        let files = document["files"].as_array().unwrap().iter().map(|file| file["file"].as_str().unwrap().to_owned());
        files.collect::<Vec<_>>()
    };
    assert_eq!(files(&[]), ["Dockerfile", "api.Dockerfile"]);
    assert_eq!(files(&["sub", "Dockerfile"]), ["sub/Containerfile", "Dockerfile"]);
    assert_eq!(files(&["-f", "sub/Containerfile", "."]), ["sub/Containerfile"]);
    let out = cooper.feed(&["check", ONLY, "--format=json", "-"], DIRTY.as_bytes());
    assert_eq!((out.code, rules(&out).len()), (1, 2));
    std::fs::create_dir(cooper.path("empty")).unwrap();
    assert!(check(&cooper, &["empty"]).fails(2).contains("there is no Dockerfile in `empty`"));
}

#[test]
fn the_context_and_the_build_arguments_are_known() {
    let cooper = world("ARG V\nFROM scratch\nARG W\nCOPY $W /\nCOPY hidden.log /\nENV X=$WW\n");
    cooper.put(".dockerignore", "*.log\n");
    let out = check(&cooper, &["--format=json", "--build-arg=W=file"]);
    assert_eq!(rules(&out), ["CopyIgnoredFile", "UndefinedVar"], "{}", out.stdout);
}

#[test]
fn settings_files() {
    let cooper = world(DIRTY);
    let found = |args: &[&str]| {
        let out = cooper.run(&[&["check", "--format=json"], args].concat());
        (out.code, rules(&out))
    };
    let both = || vec!["FromAsCasing".to_owned(), "JSONArgsRecommended".to_owned()];
    let only = "only = [\"FromAsCasing\", \"JSONArgsRecommended\"]\n";
    cooper.put("cooper.toml", format!("[check]\n{only}"));
    assert_eq!(found(&[]), (1, both()));
    cooper
        .put("cooper.toml", format!("[check]\n{only}fail-on = \"error\"\nskip = [\"FromAsCasing\"]\n[other]\nx = 1\n"));
    assert_eq!(found(&[]), (0, vec!["JSONArgsRecommended".to_owned()]));
    assert_eq!(found(&["--fail-on=warning"]).0, 1, "the command line wins");
    // It is found above the Dockerfile, but not above the repository.
    cooper.put("deep/er/Dockerfile", DIRTY);
    assert_eq!(found(&["deep/er"]).0, 0);
    std::fs::create_dir(cooper.path("deep/.git")).unwrap();
    assert_eq!(found(&["deep/er", ONLY]).0, 1);
    cooper.put("cooper.toml", "[check]\nskp = []\n");
    let message = cooper.run(&["check"]).fails(2);
    assert!(message.contains("unknown field `skp`") && message.contains("cooper.toml"), "{message}");
    cooper.put("cooper.toml", "[check]\nskip = [\"Nosuch\"]\n");
    assert!(cooper.run(&["check"]).fails(2).contains("there is no rule `Nosuch`"));
}

#[test]
fn settings_of_hadolint() {
    let cooper = world(DIRTY);
    cooper.put(
        ".hadolint.yaml",
        "ignored: [FromAsCasing, SC2086]\noverride:\n  error: [JSONArgsRecommended]\nfailure-threshold: error\n",
    );
    let out = check(&cooper, &["--format=json", "--config=.hadolint.yaml"]);
    assert_eq!((out.code, json(&out)["counts"]["error"].as_u64()), (1, Some(1)), "{}", out.stdout);
    cooper.put(".hadolint.yaml", "no-fail: true\nlabel-schema:\n  version: semver\ntrustedRegistries:\n- docker.io\n");
    assert_eq!(check(&cooper, &[]).code, 0);
    cooper.put(".hadolint.yaml", "ignored: {\n");
    assert!(check(&cooper, &[]).fails(2).contains(".hadolint.yaml"));
}

#[test]
fn fixes_change_only_what_they_say() {
    let dockerfile = "\u{feff}# one\r\n\r\n\r\nFROM   scratch  as  out \r\nCOPY file / \t\nCMD run it";
    let cooper = world(dockerfile);
    std::fs::set_permissions(cooper.path("Dockerfile"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let out = check(&cooper, &["--diff"]);
    assert!(
        out.stdout.contains("-FROM   scratch  as  out") && out.stdout.contains("+FROM   scratch  AS  out"),
        "{}",
        out.stdout
    );
    assert_eq!(cooper.get("Dockerfile"), dockerfile, "nothing is written");
    let out = check(&cooper, &["--fix", "--format=json"]);
    assert_eq!((out.code, rules(&out)), (1, vec!["JSONArgsRecommended".to_owned()]));
    assert_eq!(cooper.get("Dockerfile"), dockerfile.replace(" as ", " AS "));
    assert_eq!(cooper.path("Dockerfile").metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let out = check(&cooper, &["--fix=unsafe"]);
    assert_eq!(out.code, 0, "{}", out.stdout);
    assert!(cooper.get("Dockerfile").ends_with("CMD [\"run\", \"it\"]"));
    assert!(cooper.feed(&["check", ONLY, "--fix", "-"], DIRTY.as_bytes()).fails(2).contains("standard input"));
}

#[test]
fn privileged_fixes_are_verified_by_building() {
    let Some(cooper) = Cooper::new() else { return };
    cooper.put("file", "x");
    cooper.put("Dockerfile", "FROM base as out\nCOPY file /\nRUN echo hello > /hello\n");
    let out = check(&cooper, &["--fix=verify"]);
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(out.stderr.contains("verified: `Dockerfile` builds the same image"), "{}", out.stderr);
    assert!(cooper.get("Dockerfile").starts_with("FROM base AS out\n"));
    let dirty = "FROM base\nCMD run it\n";
    cooper.put("Dockerfile", dirty);
    let out = check(&cooper, &["--fix=unsafe,verify"]);
    assert_eq!(out.code, 1);
    assert!(out.stderr.contains("Cmd of the config was"), "{}", out.stderr);
    assert_eq!(cooper.get("Dockerfile"), dirty, "nothing is written");
    check(&cooper, &["--fix=unsafe,verify", "--force"]).ok();
    assert_eq!(cooper.get("Dockerfile"), "FROM base\nCMD [\"run\", \"it\"]\n");
    cooper.put("Dockerfile", "FROM base as out\nRUN exit 3\n");
    let out = check(&cooper, &["--fix=verify"]);
    assert!(out.code == 1 && out.stderr.contains("failed: exit code 3"), "{}", out.stderr);
    assert!(cooper.get("Dockerfile").starts_with("FROM base as"), "nothing is written");
}

#[test]
fn rules_are_listed_and_explained() {
    let cooper = Cooper::empty();
    let listed = cooper.run(&["check", "--list-rules"]).ok().stdout;
    assert!(listed.starts_with("RULE") && listed.contains("FromAsCasing"), "{listed}");
    let listed: Value =
        serde_json::from_str(&cooper.run(&["check", "--list-rules", "--format=json"]).ok().stdout).unwrap();
    assert!(listed.as_array().unwrap().iter().any(|rule| rule["rule"] == "FromAsCasing" && rule["fixable"] == true));
    let page = cooper.run(&["check", "--explain=FromAsCasing"]).ok().stdout;
    assert!(page.starts_with("# FromAsCasing\n") && page.contains("```dockerfile\n"), "{page}");
}

#[test]
fn calls_instead_of_builds() {
    let cooper = world(
        "# out is the result\nFROM scratch AS out\n# V is used\nARG V=1\nRUN --mount=type=secret,id=key --mount=type=ssh,id=me,required x\nCMD run\n",
    );
    let outline = "TARGET:      out\nDESCRIPTION: is the result\n\nBUILD ARG   VALUE   DESCRIPTION\nV           2       is used\n\n\
                   SECRET   REQUIRED\nkey      \n\nSSH   REQUIRED\nme    true\n\n";
    for verb in ["build", "check"] {
        let run = |what: &str| cooper.run(&[verb, "--build-arg=V=2", &format!("--call={what}"), "."]);
        assert_eq!(run("outline").ok().stdout, outline);
        assert_eq!(run("targets").ok().stdout, "TARGET        DESCRIPTION\nout (default) is the result\n");
        let targets: Value = serde_json::from_str(&run("targets,format=json").ok().stdout).unwrap();
        assert_eq!(targets["targets"][0]["name"], "out");
        let out = run("check");
        assert_eq!(out.code, 1);
        assert!(
            out.stdout
                .starts_with("Check complete, 1 warning has been found!\n\nWARNING: JSONArgsRecommended - https://"),
            "{}",
            out.stdout
        );
        let checked = run("check,format=json");
        let checked: Value = serde_json::from_str(&checked.stdout).unwrap();
        assert_eq!(checked["warnings"][0]["ruleName"], "JSONArgsRecommended");
        assert_eq!(run("check,ignorestatus=true").code, 0);
    }
    assert_eq!(cooper.run(&["build", "--check", "."]).code, 1);
    cooper.put("Dockerfile", "FROM scratch\n");
    assert_eq!(cooper.run(&["build", "--check", "."]).ok().stdout, "Check complete, no warnings found.\n");
    cooper.put("Dockerfile", "FROM scratch\nRUNN x\n");
    let out = cooper.run(&["build", "--check", "."]);
    assert!(out.code == 1 && out.stderr.contains("unknown instruction `RUNN`"), "{}", out.stderr);
    cooper.put("Dockerfile", "FROM scratch\nCOPY hidden.log /\n");
    cooper.put(".dockerignore", "*.log\n");
    assert!(cooper.run(&["build", "--check", "."]).stdout.contains("WARNING: CopyIgnoredFile - https://"));
    assert!(!cooper.root().exists(), "no store is made");
}

#[test]
fn formatting_in_place_to_a_diff_and_through_a_pipe() {
    let dirty = "from  scratch as out\n\n\n\ncopy   file \\\n  /\n";
    let clean = "FROM scratch AS out\n\nCOPY file \\\n    /\n";
    let cooper = world(dirty);
    assert_eq!(cooper.feed(&["fmt", "-"], dirty.as_bytes()).ok().stdout, clean);
    let out = cooper.run(&["fmt", "--check"]);
    assert_eq!((out.code, out.stdout.as_str()), (1, "Dockerfile\n"));
    assert!(cooper.run(&["fmt", "--diff"]).ok().stdout.contains("+COPY file"));
    assert_eq!(cooper.get("Dockerfile"), dirty, "nothing is written");
    let out = cooper.run(&["fmt"]).ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", "formatted `Dockerfile`\n"));
    assert_eq!(cooper.get("Dockerfile"), clean);
    assert_eq!(cooper.run(&["fmt", "--check", "Dockerfile"]).ok().stdout, "");
    cooper.put("Dockerfile", "FROM scratch\nRUNN x\n");
    let message = cooper.run(&["fmt"]).fails(2);
    assert!(message.contains("unknown instruction `RUNN`") && message.contains("Dockerfile:2:1"), "{message}");
}

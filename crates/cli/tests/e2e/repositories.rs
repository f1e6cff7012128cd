//! ADD and contexts of git repositories, honest and hostile.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Cooper, installed};
use crate::sources::{built, files, holds};
use crate::web::Web;

/// A commit's date in these tests: 2020-01-02 03:04:05.
const DATE: &str = "1577934245 +0000";

/// A world with a server of repositories; nothing where there is no git.
struct World {
    cooper: Cooper,
    web: Web,
}

fn world() -> Option<World> {
    let cooper = Cooper::bare().filter(|_| installed("git"))?;
    std::fs::create_dir_all(cooper.path("../git")).unwrap();
    let web = Web::start(cooper.path("../git"));
    Some(World { cooper, web })
}

impl World {
    fn dir(&self, name: &str) -> PathBuf {
        self.cooper.path(&format!("../git/{name}"))
    }

    /// Runs git in a repository of the server.
    #[track_caller]
    fn git(&self, name: &str, args: &[&str]) -> String {
        let mut command = Command::new("/usr/bin/git");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/dev/null").current_dir(self.dir(name));
        for (name, value) in [("NAME", "x"), ("EMAIL", "x@x"), ("DATE", DATE)] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        let out = command.args(["-c", "protocol.file.allow=always"]).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// A repository of these files (`-> x` is a link, a name ending in `*` an executable) with one commit; its id.
    fn repository(&self, name: &str, files: &[(&str, &str)], init: &[&str]) -> String {
        std::fs::create_dir_all(self.dir(name)).unwrap();
        self.git(name, &[&["init", "-q", "-b", "main"], init, &["."]].concat());
        self.git(name, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        self.commit(name, files)
    }

    fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        use std::os::unix::fs::{PermissionsExt, symlink};
        for (path, content) in files {
            let (path, executable) = path.strip_suffix('*').map_or((*path, false), |path| (path, true));
            let path = self.dir(name).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => symlink(target, &path).unwrap(),
                None => std::fs::write(&path, content).unwrap(),
            }
            if executable {
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            }
        }
        self.git(name, &["add", "-A"]);
        self.git(name, &["commit", "-q", "--allow-empty", "-m", "x"]);
        self.git(name, &["rev-parse", "HEAD"])
    }

    /// The usual one.
    fn usual(&self) -> String {
        self.repository("r.git", USUAL, &[])
    }

    /// The address of a repository. A `.git` beside its work tree is served as well.
    fn at(&self, name: &str) -> String {
        self.web.at(&format!("/git/{name}"))
    }

    #[track_caller]
    fn add(&self, source: &str, flags: &str) -> Vec<String> {
        built(&self.cooper, &format!("FROM scratch\nADD {flags} {source} /\n"), &[])
    }

    #[track_caller]
    fn refused(&self, source: &str, flags: &str) -> String {
        self.cooper.build(&format!("FROM scratch\nADD {flags} {source} /\n"), &[]).fails(1)
    }

    #[track_caller]
    fn context(&self, args: &[&str]) -> Vec<String> {
        self.cooper.run(&[&["build", "-o", "type=tar,dest=out.tar"], args].concat()).ok();
        files(&self.cooper, "out.tar")
    }
}

const USUAL: &[(&str, &str)] = &[
    ("Dockerfile", "FROM scratch\nCOPY a /\n"),
    ("a", "one"),
    ("d/run*", "#!"),
    ("d/deep/f", "f"),
    ("d/Dockerfile", "FROM scratch\nCOPY run /\n"),
    ("link", "-> a"),
    ("dirlink", "-> d"),
];

const WHOLE: &[&str] = &[
    "Dockerfile 644 0:0 315532800 FROM scratch|COPY a /",
    "a 644 0:0 315532800 one",
    "d/Dockerfile 644 0:0 315532800 FROM scratch|COPY run /",
    "d/deep/f 644 0:0 315532800 f",
    "d/run 755 0:0 315532800 #!",
    "dirlink 777 0:0 315532800 -> d",
    "link 777 0:0 315532800 -> a",
];

#[test]
fn privileged_whatever_names_a_commit() {
    let Some(world) = world() else { return };
    let first = world.usual();
    world.git("r.git", &["tag", "-a", "v1", "-m", "x"]);
    world.git("r.git", &["branch", "feat/x"]);
    let tag = world.git("r.git", &["rev-parse", "v1"]);
    world.commit("r.git", &[("a", "two")]);
    let url = world.at("r.git");
    let a = |source: &str| world.add(source, "").into_iter().find(|line| line.starts_with("a ")).unwrap();
    for (source, content) in [
        (url.clone(), "two"),
        (format!("{url}#main"), "two"),
        (format!("{url}#v1"), "one"),
        (format!("{url}#refs/tags/v1"), "one"),
        (format!("{url}#feat/x"), "one"),
        (format!("{url}#{first}"), "one"),
        (format!("{url}?tag=v1"), "one"),
        (format!("{url}?branch=feat/x"), "one"),
        (format!("{url}?ref=v1&checksum={}", &first[..9]), "one"),
        (format!("{url}?ref=v1&checksum={tag}"), "one"),
        (format!("{url}?ref=main&commit={first}&fetch-by-commit"), "one"),
    ] {
        assert_eq!(a(&source), format!("a 644 0:0 315532800 {content}"), "{source}");
    }
    assert_eq!(world.add(&format!("{url}#v1"), ""), WHOLE);
    let sub: Vec<String> = WHOLE[2..5].iter().map(|line| line[2..].to_owned()).collect();
    assert_eq!(world.add(&format!("{url}#v1:d"), ""), sub);
    assert_eq!(world.add(&format!("{url}?ref=v1&subdir=/d/deep/.."), ""), sub);
    assert_eq!(world.add(&format!("{url}#v1"), "--exclude=* --exclude=!a"), [WHOLE[1]]);
}

#[test]
fn privileged_what_leads_to_no_commit() {
    let Some(world) = world() else { return };
    let first = world.usual();
    world.git("r.git", &["tag", "v1"]);
    world.commit("r.git", &[("a", "two")]);
    let url = world.at("r.git");
    for (source, flags, expect) in [
        (format!("{url}#nope"), "", "the repository has no branch or tag `nope`".to_owned()),
        (format!("{url}#{}", &first[..10]), "", "hint: a commit is given by all of its digits".to_owned()),
        (format!("{url}#{}", "0".repeat(40)), "", format!("#{}`", "0".repeat(40))),
        (
            format!("{url}#main"),
            &format!("--checksum={first}"),
            format!("it leads to {}", world.git("r.git", &["rev-parse", "main"])),
        ),
        (format!("{url}#{first}"), "--checksum=abc", "is not what the checksum says".to_owned()),
        (
            format!("{url}?ref=main&checksum=abc&fetch-by-commit=1"),
            "",
            "fetch-by-commit needs a whole commit id".to_owned(),
        ),
        (world.at("none.git"), "", "not found".to_owned()),
        ("http://127.0.0.1:1/x.git".to_owned(), "", "git says:".to_owned()),
    ] {
        let said = world.refused(&source, flags);
        assert!(said.contains(&expect) && said.contains("Dockerfile:2"), "{source} {flags}: {said}");
    }
}

#[test]
fn privileged_a_reference_that_did_not_move_costs_one_question() {
    let Some(world) = world() else { return };
    let first = world.usual();
    let url = world.at("r.git");
    let requests = |source: &str| {
        let ran = world.cooper.build(&format!("FROM scratch\nADD {source} /\n"), &[]).ok().ran();
        let fetches = world.web.log().into_iter().filter(|line| line.starts_with("POST")).count();
        (ran.len(), fetches > 1)
    };
    let asked = world.web.log().len();
    assert_eq!((requests(&format!("{url}#main")), asked), ((2, true), 0));
    assert_eq!(requests(&format!("{url}#main")), (0, false), "ls-remote posts once");
    // A name for the same commit: neither fetched nor copied.
    world.git("r.git", &["tag", "v1"]);
    assert_eq!(requests(&format!("{url}#v1")), (0, false));
    world.cooper.build(&format!("FROM scratch\nADD {url}#{first} /\n"), &[]).ok();
    assert_eq!(world.web.log(), [""; 0], "a commit needs no question");
    world.commit("r.git", &[("a", "two")]);
    assert_eq!(requests(&format!("{url}#main")), (2, true));
    // What is kept of the remote is broken: it is fetched anew.
    let prune = world.cooper.run(&["prune", "-a", "-f", "--filter", "type=record"]);
    assert_eq!(prune.code, 0, "{}", prune.stderr);
    for entry in std::fs::read_dir(world.cooper.root().join("cache-mounts")).unwrap().flatten() {
        let _ = std::fs::remove_dir_all(entry.path().join("sha1.git/objects"));
    }
    assert!(world.add(&url, "").contains(&"a 644 0:0 315532800 two".to_owned()));
}

#[test]
fn privileged_git_dir_and_submodules() {
    let Some(world) = world() else { return };
    world.usual();
    world.repository("s.git", &[("s", "sub")], &[]);
    world.git("r.git", &["submodule", "--quiet", "add", "../s.git", "m"]);
    world.commit("r.git", &[]);
    let url = world.at("r.git");
    let names = |lines: Vec<String>| -> Vec<String> {
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let with = names(world.add(&url, ""));
    assert!(with.contains(&"m/s".to_owned()) && !with.contains(&"m/.git".to_owned()), "{with:?}");
    assert!(!names(world.add(&format!("{url}?submodules=false"), "")).contains(&"m/s".to_owned()));
    for source in [format!("{url}?keep-git-dir"), url.clone()] {
        let kept = names(world.add(&source, if source == url { "--keep-git-dir" } else { "" }));
        for name in [".git/HEAD", ".git/config", ".git/index", ".git/refs/heads/main", "m/s", "m/.git"] {
            assert!(kept.contains(&name.to_owned()), "{name}: {kept:?}");
        }
    }
    assert!(!names(world.add(&format!("{url}?keep-git-dir=1#main:d"), "")).contains(&".git/HEAD".to_owned()));
}

#[test]
fn privileged_a_kept_git_dir_is_the_same_everywhere() {
    let Some(world) = world() else { return };
    world.usual();
    let url = world.at("r.git");
    let id = |cooper: &Cooper| {
        cooper.build(&format!("FROM scratch\nADD --keep-git-dir=true {url}#main /\n"), &["-q"]).ok().stdout
    };
    let other = Cooper::empty();
    assert_eq!(id(&world.cooper), id(&other));
    let _ = world.add(&url, "--keep-git-dir=true");
    let out = world.cooper.path("out");
    world
        .cooper
        .build(&format!("FROM scratch\nADD --keep-git-dir=true {url}#main /\n"), &["-o", out.to_str().unwrap()])
        .ok();
    let status = Command::new("/usr/bin/git").args(["status", "--porcelain"]).current_dir(&out).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "", "the work tree is clean");
}

#[test]
fn privileged_sha256_repositories() {
    let Some(world) = world() else { return };
    let commit = world.repository("r.git", USUAL, &["--object-format=sha256"]);
    assert_eq!(commit.len(), 64);
    let url = world.at("r.git");
    assert_eq!(world.add(&url, &format!("--checksum={commit}")), WHOLE);
    assert_eq!(world.add(&format!("{url}#{commit}"), ""), WHOLE);
    assert!(world.add(&url, "--keep-git-dir=true").iter().any(|line| line.starts_with(".git/HEAD")));
}

#[test]
fn privileged_repositories_as_contexts() {
    let Some(world) = world() else { return };
    world.usual();
    let url = world.at("r.git");
    assert_eq!(world.context(&[&url]), ["a 644 0:0 315532800 one"]);
    assert_eq!(world.context(&[&format!("{url}#main:d")]), ["run 755 0:0 315532800 #!"]);
    world.cooper.put("../D", "FROM scratch\nCOPY link /l\n");
    let outside = world.cooper.text("../D");
    assert_eq!(world.context(&["-f", &outside, &url]), ["l 644 0:0 315532800 one"]);
    let missing = world.cooper.run(&["build", "-f", "d/Dockerfil", &url]).fails(1);
    assert!(missing.contains("there is no `d/Dockerfil` in the build context"), "{missing}");
    let named = ["--build-context", &format!("n={url}#main:d")];
    assert_eq!(built(&world.cooper, "FROM scratch\nCOPY --from=n run /n\n", &named), ["n 755 0:0 315532800 #!"]);
    assert_eq!(built(&world.cooper, "FROM n\n", &named).len(), 3);
    world.cooper.put("../K", "FROM scratch\nCOPY .git/HEAD /h\n");
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", "-f", &world.cooper.text("../K"), &url];
    assert_eq!(world.context(&keep).len(), 1);
}

#[test]
fn privileged_the_date_of_a_commit_is_the_images() {
    let Some(world) = world() else { return };
    world.usual();
    let created = |args: &[&str]| {
        world.cooper.run(&[&["build", "-t", "x"], args, &[world.at("r.git").as_str()]].concat()).ok();
        world.cooper.inspect("x")["Created"].as_str().unwrap().to_owned()
    };
    assert_eq!(created(&[]), "2020-01-02T03:04:05Z");
    assert_eq!(created(&["--build-arg", "SOURCE_DATE_EPOCH=context", "--timestamps=preserve"]), "2020-01-02T03:04:05Z");
    assert_eq!(created(&["--build-arg", "SOURCE_DATE_EPOCH=1"]), "1970-01-01T00:00:01Z");
    assert_ne!(created(&["--timestamps=preserve"]), "2020-01-02T03:04:05Z", "as in BuildKit");
    let dated = world.context(&["--timestamps=preserve", &format!("{}?mtime=commit", world.at("r.git"))]);
    assert_eq!(dated, ["a 644 0:0 1577934245 one"]);
}

#[test]
fn privileged_tokens_reach_their_remote_and_nothing_else() {
    let Some(world) = world() else { return };
    world.usual();
    // `x-access-token:CANARY`
    world.web.want_login("basic eC1hY2Nlc3MtdG9rZW46Q0FOQVJZ");
    let url = world.at("r.git");
    let denied = world.refused(&url, "");
    assert!(denied.contains("hint: a token is given with `--secret id=GIT_AUTH_TOKEN`"), "{denied}");
    world.cooper.put("../token", "CANARY\n");
    world.cooper.put("../wrong", "WRONG\n");
    let secret = |id: &str, file: &str| format!("id={id},src={}", world.cooper.text(file));
    let host = format!("GIT_AUTH_TOKEN.{}", world.web.url.trim_start_matches("http://"));
    let args = ["--secret", &secret(&host, "../token"), "--secret", &secret("GIT_AUTH_TOKEN", "../wrong")];
    let dockerfile = format!("FROM scratch\nADD {url} /\n");
    let out = world.cooper.build(&dockerfile, &args).ok();
    assert!(!out.stderr.contains("CANARY"));
    world.cooper.put("../header", "basic eC1hY2Nlc3MtdG9rZW46Q0FOQVJZ");
    world.commit("r.git", &[("a", "two")]);
    world.cooper.build(&dockerfile, &["--secret", &secret("GIT_AUTH_HEADER", "../header")]).ok();
    // User and password of the address.
    world.web.want_login("Basic dTpDQU5BUlk=");
    let with_login = url.replace("http://", "http://u:CANARY@");
    world.commit("r.git", &[("a", "three")]);
    world.cooper.run(&["build", &with_login]).ok();
    for canary in [&b"CANARY"[..], b"eC1hY2Nlc3MtdG9rZW46Q0FOQVJZ", b"dTpDQU5BUlk="] {
        assert!(!holds(&world.cooper.root(), canary), "{}", String::from_utf8_lossy(canary));
    }
}

#[test]
fn privileged_subdirs_are_directories_of_the_repository() {
    let Some(world) = world() else { return };
    world.usual();
    world.commit("r.git", &[("up", "-> .."), ("root", "-> /"), ("d/back", "-> ../d"), ("etc", "-> /etc")]);
    let url = world.at("r.git");
    for subdir in [
        "dirlink",
        "dirlink/deep",
        "d/back",
        "d/back/deep",
        "up",
        "up/up",
        "root",
        "root/etc",
        "etc",
        "a",
        "a/b",
        "link",
        "none",
        "d/none",
        ".git",
    ] {
        let said = world.refused(&format!("{url}#main:{subdir}"), "");
        assert!(said.contains("the repository has no directory"), "{subdir}: {said}");
    }
    // What leads out stops at the root.
    for subdir in ["../d", "d/../../d", "/d", "./d/", "d//"] {
        assert_eq!(world.add(&format!("{url}#main:{subdir}"), "").len(), 4, "{subdir}");
    }
    let link = world.cooper.run(&["build", "-f", "root/etc/passwd", &url]).fails(1);
    assert!(link.contains("too many links on the way to `root/etc/passwd`"), "`/` is the repository's own: {link}");
}

#[test]
fn privileged_repositories_start_nothing_and_reach_nothing_here() {
    let Some(world) = world() else { return };
    world.usual();
    let ran = world.cooper.path("../ran");
    let touch = format!("touch {}", ran.display());
    // A filter that only the machine's configuration could define, hooks beside the files, and attributes that ask for them.
    world.commit(
        "r.git",
        &[(".gitattributes", "a filter=evil diff=evil\n"), ("hooks/post-checkout*", "#!/bin/sh\nfalse\n")],
    );
    world.cooper.put("../home/.gitconfig", format!("[filter \"evil\"]\n smudge = {touch}; cat\n process = {touch}\n[core]\n hooksPath = hooks\n fsmonitor = {touch}\n"));
    let url = world.at("r.git");
    assert!(world.add(&url, "--keep-git-dir=true").contains(&"a 644 0:0 315532800 one".to_owned()));
    world.repository("s.git", &[("secret", "s")], &[]);
    let local = world.dir("s.git").display().to_string();
    let ext = format!("ext::sh -c {touch}");
    for address in [local.as_str(), &format!("file://{local}"), &ext, "-u./x", "--upload-pack=touch x"] {
        let modules = format!("[submodule \"m\"]\n path = m\n url = {address}\n");
        world.commit("r.git", &[(".gitmodules", &modules)]);
        let id = world.git("s.git", &["rev-parse", "HEAD"]);
        world.git("r.git", &["update-index", "--add", "--cacheinfo", &format!("160000,{id},m")]);
        world.git("r.git", &["commit", "-q", "-m", "m"]);
        let said = world.refused(&url, "");
        assert!(said.contains("git says:"), "{address}: {said}");
        assert!(!holds(&world.cooper.root(), b"secret"), "{address}");
        world.git("r.git", &["rm", "-q", "--cached", "m"]);
    }
    // Names of submodules that lead out.
    let modules = format!("[submodule \"../../x\"]\n path = m\n url = {url}\n");
    world.commit("r.git", &[(".gitmodules", &modules)]);
    assert!(!ran.exists(), "something of the repository ran");
}

#[test]
fn privileged_trees_that_git_would_not_write() {
    let Some(world) = world() else { return };
    world.usual();
    let blob = world.git("r.git", &["rev-parse", "HEAD:a"]);
    let link = world.git("r.git", &["rev-parse", "HEAD:link"]);
    let inner = world.tree("r.git", &[("100644", &blob, "post-checkout")]);
    for (what, entries) in [
        ("a path that leads out", vec![("100644", blob.as_str(), "..")]),
        ("git's own directory", vec![("40000", inner.as_str(), ".git")]),
        ("git's own directory, otherwise spelt", vec![("40000", inner.as_str(), ".GIT")]),
        ("a slash", vec![("100644", blob.as_str(), "../x")]),
        ("a link and a directory of one name", vec![("120000", link.as_str(), "x"), ("40000", inner.as_str(), "x")]),
    ] {
        let tree = world.tree("r.git", &entries);
        let commit = world.git("r.git", &["commit-tree", "-m", "x", &tree]);
        world.git("r.git", &["update-ref", "refs/heads/evil", &commit]);
        let out = world
            .cooper
            .build(&format!("FROM scratch\nADD {}#evil /\n", world.at("r.git")), &["-o", "type=tar,dest=out.tar"]);
        // Some of these git takes, on a file system where they do no harm; none may leave the tree.
        if out.code == 0 {
            let found = files(&world.cooper, "out.tar");
            assert!(
                found.iter().all(|line| !line.starts_with("..") && !line.starts_with(".git/")),
                "{what}: {found:?}"
            );
        }
        assert_eq!(std::fs::read_dir(world.cooper.root().join("tmp")).unwrap().count(), 0, "{what}");
    }
}

impl World {
    /// Writes a tree object that git itself would refuse to make.
    fn tree(&self, name: &str, entries: &[(&str, &str, &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, id, path) in entries {
            bytes.extend(format!("{mode} {path}\0").as_bytes());
            bytes.extend((0..id.len()).step_by(2).map(|i| u8::from_str_radix(&id[i..i + 2], 16).unwrap()));
        }
        let file = self.cooper.path("../tree");
        std::fs::write(&file, bytes).unwrap();
        self.git(name, &["hash-object", "-t", "tree", "-w", "--literally", file.to_str().unwrap()])
    }
}

#[test]
fn privileged_over_ssh_with_the_callers_agent() {
    let Some(mut world) = world() else { return };
    world.usual();
    // Speaks as ssh does, to this machine.
    let script = "#!/bin/sh\necho \"$SSH_AUTH_SOCK $*\" >> \"${0%/*}/log\"\nfor last; do :; done\ncd \"${0%/*}/../git\" && eval \"$last\"\n";
    world.cooper.put("../bin/ssh", script);
    std::fs::set_permissions(world.cooper.path("../bin/ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let _agent = std::os::unix::net::UnixListener::bind(world.cooper.path("../agent")).unwrap();
    let dockerfile = "FROM scratch\nADD git@host:r.git#main /\n";
    let missing = world.cooper.build(dockerfile, &[]).fails(1);
    assert!(
        missing.contains("there is no ssh agent for `git@host:r.git#main`") && missing.contains("--ssh default"),
        "{missing}"
    );
    let ssh = |world: &World, args: &[&str]| {
        let mut command = world.cooper.command(args);
        command.env("PATH", format!("{}:/usr/bin:/bin", world.cooper.text("../bin")));
        command.env("SSH_AUTH_SOCK", world.cooper.path("../agent"));
        world.cooper.wait(command.spawn().unwrap())
    };
    world.cooper.env.clear();
    let out = ["-o", "type=tar,dest=out.tar", "."];
    ssh(&world, &[&["build", "--ssh", "default"], &out[..]].concat()).ok();
    assert_eq!(files(&world.cooper, "out.tar"), WHOLE);
    ssh(&world, &["build", "-o", "type=tar,dest=out.tar", "git@host:r.git#main"]).ok();
    let log = world.cooper.get("../bin/log");
    assert!(log.lines().all(|line| line.starts_with(&world.cooper.text("../agent"))), "{log}");
    for option in ["-F /dev/null", "BatchMode=yes", "StrictHostKeyChecking=accept-new", "IdentityFile=none"] {
        assert!(log.contains(option), "{option}: {log}");
    }
}

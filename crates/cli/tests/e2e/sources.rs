//! ADD of files at addresses, and contexts that are fetched or sent.

use std::io::{Cursor, Read};

use cooper_oci::{EntryKind, TarReader, decompress};

use crate::harness::{Cooper, installed};
use crate::web::{Page, Web};

/// A server without repositories.
pub(crate) fn web(cooper: &Cooper) -> Web {
    Web::start(cooper.path("../git"))
}

/// What an exported tar holds: `path mode uid:gid mtime what` for each entry but directories.
pub(crate) fn files(cooper: &Cooper, tar: &str) -> Vec<String> {
    let bytes = std::fs::read(cooper.path(tar)).unwrap();
    let mut reader = TarReader::new(decompress(Cursor::new(bytes)).unwrap());
    let mut out = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let what = match &entry.kind {
            EntryKind::Dir => continue,
            EntryKind::File { .. } => {
                let mut content = Vec::new();
                reader.read_to_end(&mut content).unwrap();
                String::from_utf8_lossy(&content).trim_end().replace('\n', "|")
            }
            EntryKind::Symlink { target } => format!("-> {}", target.display()),
            other => format!("{other:?}"),
        };
        let owner = format!("{}:{}", entry.uid, entry.gid);
        out.push(format!("{} {:o} {owner} {} {what}", entry.path.display(), entry.mode, entry.mtime.secs));
    }
    out
}

/// Builds a Dockerfile and lists its files.
#[track_caller]
pub(crate) fn built(cooper: &Cooper, dockerfile: &str, args: &[&str]) -> Vec<String> {
    cooper.build(dockerfile, &[args, &["-o", "type=tar,dest=out.tar"]].concat()).ok();
    files(cooper, "out.tar")
}

/// An archive of these files.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        let link = content.strip_prefix("-> ");
        let body = if link.is_some() { "" } else { content };
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000640");
        header[108..115].copy_from_slice(b"0001750");
        header[116..123].copy_from_slice(b"0001751");
        header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000001000");
        header[156] = if link.is_some() { b'2' } else { b'0' };
        let link = link.unwrap_or_default();
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(header);
        out.extend(body.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

#[test]
fn privileged_files_at_addresses() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    web.put("/a/file.txt", Page::file("hello").header("Last-Modified", "Thu, 01 Jan 1970 00:01:40 GMT"));
    web.put("/", Page::file("root"));
    web.put("/x.tar", Page::file(tar(&[("in", "side")])));
    let dockerfile = format!(
        "FROM scratch\nARG NAME=file\nADD {0}/a/$NAME.txt?v=1#x /d/\nADD {0}/a/file.txt /renamed\n\
         ADD --chown=5:6 --chmod=755 {0}/a/file.txt /owned\nADD {0}/ /u/\nADD {0}/x.tar /kept\nADD --unpack=true {0}/x.tar /un\n",
        web.url
    );
    let listed = built(&cooper, &dockerfile, &["--timestamps=preserve"]);
    let plain = |line: &String| !line.starts_with("kept");
    assert_eq!(
        listed.iter().filter(|line| plain(line)).collect::<Vec<_>>(),
        [
            "d/file.txt 600 0:0 100 hello",
            "owned 755 5:6 100 hello",
            "renamed 600 0:0 100 hello",
            "u/__unnamed__ 600 0:0 0 root",
            "un/in 640 1000:1001 512 side",
        ]
    );
    assert!(listed.iter().any(|line| line.starts_with("kept 600 0:0 ")));
    let clamped = built(&cooper, &dockerfile, &[]);
    assert!(clamped.iter().all(|line| line.contains(" 315532800 ")), "{clamped:?}");
}

#[test]
fn privileged_what_did_not_change_is_not_downloaded_again() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    let dockerfile = format!("FROM scratch\nADD {0}/etag {0}/dated {0}/stubborn /\n", web.url);
    web.put("/etag", Page::file("e"));
    let dated = |body: &str, second: u8| Page {
        status: 200,
        body: body.into(),
        headers: vec![("Last-Modified", format!("Thu, 01 Jan 1970 00:00:{second:02} GMT"))],
        ..Page::default()
    };
    web.put("/dated", dated("d", 1));
    web.put("/stubborn", Page { stubborn: true, ..Page::file("s") });
    cooper.build(&dockerfile, &[]).ok();
    let sorted = |mut log: Vec<String>| {
        log.sort();
        log
    };
    assert_eq!(sorted(web.log()), ["GET /dated", "GET /etag", "GET /stubborn"]);
    let second = cooper.build(&dockerfile, &[]).ok();
    assert_eq!(second.ran(), [""; 0], "nothing is fetched or copied");
    let asked = ["GET /dated (Thu, 01 Jan 1970 00:00:01 GMT)", "GET /etag (\"1-101\")", "GET /stubborn (\"1-115\")"];
    assert_eq!(sorted(web.log()), asked);
    web.put("/etag", Page::file("E"));
    assert_eq!(cooper.build(&dockerfile, &[]).ok().ran().len(), 2, "the download and the copy");
    // The same content under another date is a download, but no reason to copy again.
    web.put("/dated", dated("d", 2));
    let third = cooper.build(&dockerfile, &[]).ok().ran();
    assert_eq!(third, [format!("load {}/dated", web.url)]);
}

#[test]
fn privileged_a_checksum_is_held_and_saves_the_question() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    web.put("/f", Page::file("hello"));
    let (sha256, sha512) = (
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043",
    );
    for checksum in [sha256, sha512] {
        let dockerfile = format!("FROM scratch\nARG SUM={checksum}\nADD --checksum=$SUM {}/f /\n", web.url);
        assert_eq!(built(&cooper, &dockerfile, &[]), ["f 600 0:0 315532800 hello"]);
        web.log();
        cooper.build(&dockerfile, &[]).ok();
        assert_eq!(web.log(), [""; 0], "{checksum}");
    }
    let wrong = format!("FROM scratch\nADD --checksum={} {}/f /\n", sha256.replace("2cf", "3cf"), web.url);
    let said = cooper.build(&wrong, &[]).fails(1);
    assert!(
        said.contains("is not what the checksum says: it has sha256:2cf24") && said.contains("ADD --checksum"),
        "{said}"
    );
    assert!(said.contains(&format!("hint: if it is to be trusted: --checksum={sha256}")), "{said}");
}

#[test]
fn privileged_answers_that_are_no_file() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    web.put("/short", Page { missing: 5, ..Page::file("x") });
    web.put("/loop", Page::redirect("/loop"));
    web.put("/file", Page::redirect("file:///etc/passwd"));
    web.put("/ftp", Page::redirect("ftp://host/x"));
    web.put("/user", Page::redirect("http://u:p@127.0.0.1/x"));
    web.put("/lost", Page::status(302));
    web.put("/denied", Page::status(403));
    web.put("/same", Page::status(304));
    for (path, expect) in [
        ("/none", "answers 404 not found"),
        ("/denied", "answers 403 forbidden"),
        ("/short", "fetch"),
        ("/loop", "it redirects more than 10 times"),
        ("/file", "sends the client to an address that is not HTTP"),
        ("/ftp", "sends the client to an address that is not HTTP"),
        ("/user", "sends the client to an address with a user name in it"),
        ("/lost", "redirects without saying where to"),
        ("/same", "says that nothing changed, but was not asked"),
    ] {
        let said = cooper.build(&format!("FROM scratch\nADD {} /\n", web.at(path)), &[]).fails(1);
        assert!(said.contains(expect) && said.contains("Dockerfile:2"), "{path}: {said}");
    }
}

#[test]
fn privileged_secrets_go_to_their_host_only() {
    let Some(cooper) = Cooper::bare() else { return };
    let (web, other) = (web(&cooper), web(&cooper));
    web.put("/f", Page::redirect("/g"));
    web.put("/g", Page::redirect(other.at("/h")));
    other.put("/h", Page::redirect(web.at("/end")));
    web.put("/end", Page::file("x"));
    cooper.put("../token", "CANARY");
    let secret = format!("id=HTTP_AUTH_TOKEN_127.0.0.1,src={}", cooper.text("../token"));
    cooper.build(&format!("FROM scratch\nADD {} /\n", web.at("/f")), &["--secret", &secret]).ok();
    assert_eq!(web.log(), ["GET /f (Bearer CANARY)", "GET /g (Bearer CANARY)", "GET /end"]);
    assert_eq!(other.log(), ["GET /h"]);
    assert!(!holds(&cooper.root(), b"CANARY"));
}

/// Whether any file below a directory holds these bytes.
pub(crate) fn holds(dir: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().flatten().any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => holds(&entry.path(), bytes),
        kind if kind.is_file() => std::fs::read(entry.path()).unwrap().windows(bytes.len()).any(|part| part == bytes),
        _ => false,
    })
}

/// The context of the tests below, as an archive.
fn archive() -> Vec<u8> {
    tar(&[
        ("Dockerfile", "FROM scratch\nCOPY a sub /x/\n"),
        ("other/Dockerfile", "FROM scratch\nCOPY --chown=0 a /other\n"),
        ("a", "of the archive"),
        ("sub/link", "-> ../a"),
    ])
}

fn context(cooper: &Cooper, args: &[&str], stdin: &[u8]) -> Vec<String> {
    cooper.feed(&[&["build", "-o", "type=tar,dest=out.tar"], args].concat(), stdin).ok();
    files(cooper, "out.tar")
}

#[test]
fn privileged_contexts_that_are_archives() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    web.put("/ctx", Page::file(archive()));
    let whole = ["x/a 640 1000:1001 315532800 of the archive", "x/link 777 1000:1001 315532800 -> ../a"];
    assert_eq!(context(&cooper, &[&web.at("/ctx")], b""), whole);
    assert_eq!(context(&cooper, &["-"], &archive()), whole);
    cooper.put("../ctx.tar", archive());
    for program in ["gzip", "bzip2", "xz", "zstd"].into_iter().filter(|program| installed(program)) {
        let packed =
            std::process::Command::new(program).args(["-c", &cooper.text("../ctx.tar")]).output().unwrap().stdout;
        assert_eq!(context(&cooper, &["-"], &packed), whole, "{program}");
        web.put("/packed", Page::file(packed));
        assert_eq!(context(&cooper, &[&web.at("/packed")], b""), whole, "{program}");
    }
    let other = ["other 640 0:0 315532800 of the archive"];
    assert_eq!(context(&cooper, &["-f", "other/Dockerfile", "-"], &archive()), other);
    assert_eq!(context(&cooper, &["-f", "x/../../other/Dockerfile", "-"], &archive()).len(), 1);
}

#[test]
fn privileged_contexts_that_are_a_dockerfile() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    web.put("/D", Page::file("FROM scratch\nCOPY context /c\n"));
    assert_eq!(
        context(&cooper, &[&web.at("/D")], b""),
        ["c 600 0:0 315532800 FROM scratch|COPY context /c"],
        "as in BuildKit, the file is the context's only one"
    );
    let text = b"FROM scratch\nCOPY <<X /x\nhi\nX\n";
    assert_eq!(context(&cooper, &["-"], text), ["x 644 0:0 315532800 hi"]);
    cooper.put("a", "of the directory");
    let dir = cooper.text("");
    web.put("/E", Page::file("FROM scratch\nCOPY a /e\n"));
    assert_eq!(context(&cooper, &["-f", &web.at("/E"), &dir], b""), ["e 644 0:0 315532800 of the directory"]);
    web.put("/ctx", Page::file(archive()));
    let stdin = b"FROM scratch\nCOPY a /s\n";
    assert_eq!(context(&cooper, &["-f", "-", &web.at("/ctx")], stdin), ["s 640 1000:1001 315532800 of the archive"]);
    cooper.put("../outside/D", "FROM scratch\nCOPY a /o\n");
    let outside = cooper.text("../outside/D");
    assert_eq!(context(&cooper, &["-f", &outside, &web.at("/ctx")], b"").len(), 1);
}

#[test]
fn privileged_contexts_that_are_wrong() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    web.put("/ctx", Page::file(archive()));
    let said = |args: &[&str], stdin: &[u8]| cooper.feed(&[&["build"], args].concat(), stdin).fails(1);
    let missing = said(&["-f", "Dockerfil", &web.at("/ctx")], b"");
    assert!(missing.contains("no `Dockerfil` in the build context\nhint: there is `Dockerfile`"), "{missing}");
    let nothing = said(&["-"], &tar(&[("x", "y")]));
    assert!(nothing.contains("no `Dockerfile` in the build context\nhint: name one with `-f FILE`"), "{nothing}");
    let escaping = said(&["-"], &tar(&[("Dockerfile", "FROM scratch"), ("../x", "y")]));
    assert!(escaping.contains("the context: cannot unpack"), "{escaping}");
    let linked = tar(&[("Dockerfile", "-> /../../../../../../etc/passwd")]);
    assert!(said(&["-"], &linked).contains("no `Dockerfile` in the build context"));
    let binary = said(&["-"], &tar(&[("Dockerfile", "\u{0}\u{1}")]));
    assert!(!binary.is_empty());
    let cut = said(&["-"], &archive()[..700]);
    assert!(cut.contains("the context: cannot unpack"), "{cut}");
    let none = said(&[&web.at("/none")], b"");
    assert!(none.contains("answers 404 not found"), "{none}");
    let copy = said(&["-"], &tar(&[("Dockerfile", "FROM scratch\nCOPY nope /\n")]));
    assert!(copy.contains("`/nope` not found in the build context"), "{copy}");
}

#[test]
fn privileged_a_context_that_is_not_unpacked_because_it_cannot_be() {
    let Some(cooper) = Cooper::bare().filter(|_| installed("gzip")) else { return };
    cooper.put("../text", "no archive");
    let packed = std::process::Command::new("gzip").args(["-c", &cooper.text("../text")]).output().unwrap().stdout;
    let said = cooper.feed(&["build", "-"], &packed).fails(1);
    assert!(said.contains("the context is compressed, but is no tar archive"), "{said}");
}

#[test]
fn privileged_named_contexts_that_are_addresses() {
    let Some(cooper) = Cooper::bare() else { return };
    let web = web(&cooper);
    web.put("/f", Page::file("file"));
    let dockerfile = "FROM scratch\nCOPY --from=n context /x\n";
    let named = format!("n={}", web.at("/f"));
    assert_eq!(built(&cooper, dockerfile, &["--build-context", &named]), ["x 600 0:0 315532800 file"]);
    web.log();
    let again = cooper.build(dockerfile, &["--build-context", &named]).ok();
    assert_eq!((again.ran(), web.log()), (vec![], vec!["GET /f (\"4-102\")".to_owned()]));
}

#[test]
fn privileged_a_mode_that_is_overridden_is_no_reason_to_copy_again() {
    use std::os::unix::fs::PermissionsExt;
    let Some(cooper) = Cooper::bare() else { return };
    cooper.put("a", "x");
    let ran = |mode: u32, chmod: &str| {
        std::fs::set_permissions(cooper.path("a"), PermissionsExt::from_mode(mode)).unwrap();
        cooper.build(&format!("FROM scratch\nCOPY --chmod={chmod} a /\n"), &[]).ok().ran().len()
    };
    assert_eq!([ran(0o644, "755"), ran(0o600, "755"), ran(0o600, "u+x"), ran(0o640, "u+x")], [1, 0, 1, 1]);
}

#[test]
fn privileged_the_date_of_an_archive() {
    let Some(cooper) = Cooper::bare() else { return };
    let created = |args: &[&str]| {
        cooper.feed(&[&["build", "-t", "x"], args, &["-"]].concat(), &archive()).ok();
        cooper.inspect("x")["Created"].as_str().unwrap().to_owned()
    };
    assert_eq!(created(&[]), "1980-01-01T00:00:00Z");
    assert_eq!(created(&["--build-arg", "SOURCE_DATE_EPOCH=context"]), "1970-01-01T00:08:32Z", "its newest file's");
}

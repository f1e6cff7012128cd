//! From one lock to the next: what changes, what security alone changes, which CVE ids are named.

use cooper_base::{Lock, LockRequest, Places, changes, lock, name_cves};
use cooper_oci::MemoryBlobs;

use crate::NOW;
use crate::archive::{TestArchive, deb};
use crate::locking::{lock_with, manifest, names, offline};

fn security() -> TestArchive {
    let mut archive = TestArchive::new();
    archive.suite = "stable-security".into();
    archive.head = archive.head.replace("Suite: stable", "Suite: stable-security");
    archive
}

async fn update(main: &TestArchive, security: &TestArchive, old: &Lock, security_only: bool) -> Lock {
    let archives = [main.source(), security.source()];
    let architectures = ["amd64".to_owned()];
    let request = LockRequest {
        archives: &archives,
        deb_dirs: &[],
        architectures: &architectures,
        old: Some(old),
        now: NOW,
        security_only,
    };
    lock(&manifest("packages: [app, lib]"), &request, &offline(), &MemoryBlobs::default(), &|_| {}).await.unwrap()
}

#[tokio::test]
async fn security_alone_or_everything() {
    let mut main = TestArchive::new();
    main.add("app 1", b"app 1").add("lib 1", b"lib 1");
    let mut fixes = security();
    main.publish();
    fixes.publish();
    let declared = manifest("packages: [app, lib]");
    let old = lock_with(&[main.source(), fixes.source()], &declared, None).await.unwrap();
    main.add("app 2", b"app 2");
    fixes.add("lib 1.1; Depends: new", b"lib 1.1").add("new 1", b"new");
    main.publish();
    fixes.publish();
    assert_eq!(names(&update(&main, &fixes, &old, true).await), "app=1 lib=1.1 new=1");
    let new = update(&main, &fixes, &old, false).await;
    assert_eq!(names(&new), "app=2 lib=1.1 new=1");
    let told: Vec<String> = changes(&old, &new)
        .iter()
        .map(|it| format!("{} {:?} {:?} {}", it.name, it.old.as_deref(), it.new.as_deref(), it.security))
        .collect();
    assert_eq!(
        told,
        ["app Some(\"1\") Some(\"2\") false", "lib Some(\"1\") Some(\"1.1\") true", "new None Some(\"1\") true"]
    );
    assert_eq!(changes(&new, &new), []);
}

#[tokio::test]
async fn changelogs_name_what_was_fixed() {
    let log = |entries: &[(&str, &str)]| {
        let entry =
            |(version, text): &(&str, &str)| format!("lib ({version}) s; urgency=high\n\n  * {text}\n\n -- A  Mon\n\n");
        entries.iter().map(entry).collect::<String>()
    };
    let mut main = TestArchive::new();
    let first = [("1", "CVE-2090-1111")];
    main.add("lib 1", &deb("lib", "1", &log(&first))).add("app 1; Source: lib (1)", &deb("app", "1", ""));
    main.publish();
    let declared = manifest("packages: [app, lib]");
    let old = lock_with(&[main.source()], &declared, None).await.unwrap();
    let second = [("2", "Fix CVE-2096-22222."), first[0]];
    main.add("lib 2", &deb("lib", "2", &log(&second))).add("app 2; Source: lib (2)", &deb("app", "2", &log(&second)));
    main.publish();
    let new = lock_with(&[main.source()], &declared, Some(&old)).await.unwrap();
    let places = Places { net: offline(), deb_dirs: Vec::new(), mirrors: Default::default() };
    let mut changes = changes(&old, &new);
    name_cves(&mut changes, &old, &new, &places, &MemoryBlobs::default(), &|_| {}).await.unwrap();
    let told: Vec<_> =
        changes.iter().map(|it| (it.name.as_str(), it.cves.join(" "), it.changelog_of.as_deref())).collect();
    assert_eq!(told, [("app", "CVE-2096-22222".into(), Some("app")), ("lib", "CVE-2096-22222".into(), Some("app"))]);
}

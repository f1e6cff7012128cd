//! From a declared file to a lock, and every way in which an archive may not be believed.

use cooper_base::sources::{Archive, Net, NetOptions};
use cooper_base::{ErrorKind, Lock, LockRequest, Manifest, Origin, lock};
use cooper_oci::MemoryBlobs;

use crate::NOW;
use crate::archive::{DATE, TestArchive, deb};
use crate::signer::{How, Signer};

pub(crate) fn offline() -> Net {
    Net::new(NetOptions { client: None, idle_timeout: std::time::Duration::from_secs(10) })
}

/// A declared file with these lines.
pub(crate) fn manifest(text: &str) -> Manifest {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.yaml");
    std::fs::write(&path, text).unwrap();
    Manifest::load(&Origin::File(path)).unwrap()
}

pub(crate) async fn lock_with(
    archives: &[Archive],
    manifest: &Manifest,
    old: Option<&Lock>,
) -> cooper_base::Result<Lock> {
    let architectures = ["amd64".to_owned()];
    let request =
        LockRequest { archives, deb_dirs: &[], architectures: &architectures, old, now: NOW, security_only: false };
    lock(manifest, &request, &offline(), &MemoryBlobs::default(), &|_| {}).await
}

pub(crate) fn names(lock: &Lock) -> String {
    let packages = lock.packages("amd64").unwrap();
    packages.iter().map(|package| format!("{}={}", package.name, package.version)).collect::<Vec<_>>().join(" ")
}

fn small() -> TestArchive {
    let mut archive = TestArchive::new();
    archive.add("app 1; Depends: lib (>= 2)", b"app").add("lib 2; Source: src (2.1)", b"lib").add("other 1", b"other");
    archive
}

async fn outcome(archive: &TestArchive) -> String {
    let locked = lock_with(&[archive.source()], &manifest("packages: [app]"), None).await;
    locked.map_or_else(|e| format!("{:?}: {e}", e.kind()), |lock| names(&lock))
}

#[tokio::test]
async fn a_lock_of_every_form_of_archive() {
    for (extension, inline) in [(".gz", true), (".xz", true), (".zst", false), ("", false)] {
        let archive = TestArchive { extension, inline, ..small() };
        archive.publish();
        assert_eq!(outcome(&archive).await, "app=1 lib=2", "{extension}");
    }
}

#[tokio::test]
async fn the_lock_file_reads_as_it_was_written_and_knows_its_manifest() {
    let archive = small();
    archive.publish();
    let declared = manifest("packages: [app]");
    let lock = lock_with(&[archive.source()], &declared, None).await.unwrap();
    let text = lock.to_text();
    assert_eq!(Lock::parse(&text).unwrap(), lock);
    assert_eq!(lock_with(&[archive.source()], &declared, Some(&lock)).await.unwrap().to_text(), text);
    let lib = &lock.packages("amd64").unwrap()[1];
    assert_eq!((lib.source_name(), lib.source_version(), lib.release.as_deref()), ("src", "2.1", Some("stable")));
    assert_eq!(lock.releases["stable"].signed_by, [archive.signer.fingerprint()]);
    assert!(lock.expect_fresh(&declared).is_ok());
    assert!(lock.expect_fresh(&manifest("packages: [app]\nusers: [{name: me, uid: 1}]")).is_ok());
    assert_eq!(lock.expect_fresh(&manifest("packages: [app, other]")).unwrap_err().kind(), ErrorKind::Stale);
}

#[tokio::test]
async fn a_lock_is_written_whole_or_not_at_all() {
    let archive = small();
    archive.publish();
    let lock = lock_with(&[archive.source()], &manifest("packages: [app]"), None).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.lock");
    lock.write(&path).unwrap();
    assert_eq!(Lock::read(&path).unwrap(), lock);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(lock.write(&dir.path().join("missing/base.lock")).is_err());
}

#[tokio::test]
async fn hostile_lock_files_are_refused() {
    let archive = small();
    archive.publish();
    let text = lock_with(&[archive.source()], &manifest("packages: [app]"), None).await.unwrap().to_text();
    for (from, to) in [
        ("pool/app_1", "../../etc/app_1"),
        ("name = \"app\"", "name = \"../app\""),
        ("version = 1", "version = 2"),
        ("release = \"stable\"", "release = \"gone\""),
        ("size = 3", "size = -3"),
        ("sha256:", "sha1:"),
        ("filename", "file-name"),
    ] {
        let hostile = text.replacen(from, to, 1);
        assert_ne!(hostile, text, "{from}");
        assert!(Lock::parse(&hostile).is_err(), "{to}");
    }
}

#[tokio::test]
async fn releases_that_must_not_be_believed() {
    let check = async |change: &dyn Fn(&mut TestArchive), expect: &str| {
        let mut archive = small();
        change(&mut archive);
        archive.publish();
        let found = outcome(&archive).await;
        assert!(found.contains(expect), "{found}\nis not: {expect}");
    };
    check(&|a| a.how = How { life: 1, ..How::default() }, "Untrusted: file:").await;
    check(
        &|a| a.head = a.head.replace("stable", "other").replace("tree", "wood"),
        "the release of other and wood, not of stable",
    )
    .await;
    check(&|a| a.head = a.head.replace("amd64 ", ""), "NotFound: release stable").await;
    check(&|a| a.head = a.head.replace("main", "extra"), "has no component main").await;
    check(&|a| a.head += "Valid-Until: Sun, 01 Oct 2096 07:06:41 UTC\n", "Untrusted: release stable").await;
    check(&|a| a.head = a.head.replace("2096", "2099"), "from the future").await;
    check(&|a| a.head = a.head.replace(&format!("Date: {DATE}\n"), ""), "no field `Date`").await;
    check(&|a| a.index = "Package: app\nnonsense\n".into(), "Packages.gz, line 2").await;
    check(&|a| a.index = "A: b\n".repeat(3), "is there twice").await;
}

#[tokio::test]
async fn a_stranger_s_signature_is_refused() {
    let archive = small();
    archive.publish();
    let source = Archive { keyring: Signer::ed25519().keyring(), ..archive.source() };
    let error = lock_with(&[source], &manifest("packages: [app]"), None).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Untrusted && error.to_string().contains("not in the keyring"), "{error}");
}

#[tokio::test]
async fn an_unsigned_release_is_refused() {
    let archive = TestArchive { inline: false, ..small() };
    archive.publish();
    std::fs::remove_file(archive.path().join("dists/stable/Release.gpg")).unwrap();
    let found = outcome(&archive).await;
    assert!(found.starts_with("Untrusted") && found.ends_with("is not signed"), "{found}");
}

#[tokio::test]
async fn tampered_indexes_are_refused() {
    let archive = small();
    archive.publish();
    let path = "dists/stable/main/binary-amd64/Packages.gz";
    let mut bytes = std::fs::read(archive.path().join(path)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    archive.write(path, &bytes);
    let found = outcome(&archive).await;
    assert!(found.starts_with("Untrusted") && found.contains(path), "{found}");
    archive.write(path, b"short");
    assert!(outcome(&archive).await.starts_with("Untrusted"));
    std::fs::remove_file(archive.path().join(path)).unwrap();
    assert!(outcome(&archive).await.starts_with("NotFound"));
}

#[tokio::test]
async fn an_index_that_expands_without_bound_is_refused() {
    let mut archive = small();
    archive.index = " ".repeat(64 << 20);
    archive.publish();
    let found = outcome(&archive).await;
    assert!(found.starts_with("TooLarge: cannot decompress"), "{found}");
}

#[tokio::test]
async fn a_repository_that_was_rolled_back_is_refused() {
    let mut archive = small();
    archive.publish();
    let declared = manifest("packages: [app]");
    let newest = lock_with(&[archive.source()], &declared, None).await.unwrap();
    archive.head = archive.head.replace("07:06:40", "07:06:39");
    archive.publish();
    let error = lock_with(&[archive.source()], &declared, Some(&newest)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Untrusted && error.to_string().contains("rolled back"), "{error}");
    // Another mirror of the same archive is known by its key.
    let mut elsewhere = newest.clone();
    elsewhere.releases.get_mut("stable").unwrap().uri = "http://elsewhere".into();
    assert!(lock_with(&[archive.source()], &declared, Some(&elsewhere)).await.is_err());
    elsewhere.releases.get_mut("stable").unwrap().signed_by.clear();
    assert!(lock_with(&[archive.source()], &declared, Some(&elsewhere)).await.is_ok());
}

#[tokio::test]
async fn the_next_address_is_taken_where_the_first_has_nothing() {
    let archive = small();
    archive.publish();
    let uris = vec!["file:///nonexistent".to_owned(), archive.uri()];
    let lock = lock_with(&[Archive { uris, ..archive.source() }], &manifest("packages: [app]"), None).await.unwrap();
    assert_eq!(lock.releases["stable"].uri, archive.uri());
}

#[tokio::test]
async fn packages_of_a_directory_say_themselves_what_they_are() {
    let mut archive = TestArchive::new();
    archive.add("base 1", b"base");
    archive.publish();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("own_1_amd64.deb"), deb("own", "1", "")).unwrap();
    let (dirs, architectures) = ([dir.path().to_owned()], ["amd64".to_owned()]);
    let archives = [archive.source()];
    let request = LockRequest {
        archives: &archives,
        deb_dirs: &dirs,
        architectures: &architectures,
        old: None,
        now: NOW,
        security_only: false,
    };
    let cache = MemoryBlobs::default();
    let lock = lock(&manifest("packages: [own]"), &request, &offline(), &cache, &|_| {}).await.unwrap();
    assert_eq!(names(&lock), "base=1 own=1");
    std::fs::write(dir.path().join("own_1_amd64.deb"), b"!<arch>\nnonsense").unwrap();
    let error =
        cooper_base::lock(&manifest("packages: [own]"), &request, &offline(), &cache, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("own_1_amd64.deb"), "{error}");
}

//! .debs into a cache: resumed, redirected, verified; and what is refused.

use std::time::{Duration, SystemTime};

use cooper_base::sources::{Archive, Net, NetOptions};
use cooper_base::{Error, ErrorKind, Lock, Places, fetch};
use cooper_oci::{Blobs as _, MemoryBlobs};

use crate::archive::TestArchive;
use crate::locking::{lock_with, manifest};
use crate::server::{Fault, Server};

async fn net() -> Net {
    let client = cooper_registry::Client::new(cooper_registry::ClientOptions::new(std::sync::Arc::new(|| {
        SystemTime::UNIX_EPOCH
    })));
    Net::new(NetOptions { client: Some(client.http().await.unwrap()), idle_timeout: Duration::from_secs(20) })
}

/// A lock of one package of 100,000 bytes, served at this address.
async fn locked(archive: &mut TestArchive, uri: &str) -> Lock {
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(|at| at.to_le_bytes()).step_by(4).collect();
    archive.add("app 1", &bytes);
    archive.publish();
    let source = Archive { uris: vec![archive.uri()], ..archive.source() };
    let mut lock = lock_with(&[source], &manifest("packages: [app]"), None).await.unwrap();
    lock.releases.get_mut("stable").unwrap().uri = uri.to_owned();
    lock
}

async fn fetched(lock: &Lock) -> Result<(), Error> {
    let places = Places { net: net().await, deb_dirs: Vec::new(), mirrors: Default::default() };
    let cache = MemoryBlobs::default();
    fetch(lock, &["amd64".to_owned()], &places, &cache, &|_| {}).await?;
    let descriptor = lock.packages("amd64")?[0].descriptor();
    assert!(cache.open(&descriptor).await.is_ok());
    Ok(())
}

async fn with(fault: Fault) -> (Result<(), Error>, Vec<String>) {
    let mut archive = TestArchive::new();
    let server = Server::start(archive.path(), fault);
    let lock = locked(&mut archive, &server.uri).await;
    let outcome = fetched(&lock).await;
    (outcome, server.requests())
}

#[tokio::test]
async fn broken_connections_are_taken_up_where_they_broke() {
    let (outcome, log) = with(Fault::Breaks(40_000)).await;
    outcome.unwrap();
    let starts: Vec<u64> = log.iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert_eq!(starts.len(), 3, "{log:?}");
    assert!(starts[0] == 0 && starts[1] > 0 && starts[2] > starts[1], "{log:?}");
    with(Fault::BreaksWithoutRanges(40_000)).await.0.unwrap();
}

#[tokio::test]
async fn passing_faults_pass_and_redirects_are_followed() {
    with(Fault::Busy(1)).await.0.unwrap();
    let (outcome, log) = with(Fault::Redirects).await;
    outcome.unwrap();
    assert_eq!(log, ["/pool/app_1_amd64.deb 0", "/moved/pool/app_1_amd64.deb 0"]);
}

#[tokio::test]
async fn circles_and_endless_answers_end() {
    let text = |error: Error| format!("{error}: {}", std::error::Error::source(&error).unwrap());
    let error = text(with(Fault::Circles).await.0.unwrap_err());
    assert!(error.contains("redirects more than"), "{error}");
    let error = text(with(Fault::Endless).await.0.unwrap_err());
    assert!(error.contains("app 1 (amd64) is not what it must be") && error.contains("has more than its"), "{error}");
}

#[tokio::test]
async fn tampered_packages_are_refused_by_name() {
    let mut archive = TestArchive::new();
    let server = Server::start(archive.path(), Fault::None);
    let lock = locked(&mut archive, &server.uri).await;
    let same_size = vec![7; 100_000];
    for bytes in [&same_size[..], b"short"] {
        archive.write("pool/app_1_amd64.deb", bytes);
        let error = fetched(&lock).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert_eq!(error.to_string(), "app 1 (amd64) is not what it must be");
    }
    std::fs::remove_file(archive.path().join("pool/app_1_amd64.deb")).unwrap();
    let error = fetched(&lock).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.hint().unwrap().contains("lock again"), "{error}");
}

#[tokio::test]
async fn mirrors_and_directories_come_first_but_are_not_trusted() {
    let mut archive = TestArchive::new();
    let server = Server::start(archive.path(), Fault::None);
    let lock = locked(&mut archive, &server.uri).await;
    let (mirror, dir) = (TestArchive::new(), tempfile::tempdir().unwrap());
    mirror.write("pool/app_1_amd64.deb", b"evil");
    std::fs::write(dir.path().join("app_1_amd64.deb"), b"evil").unwrap();
    let places = Places {
        net: net().await,
        deb_dirs: vec![dir.path().to_owned()],
        mirrors: [("stable".to_owned(), vec![mirror.uri()])].into(),
    };
    fetch(&lock, &["amd64".to_owned()], &places, &MemoryBlobs::default(), &|_| {}).await.unwrap();
    assert_eq!(server.requests().len(), 1);
    std::fs::copy(archive.path().join("pool/app_1_amd64.deb"), dir.path().join("app_1_amd64.deb")).unwrap();
    fetch(&lock, &["amd64".to_owned()], &places, &MemoryBlobs::default(), &|_| {}).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

//! A real mirror, only where one is named: `COOPER_TEST_MIRROR=http://mirror/debian`, with Debian's keyring on this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cooper_base::manifest::Source;
use cooper_base::sources::{Archive, Net, NetOptions};
use cooper_base::{LockRequest, Manifest, Origin, Places, fetch, lock};
use cooper_oci::MemoryBlobs;

#[expect(clippy::disallowed_methods, reason = "the test is opted into, and a real mirror has real dates")]
fn opted_in() -> Option<(String, i64)> {
    let mirror = std::env::var("COOPER_TEST_MIRROR").ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set").as_secs();
    Some((mirror, now as i64))
}

#[tokio::test]
async fn presets_lock_and_their_packages_are_fetched() {
    let Some((mirror, now)) = opted_in() else {
        return;
    };
    let source = Source {
        uris: vec![mirror],
        suites: vec!["bookworm".into()],
        signed_by: vec!["/usr/share/keyrings/debian-archive-keyring.gpg".into()],
        ..Source::default()
    };
    let (archives, architectures) = ([Archive::of_source(&source).unwrap()], ["amd64".to_owned(), "arm64".to_owned()]);
    let client = cooper_registry::Client::new(cooper_registry::ClientOptions::new(Arc::new(|| SystemTime::UNIX_EPOCH)));
    let client = Some(client.http().await.unwrap());
    let net = Net::new(NetOptions { client, idle_timeout: Duration::from_secs(60) });
    let cache = MemoryBlobs::default();
    let request = LockRequest {
        archives: &archives,
        deb_dirs: &[],
        architectures: &architectures,
        old: None,
        now,
        security_only: false,
    };
    for preset in ["static", "slim"] {
        let manifest = Manifest::load(&Origin::of(preset, Path::new("")).unwrap()).unwrap();
        let lock = lock(&manifest, &request, &net, &cache, &|_| {}).await.unwrap();
        assert!(architectures.iter().all(|name| lock.packages(name).unwrap().len() >= 5), "{preset}");
        if preset == "static" {
            let places = Places { net: net.clone(), deb_dirs: Vec::new(), mirrors: Default::default() };
            fetch(&lock, &architectures, &places, &cache, &|_| {}).await.unwrap();
        }
    }
}

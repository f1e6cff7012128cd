//! A real mirror, only where one is named: `COOPER_TEST_MIRROR=http://mirror/debian`, with Debian's keyring on this machine.
//! What is locked for `slim` is compared with what apt would install, where there is an apt-get.

#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cooper_base::manifest::Source;
use cooper_base::sources::{Archive, Net, NetOptions};
use cooper_base::{LockRequest, Manifest, Origin, Places, fetch, lock, presets};
use cooper_oci::MemoryBlobs;

#[expect(clippy::disallowed_methods, reason = "the test is opted into, and a real mirror has real dates")]
fn opted_in() -> Option<(String, i64)> {
    let mirror = std::env::var("COOPER_TEST_MIRROR").ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set").as_secs();
    Some((mirror, now as i64))
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SUITE: &str = "bookworm";

#[tokio::test]
async fn presets_lock_and_their_packages_are_fetched() {
    let Some((mirror, now)) = opted_in() else {
        return eprintln!("skipped: COOPER_TEST_MIRROR names no mirror");
    };
    let source = Source {
        uris: vec![mirror.clone()],
        suites: vec![SUITE.into()],
        signed_by: vec![KEYRING.into()],
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
    for preset in presets::NAMES {
        let manifest = Manifest::load(&Origin::Preset(preset)).unwrap();
        let lock = lock(&manifest, &request, &net, &cache, &|_| {}).await.unwrap_or_else(|e| panic!("{preset}: {e}"));
        let count = |name: &String| lock.packages(name).unwrap().len();
        assert!(architectures.iter().all(|name| count(name) >= 5), "{preset}");
        if *preset == "static" {
            let places = Places { net: net.clone(), deb_dirs: Vec::new(), mirrors: Default::default() };
            fetch(&lock, &architectures, &places, &cache, &|_| {}).await.unwrap();
        }
        if *preset == "slim" {
            for architecture in &architectures {
                let packages = lock.packages(architecture).unwrap();
                let ours: BTreeSet<String> = packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
                let Some(apts) = chosen_by_apt(&mirror, architecture) else { break };
                assert_eq!(ours, apts, "{architecture}");
            }
        }
    }
}

/// Names and versions that apt would install into an empty system for the variant and packages of `slim`.
fn chosen_by_apt(mirror: &str, architecture: &str) -> Option<BTreeSet<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    fs::write(path("status"), "").unwrap();
    fs::write(path("sources"), format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")).unwrap();
    let settings = [
        format!("Dir::Etc::SourceList={}", path("sources").display()),
        "Dir::Etc::SourceParts=-".to_owned(),
        format!("Dir::State={}", path("state").display()),
        format!("Dir::Cache={}", path("cache").display()),
        format!("Dir::State::status={}", path("status").display()),
        format!("APT::Architecture={architecture}"),
        format!("APT::Architectures={architecture}"),
        "APT::Install-Recommends=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let apt = |args: &[&str]| -> Option<Output> {
        let options = settings.iter().flat_map(|setting| ["-o", setting.as_str()]);
        Command::new("apt-get").args(options).args(args).env("LC_ALL", "C").output().ok()
    };
    let Some(updated) = apt(&["-qq", "update"]) else {
        eprintln!("skipped: there is no apt-get to compare with");
        return None;
    };
    assert!(updated.status.success(), "{}", String::from_utf8_lossy(&updated.stderr));
    let goal = ["-qq", "-s", "install", "?essential", "?priority(required)", "apt", "usr-is-merged"];
    let said = String::from_utf8(apt(&goal)?.stdout).unwrap();
    // `Inst NAME (VERSION ..)`; of a foreign architecture `NAME:ARCHITECTURE`.
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
        let name = name.split(':').next().unwrap_or_default();
        Some(format!("{name} {}", rest.split_whitespace().next()?))
    };
    Some(said.lines().filter_map(line).collect())
}

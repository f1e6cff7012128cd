//! A store behind the server's seam: names, links, collecting, rot. HTTP is tested elsewhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use cooper_oci::{Algorithm, Descriptor, Digest, Hasher, Index, Manifest, MediaType, Reference, Target};
use cooper_registry::server::{Backend, Document, Refusal, StoredManifest};
use cooper_store::{OpenOptions, PruneOptions, Store};
use futures::StreamExt;

use super::{Collected, Names, StoreBackend};

/// A store with a server on it.
struct World {
    store: Store,
    backend: StoreBackend,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), OpenOptions::new("boot", || 1_800_000_000)).unwrap();
    let backend = StoreBackend::new(store.clone(), Names::new(["localhost:5000".to_owned()], true));
    World { store, backend, _dir: dir }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap().into()
}

fn sha512(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

impl World {
    async fn blob(&self, name: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(MediaType::LAYER, bytes);
        let mut upload = self.backend.upload(name, Algorithm::Sha256).await.unwrap();
        upload.write(Bytes::copy_from_slice(bytes)).await.unwrap();
        upload.commit(&descriptor.digest).await.unwrap();
        descriptor
    }

    async fn put(
        &self,
        name: &str,
        tags: &[&str],
        kind: &str,
        bytes: Bytes,
    ) -> Result<(Descriptor, StoredManifest), Refusal> {
        let descriptor = Descriptor::of(kind, &bytes);
        let manifest = StoredManifest { digest: descriptor.digest.clone(), media_type: kind.into(), bytes };
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        let parts = Document::of(&manifest).unwrap().parts();
        self.backend.put_manifest(name, &tags, &manifest, &parts).await?;
        Ok((descriptor, manifest))
    }

    /// Pushes an image of one layer.
    async fn push(&self, name: &str, tags: &[&str], layer: &[u8]) -> Descriptor {
        let layer = self.blob(name, layer).await;
        let config = Descriptor { media_type: MediaType::CONFIG.into(), ..self.blob(name, b"{}").await };
        let manifest = Manifest::new(config, vec![layer]);
        self.put(name, tags, MediaType::MANIFEST, json(&manifest)).await.unwrap().0
    }

    /// Pushes a statement about `subject`.
    async fn state(&self, name: &str, subject: &Descriptor, text: &[u8]) -> Descriptor {
        let layer = self.blob(name, text).await;
        let config = Descriptor { media_type: MediaType::EMPTY.into(), ..self.blob(name, b"{}").await };
        let mut manifest = Manifest::new(config, vec![layer]);
        manifest.subject = Some(subject.clone());
        manifest.artifact_type = Some("text/plain".into());
        self.put(name, &[], MediaType::MANIFEST, json(&manifest)).await.unwrap().0
    }

    /// An image that the builder made and named.
    fn build(&self, name: &str, layer: &[u8]) -> Descriptor {
        let layer = self.store.put_bytes(MediaType::LAYER, layer).unwrap();
        let config = self.store.put_bytes(MediaType::CONFIG, b"{}").unwrap();
        let manifest = Manifest::new(config, vec![layer]);
        let image = self.store.put_bytes(MediaType::MANIFEST, &json(&manifest)).unwrap();
        self.store.tag(&name.parse::<Reference>().unwrap(), &image).unwrap();
        image
    }

    async fn tag(&self, name: &str, tag: &str) -> Option<Digest> {
        self.backend.manifest(name, Target::Tag(tag)).await.unwrap().map(|manifest| manifest.digest)
    }

    async fn has_manifest(&self, name: &str, digest: &Digest) -> bool {
        self.backend.manifest(name, Target::Digest(digest)).await.unwrap().is_some()
    }

    async fn has_blob(&self, name: &str, digest: &Digest) -> bool {
        self.backend.blob_size(name, digest).await.unwrap().is_some()
    }

    /// The blob's bytes; `None` when it is not there or its body ends in an error.
    async fn read(&self, name: &str, digest: &Digest, range: std::ops::Range<u64>) -> Option<Vec<u8>> {
        let mut body = self.backend.open_blob(name, digest, range).await.unwrap()?;
        let mut out = Vec::new();
        while let Some(chunk) = body.next().await {
            out.extend_from_slice(&chunk.ok()?);
        }
        Some(out)
    }

    /// Lets the time pass that loose things are kept.
    async fn collect(&self) -> Collected {
        let marked = self.backend.collect(Some(0)).await.unwrap();
        assert_eq!(marked.links, 0, "nothing goes when it is first found loose");
        self.backend.collect(Some(0)).await.unwrap()
    }
}

#[tokio::test]
async fn images_are_served_under_every_name_that_docker_would_give() {
    let world = world();
    let built = world.build("app", b"one");
    let other = world.build("localhost:5000/team/app:v1", b"two");
    world.build("elsewhere.example.com/app:hidden", b"three");
    assert_eq!(world.backend.repositories(None, 9).await.unwrap(), ["app", "team/app"]);
    assert_eq!(world.backend.repositories(Some("app"), 9).await.unwrap(), ["team/app"]);
    assert_eq!(world.backend.tags("app", None, 9).await.unwrap().unwrap(), ["latest"]);
    assert_eq!(world.tag("app", "latest").await, Some(built.digest.clone()));
    assert_eq!(world.tag("library/app", "latest").await, Some(built.digest));
    assert_eq!(world.tag("team/app", "v1").await, Some(other.digest));
    assert_eq!(world.tag("app", "hidden").await, None);
    assert_eq!(world.backend.tags("none", None, 9).await.unwrap(), None);
    let only = StoreBackend::new(world.store.clone(), Names::new([], false));
    assert_eq!(only.repositories(None, 9).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn others_blobs_and_manifests_are_not_shown() {
    let world = world();
    let pushed = world.push("a", &["1"], b"layer").await;
    let layer = Digest::of(b"layer");
    let unnamed = world.store.put_bytes(MediaType::LAYER, b"of a build").unwrap();
    for (name, expect) in [("a", true), ("b", false)] {
        assert_eq!(world.has_blob(name, &layer).await, expect, "{name}");
        assert_eq!(world.has_manifest(name, &pushed.digest).await, expect, "{name}");
        assert_eq!(world.read(name, &layer, 0..5).await.is_some(), expect, "{name}");
        assert!(!world.has_blob(name, &unnamed.digest).await);
    }
    assert!(!world.backend.mount_blob("b", "c", &layer).await.unwrap());
    assert!(world.backend.mount_blob("a", "b", &layer).await.unwrap());
    assert!(world.has_blob("b", &layer).await);
    assert_eq!(world.backend.holders(&layer).await.unwrap(), ["a", "b"]);
}

#[tokio::test]
async fn what_is_pushed_is_an_image_of_the_store_and_the_last_name_wins() {
    let world = world();
    world.build("app:1", b"built");
    let pushed = world.push("app", &["1", "2"], b"pushed").await;
    assert_eq!(world.tag("app", "1").await, Some(pushed.digest.clone()));
    let name: Reference = "localhost/app:2".parse().unwrap();
    assert_eq!(world.store.image(&name).unwrap().unwrap().digest, pushed.digest);
    assert!(world.store.check(true).unwrap().iter().all(|problem| problem.subject == "index.json"));
    world.backend.write_index().await.unwrap();
    assert_eq!(world.store.check(true).unwrap(), []);
}

#[tokio::test]
async fn a_manifest_needs_its_parts_in_its_own_repository() {
    let world = world();
    world.build("app", b"built layer");
    world.blob("other", b"layer").await;
    let config = Descriptor::of(MediaType::CONFIG, b"{}");
    for (layer, repository, expect) in [
        (&b"layer"[..], "app", Some("MANIFEST_BLOB_UNKNOWN")),
        (b"built layer", "app", None),
        (b"built layer", "other", Some("MANIFEST_BLOB_UNKNOWN")),
    ] {
        let manifest = Manifest::new(config.clone(), vec![Descriptor::of(MediaType::LAYER, layer)]);
        let put = world.put(repository, &["x"], MediaType::MANIFEST, json(&manifest)).await;
        assert_eq!(
            put.as_ref().err().map(|why| format!("{why:?}").contains("MANIFEST_BLOB_UNKNOWN")),
            expect.map(|_| true)
        );
        assert_eq!(world.tag(repository, "x").await.is_some(), expect.is_none());
    }
    let index = Index::new(vec![Descriptor::of(MediaType::MANIFEST, b"missing")]);
    assert!(world.put("app", &["i"], MediaType::INDEX, json(&index)).await.is_err());
    assert!(!world.has_manifest("app", &Digest::of(&json(&index))).await);
}

#[tokio::test]
async fn sha512_is_as_good_as_sha256() {
    let world = world();
    let digest = sha512(b"bytes");
    // Whether the client said so at first, or only at the end.
    for (algorithm, name) in [(Algorithm::Sha512, "a"), (Algorithm::Sha256, "b")] {
        let mut upload = world.backend.upload(name, algorithm).await.unwrap();
        upload.write(Bytes::from_static(b"by")).await.unwrap();
        upload.write(Bytes::from_static(b"tes")).await.unwrap();
        upload.commit(&digest).await.unwrap();
        assert_eq!(world.read(name, &digest, 0..5).await.unwrap(), b"bytes");
        let mut wrong = world.backend.upload(name, algorithm).await.unwrap();
        wrong.write(Bytes::from_static(b"other")).await.unwrap();
        assert_eq!(wrong.commit(&digest).await.unwrap_err(), Refusal::wrong_digest());
    }
}

#[tokio::test]
async fn the_builders_images_are_not_the_servers_to_delete() {
    let world = world();
    let built = world.build("app:1", b"built");
    for target in [Target::Tag("1"), Target::Digest(&built.digest)] {
        assert_eq!(world.backend.delete_manifest("app", target).await.unwrap_err().status(), 403);
    }
    assert_eq!(world.backend.delete_blob("app", &Digest::of(b"built")).await.unwrap_err().status(), 403);
    let pushed = world.push("app", &["2"], b"pushed").await;
    assert!(world.backend.delete_manifest("app", Target::Tag("2")).await.unwrap());
    assert!(!world.backend.delete_manifest("app", Target::Tag("2")).await.unwrap());
    assert!(world.has_manifest("app", &pushed.digest).await, "a tag is not the image");
    assert!(world.backend.delete_manifest("app", Target::Digest(&pushed.digest)).await.unwrap());
    assert!(!world.has_manifest("app", &pushed.digest).await);
    assert_eq!(world.tag("app", "1").await, Some(built.digest));
}

#[tokio::test]
async fn a_part_of_what_is_tagged_is_not_deleted() {
    let world = world();
    let child = world.push("a", &[], b"layer").await;
    let index = json(&Index::new(vec![child.clone()]));
    let (index, _) = world.put("a", &["1"], MediaType::INDEX, index).await.unwrap();
    let refused = world.backend.delete_manifest("a", Target::Digest(&child.digest)).await.unwrap_err();
    assert!(format!("{refused:?}").contains("the index tagged `1` needs it"), "{refused:?}");
    assert!(world.backend.delete_blob("a", &Digest::of(b"layer")).await.is_err());
    assert!(world.backend.delete_manifest("a", Target::Digest(&index.digest)).await.unwrap());
    assert_eq!(world.tag("a", "1").await, None, "its tags go with it");
    assert!(world.backend.delete_manifest("a", Target::Digest(&child.digest)).await.unwrap());
    assert!(world.backend.delete_blob("a", &Digest::of(b"layer")).await.unwrap());
}

#[tokio::test]
async fn collecting_removes_what_no_tag_index_or_subject_keeps() {
    let world = world();
    let old = world.push("a", &["1"], b"old").await;
    let about_old = world.state("a", &old, b"about old").await;
    let new = world.push("a", &["1"], b"new").await;
    let about_new = world.state("a", &new, b"about new").await;
    let about_that = world.state("a", &about_new, b"about that").await;
    let child = world.push("a", &[], b"child").await;
    world.put("a", &["i"], MediaType::INDEX, json(&Index::new(vec![child.clone()]))).await.unwrap();
    world.blob("a", b"never used").await;
    world.push("b", &["1"], b"old").await;
    let built = world.build("c", b"built");

    assert_eq!(world.backend.collect(Some(3600)).await.unwrap(), Collected::default());
    assert_eq!(world.backend.collect(Some(3600)).await.unwrap(), Collected::default(), "its time has not come");
    let collected = world.backend.collect(Some(0)).await.unwrap();
    // The old manifest, its layer, the statement and its text, and the blob of nothing; the config is the new one's too.
    assert_eq!((collected.links, collected.blobs), (5, 3), "{collected:?}");
    for (digest, expect) in [
        (&old.digest, false),
        (&about_old.digest, false),
        (&new.digest, true),
        (&about_new.digest, true),
        (&about_that.digest, true),
        (&child.digest, true),
    ] {
        assert_eq!(world.has_manifest("a", digest).await, expect, "{digest}");
    }
    for (bytes, name, expect) in [
        ("old", "a", false),
        ("old", "b", true),
        ("new", "a", true),
        ("about that", "a", true),
        ("child", "a", true),
        ("never used", "a", false),
    ] {
        assert_eq!(world.has_blob(name, &Digest::of(bytes.as_bytes())).await, expect, "{bytes} in {name}");
    }
    assert_eq!(world.tag("c", "latest").await, Some(built.digest));
    assert!(!world.store.has_blob(&Digest::of(b"never used")).unwrap(), "the bytes are gone");
    world.backend.write_index().await.unwrap();
    assert_eq!(world.store.check(true).unwrap(), []);
}

#[tokio::test]
async fn what_a_client_asks_for_is_kept_for_its_push() {
    let world = world();
    world.blob("a", b"layer").await;
    assert_eq!(world.backend.collect(Some(0)).await.unwrap(), Collected::default(), "marked");
    assert!(world.has_blob("a", &Digest::of(b"layer")).await);
    assert_eq!(world.backend.collect(Some(0)).await.unwrap(), Collected::default(), "asked for meanwhile");
    world.push("a", &["1"], b"layer").await;
    assert_eq!(world.collect().await, Collected::default());
    assert!(world.has_blob("a", &Digest::of(b"layer")).await);
}

#[tokio::test]
async fn pruning_the_store_leaves_what_is_linked() {
    let world = world();
    world.blob("a", b"on its way").await;
    let untagged = world.push("a", &[], b"untagged").await;
    let loose = world.store.put_bytes(MediaType::LAYER, b"of nobody").unwrap();
    world.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert!(!world.store.has_blob(&loose.digest).unwrap());
    assert!(world.has_blob("a", &Digest::of(b"on its way")).await);
    assert!(world.has_manifest("a", &untagged.digest).await);
    assert!(world.backend.delete_manifest("a", Target::Digest(&untagged.digest)).await.unwrap());
    assert!(world.store.has_blob(&untagged.digest).unwrap(), "until it is collected");
    world.backend.collect(None).await.unwrap();
    assert!(!world.store.has_blob(&untagged.digest).unwrap());
    assert!(world.has_blob("a", &Digest::of(b"on its way")).await, "nothing but what was deleted");
}

#[tokio::test]
async fn indexes_nested_without_end_are_collected_all_the_same() {
    let world = world();
    let mut inner = world.push("a", &[], b"layer").await;
    for _ in 0..300 {
        let index = json(&Index::new(vec![inner.clone()]));
        inner = world.put("a", &[], MediaType::INDEX, index).await.unwrap().0;
    }
    world.put("a", &["deep"], MediaType::INDEX, json(&Index::new(vec![inner]))).await.unwrap();
    assert_eq!(world.collect().await, Collected::default());
    assert!(world.has_blob("a", &Digest::of(b"layer")).await);
    world.backend.delete_manifest("a", Target::Tag("deep")).await.unwrap();
    assert_eq!(world.collect().await.links, 304);
}

#[tokio::test]
async fn referrers_are_the_repositorys_own() {
    let world = world();
    let image = world.push("a", &["1"], b"layer").await;
    let statement = world.state("a", &image, b"text").await;
    let found = world.backend.referrers("a", &image.digest).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].digest, found[0].artifact_type.as_deref()), (&statement.digest, Some("text/plain")));
    assert_eq!(world.backend.referrers("b", &image.digest).await.unwrap(), []);
    let missing = Descriptor::of(MediaType::MANIFEST, b"not pushed yet");
    world.state("a", &missing, b"early").await;
    assert_eq!(world.backend.referrers("a", &missing.digest).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_rotten_blob_is_never_given_whole_and_can_be_pushed_again() {
    let bytes: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    for range in [0..size, 10..20] {
        let world = world();
        world.blob("a", &bytes).await;
        let whole = world.read("a", &digest, range.clone()).await.unwrap();
        assert_eq!(whole, bytes[range.start as usize..range.end as usize]);
        let path = world.store.blob_path(&digest);
        let mut rotten = bytes.clone();
        rotten[500_000] ^= 1;
        std::fs::write(&path, &rotten).unwrap();
        assert_eq!(world.read("a", &digest, range.clone()).await, None, "{range:?}");
        assert!(!world.has_blob("a", &digest).await, "moved aside");
        assert_eq!(world.store.take_events().len(), 1);
        world.blob("a", &bytes).await;
        assert_eq!(world.read("a", &digest, 0..size).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn many_readers_of_a_cold_blob_all_get_it() {
    let world = world();
    let bytes = vec![7_u8; 700_000];
    world.build("app", &bytes);
    // Another process: nothing is known to have been hashed.
    let options = OpenOptions::new("boot", || 1_800_000_000);
    let store = Store::open(world.store.root(), options).unwrap();
    let cold = World { backend: StoreBackend::new(store.clone(), Names::new([], true)), store, _dir: world._dir };
    let digest = Digest::of(&bytes);
    let reads = (0..20_u64).map(|n| {
        let range = if n % 3 == 0 { n..700_000 } else { 0..700_000 };
        let (cold, digest) = (&cold, &digest);
        async move {
            cold.read("app", digest, range.clone()).await.map(|found| found.len() as u64 == range.end - range.start)
        }
    });
    let found = futures::future::join_all(reads).await;
    assert_eq!(found, vec![Some(true); 20]);
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing() {
    let world = world();
    let mut upload = world.backend.upload("a", Algorithm::Sha256).await.unwrap();
    upload.write(vec![0; 1_000_000].into()).await.unwrap();
    let temporary = || std::fs::read_dir(world.store.root().join("tmp")).unwrap().count();
    assert_eq!(temporary(), 1);
    drop(upload);
    assert_eq!(temporary(), 0);
}

/// The parts of a manifest are looked at with the same step that keeps it.
#[tokio::test]
async fn pushes_and_collections_at_once_lose_nothing() {
    let world = world();
    let pushing = async {
        let mut pushed = BTreeMap::new();
        for n in 0..60_u8 {
            let layer = [n % 7, n % 3];
            let tag = format!("t{}", n % 5);
            pushed.insert(tag.clone(), (world.push("a", &[&tag], &layer).await.digest, Digest::of(&layer)));
        }
        pushed
    };
    let collecting = async {
        for _ in 0..40 {
            world.backend.collect(Some(3600)).await.unwrap();
            world.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (pushed, ()) = futures::join!(pushing, collecting);
    world.collect().await;
    for (tag, (digest, layer)) in pushed {
        assert_eq!(world.tag("a", &tag).await, Some(digest));
        assert_eq!(world.read("a", &layer, 0..2).await.map(|bytes| Digest::of(&bytes)), Some(layer));
    }
}

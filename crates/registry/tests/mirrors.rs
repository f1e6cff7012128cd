//! Mirrors that lack what is asked for, break, or lie: the right bytes come from the next place.
#![allow(missing_docs, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};

use common::liar::{Asked, Liar, Lie, answer, owned};
use common::*;
use cooper_oci::{Blobs, CopyOptions, ErrorKind, MemoryBlobs, copy, read_all};
use cooper_registry::{Client, ClientOptions, Repository};

const SIZE: usize = 300_000;

fn range_start(asked: &Asked) -> Option<usize> {
    asked.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// What an honest registry answers, of which only the bytes before `until` come.
fn honest(asked: &Asked, bytes: &[u8], until: usize) -> Lie {
    let start = range_start(asked).unwrap_or(0);
    let (status, headers) = match start {
        0 => (200, vec![]),
        _ => (206, owned(&[("Content-Range", &format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()))])),
    };
    Lie::Short { status, headers, length: bytes.len() - start, body: bytes[start..until.max(start)].to_vec() }
}

async fn place(script: impl Fn(&Asked, usize) -> Lie + Send + Sync + 'static) -> Liar {
    Liar::start(move |asked, before| match asked.path.as_str() {
        "/v2/" => answer(200, &[], b""),
        _ => script(asked, before),
    })
    .await
}

/// A repository of `origin`, read through `mirrors`; and the warnings to come.
fn through(mirrors: &[&Liar], origin: &Liar) -> (Repository, Arc<Mutex<Vec<String>>>) {
    let warnings = Arc::<Mutex<Vec<String>>>::default();
    let told = warnings.clone();
    let hosts = mirrors.iter().map(|mirror| mirror.addr.to_string()).collect();
    let client = Client::new(ClientOptions {
        mirrors: [(origin.addr.to_string(), hosts)].into(),
        warn: Arc::new(move |text| told.lock().unwrap().push(text.to_owned())),
        ..options()
    });
    (repository(&client, origin.addr, "a/b:1"), warnings)
}

fn ranges(liar: &Liar) -> Vec<usize> {
    liar.asked().iter().map(|asked| range_start(asked).unwrap_or(0)).collect()
}

#[tokio::test]
async fn a_mirror_that_breaks_off_is_followed_by_the_next_place_from_the_byte_reached() {
    let bytes = noise(SIZE, 81);
    for cut in [0, 1, SIZE / 2, SIZE - 1] {
        let (first, second) = (bytes.clone(), bytes.clone());
        let mirror = place(move |asked, _| honest(asked, &first, cut)).await;
        let origin = place(move |asked, _| honest(asked, &second, SIZE)).await;
        let (from, warnings) = through(&[&mirror], &origin);
        assert_eq!(within(read_all(&from, &layer(&bytes), SIZE as u64)).await.unwrap(), bytes, "cut at {cut}");
        assert_eq!(ranges(&origin), [cut], "cut at {cut}");
        let warnings = warnings.lock().unwrap().clone();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(&mirror.addr.to_string()), "{warnings:?}");
        let asked = mirror.asked().len();
        within(read_all(&from, &layer(&bytes), SIZE as u64)).await.unwrap();
        assert_eq!(mirror.asked().len(), asked, "a mirror that was left out is not asked again");
    }
}

#[tokio::test]
async fn wrong_bytes_of_a_mirror_are_read_again_elsewhere() {
    let bytes = noise(SIZE, 82);
    for change in ["flip", "longer", "shorter"] {
        let mut wrong = bytes.clone();
        match change {
            "flip" => wrong[0] ^= 1,
            "longer" => wrong.push(0),
            _ => wrong.truncate(SIZE - 1),
        }
        let mirror = place(move |_, _| answer(200, &[], &wrong)).await;
        let right = bytes.clone();
        let origin = place(move |asked, _| honest(asked, &right, SIZE)).await;
        let (from, warnings) = through(&[&mirror], &origin);
        assert_eq!(within(read_all(&from, &layer(&bytes), SIZE as u64)).await.unwrap(), bytes, "{change}");
        assert_eq!((from.sources(), warnings.lock().unwrap().len()), (1, 1), "{change}");

        let (from, _) = through(&[&mirror], &origin);
        let to = MemoryBlobs::new();
        within(copy(&layer(&bytes), &from, &to, &CopyOptions::default())).await.unwrap();
        assert_eq!(to.get(&layer(&bytes).digest).unwrap(), bytes, "{change}");
    }
}

#[tokio::test]
async fn a_mirror_whose_wrong_half_was_finished_elsewhere_is_left_out_too() {
    let bytes = noise(SIZE, 83);
    let mut wrong = bytes.clone();
    wrong[0] ^= 1;
    let right = bytes.clone();
    let mirror = place(move |asked, _| honest(asked, &wrong, SIZE / 2)).await;
    let origin = place(move |asked, _| honest(asked, &right, SIZE)).await;
    let (from, _) = through(&[&mirror], &origin);
    assert_eq!(within(read_all(&from, &layer(&bytes), SIZE as u64)).await.unwrap(), bytes);
    assert_eq!(ranges(&origin), [SIZE / 2, 0]);
}

#[tokio::test]
async fn a_mirror_without_the_blob_is_passed_over_without_a_word() {
    let bytes = noise(SIZE, 84);
    for status in [401, 403, 404] {
        let (first, right) = (bytes.clone(), bytes.clone());
        let mirror = place(move |_, _| answer(status, &[], b"")).await;
        let second = place(move |asked, _| honest(asked, &first, SIZE)).await;
        let origin = place(move |asked, _| honest(asked, &right, SIZE)).await;
        let (from, warnings) = through(&[&mirror, &second], &origin);
        assert_eq!(within(read_all(&from, &layer(&bytes), SIZE as u64)).await.unwrap(), bytes);
        assert_eq!((from.sources(), origin.asked().len()), (3, 0), "{status}");
        assert_eq!(warnings.lock().unwrap().clone(), Vec::<String>::new(), "{status}");
    }
}

#[tokio::test]
async fn when_every_place_lies_the_error_is_that_of_the_registry() {
    let bytes = noise(SIZE, 85);
    let mut wrong = bytes.clone();
    wrong[7] ^= 1;
    let (first, second) = (wrong.clone(), wrong);
    let mirror = place(move |_, _| answer(200, &[], &first)).await;
    let origin = place(move |_, _| answer(200, &[], &second)).await;
    let (from, _) = through(&[&mirror], &origin);
    let error = within(read_all(&from, &layer(&bytes), SIZE as u64)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&origin.addr.to_string()), "{error}");
    assert_eq!((mirror.asked().len(), origin.asked().len()), (1, 1));
}

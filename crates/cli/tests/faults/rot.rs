//! Bytes flip in every kind of file of the store: the next build is right, `check` finds it, `repair` mends it.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::place::{Dice, Place, files_below, skip_if_missing};

/// Flips one bit without changing length, times or mode, as a disk does.
fn flip(path: &Path, dice: &mut Dice) {
    let meta = path.metadata().unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (at, mut byte) = (dice.below(meta.len()), [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << dice.below(8))], at).unwrap();
    file.set_times(std::fs::FileTimes::new().set_modified(meta.modified().unwrap())).unwrap();
    file.set_permissions(meta.permissions()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Files whose rot can matter; locks, reserves and markers hold nothing.
fn targets(store: &Path) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let name = path.strip_prefix(store).unwrap().to_str().unwrap();
        let kind = ["blobs/", "layers/", "stat/", "db.sqlite", "index.json"];
        kind.iter().any(|kind| name.starts_with(kind)) && path.metadata().unwrap().len() > 0
    };
    files_below(store).into_iter().filter(holds).collect()
}

struct Scene {
    place: Place,
    golden: PathBuf,
    cold: String,
}

/// A store with one build in it, whose stat cache is filled.
fn scene() -> Scene {
    let place = Place::new();
    for file in files_below(&place.context()) {
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::open(&file).unwrap().set_times(std::fs::FileTimes::new().set_modified(old)).unwrap();
    }
    let cold = place.build(&["-t", "app"]).ok().built();
    let golden = place.dir.path().join("golden");
    copy(&place.store, &golden);
    Scene { place, golden, cold }
}

#[test]
fn privileged_a_build_that_reads_rotten_blobs_mends_them() {
    skip_if_missing!();
    let (scene, mut dice) = (scene(), Dice::new("rot"));
    let place = &scene.place;
    let all = targets(&scene.golden);
    for target in all.iter().filter(|path| !path.starts_with(scene.golden.join("layers"))) {
        let name = target.strip_prefix(&scene.golden).unwrap();
        copy(&scene.golden, &place.store);
        flip(&place.store.join(name), &mut dice);
        let done = place.build(&["-t", "app", "-o", "type=oci,dest=out.tar"]).ok();
        assert_eq!(done.built(), scene.cold, "{name:?}");
        // What came out is whole: another store takes it, and every digest with it.
        let other = tempfile::tempdir().unwrap();
        let mut load = place.command(&["load", "-i", "out.tar"]);
        let loaded = load.env("COOPER_ROOT", other.path()).output().unwrap();
        assert!(loaded.status.success(), "{name:?}: {}", String::from_utf8_lossy(&loaded.stderr));
        if name.starts_with("stat") {
            assert!(done.stderr.contains("broken"), "{name:?}: {}", done.stderr);
        }
    }
}

#[test]
fn privileged_a_step_on_top_of_a_rotten_blob_or_listing_is_right() {
    skip_if_missing!();
    let (scene, mut dice) = (scene(), Dice::new("rot below a step"));
    let place = &scene.place;
    let more = format!("{}COPY a /deep/\nRUN cat /w/one /w/two /w/f1 > /w/three\n", crate::place::DOCKERFILE);
    place.write("Dockerfile", &more);
    let cold = place.cold();
    let is_listing = |path: &PathBuf| path.ends_with("listing");
    let is_blob = |path: &PathBuf| path.starts_with(scene.golden.join("blobs"));
    for target in targets(&scene.golden).iter().filter(|path| is_listing(path) || is_blob(path)) {
        let name = target.strip_prefix(&scene.golden).unwrap();
        copy(&scene.golden, &place.store);
        // Only blobs are left to make directories from.
        if is_blob(target) {
            let layers = files_below(&place.store.join("layers"));
            layers.iter().filter(|path| path.ends_with("listing")).for_each(|path| std::fs::remove_file(path).unwrap());
        }
        flip(&place.store.join(name), &mut dice);
        assert_eq!(place.build(&["-t", "app"]).ok().built(), cold, "{name:?}");
        let told = place.build(&["-t", "app", "-o", "type=oci,dest=out.tar"]).ok();
        assert_eq!(told.built(), cold, "{name:?}");
    }
}

#[test]
fn privileged_check_finds_every_flip_and_repair_mends_it() {
    skip_if_missing!();
    let (scene, mut dice) = (scene(), Dice::new("check"));
    let place = &scene.place;
    for target in targets(&scene.golden) {
        let name = target.strip_prefix(&scene.golden).unwrap();
        copy(&scene.golden, &place.store);
        flip(&place.store.join(name), &mut dice);
        let found = place.cooper(&["store", "check"]).no_panic();
        // A page of the database that is free, a stat cache (which is checked when it is read), white space in
        // `index.json` or a bit of a listing's zstd header that says nothing may flip without a fault.
        let certain = name.starts_with("blobs") || name.starts_with("layers") && !name.ends_with("listing");
        assert!(!certain || found.code == Some(1), "{name:?}: {}{}", found.stdout, found.stderr);
        place.cooper(&["store", "repair"]).ok();
        place.sound();
        assert_eq!(place.build(&["-t", "app"]).ok().built(), scene.cold, "{name:?}");
        place.sound();
    }
}

#[test]
fn privileged_a_store_that_lost_files_is_filled_again() {
    skip_if_missing!();
    let scene = scene();
    let place = &scene.place;
    for lost in ["blobs/sha256", "layers", "db.sqlite", "index.json", "stat", "locks"] {
        copy(&scene.golden, &place.store);
        for file in files_below(&place.store).iter().filter(|path| path.starts_with(place.store.join(lost))) {
            std::fs::remove_file(file).unwrap();
        }
        assert_eq!(place.build(&["-t", "app"]).ok().built(), scene.cold, "{lost}");
        let done = place.build(&["-t", "app", "-o", "type=oci,dest=out.tar"]).ok();
        assert_eq!(done.built(), scene.cold, "{lost}");
        place.cooper(&["store", "repair"]).ok();
        place.sound();
    }
}

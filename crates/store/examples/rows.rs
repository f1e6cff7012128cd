//! Measures look-ups and a prune of 100,000 rows kept as rows of one database and as one file each, and opening and loading
//! as a build with nothing to do does. Prints one line a figure. Knows nothing of the tests.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints figures and reads the clock"
)]

use std::error::Error;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cooper_store::{Key, OpenOptions, PruneOptions, Record, RecordId, Stat, StatCache, Store};

const ROWS: usize = 100_000;
const LOOK_UPS: usize = 20_000;
const FILES: u64 = 20_000;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn key(n: usize) -> Key {
    Key::of(&n.to_le_bytes())
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: rows <empty directory>")?;
    let dir = Path::new(&dir);
    database(&dir.join("store"))?;
    files(&dir.join("files"))?;
    Ok(())
}

fn timed<T>(what: &str, per: usize, f: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = f();
    let took = start.elapsed();
    println!("{what}: {:.3} ms, {:.2} us each", took.as_secs_f64() * 1e3, took.as_secs_f64() * 1e6 / per as f64);
    out
}

fn database(root: &Path) -> Result<(), Box<dyn Error>> {
    let open = || Store::open(root, OpenOptions::new("boot", now));
    let store = timed("database: create a store", 1, open)?;
    timed("database: save", ROWS, || {
        (0..ROWS).try_for_each(|n| {
            let id = RecordId::of(&n.to_le_bytes());
            let record = Record {
                id,
                layers: Vec::new(),
                inputs: Vec::new(),
                detail: None,
                step: format!("step {n}"),
                created: now(),
                trace: None,
            };
            store.save(&record, &[key(n)])
        })
    })?;
    timed("database: durable", 1, || store.durable())?;
    drop(store);
    for _ in 0..2 {
        timed("database: open and close", 1, || open().map(drop))?;
    }
    let store = timed("database: open", 1, open)?;
    let found = timed("database: look up", LOOK_UPS, || {
        (0..LOOK_UPS).filter(|n| store.lookup(&key(n * 7 % (2 * ROWS))).is_ok_and(|found| found.is_some())).count()
    });
    println!("database: {found} found");
    stat_cache(&store)?;
    let report = timed("database: prune all", ROWS, || store.prune(&PruneOptions::default()))?;
    println!("database: {} removed", report.removed.len());
    Ok(())
}

fn stat_cache(store: &Store) -> Result<(), Box<dyn Error>> {
    let stat = |n: u64| Stat { dev: 1, ino: n, size: n, mtime_ns: 1, ctime_ns: 1, mode: 0o100_644 };
    let path = |n: u64| std::path::PathBuf::from(format!("packages/module-{}/src/component-{n}.ts", n % 100));
    let cache = StatCache::load(store, b"context");
    (0..FILES).for_each(|n| cache.put(&path(n), &stat(n), [1; 32]));
    timed("stat cache: save", FILES as usize, || cache.save())?;
    let cache = timed("stat cache: load", FILES as usize, || StatCache::load(store, b"context"));
    let paths: Vec<_> = (0..FILES).map(path).collect();
    let hits = timed("stat cache: get", FILES as usize, || {
        paths.iter().zip(0..).filter(|(path, n)| cache.get(path, &stat(*n)).is_some()).count()
    });
    println!("stat cache: {hits} hits");
    Ok(())
}

/// The least a file for each row can cost: two hex digits of fan-out, write and rename, nothing synced.
fn files(root: &Path) -> Result<(), Box<dyn Error>> {
    let path = |n: usize| {
        let name = key(n).to_string();
        root.join(&name[..2]).join(name)
    };
    for n in 0..256 {
        std::fs::create_dir_all(root.join(format!("{n:02x}")))?;
    }
    timed("files: save", ROWS, || {
        (0..ROWS).try_for_each(|n| {
            let temporary = root.join("temporary");
            std::fs::write(&temporary, format!("{{\"step\":\"step {n}\",\"used\":{}}}", now()))?;
            std::fs::rename(&temporary, path(n))
        })
    })?;
    let found = timed("files: look up", LOOK_UPS, || {
        (0..LOOK_UPS).filter(|n| std::fs::read(path(n * 7 % (2 * ROWS))).is_ok()).count()
    });
    println!("files: {found} found");
    timed("files: prune all", ROWS, || -> std::io::Result<()> {
        // Choosing by last use means reading every one.
        let mut all = Vec::new();
        for dir in std::fs::read_dir(root)? {
            for file in std::fs::read_dir(dir?.path())? {
                let path = file?.path();
                all.push((std::fs::metadata(&path)?.modified()?, std::fs::read(&path)?.len(), path));
            }
        }
        all.sort();
        all.iter().try_for_each(|(_, _, path)| std::fs::remove_file(path))
    })?;
    Ok(())
}

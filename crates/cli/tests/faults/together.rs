//! Many processes on one store, building different things and the same, while one prunes again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::place::{Done, Place, skip_if_missing};

/// How long they go on.
const SECONDS: u64 = 6;

#[test]
fn privileged_builds_and_prunes_side_by_side_give_the_right_images() {
    skip_if_missing!();
    let place = Place::new();
    let files =
        [0, 1, 2].map(|n| (format!("Dockerfile.{n}"), format!("{}RUN echo {n} > /n\n", crate::place::DOCKERFILE)));
    files.iter().for_each(|(name, text)| place.write(name, text));
    // Two of the four build the same.
    let builders = [0, 1, 2, 0].map(|n: usize| files[n].0.as_str());
    let build = |file: &str, n: usize| {
        let (tag, file) = (format!("app:{n}"), format!("context/{file}"));
        Done::of(place.build_command(&["-f", &file, "-t", &tag]).output().unwrap())
    };
    let cold: Vec<String> = builders
        .iter()
        .map(|file| {
            let fresh = tempfile::tempdir_in(place.dir.path()).unwrap();
            let mut command = place.build_command(&["-f", &format!("context/{file}")]);
            Done::of(command.env("COOPER_ROOT", fresh.path()).output().unwrap()).ok().built()
        })
        .collect();
    let (over, until) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(SECONDS));
    std::thread::scope(|scope| {
        let builds: Vec<_> = builders
            .iter()
            .enumerate()
            .map(|(n, file)| {
                let (build, cold) = (&build, &cold);
                scope.spawn(move || {
                    while Instant::now() < until {
                        assert_eq!(build(file, n).ok().built(), cold[n]);
                    }
                })
            })
            .collect();
        let pruner = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                place.cooper(&["prune", "-a", "-f"]).ok();
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        let results: Vec<_> = builds.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        pruner.join().unwrap();
        results.into_iter().for_each(|result| result.unwrap());
    });
    place.sound();
    place.prune_leaves_nothing();
    place.nothing_mounted();
}

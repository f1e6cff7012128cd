//! A disk that is full: a message that names space, then `prune` and `du` work, then a build that fits.

use std::process::Command;

use crate::place::{Place, skip_if_missing};

/// A small filesystem on the store's directory, gone with the value.
struct Small<'a>(&'a Place);

impl<'a> Small<'a> {
    fn mount(place: &'a Place, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&place.store).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("mode=700,{options}"), "none"]).arg(&place.store);
        mount.status().is_ok_and(|status| status.success()).then_some(Self(place))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0.store).status();
    }
}

fn check(options: &str) {
    let place = Place::new();
    let cold = place.cold();
    let Some(_small) = Small::mount(&place, options) else {
        eprintln!("skipped: cannot mount a tmpfs");
        return;
    };
    let big = "RUN for n in $(seq 4000); do head -c 20000 /dev/urandom > /big$n || exit 1; done";
    place.write("Dockerfile", &format!("{}{big}\n", crate::place::DOCKERFILE));
    for round in 0..2 {
        let done = place.build(&["-t", "big"]).refused();
        let told = done.stderr.to_lowercase();
        assert!(told.contains("space"), "{options} {round}: {}", done.stderr);
        // Fill what the failed build gave back.
        let filler = place.store.join("filler");
        let _ = Command::new("sh").arg("-c").arg(format!("head -c 1G /dev/zero > {}", filler.display())).output();
        place.cooper(&["du"]).ok();
        place.cooper(&["prune", "-a", "-f"]).ok();
        place.cooper(&["images"]).ok();
        std::fs::remove_file(filler).unwrap();
    }
    place.write("Dockerfile", crate::place::DOCKERFILE);
    assert_eq!(place.build(&["-t", "app"]).ok().built(), cold);
    place.sound();
}

#[test]
fn privileged_a_full_disk_is_told_of_and_prune_works_on_it() {
    skip_if_missing!("mount");
    check("size=24m");
}

#[test]
fn privileged_a_disk_without_inodes_is_told_of_and_prune_works_on_it() {
    skip_if_missing!("mount");
    check("size=200m,nr_inodes=1500");
}

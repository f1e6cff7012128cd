//! Power cuts, right after a build said that it is done: the image is there when the disk comes back.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::{Dice, Place, skip_if_missing};

/// Cuts of the power.
const CUTS: u64 = 10;

/// Stops a filesystem without writing its log: `_IOR('X', 125, u32)` with 2. Done in Python, as `ioctl` needs `unsafe`.
const SHUT_DOWN: &str = "import fcntl,os,struct,sys
fcntl.ioctl(os.open(sys.argv[1],os.O_RDONLY),0x8004587d,struct.pack('I',2))";

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// An ext4 filesystem in a file, mounted on the store's directory.
struct Disk {
    file: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn new(place: &Place) -> Option<Self> {
        let disk = Self { file: place.dir.path().join("disk"), at: place.store.clone() };
        std::fs::create_dir_all(&disk.at).unwrap();
        std::fs::File::create(&disk.file).unwrap().set_len(256 << 20).unwrap();
        (run("mkfs.ext4", &["-q", text(&disk.file)]) && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        run("mount", &["-o", "loop", text(&self.file), text(&self.at)])
    }

    fn cut(&self) -> bool {
        run("python3", &["-c", SHUT_DOWN, text(&self.at)])
            && run("umount", &[text(&self.at)])
            && self.detached()
            && self.mount()
    }

    /// Other processes' mount namespaces may hold the filesystem for a while; mounted again, it would still be shut down.
    fn detached(&self) -> bool {
        (0..2000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let listed = Command::new("losetup").arg("-j").arg(&self.file).output();
            listed.is_ok_and(|output| output.stdout.is_empty())
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", text(&self.at)]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn privileged_what_was_built_survives_a_power_cut() {
    skip_if_missing!("mkfs.ext4", "python3", "mount", "losetup");
    let (place, mut dice) = (Place::new(), Dice::new("cut"));
    let Some(disk) = Disk::new(&place) else {
        eprintln!("skipped: cannot mount a file as a disk");
        return;
    };
    for n in 0..CUTS {
        place.write("a", &format!("build {n}\n"));
        let built = place.build(&["-t", &format!("app:{n}")]).ok().built();
        if n % 3 == 2 {
            // And in the middle of the next.
            place.write("a", &format!("build {n} again\n"));
            let mut child = place.build_command(&["-t", "torn"]).stderr(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_micros(dice.below(300_000)));
            let _ = run("python3", &["-c", SHUT_DOWN, text(&disk.at)]);
            child.wait().unwrap();
            place.write("a", &format!("build {n}\n"));
        }
        if !disk.cut() {
            eprintln!("skipped: this kernel cannot shut a filesystem down");
            return;
        }
        let images = place.cooper(&["images", "--digests"]).ok().stdout;
        assert!(images.contains(&built), "cut {n}: {built} is lost\n{images}");
        place.cooper(&["save", "-o", "out.tar", &format!("app:{n}")]).ok();
        let again = place.build(&["-t", "again"]).ok();
        assert_eq!(again.built(), built, "cut {n}");
        assert!(again.stderr.contains("0 steps run"), "cut {n}: {}", again.stderr);
        place.cooper(&["store", "repair"]).ok();
        place.sound();
    }
}

//! Secrets given to builds that work, fail or are killed: no byte of them is found in the store or in what is printed.
//! And contexts that change while they are read.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use crate::place::{Dice, Done, Place, files_below, skip_if_missing};

const CANARY: &str = "cAnArY-7f3e-do-not-keep";

/// How the secret could be written: as it is, reversed, in hexadecimal, in base64 at each of its three offsets.
fn forms() -> Vec<Vec<u8>> {
    use base64::Engine as _;
    let plain = CANARY.as_bytes();
    let mut out = vec![plain.to_vec(), plain.iter().rev().copied().collect()];
    out.push(plain.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
    for offset in 0..3 {
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode([&vec![0; offset][..], plain].concat());
        out.push(text.as_bytes()[offset * 2..text.len() - 3].to_vec());
    }
    out
}

#[track_caller]
fn absent(bytes: &[u8], place: &str) {
    for form in forms() {
        assert!(!bytes.windows(form.len()).any(|part| part == form), "{place} holds {}", form.escape_ascii());
    }
}

/// Every file of the store, layers and database too; compressed blobs unpacked.
#[track_caller]
fn store_is_clean(place: &Place) {
    for path in files_below(&place.store) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        absent(&bytes, &path.display().to_string());
        if let Ok(mut reader) = cooper_oci::decompress(&bytes[..]) {
            let mut out = Vec::new();
            if std::io::Read::read_to_end(&mut reader, &mut out).is_ok() {
                absent(&out, &path.display().to_string());
            }
        }
    }
}

fn output_is_clean(done: &Done) {
    absent(done.stdout.as_bytes(), "stdout");
    absent(done.stderr.as_bytes(), "stderr");
}

#[test]
fn privileged_no_secret_is_kept_or_told() {
    skip_if_missing!();
    let (place, mut dice) = (Place::new(), Dice::new("secrets"));
    let secret = place.dir.path().join("secret");
    std::fs::write(&secret, CANARY).unwrap();
    let file = format!("id=file,src={}", secret.display());
    let mounts = "--mount=type=secret,id=file --mount=type=secret,id=env,env=TOKEN \
                  --mount=type=secret,id=file,target=/root/.netrc,mode=0400";
    let shapes = [
        ("true", true),
        ("cat /run/secrets/file /root/.netrc > /dev/null && test -n \"$TOKEN\"", true),
        ("cp /run/secrets/file /dev/shm/copy; ls -l /run/secrets", true),
        ("test $(wc -c < /run/secrets/file) = 0", false),
        ("kill -9 $$", false),
        ("cat /run/secrets/missing", false),
    ];
    let args = ["--secret", &file, "--secret", "id=env,env=CANARY_VARIABLE"];
    for (shape, works) in shapes {
        place.write("Dockerfile", &format!("{}RUN {mounts} {shape}\n", crate::place::DOCKERFILE));
        for format in ["plain", "rawjson"] {
            let mut command = place.command(&["build", "--no-cache", "--progress", format]);
            let done = Done::of(command.args(args).arg("context").env("CANARY_VARIABLE", CANARY).output().unwrap());
            assert_eq!(done.code == Some(0), works, "{shape}: {}", done.stderr);
            output_is_clean(&done);
        }
        output_is_clean(&place.cooper(&["explain"]));
        store_is_clean(&place);
    }
    place.write("Dockerfile", &format!("{}RUN {mounts} cat /run/secrets/file | sleep 1\n", crate::place::DOCKERFILE));
    for _ in 0..6 {
        let mut command = place.build_command(&args);
        command.env("CANARY_VARIABLE", CANARY).process_group(0).stderr(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(700_000)));
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        child.wait().unwrap();
        store_is_clean(&place);
    }
}

#[test]
fn privileged_a_context_that_changes_gives_an_error_or_one_of_its_states() {
    skip_if_missing!();
    let (place, mut dice) = (Place::new(), Dice::new("changing context"));
    place.write("Dockerfile", "FROM scratch\nCOPY big /big\nCOPY same /same\n");
    place.write("same", "same");
    let body = |n: u8| vec![n; 3_000_000];
    let mut seen = 0;
    for n in 0..40_u8 {
        let big = place.context().join("big");
        std::fs::write(&big, body(n)).unwrap();
        let args = ["-o", "type=local,dest=out"];
        let mut command = place.build_command(&args);
        let child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(25_000)));
        match n % 4 {
            0 => std::fs::write(&big, body(n + 100)).unwrap(),
            1 => std::fs::OpenOptions::new().write(true).open(&big).unwrap().set_len(1000).unwrap(),
            2 => std::os::unix::fs::FileExt::write_all_at(
                &std::fs::OpenOptions::new().write(true).open(&big).unwrap(),
                &body(n + 100)[..1_000_000],
                2_000_000,
            )
            .unwrap(),
            _ => {
                std::fs::write(place.context().join("other"), body(n + 100)).unwrap();
                std::fs::rename(place.context().join("other"), &big).unwrap();
            }
        }
        let done = Done::of(child.wait_with_output().unwrap()).no_panic();
        if done.code != Some(0) {
            assert!(done.stderr.contains("changed while it was read"), "{}", done.stderr);
            seen += 1;
        }
        // What was remembered under the digest of the present content is the present content.
        place.build(&args).ok();
        assert!(std::fs::read(place.dir.path().join("out/big")).unwrap() == std::fs::read(&big).unwrap(), "round {n}");
        // And what was remembered of the content before is that.
        std::fs::write(&big, body(n)).unwrap();
        place.build(&args).ok();
        assert!(std::fs::read(place.dir.path().join("out/big")).unwrap() == body(n), "round {n}");
    }
    eprintln!("noticed {seen} changes of 40");
}

//! From text to graph, with empty base images; outlines and targets.
#![no_main]

use cooper_dockerfile::outline::{outline, targets};
use cooper_dockerfile::{Args, Bases, Evaluation, evaluate, lower, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (file, _) = parse(text);
    let args = Args::new(cooper_oci::Platform::new("linux", "amd64"));
    let mut bases = Bases::new();
    for _ in 0..8 {
        match evaluate(&file, &args, &bases).0 {
            Evaluation::Needs(keys) => bases.extend(keys.into_iter().map(|(key, _)| (key, Default::default()))),
            Evaluation::Done(stages) => {
                lower(&stages, &args);
                break;
            }
            Evaluation::Failed => break,
        }
    }
    let _ = outline(&file, &args);
    targets(&file);
});

//! Options of `RUN --mount`.
#![no_main]

use cooper_dockerfile::parse::parse_mount;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = parse_mount(text);
});

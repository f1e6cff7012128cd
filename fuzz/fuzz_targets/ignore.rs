//! Ignore files: the first line is a path, the rest are patterns.
#![no_main]

use cooper_llb::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (path, patterns) = text.split_once('\n').unwrap_or((text, ""));
    let (ignore, _) = Ignore::parse(patterns);
    ignore.excludes(path);
});

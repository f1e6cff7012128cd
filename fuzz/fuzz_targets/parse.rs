//! The reader, here-documents included: spans lie in the text, and drawing what is wrong works.
#![no_main]

use cooper_dockerfile::parse::detect_syntax;
use cooper_dockerfile::{lint, parse, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (file, mut found) = parse(text);
    found.extend(lint(&file));
    for instruction in &file.instructions {
        assert!(text.get(instruction.span.start as usize..instruction.span.end as usize).is_some());
    }
    for found in &found {
        assert!(text.get(found.span.start as usize..found.span.end as usize).is_some());
    }
    let drawn = render(&found, "Dockerfile", text, false);
    assert!(drawn.chars().all(|ch| ch == '\n' || !ch.is_control()));
    detect_syntax(text);
});

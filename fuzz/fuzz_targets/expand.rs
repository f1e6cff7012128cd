//! Expansion of variables, in each way of reading quotes.
#![no_main]

use cooper_dockerfile::expand::{Mode, expand, expand_words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lookup = |name: &str| (name.len() == 1).then(|| format!("{name} x*"));
    for escape in ['\\', '`'] {
        for mode in [Mode::Word, Mode::Raw] {
            if let Err(error) = expand(text, escape, &lookup, mode) {
                assert!(text.is_char_boundary(error.offset));
            }
        }
        let _ = expand_words(text, escape, &lookup);
    }
});

//! The formatter: what can be read stays readable with the same instructions, and formatting again changes nothing.
#![no_main]

use cooper_dockerfile::{format, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(formatted) = format(text) else { return };
    let (before, after) = (parse(text).0, parse(&formatted).0);
    assert_eq!(before.instructions.len(), after.instructions.len(), "{formatted:?}");
    assert_eq!(before.directives.len(), after.directives.len(), "{formatted:?}");
    for (before, after) in before.instructions.iter().zip(&after.instructions) {
        let words = |text: &str| text.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<String>();
        assert_eq!(words(&before.original), words(&after.original), "{formatted:?}");
        assert_eq!(before.flags().len(), after.flags().len(), "{formatted:?}");
    }
    assert_eq!(format(&formatted).as_deref(), Ok(formatted.as_str()));
});

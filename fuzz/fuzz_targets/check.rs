//! All rules, the shell grammar included; fixes fit the text, and applying them leaves a file that can be read.
#![no_main]

use cooper_dockerfile::lint::{Options, check};
use cooper_dockerfile::{Severity, apply_fixes, diagnose, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (file, mut found) = parse(text);
    if found.iter().any(|found| found.severity == Severity::Error) {
        return;
    }
    let args = cooper_dockerfile::Args::new(cooper_oci::Platform::new("linux", "amd64"));
    found.extend(diagnose(&file, &args));
    let found = check(text, &file, found, &Options::default());
    for found in &found {
        assert!(text.get(found.span.start as usize..found.span.end as usize).is_some(), "{found:?}");
    }
    let fixes: Vec<_> = found.iter().filter_map(|found| found.fix.as_deref()).collect();
    for fix in &fixes {
        assert_eq!(apply_fixes(text, [*fix]).applied, [0], "{fix:?}");
    }
    let fixed = apply_fixes(text, fixes.into_iter().filter(|fix| fix.safe));
    let (_, after) = parse(&fixed.text);
    assert!(after.iter().all(|found| found.severity != Severity::Error), "{}", fixed.text);
});

//! The shell grammar: errors and comments lie in the text.
#![no_main]

use cooper_dockerfile::shell::parse_with_comments;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (script, comments) = parse_with_comments(text);
    if let Err(error) = script {
        assert!(error.offset as usize <= text.len());
    }
    for comment in comments {
        assert!(text.get(comment.start as usize..comment.end as usize).is_some());
    }
});

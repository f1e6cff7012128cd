//! Whole files, from tutorials and as real projects write them: what a reviewer would say, and no more. The expected findings stand
//! beside each file; `UPDATE=1` writes what is found.

use std::fs;
use std::path::Path;

use cooper_dockerfile::line_column;
use cooper_dockerfile::lint::Options;

use crate::support::findings;

#[test]
fn files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lint/files");
    let mut files: Vec<_> =
        fs::read_dir(dir).expect("the directory is there").map(|entry| entry.expect("is read").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "Dockerfile"));
    files.sort();
    assert!(files.len() >= 15);
    let mut wrong = String::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("is read");
        let lines = findings(&text, &Options::default()).into_iter().map(|found| {
            let (line, column) = line_column(&text, found.span.start);
            format!("{line}:{column} {:?} {}: {}\n", found.severity, found.rule, found.message)
        });
        let found: String = lines.collect();
        let expected = path.with_extension("findings");
        if option_env!("UPDATE").is_some() {
            fs::write(&expected, &found).expect("is written");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong += &format!("{}\n{found}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

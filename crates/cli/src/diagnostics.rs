//! Places in the Dockerfile, drawn for a person.
//!
//! Knows nothing of why a place is shown.

use cooper_engine::Error;

/// Lines of the Dockerfile shown around a place.
const CONTEXT_LINES: u32 = 2;

/// The lines of the Dockerfile an error belongs to: its diagnostics if it has some, else its place.
pub(crate) fn excerpt_of(error: &Error) -> Option<String> {
    let (name, text) = error.dockerfile.as_ref()?;
    let place = error.place?;
    Some(excerpt(name, text, place.first_line, place.last_line))
}

fn excerpt(name: &str, text: &str, first: u32, last: u32) -> String {
    let from = first.saturating_sub(CONTEXT_LINES).max(1);
    let to = last.saturating_add(CONTEXT_LINES);
    let mut out = format!("{name}:{first}\n");
    for (number, line) in (1u32..).zip(text.lines()).skip_while(|(n, _)| *n < from).take_while(|(n, _)| *n <= to) {
        let mark = if (first..=last).contains(&number) { ">" } else { " " };
        out.push_str(&format!("{mark} {number:>4} | {line}\n"));
    }
    out
}

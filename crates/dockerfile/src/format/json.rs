//! JSON lists of strings: strings as they are written, one blank after each comma.
//!
//! Does not know which instruction they belong to.

/// Whether the readers take the text for a list of strings.
pub(super) fn is_list(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('[') && serde_json::from_str::<Vec<String>>(text).is_ok()
}

/// One line's part of a valid list, arranged. `None` if a string goes on into the next line.
pub(super) fn arranged(piece: &str) -> Option<String> {
    let mut out = String::with_capacity(piece.len());
    let mut chars = piece.chars();
    while let Some(ch) = chars.next() {
        match ch {
            ' ' | '\t' => {}
            '"' => {
                out.push(ch);
                string(&mut chars, &mut out)?;
            }
            ',' => out.push_str(", "),
            other => out.push(other),
        }
    }
    out.truncate(out.trim_end_matches(' ').len());
    Some(out)
}

/// The rest of a string, closing quote included.
fn string(chars: &mut std::str::Chars<'_>, out: &mut String) -> Option<()> {
    loop {
        let ch = chars.next()?;
        out.push(ch);
        match ch {
            '"' => return Some(()),
            '\\' => out.push(chars.next()?),
            _ => {}
        }
    }
}

//! Here-documents: the markers in a line and the bodies after it.
//!
//! Does not know which instruction they belong to.

use super::lines::{Lines, Text, span};
use crate::Diagnostic;
use crate::ast::Heredoc;
use crate::expand;

/// Markers in one line: each costs a scan of what follows.
const HEREDOCS_MAX: usize = 100;

/// The markers of a line in order, bodies still empty. A line whose quotes do not balance has none, as in BuildKit.
pub(super) fn markers(line: &str) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let words = expand::raw_words(line).unwrap_or_default();
    words.iter().filter_map(|word| marker(word)).take(HEREDOCS_MAX).collect()
}

/// A word `[fd]<<[-]NAME`, the name possibly quoted.
pub(super) fn marker(word: &str) -> Option<Heredoc> {
    let (fd, rest) = word.split_once("<<")?;
    if !fd.chars().all(|ch| ch.is_ascii_digit()) || rest.contains('<') {
        return None;
    }
    let chomp = rest.starts_with('-');
    let delimiter = rest.strip_prefix('-').unwrap_or(rest).trim_start();
    let mut words = expand::delimiter_words(delimiter).ok()?;
    let name = words.pop().filter(|_| words.is_empty())?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Some(Heredoc {
        expand: quotes(&name) == quotes(delimiter),
        name,
        chomp,
        fd: fd.parse().ok(),
        content: String::new(),
        span: span(0, 0),
    })
}

/// Whether a text is nothing but the marker of one here-document.
pub fn is_heredoc_marker(text: &str) -> bool {
    marker(text).is_some()
}

/// Reads the bodies of the line's markers.
pub(super) fn read(line: Text<'_>, lines: &mut Lines<'_>) -> Result<Vec<Heredoc>, Diagnostic> {
    let mut heredocs = markers(line.as_str());
    for heredoc in &mut heredocs {
        if !read_body(heredoc, lines) {
            let place = marker_place(line, &heredoc.name);
            let message = format!("the here-document `{}` is not terminated", heredoc.name);
            return Err(Diagnostic::error(place.span(), message)
                .with_hint(format!("end it with a line that is only `{}`", heredoc.name)));
        }
    }
    Ok(heredocs)
}

/// False if the terminator is missing.
fn read_body(heredoc: &mut Heredoc, lines: &mut Lines<'_>) -> bool {
    let start = lines.at();
    let mut end = start;
    for line in lines {
        let text = if heredoc.chomp { line.text().trim_start_matches('\t') } else { line.text() };
        if text == heredoc.name {
            heredoc.span = span(start, end);
            return true;
        }
        heredoc.content.push_str(line.raw);
        end = line.start + line.raw.len();
    }
    false
}

/// The here-document with the tabs gone that `<<-` strips. Only where it is a file or a program by itself: in the middle
/// of a command it is the shell that strips them, and history shows them.
pub(super) fn chomped(mut heredoc: Heredoc) -> Heredoc {
    if heredoc.chomp {
        heredoc.content = heredoc.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect();
    }
    heredoc
}

fn marker_place<'a>(line: Text<'a>, name: &str) -> Text<'a> {
    let named =
        line.blank_separated().into_iter().find(|word| marker(word.as_str()).is_some_and(|found| found.name == name));
    named.unwrap_or(line)
}

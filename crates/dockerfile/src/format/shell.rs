//! The blanks of a shell command that only separate words.
//!
//! Knows just enough of the shell to stay out of quotes, and gives up where it could be wrong.

/// What the scanner is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    /// `(..)` or `$(..)`.
    Paren,
    /// `${..}`.
    Brace,
    /// `".."`.
    Quotes,
}

/// Nesting beyond this is not read: no command of a person comes near.
const NESTING_MAX: usize = 200;

/// Offsets of the blanks outside quotes and expansions; `None` where that cannot be told for every shell.
pub(super) fn loose_blanks(text: &str) -> Option<Vec<usize>> {
    // Here-documents, `$'..'` and patterns of `case` in a substitution are read differently from shell to shell.
    if text.contains("<<") || text.contains("$'") || text.contains("case") && text.contains("$(") {
        return None;
    }
    let mut found = Vec::new();
    let mut inside: Vec<Inside> = Vec::new();
    // Of these, quotes and braces.
    let mut kept = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, ch)) = chars.next() {
        let top = inside.last().copied();
        match ch {
            '\\' => {
                chars.next()?;
            }
            ' ' | '\t' if kept == 0 => found.push(at),
            '"' if top == Some(Inside::Quotes) => {
                inside.pop();
                kept -= 1;
            }
            '"' => {
                inside.push(Inside::Quotes);
                kept += 1;
            }
            '\'' if top == Some(Inside::Brace) => return None,
            '\'' if top != Some(Inside::Quotes) => {
                chars.find(|(_, ch)| *ch == '\'')?;
            }
            '`' => skip_backquoted(&mut chars)?,
            '$' if chars.next_if(|(_, next)| *next == '(').is_some() => inside.push(Inside::Paren),
            '$' if chars.next_if(|(_, next)| *next == '{').is_some() => {
                inside.push(Inside::Brace);
                kept += 1;
            }
            '(' if top != Some(Inside::Quotes) => inside.push(Inside::Paren),
            ')' if top == Some(Inside::Paren) => {
                inside.pop();
            }
            '}' if top == Some(Inside::Brace) => {
                inside.pop();
                kept -= 1;
            }
            _ => {}
        }
        if inside.len() > NESTING_MAX {
            return None;
        }
    }
    inside.is_empty().then_some(found)
}

fn skip_backquoted(chars: &mut impl Iterator<Item = (usize, char)>) -> Option<()> {
    loop {
        match chars.next()?.1 {
            '\\' => {
                chars.next()?;
            }
            '`' => return Some(()),
            _ => {}
        }
    }
}

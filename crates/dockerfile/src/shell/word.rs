//! What a word is made of: quotes, escapes, expansions and substitutions.
//!
//! Does not know where words may stand.

use super::SyntaxError;
use super::ast::{Part, Script, Word};
use super::parser::Parser;

type Result<T> = std::result::Result<T, SyntaxError>;

/// Bytes that end a word.
const META: &[u8] = b" \t\r\n;&|()<>";

/// Collects parts; literals next to each other become one.
#[derive(Debug, Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn literal(&mut self, more: &str, more_quoted: bool) {
        match self.0.last_mut() {
            Some(Part::Literal { text, quoted }) if *quoted == more_quoted => text.push_str(more),
            _ => self.0.push(Part::Literal { text: more.to_owned(), quoted: more_quoted }),
        }
    }
}

impl<'a> Parser<'a> {
    /// A word, if one begins here.
    pub(super) fn word(&mut self) -> Result<Option<Word>> {
        self.word_until(META)
    }

    /// A word inside `[[`, where only blanks separate.
    pub(super) fn test_word(&mut self) -> Result<Option<Word>> {
        self.word_until(b" \t\r\n")
    }

    fn word_until(&mut self, ends: &[u8]) -> Result<Option<Word>> {
        let start = self.at;
        let mut parts = Parts::default();
        while let Some(byte) = self.peek() {
            match byte {
                b'<' | b'>' if self.rest().get(1..2) == Some("(") => {
                    self.at += 2;
                    self.substitution(self.at - 2, &mut parts)?;
                }
                _ if ends.contains(&byte) => break,
                b'\\' => self.escaped(&mut parts),
                b'\'' => self.single_quoted(&mut parts)?,
                b'"' => self.double_quoted(&mut parts)?,
                b'$' => self.dollar(false, &mut parts)?,
                b'`' => self.backquoted(&mut parts)?,
                b'?' | b'*' | b'+' | b'@' | b'!' if self.rest().get(1..2) == Some("(") => {
                    self.pattern_list(&mut parts)?
                }
                _ => self.plain(ends, &mut parts),
            }
        }
        Ok((self.at > start).then(|| Word { span: self.span_from(start), parts: parts.0 }))
    }

    /// Characters that mean themselves; at least one.
    fn plain(&mut self, ends: &[u8], parts: &mut Parts) {
        let rest = self.rest();
        let special = |byte: u8| ends.contains(&byte) || b"\\'\"$`?*+@!<>".contains(&byte);
        let length = rest.bytes().position(special).unwrap_or(rest.len());
        // One that only looked special is taken alone.
        let length = if length == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { length };
        parts.literal(rest.get(..length).unwrap_or_default(), false);
        self.at += length;
    }

    fn escaped(&mut self, parts: &mut Parts) {
        let rest = self.rest();
        if rest.starts_with("\\\n") {
            self.at += 2;
        } else if let Some(ch) = rest.chars().nth(1) {
            self.at += 1 + ch.len_utf8();
            parts.literal(ch.encode_utf8(&mut [0; 4]), true);
        } else {
            self.at += 1;
            parts.literal("\\", false);
        }
    }

    fn single_quoted(&mut self, parts: &mut Parts) -> Result<()> {
        let body = self.rest().get(1..).unwrap_or_default();
        let end = body.find('\'').ok_or_else(|| self.error("a `'` that is not closed"))?;
        parts.literal(body.get(..end).unwrap_or_default(), true);
        self.at += end + 2;
        Ok(())
    }

    /// `$'..'`; its escapes are kept as written.
    fn ansi_quoted(&mut self, parts: &mut Parts) -> Result<()> {
        let mut escaped = false;
        for (at, byte) in self.rest().bytes().enumerate().skip(2) {
            if byte == b'\'' && !escaped {
                parts.literal(self.rest().get(2..at).unwrap_or_default(), true);
                self.at += at + 1;
                return Ok(());
            }
            escaped = byte == b'\\' && !escaped;
        }
        Err(self.error("a `$'` that is not closed"))
    }

    fn double_quoted(&mut self, parts: &mut Parts) -> Result<()> {
        let open = self.error("a `\"` that is not closed");
        self.at += 1;
        if self.peek() == Some(b'"') {
            parts.literal("", true);
        }
        loop {
            match self.peek() {
                None => return Err(open),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'$') => self.dollar(true, parts)?,
                Some(b'`') => self.backquoted(parts)?,
                Some(b'\\') if self.rest().starts_with("\\\n") => self.at += 2,
                Some(b'\\') if self.rest().get(1..2).is_some_and(|next| "$`\"\\".contains(next)) => self.escaped(parts),
                Some(_) => {
                    let rest = self.rest();
                    let skip = usize::from(rest.starts_with('\\'));
                    let tail = rest.get(skip..).unwrap_or_default();
                    let length = skip + tail.bytes().position(|byte| b"\"$`\\".contains(&byte)).unwrap_or(tail.len());
                    parts.literal(rest.get(..length).unwrap_or_default(), true);
                    self.at += length;
                }
            }
        }
    }

    fn dollar(&mut self, quoted: bool, parts: &mut Parts) -> Result<()> {
        let start = self.at;
        let rest = self.rest();
        let next = rest.as_bytes().get(1).copied().unwrap_or(b' ');
        match next {
            b'(' => match arithmetic(rest.get(1..).unwrap_or_default()) {
                Some(length) => self.at += 1 + length,
                None => {
                    self.at += 2;
                    return self.substitution(start, parts);
                }
            },
            b'{' => {
                let end = balanced(rest.get(1..).unwrap_or_default(), b'{', b'}');
                self.at += 1 + end.ok_or_else(|| self.error("a `${` that is not closed"))?;
            }
            b'\'' if !quoted => return self.ansi_quoted(parts),
            b'"' if !quoted => {
                self.at += 1;
                return self.double_quoted(parts);
            }
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let name = rest.bytes().skip(1).take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
                self.at += 1 + name.count();
            }
            b'0'..=b'9' | b'@' | b'*' | b'#' | b'?' | b'$' | b'!' | b'-' => self.at += 2,
            _ => {
                self.at += 1;
                parts.literal("$", quoted);
                return Ok(());
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        parts.0.push(Part::Expansion { text, quoted });
        Ok(())
    }

    /// The commands up to the `)`; `start` is where the word's part begins.
    fn substitution(&mut self, start: usize, parts: &mut Parts) -> Result<()> {
        self.deeper()?;
        let script = self.script(&[])?;
        if !self.eat(")") {
            return Err(self.error("a substitution that is not closed"));
        }
        self.depth -= 1;
        let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        parts.0.push(Part::Substitution { text, script });
        Ok(())
    }

    /// Backquotes. What is escaped inside is not looked into.
    fn backquoted(&mut self, parts: &mut Parts) -> Result<()> {
        self.deeper()?;
        let (start, rest) = (self.at, self.rest());
        let mut escaped = false;
        let close = rest.bytes().enumerate().skip(1).find_map(|(at, byte)| {
            let found = byte == b'`' && !escaped;
            escaped = byte == b'\\' && !escaped;
            found.then_some(at)
        });
        let close = start + close.ok_or_else(|| self.error("a backquote that is not closed"))?;
        let inner = self.text.get(start + 1..close).unwrap_or_default();
        let script = if inner.contains('\\') {
            Script::default()
        } else {
            let mut parser = Parser::new(self.text.get(..close).unwrap_or_default());
            (parser.at, parser.depth) = (start + 1, self.depth);
            parser.script(&[])?
        };
        self.depth -= 1;
        self.at = close + 1;
        let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        parts.0.push(Part::Substitution { text, script });
        Ok(())
    }

    /// `@(a|b)` and its like.
    fn pattern_list(&mut self, parts: &mut Parts) -> Result<()> {
        let rest = self.rest();
        let end = balanced(rest.get(1..).unwrap_or_default(), b'(', b')');
        let end = 1 + end.ok_or_else(|| self.error("a pattern that is not closed"))?;
        parts.literal(rest.get(..end).unwrap_or_default(), false);
        self.at += end;
        Ok(())
    }
}

/// The length of `((..))` at the start of the text; `None` if its parentheses do not close together, so that it is two subshells.
pub(super) fn arithmetic(text: &str) -> Option<usize> {
    text.starts_with("((").then_some(())?;
    let outer = balanced(text, b'(', b')')?;
    let inner = balanced(text.get(1..)?, b'(', b')')?;
    (inner + 2 == outer).then_some(outer)
}

/// The length of the text up to the bracket that closes its first one, both included; quoted ones and escaped ones do not count.
pub(super) fn balanced(text: &str, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0usize;
    let mut double = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => double = !double,
            b'\'' if !double => {
                bytes.by_ref().find(|(_, byte)| *byte == b'\'')?;
            }
            _ if byte == open && !double => depth += 1,
            _ if byte == close && !double => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

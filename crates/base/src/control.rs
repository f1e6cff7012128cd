//! Paragraphs of fields (deb822(5)): Release files, package indexes, `.sources` files, control files.
//!
//! Knows nothing of what the fields mean. Borrows from the text: an index has tens of thousands of paragraphs.

use crate::{Error, ErrorKind, Result};

/// One paragraph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: Vec<(&'a str, &'a str)>,
    /// One-based line it begins at.
    pub line: usize,
}

impl<'a> Paragraph<'a> {
    /// A field's value, its continuation lines included; names are compared without case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// A field that has to be there. `what` names the paragraph in the error.
    pub fn need(&self, name: &str, what: &str) -> Result<&'a str> {
        let missing = || Error::new(ErrorKind::Invalid, format!("{what}, line {}: no field `{name}`", self.line));
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// Words of a field; none when it is absent.
    pub fn words(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.get(name).unwrap_or_default().split_whitespace()
    }
}

/// The paragraphs of a text. `what` names the text in errors. Lines that begin with `#` are comments.
pub fn paragraphs<'a>(text: &'a str, what: &'a str) -> impl Iterator<Item = Result<Paragraph<'a>>> {
    let mut reader = Reader { text, at: 0, line: 0, what };
    std::iter::from_fn(move || reader.next().transpose())
}

/// The only paragraph of a text.
pub fn single<'a>(text: &'a str, what: &'a str) -> Result<Paragraph<'a>> {
    let mut all = paragraphs(text, what);
    let first = all.next().unwrap_or_else(|| Err(Error::new(ErrorKind::Invalid, format!("{what} is empty"))))?;
    match all.next() {
        None => Ok(first),
        Some(_) => Err(Error::new(ErrorKind::Invalid, format!("{what} has more than one paragraph"))),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    what: &'a str,
}

impl<'a> Reader<'a> {
    /// Offset and text of the next line, without its end.
    fn next_line(&mut self) -> Option<(usize, &'a str)> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        self.at += length;
        self.line += 1;
        Some((start, rest[..length].trim_end_matches(['\n', '\r'])))
    }

    fn next(&mut self) -> Result<Option<Paragraph<'a>>> {
        let mut paragraph = Paragraph::default();
        // Name and value of the field that continuation lines belong to.
        let mut open: Option<(&'a str, std::ops::Range<usize>)> = None;
        while let Some((start, line)) = self.next_line() {
            if line.starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                if open.is_some() {
                    break;
                }
                continue;
            }
            if line.starts_with([' ', '\t']) {
                let Some((_, value)) = &mut open else { return Err(self.fault("a continuation of nothing")) };
                value.end = start + line.len();
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { return Err(self.fault("no `Field: value`")) };
            if name.is_empty() || name.contains([' ', '\t']) {
                return Err(self.fault("no `Field: value`"));
            }
            self.close(&mut paragraph, open.take());
            if paragraph.get(name).is_some() {
                return Err(self.fault(&format!("field `{name}` is there twice")));
            }
            if paragraph.fields.is_empty() {
                paragraph.line = self.line;
            }
            let end = start + line.len();
            open = Some((name, end - value.len()..end));
        }
        let found = open.is_some();
        self.close(&mut paragraph, open);
        Ok(found.then_some(paragraph))
    }

    fn close(&self, paragraph: &mut Paragraph<'a>, open: Option<(&'a str, std::ops::Range<usize>)>) {
        if let Some((name, range)) = open {
            paragraph.fields.push((name, self.text[range].trim()));
        }
    }

    fn fault(&self, why: &str) -> Error {
        Error::new(ErrorKind::Invalid, format!("{}, line {}: {why}", self.what, self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<Vec<(&str, &str)>> {
        paragraphs(text, "t").map(|paragraph| paragraph.unwrap().fields).collect()
    }

    #[test]
    fn paragraphs_continuations_comments_and_line_ends() {
        let text = "\n\nA: 1\n# c\nB:\r\n x\r\n y\r\n\r\n \nC:  z  \n";
        assert_eq!(fields(text), [vec![("A", "1"), ("B", "x\r\n y")], vec![("C", "z")]]);
        assert_eq!(fields(""), Vec::<Vec<(&str, &str)>>::new());
    }

    #[test]
    fn faults_name_the_line() {
        for (text, expect) in [
            ("A: 1\nB\n", "t, line 2: no `Field: value`"),
            (" x\n", "t, line 1: a continuation of nothing"),
            ("A: 1\na: 2\n", "t, line 2: field `a` is there twice"),
        ] {
            let error = paragraphs(text, "t").find_map(Result::err).unwrap();
            assert_eq!(error.to_string(), expect);
        }
    }
}

//! Relations between packages (Debian Policy 7): `name:any (>= 1.2) | other`. Knows nothing of which packages exist.

use std::fmt;

use crate::manifest::{is_architecture, is_package_name};
use crate::version;
use crate::{Error, ErrorKind, Result};

/// How a version is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// One choice of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Package name, real or virtual.
    pub name: String,
    /// `any`, `native` or an architecture.
    pub architecture: Option<String>,
    /// Versions that will do.
    pub version: Option<(Operator, String)>,
}

impl Relation {
    /// A version satisfies the relation.
    pub fn accepts(&self, candidate: &str) -> bool {
        let Some((operator, wanted)) = &self.version else { return true };
        let order = version::compare(candidate, wanted);
        match operator {
            Operator::Earlier => order.is_lt(),
            Operator::EarlierOrEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::LaterOrEqual => order.is_ge(),
            Operator::Later => order.is_gt(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        if let Some((operator, version)) = &self.version {
            write!(f, " ({operator} {version})")?;
        }
        Ok(())
    }
}

/// The choices of one relation as text.
pub(crate) fn choices_text(choices: &[Relation]) -> String {
    choices.iter().map(Relation::to_string).collect::<Vec<_>>().join(" | ")
}

/// Reads a field: relations that must all hold, each with its choices.
pub fn parse(field: &str) -> Result<Vec<Vec<Relation>>> {
    let groups = field.split(',').map(str::trim).filter(|group| !group.is_empty());
    groups.map(|group| group.split('|').map(|choice| parse_one(choice.trim())).collect()).collect()
}

fn parse_one(text: &str) -> Result<Relation> {
    let fault = || Error::new(ErrorKind::Invalid, format!("`{text}` is not a relation between packages"));
    let (head, version) = match text.split_once('(') {
        Some((head, rest)) => {
            let inside = rest.trim_end().strip_suffix(')').ok_or_else(fault)?;
            (head.trim(), Some(parse_version(inside.trim()).ok_or_else(fault)?))
        }
        None => (text, None),
    };
    let (name, architecture) = match head.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (head, None),
    };
    if !is_package_name(name) || architecture.is_some_and(|word| !is_architecture(word)) {
        return Err(fault());
    }
    Ok(Relation { name: name.to_owned(), architecture: architecture.map(str::to_owned), version })
}

fn parse_version(text: &str) -> Option<(Operator, String)> {
    // The longer ones first; `<` and `>` are the old words for `<=` and `>=`.
    const OPERATORS: &[(&str, Operator)] = &[
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">>", Operator::Later),
        (">=", Operator::LaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ];
    let (word, operator) = OPERATORS.iter().find(|(word, _)| text.starts_with(word))?;
    let version = text[word.len()..].trim();
    (!version.is_empty() && !version.contains(char::is_whitespace)).then(|| (*operator, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let groups = parse("libc6 (>= 2.36), python3:any | python3.11:native(<<4),awk, ").unwrap();
        let texts: Vec<String> = groups.iter().map(|group| choices_text(group)).collect();
        assert_eq!(texts, ["libc6 (>= 2.36)", "python3:any | python3.11:native (<< 4)", "awk"]);
    }

    #[test]
    fn what_is_no_relation_is_refused() {
        for text in ["a b", "libc6 (>= )", "libc6 (2)", "libc6 (>= 2", "x |", "LIBC"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_accepted() {
        let accepts = |relation: &str, version: &str| parse(relation).unwrap()[0][0].accepts(version);
        for (relation, version, expect) in [
            ("xx (<< 2)", "2~rc1", true),
            ("xx (<< 2)", "2", false),
            ("xx (<= 2)", "2", true),
            ("xx (= 2)", "2.0", false),
            ("xx (>= 2)", "2", true),
            ("xx (>> 2)", "2", false),
            ("xx (>> 2)", "2+b1", true),
            ("xx", "0", true),
        ] {
            assert_eq!(accepts(relation, version), expect, "{relation} {version}");
        }
    }
}

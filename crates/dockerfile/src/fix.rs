//! Applies fixes to a text.
//!
//! Does not know rules, nor whether a fix is safe: the caller chooses.

use crate::{Edit, Fix};

/// A text after some fixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// The text.
    pub text: String,
    /// Places of the fixes that were applied in what was given.
    pub applied: Vec<usize>,
}

/// Applies each fix as a whole or not at all: one that touches what an earlier one has changed, or that does not fit the text, is left out.
/// All other bytes stay. What is left out may apply to the result, so callers check again and repeat.
pub fn apply_fixes<'a>(text: &str, fixes: impl IntoIterator<Item = &'a Fix>) -> Fixed {
    let mut chosen: Vec<&Edit> = Vec::new();
    let mut applied = Vec::new();
    for (at, fix) in fixes.into_iter().enumerate() {
        let fits = fix.edits.iter().all(|edit| range(text, edit).is_some());
        let apart = |edit: &Edit| {
            let next = chosen.partition_point(|other| other.span.start < edit.span.start);
            let before = next.checked_sub(1).and_then(|i| chosen.get(i));
            before.is_none_or(|before| !meet(before, edit)) && chosen.get(next).is_none_or(|after| !meet(edit, after))
        };
        if !fix.edits.is_empty() && fits && fix.edits.iter().all(apart) && in_order(&fix.edits) {
            for edit in &fix.edits {
                let next = chosen.partition_point(|other| other.span.start < edit.span.start);
                chosen.insert(next, edit);
            }
            applied.push(at);
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in chosen {
        let Some(range) = range(text, edit) else { continue };
        out.push_str(text.get(done..range.start).unwrap_or_default());
        out.push_str(&edit.text);
        done = range.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    Fixed { text: out, applied }
}

fn range(text: &str, edit: &Edit) -> Option<std::ops::Range<usize>> {
    let range = edit.span.start as usize..edit.span.end as usize;
    text.get(range.clone()).map(|_| range)
}

/// Edits that begin in this order and share a byte, or a place to insert at.
fn meet(first: &Edit, second: &Edit) -> bool {
    second.span.start < first.span.end || second.span.start == first.span.start
}

fn in_order(edits: &[Edit]) -> bool {
    edits.is_sorted_by(|first, second| first.span.start < second.span.start && !meet(first, second))
}

#[cfg(test)]
mod tests {
    use super::apply_fixes;
    use crate::{Edit, Fix, Span};

    fn fix(edits: &[(u32, u32, &str)]) -> Fix {
        let edit = |(start, end, text): &(u32, u32, &str)| Edit {
            span: Span { start: *start, end: *end },
            text: (*text).to_owned(),
        };
        Fix { title: String::new(), edits: edits.iter().map(edit).collect(), safe: true }
    }

    #[track_caller]
    fn check(fixes: &[Fix], expect: &str, applied: &[usize]) {
        let fixed = apply_fixes("abcdefé", fixes);
        assert_eq!((fixed.text.as_str(), fixed.applied.as_slice()), (expect, applied));
    }

    #[test]
    fn edits_apart_are_all_made() {
        check(&[], "abcdefé", &[]);
        check(&[fix(&[(3, 4, "D")]), fix(&[(0, 1, "A"), (6, 8, "")])], "AbcDef", &[0, 1]);
        check(&[fix(&[(1, 1, "-")]), fix(&[(2, 3, "C")])], "a-bCdefé", &[0, 1]);
        check(&[fix(&[(0, 2, "x")]), fix(&[(2, 4, "y")])], "xyefé", &[0, 1]);
    }

    #[test]
    fn of_two_that_meet_the_first_is_made_whole() {
        check(&[fix(&[(0, 2, "x")]), fix(&[(1, 3, "y"), (5, 6, "F")])], "xcdefé", &[0]);
        check(&[fix(&[(2, 2, "x")]), fix(&[(2, 2, "y")])], "abxcdefé", &[0]);
        check(&[fix(&[(0, 4, "x")]), fix(&[(1, 2, "y")]), fix(&[(5, 6, "z")])], "xezé", &[0, 2]);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        check(&[fix(&[(7, 8, "x")])], "abcdefé", &[]);
        check(&[fix(&[(9, 12, "x")])], "abcdefé", &[]);
        check(&[fix(&[(3, 2, "x")])], "abcdefé", &[]);
        check(&[fix(&[(2, 4, "x"), (3, 5, "y")])], "abcdefé", &[]);
        check(&[fix(&[])], "abcdefé", &[]);
    }
}

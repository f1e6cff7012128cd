//! Finds the word a user probably meant.
//!
//! Does not know what the words stand for.

/// Words longer than this are never compared: the table is quadratic.
const COMPARED_CHARS_MAX: usize = 128;

/// The candidate nearest to `word`, letter case ignored, if it is within two edits or a third of the word's length
/// (but never so far that nothing of the word is left). Among equals the first wins.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = word.to_lowercase().chars().collect();
    let limit = (wanted.len() / 3).max(2).min(wanted.len().saturating_sub(1));
    if wanted.len() > COMPARED_CHARS_MAX {
        return None;
    }
    candidates
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            let near = letters.len() <= COMPARED_CHARS_MAX && letters.len().abs_diff(wanted.len()) <= limit;
            let distance = if near { edit_distance(&wanted, &letters) } else { usize::MAX };
            (distance <= limit).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, y) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(x != y);
            row[j + 1] = substituted.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    fn check(word: &str, expect: Option<&str>) {
        assert_eq!(nearest(word, ["RUN", "COPY", "ENTRYPOINT", "ENV", "ADD"].into_iter()), expect, "{word}");
    }

    #[test]
    fn finds_what_was_meant() {
        check("RUNN", Some("RUN"));
        check("CPOY", Some("COPY"));
        check("entripoint", Some("ENTRYPOINT"));
        check("ENTRYPIONTS", Some("ENTRYPOINT"));
        check("EVN", Some("ENV"));
        check("FETCHING", None);
        check("", None);
        check(&"x".repeat(1000), None);
    }
}

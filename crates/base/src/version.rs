//! The order of Debian versions (deb-version(7)). Knows nothing of packages.
//!
//! Own code: the known crate brings regular expressions, dates and big integers for these sixty lines.

use std::cmp::Ordering;

/// Compares two versions as dpkg does; every text has a place in the order.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    compare_numbers(a.epoch, b.epoch)
        .then_with(|| compare_part(a.upstream, b.upstream))
        .then_with(|| compare_part(a.revision, b.revision))
}

struct Parts<'a> {
    epoch: &'a [u8],
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (epoch, rest) = text.trim().split_once(':').unwrap_or(("", text.trim()));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch: epoch.as_bytes(), upstream: upstream.as_bytes(), revision: revision.as_bytes() }
    }
}

/// Runs of what is no digit, then of digits, in turn.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) =
            (split(&mut a, |byte| !byte.is_ascii_digit()), split(&mut b, |byte| !byte.is_ascii_digit()));
        let (number_a, number_b) = (split(&mut a, u8::is_ascii_digit), split(&mut b, u8::is_ascii_digit));
        let order = compare_text(text_a, text_b).then_with(|| compare_numbers(number_a, number_b));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the longest start of `rest` for which `is_in` holds.
fn split<'a>(rest: &mut &'a [u8], is_in: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = rest.iter().position(|byte| !is_in(byte)).unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    *rest = tail;
    head
}

/// `~` sorts before the end, the end before letters, letters before the rest.
fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a.get(at)).cmp(&weight(b.get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Of any length; no digits are zero.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |digits: &'_ [u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_of_policy() {
        let ascending = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "1.0~beta1~svc1",
            "1.0~beta1",
            "1.0",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb12u2",
            "1.0-1+deb12u10",
            "1.0-10",
            "1.0a",
            "1.0.1",
            "1.10",
            "00002",
            "1:0.1",
            "10:0",
        ];
        for (at, low) in ascending.iter().enumerate() {
            assert_eq!(compare(low, low), Ordering::Equal);
            for high in &ascending[at + 1..] {
                assert_eq!(compare(low, high), Ordering::Less, "{low} {high}");
                assert_eq!(compare(high, low), Ordering::Greater, "{high} {low}");
            }
        }
    }

    #[test]
    fn equal_though_written_differently() {
        for (a, b) in [("1.0", "0:1.0"), ("1.01", "1.1"), ("1.0", "1.0-0"), ("1.0-", "1.0")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn numbers_beyond_any_machine_word() {
        assert_eq!(compare("1.99999999999999999999999", "1.100000000000000000000000"), Ordering::Less);
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(a in "[0-2a~+.:-]{0,6}", b in "[0-2a~+.:-]{0,6}", c in "[0-2a~+.:-]{0,6}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }

        #[test]
        fn a_tilde_is_older_and_a_rebuild_is_newer(version in "[0-9][0-9a-z.+]{0,6}-[0-9]{1,2}") {
            prop_assert_eq!(compare(&format!("{version}~bpo1"), &version), Ordering::Less);
            prop_assert_eq!(compare(&format!("{version}+b1"), &version), Ordering::Greater);
            prop_assert_eq!(compare(&format!("1:{version}"), &version), Ordering::Greater);
        }
    }
}

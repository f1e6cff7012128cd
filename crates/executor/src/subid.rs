//! Reads /etc/passwd, /etc/subuid and id maps, without the C library's name services.
//!
//! Pure: the files are text.

/// A range of subordinate ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// The login name of `uid`.
pub(crate) fn login(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The largest range granted to a user by name or number.
pub(crate) fn range(subid: &str, login: Option<&str>, uid: u32) -> Option<Range> {
    let ranges = subid.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        if Some(owner) != login && owner.parse() != Ok(uid) {
            return None;
        }
        let range = Range { start: fields.next()?.trim().parse().ok()?, count: fields.next()?.trim().parse().ok()? };
        (range.count > 0 && range.start > 0 && range.start.checked_add(range.count).is_some()).then_some(range)
    });
    ranges.max_by_key(|range| range.count)
}

/// How many ids from 0 on an id map has without a gap.
pub(crate) fn mapped_from_zero(map: &str) -> u32 {
    let mut ranges: Vec<(u32, u32)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().map(|field| field.parse().ok());
            Some((fields.next()??, fields.nth(1)??))
        })
        .collect();
    ranges.sort_unstable();
    ranges.iter().fold(0, |end, (start, count)| if *start <= end { end.max(start.saturating_add(*count)) } else { end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_or_number() {
        let text = "root:100000:65536\nada:200000:1000\nada:300000:65536\n1000:400000:10\nbad:x:1\nend:4294967295:65536\nnil:5:0\n";
        let check = |login: Option<&str>, uid, expect: Option<(u32, u32)>| {
            assert_eq!(range(text, login, uid), expect.map(|(start, count)| Range { start, count }), "{login:?} {uid}");
        };
        check(Some("ada"), 1000, Some((300_000, 65_536)));
        check(None, 1000, Some((400_000, 10)));
        check(Some("bob"), 7, None);
        check(Some("bad"), 7, None);
        check(Some("end"), 7, None);
        check(Some("nil"), 7, None);
    }

    #[test]
    fn logins_are_found() {
        let text = "root:x:0:0::/:\nbroken\nada:x:1000:1::/:\n";
        assert_eq!(login(text, 1000).as_deref(), Some("ada"));
        assert_eq!(login(text, 1), None);
    }

    #[test]
    fn maps_are_counted_from_zero() {
        assert_eq!(mapped_from_zero("         0          0 4294967295\n"), u32::MAX);
        assert_eq!(mapped_from_zero("0 1000 1\n1 100000 65536\n"), 65_537);
        assert_eq!(mapped_from_zero("0 1000 1\n"), 1);
        assert_eq!(mapped_from_zero("5 1000 1\n"), 0);
        assert_eq!(mapped_from_zero(""), 0);
    }
}

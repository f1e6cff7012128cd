//! Users and groups as written in USER and `--chown`.
//!
//! Knows nothing of passwd files.

use cooper_llb::{Chown, UserName};

/// The kernel's numbers go further, but programs that take them as signed wrap round to root.
const ID_MAX: u32 = i32::MAX as u32;

/// Reads `user[:group]`.
pub(crate) fn parse_owner(text: &str) -> Result<Chown, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let group = group.map(|group| parse_user("group", group)).transpose()?;
    // `:group` leaves what is copied with the owner it would have had: root.
    let user = if user.is_empty() && group.is_some() { UserName::Id(0) } else { parse_user("user", user)? };
    Ok(Chown { user, group })
}

/// A number that some program could read differently is refused, so that nobody becomes root by accident.
fn parse_user(what: &str, text: &str) -> Result<UserName, String> {
    if text.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
        return Err(format!("`{text}` is not a {what}"));
    }
    if let Ok(id) = text.parse::<u32>()
        && id <= ID_MAX
        && id.to_string() == text
    {
        return Ok(UserName::Id(id));
    }
    if looks_like_a_number(text) {
        return Err(format!("`{text}` is not a {what} id: ids are plain decimal numbers up to {ID_MAX}"));
    }
    Ok(UserName::Name(text.to_owned()))
}

fn looks_like_a_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = |prefix: &str, radix: u32| {
        digits.to_ascii_lowercase().strip_prefix(prefix).is_some_and(|rest| rest.chars().all(|c| c.is_digit(radix)))
    };
    digits.bytes().all(|b| b.is_ascii_digit() || b == b'_') || radix("0x", 16) || radix("0o", 8) || radix("0b", 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names() {
        assert_eq!(parse_owner("0"), Ok(Chown { user: UserName::Id(0), group: None }));
        assert_eq!(
            parse_owner("app:2147483647"),
            Ok(Chown { user: UserName::Name("app".into()), group: Some(UserName::Id(ID_MAX)) })
        );
        let group = Some(UserName::Name("web".into()));
        assert_eq!(parse_owner(":web"), Ok(Chown { user: UserName::Id(0), group }));
        assert_eq!(parse_owner("7zip").unwrap().user, UserName::Name("7zip".into()));
    }

    #[test]
    fn nothing_that_could_be_read_as_root_passes() {
        for text in
            ["2147483648", "4294967295", "4294967296", "-1", "+0", "00", "0x0", "0b0", "1 0", "", ":", "a:", "a:b:c"]
        {
            assert!(parse_owner(text).is_err(), "{text}");
        }
    }
}

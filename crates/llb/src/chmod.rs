//! `--chmod`: octal or symbolic modes, read and applied.
//!
//! Knows nothing of files; it turns mode bits into mode bits.

use crate::Chmod;

/// All permission bits, with set-user-id, set-group-id and sticky.
const MODE_MAX: u32 = 0o7777;

/// Text longer than this is no mode.
const TEXT_MAX: usize = 256;

impl Chmod {
    /// Reads `755`, `u+x,g=u`, `a-w`, ...; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= MODE_MAX => Ok(Self::Mode(mode)),
                _ => Err(format!("`{text}` is not an octal mode between 0 and 07777")),
            };
        }
        if text.is_empty() || text.len() > TEXT_MAX || text.split(',').any(|clause| Clause::parse(clause).is_none()) {
            return Err(format!("`{text}` is not a mode; write it as 755 or u+x,g=u"));
        }
        Ok(Self::Symbolic(text.to_owned()))
    }

    /// The mode of a file that had `mode`, by the rules of chmod(1) with no umask.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Mode(mode) => *mode,
            Self::Symbolic(text) => text
                .split(',')
                .filter_map(Clause::parse)
                .fold(mode & MODE_MAX, |mode, clause| clause.apply(mode, is_dir)),
        }
    }
}

/// `[ugoa]*` and then operations.
struct Clause<'a> {
    who: u32,
    operations: Vec<(u8, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let operators = ['+', '-', '='];
        let start = text.find(operators)?;
        let who = text[..start].bytes().try_fold(0, |who, c| Some(who | class_bits(c)?))?;
        let mut operations = Vec::new();
        let mut rest = &text[start..];
        while let Some(operator) = rest.bytes().next() {
            let end = rest[1..].find(operators).map_or(rest.len(), |at| at + 1);
            let permissions = &rest[1..end];
            let copied = matches!(permissions, "u" | "g" | "o");
            if !copied && !permissions.bytes().all(|c| b"rwxXst".contains(&c)) {
                return None;
            }
            operations.push((operator, permissions));
            rest = &rest[end..];
        }
        Some(Self { who: if who == 0 { MODE_MAX } else { who }, operations })
    }

    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        self.operations.iter().fold(mode, |mode, (operator, permissions)| {
            let bits = permission_bits(permissions, mode, is_dir) & self.who;
            match operator {
                b'+' => mode | bits,
                b'-' => mode & !bits,
                // Directories keep set-id bits that were not named, as with GNU chmod.
                _ if is_dir => (mode & !(self.who & 0o1777)) | bits,
                _ => (mode & !self.who) | bits,
            }
        })
    }
}

fn class_bits(class: u8) -> Option<u32> {
    match class {
        b'u' => Some(0o4700),
        b'g' => Some(0o2070),
        b'o' => Some(0o1007),
        b'a' => Some(MODE_MAX),
        _ => None,
    }
}

/// The bits meant for all three classes.
fn permission_bits(permissions: &str, mode: u32, is_dir: bool) -> u32 {
    let thrice = |bits: u32| bits << 6 | bits << 3 | bits;
    permissions.bytes().fold(0, |bits, c| {
        bits | match c {
            b'r' => 0o444,
            b'w' => 0o222,
            b'x' => 0o111,
            b'X' if is_dir || mode & 0o111 != 0 => 0o111,
            b's' => 0o6000,
            b't' => 0o1000,
            b'u' => thrice(mode >> 6 & 7),
            b'g' => thrice(mode >> 3 & 7),
            b'o' => thrice(mode & 7),
            _ => 0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies() {
        for (text, mode, dir, expect) in [
            ("755", 0o644, false, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("g=u", 0o640, false, 0o660),
            ("a-w", 0o666, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("u+s", 0o755, false, 0o4755),
            ("o+t", 0o777, true, 0o1777),
            ("u=rw+x", 0o000, false, 0o700),
            ("a=", 0o777, false, 0),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, dir), expect, "{text} on {mode:o}");
        }
    }

    #[test]
    fn refuses_what_is_no_mode() {
        for text in ["", "8", "10000", "99", "rwx", "u", "u+q", "z+x", "u+x,", "u+ug", "0x1ff", "-1", "7777777777777"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}

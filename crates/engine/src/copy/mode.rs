//! `--chmod`: octal, or symbolic as chmod(1) has it.

use cooper_llb::Chmod;

use crate::{Error, ErrorKind, Result};

const CLASSES: [(char, u32); 3] = [('u', 6), ('g', 3), ('o', 0)];

/// The mode of a file that had `mode`.
pub(crate) fn apply(chmod: &Chmod, mode: u32, is_dir: bool) -> Result<u32> {
    match chmod {
        Chmod::Mode(mode) => Ok(*mode),
        Chmod::Symbolic(text) => text.split(',').try_fold(mode, |mode, clause| {
            clause_of(clause, mode, is_dir).ok_or_else(|| {
                Error::new(ErrorKind::User, format!("invalid mode `{text}`"))
                    .with_hint("write octal digits or clauses such as u+x,go-w")
            })
        }),
    }
}

/// One clause: `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`.
fn clause_of(clause: &str, mut mode: u32, is_dir: bool) -> Option<u32> {
    let first = clause.find(['+', '-', '='])?;
    let (who, mut rest) = clause.split_at(first);
    if !who.chars().all(|c| "ugoa".contains(c)) {
        return None;
    }
    let all = who.is_empty() || who.contains('a');
    let shifts: Vec<u32> = CLASSES.iter().filter(|(c, _)| all || who.contains(*c)).map(|(_, shift)| *shift).collect();
    while let Some(op) = rest.chars().next() {
        rest = &rest[1..];
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let (what, next) = rest.split_at(end);
        mode = change(op, what, &shifts, mode, is_dir)?;
        rest = next;
    }
    Some(mode)
}

fn change(op: char, what: &str, shifts: &[u32], mode: u32, is_dir: bool) -> Option<u32> {
    let (mut bits, mut special) = (0, 0);
    for c in what.chars() {
        match c {
            'r' => bits |= 4,
            'w' => bits |= 2,
            'x' => bits |= 1,
            'X' if is_dir || mode & 0o111 != 0 => bits |= 1,
            'X' => {}
            's' => special |= shifts.iter().fold(0, |acc, shift| acc | [0, 0o2000, 0o4000][(*shift / 3) as usize]),
            't' => special |= 0o1000,
            'u' | 'g' | 'o' if what.len() == 1 => bits = mode >> CLASSES.iter().find(|(class, _)| *class == c)?.1 & 7,
            _ => return None,
        }
    }
    let set = shifts.iter().fold(special, |acc, shift| acc | bits << shift);
    let mask = shifts.iter().fold(0, |acc, shift| acc | 7 << shift);
    Some(match op {
        '+' => mode | set,
        '-' => mode & !set,
        _ => mode & !mask | set,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_modes() {
        let check = |text: &str, mode, is_dir, expect| {
            assert_eq!(apply(&Chmod::Symbolic(text.into()), mode, is_dir).ok(), expect, "{text}");
        };
        check("u+x", 0o644, false, Some(0o744));
        check("a-w", 0o666, false, Some(0o444));
        check("go=u", 0o640, false, Some(0o666));
        check("u=rwx,go=", 0o777, false, Some(0o700));
        check("+X", 0o644, false, Some(0o644));
        check("a+X", 0o644, true, Some(0o755));
        check("u+s", 0o755, false, Some(0o4755));
        check("g+s,+t", 0o755, true, Some(0o3755));
        check("z+x", 0o644, false, None);
        check("u", 0o644, false, None);
        check("u+q", 0o644, false, None);
    }
}

//! Shell patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and escaped characters, no brackets.
//!
//! Knows nothing of variables. Matching simulates all states at once, so a pattern cannot be made to backtrack for ever.

use super::EXPANSION_BYTES_MAX;

/// State steps one word may cost: far above any real pattern, a fraction of a second.
const STEPS_MAX: usize = 50_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Character(char),
    Any,
    Star,
}

/// A parsed pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    /// Reads a pattern; the error is a message.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(ch) = chars.next() {
            tokens.push(match ch {
                '*' => Token::Star,
                '?' => Token::Any,
                '\\' => Token::Character(escaped(chars.next(), text)?),
                _ => Token::Character(ch),
            });
        }
        Ok(Pattern(tokens))
    }

    /// The value without the shortest or longest matching beginning.
    pub(super) fn trim_start(&self, value: &str, longest: bool) -> Result<String, String> {
        let chars: Vec<char> = value.chars().collect();
        let end = self.match_end(&chars, longest, &mut STEPS_MAX.clone())?;
        Ok(chars.get(end.unwrap_or(0)..).unwrap_or_default().iter().collect())
    }

    /// The value without the shortest or longest matching end.
    pub(super) fn trim_end(&self, value: &str, longest: bool) -> Result<String, String> {
        let backwards = Pattern(self.0.iter().rev().copied().collect());
        let reversed: String = value.chars().rev().collect();
        Ok(backwards.trim_start(&reversed, longest)?.chars().rev().collect())
    }

    /// The value with the first or every match, each as long as can be, replaced.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> Result<String, String> {
        let chars: Vec<char> = value.chars().collect();
        let mut steps = STEPS_MAX;
        let mut text = String::new();
        let (mut at, mut copied) = (0, 0);
        while at <= chars.len() {
            let Some(end) = self.match_end(chars.get(at..).unwrap_or_default(), true, &mut steps)? else {
                at += 1;
                continue;
            };
            let end = at + end;
            // An empty match right after another match does not count.
            if end > at || at == 0 || at > copied {
                text.extend(chars.get(copied..at).unwrap_or_default());
                text.push_str(replacement);
                copied = end;
            }
            if !all {
                break;
            }
            if text.len() > EXPANSION_BYTES_MAX {
                return Err(format!("the expanded text is longer than {EXPANSION_BYTES_MAX} bytes"));
            }
            at = end.max(at + 1);
        }
        text.extend(chars.get(copied..).unwrap_or_default());
        Ok(text)
    }

    /// Where a match that begins at the first character ends.
    fn match_end(&self, chars: &[char], longest: bool, steps: &mut usize) -> Result<Option<usize>, String> {
        let mut states = vec![false; self.0.len() + 1];
        states[0] = true;
        let mut end = None;
        for at in 0..=chars.len() {
            self.skip_stars(&mut states);
            if states[self.0.len()] {
                end = Some(at);
                if !longest {
                    break;
                }
            }
            *steps = steps.checked_sub(states.len()).ok_or("the pattern takes too long on this value")?;
            let Some(ch) = chars.get(at) else { break };
            states = self.step(&states, *ch);
            if !states.contains(&true) {
                break;
            }
        }
        Ok(end)
    }

    /// A star may stand for nothing.
    fn skip_stars(&self, states: &mut [bool]) {
        for (i, token) in self.0.iter().enumerate() {
            if states[i] && *token == Token::Star {
                states[i + 1] = true;
            }
        }
    }

    fn step(&self, states: &[bool], ch: char) -> Vec<bool> {
        let mut after = vec![false; states.len()];
        for (i, token) in self.0.iter().enumerate().filter(|(i, _)| states[*i]) {
            match token {
                // As in BuildKit, wildcards do not cross lines.
                Token::Star => after[i] |= ch != '\n',
                Token::Any => after[i + 1] |= ch != '\n',
                Token::Character(wanted) => after[i + 1] |= *wanted == ch,
            }
        }
        after
    }
}

fn escaped(ch: Option<char>, pattern: &str) -> Result<char, String> {
    match ch {
        Some(ch @ ('*' | '?' | '\\' | '}' | '/')) => Ok(ch),
        Some(ch) => Err(format!("`\\{ch}` is not an escape in the pattern `{pattern}`")),
        None => Err(format!("the pattern `{pattern}` ends with an escape")),
    }
}

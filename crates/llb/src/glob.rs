//! Wildcard patterns as a small automaton: time is pattern length times text length, whatever the pattern.
//!
//! Knows nothing of ignore files or of what a match means.

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Char(char),
    /// `?`: one character that is not `/`.
    One,
    /// `*`: any number of those.
    Star,
    /// `[..]`; may match `/`, as in Go.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// Goes on at the next token or skips it: the front half of `**/`.
    Maybe,
    /// Any text that ends in `/`: the back half of `**/`.
    Dirs,
    /// `**` at the end: any text.
    Rest,
    /// moby leaves `^` to the regular expression, where it means the start of the text.
    Start,
}

/// A pattern longer than this is refused, so that matching one path stays cheap.
const PATTERN_MAX: usize = 4096;

impl Glob {
    /// Compiles Go's `filepath.Match` syntax.
    pub(crate) fn go(pattern: &str) -> Result<Self, &'static str> {
        Self::compile(pattern, false)
    }

    /// Compiles moby's syntax, where `**` crosses directories.
    pub(crate) fn ignore(pattern: &str) -> Result<Self, &'static str> {
        Self::compile(pattern, true)
    }

    fn compile(pattern: &str, deep: bool) -> Result<Self, &'static str> {
        if pattern.len() > PATTERN_MAX {
            return Err("the pattern is too long");
        }
        let chars: Vec<char> = pattern.chars().collect();
        let mut scan = Scan { chars: &chars, at: 0 };
        let mut tokens = Vec::new();
        while let Some(c) = scan.next() {
            match c {
                '*' if deep && scan.eat('*') => scan.deep(&mut tokens),
                '*' => tokens.push(Token::Star),
                '?' => tokens.push(Token::One),
                '[' => tokens.push(scan.class()?),
                '\\' => tokens.push(Token::Char(scan.next().ok_or("it ends in a lone `\\`")?)),
                '^' if deep => tokens.push(Token::Start),
                c => tokens.push(Token::Char(c)),
            }
        }
        Ok(Self { tokens })
    }

    /// The whole of `text` matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.run(text).last().copied().unwrap_or(false)
    }

    /// Some text that starts with `prefix` may match.
    pub(crate) fn may_start_with(&self, prefix: &str) -> bool {
        let states = self.run(prefix);
        // The end state alone can take no further character.
        states[..states.len() - 1].contains(&true)
    }

    /// The states that are alive after `text`; state `n` stands before token `n`, the last one is the match.
    fn run(&self, text: &str) -> Vec<bool> {
        let mut alive = vec![false; self.tokens.len() + 1];
        alive[0] = true;
        self.close(&mut alive, true);
        let mut next = vec![false; alive.len()];
        for c in text.chars() {
            next.fill(false);
            for (state, token) in self.tokens.iter().enumerate().filter(|(state, _)| alive[*state]) {
                token.advance(c, state, &mut next);
            }
            std::mem::swap(&mut alive, &mut next);
            self.close(&mut alive, false);
            if !alive.contains(&true) {
                break;
            }
        }
        alive
    }

    /// Adds the states that are reached without taking a character. Tokens only lead forward, so one pass is enough.
    fn close(&self, alive: &mut [bool], at_start: bool) {
        for (state, token) in self.tokens.iter().enumerate() {
            if alive[state] {
                match token {
                    Token::Star | Token::Rest => alive[state + 1] = true,
                    Token::Start => alive[state + 1] |= at_start,
                    Token::Maybe => {
                        alive[state + 1] = true;
                        alive[state + 2] = true;
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Token {
    fn advance(&self, c: char, state: usize, next: &mut [bool]) {
        match self {
            Token::Char(own) => next[state + 1] |= *own == c,
            Token::One => next[state + 1] |= c != '/',
            Token::Star => next[state] |= c != '/',
            Token::Class { negated, ranges } => {
                next[state + 1] |= ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated;
            }
            // `.` of a regular expression stops at a line's end.
            Token::Dirs => {
                next[state] |= c != '\n';
                next[state + 1] |= c == '/';
            }
            Token::Rest => next[state] |= c != '\n',
            Token::Maybe | Token::Start => {}
        }
    }
}

struct Scan<'a> {
    chars: &'a [char],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// After `**`: a following `/` belongs to it.
    fn deep(&mut self, tokens: &mut Vec<Token>) {
        self.eat('/');
        if self.peek().is_none() {
            tokens.push(Token::Rest);
        } else {
            tokens.extend([Token::Maybe, Token::Dirs]);
        }
    }

    /// After `[`.
    fn class(&mut self) -> Result<Token, &'static str> {
        let negated = self.eat('^');
        let mut ranges = Vec::new();
        while ranges.is_empty() || !self.eat(']') {
            let low = self.class_char()?;
            let high = if self.eat('-') { self.class_char()? } else { low };
            ranges.push((low, high));
        }
        Ok(Token::Class { negated, ranges })
    }

    fn class_char(&mut self) -> Result<char, &'static str> {
        match self.next() {
            None => Err("a `[` is not closed"),
            Some('-' | ']') => Err("a `[` is followed by nothing it could match"),
            Some('\\') => self.next().ok_or("a `[` is not closed"),
            Some(c) => Ok(c),
        }
    }
}

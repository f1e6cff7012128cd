//! Makes text from outside safe for a terminal and a log: no controls, no escape sequences, no bidi tricks, valid UTF-8.
//!
//! Works on a stream: sequences and characters may be cut anywhere between chunks. Knows nothing of steps or terminals.

/// A piece of safe output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A harmless character (tab included).
    Char(char),
    /// A colour change: a whole `ESC [ .. m` sequence. Only if colours are kept.
    Colour(String),
    /// End of the line.
    Newline,
    /// Carriage return: what follows overwrites the line.
    Restart,
}

/// Longest parameter text of a colour sequence that is believed; real ones have under 20 bytes.
const CSI_MAX: usize = 64;

/// Longest run swallowed as an unfinished OSC or DCS string. Longer ones are not sequences but an attempt to hide output.
const STRING_MAX: usize = 4096;

/// Longest line held in memory; a longer one is broken here.
const LINE_MAX: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ground,
    Escape,
    /// After `ESC` and an intermediate byte: one more final byte belongs to it.
    EscapeIntermediate,
    Csi(String),
    /// OSC, DCS, SOS, PM or APC text: dropped up to its terminator; the count so far.
    Text(usize),
    /// ESC inside such text: the terminator if a backslash follows.
    TextEscape(usize),
}

/// The streaming sanitiser.
#[derive(Clone, Debug)]
pub(crate) struct Sanitiser {
    colours: bool,
    state: State,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
}

impl Sanitiser {
    /// One that keeps SGR colours or drops them like every other sequence.
    pub(crate) fn new(colours: bool) -> Self {
        Self { colours, state: State::Ground, partial: Vec::new() }
    }

    /// Takes the next bytes and gives off what is safe of them.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece)) {
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = [&std::mem::take(&mut self.partial), bytes].concat();
            &joined[..]
        };
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(text) => return text.chars().for_each(|c| self.char(c, sink)),
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    String::from_utf8_lossy(good).chars().for_each(|c| self.char(c, sink));
                    let Some(skip) = error.error_len() else {
                        self.partial = bad.to_vec();
                        return;
                    };
                    self.char(char::REPLACEMENT_CHARACTER, sink);
                    rest = bad.get(skip..).unwrap_or_default();
                }
            }
        }
    }

    /// Ends the stream: an incomplete character becomes U+FFFD, an incomplete sequence nothing.
    pub(crate) fn finish(&mut self, sink: &mut impl FnMut(Piece)) {
        if !std::mem::take(&mut self.partial).is_empty() {
            self.char(char::REPLACEMENT_CHARACTER, sink);
        }
        self.state = State::Ground;
    }

    fn char(&mut self, c: char, sink: &mut impl FnMut(Piece)) {
        match std::mem::replace(&mut self.state, State::Ground) {
            State::Ground => self.ground(c, sink),
            State::Escape => self.escape(c, sink),
            State::EscapeIntermediate => match c {
                ' '..='/' => self.state = State::EscapeIntermediate,
                '0'..='~' => {}
                _ => self.ground(c, sink),
            },
            State::Csi(parameters) => self.csi(parameters, c, sink),
            State::Text(count) => self.text(count, c, sink),
            State::TextEscape(count) => match c {
                '\\' => {}
                _ => {
                    self.escape(c, sink);
                    if self.state == State::Ground && c != '\n' && c != '\r' {
                        self.state = State::Text(count + 2);
                    }
                }
            },
        }
    }

    fn ground(&mut self, c: char, sink: &mut impl FnMut(Piece)) {
        match c {
            '\n' => sink(Piece::Newline),
            '\r' => sink(Piece::Restart),
            '\t' => sink(Piece::Char('\t')),
            '\u{1b}' => self.state = State::Escape,
            '\u{9b}' => self.state = State::Csi(String::new()),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => self.state = State::Text(0),
            c if c.is_control() => {}
            c if is_hostile(c) => sink(Piece::Char(char::REPLACEMENT_CHARACTER)),
            c => sink(Piece::Char(c)),
        }
    }

    fn escape(&mut self, c: char, sink: &mut impl FnMut(Piece)) {
        match c {
            '[' => self.state = State::Csi(String::new()),
            ']' | 'P' | 'X' | '^' | '_' => self.state = State::Text(0),
            ' '..='/' => self.state = State::EscapeIntermediate,
            '0'..='~' => {}
            _ => self.ground(c, sink),
        }
    }

    fn csi(&mut self, mut parameters: String, c: char, sink: &mut impl FnMut(Piece)) {
        match c {
            ' '..='?' if parameters.len() < CSI_MAX => {
                parameters.push(c);
                self.state = State::Csi(parameters);
            }
            'm' if self.colours && parameters.bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':') => {
                sink(Piece::Colour(format!("\u{1b}[{parameters}m")));
            }
            '@'..='~' => {}
            _ => self.ground(c, sink),
        }
    }

    /// A line break ends the text too: otherwise one unfinished sequence would hide everything after it.
    fn text(&mut self, count: usize, c: char, sink: &mut impl FnMut(Piece)) {
        match c {
            '\u{7}' | '\u{9c}' => {}
            '\u{1b}' => self.state = State::TextEscape(count),
            '\n' | '\r' => self.ground(c, sink),
            _ if count >= STRING_MAX => self.ground(c, sink),
            _ => self.state = State::Text(count + 1),
        }
    }
}

/// Characters that reorder text or break lines without being controls.
fn is_hostile(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Cuts a stream into safe lines, with the meaning a terminal gives to carriage returns.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    sanitiser: Sanitiser,
    line: String,
    restart: bool,
    coloured: bool,
}

impl Lines {
    /// A cutter that keeps colours or drops them.
    pub(crate) fn new(colours: bool) -> Self {
        Self { sanitiser: Sanitiser::new(colours), line: String::new(), restart: false, coloured: false }
    }

    /// Takes bytes and returns the lines they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut sanitiser = self.sanitiser.clone();
        let mut lines = Vec::new();
        sanitiser.push(bytes, &mut |piece| self.piece(piece, &mut lines));
        self.sanitiser = sanitiser;
        lines
    }

    /// The line that has no end yet, if there is anything on it.
    pub(crate) fn pending(&self) -> Option<&str> {
        Some(self.line.as_str()).filter(|line| !line.is_empty())
    }

    /// Ends the stream and returns its last line, if it has no line break.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let mut sanitiser = self.sanitiser.clone();
        let mut lines = Vec::new();
        sanitiser.finish(&mut |piece| self.piece(piece, &mut lines));
        self.sanitiser = sanitiser;
        (!self.line.is_empty()).then(|| self.end_line())
    }

    fn piece(&mut self, piece: Piece, lines: &mut Vec<String>) {
        match piece {
            Piece::Newline => {
                self.restart = false;
                lines.push(self.end_line());
            }
            Piece::Restart => self.restart = true,
            Piece::Char(c) => {
                self.overwrite();
                self.line.push(c);
                if self.line.len() >= LINE_MAX {
                    lines.push(self.end_line());
                }
            }
            Piece::Colour(sequence) => {
                self.overwrite();
                self.coloured = !matches!(sequence.as_str(), "\u{1b}[m" | "\u{1b}[0m");
                self.line.push_str(&sequence);
            }
        }
    }

    fn overwrite(&mut self) {
        if std::mem::take(&mut self.restart) {
            self.line.clear();
            self.coloured = false;
        }
    }

    /// A colour ends with its line: the next line may belong to another step.
    fn end_line(&mut self) -> String {
        if std::mem::take(&mut self.coloured) {
            self.line.push_str("\u{1b}[0m");
        }
        std::mem::take(&mut self.line)
    }
}

/// Safe form of a text that may have several lines; no colours.
pub(crate) fn text(text: &str) -> String {
    let mut lines = Lines::new(false);
    let mut out = lines.push(text.as_bytes());
    out.extend(lines.finish());
    let mut joined = out.join("\n");
    if text.ends_with('\n') {
        joined.push('\n');
    }
    joined
}

/// Safe form of a text that has to stay on one line.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::new();
    let mut sanitiser = Sanitiser::new(false);
    sanitiser.push(text.as_bytes(), &mut |piece| match piece {
        Piece::Char('\t') | Piece::Newline | Piece::Restart => out.push(' '),
        Piece::Char(c) => out.push(c),
        Piece::Colour(_) => {}
    });
    out
}

/// JSON text in which characters that a terminal would act upon are written as `\u` escapes.
pub(crate) fn json(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n') || is_hostile(c) {
            let _ = write!(out, "\\u{:04x}", c as u32);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], colours: bool) -> String {
        ended(Lines::new(colours), [input])
    }

    /// Lines with their ends; what has no end has none here either.
    fn ended<'a>(mut cutter: Lines, chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
        let done = chunks.into_iter().flat_map(|chunk| cutter.push(chunk)).map(|line| line + "\n").collect::<String>();
        done + &cutter.finish().unwrap_or_default()
    }

    #[test]
    fn strips_what_a_terminal_acts_upon() {
        for (input, expect) in [
            (&b"plain"[..], "plain"),
            (b"a\tb", "a\tb"),
            (b"bell\x07 back\x08space nul\0 del\x7f", "bell backspace nul del"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b[2J\x1b[Hclear", "clear"),
            (b"\x1b[?25lhide", "hide"),
            (b"\x1b]0;title\x07after", "after"),
            (b"\x1b]52;c;ZXZpbA==\x1b\\after", "after"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1bP1;2|dcs\x1b\\after", "after"),
            (b"\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\after", "after"),
            (b"\x1b(Bcharset", "charset"),
            (b"\x1bcreset", "reset"),
            (b"\x1b]unfinished\nnext", "\nnext"),
            (b"\x1b[unfinished", "nfinished"),
            (b"\xc2\x9b31mc1", "c1"),
            (b"\xc2\x9d0;title\xc2\x9cafter", "after"),
            (b"\xc2\x85nel", "nel"),
            (b"\x9b31m", "\u{fffd}31m"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"cut \xe2\x82", "cut \u{fffd}"),
            ("a\u{202e}b\u{2066}c\u{200f}".as_bytes(), "a\u{fffd}b\u{fffd}c\u{fffd}"),
            ("line\u{2028}sep".as_bytes(), "line\u{fffd}sep"),
            ("中文 ü 🎉".as_bytes(), "中文 ü 🎉"),
            (b"10%\r20%\r30%", "30%"),
            (b"dos\r\nline", "dos\nline"),
            (b"kept\r", "kept"),
        ] {
            assert_eq!(lines(input, false), expect, "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn colours_are_kept_only_when_asked_for_and_end_with_the_line() {
        for (input, expect) in [
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
            ("\x1b[1;31mred\nnext", "\x1b[1;31mred\x1b[0m\nnext"),
            ("\x1b[38:5:1mx\x1b[m", "\x1b[38:5:1mx\x1b[m"),
            ("\x1b[>4;2mx", "x"),
            ("\x1b[1 mx", "x"),
        ] {
            assert_eq!(lines(input.as_bytes(), true), expect, "{input:?}");
        }
    }

    #[test]
    fn an_endless_sequence_does_not_swallow_the_log() {
        let input = format!("\x1b]{}visible", "x".repeat(STRING_MAX + 1));
        assert!(lines(input.as_bytes(), false).ends_with("visible"));
    }

    #[test]
    fn an_endless_line_is_broken() {
        let mut cutter = Lines::new(false);
        let done = cutter.push(&vec![b'x'; 3 * LINE_MAX]);
        assert_eq!(done.len(), 3);
        assert_eq!(cutter.pending(), None);
    }

    /// A small generator (xorshift) of hostile text: pieces that combine into sequences.
    fn hostile(seed: u64) -> Vec<u8> {
        const PIECES: [&[u8]; 24] = [
            b"\x1b",
            b"[",
            b"]",
            b"31",
            b";",
            b"m",
            b"\x07",
            b"\\",
            b"\n",
            b"\r",
            b"\t",
            b"text",
            b"\xc2\x9b",
            b"\xc2",
            b"\x9c",
            b"\xe2\x80",
            b"\xae",
            b"\xe2\x80\xae",
            b"\xf0\x9f",
            b"\xff",
            b"\0",
            b"P",
            b"(",
            b"::set-output",
        ];
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        (0..next() % 40).flat_map(|_| PIECES[next() % PIECES.len()].to_vec()).collect()
    }

    fn is_safe(text: &str, colours: bool) -> bool {
        let without = if colours { strip_colours(text) } else { text.to_owned() };
        without.chars().all(|c| c == '\n' || c == '\t' || !(c.is_control() || is_hostile(c)))
    }

    fn strip_colours(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("\x1b[") {
            out.push_str(before);
            let end = after.find('m').expect("a kept sequence ends with m");
            assert!(after[..end].bytes().all(|b| b.is_ascii_digit() || b == b';' || b == b':'));
            rest = &after[end + 1..];
        }
        out + rest
    }

    #[test]
    fn hostile_streams_are_safe_idempotent_and_do_not_depend_on_chunks() {
        for seed in 0..5000 {
            let input = hostile(seed);
            for colours in [false, true] {
                let once = lines(&input, colours);
                assert!(is_safe(&once, colours), "{input:?} -> {once:?}");
                assert_eq!(lines(once.as_bytes(), colours), once, "not idempotent: {input:?}");
                let bytewise = ended(Lines::new(colours), input.chunks(1));
                assert_eq!(bytewise, once, "depends on chunks: {input:?}");
            }
        }
    }

    #[test]
    fn one_line_and_json_forms() {
        assert_eq!(line("a\nb\r\x1b[31mc\td"), "a b c d");
        assert_eq!(text("a\x1b[31mb\nc\n"), "ab\nc\n");
        assert_eq!(json("{\"a\": \"\u{202e}\u{9b}ü\"}\n"), "{\"a\": \"\\u202e\\u009bü\"}\n");
    }
}

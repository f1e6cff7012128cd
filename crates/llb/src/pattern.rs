//! .dockerignore patterns with moby's matching, and Go's `filepath.Match`.
//!
//! Knows nothing of files: it is given slash-separated paths relative to the context, and says what they match.
//! Two oddities of moby's translation to regular expressions are not reproduced: a `*` or `?` inside brackets and a `|`
//! beside a wildcard mean themselves here.

use crate::glob::Glob;

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern `{pattern}`: {reason}")]
pub struct PatternError {
    /// As written.
    pub pattern: String,
    /// Why not.
    pub reason: String,
}

/// An ordered list of patterns; the last one that matches decides. A pattern that matches a directory matches all below it.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// What matched on the way down to a directory, so that a walk need not match parents again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchState {
    excluded: bool,
    matched: Option<Vec<bool>>,
}

impl MatchState {
    /// The path this state was made for is left out.
    pub fn excluded(&self) -> bool {
        self.excluded
    }
}

#[derive(Clone, Debug)]
struct Pattern {
    /// As written, for messages.
    written: String,
    /// Cleaned, without `!`.
    text: String,
    negated: bool,
    shape: Shape,
}

/// moby chooses among four ways to match; they differ in corner cases, so the choice is kept.
#[derive(Clone, Debug)]
enum Shape {
    Exact,
    /// Ends in `**`: the text before it.
    Prefix(String),
    /// Starts with `**`: the text after it.
    Suffix(String),
    Glob(Glob),
}

impl Ignore {
    /// Reads an ignore file: `#` in the first column starts a comment, blanks around a pattern and a leading `/` do not
    /// count. Patterns that cannot be used are reported and left out.
    pub fn parse(text: &str) -> (Self, Vec<PatternError>) {
        let mut ignore = Self::default();
        let mut errors = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.trim();
            if !line.is_empty() {
                match Pattern::new(line, &file_pattern(line)) {
                    Ok(pattern) => ignore.patterns.extend(pattern),
                    Err(error) => errors.push(error),
                }
            }
        }
        (ignore, errors)
    }

    /// A list of patterns as given to `--exclude`.
    pub fn new(patterns: &[String]) -> Result<Self, PatternError> {
        let mut ignore = Self::default();
        for pattern in patterns {
            ignore.patterns.extend(Pattern::new(pattern, pattern)?);
        }
        Ok(ignore)
    }

    /// There are no patterns: nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// `path` is left out, by itself or with a parent. A walk asks [`Ignore::step`], which is what BuildKit's context does; as
    /// in moby the two differ where a `!` pattern names a directory that was not left out itself (`x/y` then `!x`).
    pub fn excludes(&self, path: &str) -> bool {
        self.step(&MatchState::default(), path).excluded
    }

    /// The state of `path`, given that of its parent directory (the default state at the root of a walk).
    pub fn step(&self, parent: &MatchState, path: &str) -> MatchState {
        self.decide(parent, path).0
    }

    /// The pattern that decides about `path`, as written, if any matches.
    pub fn which(&self, path: &str) -> Option<&str> {
        let decider = self.decide(&MatchState::default(), path).1?;
        self.patterns.get(decider).map(|pattern| pattern.written.as_str())
    }

    fn decide(&self, parent: &MatchState, path: &str) -> (MatchState, Option<usize>) {
        let mut excluded = false;
        let mut decider = None;
        let mut all = Vec::with_capacity(self.patterns.len());
        let known = parent.matched.as_deref().filter(|known| known.len() == self.patterns.len());
        for (index, pattern) in self.patterns.iter().enumerate() {
            let inherited = known.is_some_and(|known| known[index]);
            // A pattern that could not change the answer is not tried, and then does not count for what is below.
            let matched = inherited
                || (pattern.negated == excluded
                    && (pattern.matches(path) || (known.is_none() && parents(path).any(|dir| pattern.matches(dir)))));
            if matched {
                excluded = !pattern.negated;
                decider = Some(index);
            }
            all.push(matched);
        }
        (MatchState { excluded, matched: Some(all) }, decider)
    }

    /// Some path below `dir` may be kept although `dir` is left out: a walk must go on. Errs towards true.
    pub fn may_include_below(&self, dir: &str) -> bool {
        let below = format!("{dir}/");
        self.patterns.iter().any(|pattern| pattern.negated && pattern.may_match_below(&below))
    }
}

/// The proper parents of a path, outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|dir| !dir.is_empty())
}

/// What an ignore file's line stands for: cleaned, without a leading `/`.
fn file_pattern(line: &str) -> String {
    let (negation, rest) = line.strip_prefix('!').map_or(("", line), |rest| ("!", rest.trim()));
    if rest.is_empty() {
        return negation.to_owned();
    }
    let clean = clean(rest);
    let clean = if clean.len() > 1 { clean.strip_prefix('/').unwrap_or(&clean) } else { &clean };
    format!("{negation}{clean}")
}

impl Pattern {
    /// `None` for blanks.
    fn new(written: &str, pattern: &str) -> Result<Option<Self>, PatternError> {
        let fail = |reason: &str| PatternError { pattern: written.to_owned(), reason: reason.to_owned() };
        let pattern = pattern.trim();
        if pattern.is_empty() {
            return Ok(None);
        }
        let cleaned = clean(pattern);
        let (negated, text) = cleaned.strip_prefix('!').map_or((false, cleaned.as_str()), |rest| (true, rest));
        if text.is_empty() {
            return Err(fail("`!` needs a pattern"));
        }
        Glob::go(text).map_err(fail)?;
        let shape = shape(text).map_err(fail)?;
        Ok(Some(Self { written: written.trim().to_owned(), text: text.to_owned(), negated, shape }))
    }

    fn matches(&self, path: &str) -> bool {
        match &self.shape {
            Shape::Exact => path == self.text,
            Shape::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Shape::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path),
            Shape::Glob(glob) => glob.matches(path),
        }
    }

    /// `below` is a directory with its final `/`.
    fn may_match_below(&self, below: &str) -> bool {
        match &self.shape {
            Shape::Exact => self.text.starts_with(below),
            Shape::Prefix(prefix) => prefix.starts_with(below) || below.starts_with(prefix.as_str()),
            Shape::Suffix(_) => true,
            Shape::Glob(glob) => glob.may_start_with(below),
        }
    }
}

/// Which of moby's four ways a pattern is matched in.
fn shape(text: &str) -> Result<Shape, &'static str> {
    let special = |text: &str| text.contains(['*', '?', '[', ']', '\\']);
    if !special(text) {
        return Ok(Shape::Exact);
    }
    if let Some(suffix) = text.strip_prefix("**")
        && !special(suffix)
    {
        return Ok(Shape::Suffix(suffix.to_owned()));
    }
    if let Some(prefix) = text.strip_suffix("**")
        && !special(prefix)
    {
        return Ok(Shape::Prefix(prefix.to_owned()));
    }
    Glob::ignore(text).map(Shape::Glob)
}

/// Go's `filepath.Match`: `*` and `?` stop at `/`, `[..]` is a class, `\` escapes; the whole of `name` must match.
pub fn glob_match(pattern: &str, name: &str) -> Result<bool, PatternError> {
    match Glob::go(pattern) {
        Ok(glob) => Ok(glob.matches(name)),
        Err(reason) => Err(PatternError { pattern: pattern.to_owned(), reason: reason.to_owned() }),
    }
}

/// Go's `filepath.Clean`: the shortest path that means the same by its text alone.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

//! A user's mistake, with its place: collected, never an `Err`.

/// A byte range of the Dockerfile's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// How bad it is, from the mildest to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A matter of taste.
    Style,
    /// Worth knowing; what is written may well be meant.
    Info,
    /// The build goes on.
    Warning,
    /// The file cannot be built.
    Error,
}

/// Something to tell the user about the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name of the rule, in BuildKit's words where it has one (`UndefinedVar`); `syntax` for plain errors.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// How a program may do it.
    pub fix: Option<Box<Fix>>,
}

/// A change of the text that mends what a diagnostic speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What it does: `write \`as\` in upper case`.
    pub title: String,
    /// Replacements that do not overlap, in the order of the text; all of them or none.
    pub edits: Vec<Edit>,
    /// The image cannot change by it, apart from its history. An unsafe one is an offer that a human should read.
    pub safe: bool,
}

/// The bytes of a span replaced by a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; an empty span is an insertion before its start.
    pub span: Span,
    /// What stands there instead.
    pub text: String,
}

impl Diagnostic {
    /// A plain error of the rule `syntax`.
    pub fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { rule: "syntax", severity: Severity::Error, span, message: message.into(), hint: None, fix: None }
    }

    /// A warning of a named rule.
    pub fn warning(rule: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { rule, severity: Severity::Warning, span, message: message.into(), hint: None, fix: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Diagnostic {
        Diagnostic { hint: Some(hint.into()), ..self }
    }

    /// The same with a fix, if there is one.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<Option<Fix>>) -> Diagnostic {
        Diagnostic { fix: fix.into().map(Box::new), ..self }
    }
}

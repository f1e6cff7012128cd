//! What the caller of [`check`](super::check) knows and wants.
//!
//! Does not know what the rules look for.

use std::collections::BTreeMap;

use cooper_llb::Ignore;

use crate::Severity;

/// What is asked of a check. The default is every enabled rule at its own severity, with nothing known of the context.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// By id or alias of a rule: its severity, or `None` for off. What is named here is raised even if it is not enabled by default.
    pub severities: BTreeMap<String, Option<Severity>>,
    /// Comments in the file that switch rules off (`# check=skip=`, `# hadolint ignore=`) have no effect, and are reported.
    pub ignore_comments: bool,
    /// Replaces the `# check=` directive at the top of the file: the build argument `BUILDKIT_DOCKERFILE_CHECK`.
    pub check: Option<String>,
    /// The stage that is built; the last one if absent.
    pub target: Option<String>,
    /// The build context, if it is known.
    pub context: Option<Context>,
    /// Registries that base images may come from, with `*` for any run of characters; empty for any registry.
    pub trusted_registries: Vec<String>,
    /// Labels that an image must have, and what they hold.
    pub label_schema: BTreeMap<String, LabelKind>,
    /// Labels that the schema does not name are reported.
    pub strict_labels: bool,
}

/// What the rules may know of the build context.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The names at its top, directories without a slash at the end. Empty if unknown.
    pub names: Vec<String>,
    /// Its ignore file, if it has one.
    pub ignore: Option<Ignore>,
}

impl Context {
    /// From the names and the text of the ignore file; patterns in it that cannot be used are left out.
    pub fn new(names: Vec<String>, ignore: Option<&str>) -> Context {
        Context { names, ignore: ignore.map(|text| Ignore::parse(text).0) }
    }
}

/// What a label of the schema holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// Any text that is not empty.
    Text,
    /// An absolute URL.
    Url,
    /// A date and time of RFC 3339.
    Time,
    /// An SPDX licence expression.
    Licence,
    /// A git commit, in full or abbreviated.
    Hash,
    /// A version of semantic versioning 2.0.
    Version,
    /// An e-mail address.
    Email,
}

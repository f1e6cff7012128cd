//! What a rule is: everything that is said about it, in one value.
//!
//! Does not know how a file is read or which rules there are.

use std::fmt;

use super::report::Report;
use super::view::View;
use crate::Severity;

/// Who asks for a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// `docker build --check`.
    BuildKit,
    /// hadolint's rules for Dockerfiles.
    Hadolint,
    /// The image section of the CIS Docker benchmark, as dockle numbers it, where a Dockerfile shows it.
    Image,
    /// cooper's own: what an experienced reviewer would say.
    Practice,
}

/// One rule. `bad` raises it, `good` does not: a test holds that.
pub struct Rule {
    /// Stable name, unique: `StageNameCasing`, `DL3008`, `CIS-DI-0008`, `CO1001`.
    pub id: &'static str,
    /// Other names it goes by, in comments and configuration too; unique among all names.
    pub aliases: &'static [&'static str],
    /// Who asks for it.
    pub group: Group,
    /// How bad a finding is if nobody says otherwise.
    pub severity: Severity,
    /// It is raised without being asked for.
    pub enabled: bool,
    /// Some of its findings come with a fix.
    pub fixable: bool,
    /// One line, lower case, no full stop: what the finding says in general.
    pub summary: &'static str,
    /// Why, and what to do, as Markdown paragraphs.
    pub meaning: &'static str,
    /// A whole Dockerfile that raises it.
    pub bad: &'static str,
    /// The same, mended.
    pub good: &'static str,
    /// How it is found.
    pub(super) check: Check,
}

/// How a rule is found.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// From the file, by a function that reports each finding.
    File(fn(&View<'_>, &mut Report<'_>)),
    /// While the file is read or evaluated: it needs build arguments or base images.
    Elsewhere,
}

impl Rule {
    /// The page of the rule in cooper's own documentation, relative to its folder.
    pub fn page(&self) -> String {
        format!("{}.md", self.id)
    }

    /// Whether a name is this rule's.
    pub fn is_called(&self, name: &str) -> bool {
        self.id == name || self.aliases.contains(&name)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("id", &self.id).finish_non_exhaustive()
    }
}

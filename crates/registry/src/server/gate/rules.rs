//! Rules: which users may do what in which repositories. A request is allowed if any rule allows it; there are no rules
//! that forbid, so their order means nothing. Pure: knows neither passwords nor requests.

use std::collections::{BTreeMap, BTreeSet};

use glob::{MatchOptions, Pattern};

use crate::server::route::Action;
use crate::{Error, ErrorKind, Result};

/// The word for whoever does not log in, in the users of a rule.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// The word for whoever logs in.
const KNOWN: &str = "*";
/// `*` and `?` stop at a slash, `**` does not.
const GLOB: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Anonymous,
    User(String),
}

impl Subject {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(name) => Some(name),
        }
    }
}

/// One rule as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// User names, `*` (whoever logs in) or `anonymous` (everybody, logged in or not).
    pub users: Vec<String>,
    /// Names of groups of users.
    pub groups: Vec<String>,
    /// Patterns of repository names: `*` stands for anything within one component, `**` for any number of components.
    pub repositories: Vec<String>,
    /// `pull`, `push`, `delete`.
    pub actions: Vec<String>,
}

/// Users that a rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Everybody,
    Known,
    User(String),
}

#[derive(Clone, Debug)]
struct Checked {
    who: Vec<Who>,
    repositories: Patterns,
    actions: BTreeSet<Action>,
}

/// Rules that hold together. None at all allow nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Checked>,
}

impl Rules {
    /// Reads `rules`; `groups` are user names by group. Errors name the rule by its number, counted from one.
    pub fn new(rules: &[Rule], groups: &BTreeMap<String, Vec<String>>) -> Result<Self> {
        for (group, users) in groups {
            check_users(users, false).map_err(|error| invalid(format!("group `{group}`: {error}")))?;
        }
        let check = |(index, rule): (usize, &Rule)| {
            Checked::new(rule, groups).map_err(|error| {
                let (what, hint) = (format!("rule {}: {error}", index + 1), error.hint().map(str::to_owned));
                hint.into_iter().fold(invalid(what), Error::with_hint)
            })
        };
        Ok(Self { rules: rules.iter().enumerate().map(check).collect::<Result<_>>()? })
    }

    /// Anyone may do anything.
    pub fn open() -> Self {
        Self::all(Who::Everybody)
    }

    /// Whoever logs in may do anything, nobody else may do a thing.
    pub fn known() -> Self {
        Self::all(Who::Known)
    }

    fn all(who: Who) -> Self {
        let repositories = Patterns { patterns: Pattern::new("**").into_iter().collect() };
        Self { rules: vec![Checked { who: vec![who], repositories, actions: Action::ALL.into() }] }
    }

    /// Whether some rule lets `who` do `action` in `repository`.
    pub(in crate::server) fn permit(&self, who: &Subject, repository: &str, action: Action) -> bool {
        self.of(who).any(|rule| rule.actions.contains(&action) && rule.repositories.match_name(repository))
    }

    /// Whether some rule lets `who` do anything at all.
    pub(crate) fn know(&self, who: &Subject) -> bool {
        self.of(who).next().is_some()
    }

    /// Whether somebody who does not log in may do more than look.
    pub fn let_anyone_write(&self) -> bool {
        self.of(&Subject::Anonymous).any(|rule| rule.actions.iter().any(|action| *action != Action::Pull))
    }

    fn of(&self, who: &Subject) -> impl Iterator<Item = &Checked> {
        self.rules.iter().filter(move |rule| rule.who.iter().any(|other| other.is(who)))
    }
}

impl Who {
    fn is(&self, who: &Subject) -> bool {
        match (self, who) {
            (Self::Everybody, _) | (Self::Known, Subject::User(_)) => true,
            (Self::User(name), Subject::User(user)) => name == user,
            (Self::Known | Self::User(_), Subject::Anonymous) => false,
        }
    }

    fn of(name: &str) -> Self {
        match name {
            ANONYMOUS => Self::Everybody,
            KNOWN => Self::Known,
            name => Self::User(name.to_owned()),
        }
    }
}

impl Checked {
    fn new(rule: &Rule, groups: &BTreeMap<String, Vec<String>>) -> Result<Self> {
        check_users(&rule.users, true)?;
        let mut who: Vec<_> = rule.users.iter().map(|name| Who::of(name)).collect();
        for group in &rule.groups {
            let users = groups.get(group).ok_or_else(|| unknown("group", group, groups.keys().map(String::as_str)))?;
            who.extend(users.iter().map(|user| Who::User(user.clone())));
        }
        if who.is_empty() && rule.groups.is_empty() {
            let hint = "`users = [\"*\"]` is whoever logs in, `[\"anonymous\"]` is everybody";
            return Err(invalid("it names neither users nor groups").with_hint(hint));
        }
        let actions = rule.actions.iter().map(|name| {
            Action::of(name).ok_or_else(|| unknown("action", name, Action::ALL.into_iter().map(Action::name)))
        });
        let actions: BTreeSet<_> = actions.collect::<Result<_>>()?;
        if actions.is_empty() {
            return Err(invalid("it names no actions").with_hint("there are pull, push and delete"));
        }
        Ok(Self { who, repositories: Patterns::new(&rule.repositories)?, actions })
    }
}

/// Patterns of repository names.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    patterns: Vec<Pattern>,
}

impl Patterns {
    pub(crate) fn new(texts: &[String]) -> Result<Self> {
        if texts.is_empty() {
            return Err(invalid("it names no repositories").with_hint("`repositories = [\"**\"]` is all of them"));
        }
        Ok(Self { patterns: texts.iter().map(|text| pattern(text)).collect::<Result<_>>()? })
    }

    pub(crate) fn match_name(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches_with(name, GLOB))
    }
}

/// A pattern that can match a name at all.
fn pattern(text: &str) -> Result<Pattern> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/*?[]!".contains(c);
    if let Some(other) = text.chars().find(|c| !known(*c)) {
        let hint = "repositories are named in lower case, without host and tag: `team/app`, `team/**`";
        return Err(invalid(format!("no repository matches `{text}`: `{other}` is in no name")).with_hint(hint));
    }
    if text.is_empty() || text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        return Err(invalid(format!("no repository matches `{text}`: a component is empty")));
    }
    Pattern::new(text).map_err(|error| {
        let hint = "`*` stands for anything within one component, `**` for any number of components";
        invalid(format!("pattern `{text}`: {} at character {}", error.msg, error.pos + 1)).with_hint(hint)
    })
}

/// Refuses names that nobody can have, or that mean something else here.
fn check_users(users: &[String], words: bool) -> Result<()> {
    for user in users {
        if !words && (user == ANONYMOUS || user == KNOWN) {
            let hint = "`anonymous` and `*` are for the users of a rule";
            return Err(invalid(format!("`{user}` is no user")).with_hint(hint));
        }
        if user != KNOWN && user.contains('*') {
            let hint = "a user is named in full; `[groups]` names several at once";
            return Err(invalid(format!("user `{user}`: users have no patterns")).with_hint(hint));
        }
    }
    Ok(())
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    let error = invalid(format!("there is no {what} `{name}`"));
    match known.as_slice() {
        [] => error.with_hint(format!("a {what} has to be declared first")),
        known => error.with_hint(format!("there are {}", known.join(", "))),
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(users: &[&str], groups: &[&str], repositories: &[&str], actions: &[&str]) -> Rule {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Rule { users: own(users), groups: own(groups), repositories: own(repositories), actions: own(actions) }
    }

    fn groups() -> BTreeMap<String, Vec<String>> {
        [("dev".to_owned(), vec!["ann".to_owned(), "bob".to_owned()])].into()
    }

    fn user(name: &str) -> Subject {
        Subject::User(name.to_owned())
    }

    #[test]
    fn patterns_stop_at_slashes_unless_doubled() {
        for (pattern, name, expect) in [
            ("team/app", "team/app", true),
            ("team/app", "team/app2", false),
            ("team/*", "team/app", true),
            ("team/*", "team/app/x", false),
            ("team/*", "team", false),
            ("team/**", "team/app/x", true),
            ("team/**", "team", false),
            ("team/**", "teams/app", false),
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a/b", false),
            ("**/app", "app", true),
            ("**/app", "a/b/app", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("app-*", "app-1.2", true),
            ("app-*", "app-1/x", false),
            ("*", ".", true),
        ] {
            let patterns = Patterns::new(&[pattern.to_owned()]).unwrap();
            assert_eq!(patterns.match_name(name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn any_rule_that_allows_is_enough() {
        let rules = [
            rule(&["anonymous"], &[], &["public/**"], &["pull"]),
            rule(&["*"], &[], &["shared/*"], &["pull"]),
            rule(&["ci"], &["dev"], &["team/**"], &["pull", "push"]),
            rule(&["ci"], &[], &["team/tmp"], &["delete"]),
        ];
        let rules = Rules::new(&rules, &groups()).unwrap();
        use Action::{Delete, Pull, Push};
        for (who, name, action, expect) in [
            (Subject::Anonymous, "public/a", Pull, true),
            (Subject::Anonymous, "public/a", Push, false),
            (Subject::Anonymous, "shared/a", Pull, false),
            (Subject::Anonymous, "team/a", Pull, false),
            // Logging in takes nothing away.
            (user("eve"), "public/a", Pull, true),
            (user("eve"), "shared/a", Pull, true),
            (user("eve"), "shared/a/b", Pull, false),
            (user("eve"), "team/a", Pull, false),
            (user("bob"), "team/a", Push, true),
            (user("bob"), "team/tmp", Delete, false),
            (user("ci"), "team/tmp", Delete, true),
            (user("ci"), "team/a", Delete, false),
            // A user who is called as the word for everybody is a user.
            (user("dev"), "team/a", Pull, false),
        ] {
            assert_eq!(rules.permit(&who, name, action), expect, "{who:?} {name} {action:?}");
        }
        assert!(rules.know(&Subject::Anonymous));
        assert!(!rules.let_anyone_write());
    }

    #[test]
    fn no_rules_allow_nothing() {
        let rules = Rules::new(&[], &groups()).unwrap();
        for who in [Subject::Anonymous, user("ann")] {
            assert!(!rules.know(&who));
            assert!(Action::ALL.into_iter().all(|action| !rules.permit(&who, "a", action)));
        }
        assert!(Rules::known().permit(&user("ann"), "a/b", Action::Delete));
        assert!(!Rules::known().know(&Subject::Anonymous));
        assert!(Rules::open().let_anyone_write());
    }

    #[test]
    fn broken_rules_are_refused_with_their_number() {
        let fine = rule(&["*"], &[], &["**"], &["pull"]);
        for (broken, expect) in [
            (rule(&[], &[], &["**"], &["pull"]), "rule 2: it names neither users nor groups"),
            (rule(&["*"], &[], &[], &["pull"]), "rule 2: it names no repositories"),
            (rule(&["*"], &[], &["**"], &[]), "rule 2: it names no actions"),
            (rule(&["*"], &[], &["**"], &["read"]), "rule 2: there is no action `read`"),
            (rule(&[], &["ops"], &["**"], &["pull"]), "rule 2: there is no group `ops`"),
            (rule(&["ci-*"], &[], &["**"], &["pull"]), "rule 2: user `ci-*`: users have no patterns"),
            (rule(&["*"], &[], &["Team/a"], &["pull"]), "rule 2: no repository matches `Team/a`: `T` is in no name"),
            (rule(&["*"], &[], &["a:1"], &["pull"]), "rule 2: no repository matches `a:1`: `:` is in no name"),
            (rule(&["*"], &[], &["/a"], &["pull"]), "rule 2: no repository matches `/a`: a component is empty"),
            (rule(&["*"], &[], &["a**"], &["pull"]), "rule 2: pattern `a**`"),
        ] {
            let error = Rules::new(&[fine.clone(), broken], &groups()).unwrap_err();
            assert!(error.to_string().starts_with(expect), "{error} / {expect}");
        }
        let error = Rules::new(&[], &[("g".to_owned(), vec!["*".to_owned()])].into()).unwrap_err();
        assert_eq!(error.to_string(), "group `g`: `*` is no user");
    }
}

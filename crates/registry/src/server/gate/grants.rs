//! Scopes as clients ask for them, and access as tokens grant it (distribution's "Token Scope Documentation"). Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rules::{Rules, Subject};
use crate::server::route::Action;

/// Scopes of one request; a client asks for one or two.
const SCOPES_MAX: usize = 64;
/// Seeing which repositories there are, in scopes and in tokens.
pub(super) const CATALOG: &str = "registry:catalog:*";

/// Actions on one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Access {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) actions: Vec<String>,
}

impl Access {
    /// A scope: `repository:team/app:pull,push`. A name may hold colons.
    fn parse(scope: &str) -> Option<Self> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions = actions.split(',').map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }

    fn has(&self, action: &str) -> bool {
        self.actions.iter().any(|own| own == action || own == "*")
    }

    fn is_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog"
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

/// The scopes in `texts`, each with one or several, separated by spaces; what is no scope is left out.
pub(super) fn scopes<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Access> {
    texts.flat_map(|text| text.split(' ')).filter_map(Access::parse).take(SCOPES_MAX).collect()
}

/// What of `asked` the rules give `who`: never more than was asked for.
pub(super) fn grant(rules: &Rules, who: &Subject, asked: &[Access]) -> Vec<Access> {
    asked.iter().filter_map(|access| grant_one(rules, who, access)).collect()
}

fn grant_one(rules: &Rules, who: &Subject, access: &Access) -> Option<Access> {
    let actions: Vec<_> = match access.kind.as_str() {
        // The catalog shows each only what they may pull.
        "registry" if access.is_catalog() && rules.know(who) => vec!["*".to_owned()],
        "repository" => {
            let allowed = |action: &Action| access.has(action.name()) && rules.permit(who, &access.name, *action);
            Action::ALL.into_iter().filter(allowed).map(|action| action.name().to_owned()).collect()
        }
        _ => Vec::new(),
    };
    (!actions.is_empty()).then(|| Access { actions, ..access.clone() })
}

/// Whether `granted` covers `action` in `repository`.
pub(super) fn covers(granted: &[Access], repository: &str, action: Action) -> bool {
    granted.iter().any(|access| access.kind == "repository" && access.name == repository && access.has(action.name()))
}

/// Whether `granted` covers the catalog.
pub(super) fn covers_catalog(granted: &[Access]) -> bool {
    granted.iter().any(|access| access.is_catalog() && access.has("*"))
}

#[cfg(test)]
mod tests {
    use super::super::rules::Rule;
    use super::*;

    fn access(kind: &str, name: &str, actions: &[&str]) -> Access {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        Access { kind: kind.into(), name: name.into(), actions }
    }

    #[test]
    fn reads_scopes() {
        let texts = ["repository:a/b:pull,push repository:c:*", "", "nonsense", CATALOG, "repository:host:5000/x:pull"];
        let expect = [
            access("repository", "a/b", &["pull", "push"]),
            access("repository", "c", &["*"]),
            access("registry", "catalog", &["*"]),
            access("repository", "host:5000/x", &["pull"]),
        ];
        assert_eq!(scopes(texts.into_iter()), expect);
        let many = "repository:a:pull ".repeat(1000);
        assert_eq!(scopes([many.as_str()].into_iter()).len(), SCOPES_MAX);
    }

    #[test]
    fn grants_what_is_asked_for_and_allowed() {
        let own = |word: &str| vec![word.to_owned()];
        let pull = Rule { users: own("*"), repositories: own("a/**"), actions: own("pull"), ..Rule::default() };
        let push = Rule { users: own("ci"), repositories: own("a/b"), actions: own("push"), ..Rule::default() };
        let rules = Rules::new(&[pull, push], &Default::default()).unwrap();
        let (ann, ci) = (Subject::User("ann".into()), Subject::User("ci".into()));
        for (who, asked, expect) in [
            (&ann, access("repository", "a/b", &["pull", "push"]), Some(access("repository", "a/b", &["pull"]))),
            (&ci, access("repository", "a/b", &["push"]), Some(access("repository", "a/b", &["push"]))),
            (&ci, access("repository", "a/b", &["*"]), Some(access("repository", "a/b", &["pull", "push"]))),
            (&ci, access("repository", "z", &["pull"]), None),
            (&ci, access("repository(plugin)", "a/b", &["pull"]), None),
            (&ci, access("registry", "catalog", &["*"]), Some(access("registry", "catalog", &["*"]))),
            (&ci, access("registry", "admin", &["*"]), None),
            (&Subject::Anonymous, access("registry", "catalog", &["*"]), None),
            (&Subject::Anonymous, access("repository", "a/b", &["pull"]), None),
        ] {
            assert_eq!(grant(&rules, who, &[asked]).pop(), expect, "{who:?}");
        }
    }

    #[test]
    fn a_grant_covers_its_repository_and_action_only() {
        let granted = [access("repository", "a/b", &["pull"]), access("repository(x)", "c", &["pull"])];
        assert!(covers(&granted, "a/b", Action::Pull));
        for (name, action) in [("a/b", Action::Push), ("a", Action::Pull), ("a/b/c", Action::Pull), ("c", Action::Pull)]
        {
            assert!(!covers(&granted, name, action), "{name} {action:?}");
        }
        assert!(!covers_catalog(&granted));
        assert!(covers_catalog(&[access("registry", "catalog", &["*"])]));
    }
}

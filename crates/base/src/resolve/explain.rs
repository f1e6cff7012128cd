//! Tells why packages cannot be installed, as a chain from the declared file to what is missing.
//!
//! Knows nothing of how the search went on.

use super::{Id, Need, State, Universe, Why};
use crate::relation::{Relation, choices_text};
use crate::{Error, ErrorKind};

/// Links of a chain that are told.
const LINKS_MAX: usize = 8;

/// A relation that nothing can meet.
pub(super) fn unmet(universe: &Universe, state: &State, need: Need, options: &[Id]) -> Error {
    let owner = universe.package(need.owner);
    let relation = &owner.depends[need.group];
    let chain = chain(universe, state, need.owner);
    let what = format!(
        "`{}`, which {} {} depends on, cannot be met for {}: {}; {chain}",
        choices_text(relation),
        owner.name,
        owner.version,
        universe.native(),
        reasons(universe, state, relation, options).join("; "),
    );
    let names: Vec<&str> = relation.iter().map(|choice| choice.name.as_str()).collect();
    Error::new(ErrorKind::Unsatisfiable, what)
        .with_hint(format!("add the source that has it, or say that it is not needed: `omit: [{}]`", names[0]))
}

/// A package asked for that cannot be there beside another one asked for.
pub(super) fn root_conflict(universe: &Universe, state: &State, id: Id, why: &Why, other: Id) -> Error {
    let (this, that) = (universe.package(id), universe.package(other));
    let asked = match why {
        Why::Listed(words) => format!("`{words}`"),
        Why::Variant | Why::Needed(_) => this.name.clone(),
    };
    let what = format!(
        "{asked} cannot be installed: {} {} and {} {} exclude one another; {}",
        this.name,
        this.version,
        that.name,
        that.version,
        chain(universe, state, other)
    );
    Error::new(ErrorKind::Unsatisfiable, what).with_hint("leave one of them out")
}

/// Why each choice of a relation fails.
fn reasons(universe: &Universe, state: &State, relation: &[Relation], options: &[Id]) -> Vec<String> {
    let mut out: Vec<String> = options.iter().filter_map(|id| blocked(universe, state, *id)).collect();
    for choice in relation {
        let candidates = universe.named(&choice.name);
        match candidates.first() {
            None if options.is_empty() => out.push(format!("no package is called {}, or provides it", choice.name)),
            Some(id) if !options.contains(id) => {
                let package = universe.package(*id);
                out.push(format!("{} is {} for {}", package.name, package.version, package.architecture));
            }
            _ => {}
        }
    }
    out
}

fn blocked(universe: &Universe, state: &State, id: Id) -> Option<String> {
    let found = || universe.excluded_by(id).into_iter().find(|other| state.chosen.contains_key(other));
    let other = state.excluded.get(&id).copied().or_else(found)?;
    let (this, that) = (universe.package(id), universe.package(other));
    let chain = chain(universe, state, other);
    Some(format!("{} {} and {} {} exclude one another ({chain})", this.name, this.version, that.name, that.version))
}

/// `listed app -> lib -> other`.
fn chain(universe: &Universe, state: &State, id: Id) -> String {
    let mut links = vec![universe.package(id).name.clone()];
    let mut at = id;
    while let Some(Why::Needed(need)) = state.chosen.get(&at) {
        if links.len() == LINKS_MAX {
            links.push("...".to_owned());
            break;
        }
        at = need.owner;
        links.push(universe.package(at).name.clone());
    }
    let first = match state.chosen.get(&at) {
        Some(Why::Listed(words)) => format!("listed as `{words}`"),
        Some(Why::Variant) => "taken by the variant".to_owned(),
        Some(Why::Needed(_)) | None => "wanted".to_owned(),
    };
    links.reverse();
    format!("{first}: {}", links.join(" -> "))
}

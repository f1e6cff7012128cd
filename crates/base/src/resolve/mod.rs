//! Which packages are installed: dependencies followed until all hold, the same answer for the same input.
//!
//! As apt does it, only the newest version of each package is looked at (or the one asked for), choices are taken from
//! left to right, real packages before those that provide the name. Unlike apt it goes back to the last choice when a
//! later one fails. Knows nothing of archives or files.

mod explain;
mod universe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use universe::{Offer, Universe};

use crate::manifest::{PackageSpec, Variant};
use crate::{Error, ErrorKind, Result};

/// Choices taken back before it is given up. Debian's own packages need none or a few.
const BACKTRACKS_MAX: usize = 10_000;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Goal<'a> {
    /// Packages wanted.
    pub packages: &'a [PackageSpec],
    /// Packages taken unnamed.
    pub variant: Variant,
    /// Recommends count as Depends where they can be met.
    pub recommends: bool,
}

/// Index of a package in its [`Universe`].
type Id = usize;

/// Why a package is there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// The declared file lists it in these words.
    Listed(String),
    /// The variant takes it.
    Variant,
    /// A package needs it.
    Needed(Need),
}

/// One relation of one package that has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    owner: Id,
    /// Of the package's `depends`, or its `recommends` if soft.
    group: usize,
    /// Dropped when it cannot be met.
    soft: bool,
}

#[derive(Clone, Debug, Default)]
struct State {
    chosen: BTreeMap<Id, Why>,
    /// Packages that a chosen one excludes, and which one.
    excluded: BTreeMap<Id, Id>,
    /// Needs that one package at most can meet: they come first, so that choices see what must be there anyway.
    single: VecDeque<Need>,
    choices: VecDeque<Need>,
}

/// A choice that may have to be taken back.
struct Choice {
    before: State,
    need: Need,
    rest: Vec<Id>,
}

/// The packages that meet the goal, by index, sorted by name, then architecture.
pub fn solve(universe: &Universe, goal: &Goal<'_>) -> Result<Vec<Id>> {
    let mut solver = Solver { universe, goal, first_failure: None };
    let mut state = State::default();
    let mut undecided = Vec::new();
    for id in universe.of_variant(goal.variant)? {
        solver.add_root(&mut state, id, Why::Variant)?;
    }
    for spec in goal.packages.iter().filter(|spec| !universe.is_omitted(spec)) {
        match universe.roots_of(spec)?.as_slice() {
            [id] => solver.add_root(&mut state, *id, Why::Listed(spec.to_string()))?,
            several => undecided.push((spec, several.to_vec())),
        }
    }
    // The first that fits what must be there; a listed choice is never taken back.
    for (spec, ids) in undecided {
        let fit =
            ids.iter().copied().find(|id| state.chosen.contains_key(id) || solver.obstacle(&state, *id).is_none());
        let id = fit.unwrap_or(ids[0]);
        solver.add_root(&mut state, id, Why::Listed(spec.to_string()))?;
    }
    let done = solver.run(state)?;
    let mut ids: Vec<Id> = done.chosen.into_keys().collect();
    ids.sort_by(|a, b| universe.sort_key(*a).cmp(&universe.sort_key(*b)));
    Ok(ids)
}

struct Solver<'a> {
    universe: &'a Universe,
    goal: &'a Goal<'a>,
    /// Told when all choices are exhausted: it is on the path that people expect.
    first_failure: Option<Error>,
}

impl Solver<'_> {
    fn add_root(&self, state: &mut State, id: Id, why: Why) -> Result<()> {
        if state.chosen.contains_key(&id) {
            return Ok(());
        }
        if let Some(other) = self.obstacle(state, id) {
            return Err(explain::root_conflict(self.universe, state, id, &why, other));
        }
        self.choose(state, id, why);
        Ok(())
    }

    fn run(&mut self, mut state: State) -> Result<State> {
        let mut trail: Vec<Choice> = Vec::new();
        let mut backtracks = 0;
        while let Some(need) = state.single.pop_front().or_else(|| state.choices.pop_front()) {
            let options = self.options(need);
            if self.is_met(&state, need, &options) {
                continue;
            }
            let viable: Vec<Id> = options.iter().copied().filter(|id| self.obstacle(&state, *id).is_none()).collect();
            if let [first, rest @ ..] = viable.as_slice() {
                if !rest.is_empty() {
                    trail.push(Choice { before: state.clone(), need, rest: rest.to_vec() });
                }
                self.choose(&mut state, *first, Why::Needed(need));
                continue;
            }
            if need.soft {
                continue;
            }
            let failure = || explain::unmet(self.universe, &state, need, &options);
            self.first_failure.get_or_insert_with(failure);
            backtracks += 1;
            state = self.step_back(&mut trail).filter(|_| backtracks < BACKTRACKS_MAX).ok_or_else(|| self.give_up())?;
        }
        Ok(state)
    }

    /// The state after the next option of the last choice that has one.
    fn step_back(&self, trail: &mut Vec<Choice>) -> Option<State> {
        let choice = trail.last_mut()?;
        let mut state = choice.before.clone();
        let (id, need) = (choice.rest.remove(0), choice.need);
        if choice.rest.is_empty() {
            trail.pop();
        }
        self.choose(&mut state, id, Why::Needed(need));
        Some(state)
    }

    fn give_up(&mut self) -> Error {
        let unknown = || Error::new(ErrorKind::Unsatisfiable, "the packages cannot be installed together");
        self.first_failure.take().unwrap_or_else(unknown)
    }

    fn options(&self, need: Need) -> Vec<Id> {
        let package = self.universe.package(need.owner);
        let groups = if need.soft { &package.recommends } else { &package.depends };
        let mut out = Vec::new();
        for relation in &groups[need.group] {
            for id in self.universe.satisfying(relation, need.owner) {
                if !out.contains(&id) {
                    out.push(id);
                }
            }
        }
        out
    }

    fn is_met(&self, state: &State, need: Need, options: &[Id]) -> bool {
        let package = self.universe.package(need.owner);
        let groups = if need.soft { &package.recommends } else { &package.depends };
        options.iter().any(|id| state.chosen.contains_key(id))
            || groups[need.group].iter().any(|relation| self.universe.omits(&relation.name))
    }

    /// A chosen package that cannot be there together with `id`.
    fn obstacle(&self, state: &State, id: Id) -> Option<Id> {
        if let Some(other) = state.excluded.get(&id) {
            return Some(*other);
        }
        self.universe.excluded_by(id).into_iter().find(|other| state.chosen.contains_key(other))
    }

    fn choose(&self, state: &mut State, id: Id, why: Why) {
        state.chosen.insert(id, why);
        for other in self.universe.excluded_by(id) {
            state.excluded.entry(other).or_insert(id);
        }
        let package = self.universe.package(id);
        let hard = (0..package.depends.len()).map(|group| Need { owner: id, group, soft: false });
        let soft = (0..package.recommends.len()).map(|group| Need { owner: id, group, soft: true });
        for need in hard.chain(soft.filter(|_| self.goal.recommends)) {
            let queue = if self.options(need).len() > 1 { &mut state.choices } else { &mut state.single };
            queue.push_back(need);
        }
    }
}

/// Names a universe leaves out.
type Omitted = BTreeSet<String>;

#[cfg(test)]
mod tests;

//! `cooper explain`: which steps of a build ran, and which of their inputs had changed.

use cooper_store::Store;

use crate::error::from_store;
use crate::journal::{Journal, State, reasons};
use crate::worker::read_detail;
use crate::{Error, ErrorKind, Result};

/// What a build did, step by step.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The build.
    pub build: String,
    /// When it started, seconds since 1970.
    pub created: i64,
    /// The build it is compared with.
    pub before: Option<String>,
    /// Its steps, each with the reasons why it ran; none for one that was found.
    pub steps: Vec<(String, State, Vec<String>)>,
}

/// Explains the last build, or `build`, against the one before it of the same thing, or against `against`.
///
/// # Errors
/// No such build.
pub fn explain(store: &Store, build: Option<&str>, against: Option<&str>) -> Result<Vec<Explanation>> {
    let all = journals(store)?;
    let last = all.last().ok_or_else(|| Error::new(ErrorKind::NotFound, "no build is known yet"))?;
    let now = build.map_or(Ok(last.clone()), |id| find(&all, id))?;
    let against = against.map(|id| find(&all, id)).transpose()?;
    let read = |digest: &str| read_detail(store, digest);
    let explained = now.iter().map(|journal| {
        let older = all.iter().take_while(|journals| journals[0].id != journal.id).flatten();
        let earlier = || older.clone().filter(|old| old.subject == journal.subject);
        let done = earlier().filter(|old| !old.failed).last().cloned();
        let before = match &against {
            Some(group) => group.iter().find(|old| old.subject == journal.subject).or(group.first()).cloned(),
            None => done.or_else(|| earlier().last().cloned()),
        };
        let steps = journal.steps.iter().map(|step| {
            let why = match step.state {
                State::Ran | State::Failed => reasons(step, journal, before.as_ref(), &read),
                _ => Vec::new(),
            };
            (step.name.clone(), step.state, why)
        });
        Explanation {
            build: journal.id.clone(),
            created: journal.created,
            before: before.as_ref().map(|before| before.id.clone()),
            steps: steps.collect(),
        }
    });
    Ok(explained.collect())
}

/// All builds, oldest first; one journal a platform.
fn journals(store: &Store) -> Result<Vec<Vec<Journal>>> {
    let builds = store.builds().map_err(|e| from_store(e, "cannot read the builds"))?;
    let entry = |build: &cooper_store::Build| serde_json::from_slice(&store.build(&build.id).ok()?).ok();
    let mut all: Vec<Vec<Journal>> = builds.iter().rev().filter_map(entry).collect();
    all.retain(|journals| !journals.is_empty());
    Ok(all)
}

fn find(all: &[Vec<Journal>], id: &str) -> Result<Vec<Journal>> {
    let matching: Vec<_> = all.iter().filter(|journals| journals[0].id.starts_with(id)).collect();
    match matching[..] {
        [only] => Ok(only.clone()),
        [] => {
            let known: Vec<&str> = all.iter().rev().take(5).map(|journals| journals[0].id.as_str()).collect();
            Err(Error::new(ErrorKind::NotFound, format!("no build is called `{id}`"))
                .with_hint(format!("the last ones are: {}", known.join(", "))))
        }
        _ => Err(Error::new(ErrorKind::User, format!("several builds start with `{id}`"))),
    }
}

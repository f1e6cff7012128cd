//! What each build did and from what, kept so that the next one can say why a step ran again.
//!
//! Knows nothing of how keys are computed: it compares the same typed inputs that enter them.

use std::collections::BTreeMap;

use cooper_llb::KeyInput;
use serde::{Deserialize, Serialize};

/// Changed files named in one reason; the rest is counted.
const FILES_NAMED: usize = 5;

/// Characters of a value shown in a reason.
const VALUE_SHOWN: usize = 60;

/// One build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Its name.
    pub id: String,
    /// When it started, seconds since 1970.
    pub created: i64,
    /// What makes two builds builds of the same thing: context, Dockerfile name, target, platform.
    pub subject: String,
    /// Names the image got.
    pub names: Vec<String>,
    /// It failed or was given up.
    pub failed: bool,
    /// Its steps, in the order of the Dockerfile.
    pub steps: Vec<Step>,
}

/// One step of a build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// As shown: `[build 2/5] RUN make`.
    pub name: String,
    /// Stage and position in it: what finds the same step in another build.
    pub place: String,
    /// The instruction.
    pub instruction: String,
    /// How it went.
    pub state: State,
    /// `--no-cache` applied to it.
    pub no_cache: bool,
    /// Typed inputs of its key, those of its operation first.
    pub inputs: Vec<KeyInput>,
    /// For each input read by content: its key, and the digest of the list of its files.
    pub files: BTreeMap<String, (String, Option<String>)>,
    /// Places of the steps it works on.
    pub after: Vec<String>,
}

/// How a step went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing needed it: a later step was found.
    #[default]
    Cached,
    /// It ran.
    Ran,
    /// It ran and failed.
    Failed,
    /// The build ended before it.
    Pending,
}

/// Begins the name of the input that is a base image. Which step stands on it depends on where the step is, so only a
/// change of its digest is a reason.
pub(crate) const BASE: &str = "base image";

/// Reads the file list of a digest, if it is still kept.
pub(crate) type ReadList<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why `step` of `now` had to run, compared with the same step of `before`. Never empty.
pub(crate) fn reasons(step: &Step, now: &Journal, before: Option<&Journal>, read: ReadList<'_>) -> Vec<String> {
    if step.no_cache {
        return vec!["the cache was switched off for it (--no-cache)".into()];
    }
    let Some(before) = before else { return vec!["no earlier build of this is known".into()] };
    let Some(old) = counterpart(step, before) else {
        return vec!["the step is new: the earlier build has no such step".into()];
    };
    let mut out = Vec::new();
    if old.instruction != step.instruction {
        out.push(format!(
            "the instruction changed: `{}` became `{}`",
            shown(&old.instruction),
            shown(&step.instruction)
        ));
    }
    out.extend(changed_inputs(&old.inputs, &step.inputs));
    out.extend(changed_files(old, step, read));
    let ran = |place: &&String| now.steps.iter().any(|other| other.place == **place && other.state == State::Ran);
    if out.is_empty() {
        out.extend(step.after.iter().filter(ran).map(|place| format!("it builds on {place}, which ran again")));
    }
    if out.is_empty() {
        out.push("its inputs are those of the earlier build, but the record of the result is gone (pruned, failed, or of another machine)".into());
    }
    out
}

/// The same step of another build: by place, else by instruction.
fn counterpart<'a>(step: &Step, before: &'a Journal) -> Option<&'a Step> {
    let same_text = || before.steps.iter().find(|old| old.instruction == step.instruction);
    before
        .steps
        .iter()
        .find(|old| old.place == step.place && old.instruction == step.instruction)
        .or_else(same_text)
        .or_else(|| before.steps.iter().find(|old| old.place == step.place))
}

fn changed_inputs(old: &[KeyInput], new: &[KeyInput]) -> Vec<String> {
    let value = |list: &[KeyInput], name: &str| -> Vec<String> {
        list.iter().filter(|input| input.name == name).map(|input| input.value.clone()).collect()
    };
    let mut names: Vec<&str> = old.iter().chain(new).map(|input| input.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let (was, is) = (value(old, name), value(new, name));
        // The arguments are the instruction, which is compared as a person wrote it.
        let moved_away = name.starts_with(BASE) && (was.is_empty() || is.is_empty());
        if was == is || moved_away || name == "arg" || name == "args" {
            continue;
        }
        for gone in was.iter().filter(|value| !is.contains(value)) {
            let key = gone.split('=').next().unwrap_or(gone);
            match is.iter().find(|value| !was.contains(value) && value.split('=').next() == Some(key)) {
                Some(new) => out.push(format!("{name} changed: {} became {}", shown(gone), shown(new))),
                None if is.len() == 1 && was.len() == 1 => {
                    out.push(format!("{name} changed: {} became {}", shown(gone), shown(&is[0])))
                }
                None => out.push(format!("{name} removed: {}", shown(gone))),
            }
        }
        let added = |value: &&String| {
            !was.contains(value) && !was.iter().any(|old| old.split('=').next() == value.split('=').next())
        };
        out.extend(
            is.iter()
                .filter(added)
                .filter(|_| is.len() != 1 || was.len() != 1)
                .map(|value| format!("{name} added: {}", shown(value))),
        );
    }
    out
}

fn shown(value: &str) -> String {
    let line = value.lines().next().unwrap_or_default();
    match line.char_indices().nth(VALUE_SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn changed_files(old: &Step, new: &Step, read: ReadList<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for (input, (key, list)) in &new.files {
        let Some((old_key, old_list)) = old.files.get(input) else { continue };
        if old_key == key {
            continue;
        }
        let lists = old_list.as_deref().and_then(read).zip(list.as_deref().and_then(read));
        match lists {
            Some((old, new)) => out.extend(diff(&old, &new, input)),
            None => out.push(format!("files of {input} changed")),
        }
    }
    out
}

/// Compares two lists of `mode owner content path` lines.
fn diff(old: &str, new: &str, input: &str) -> Vec<String> {
    let (old, new) = (by_path(old), by_path(new));
    let mut out = Vec::new();
    for (path, is) in &new {
        match old.get(path) {
            None => out.push(format!("file added to {input}: {path}")),
            Some(was) if was[2] != is[2] => out.push(format!("content of {path} changed")),
            Some(was) if was[0] != is[0] => out.push(format!("mode of {path} changed: {} became {}", was[0], is[0])),
            Some(was) if was[1] != is[1] => out.push(format!("owner of {path} changed: {} became {}", was[1], is[1])),
            Some(_) => {}
        }
    }
    out.extend(
        old.keys().filter(|path| !new.contains_key(*path)).map(|path| format!("file removed from {input}: {path}")),
    );
    if out.len() > FILES_NAMED {
        let rest = out.len() - FILES_NAMED;
        out.truncate(FILES_NAMED);
        out.push(format!("and {rest} more files"));
    }
    out
}

fn by_path(list: &str) -> BTreeMap<&str, [&str; 3]> {
    let parse = |line| {
        let mut words = str::splitn(line, 4, ' ');
        let head = [words.next()?, words.next()?, words.next()?];
        Some((words.next()?, head))
    };
    list.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, value: &str) -> KeyInput {
        KeyInput { name: name.into(), value: value.into() }
    }

    fn step(place: &str, instruction: &str) -> Step {
        Step { place: place.into(), instruction: instruction.into(), state: State::Ran, ..Step::default() }
    }

    fn journal(steps: Vec<Step>) -> Journal {
        Journal { steps, ..Journal::default() }
    }

    fn why(old: Step, new: Step) -> Vec<String> {
        let lists = |digest: &str| Some(digest.replace('|', "\n"));
        reasons(&new.clone(), &journal(vec![new]), Some(&journal(vec![old])), &lists)
    }

    #[test]
    fn names_the_argument_that_changed() {
        let mut old = step("build 2", "RUN make");
        let mut new = old.clone();
        old.inputs = vec![input("env", "PATH=/bin"), input("env", "VERSION=1")];
        new.inputs = vec![input("env", "PATH=/bin"), input("env", "VERSION=2")];
        assert_eq!(why(old, new), ["env changed: VERSION=1 became VERSION=2"]);
    }

    #[test]
    fn names_the_files_that_changed() {
        let mut old = step("build 2", "COPY . .");
        let mut new = old.clone();
        let list = |text: &str| (text.to_owned(), Some(text.to_owned()));
        old.files.insert("context".into(), list("0644 0:0 aa a|0644 0:0 bb b|0644 0:0 cc c"));
        new.files.insert("context".into(), list("0644 0:0 ab a|0755 0:0 bb b|0644 0:0 dd d"));
        let expect = [
            "content of a changed",
            "mode of b changed: 0644 became 0755",
            "file added to context: d",
            "file removed from context: c",
        ];
        assert_eq!(why(old, new), expect);
    }

    #[test]
    fn names_the_base_that_moved() {
        let mut old = step("build 2", "RUN make");
        let mut new = old.clone();
        old.inputs = vec![input("base", "sha256:aa")];
        new.inputs = vec![input("base", "sha256:bb")];
        assert_eq!(why(old, new), ["base changed: sha256:aa became sha256:bb"]);
    }

    #[test]
    fn follows_the_step_before() {
        let first = step("build 2", "COPY . .");
        let mut second = step("build 3", "RUN make");
        second.after = vec!["build 2".into()];
        let now = journal(vec![first.clone(), second.clone()]);
        assert_eq!(reasons(&second, &now, Some(&now), &|_| None), ["it builds on build 2, which ran again"]);
    }
}

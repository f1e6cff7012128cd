//! Evaluation without base images: what can be said of a file when nothing may be fetched.
//!
//! Knows nothing of where base images would come from.

use std::collections::BTreeMap;

use cooper_oci::ImageConfig;

use super::{Args, BaseKey, Bases, Evaluation, Stages, Wanted, evaluate_stages};
use crate::Diagnostic;
use crate::ast::{Dockerfile, InstructionKind};

/// Rounds of asking for bases; the stand-ins have no triggers that could ask for more, so two are enough.
const ROUNDS_MAX: usize = 4;

/// The stages of the target, with an empty image in the place of every base.
pub(crate) fn without_bases(file: &Dockerfile, args: &Args) -> (Option<Stages>, Vec<Diagnostic>) {
    evaluate_offline(file, args, Wanted::Target)
}

/// What [`evaluate`](super::evaluate()) would say of all stages, or of those that a target needs, without the base images. A variable that
/// nothing declares may come from the base: it is named only where a declared one is nearly the same.
pub fn diagnose(file: &Dockerfile, args: &Args) -> Vec<Diagnostic> {
    let wanted = if args.target.is_some() { Wanted::Target } else { Wanted::All };
    let (_, mut found) = evaluate_offline(file, args, wanted);
    let stages = from_scratch(file);
    let scratch = |start: u32| {
        let at = stages.partition_point(|(from, _)| *from <= start);
        at.checked_sub(1).is_some_and(|at| stages[at].1)
    };
    found.retain(|found| found.rule != "UndefinedVar" || found.hint.is_some() || scratch(found.span.start));
    found
}

/// Where each stage begins, and whether it is based on nothing, or on a stage that is.
fn from_scratch(file: &Dockerfile) -> Vec<(u32, bool)> {
    let mut names: BTreeMap<String, bool> = BTreeMap::from([("scratch".to_owned(), true)]);
    let mut stages = Vec::new();
    for instruction in &file.instructions {
        let InstructionKind::From(from) = &instruction.kind else { continue };
        let scratch = names.get(&from.image.text.to_lowercase()).copied().unwrap_or(false);
        stages.push((instruction.span.start, scratch));
        names.extend(from.name.iter().map(|name| (name.text.to_lowercase(), scratch)));
    }
    stages
}

fn evaluate_offline(file: &Dockerfile, args: &Args, wanted: Wanted) -> (Option<Stages>, Vec<Diagnostic>) {
    let mut bases = Bases::new();
    let mut diagnostics = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let (evaluation, found) = evaluate_stages(file, args, &bases, wanted);
        diagnostics = found;
        match evaluation {
            Evaluation::Needs(keys) => bases.extend(keys.into_iter().map(|(key, _)| stand_in(key))),
            Evaluation::Done(stages) => return (Some(stages), diagnostics),
            Evaluation::Failed => return (None, diagnostics),
        }
    }
    (None, diagnostics)
}

fn stand_in(key: BaseKey) -> (BaseKey, ImageConfig) {
    let (BaseKey::Image { platform, .. } | BaseKey::OciLayout { platform, .. }) = &key;
    let config = crate::image::empty_image(platform);
    (key, config)
}

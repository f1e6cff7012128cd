//! cooper's own rules: what an experienced reviewer would say of a Dockerfile, and the image checks of dockle and CIS that a Dockerfile
//! shows.
//!
//! A rule belongs here if its finding is worth a reviewer's minute on nearly every file that raises it; what is a matter of house style
//! is off by default.

mod cache;
mod context;
mod download;
mod image;
mod layers;
mod meaningless;
mod scripts;
mod secrets;
mod shipped;
mod syntax;

use super::rule::{Check, Group, Rule};
use crate::Severity;

pub(super) static RULES: [&[&Rule]; 10] = [
    &cache::RULES,
    &context::RULES,
    &download::RULES,
    &image::RULES,
    &layers::RULES,
    &meaningless::RULES,
    &scripts::RULES,
    &secrets::RULES,
    &shipped::RULES,
    &syntax::RULES,
];

/// What most of them have in common.
const PRACTICE: Rule = Rule {
    id: "",
    aliases: &[],
    group: Group::Practice,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "",
    meaning: "",
    bad: "",
    good: "",
    check: Check::Elsewhere,
};

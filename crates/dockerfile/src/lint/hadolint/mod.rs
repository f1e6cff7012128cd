//! hadolint's rules for Dockerfiles, under its numbers, written from what they mean.
//!
//! Where BuildKit has the same rule, its name is the id and the number an alias; what the parser refuses anyway is an alias of `syntax`.
//! Missing pins of distribution packages are `info` here and `warning` there: a distribution's archive keeps one version, so a pin
//! breaks the build with the next security update, and a base image pinned by digest is the better tool.

mod apt;
mod commands;
mod copies;
mod files;
mod images;
mod labels;
mod languages;
mod packages;
mod pins;
mod privileges;

use super::rule::{Check, Group, Rule};
use crate::Severity;

pub(super) static RULES: [&[&Rule]; 10] = [
    &apt::RULES,
    &commands::RULES,
    &copies::RULES,
    &files::RULES,
    &images::RULES,
    &labels::RULES,
    &languages::RULES,
    &packages::RULES,
    &pins::RULES,
    &privileges::RULES,
];

/// What most of them have in common.
const HADOLINT: Rule = Rule {
    id: "",
    aliases: &[],
    group: Group::Hadolint,
    severity: Severity::Warning,
    enabled: true,
    fixable: false,
    summary: "",
    meaning: "",
    bad: "",
    good: "",
    check: Check::Elsewhere,
};

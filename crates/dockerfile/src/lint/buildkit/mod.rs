//! The rules of `docker build --check`, under its names.
//!
//! `cooper build` raises these as warnings, and no others.

mod casing;
mod comments;
mod copied;
mod elsewhere;
mod stages;
mod values;

use super::rule::Rule;

pub(super) static RULES: [&[&Rule]; 6] =
    [&casing::RULES, &comments::RULES, &copied::RULES, &elsewhere::RULES, &stages::RULES, &values::RULES];

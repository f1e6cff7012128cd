//! One line a finding, in the form of the GNU coding standards that editors jump by.
//!
//! Knows nothing of other formats.

use super::{message, placed};
use crate::commands::check::examine::Examined;
use crate::commands::check::page::severity_name;
use crate::sanitise;

pub(super) fn lines(examined: &[Examined]) -> String {
    let line = |placed: &super::Placed<'_>| {
        let (line, column) = placed.start;
        let severity = severity_name(placed.found.severity);
        let text =
            format!("{}:{line}:{column}: {severity}: {} [{}]", placed.file, message(placed.found), placed.found.rule);
        sanitise::line(&text) + "\n"
    };
    placed(examined).iter().map(line).collect()
}

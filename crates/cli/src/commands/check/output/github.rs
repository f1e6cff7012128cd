//! Annotations: commands that GitHub's runners read from the log.
//!
//! Knows nothing of other formats. What is not ours is escaped, so that no text of a Dockerfile can give a command.

use super::{Placed, level, message, placed};
use crate::commands::check::examine::Examined;
use crate::sanitise;

pub(super) fn lines(examined: &[Examined]) -> String {
    placed(examined).iter().map(line).collect()
}

fn line(placed: &Placed<'_>) -> String {
    let level = level(placed.found.severity, "notice");
    let ((line, column), (end_line, end_column)) = (placed.start, placed.end);
    let mut place = format!("file={},line={line},endLine={end_line}", property(placed.file));
    // Columns are only read where both ends are on one line.
    if line == end_line {
        place.push_str(&format!(",col={column},endColumn={end_column}"));
    }
    format!("::{level} {place},title={}::{}\n", property(placed.found.rule), escaped(&message(placed.found)))
}

fn escaped(text: &str) -> String {
    sanitise::line(&text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A"))
}

fn property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

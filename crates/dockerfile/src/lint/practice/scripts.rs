//! Rules about how commands of a RUN are put together.

use super::PRACTICE;
use crate::lint::commands::Run;
use crate::lint::report::{Report, at};
use crate::lint::rule::{Check, Rule};
use crate::lint::view::View;
use crate::shell::{AndOr, Command, CompoundKind, Link};

pub(super) static RULES: [&Rule; 2] = [&SWALLOWED, &IGNORED_FAILURE];

static SWALLOWED: Rule = Rule {
    id: "CO1601",
    summary: "a comment of the shell swallows the lines after it",
    meaning: "Lines that end in `\\` are joined before the shell sees them, so a `#` in the middle of one makes a comment of all that follow. \
              Put the comment on a line of its own: the builder takes such lines out.",
    bad: "FROM alpine:3.22\nRUN touch /a && # first \\\n    touch /b\n",
    good: "FROM alpine:3.22\nRUN touch /a && \\\n    # second\n    touch /b\n",
    check: Check::File(swallowed),
    ..PRACTICE
};

fn swallowed(view: &View<'_>, report: &mut Report<'_>) {
    for place in view.runs.iter().filter_map(|run| run.swallowing) {
        let finding = at(place, "this comment swallows the lines after it");
        report.add(finding.with_hint("put the comment on a line of its own"));
    }
}

static IGNORED_FAILURE: Rule = Rule {
    id: "CO1602",
    summary: "the failure of a command is ignored",
    meaning: "Commands separated by `;`, and the lines of a here-document, go on when one fails: only the last decides whether the step has \
              succeeded, and a half-made layer goes into the cache. Join them with `&&`, or begin with `set -e`.",
    bad: "FROM alpine:3.22\nRUN make; make install\n",
    good: "FROM alpine:3.22\nRUN make && make install\n",
    check: Check::File(ignored_failure),
    ..PRACTICE
};

fn ignored_failure(view: &View<'_>, report: &mut Report<'_>) {
    for run in view.runs.iter().filter(|run| !run.shell.has_errexit() && !stops_at_errors(run)) {
        for parsed in &run.scripts {
            let lists = &parsed.script.lists;
            let ignored = lists.iter().take(lists.len().saturating_sub(1)).find(|list| may_fail(list));
            if let Some(span) = ignored
                .and_then(|list| list.pipelines.last())
                .and_then(|(_, last)| last.commands.last())
                .map(Command::span)
            {
                let finding = at(parsed.place(span), "the step goes on if this fails");
                report.add(finding.with_hint("use `&&`, or begin with `set -e`"));
            }
        }
    }
}

/// `set -e` in any form, or a here-document whose `#!` says so.
fn stops_at_errors(run: &Run<'_>) -> bool {
    let set = run
        .commands
        .iter()
        .filter(|command| command.name == "set")
        .any(|command| command.has_flag(Some('e'), &[]) || command.has("errexit"));
    let first_line = run.run.heredocs.first().and_then(|heredoc| heredoc.content.lines().next());
    let by_interpreter = first_line.is_some_and(|line| {
        line.starts_with("#!")
            && line.split_whitespace().skip(1).any(|word| word.starts_with('-') && word.contains('e'))
    });
    set || by_interpreter
}

/// Something that changes the image and may fail, with nothing that handles the failure.
fn may_fail(list: &AndOr) -> bool {
    const HARMLESS: [&str; 15] = [
        "echo", "printf", "set", "export", "true", ":", "umask", "trap", "local", "unset", "test", "[", "read",
        "shopt", "alias",
    ];
    let handled = list.background || list.pipelines.iter().any(|(link, _)| *link == Link::Or);
    let last = list.pipelines.last().and_then(|(_, pipeline)| pipeline.commands.last());
    !handled
        && last.is_some_and(|command| match command {
            Command::Simple(simple) => {
                simple.words.first().is_some_and(|word| !HARMLESS.contains(&word.text().as_ref()))
            }
            Command::Compound(compound) => matches!(compound.kind, CompoundKind::Subshell),
        })
}

//! `cooper explain`: why each step of a build ran.
//!
//! Knows nothing of keys; the engine compares them.

use clap::Args;
use serde_json::{Value, json};

use super::{Format, print_json_lines};
use crate::engine_calls;
use crate::error::CommandResult;
use crate::human;
use crate::output;
use crate::rows::Explained;
use crate::sanitise;
use crate::surroundings::Surroundings;

/// Say why steps were not cached
///
/// Without a build, the last one. It is compared with the build before it of the same thing, or with the second one named.
#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    /// Name of the build
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,

    /// The build to compare it with
    #[arg(value_name = "BUILD")]
    pub(crate) against: Option<String>,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    pub(crate) format: Format,
}

/// Explains.
pub(crate) async fn run(args: &Explain, at: &Surroundings) -> CommandResult {
    let builds = engine_calls::explain(at, args.build.as_deref(), args.against.as_deref()).await?;
    match args.format {
        Format::Table => output::data(&builds.iter().map(|build| text(build, human::now())).collect::<String>()),
        Format::Json => print_json_lines(builds.iter().map(object)),
    }
}

fn text(build: &Explained, now: i64) -> String {
    let before = build.before.as_ref().map(|before| format!(", compared with {}", sanitise::line(before)));
    let age = human::ago(Some(build.created), now);
    let mut out = format!("build {} ({age}){}\n", sanitise::line(&build.build), before.unwrap_or_default());
    for (step, state, reasons) in &build.steps {
        out.push_str(&format!("{state:<8}  {}\n", sanitise::line(step)));
        for reason in reasons {
            out.push_str(&format!("            {}\n", sanitise::line(reason)));
        }
    }
    out
}

fn object(build: &Explained) -> Value {
    let step = |(name, state, reasons): &(String, &str, Vec<String>)| json!({"name": name, "state": state, "reasons": reasons});
    json!({
        "build": build.build,
        "created": human::date(build.created),
        "before": build.before,
        "steps": build.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_as_text() {
        let build = Explained {
            build: "b2".into(),
            created: 0,
            before: Some("b1".into()),
            steps: vec![
                ("[1/2] FROM a".into(), "cached", Vec::new()),
                ("[2/2] RUN make".into(), "ran", vec!["src/main.c changed".into(), "V is `2`, was `\x1b[2J1`".into()]),
            ],
        };
        let expect = "build b2 (about a minute ago), compared with b1\n\
                      cached    [1/2] FROM a\n\
                      ran       [2/2] RUN make\n\
                      \x20           src/main.c changed\n\
                      \x20           V is `2`, was `1`\n";
        assert_eq!(text(&build, 60), expect);
        assert_eq!(object(&build)["steps"][1]["reasons"][0], "src/main.c changed");
    }
}

//! Flags of docker buildx that cooper knows but does not do yet: accepted by name, refused with a clear error.
//!
//! The values that ask for nothing (`--provenance=false`) are accepted, because scripts pass them.

use clap::Args;

use crate::error::{CommandError, CommandResult};

/// The flags; none is shown in the help.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Unsupported {
    #[arg(long, hide = true)]
    attest: Vec<String>,
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    #[arg(long, hide = true)]
    policy: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    #[arg(long, hide = true)]
    squash: bool,

    /// Of docker's first builder; they ask for what cooper does anyway, or for nothing.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    rm: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    force_rm: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    compress: Option<bool>,
}

impl Unsupported {
    /// Refuses the first flag that asks for something cooper does not do.
    pub(crate) fn refuse(&self) -> CommandResult {
        let off =
            |value: &Option<String>| value.as_deref().is_none_or(|value| matches!(value, "false" | "disabled=true"));
        let asked = [
            ("--attest", self.attest.iter().any(|value| !value.contains("disabled=true"))),
            ("--builder", !matches!(self.builder.as_deref(), None | Some("" | "default"))),
            ("--debug", self.debug),
            ("--policy", !self.policy.is_empty()),
            ("--provenance", !off(&self.provenance)),
            ("--sbom", !off(&self.sbom)),
            ("--squash", self.squash),
        ];
        asked.iter().find(|(_, asked)| *asked).map_or(Ok(()), |(flag, _)| Err(refusal(flag)))
    }
}

fn refusal(flag: &str) -> CommandError {
    let error = CommandError::usage(format!("{flag} is not supported yet"));
    match flag {
        "--provenance" | "--sbom" => error.with_hint(format!("leave it out or write `{flag}=false`")),
        "--builder" => error.with_hint("cooper builds by itself; only `--builder default` is accepted"),
        _ => error,
    }
}

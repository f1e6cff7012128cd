//! `cooper check`: what is wrong with Dockerfiles, and mending it.
//!
//! Knows nothing of single rules: the Dockerfile crate raises findings, this verb finds files and settings, and prints.

pub(crate) mod call;
mod examine;
mod files;
mod fix;
mod hadolint;
mod output;
mod page;
mod settings;
mod verify;

use clap::Args;
use cooper_dockerfile::Severity;

use crate::error::{CommandError, CommandResult, Kind};
use crate::output::{data, note};
use crate::surroundings::Surroundings;
use examine::Examined;
pub(crate) use files::{context_of, files_of};
pub(crate) use fix::{diff, write_file};

/// Check Dockerfiles for mistakes and bad practice
///
/// Exits with 0 if nothing of the severity of --fail-on is found, with 1 if something is, with 2 if a file cannot be read or the
/// command line is wrong. Nothing is built or fetched: base images count as empty.
#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    /// Dockerfiles, directories that hold some, or `-` for standard input [default: the current directory]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<String>,

    /// Name of the Dockerfile; PATH is then the directory of the build's files
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,

    /// Look only at the stages this one needs [default: all stages]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Value of an ARG; without a value, that of the environment variable
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,

    /// How findings are printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: output::Format,

    /// The mildest severity that makes the command fail [default: warning]
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) fail_on: Option<settings::Threshold>,

    /// Raise only these rules, separated by commas
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Switch these rules off
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,

    /// Make findings of these rules errors
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) error: Vec<String>,

    /// Settings [default: cooper.toml, else .hadolint.yaml, beside the Dockerfile or above it]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<std::path::PathBuf>,

    /// Mend what can be mended without changing the image; `unsafe`: also what may change it; `verify`: build before and after,
    /// compare, and write only if the images are the same
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, value_delimiter = ',',
        default_missing_value = "safe")]
    pub(crate) fix: Vec<fix::How>,

    /// Print what --fix would change, and write nothing
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) diff: bool,

    /// With --fix=verify: write even if the images differ
    #[arg(long)]
    pub(crate) force: bool,

    /// Instead of checking print the parameters or the targets: `outline`, `targets` or `check` as docker buildx does, with
    /// `,format=json` as JSON
    #[arg(long, value_name = "WHAT")]
    pub(crate) call: Option<String>,

    /// List all rules
    #[arg(long)]
    pub(crate) list_rules: bool,

    /// Print what a rule means
    #[arg(long, value_name = "RULE")]
    pub(crate) explain: Option<String>,
}

impl Check {
    /// Images are built to compare them.
    pub(crate) fn builds(&self) -> bool {
        self.fix.contains(&fix::How::Verify)
    }
}

/// Checks.
pub(crate) async fn run(args: Check, at: &Surroundings) -> CommandResult {
    if args.list_rules {
        return page::list(args.format);
    }
    if let Some(name) = &args.explain {
        return data(&page::page(settings::known_rule(name)?));
    }
    let result = check(&args, at).await;
    // A file that cannot be read is no finding.
    result.map_err(|error| if error.kind == Kind::Failure { error.with_kind(Kind::Usage) } else { error })
}

async fn check(args: &Check, at: &Surroundings) -> CommandResult {
    let sources = files::sources(args, || Box::new(std::io::stdin()))?;
    if let Some(text) = &args.call {
        let call = call::Call::parse(text)?;
        let [source] = sources.as_slice() else {
            return Err(CommandError::usage("--call takes one Dockerfile").with_hint("name it"));
        };
        let args = examine::args(args, &at.environment)?;
        return call.run(&source.shown, &source.text, &args, source.context.clone());
    }
    let mut examined = Vec::with_capacity(sources.len());
    let mut failed = false;
    for source in sources {
        let settings = settings::Settings::find(args, &source)?;
        let found = examine::examine(source, &settings, &examine::args(args, &at.environment)?);
        let found = if args.fix.is_empty() && !args.diff { found } else { fix::fix(args, at, found).await? };
        failed |= found.found.iter().any(|found| settings.fail_on.is_reached(found.severity));
        examined.push(found);
    }
    if !args.diff {
        let colours = crate::output::stdout_is_terminal() && !at.environment.is_set("NO_COLOR");
        data(&args.format.print(&examined, colours))?;
    }
    note(&summary(&examined));
    if failed { Err(CommandError::new(Kind::Silent(1), "there are findings")) } else { Ok(()) }
}

/// The closing words: how many of what, and what `--fix` would do.
fn summary(examined: &[Examined]) -> String {
    let all = || examined.iter().flat_map(|examined| &examined.found);
    let files = counted(examined.len(), "file");
    let total = all().count();
    if total == 0 {
        return format!("no findings in {files}");
    }
    let kinds = [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Info, "info"),
        (Severity::Style, "style"),
    ];
    let counts = kinds.into_iter().filter_map(|(severity, name)| {
        let count = all().filter(|found| found.severity == severity).count();
        (count > 0).then(|| {
            if matches!(severity, Severity::Info | Severity::Style) {
                format!("{count} {name}")
            } else {
                counted(count, name)
            }
        })
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    let fixable = all().filter(|found| found.fix.as_ref().is_some_and(|fix| fix.safe)).count();
    let hint = if fixable > 0 { format!("; `--fix` mends {fixable}") } else { String::new() };
    format!("{} in {files}: {counts}{hint}", counted(total, "finding"))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

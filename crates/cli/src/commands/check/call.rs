//! `--call`: what docker buildx prints of a Dockerfile instead of building it, with its JSON keys and layout.
//!
//! Knows nothing of single rules. Base images are not fetched, and count as empty.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cooper_dockerfile::ast::Dockerfile;
use cooper_dockerfile::outline::{Asked, Outline, Target, outline, targets};
use cooper_dockerfile::{Args, Diagnostic, Severity, diagnose, line_column, lint, parse, render};
use serde_json::{Map, Value, json};

use crate::error::{CommandError, CommandResult, Kind};
use crate::output::data;
use crate::sanitise;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Check,
    Outline,
    Targets,
}

/// A value of `--call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    what: What,
    json: bool,
    /// Exit with 0 whatever is found.
    ignore_status: bool,
}

impl Call {
    /// Reads `check`, `lint`, `outline` or `targets`, with `,format=json|text` and `,ignorestatus=true`.
    pub(crate) fn parse(text: &str) -> CommandResult<Call> {
        let mut parts = text.split(',').map(str::trim);
        let what = match parts.next().unwrap_or_default() {
            "check" | "lint" => What::Check,
            "outline" => What::Outline,
            "targets" => What::Targets,
            other => {
                return Err(CommandError::usage(format!("--call `{other}` is not supported"))
                    .with_hint("there are `build`, `check`, `outline` and `targets`"));
            }
        };
        let mut call = Call { what, json: false, ignore_status: false };
        for part in parts {
            match part.split_once('=').unwrap_or((part, "true")) {
                ("format", "json") => call.json = true,
                ("format", "text") => call.json = false,
                ("ignorestatus", value @ ("true" | "false")) => call.ignore_status = value == "true",
                _ => {
                    return Err(CommandError::usage(format!("`{part}` of --call is not known"))
                        .with_hint("there are `format=json`, `format=text` and `ignorestatus=true`"));
                }
            }
        }
        Ok(call)
    }

    /// Prints it.
    pub(crate) fn run(self, name: &str, text: &str, args: &Args, context: Option<lint::Context>) -> CommandResult {
        match self.what {
            What::Check => self.check(name, text, args, context),
            What::Outline => self.outline(name, text, args),
            What::Targets => self.targets(name, text),
        }
    }

    fn check(self, name: &str, text: &str, args: &Args, context: Option<lint::Context>) -> CommandResult {
        let (file, found) = build_checks(text, args, context);
        let (errors, warnings): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.rule == "syntax");
        match self.json {
            true => print_json(&check_document((name, text, &file), &warnings, errors.first()))?,
            false => data(&sanitise::text(&check_text((name, text, &file), &warnings)))?,
        }
        if errors.is_empty() && (warnings.is_empty() || self.ignore_status) {
            return Ok(());
        }
        match self.json || errors.is_empty() {
            true => Err(CommandError::new(Kind::Silent(1), "there are findings")),
            false => Err(unreadable(name, text, &errors)),
        }
    }

    fn outline(self, name: &str, text: &str, args: &Args) -> CommandResult {
        let (file, errors) = read(name, text)?;
        errors?;
        let outline = outline(&file, args).map_err(|errors| unreadable(name, text, &errors))?;
        match self.json {
            true => print_json(&outline_document(&outline, text)),
            false => data(&sanitise::text(&outline_text(&outline))),
        }
    }

    fn targets(self, name: &str, text: &str) -> CommandResult {
        let (file, errors) = read(name, text)?;
        errors?;
        let targets = targets(&file);
        match self.json {
            true => print_json(&targets_document(&targets, text)),
            false => data(&sanitise::text(&targets_text(&targets))),
        }
    }
}

type Read = (Dockerfile, CommandResult);

fn read(name: &str, text: &str) -> CommandResult<Read> {
    let (file, found) = parse(text);
    let errors: Vec<Diagnostic> = found.into_iter().filter(|found| found.severity == Severity::Error).collect();
    let result = if errors.is_empty() { Ok(()) } else { Err(unreadable(name, text, &errors)) };
    Ok((file, result))
}

fn unreadable(name: &str, text: &str, errors: &[Diagnostic]) -> CommandError {
    let mut error = CommandError::failure("the Dockerfile cannot be built");
    error.excerpt = Some(render(errors, name, text, false).into());
    error
}

/// What BuildKit's rules say, and what `cooper build` would fail with, as far as that is known without base images.
fn build_checks(text: &str, args: &Args, context: Option<lint::Context>) -> (Dockerfile, Vec<Diagnostic>) {
    let (file, mut found) = parse(text);
    if found.iter().all(|found| found.severity != Severity::Error) {
        let others = lint::rules().filter(|rule| rule.group != lint::Group::BuildKit);
        let options = lint::Options {
            severities: others.map(|rule| (rule.id.to_owned(), None)).collect(),
            check: args.build_args.get("BUILDKIT_DOCKERFILE_CHECK").cloned(),
            target: args.target.clone(),
            context,
            ..lint::Options::default()
        };
        found.extend(diagnose(&file, args));
        found = lint::check(text, &file, found, &options);
    }
    (file, found)
}

/// Name, text and what was read from it.
type Source<'a> = (&'a str, &'a str, &'a Dockerfile);

/// Docker's page of a rule: its name in lower case with hyphens.
fn url(rule: &str) -> Option<String> {
    // The one rule without a page.
    let known = lint::rule(rule).is_some_and(|rule| rule.group == lint::Group::BuildKit);
    if !known || rule == "InvalidBaseImagePlatform" {
        return None;
    }
    let chars: Vec<char> = rule.chars().collect();
    let mut name = String::new();
    for (at, ch) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let starts =
            before.is_some_and(|ch| ch.is_lowercase()) || chars.get(at + 1).is_some_and(|ch| ch.is_lowercase());
        if at > 0 && ch.is_uppercase() && starts {
            name.push('-');
        }
        name.extend(ch.to_lowercase());
    }
    Some(format!("https://docs.docker.com/go/dockerfile/rule/{name}/"))
}

/// The lines of the instruction a finding is in, as BuildKit gives them; those of the finding itself outside of one.
fn lines_of(text: &str, file: &Dockerfile, found: &Diagnostic) -> (u32, u32) {
    let next = file.instructions.partition_point(|instruction| instruction.span.start <= found.span.start);
    let instruction = next.checked_sub(1).and_then(|at| file.instructions.get(at));
    if let Some(instruction) = instruction.filter(|instruction| found.span.start < instruction.span.end)
        && found.rule != "NoEmptyContinuation"
    {
        return instruction.lines;
    }
    let last = found.span.end.saturating_sub(1).max(found.span.start);
    (line_column(text, found.span.start).0, line_column(text, last).0)
}

fn check_text((name, text, file): Source<'_>, warnings: &[Diagnostic]) -> String {
    let mut out = match warnings.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for warning in warnings {
        let url = url(warning.rule).map(|url| format!(" - {url}")).unwrap_or_default();
        let detail = warning.hint.as_ref().map_or(String::new(), |hint| format!(" ({hint})"));
        out += &format!("\nWARNING: {}{url}\n{}{detail}\n", warning.rule, warning.message);
        out += &source_lines(name, text, lines_of(text, file, warning));
    }
    out
}

/// The lines with a few around them, those of the finding marked.
fn source_lines(name: &str, text: &str, (first, last): (u32, u32)) -> String {
    const RULER: &str = "--------------------\n";
    let lines: Vec<&str> = text.split('\n').collect();
    let around = if first == last { 2 } else { 1 };
    let start = first.saturating_sub(around).max(1);
    let end = (last + around).min(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    let mut out = format!("{name}:{first}\n{RULER}");
    for number in start..=end {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        let line = lines.get(number as usize - 1).copied().unwrap_or_default();
        out += &format!(" {number:3} | {mark} {line}\n");
    }
    out + RULER
}

fn location((first, last): (u32, u32)) -> Value {
    json!({"ranges": [{"start": {"line": first}, "end": {"line": last}}]})
}

fn check_document((name, text, file): Source<'_>, warnings: &[Diagnostic], error: Option<&Diagnostic>) -> Value {
    let warning = |found: &Diagnostic| {
        let mut fields = Map::new();
        fields.insert("ruleName".into(), found.rule.into());
        fields.extend(lint::rule(found.rule).map(|rule| ("description".into(), rule.summary.into())));
        fields.extend(url(found.rule).map(|url| ("url".into(), url.into())));
        let detail = found.hint.as_ref().map_or(found.message.clone(), |hint| format!("{} ({hint})", found.message));
        fields.insert("detail".into(), detail.into());
        fields.insert("location".into(), location(lines_of(text, file, found)));
        Value::Object(fields)
    };
    let warnings: Value = match warnings.is_empty() {
        true => Value::Null,
        false => warnings.iter().map(warning).collect(),
    };
    let source = json!({"filename": name, "language": "Dockerfile", "data": STANDARD.encode(text)});
    let mut document = json!({"warnings": warnings, "sources": [source]});
    if let Some(error) = error {
        document["buildError"] = json!({"message": error.message, "location": location(lines_of(text, file, error))});
    }
    document
}

fn outline_document(outline: &Outline, text: &str) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_str() == Some("");
        if !empty {
            fields.insert(name.to_owned(), value);
        }
    };
    put("name", outline.name.as_str().into());
    put("description", outline.description.as_str().into());
    let args = outline.args.iter().map(|arg| {
        let mut fields = Map::from_iter([("name".to_owned(), arg.name.as_str().into())]);
        for (name, value) in [("description", &arg.description), ("value", &arg.value)] {
            if !value.is_empty() {
                fields.insert(name.to_owned(), value.as_str().into());
            }
        }
        fields.insert("location".into(), location(arg.lines));
        Value::Object(fields)
    });
    put("args", args.collect());
    put("secrets", outline.secrets.iter().map(asked).collect());
    put("ssh", outline.ssh.iter().map(asked).collect());
    put("cache", outline.caches.iter().map(|(id, lines)| json!({"ID": id, "location": location(*lines)})).collect());
    put("sources", json!([STANDARD.encode(text)]));
    Value::Object(fields)
}

fn asked(asked: &Asked) -> Value {
    let mut fields = Map::from_iter([("name".to_owned(), asked.name.as_str().into())]);
    if asked.required {
        fields.insert("required".into(), true.into());
    }
    fields.insert("location".into(), location(asked.lines));
    Value::Object(fields)
}

fn outline_text(outline: &Outline) -> String {
    let mut out = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { outline.name.as_str() };
        let mut rows = vec![vec!["TARGET:", name]];
        if !outline.description.is_empty() {
            rows.push(vec!["DESCRIPTION:", &outline.description]);
        }
        out += &(columns(&rows, 1) + "\n");
    }
    if !outline.args.is_empty() {
        let mut rows = vec![vec!["BUILD ARG", "VALUE", "DESCRIPTION"]];
        rows.extend(outline.args.iter().map(|arg| vec![arg.name.as_str(), &arg.value, &arg.description]));
        out += &(columns(&rows, 3) + "\n");
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !list.is_empty() {
            let mut rows = vec![vec![title, "REQUIRED"]];
            rows.extend(list.iter().map(|asked| vec![asked.name.as_str(), if asked.required { "true" } else { "" }]));
            out += &(columns(&rows, 3) + "\n");
        }
    }
    out
}

fn targets_document(targets: &[Target], text: &str) -> Value {
    let target = |target: &Target| {
        let mut fields = Map::new();
        let texts = [
            ("name", &target.name),
            ("description", &target.description),
            ("base", &target.base),
            ("platform", &target.platform),
        ];
        for (name, value) in texts {
            if !value.is_empty() {
                fields.insert(name.into(), value.as_str().into());
            }
            if name == "name" && target.default {
                fields.insert("default".into(), true.into());
            }
        }
        fields.insert("location".into(), location(target.lines));
        Value::Object(fields)
    };
    json!({"targets": targets.iter().map(target).collect::<Vec<_>>(), "sources": [STANDARD.encode(text)]})
}

fn targets_text(targets: &[Target]) -> String {
    let names: Vec<String> = targets
        .iter()
        .map(|target| match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        })
        .collect();
    let mut rows = vec![vec!["TARGET", "DESCRIPTION"]];
    rows.extend(names.iter().zip(targets).map(|(name, target)| vec![name.as_str(), &target.description]));
    columns(&rows, 1)
}

/// Cells with blanks behind all but the last of a row, as Go's tabwriter sets them.
fn columns(rows: &[Vec<&str>], padding: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0) + padding
    };
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match column + 1 == row.len() {
                true => out += &format!("{cell}\n"),
                false => out += &format!("{cell:width$}", width = width(column)),
            }
        }
    }
    out
}

fn print_json(value: &Value) -> CommandResult {
    data(&sanitise::json(&format!("{value:#}\n")))
}

#[cfg(test)]
mod tests {
    use cooper_oci::Platform;

    use super::*;

    const TEXT: &str = "# V is the version\nARG V=1\n# build makes it\nFROM a:$V AS Build\nRUN --mount=type=secret,id=s,required --mount=type=ssh true\n\
        FROM scratch AS out\nCOPY --from=build /x /\nCMD run \\\n  it\n";

    fn args() -> Args {
        Args::new(Platform::new("linux", "amd64"))
    }

    #[test]
    fn values_of_the_flag() {
        let parsed = |text| Call::parse(text).map(|call| (call.what, call.json, call.ignore_status));
        assert_eq!(parsed("check").unwrap(), (What::Check, false, false));
        assert_eq!(parsed("outline,format=json").unwrap(), (What::Outline, true, false));
        assert_eq!(parsed("lint, ignorestatus=true").unwrap(), (What::Check, false, true));
        assert!(parsed("convertllb").unwrap_err().message().contains("hint: there are `build`"));
        assert!(parsed("check,format=yaml").unwrap_err().message().contains("`format=yaml` of --call is not known"));
    }

    #[test]
    fn pages_of_docker() {
        let page = |rule| url(rule).and_then(|url| url.rsplit('/').nth(1).map(str::to_owned));
        assert_eq!(page("JSONArgsRecommended").as_deref(), Some("json-args-recommended"));
        assert_eq!(page("FromAsCasing").as_deref(), Some("from-as-casing"));
        assert_eq!(page("UndefinedArgInFrom").as_deref(), Some("undefined-arg-in-from"));
        assert_eq!(page("InvalidBaseImagePlatform"), None);
    }

    #[test]
    fn texts() {
        let (file, _) = parse(TEXT);
        insta::assert_snapshot!(outline_text(&outline(&file, &args()).unwrap()));
        insta::assert_snapshot!(targets_text(&targets(&file)));
        let (file, found) = build_checks(TEXT, &args(), None);
        insta::assert_snapshot!(check_text(("Dockerfile", TEXT, &file), &found));
        assert_eq!(check_text(("Dockerfile", TEXT, &file), &[]), "Check complete, no warnings found.\n");
    }

    #[test]
    fn documents() {
        let (file, _) = parse(TEXT);
        let mut outline = outline_document(&outline(&file, &args()).unwrap(), TEXT);
        assert_eq!(STANDARD.decode(outline["sources"][0].as_str().unwrap()).unwrap(), TEXT.as_bytes());
        outline["sources"] = json!("..");
        insta::assert_snapshot!(outline);
        let mut list = targets_document(&targets(&file), TEXT);
        list["sources"] = json!("..");
        insta::assert_snapshot!(list);
        let (file, warnings) = build_checks(TEXT, &args(), None);
        let error = Diagnostic::error(warnings[0].span, "bad");
        let mut check = check_document(("Dockerfile", TEXT, &file), &warnings, Some(&error));
        check["sources"] = json!("..");
        insta::assert_snapshot!(check);
    }
}

//! Docker's `--format`: text with `{{.Field}}` in it, for lists.
//!
//! Knows the part of Go's templates that people use for lists, and says so where a text has more.

use cooper_dockerfile::nearest;
use serde_json::Value;

use crate::error::{CommandError, CommandResult};
use crate::human;

/// A format, checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    /// Columns at tabs, with a head.
    table: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `{{.Name}}`.
    Field(&'static str),
    /// `{{json .Name}}`; the whole row for `{{json .}}`.
    Json(Option<&'static str>),
}

impl Template {
    /// Reads a format. `fields` are the names there are, each with its head in a table.
    pub(crate) fn parse(text: &str, fields: &[(&'static str, &str)]) -> CommandResult<Self> {
        let (text, table) = match text.strip_prefix("table ") {
            Some(rest) => (rest.trim_start(), true),
            None => (text, false),
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let open = || CommandError::usage(format!("--format `{text}`: a `{{{{` without `}}}}`"));
            let (inside, behind) = after.split_once("}}").ok_or_else(open)?;
            parts.push(Part::Text(unescape(before)));
            parts.push(part(inside.trim_matches([' ', '-']), fields)?);
            rest = behind;
        }
        parts.push(Part::Text(unescape(rest)));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self { parts, table })
    }

    /// The rows as text: a line each, or a table.
    pub(crate) fn render(&self, rows: &[Value], fields: &[(&'static str, &str)]) -> String {
        if !self.table {
            return rows.iter().map(|row| self.line(row) + "\n").collect();
        }
        let heads = fields.iter().map(|(name, head)| ((*name).to_owned(), Value::from(*head))).collect();
        let head = self.line(&Value::Object(heads));
        let head: Vec<&str> = head.split('\t').collect();
        let cells = |row: &Value| self.line(row).split('\t').map(str::to_owned).collect();
        human::table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
    }

    fn line(&self, row: &Value) -> String {
        let shown = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(name) => match &row[*name] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            },
            Part::Json(Some(name)) => row[*name].to_string(),
            Part::Json(None) => row.to_string(),
        };
        self.parts.iter().map(shown).collect()
    }
}

fn part(inside: &str, fields: &[(&'static str, &str)]) -> CommandResult<Part> {
    let names = || fields.iter().map(|(name, _)| *name);
    let field = |text: &str| {
        let name = text.strip_prefix('.').filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()));
        let name = name.ok_or_else(|| {
            CommandError::usage(format!("--format: `{{{{{inside}}}}}` is not understood"))
                .with_hint("it is `{{.Field}}`, `{{json .Field}}` or `{{json .}}`")
        })?;
        names().find(|known| *known == name).ok_or_else(|| {
            let error = CommandError::usage(format!("--format: there is no field `{name}`"));
            match nearest(name, names()) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint(format!("the fields are {}", names().collect::<Vec<_>>().join(", "))),
            }
        })
    };
    match inside.strip_prefix("json ").map(str::trim) {
        Some(".") => Ok(Part::Json(None)),
        Some(text) => field(text).map(|name| Part::Json(Some(name))),
        None => field(inside).map(Part::Field),
    }
}

/// Shells pass `\t` and `\n` on as they are typed.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIELDS: &[(&str, &str)] = &[("ID", "IMAGE ID"), ("Size", "SIZE"), ("Tag", "TAG")];

    fn rendered(text: &str) -> Result<String, String> {
        let rows = [json!({"ID": "a", "Size": "1MB", "Tag": null}), json!({"ID": "bb", "Size": "2MB", "Tag": "x"})];
        Template::parse(text, FIELDS).map(|t| t.render(&rows, FIELDS)).map_err(|e| e.message())
    }

    #[test]
    fn fields_are_filled_in() {
        for (text, expect) in [
            ("{{.ID}}: {{ .Size }}", "a: 1MB\nbb: 2MB\n"),
            ("{{.ID}}\\t{{.Tag}}", "a\t\nbb\tx\n"),
            ("{{json .Tag}}", "null\n\"x\"\n"),
            (
                "{{json .}}",
                "{\"ID\":\"a\",\"Size\":\"1MB\",\"Tag\":null}\n{\"ID\":\"bb\",\"Size\":\"2MB\",\"Tag\":\"x\"}\n",
            ),
            ("plain", "plain\nplain\n"),
            ("table {{.ID}}\\t{{.Size}}", "IMAGE ID   SIZE\na          1MB\nbb         2MB\n"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, expect) in [
            ("{{.Id}}", "did you mean `ID`?"),
            ("{{.Nothing}}", "the fields are ID, Size, Tag"),
            ("{{range .}}", "is not understood"),
            ("{{.ID", "without `}}`"),
        ] {
            assert!(rendered(text).unwrap_err().contains(expect), "{text}: {:?}", rendered(text));
        }
    }
}

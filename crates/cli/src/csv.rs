//! The comma-separated `key=value` lists of docker's flags (`--output`, `--secret`), with Go's quoting.
//!
//! Knows nothing of which keys there are.

use crate::error::{CommandError, CommandResult};

/// Splits at commas outside double quotes; a doubled quote inside quotes is a quote.
pub(crate) fn split(text: &str) -> CommandResult<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("there is always a field: only pushes happen");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err(CommandError::usage(format!("a quote in the middle of a field of `{text}`"))),
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(CommandError::usage(format!("`{text}` has an opening quote without a closing one")));
    }
    Ok(fields)
}

/// Splits a list of `key=value`; a field without `=` has the empty value. Keys are lower-cased, as docker does.
pub(crate) fn pairs(text: &str) -> CommandResult<Vec<(String, Option<String>)>> {
    let fields = split(text)?;
    Ok(fields
        .iter()
        .filter(|field| !field.trim().is_empty())
        .map(|field| match field.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.trim().to_ascii_lowercase(), None),
        })
        .collect())
}

/// Reads a switch: absent means true, as docker has it.
pub(crate) fn switch(key: &str, value: Option<&str>) -> CommandResult<bool> {
    match value {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(CommandError::usage(format!("`{key}` is true or false, not `{other}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_go_does() {
        for (text, expect) in [
            ("a,b", Some(&["a", "b"][..])),
            ("a", Some(&["a"])),
            ("", Some(&[""])),
            (r#""a,b",c"#, Some(&["a,b", "c"])),
            (r#"type=oci,"name=a,b""#, Some(&["type=oci", "name=a,b"])),
            (r#""a""b""#, Some(&["a\"b"])),
            (r#""a"#, None),
            (r#"a"b""#, None),
        ] {
            assert_eq!(
                split(text).ok().as_deref(),
                expect.map(|e| e.iter().map(|s| s.to_string()).collect::<Vec<_>>()).as_deref(),
                "{text}"
            );
        }
    }

    #[test]
    fn pairs_and_switches() {
        let pairs = pairs("TYPE=oci,push,dest=/a=b").unwrap();
        let expect = [("type", Some("oci")), ("push", None), ("dest", Some("/a=b"))];
        assert_eq!(pairs, expect.map(|(k, v)| (k.to_owned(), v.map(str::to_owned))));
        assert!(switch("push", None).unwrap());
        assert!(!switch("push", Some("false")).unwrap());
        assert_eq!(switch("push", Some("maybe")).unwrap_err().what, "`push` is true or false, not `maybe`");
    }
}

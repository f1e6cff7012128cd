//! Reads `WWW-Authenticate` (RFC 9110, section 11.6.1). Decides nothing about whom to trust.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be shown who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Challenges read from one answer; more than a few are noise.
const CHALLENGES_MAX: usize = 8;

/// The challenge this client answers: Bearer before Basic, as the weaker secret goes over the wire with each request.
pub(crate) fn read(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<Challenge> = texts.flat_map(parse).take(CHALLENGES_MAX).collect();
    all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. })).or_else(|| all.first()).cloned()
}

/// All challenges of one header line.
fn parse(text: &str) -> Vec<Challenge> {
    let mut out = Vec::new();
    let mut scheme = String::new();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for item in split_commas(text) {
        let (word, rest) = item.split_once([' ', '\t']).unwrap_or((item, ""));
        if word.contains('=') {
            pairs.extend(pair(item));
        } else {
            out.extend(finish(&scheme, &pairs));
            scheme = word.to_ascii_lowercase();
            pairs = pair(rest.trim()).into_iter().collect();
        }
    }
    out.extend(finish(&scheme, &pairs));
    out
}

fn finish(scheme: &str, pairs: &[(String, String)]) -> Option<Challenge> {
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: value("realm")?, service: value("service"), scope: value("scope") })
        }
        _ => None,
    }
}

/// `key=value` or `key="value"`.
fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let value = value.trim();
    let value = match value.strip_prefix('"') {
        Some(quoted) => unescape(quoted.strip_suffix('"').unwrap_or(quoted)),
        None => value.to_owned(),
    };
    Some((key.trim().to_ascii_lowercase(), value))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// Parts between commas that are not inside quotes, trimmed, the empty ones left out.
fn split_commas(text: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let ends = c == ',' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        ends
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn reads_challenges() {
        for (lines, expect) in [
            (vec![], None),
            (vec!["Basic realm=\"x\""], Some(Challenge::Basic)),
            (vec!["basic"], Some(Challenge::Basic)),
            (
                vec!["Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\""],
                bearer("https://a/t", Some("s"), Some("repository:x:pull,push")),
            ),
            (vec!["BEARER  REALM=https://a/t , SERVICE=s"], bearer("https://a/t", Some("s"), None)),
            (vec!["Basic realm=\"b\", Bearer realm=\"r\\\"q\""], bearer("r\"q", None, None)),
            (vec!["Basic realm=\"b\"", "Bearer realm=\"r\""], bearer("r", None, None)),
            (vec!["Bearer service=\"no realm\""], None),
            (vec!["Negotiate", "NTLM"], None),
            (vec!["Bearer realm=\"unclosed, service=x"], bearer("unclosed, service=x", None, None)),
            (vec![",,,==,\"\"\",\\"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
            }
            assert_eq!(read(&headers), expect, "{lines:?}");
        }
    }
}

//! What a host's apt configuration says, read from its texts: sources in both styles, proxies, whether dates count.
//!
//! Reads no file but keyrings; which texts there are is for the caller to find.

use std::path::{Path, PathBuf};

use super::{Archive, add_keyring};
use crate::control::{Paragraph, paragraphs};
use crate::pgp::Keyring;
use crate::{Error, ErrorKind, Result};

/// One source as apt has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AptSource {
    /// Addresses.
    pub uris: Vec<String>,
    /// Suites.
    pub suites: Vec<String>,
    /// Components; none in a flat archive.
    pub components: Vec<String>,
    /// Architectures; empty is all.
    pub architectures: Vec<String>,
    /// Files with keys; empty, with [`AptSource::keys`], is the host's trusted keyrings.
    pub signed_by: Vec<PathBuf>,
    /// Armoured keys written into the source itself.
    pub keys: Option<String>,
    /// `Check-Valid-Until`, where the source says something.
    pub check_valid_until: Option<bool>,
}

/// Reads `sources.list` in the one-line style. `what` names it in errors. Lines of source packages are passed over.
pub fn parse_list(text: &str, what: &str) -> Result<Vec<AptSource>> {
    let mut out = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '['])) else { continue };
        let fault = || {
            let what = format!("{what}, line {}: not `deb [options] address suite component..`", at + 1);
            Error::new(ErrorKind::Invalid, what)
        };
        let (options, rest) = match rest.trim_start().strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(fault)?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { return Err(fault()) };
        let mut source =
            AptSource { uris: vec![uri], suites: vec![suite], components: words.collect(), ..AptSource::default() };
        for option in options.split_whitespace() {
            let (name, value) = option.split_once('=').ok_or_else(fault)?;
            apply(&mut source, name, &value.split(',').collect::<Vec<_>>());
        }
        out.push(source);
    }
    Ok(out)
}

/// Reads a `.sources` file (deb822 style). `what` names it in errors.
pub fn parse_sources(text: &str, what: &str) -> Result<Vec<AptSource>> {
    let mut out = Vec::new();
    for paragraph in paragraphs(text, what) {
        let paragraph = paragraph?;
        let is_off = matches!(paragraph.get("Enabled"), Some("no" | "false" | "0"));
        if is_off || !paragraph.words("Types").any(|word| word == "deb") {
            continue;
        }
        paragraph.need("URIs", what)?;
        paragraph.need("Suites", what)?;
        let words = |name: &str| paragraph.words(name).map(str::to_owned).collect();
        let mut source = AptSource {
            uris: words("URIs"),
            suites: words("Suites"),
            components: words("Components"),
            ..AptSource::default()
        };
        for name in ["Architectures", "Check-Valid-Until"] {
            apply(&mut source, name, &paragraph.words(name).collect::<Vec<_>>());
        }
        sign(&mut source, &paragraph);
        out.push(source);
    }
    Ok(out)
}

fn sign(source: &mut AptSource, paragraph: &Paragraph<'_>) {
    match paragraph.get("Signed-By") {
        // Keys written in place: a dot stands for an empty line.
        Some(text) if text.contains("-----BEGIN") => {
            let lines = text.lines().map(|line| if line.trim() == "." { "" } else { line.trim() });
            source.keys = Some(lines.collect::<Vec<_>>().join("\n"));
        }
        Some(text) => apply(source, "signed-by", &text.split([',', ' ', '\n', '\t', '\r']).collect::<Vec<_>>()),
        None => {}
    }
}

fn apply(source: &mut AptSource, option: &str, values: &[&str]) {
    let mut values = values.iter().copied().filter(|value| !value.is_empty());
    match option.to_ascii_lowercase().as_str() {
        "arch" | "architectures" => source.architectures = values.map(str::to_owned).collect(),
        "signed-by" => source.signed_by = values.filter(|value| value.starts_with('/')).map(PathBuf::from).collect(),
        "check-valid-until" => source.check_valid_until = values.next_back().map(|value| !is_no(value)),
        _ => {}
    }
}

fn is_no(word: &str) -> bool {
    matches!(word, "no" | "false" | "without" | "off" | "disable" | "0")
}

/// The last value of a setting (`Acquire::http::Proxy`) in the texts of apt.conf(5), read in order.
///
/// Understands `Name "value";` and braces; other syntax is passed over.
pub fn setting(texts: &[String], name: &str) -> Option<String> {
    texts.iter().filter_map(|text| setting_in(text, name)).next_back()
}

fn setting_in(text: &str, wanted: &str) -> Option<String> {
    let mut scopes: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut found = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, tail) = if rest.starts_with("//") || first == '#' {
            ("", rest.split_once('\n').map_or("", |(_, tail)| tail))
        } else if rest.starts_with("/*") {
            ("", rest.split_once("*/").map_or("", |(_, tail)| tail))
        } else if first == '"' {
            let (value, tail) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
            words.push(value.to_owned());
            ("", tail)
        } else if matches!(first, '{' | '}' | ';') {
            rest.split_at(1)
        } else if first.is_whitespace() {
            ("", rest.trim_start())
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            ("", &rest[end..])
        };
        match token {
            "{" => scopes.push(words.drain(..).next().unwrap_or_default()),
            ";" => {
                if let [name, value] = words.as_slice() {
                    let full = scopes
                        .iter()
                        .chain([name])
                        .filter(|scope| !scope.is_empty())
                        .cloned()
                        .collect::<Vec<_>>()
                        .join("::");
                    found = full.eq_ignore_ascii_case(wanted).then(|| value.clone()).or(found);
                }
                words.clear();
            }
            "}" => {
                scopes.pop();
                words.clear();
            }
            _ => {}
        }
        rest = tail;
    }
    found
}

/// The archives of a host for one release: the suites named `suite`, and those that begin with it and a `-` or `/`
/// (`bookworm-updates`, `bookworm-security`). Where a source names no keys, those of `trusted` may sign.
pub fn archives(
    sources: &[AptSource],
    suite: &str,
    trusted: &[PathBuf],
    check_valid_until: bool,
) -> Result<Vec<Archive>> {
    let mut out = Vec::new();
    for source in sources {
        let is_of = |name: &&String| {
            name.strip_prefix(suite).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']))
        };
        let suites: Vec<String> = source.suites.iter().filter(is_of).cloned().collect();
        if suites.is_empty() || source.components.is_empty() {
            continue;
        }
        out.push(Archive {
            uris: source.uris.clone(),
            suites,
            components: source.components.clone(),
            keyring: keyring_of(source, trusted)?,
            max_age_days: None,
            check_valid_until: source.check_valid_until.unwrap_or(check_valid_until),
        });
    }
    Ok(out)
}

fn keyring_of(source: &AptSource, trusted: &[PathBuf]) -> Result<Keyring> {
    let mut keyring = Keyring::default();
    if let Some(keys) = &source.keys {
        keyring.add(keys.as_bytes(), "Signed-By of a host's source")?;
        return Ok(keyring);
    }
    let paths: Vec<&Path> = match source.signed_by.as_slice() {
        [] => trusted.iter().map(PathBuf::as_path).collect(),
        own => own.iter().map(PathBuf::as_path).collect(),
    };
    for path in paths {
        add_keyring(&mut keyring, path)?;
    }
    Ok(keyring)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sources: &[AptSource]) -> Vec<String> {
        let join = |list: &[String]| list.join(",");
        let show = |source: &AptSource| {
            let keys = source.signed_by.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",");
            let check = source.check_valid_until.map_or(String::new(), |check| format!(" check={check}"));
            format!(
                "{} {} {} [{}] by {keys}{check}",
                join(&source.uris),
                join(&source.suites),
                join(&source.components),
                join(&source.architectures)
            )
        };
        sources.iter().map(show).collect()
    }

    #[test]
    fn one_line_style() {
        let text = "# c\ndeb http://m/debian bookworm main contrib # x\ndeb-src http://m/debian bookworm main\n\
                    deb [arch=amd64,i386 signed-by=/k.gpg check-valid-until=no] http://n/ bookworm/ \n";
        let expect =
            ["http://m/debian bookworm main,contrib [] by ", "http://n/ bookworm/  [amd64,i386] by /k.gpg check=false"];
        assert_eq!(shown(&parse_list(text, "list").unwrap()), expect);
        let error = parse_list("\ndeb http://m", "list").unwrap_err().to_string();
        assert!(error.starts_with("list, line 2: not `deb"), "{error}");
    }

    #[test]
    fn deb822_style() {
        let text = "Types: deb deb-src\nURIs: http://m/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /a.gpg\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://x\nSuites: x\n\n\
                    Types: deb\nURIs: http://k\nSuites: s\nComponents: c\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let sources = parse_sources(text, "s").unwrap();
        assert_eq!(
            shown(&sources),
            ["http://m/debian bookworm,bookworm-updates main [] by /a.gpg", "http://k s c [] by "]
        );
        assert_eq!(sources[1].keys.as_deref(), Some("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc"));
        assert!(parse_sources("Types: deb\nSuites: s\n", "s").unwrap_err().to_string().contains("no field `URIs`"));
    }

    #[test]
    fn settings_in_either_syntax() {
        let texts = [
            "// c\nAcquire::http::Proxy \"http://a:1\";\n".to_owned(),
            "Acquire { /* c */ http { Proxy \"http://b:2\"; }; Check-Valid-Until \"false\"; };\nDPkg::Post-Invoke { \"rm; x\"; };".to_owned(),
        ];
        assert_eq!(setting(&texts, "Acquire::http::Proxy").as_deref(), Some("http://b:2"));
        assert_eq!(setting(&texts, "acquire::check-valid-until").as_deref(), Some("false"));
        assert_eq!(setting(&texts[..1], "Acquire::https::Proxy"), None);
        assert_eq!(setting(&["Acquire::http::Proxy \"x".to_owned(), "}}}{{".to_owned()], "Acquire::http::Proxy"), None);
    }

    #[test]
    fn only_the_suites_of_the_release() {
        let source = AptSource {
            uris: vec!["http://m".into()],
            suites: ["bookworm", "bookworm-updates", "bookwormish", "trixie"].map(String::from).to_vec(),
            components: vec!["main".into()],
            ..AptSource::default()
        };
        let found = archives(&[source], "bookworm", &[], true).unwrap();
        assert_eq!(found[0].suites, ["bookworm", "bookworm-updates"]);
    }
}

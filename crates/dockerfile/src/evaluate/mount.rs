//! `RUN --mount`: values expanded, defaults filled in, sources found.
//!
//! Knows nothing of the syntax of the options (the parser does) or of how a mount is made.

use cooper_llb::{CacheSharing, Exec, Mount, MountKind, clean};

use super::Origin;
use super::stage::Evaluator;
use crate::Span;
use crate::ast::{Run, Word};
use crate::expand::Mode;
use crate::parse::{MountError, MountKind as Kind, MountSpec, Sharing, parse_mount_with};

/// Where secrets without a target appear.
const SECRETS_DIR: &str = "/run/secrets";

impl Evaluator<'_> {
    /// Fills in the mounts and returns the inputs they read, to be numbered from 1.
    pub(super) fn mounts(&mut self, run: &Run, exec: &mut Exec) -> Vec<Origin> {
        let mut inputs = Vec::new();
        let values = run.flags.iter().filter(|flag| flag.name.text == "mount").filter_map(|flag| flag.value.as_ref());
        let mut agents = 0;
        for word in values {
            let span = word.span;
            match parse_mount_with(&word.text, &mut |key, value| self.mount_value(key, value, span)) {
                Ok(spec) => {
                    let mount = self.mount(&spec, span, &mut inputs, agents);
                    agents += usize::from(spec.kind == Kind::Ssh);
                    exec.mounts.extend(mount);
                }
                // A value that cannot be expanded is reported already.
                Err(error) if error.message.is_empty() => {}
                Err(error) => {
                    let place = place_of(&error.message, word);
                    match error.hint {
                        Some(hint) => self.error_hint(place, error.message, hint),
                        None => self.error(place, error.message),
                    }
                }
            }
        }
        inputs
    }

    /// The value of an option; global ARGs count for where a mount is from.
    fn mount_value(&mut self, key: &str, value: &str, span: Span) -> Result<String, MountError> {
        let expanded =
            if key == "from" { self.reference_text(value, span) } else { self.text(value, span, Mode::Word) };
        expanded.ok_or_else(|| MountError { message: String::new(), hint: None })
    }

    fn mount(&mut self, spec: &MountSpec, span: Span, inputs: &mut Vec<Origin>, agents: usize) -> Option<Mount> {
        let kind = match spec.kind {
            Kind::Bind => self.bind(spec, span, inputs)?,
            Kind::Cache => self.cache(spec, span, inputs)?,
            Kind::Tmpfs => MountKind::Tmpfs { size: spec.size.filter(|size| *size > 0) },
            Kind::Secret => secret(spec),
            Kind::Ssh => self.ssh(spec, span)?,
        };
        let target = self.target(spec, agents);
        if target == "/" {
            self.error_hint(span, "invalid mount target `/`", "a mount cannot take the place of the root");
            return None;
        }
        Some(Mount { target, kind })
    }

    fn target(&self, spec: &MountSpec, agents: usize) -> String {
        let written = spec.target.as_deref().unwrap_or_default();
        let written = match spec.kind {
            Kind::Secret if written.is_empty() => format!("{SECRETS_DIR}/{}", base_name(&secret_id(spec))),
            Kind::Ssh if written.is_empty() => format!("/run/buildkit/ssh_agent.{agents}"),
            _ => written.to_owned(),
        };
        let cwd = &self.image.config.working_dir;
        if written.starts_with('/') { clean(&written) } else { clean(&format!("/{cwd}/{written}")) }
    }

    fn bind(&mut self, spec: &MountSpec, span: Span, inputs: &mut Vec<Origin>) -> Option<MountKind> {
        let input = match given(&spec.from) {
            Some(from) => self.input(from, span, inputs)?,
            None => number(Origin::Context, inputs),
        };
        Some(MountKind::Bind { input, source: source(spec), readonly: spec.readonly })
    }

    fn cache(&mut self, spec: &MountSpec, span: Span, inputs: &mut Vec<Origin>) -> Option<MountKind> {
        let from = match given(&spec.from) {
            Some(from) => Some((self.input(from, span, inputs)?, source(spec))),
            None => None,
        };
        let target = spec.target.as_deref().unwrap_or_default();
        let id = given(&spec.id).map_or_else(|| clean(target), str::to_owned);
        let sharing = match spec.sharing {
            None | Some(Sharing::Shared) => CacheSharing::Shared,
            Some(Sharing::Private) => CacheSharing::Private,
            Some(Sharing::Locked) => CacheSharing::Locked,
        };
        Some(MountKind::Cache { id, sharing, from, owner: owner(spec, 0o755), readonly: spec.readonly })
    }

    fn ssh(&mut self, spec: &MountSpec, span: Span) -> Option<MountKind> {
        if given(&spec.source).is_some() {
            self.error(span, "a mount of type ssh has no `source`");
            return None;
        }
        let id = given(&spec.id).unwrap_or("default").to_owned();
        Some(MountKind::Ssh { id, required: spec.required, owner: owner(spec, 0o600) })
    }

    fn input(&mut self, from: &str, span: Span, inputs: &mut Vec<Origin>) -> Option<usize> {
        Some(number(self.origin(from, span)?, inputs))
    }
}

/// The option that a message names, by key or value; the whole mount if it names none, or is written over several lines.
fn place_of(message: &str, word: &Word) -> Span {
    let Span { mut start, end } = word.span;
    if (end - start) as usize != word.text.len() {
        return word.span;
    }
    let named = |text: &str| !text.is_empty() && message.contains(&format!("`{text}`"));
    for field in word.text.split(',') {
        let length = u32::try_from(field.len()).unwrap_or(0);
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        if named(&key.to_lowercase()) || named(value) {
            return Span { start, end: start + length };
        }
        start += length + 1;
    }
    word.span
}

/// The number of an input; equal ones share it. Input 0 is the filesystem that is changed.
pub(super) fn number(origin: Origin, inputs: &mut Vec<Origin>) -> usize {
    let known = inputs.iter().position(|input| *input == origin);
    known.unwrap_or_else(|| {
        inputs.push(origin);
        inputs.len() - 1
    }) + 1
}

fn secret(spec: &MountSpec) -> MountKind {
    MountKind::Secret {
        id: secret_id(spec),
        file: spec.env.is_none() || given(&spec.target).is_some(),
        env: spec.env.clone(),
        required: spec.required,
        owner: owner(spec, 0o400),
    }
}

fn secret_id(spec: &MountSpec) -> String {
    let named = given(&spec.source).or(given(&spec.id));
    named.unwrap_or_else(|| base_name(spec.target.as_deref().unwrap_or_default())).to_owned()
}

fn owner(spec: &MountSpec, mode: u32) -> (u32, u32, u32) {
    (spec.mode.unwrap_or(mode), spec.uid.unwrap_or(0), spec.gid.unwrap_or(0))
}

fn source(spec: &MountSpec) -> String {
    clean(&format!("/{}", spec.source.as_deref().unwrap_or_default()))
}

fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

//! The value of `RUN --mount`: a line of comma-separated `key=value` fields.
//!
//! Does not know variables (the caller's function does), nor resolve stages or paths.

use crate::nearest;

/// What kind of mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory kept between builds.
    Cache,
    /// An empty file system in memory.
    Tmpfs,
    /// A secret of the caller.
    Secret,
    /// The caller's ssh agent.
    Ssh,
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// Each user gets its own.
    Private,
    /// One after the other.
    Locked,
}

/// A mount as written, defaults not filled in except `readonly`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountSpec {
    /// `type`; bind if absent.
    pub kind: MountKind,
    /// `from`: stage, image or named context; empty is the build context.
    pub from: Option<String>,
    /// `source`, `src`.
    pub source: Option<String>,
    /// `target`, `dst`, `destination`.
    pub target: Option<String>,
    /// `ro`, `readonly`, or the contrary of `rw`, `readwrite`; the default is true except for cache and tmpfs.
    pub readonly: bool,
    /// `size` of a tmpfs in bytes.
    pub size: Option<u64>,
    /// `id` of a cache, secret or ssh mount.
    pub id: Option<String>,
    /// `sharing` of a cache.
    pub sharing: Option<Sharing>,
    /// `required` of a secret or ssh mount.
    pub required: bool,
    /// `env` of a secret: the variable's name.
    pub env: Option<String>,
    /// `mode`, octal, of a cache, secret or ssh mount.
    pub mode: Option<u32>,
    /// `uid`, likewise.
    pub uid: Option<u32>,
    /// `gid`, likewise.
    pub gid: Option<u32>,
}

/// A mount that is not well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MountError {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<String> for MountError {
    fn from(message: String) -> MountError {
        MountError { message, hint: None }
    }
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];
const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];
const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

/// Reads a mount without variables.
pub fn parse_mount(value: &str) -> Result<MountSpec, MountError> {
    parse_mount_with(value, &mut |_, value| Ok(value.to_owned()))
}

/// Reads a mount; `expand` gets each key (lower-cased) and value. Expansion comes after splitting, so that a variable's commas do not
/// split and the quotes around a field are not removed too early.
pub fn parse_mount_with(
    value: &str,
    expand: &mut dyn FnMut(&str, &str) -> Result<String, MountError>,
) -> Result<MountSpec, MountError> {
    let mut spec = MountSpec::default();
    let mut readonly = None;
    for field in fields(value)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        let key = key.to_lowercase();
        let value = value.map(|value| expand(&key, value)).transpose()?;
        let value = value.as_deref();
        match key.as_str() {
            "readonly" | "ro" => readonly = Some(switch(&key, value)?),
            "readwrite" | "rw" => readonly = Some(!switch(&key, value)?),
            "required" if !matches!(spec.kind, MountKind::Secret | MountKind::Ssh) => {
                return Err(misplaced(&key, spec.kind));
            }
            "required" => spec.required = switch(&key, value)?,
            _ => set(&mut spec, &key, value, &field)?,
        }
    }
    spec.readonly = readonly.unwrap_or(!matches!(spec.kind, MountKind::Cache | MountKind::Tmpfs));
    check(&spec)?;
    Ok(spec)
}

fn set(spec: &mut MountSpec, key: &str, value: Option<&str>, field: &str) -> Result<(), MountError> {
    if !KEYS.contains(&key) {
        return Err(unknown_key(key, field));
    }
    let value = value.ok_or_else(|| format!("the mount option `{key}` needs a value"))?;
    let owned = Some(value.to_owned());
    match key {
        "type" => spec.kind = choice("mount type", value, &KINDS)?,
        "from" => spec.from = owned,
        "source" | "src" => spec.source = owned,
        "target" | "dst" | "destination" => spec.target = owned,
        "id" => spec.id = owned,
        "env" => spec.env = owned,
        "sharing" => spec.sharing = Some(choice("value of `sharing`", value, &SHARINGS)?),
        "mode" => spec.mode = Some(u32::from_str_radix(value, 8).map_err(|_| not_a(key, value, "an octal number"))?),
        "uid" => spec.uid = Some(value.parse().map_err(|_| not_a(key, value, "a number"))?),
        "gid" => spec.gid = Some(value.parse().map_err(|_| not_a(key, value, "a number"))?),
        "size" if spec.kind == MountKind::Tmpfs => {
            spec.size = Some(bytes(value).ok_or_else(|| not_a(key, value, "a size such as `512m`"))?);
        }
        _ => return Err(misplaced(key, spec.kind)),
    }
    Ok(())
}

fn unknown_key(key: &str, field: &str) -> MountError {
    let message = format!("unknown mount option `{key}` in `{field}`");
    let hint = nearest(key, KEYS.into_iter()).map(|near| format!("did you mean `{near}`?"));
    MountError { message, hint }
}

fn not_a(key: &str, value: &str, wanted: &str) -> MountError {
    format!("the mount option `{key}` is `{value}`, which is not {wanted}").into()
}

fn misplaced(key: &str, kind: MountKind) -> MountError {
    let message = format!("the mount option `{key}` does not go with type `{}`", name_of(kind));
    let hint = match key {
        "size" => "it is for `type=tmpfs`, which must come first",
        "required" => "it is for `type=secret` and `type=ssh`, which must come first",
        "sharing" => "it is for `type=cache`",
        "from" => "a secret comes from the command line",
        _ => "it is for `type=cache`, `type=secret` and `type=ssh`",
    };
    MountError { message, hint: Some(hint.to_owned()) }
}

fn name_of(kind: MountKind) -> &'static str {
    KINDS.iter().find(|(_, other)| *other == kind).map_or("", |(name, _)| name)
}

fn choice<T: Copy>(what: &str, value: &str, choices: &[(&'static str, T)]) -> Result<T, MountError> {
    let lower = value.to_lowercase();
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == lower) {
        return Ok(*choice);
    }
    let names = || choices.iter().map(|(name, _)| *name);
    let hint = match nearest(&lower, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(MountError { message: format!("unknown {what} `{value}`"), hint: Some(hint) })
}

/// A bare key is true; values as Go reads them.
pub(super) fn switch(key: &str, value: Option<&str>) -> Result<bool, MountError> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(not_a(key, other, "true or false")),
    }
}

/// A size with an optional unit of 1024 (`k`, `m`, `g`, `t`, `p`, then perhaps `b` or `ib`).
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|ch: char| !ch.is_ascii_digit() && ch != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let size = number.parse::<f64>().ok()? * 1024f64.powi(power);
    // Saturation would turn nonsense into a limit; 2^63 is where BuildKit's type ends.
    (size.is_finite() && size < 9.2e18).then_some(size as u64)
}

fn check(spec: &MountSpec) -> Result<(), MountError> {
    let owned = matches!(spec.kind, MountKind::Secret | MountKind::Ssh | MountKind::Cache);
    let options = [("mode", spec.mode), ("uid", spec.uid), ("gid", spec.gid)];
    if let Some((key, _)) = options.iter().find(|(_, value)| value.is_some() && !owned) {
        return Err(misplaced(key, spec.kind));
    }
    let given = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    if spec.kind == MountKind::Secret {
        if given(&spec.from) {
            return Err(misplaced("from", spec.kind));
        }
        if given(&spec.source) && given(&spec.id) {
            return Err("a secret has either `id` or `source`, which mean the same".to_owned().into());
        }
        if !given(&spec.source) && !given(&spec.id) && !given(&spec.target) {
            let hint = Some("write `type=secret,id=<name>`".to_owned());
            return Err(MountError { message: "the secret has no `id`".to_owned(), hint });
        }
    }
    if spec.sharing.is_some() && spec.kind != MountKind::Cache {
        return Err(misplaced("sharing", spec.kind));
    }
    Ok(())
}

/// Splits at commas; a field that begins with a double quote ends with one, and `""` inside stands for one.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, MountError> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (field, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            if field.contains('"') {
                return Err(format!("a double quote stands inside the mount option `{field}`, not around it").into());
            }
            fields.push(field.to_owned());
            let Some(after) = after.strip_prefix(',') else { return Ok(fields) };
            rest = after;
            continue;
        };
        let (field, after) = quoted_field(quoted)?;
        fields.push(field);
        let Some(after) = after.strip_prefix(',') else { return Ok(fields) };
        rest = after;
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), MountError> {
    let mut field = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('"') {
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None if after.is_empty() || after.starts_with(',') => return Ok((field, after)),
            None => return Err(format!("text follows the closing double quote in the mount `{text}`").into()),
        }
    }
    Err(format!("a double quote is not closed in the mount `{text}`").into())
}

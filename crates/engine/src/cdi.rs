//! Devices of the host that a step can be given: the Container Device Interface (specification 0.8 of
//! `cncf-tags/container-device-interface`).
//!
//! Knows nothing of who may have them. Descriptions are the host administrator's, and are read when first asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use cooper_executor::{DeviceNode, MountSource, ProcessMount};
use serde::Deserialize;

use crate::{Error, ErrorKind, Result};

/// Bytes of a description; real ones are a few kilobytes.
const SPEC_MAX: u64 = 1 << 20;
/// Annotation by which a device is found without its vendor (BuildKit's).
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// Annotation of devices that need not be allowed (BuildKit's).
const FREE: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices described in some directories.
#[derive(Debug, Default)]
pub struct Devices {
    dirs: Vec<PathBuf>,
    found: OnceLock<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    devices: BTreeMap<String, Known>,
    /// Descriptions that could not be used, and why.
    broken: Vec<String>,
}

#[derive(Clone, Debug)]
struct Known {
    spec: Arc<Spec>,
    device: Described,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    devices: Vec<Described>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Described {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

/// What is changed in a container. Fields that are not listed are refused when the file is read, those of type
/// [`serde_json::Value`] when the device is used: cooper cannot give them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    net_devices: Vec<serde_json::Value>,
    mounts: Vec<Mount>,
    hooks: Vec<serde_json::Value>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
    intel_rdt: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Node {
    path: String,
    host_path: Option<String>,
    r#type: Option<String>,
    major: Option<u32>,
    minor: Option<u32>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    r#type: Option<String>,
}

impl Devices {
    /// Those described in `dirs`; a later directory counts more.
    pub fn in_dirs(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { dirs: dirs.into_iter().collect(), found: OnceLock::new() }
    }

    fn registry(&self) -> &Registry {
        self.found.get_or_init(|| Registry::read(&self.dirs))
    }

    /// The full names of the devices meant by `vendor/class=name`, `vendor/class` (the first), `vendor/class=*` (all), or by
    /// the name of a class.
    pub(crate) fn resolve(&self, name: &str, required: bool) -> Result<Vec<String>> {
        let registry = self.registry();
        let (kind, which) = name.split_once('=').unwrap_or((name, ""));
        let of_kind = |full: &&String| full.strip_prefix(kind).is_some_and(|rest| rest.starts_with('='));
        let names = || registry.devices.keys();
        let mut found: Vec<String> = match (kind.contains('/'), which) {
            (false, _) => Vec::new(),
            (true, "") => names().find(of_kind).cloned().into_iter().collect(),
            (true, "*") => names().filter(of_kind).cloned().collect(),
            (true, _) => names().filter(|full| *full == name).cloned().collect(),
        };
        if found.is_empty() {
            let of_class = |(_, known): &(&String, &Known)| known.annotation(CLASS) == Some(name);
            found = registry.devices.iter().filter(of_class).map(|(full, _)| full.clone()).collect();
        }
        if found.is_empty() && required {
            return Err(self.absent(name));
        }
        Ok(found)
    }

    fn absent(&self, name: &str) -> Error {
        let dirs: Vec<String> = self.dirs.iter().map(|dir| format!("`{}`", dir.display())).collect();
        let error = Error::new(ErrorKind::User, format!("there is no device `{name}` on this host"));
        let error = error.with_hint(format!("devices are described in {}", dirs.join(", ")));
        self.registry().broken.iter().fold(error, |error, broken| error.with_hint(broken.clone()))
    }

    /// Whether a device needs nobody's leave.
    pub(crate) fn is_free(&self, name: &str) -> bool {
        let known = self.registry().devices.get(name);
        known
            .and_then(|known| known.annotation(FREE))
            .is_some_and(|text| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }

    /// What a process with these devices is given: mounts, and variables of its environment.
    pub(crate) fn give<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<(Vec<ProcessMount>, Vec<String>)> {
        let (mut mounts, mut env) = (Vec::new(), Vec::new());
        let mut specs = BTreeSet::new();
        for name in names {
            let known = self.registry().devices.get(name).ok_or_else(|| self.absent(name))?;
            // What a description says of all its devices is done once.
            let common = specs.insert(Arc::as_ptr(&known.spec)).then_some(&known.spec.container_edits);
            for edits in common.into_iter().chain([&known.device.container_edits]) {
                edits
                    .give(&mut mounts, &mut env)
                    .map_err(|what| Error::new(ErrorKind::Host, format!("cannot give the device `{name}`: {what}")))?;
            }
        }
        Ok((mounts, env))
    }
}

impl Known {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.device.annotations.get(name).or_else(|| self.spec.annotations.get(name)).map(String::as_str)
    }
}

impl Registry {
    fn read(dirs: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for dir in dirs {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
            files.retain(|path| {
                path.extension().is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known))
            });
            files.sort();
            let mut here = BTreeMap::new();
            for path in files {
                match read_spec(&path) {
                    Ok(spec) => registry.add(&path, Arc::new(spec), &mut here),
                    Err(why) => registry.broken.push(format!("`{}` cannot be used: {why}", path.display())),
                }
            }
            registry.devices.extend(here.into_iter().filter_map(|(name, known)| Some((name, known?))));
        }
        registry
    }

    /// A device that two files of one directory describe is none.
    fn add(&mut self, path: &Path, spec: Arc<Spec>, here: &mut BTreeMap<String, Option<Known>>) {
        for device in &spec.devices {
            let name = format!("{}={}", spec.kind, device.name);
            let known = Known { spec: spec.clone(), device: device.clone() };
            if here.insert(name.clone(), Some(known)).is_some() {
                self.broken.push(format!("`{}` describes `{name}`, as another file does", path.display()));
                here.insert(name, None);
            }
        }
    }
}

fn read_spec(path: &Path) -> std::result::Result<Spec, String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= SPEC_MAX) {
        return Err(format!("it is no file of at most {SPEC_MAX} bytes"));
    }
    file.take(SPEC_MAX).read_to_end(&mut text).map_err(|e| e.to_string())?;
    // JSON is YAML, but for what its reader tells.
    let spec: Spec = match path.extension().is_some_and(|end| end == "json") {
        true => serde_json::from_slice(&text).map_err(|e| e.to_string())?,
        false => yaml_serde::from_slice(&text).map_err(|e| e.to_string())?,
    };
    let numbers: Vec<&str> = spec.cdi_version.trim_start_matches('v').split('.').collect();
    let plain = numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    if !plain || !matches!(numbers[..], ["0" | "1", _] | ["0" | "1", _, _]) {
        return Err(format!("cdiVersion `{}` is not known", spec.cdi_version));
    }
    let (vendor, class) = spec.kind.split_once('/').unwrap_or_default();
    let is_name = |text: &str, more: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        !text.is_empty() && text.chars().all(ok)
    };
    if !is_name(vendor, "-_.") || !is_name(class, "-_") {
        return Err(format!("its kind `{}` is not `vendor/class`", spec.kind));
    }
    match spec.devices.iter().find(|device| !is_name(&device.name, "-_.:")) {
        Some(device) => Err(format!("`{}` is no name of a device", device.name)),
        None => Ok(spec),
    }
}

impl Edits {
    fn give(&self, mounts: &mut Vec<ProcessMount>, env: &mut Vec<String>) -> std::result::Result<(), String> {
        let beyond = [
            (!self.hooks.is_empty(), "hooks, which are programs run on the host"),
            (!self.net_devices.is_empty(), "a network device"),
            (!self.additional_gids.is_empty(), "further groups"),
            (self.intel_rdt.is_some(), "Intel RDT"),
        ];
        if let Some((_, what)) = beyond.iter().find(|(asked, _)| *asked) {
            return Err(format!("it needs {what}, which cooper does not give"));
        }
        env.extend(self.env.iter().cloned());
        for node in &self.device_nodes {
            mounts.push(node.open()?);
        }
        for mount in &self.mounts {
            mounts.push(mount.open()?);
        }
        Ok(())
    }
}

fn open(path: &str) -> std::result::Result<OwnedFd, String> {
    use rustix::fs::{Mode, OFlags};
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    fd.map_err(|e| format!("cannot open `{path}`: {}", std::io::Error::from(e)))
}

impl Node {
    fn open(&self) -> std::result::Result<ProcessMount, String> {
        use rustix::fs::{FileType, fstat, major, minor};
        let path = self.host_path.as_ref().unwrap_or(&self.path);
        let fd = open(path)?;
        let stat = fstat(&fd).map_err(|e| format!("cannot look at `{path}`: {}", std::io::Error::from(e)))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let letter = if kind.is_block_device() { "b" } else { "c" };
        let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
        let told =
            |text: &Option<String>| text.as_deref().is_none_or(|text| text == letter || text == "u" && letter == "c");
        if !(kind.is_char_device() || kind.is_block_device()) || !told(&self.r#type) {
            return Err(format!("`{path}` is not the device it is described as"));
        }
        let number = |told: Option<u32>, is: u32| told.is_none_or(|told| told == is);
        if !number(self.major.filter(|_| self.minor.is_some()), numbers.0)
            || !number(self.minor.filter(|_| self.major.is_some()), numbers.1)
        {
            return Err(format!("`{path}` is device {}:{}, not the one it is described as", numbers.0, numbers.1));
        }
        // The host's own rights decide; a control group that could forbid more is not made for it.
        if self.permissions.as_deref().is_some_and(|text| text.is_empty() || !text.bytes().all(|b| b"rwm".contains(&b)))
        {
            return Err(format!(
                "`{}` are no permissions of a device",
                self.permissions.as_deref().unwrap_or_default()
            ));
        }
        let node = DeviceNode { mode: self.file_mode, uid: self.uid, gid: self.gid };
        Ok(ProcessMount { target: self.path.clone(), source: MountSource::Device(fd, node), readonly: false })
    }
}

impl Mount {
    fn open(&self) -> std::result::Result<ProcessMount, String> {
        if !matches!(self.r#type.as_deref(), None | Some("" | "bind" | "none")) {
            return Err(format!("a mount of type `{}`", self.r#type.as_deref().unwrap_or_default()));
        }
        let mut readonly = false;
        for option in &self.options {
            match option.as_str() {
                "ro" => readonly = true,
                "rw" => readonly = false,
                // Every mount of a step is private, recursive and without devices.
                "bind" | "rbind" | "private" | "rprivate" | "nodev" | "nosuid" => {}
                other => return Err(format!("the mount option `{other}`, which cooper does not know")),
            }
        }
        let source = MountSource::Bind(open(&self.host_path)?);
        Ok(ProcessMount { target: self.container_path.clone(), source, readonly })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(files: &[(&str, &str)]) -> (tempfile::TempDir, Devices) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let devices = Devices::in_dirs(["low", "high"].map(|name| dir.path().join(name)));
        (dir, devices)
    }

    const ONE: &str = r#"{"cdiVersion": "0.6.0", "kind": "a.com/d", "annotations": {"org.mobyproject.buildkit.device.class": "class"},
        "devices": [{"name": "b", "containerEdits": {"env": ["B=low"]}}, {"name": "a", "containerEdits": {"env": ["A=1"]}}],
        "containerEdits": {"env": ["ALL=1"], "mounts": [{"hostPath": "/", "containerPath": "/host", "options": ["ro", "bind"]}]}}"#;
    const HIGH: &str = "cdiVersion: v1.0.0\nkind: a.com/d\ndevices:\n- name: b\n  containerEdits:\n    env: [B=high]\n    deviceNodes:\n    - {path: /dev/mine, hostPath: /dev/null, type: c, major: 1, minor: 3, fileMode: 438}\n";

    #[test]
    fn names_kinds_stars_and_classes() {
        let (_dir, devices) = devices(&[("low/one.json", ONE), ("high/b.yaml", HIGH)]);
        for (name, expect) in [
            ("a.com/d=b", &["a.com/d=b"][..]),
            ("a.com/d", &["a.com/d=a"]),
            ("a.com/d=*", &["a.com/d=a", "a.com/d=b"]),
            // The other directory's description of `b` has no class.
            ("class", &["a.com/d=a"]),
            ("a.com/d=c", &[]),
            ("a.com", &[]),
            ("", &[]),
        ] {
            assert_eq!(devices.resolve(name, false).unwrap(), expect, "{name}");
        }
        let error = devices.resolve("x.com/y=z", true).unwrap_err();
        assert!(error.what.contains("`x.com/y=z`") && error.hints[0].contains("high"), "{error:?}");
    }

    #[test]
    fn what_a_device_brings() {
        let (_dir, devices) = devices(&[("low/one.json", ONE), ("high/b.yaml", HIGH)]);
        let (mounts, env) = devices.give(["a.com/d=a", "a.com/d=b"].into_iter()).unwrap();
        assert_eq!(env, ["ALL=1", "A=1", "B=high"]);
        let shown: Vec<_> = mounts.iter().map(|mount| (mount.target.as_str(), mount.readonly)).collect();
        assert_eq!(shown, [("/host", true), ("/dev/mine", false)]);
        let MountSource::Device(_, node) = &mounts[1].source else { panic!("{mounts:?}") };
        assert_eq!(node.mode, Some(0o666));
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let edits = |edits: &str| {
            format!("cdiVersion: 0.5.0\nkind: a/d\ndevices: [{{name: x, containerEdits: {{{edits}}}}}]\n")
        };
        for (text, expect) in [
            ("hooks: [{hookName: createContainer, path: /bin/x}]", "it needs hooks"),
            ("additionalGids: [4]", "it needs further groups"),
            ("deviceNodes: [{path: /dev/null, type: b}]", "not the device it is described as"),
            ("deviceNodes: [{path: /dev/null, major: 1, minor: 4}]", "is device 1:3"),
            ("deviceNodes: [{path: /etc}]", "not the device it is described as"),
            ("deviceNodes: [{path: /no/such}]", "cannot open `/no/such`"),
            ("mounts: [{hostPath: /, containerPath: /x, options: [shared]}]", "the mount option `shared`"),
        ] {
            let (_dir, devices) = devices(&[("low/x.yaml", &edits(text))]);
            let error = devices.give(["a/d=x"].into_iter()).unwrap_err();
            assert!(error.what.contains(expect), "{text}: {}", error.what);
        }
    }

    #[test]
    fn broken_descriptions_are_told_of() {
        for (text, expect) in [
            ("cdiVersion: 9.0.0\nkind: a/d\ndevices: []\n", "cdiVersion `9.0.0`"),
            ("cdiVersion: 0.5.0\nkind: a\ndevices: []\n", "its kind `a`"),
            ("cdiVersion: 0.5.0\nkind: a/d\ndevices: [{name: ../x}]\n", "`../x` is no name"),
            ("cdiVersion: 0.5.0\nkind: a/d\ndevices: []\nother: 1\n", "unknown field `other`"),
            ("- [", "cannot be used"),
        ] {
            let (_dir, devices) = devices(&[("low/x.yaml", text)]);
            let error = devices.resolve("a/d=x", true).unwrap_err();
            assert!(error.hints.iter().any(|hint| hint.contains(expect)), "{text}: {error:?}");
        }
        let (_dir, devices) = devices(&[("low/x.json", ONE), ("low/y.json", ONE)]);
        assert_eq!(devices.resolve("a.com/d=a", false).unwrap(), [""; 0]);
    }
}

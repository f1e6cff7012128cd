//! Package managers: what a command line of theirs installs.
//!
//! Does not know which versions there are.

use super::commands::{Arg, Invocation, Run};
use crate::parse::{MountKind, parse_mount};

/// A family of package managers with one way of writing packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    /// apt-get, apt, aptitude.
    Apt,
    /// apk.
    Apk,
    /// yum.
    Yum,
    /// dnf, microdnf, tdnf.
    Dnf,
    /// zypper.
    Zypper,
    /// pip, `python -m pip`.
    Pip,
    /// npm.
    Npm,
    /// gem.
    Gem,
    /// go.
    Go,
    /// yarn.
    Yarn,
}

const APT_VALUES: &[&str] =
    &["-t", "--target-release", "--default-release", "-o", "--option", "-c", "--config-file", "-a"];
const APK_VALUES: &[&str] = &[
    "-t",
    "--virtual",
    "-X",
    "--repository",
    "--repositories-file",
    "-p",
    "--root",
    "--arch",
    "--keys-dir",
    "--cache-dir",
    "--wait",
];
const RPM_VALUES: &[&str] = &[
    "-c",
    "--config",
    "-x",
    "--exclude",
    "--enablerepo",
    "--disablerepo",
    "--repo",
    "--installroot",
    "--releasever",
    "--setopt",
    "-d",
];
const ZYPPER_VALUES: &[&str] = &["-t", "--type", "-r", "--repo", "--from", "-R", "--root", "-C", "--capability"];
const PIP_VALUES: &[&str] = &[
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-e",
    "--editable",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-t",
    "--target",
    "-f",
    "--find-links",
    "--prefix",
    "--root",
    "--src",
    "--platform",
    "--python-version",
    "--implementation",
    "--abi",
    "--trusted-host",
    "--proxy",
    "--timeout",
    "--retries",
    "--cache-dir",
    "--cert",
    "--client-cert",
    "--log",
    "--no-binary",
    "--only-binary",
    "--progress-bar",
    "--upgrade-strategy",
    "--global-option",
    "--config-settings",
    "--group",
    "--python",
];
const NPM_VALUES: &[&str] = &[
    "--prefix",
    "--registry",
    "--cache",
    "-C",
    "--loglevel",
    "--omit",
    "--include",
    "--userconfig",
    "-w",
    "--workspace",
];
const GEM_VALUES: &[&str] = &[
    "-v",
    "--version",
    "-i",
    "--install-dir",
    "-n",
    "--bindir",
    "-s",
    "--source",
    "-P",
    "--trust-policy",
    "-g",
    "--file",
    "--platform",
];
const GO_VALUES: &[&str] =
    &["-C", "-ldflags", "-tags", "-gcflags", "-asmflags", "-mod", "-modfile", "-o", "-p", "-exec", "-pkgdir"];

impl Manager {
    /// The manager of a program.
    pub(super) fn of(command: &Invocation) -> Option<Manager> {
        Some(match command.name.as_str() {
            "apt-get" | "apt" | "aptitude" => Manager::Apt,
            "apk" => Manager::Apk,
            "yum" => Manager::Yum,
            "dnf" | "microdnf" | "dnf5" | "tdnf" => Manager::Dnf,
            "zypper" => Manager::Zypper,
            "npm" => Manager::Npm,
            "gem" => Manager::Gem,
            "go" => Manager::Go,
            "yarn" => Manager::Yarn,
            name if is_pip(name) || python_pip(command) => Manager::Pip,
            _ => return None,
        })
    }

    fn values(self) -> &'static [&'static str] {
        match self {
            Manager::Apt => APT_VALUES,
            Manager::Apk => APK_VALUES,
            Manager::Yum | Manager::Dnf => RPM_VALUES,
            Manager::Zypper => ZYPPER_VALUES,
            Manager::Pip => PIP_VALUES,
            Manager::Npm => NPM_VALUES,
            Manager::Gem => GEM_VALUES,
            Manager::Go => GO_VALUES,
            Manager::Yarn => &["--cwd", "--cache-folder"],
        }
    }

    fn installs(self) -> &'static [&'static str] {
        match self {
            Manager::Apk => &["add"],
            Manager::Yum | Manager::Dnf => &["install", "localinstall", "groupinstall", "reinstall"],
            Manager::Zypper => &["install", "in"],
            Manager::Npm => &["install", "i", "add"],
            Manager::Gem => &["install", "i"],
            Manager::Go => &["install", "get", "run"],
            Manager::Apt | Manager::Pip => &["install"],
            Manager::Yarn => &["install", "add", "global"],
        }
    }
}

/// Operands of a manager's command line: the subcommand, then what it is given.
pub(super) fn operands(command: &Invocation) -> Option<(Manager, Vec<&Arg>)> {
    let manager = Manager::of(command)?;
    let mut operands = command.operands(manager.values());
    if manager == Manager::Pip && !is_pip(&command.name) {
        // `-m pip`: the module's name is an operand.
        let module = operands.iter().position(|operand| operand.text == "pip");
        operands.drain(..=module?);
    }
    Some((manager, operands))
}

/// The packages of a command that installs: none for one that installs what a file lists.
pub(super) fn installed(command: &Invocation) -> Option<(Manager, Vec<&Arg>)> {
    let (manager, operands) = operands(command)?;
    let (subcommand, packages) = operands.split_first()?;
    manager.installs().contains(&subcommand.text.as_str()).then(|| (manager, packages.to_vec()))
}

/// Whether the command is this manager's, with one of these subcommands.
pub(super) fn is(command: &Invocation, wanted: Manager, subcommands: &[&str]) -> bool {
    operands(command).is_some_and(|(manager, operands)| {
        manager == wanted && operands.first().is_some_and(|operand| subcommands.contains(&operand.text.as_str()))
    })
}

/// Whether the manager's command installs something.
pub(super) fn installs(command: &Invocation, wanted: Manager) -> bool {
    installed(command).is_some_and(|(manager, _)| manager == wanted)
}

/// A cache or tmpfs mount of the RUN at a directory, or above it.
pub(super) fn has_mount_at(run: &Run<'_>, directory: &str) -> bool {
    mounts(run).any(|target| {
        let target = target.trim_end_matches('/');
        directory == target || directory.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'))
    })
}

/// Targets of the cache and tmpfs mounts of a RUN.
pub(super) fn mounts(run: &Run<'_>) -> impl Iterator<Item = String> {
    let values = run.run.flags.iter().filter(|flag| flag.name.text == "mount").filter_map(|flag| flag.value.as_ref());
    values.filter_map(|value| {
        let mount = parse_mount(&value.text).ok()?;
        matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs).then_some(mount.target).flatten()
    })
}

fn is_pip(name: &str) -> bool {
    let version = |rest: &str| rest.chars().all(|ch| ch.is_ascii_digit() || ch == '.');
    name.strip_prefix("pip").is_some_and(version)
}

fn python_pip(command: &Invocation) -> bool {
    let mut args = command.args.iter().map(|arg| arg.text.as_str()).skip_while(|arg| *arg != "-m");
    command.name.starts_with("python") && args.nth(1) == Some("pip")
}

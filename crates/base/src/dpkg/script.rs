//! What is run to configure unpacked packages, as `dpkg --unpack` and `dpkg --configure` would.

use std::collections::BTreeSet;

use super::database::{directives, instance};
use crate::actions::Lines;
use crate::layers::Unpacked;
use crate::{Manifest, Result};

/// One process in the image's own filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is, for people.
    pub title: String,
    /// Text for `/bin/sh -e`.
    pub script: String,
}

/// Nobody answers questions; nothing starts services; nothing depends on the caller's language.
const BEGIN: &str = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root \
    DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true\n\
    umask 022\n\
    if [ ! -e /usr/sbin/policy-rc.d ]; then printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; \
    chmod +x /usr/sbin/policy-rc.d; made_policy=1; fi\n";

/// What tells of the moment or the machine: logs, backups, caches that are made anew. Directories stay.
const CLEAN: &str = "if [ \"$made_policy\" ]; then rm /usr/sbin/policy-rc.d; fi\n\
    rm -rf /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/lib/dpkg/lock* \
    /var/lib/dpkg/triggers/Lock /var/cache/apt/*.bin /etc/.pwd.lock /etc/passwd- /etc/group- /etc/shadow- \
    /etc/gshadow- /etc/subuid- /etc/subgid- /tmp/* /var/tmp/* /root/.bash_history /var/log/apt/*\n\
    find /run /var/lib/apt/lists -type f -exec rm -f {} +\n\
    find /var/log -type f -name '*.log' -exec rm -f {} +\n\
    for log in /var/log/*; do if [ -f \"$log\" ]; then : > \"$log\"; fi; done\n\
    if [ -s /etc/machine-id ]; then : > /etc/machine-id; fi\n";

/// The packages whose scripts others' need: users first.
const FIRST: &[&str] = &["base-passwd", "base-files"];

/// Everything that is run.
pub fn configure_step(packages: &[Unpacked], manifest: &Manifest) -> Result<Step> {
    let mut script = BEGIN.to_owned();
    let rank = |package: &&Unpacked| {
        let name = &package.package.name;
        (FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()), name.clone())
    };
    let mut with_preinst: Vec<&Unpacked> =
        packages.iter().filter(|package| package.control.files.contains_key("preinst")).collect();
    with_preinst.sort_by_key(rank);
    for package in with_preinst {
        script.push_str(&preinst(package));
    }
    for trigger in activated(packages) {
        script.push_str(&format!("dpkg-trigger --no-await --by-package=dpkg {}\n", quoted(&trigger)));
    }
    script.push_str(&configure(manifest));
    script.push_str(&declared(manifest)?);
    script.push_str(CLEAN);
    Ok(Step { title: format!("configure {} packages", packages.len()), script })
}

/// dpkg configures; what it says goes on, but for alternatives of paths that were left out: no manual page is no news.
fn configure(manifest: &Manifest) -> String {
    let command = "dpkg --force-unsafe-io --configure --pending";
    let paths: Vec<String> = manifest.path_exclude.iter().filter_map(|glob| pattern(glob)).collect();
    if paths.is_empty() {
        return format!("{command}\n");
    }
    let errors = paths.iter().map(|path| format!("'update-alternatives: error: alternative path '{path}' '*"));
    let warnings = paths.iter().map(|path| format!("'update-alternatives: warning: skip creation of '{path}' '*"));
    let unsaid: Vec<String> = errors.chain(warnings).collect();
    // Its standard error goes through the loop, its standard output as before; the pipe would hide its exit code.
    format!(
        "exec 3>&1\n\
         {{ code=0; {command} 2>&1 >&3 3>&- || code=$?; echo $code > /tmp/code; }} | while IFS= read -r line; do\n\
         case \"$line\" in {}) ;; *) printf '%s\\n' \"$line\" >&2 ;; esac; done\n\
         read -r code < /tmp/code; [ \"$code\" = 0 ] || exit \"$code\"\n",
        unsaid.join("|")
    )
}

/// A glob as a pattern of the shell's `case`, where `*` stands for slashes too; `None` where it cannot be said.
fn pattern(glob: &str) -> Option<String> {
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '!' | '-');
    let piece = |c: char| match c {
        c if c.is_ascii_alphanumeric() || special(c) => c.to_string(),
        c => format!("\\{c}"),
    };
    (!glob.contains(char::is_control)).then(|| glob.chars().map(piece).collect())
}

/// What is declared beside the packages: users, zone, alternatives.
fn declared(manifest: &Manifest) -> Result<String> {
    let lines = Lines::of(manifest)?;
    let mut script = String::new();
    let files =
        [("passwd", lines.passwd), ("group", lines.group), ("shadow", lines.shadow), ("gshadow", lines.gshadow)];
    for (file, lines) in files {
        for line in lines {
            let name = line.split(':').next().unwrap_or_default();
            let (line, name) = (quoted(&line), quoted(&format!("^{name}:")));
            // Whom a package brings stays as the package made it.
            script.push_str(&format!(
                "if [ -e /etc/{file} ] && ! grep -q {name} /etc/{file}; then printf '%s\\n' {line} >> /etc/{file}; fi\n"
            ));
        }
    }
    if let Some(zone) = &manifest.timezone {
        let zone = quoted(zone);
        script.push_str(&format!(
            "test -f /usr/share/zoneinfo/{zone} || {{ echo \"timezone: no zone \"{zone} >&2; exit 1; }}\n\
             ln -snf /usr/share/zoneinfo/{zone} /etc/localtime; echo {zone} > /etc/timezone\n"
        ));
    }
    for (name, path) in &manifest.alternatives {
        script.push_str(&format!("update-alternatives --set {} {}\n", quoted(name), quoted(path)));
    }
    Ok(script)
}

/// One `preinst install`, in the environment that dpkg gives it.
fn preinst(package: &Unpacked) -> String {
    let (name, instance) = (quoted(&package.package.name), quoted(&instance(package)));
    let architecture = quoted(&package.package.architecture);
    format!(
        "DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_ARCH={architecture} DPKG_MAINTSCRIPT_NAME=preinst \
         DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= \
         /var/lib/dpkg/info/{instance}.preinst install\n"
    )
}

/// Triggers that unpacking the packages would have activated and somebody waits for.
fn activated(packages: &[Unpacked]) -> BTreeSet<String> {
    let of_kind = |kind: &'static str| {
        packages.iter().flat_map(directives).filter(move |(directive, _)| directive.starts_with(kind)).map(|(_, n)| n)
    };
    let activated: BTreeSet<&str> = of_kind("activate").collect();
    let below = |dir: &str| {
        let dir = dir.trim_start_matches('/');
        packages.iter().any(|package| package.listed.iter().any(|path| path.starts_with(dir)))
    };
    let is_active = |name: &&str| activated.contains(name) || name.starts_with('/') && below(name);
    of_kind("interest").filter(is_active).map(str::to_owned).collect()
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

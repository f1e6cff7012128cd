//! Which maintainer scripts need not run, because what they do is declared, is dpkg's own upkeep, or is no part of an image.
//!
//! A script is known by package and digest. What differs between versions and architectures of one and the same script
//! is taken out first, and so are the parts that debhelper generates for things an image without dpkg does not need.

use cooper_oci::Digest;

use crate::layers::Unpacked;
use crate::manifest::ScriptRule;
use crate::{Error, ErrorKind, Manifest, Result};

/// A line each: package, script, digest of its [`normal`] form, and what replaces it.
const KNOWN: &str = include_str!("scripts.txt");

/// Parts that debhelper's tools add: removal of old files, triggers, services, byte-code. None makes a file that a
/// program needs in an image.
const GENERATED: &[&str] = &[
    "dh_installdeb",
    "dh_installinit",
    "dh_installmenu",
    "dh_installsystemd",
    "dh_installsystemduser",
    "dh_makeshlibs",
    "dh_python3",
    "dh_systemd_enable",
    "dh_systemd_start",
];

const GENERATED_BEGIN: &str = "# Automatically added by ";
const GENERATED_END: &str = "# End automatically added section";

/// Lines without effect of their own.
const NOTHING: &[&str] =
    &["", ":", "set -e", "set -eu", "exit 0", "#!/bin/sh", "#!/bin/sh -e", "#!/bin/bash", "#!/bin/dash"];

/// An error unless every script of the packages is known or ignored by the declared file.
pub fn check_scripts(manifest: &Manifest, packages: &[Unpacked]) -> Result<()> {
    for package in packages {
        let rule = manifest.scripts.get(&package.package.name);
        if matches!(rule, Some(ScriptRule::Ignore)) {
            continue;
        }
        for (script, text) in package.control.scripts() {
            check(package, script, &String::from_utf8_lossy(text))?;
        }
    }
    Ok(())
}

fn check(package: &Unpacked, script: &str, text: &str) -> Result<()> {
    let (name, version) = (&package.package.name, &package.package.version);
    let normal = normal(package, text);
    if normal.is_empty() || is_known(name, script, &Digest::of(normal.as_bytes())) {
        return Ok(());
    }
    let lines = normal.lines().count();
    let what = format!("package {name} {version}: its {script} script is not known ({lines} lines that do something)");
    Err(Error::new(ErrorKind::Invalid, what).with_hint(format!(
        "read it (`dpkg-deb --ctrl-tarfile`), declare what of it you need, and say `scripts: {{{name}: ignore}}`; \
         or let dpkg run it with `configure: run`"
    )))
}

fn is_known(package: &str, script: &str, digest: &Digest) -> bool {
    KNOWN.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(package) && words.next() == Some(script) && words.next() == Some(digest.hex())
    })
}

/// What a script does, without what its version, architecture or debhelper made of it.
fn normal(package: &Unpacked, text: &str) -> String {
    let mut out = String::new();
    let mut generated = false;
    for line in text.lines().map(str::trim) {
        let tool = line.strip_prefix(GENERATED_BEGIN).map(|tool| tool.split('/').next().unwrap_or_default());
        generated = (generated || tool.is_some_and(|tool| GENERATED.contains(&tool))) && line != GENERATED_END;
        let is_comment = line.starts_with('#') && !line.starts_with("#!");
        let is_upkeep = line.starts_with("dpkg-maintscript-helper ");
        if !generated && !is_comment && !is_upkeep && !NOTHING.contains(&line) {
            out.push_str(line);
            out.push('\n');
        }
    }
    without_version(package, out)
}

fn without_version(package: &Unpacked, text: String) -> String {
    let version = &package.package.version;
    let upstream = version.rsplit_once('-').map_or(version.as_str(), |(upstream, _)| upstream);
    let architecture = package.package.architecture.as_str();
    let text = text.replace(version.as_str(), "@VERSION@").replace(upstream, "@UPSTREAM@");
    let text = triplet(architecture).map_or(text.clone(), |triplet| text.replace(triplet, "@TRIPLET@"));
    let whole_words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|word| {
        match word.strip_prefix(architecture) {
            // At most the character that ends the word.
            Some(rest) if rest.chars().count() <= 1 => format!("@ARCH@{rest}"),
            _ => word.to_owned(),
        }
    });
    whole_words.collect()
}

/// Debian's multiarch name of an architecture.
fn triplet(architecture: &str) -> Option<&'static str> {
    Some(match architecture {
        "amd64" => "x86_64-linux-gnu",
        "arm64" => "aarch64-linux-gnu",
        "armel" => "arm-linux-gnueabi",
        "armhf" => "arm-linux-gnueabihf",
        "i386" => "i386-linux-gnu",
        "loong64" => "loongarch64-linux-gnu",
        "mips64el" => "mips64el-linux-gnuabi64",
        "ppc64el" => "powerpc64le-linux-gnu",
        "riscv64" => "riscv64-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::LockedPackage;
    use crate::deb::Control;

    fn package(script: &str) -> Unpacked {
        let control = "Package: p\nVersion: 1.0-2\nArchitecture: amd64\n";
        let files = [("control", control), ("postinst", script)];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let package = LockedPackage {
            name: "p".into(),
            version: "1.0-2".into(),
            architecture: "amd64".into(),
            source: None,
            source_version: None,
            release: None,
            filename: "p.deb".into(),
            size: 0,
            digest: Digest::of(b""),
        };
        Unpacked { package, control: Control { files: BTreeMap::from(files) }, items: Vec::new(), listed: Vec::new() }
    }

    #[test]
    fn what_debhelper_generates_does_nothing() {
        let script = "#!/bin/sh\nset -e\n\n# Automatically added by dh_makeshlibs/13\nldconfig\n\
            # End automatically added section\ndpkg-maintscript-helper rm_conffile /etc/x 1 -- \"$@\"\nexit 0\n";
        check_scripts(&Manifest::default(), &[package(script)]).unwrap();
    }

    #[test]
    fn an_unknown_script_is_an_error_unless_it_is_ignored() {
        for script in ["useradd x", "# Automatically added by dh_installsysusers/13\nsystemd-sysusers\n"] {
            let error = check_scripts(&Manifest::default(), &[package(script)]).unwrap_err();
            assert!(error.to_string().contains("package p 1.0-2: its postinst script is not known"), "{error}");
            assert!(error.hint().unwrap().contains("scripts: {p: ignore}"));
            let scripts = BTreeMap::from([("p".to_owned(), ScriptRule::Ignore)]);
            check_scripts(&Manifest { scripts, ..Manifest::default() }, &[package(script)]).unwrap();
        }
    }

    #[test]
    fn version_and_architecture_are_taken_out() {
        let script = "cp /usr/lib/x86_64-linux-gnu/p-1.0 1.0-2 /x/amd64/famd64 amd64\n";
        let expect = "cp /usr/lib/@TRIPLET@/p-@UPSTREAM@ @VERSION@ /x/@ARCH@/famd64 @ARCH@\n";
        assert_eq!(normal(&package(script), script), expect);
    }

    #[test]
    fn the_table_is_sorted_and_whole() {
        let lines: Vec<&str> = KNOWN.lines().collect();
        assert!(lines.is_sorted(), "keep the table sorted");
        for line in lines {
            assert!(line.split_whitespace().count() > 3, "{line}");
        }
    }
}

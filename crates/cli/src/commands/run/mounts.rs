//! What a container is shown of the host: `--volume`, `--mount`, `--tmpfs`, `--device`.
//!
//! Knows nothing of how it is mounted; sources are opened here, while their names mean what the caller meant.

use std::os::fd::OwnedFd;

use cooper_executor::{DeviceNode, MountSource, ProcessMount};
use rustix::fs::{FileType, Mode, OFlags};

use super::Run;
use crate::csv;
use crate::error::{CommandError, CommandResult};
use crate::limits::memory_size;

/// All mounts but devices, in docker's order.
pub(super) fn mounts(args: &Run) -> CommandResult<Vec<ProcessMount>> {
    let volumes = args.volumes.iter().map(|text| volume(text));
    let mounts = args.mounts.iter().map(|text| mount(text));
    let tmpfs = args.tmpfs.iter().map(|text| tmpfs(text));
    volumes.chain(mounts).chain(tmpfs).collect()
}

fn open(flag: &str, path: &str) -> CommandResult<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| CommandError::failure(format!("{flag}: cannot open `{path}`")).with_source(error))
}

fn volume(text: &str) -> CommandResult<ProcessMount> {
    let wrong = || CommandError::usage(format!("--volume `{text}` is not HOST:CONTAINER[:ro]"));
    let (host, target, readonly) = match text.split(':').collect::<Vec<_>>()[..] {
        [host, target] => (host, target, false),
        [host, target, "ro"] => (host, target, true),
        [host, target, "rw" | "z" | "Z"] => (host, target, false),
        _ => return Err(wrong()),
    };
    if !target.starts_with('/') || host.is_empty() {
        return Err(wrong());
    }
    // docker takes a name without a slash for a named volume, which a container that leaves nothing cannot have.
    if !host.contains('/') && host != "." && host != ".." {
        return Err(wrong().with_hint(format!("for a directory of the host: `./{host}`")));
    }
    let source = MountSource::Bind(open("--volume", host)?);
    Ok(ProcessMount { target: target.to_owned(), source, readonly })
}

/// `type=bind|tmpfs` with docker's keys.
fn mount(text: &str) -> CommandResult<ProcessMount> {
    let wrong = |what: String| CommandError::usage(format!("--mount `{text}`: {what}"));
    let (mut kind, mut source, mut target, mut size, mut readonly) = ("volume".to_owned(), None, None, None, false);
    for (key, value) in csv::pairs(text)? {
        match (key.as_str(), value) {
            ("type", Some(value)) => kind = value,
            ("source" | "src", Some(value)) => source = Some(value),
            ("target" | "dst" | "destination", Some(value)) => target = Some(value),
            ("readonly" | "ro", value) => readonly = csv::switch(&key, value.as_deref())?,
            ("tmpfs-size", Some(value)) => {
                size = Some(memory_size(&value).ok_or_else(|| wrong(format!("`{value}` is not a size")))?);
            }
            // What every mount of ours is.
            ("bind-propagation", Some(value)) if matches!(value.as_str(), "private" | "rprivate") => {}
            ("tmpfs-mode", Some(value)) if matches!(value.as_str(), "1777" | "01777") => {}
            (key, _) => {
                let hint = "the keys are type, source, target, readonly and tmpfs-size";
                return Err(wrong(format!("`{key}` is not supported")).with_hint(hint));
            }
        }
    }
    let target = target.filter(|target| target.starts_with('/'));
    let target = target.ok_or_else(|| wrong("it has no absolute `target`".to_owned()))?;
    let source = match (kind.as_str(), source) {
        ("bind", Some(path)) if size.is_none() => MountSource::Bind(open("--mount", &path)?),
        ("bind", _) => return Err(wrong("a bind mount has a `source`, and no size".to_owned())),
        ("tmpfs", None) => MountSource::Tmpfs(size),
        ("tmpfs", Some(_)) => return Err(wrong("a tmpfs has no `source`".to_owned())),
        (other, _) => {
            let hint = "containers of cooper leave nothing behind: there are no volumes";
            return Err(wrong(format!("type `{other}` is not supported; there are bind and tmpfs")).with_hint(hint));
        }
    };
    Ok(ProcessMount { target, source, readonly })
}

/// `CONTAINER[:OPTIONS]`.
fn tmpfs(text: &str) -> CommandResult<ProcessMount> {
    let wrong = |what: String| CommandError::usage(format!("--tmpfs `{text}`: {what}"));
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err(wrong("it is not an absolute path".to_owned()));
    }
    let (mut size, mut readonly) = (None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => {
                size = Some(memory_size(value).ok_or_else(|| wrong(format!("`{value}` is not a size")))?);
            }
            Some(("mode", "1777" | "01777")) => {}
            None if matches!(option, "ro" | "rw") => readonly = option == "ro",
            None if matches!(option, "nosuid" | "nodev" | "exec") => {}
            _ => {
                let error = wrong(format!("the option `{option}` is not supported"));
                return Err(error.with_hint("there are size, ro and rw; it is nosuid, nodev and of mode 1777"));
            }
        }
    }
    Ok(ProcessMount { target: target.to_owned(), source: MountSource::Tmpfs(size), readonly })
}

/// Devices: names of described ones, and mounts of those given by path.
pub(super) fn devices(texts: &[String]) -> CommandResult<(Vec<String>, Vec<ProcessMount>)> {
    let (mut names, mut mounts) = (Vec::new(), Vec::new());
    for text in texts {
        match text.starts_with('/') {
            true => mounts.push(device(text)?),
            false if text.contains('/') => names.push(text.clone()),
            false => {
                let error = CommandError::usage(format!("--device `{text}` is neither a path nor a device's name"));
                return Err(error.with_hint("--device /dev/HOST[:/dev/CONTAINER] or --device vendor/class=name"));
            }
        }
    }
    Ok((names, mounts))
}

/// `HOST[:CONTAINER[:rwm]]`. The host's rights on the device decide what can be done with it.
fn device(text: &str) -> CommandResult<ProcessMount> {
    let wrong = || CommandError::usage(format!("--device `{text}` is not HOST[:CONTAINER[:rwm]]"));
    let (host, target) = match text.split(':').collect::<Vec<_>>()[..] {
        [host] => (host, host),
        [host, target] if target.starts_with('/') => (host, target),
        [host, "rwm" | "rw"] => (host, host),
        [host, target, "rwm" | "rw"] if target.starts_with('/') => (host, target),
        [_, "r" | "w" | "m" | "rm" | "wm"] | [_, _, "r" | "w" | "m" | "rm" | "wm"] => {
            return Err(wrong().with_hint("a part of the access to a device cannot be given: leave it out"));
        }
        _ => return Err(wrong()),
    };
    let source = open("--device", host)?;
    let kind = rustix::fs::fstat(&source).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if !kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device()) {
        return Err(CommandError::usage(format!("--device: `{host}` is not a device")));
    }
    let source = MountSource::Device(source, DeviceNode::default());
    Ok(ProcessMount { target: target.to_owned(), source, readonly: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display();
        for (text, readonly) in
            [(format!("{shown}:/x"), false), (format!("{shown}:/x:ro"), true), (format!("{shown}:/x:z"), false)]
        {
            let mount = volume(&text).unwrap();
            assert_eq!((mount.target.as_str(), mount.readonly), ("/x", readonly), "{text}");
        }
        for text in ["x", "name:/x", "/no/such:/x", ":/x", "/:rel", "/:/x:ro:z", "/:/x:q"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_of_every_spelling() {
        for text in [
            "type=bind,source=/,target=/x",
            "type=bind,src=/,dst=/x,readonly",
            "type=bind,src=/,destination=/x,ro=false",
            "type=tmpfs,target=/x,tmpfs-size=1m",
        ] {
            assert_eq!(mount(text).unwrap().target, "/x", "{text}");
        }
        assert!(mount("type=bind,src=/,dst=/x,readonly").unwrap().readonly);
        assert!(matches!(
            mount("type=tmpfs,dst=/x,tmpfs-size=1m").unwrap().source,
            MountSource::Tmpfs(Some(0x10_0000))
        ));
        for text in [
            "source=/,target=/x",
            "type=volume,target=/x",
            "type=bind,target=/x",
            "type=bind,source=/no/such,target=/x",
            "type=bind,source=/,target=x",
            "type=bind,source=/,target=/x,bind-propagation=shared",
            "type=tmpfs,source=/,target=/x",
            "type=tmpfs,target=/x,tmpfs-size=y",
        ] {
            assert!(mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn directories_in_memory() {
        assert!(matches!(tmpfs("/x").unwrap().source, MountSource::Tmpfs(None)));
        let small = tmpfs("/x:ro,size=64k,nosuid").unwrap();
        assert!(small.readonly && matches!(small.source, MountSource::Tmpfs(Some(65_536))));
        for text in ["x", "/x:noexec", "/x:size=y", "/x:uid=1"] {
            assert!(tmpfs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn devices_by_path_and_by_name() {
        let texts = ["/dev/null", "/dev/null:/dev/other", "/dev/null:/dev/x:rwm", "a.com/d=x"].map(str::to_owned);
        let (names, mounts) = devices(&texts).unwrap();
        assert_eq!(names, ["a.com/d=x"]);
        let targets: Vec<&str> = mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/dev/null", "/dev/other", "/dev/x"]);
        for text in ["null", "/dev/nosuch", "/etc", "/dev/null:r", "/dev/null:x"] {
            assert!(devices(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}

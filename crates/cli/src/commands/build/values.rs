//! The values of `cooper build`'s flags, each from its text.
//!
//! Knows nothing of which build they belong to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cooper_engine::{Entitlements, NamedContext};

use crate::csv;
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};
use crate::session::{SecretSource, SshSource};
use crate::ssh_keys::KeyAgent;

/// `K=V`; `K` alone has the empty value.
pub(crate) fn key_value(flag: &str, text: &str) -> CommandResult<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err(CommandError::usage(format!("{flag} `{text}` has no name")).with_hint(format!("{flag} NAME=VALUE")));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// The build arguments of files, then those of the command line.
pub(crate) fn build_args(
    files: &[PathBuf],
    texts: &[String],
    environment: &Environment,
) -> CommandResult<BTreeMap<String, String>> {
    let mut args = BTreeMap::new();
    for file in files {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| CommandError::failure(format!("cannot read `{shown}`")).with_source(error))?;
        for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(&text).lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                let error = CommandError::usage(format!("`{shown}` line {}: `{line}` is no build argument", index + 1));
                return Err(error.with_hint("a line is NAME=VALUE, NAME or a comment; values are not quoted"));
            }
            build_arg("--build-arg-file", line, environment, &mut args)?;
        }
    }
    texts.iter().try_for_each(|text| build_arg("--build-arg", text, environment, &mut args))?;
    Ok(args)
}

/// `K=V`, or `K` with the value of the environment; a name that is not set there is left out, as docker does.
fn build_arg(flag: &str, text: &str, environment: &Environment, args: &mut BTreeMap<String, String>) -> CommandResult {
    let (key, value) = key_value(flag, text)?;
    let value = if text.contains('=') { Some(value) } else { environment.get(&key).map(str::to_owned) };
    args.extend(value.map(|value| (key, value)));
    Ok(())
}

/// All lines of `--add-host`.
pub(crate) fn add_hosts(texts: &[String]) -> CommandResult<Vec<(String, String)>> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(add_host(text)?);
    }
    Ok(all)
}

/// `HOST:IP` or `HOST=IP`, several addresses separated by commas; an address may be in brackets.
fn add_host(text: &str) -> CommandResult<Vec<(String, String)>> {
    let wrong = || CommandError::usage(format!("--add-host `{text}` is not HOST:IP"));
    let (host, addresses) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    let ok = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(ok) {
        return Err(wrong());
    }
    let address = |text: &str| {
        // What runs shares the network of the host, which is at its loopback address then.
        let text = if text == "host-gateway" { "127.0.0.1" } else { text };
        let text = text.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(text);
        let address: std::net::IpAddr = text.parse().map_err(|_| wrong())?;
        Ok((host.to_owned(), address.to_string()))
    };
    addresses.split(',').map(address).collect()
}

/// `--allow`. Who asks for the host's network on the command line has allowed it.
pub(super) fn entitlements(texts: &[String], network: Option<&str>) -> CommandResult<Entitlements> {
    let mut granted = Entitlements { network_host: network == Some("host"), ..Entitlements::default() };
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let (name, value) = text.split_once('=').map_or((text.as_str(), None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("network.host", None) => granted.network_host = true,
            ("security.insecure", None) => granted.security_insecure = true,
            ("device", None | Some("")) => granted.all_devices = true,
            ("device", Some(value)) => granted.devices.extend([device(text, value)?]),
            // For buildx's own check; nothing that cooper writes locally is deleted.
            ("buildx.local.delete", None) => {}
            _ => {
                let error = CommandError::usage(format!("--allow `{text}`: there is no such entitlement"));
                return Err(
                    error.with_hint("there are network.host, security.insecure and device[=NAME[,alias=ALIAS]]")
                );
            }
        }
    }
    Ok(granted)
}

/// `NAME[,alias=ALIAS]`: the name a Dockerfile uses and the device it stands for.
fn device(text: &str, value: &str) -> CommandResult<(String, String)> {
    let mut fields = csv::split(value)?.into_iter();
    let name = fields.next().unwrap_or_default();
    let mut asked = name.clone();
    for field in fields {
        match field.split_once('=') {
            Some(("alias", alias)) => asked = alias.to_owned(),
            _ => {
                return Err(CommandError::usage(format!("--allow `{text}`: unknown key `{field}`"))
                    .with_hint("the key is alias"));
            }
        }
    }
    Ok((asked, name))
}

/// `--network`; `None` for the default.
pub(super) fn network(text: Option<&str>) -> CommandResult<Option<String>> {
    match text {
        None | Some("default" | "") => Ok(None),
        Some(mode @ ("host" | "none")) => Ok(Some(mode.to_owned())),
        Some(other) => Err(CommandError::usage(format!("--network `{other}` is not supported"))
            .with_hint("the networks are `default`, `host` and `none`")),
    }
}

/// `NAME=PLACE`: what the engine is told, and the directory if it is one.
pub(super) fn named_context(text: &str) -> CommandResult<(String, NamedContext, Option<PathBuf>)> {
    let wrong = || CommandError::usage(format!("--build-context `{text}` is not NAME=PLACE"));
    let (name, place) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let name = name.to_ascii_lowercase();
    if let Some(image) = place.strip_prefix("docker-image://") {
        return Ok((name, NamedContext::Image(image.parse()?), None));
    }
    if let Some(layout) = place.strip_prefix("oci-layout://") {
        return oci_layout(layout).map(|context| (name, context, None));
    }
    if let Some((scheme, _)) = place.split_once(':').filter(|(scheme, _)| matches!(*scheme, "target" | "input")) {
        return Err(CommandError::usage(format!("--build-context with `{scheme}:` is only for bake files")));
    }
    if let Some(git) = crate::context::repository(place)? {
        return Ok((name, NamedContext::Git(git), None));
    }
    if crate::context::is_address(place) {
        return Ok((name, NamedContext::Http(place.to_owned()), None));
    }
    let dir = crate::context::directory(place)?;
    Ok((name, NamedContext::Local, Some(dir)))
}

/// `DIR[:TAG|@DIGEST]`.
fn oci_layout(text: &str) -> CommandResult<NamedContext> {
    let (path, which) = match text.split_once('@') {
        Some((path, digest)) => (path, Some(digest.parse::<cooper_oci::Digest>()?.to_string())),
        None => match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && !path.is_empty() => (path, Some(tag.to_owned())),
            _ => (text, None),
        },
    };
    let path = std::fs::canonicalize(path)
        .map_err(|error| CommandError::failure(format!("cannot find the OCI layout `{path}`")).with_source(error))?;
    Ok(NamedContext::OciLayout(path, which))
}

/// `id=ID[,src=FILE|,env=VARIABLE][,type=file|env]`. Without a source: the variable of that name, else the file.
pub(super) fn secret(text: &str, environment: &Environment) -> CommandResult<(String, SecretSource)> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for (key, value) in csv::pairs(text)? {
        let value = value.unwrap_or_default();
        match key.as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if matches!(value.as_str(), "file" | "env") => kind = Some(value),
            "type" => return Err(CommandError::usage(format!("--secret `{text}`: the type is file or env"))),
            _ => {
                let error = CommandError::usage(format!("--secret `{text}`: unknown key `{key}`"));
                return Err(error.with_hint("the keys are id, src, env and type"));
            }
        }
    }
    let id =
        id.filter(|id| !id.is_empty()).ok_or_else(|| CommandError::usage(format!("--secret `{text}` has no id")))?;
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take().or_else(|| Some(id.clone()));
    }
    let source = secret_source(&id, file, variable, kind.as_deref(), environment)?;
    Ok((id, source))
}

fn secret_source(
    id: &str,
    file: Option<String>,
    variable: Option<String>,
    kind: Option<&str>,
    environment: &Environment,
) -> CommandResult<SecretSource> {
    let implied = if file.is_none() && kind != Some("file") { environment.get(id) } else { None };
    match (variable, file, implied) {
        (Some(_), Some(_), _) => Err(CommandError::usage(format!("secret `{id}` has both src and env"))),
        (Some(variable), None, _) => match environment.get(&variable) {
            Some(value) => Ok(SecretSource::Value(value.as_bytes().to_vec())),
            None => Err(CommandError::failure(format!("secret `{id}`: the variable `{variable}` is not set"))),
        },
        (None, None, Some(value)) => Ok(SecretSource::Value(value.as_bytes().to_vec())),
        (None, file, _) => {
            let file = file.unwrap_or_else(|| id.to_owned());
            let path = std::path::absolute(&file).unwrap_or_else(|_| PathBuf::from(&file));
            if !path.is_file() {
                let error = CommandError::failure(format!("secret `{id}`: `{file}` is not a file"));
                return Err(error.with_hint(format!("--secret id={id},src=FILE or --secret id={id},env=VARIABLE")));
            }
            Ok(SecretSource::File(path))
        }
    }
}

/// `default` or `ID[=SOCKET|KEY[,KEY..]]`: the id and its agent.
pub(super) fn ssh(text: &str, environment: &Environment) -> CommandResult<(String, SshSource)> {
    let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
    let id = if id.is_empty() { "default" } else { id };
    let Some(paths) = paths.filter(|paths| !paths.is_empty()) else {
        let socket = environment.path("SSH_AUTH_SOCK").ok_or_else(|| {
            CommandError::failure(format!("--ssh {id}: there is no ssh agent (SSH_AUTH_SOCK is not set)"))
                .with_hint("start one with `eval $(ssh-agent)` and add a key with `ssh-add`")
        })?;
        return Ok((id.to_owned(), SshSource::Socket(socket)));
    };
    let (mut sockets, mut keys) = (Vec::new(), Vec::new());
    for path in paths.split(',') {
        let metadata = std::fs::metadata(path)
            .map_err(|error| CommandError::failure(format!("--ssh {id}: cannot find `{path}`")).with_source(error))?;
        let socket = std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type());
        let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        if socket { sockets.push(path) } else { keys.push(path) }
    }
    let source = match (sockets.pop(), keys.is_empty()) {
        (Some(socket), true) if sockets.is_empty() => SshSource::Socket(socket),
        (None, false) => {
            let place = environment.path("XDG_RUNTIME_DIR").filter(|dir| dir.is_dir());
            SshSource::Keys(KeyAgent::start(&keys, &place.unwrap_or_else(|| PathBuf::from("/tmp")))?)
        }
        _ => {
            let error = CommandError::usage(format!("--ssh {id}: it is one agent's socket, or key files"));
            return Err(
                error.with_hint("give several agents an id each, and name them in `RUN --mount=type=ssh,id=ID`")
            );
        }
    };
    Ok((id.to_owned(), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_args_come_from_the_flag_or_the_environment() {
        let environment = Environment::of(&[("A", "env"), ("EMPTY", "")]);
        let texts = ["A", "B=flag=x", "C", "D=", "EMPTY"].map(str::to_owned);
        let args = build_args(&[], &texts, &environment).unwrap();
        let expect = [("A", "env"), ("B", "flag=x"), ("D", ""), ("EMPTY", "")];
        assert_eq!(args, expect.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(build_args(&[], &["=x".to_owned()], &environment).is_err());
    }

    #[test]
    fn build_args_of_files_are_lines_as_in_env_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let first = file("a", "\u{feff}# comment\n\nA=1\r\n  B=\"two words\" \nFROM_ENV\nNOT_SET\nC=x=y\n");
        let second = file("b", "A=2\nD=1");
        let environment = Environment::of(&[("FROM_ENV", "e")]);
        let args = build_args(&[first, second], &["D=3".to_owned()], &environment).unwrap();
        let expect = [("A", "2"), ("B", "\"two words\" "), ("C", "x=y"), ("D", "3"), ("FROM_ENV", "e")];
        assert_eq!(args, expect.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let message = build_args(&[file("c", "OK=1\nno good\n")], &[], &environment).unwrap_err().message();
        assert!(message.contains("line 2: `no good`"), "{message}");
        assert!(build_args(&[dir.path().join("none")], &[], &environment).is_err());
    }

    #[test]
    fn hosts() {
        for (text, expect) in [
            ("a:1.2.3.4", Some(("a", "1.2.3.4"))),
            ("a=1.2.3.4", Some(("a", "1.2.3.4"))),
            ("a:::1", Some(("a", "::1"))),
            ("a:[::1]", Some(("a", "::1"))),
            ("a", None),
            (":1.2.3.4", None),
            ("a:host-gateway", Some(("a", "127.0.0.1"))),
            ("a:1.2.3.4,x", None),
            ("a b:1.2.3.4", None),
            ("a:1.2.3.4\nx 5.6.7.8", None),
        ] {
            let expect = expect.map(|(host, address)| vec![(host.to_owned(), address.to_owned())]);
            assert_eq!(add_host(text).ok(), expect, "{text}");
        }
        let two = add_hosts(&["a:1.2.3.4,[::1]".to_owned()]).unwrap();
        assert_eq!(two, [("a".to_owned(), "1.2.3.4".to_owned()), ("a".to_owned(), "::1".to_owned())]);
    }

    #[test]
    fn what_is_allowed() {
        let granted = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            entitlements(&texts, None)
        };
        assert_eq!(granted(&[]).unwrap(), Entitlements::default());
        let all = granted(&["network.host", "security.insecure", "device", "buildx.local.delete", ""]).unwrap();
        assert!(all.network_host && all.security_insecure && all.all_devices);
        let named = granted(&["device=a.com/d=x", "device=a.com/d=y,alias=gpu"]).unwrap();
        let pair = |asked: &str, name: &str| (asked.to_owned(), name.to_owned());
        assert_eq!(named.devices, [pair("a.com/d=x", "a.com/d=x"), pair("gpu", "a.com/d=y")].into());
        assert!(!named.all_devices && entitlements(&[], Some("host")).unwrap().network_host);
        for text in ["network.hosts", "network.host=x", "device=a,x=y", "ssh"] {
            assert!(granted(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(network(Some("default")).unwrap(), None);
        assert_eq!(network(Some("none")).unwrap(), Some("none".into()));
        assert!(network(Some("bridge")).is_err());
    }

    #[test]
    fn contexts() {
        let dir = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(dir.path()).unwrap();
        let shown = path.display();
        for (text, expect) in [
            ("a=docker-image://alpine".to_owned(), NamedContext::Image("alpine".parse().unwrap())),
            (format!("a={shown}"), NamedContext::Local),
            ("a=https://h/x".to_owned(), NamedContext::Http("https://h/x".to_owned())),
            (
                "a=git@h:x#main".to_owned(),
                NamedContext::Git(cooper_engine::GitSource {
                    remote: "git@h:x".to_owned(),
                    reference: Some("main".to_owned()),
                    ..Default::default()
                }),
            ),
            (format!("a=oci-layout://{shown}"), NamedContext::OciLayout(path.clone(), None)),
            (format!("A=oci-layout://{shown}:v1"), NamedContext::OciLayout(path.clone(), Some("v1".into()))),
        ] {
            let (name, context, dir) = named_context(&text).unwrap();
            assert_eq!((name.as_str(), &context), ("a", &expect), "{text}");
            assert_eq!(dir.is_some(), context == NamedContext::Local);
        }
        for text in [
            "a",
            "=x",
            "a=https://h/x.git#-x",
            "a=target:x",
            "a=/no/such",
            "a=docker-image://BAD",
            "a=oci-layout:///no",
        ] {
            assert!(named_context(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        std::fs::write(&file, "x").unwrap();
        let environment = Environment::of(&[("TOKEN", "t")]);
        let value = || SecretSource::Value(b"t".to_vec());
        for (text, id, expect) in [
            (format!("id=a,src={}", file.display()), "a", SecretSource::File(file.clone())),
            (format!("type=file,id=a,source={}", file.display()), "a", SecretSource::File(file.clone())),
            ("id=a,env=TOKEN".into(), "a", value()),
            ("id=a,type=env,src=TOKEN".into(), "a", value()),
            ("id=TOKEN".into(), "TOKEN", value()),
        ] {
            assert_eq!(secret(&text, &environment).unwrap(), (id.to_owned(), expect), "{text}");
        }
        for text in
            ["src=x", "id=a,src=/no/such", "id=a,env=NONE", "id=a,src=x,env=TOKEN", "id=a,typ=env", "id=a,type=x"]
        {
            assert!(secret(text, &environment).is_err(), "{text}");
        }
        assert_eq!(format!("{:?}", value()), "Value(..)");
    }

    #[test]
    fn ssh_agents() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let environment = Environment::of(&[("SSH_AUTH_SOCK", "/agent")]);
        let shown = |text: &str| {
            let (id, source) = ssh(text, &environment).unwrap();
            match source {
                SshSource::Socket(path) => (id, path),
                SshSource::Keys(_) => unreachable!("{text} is a socket"),
            }
        };
        assert_eq!(shown("default"), ("default".into(), "/agent".into()));
        assert_eq!(shown(&format!("git={}", socket.display())), ("git".into(), socket.clone()));
        let error = ssh("default", &Environment::default()).unwrap_err();
        assert!(error.message().contains("hint: start one"), "{}", error.message());
        let key = dir.path().join("key");
        std::fs::write(&key, "").unwrap();
        let error = ssh(&format!("git={}", key.display()), &environment).unwrap_err();
        assert!(error.what.contains("is not in OpenSSH's format"), "{}", error.what);
        for text in [format!("git={0},{0}", socket.display()), format!("git={},{}", socket.display(), key.display())] {
            assert!(ssh(&text, &environment).unwrap_err().what.contains("one agent's socket, or key files"), "{text}");
        }
    }
}

//! Opens what the verbs work with: the store, the executor, the way to registries.
//!
//! Knows nothing of what they do with it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_base::sources::{Net, NetOptions};
use cooper_engine::GitProgram;
use cooper_executor::{Executor, IdMap, Namespaces, Runtime};
use cooper_registry::server::UpstreamAddress;
use cooper_registry::{Client, ClientOptions, Credentials, Fixed, Proxies};
use cooper_store::{OpenOptions, Ownership, SnapshotKind, Store};

use crate::credentials::Files;
use crate::engine_calls::RuntimeChoice;
use crate::error::{CommandError, CommandResult};
use crate::hosts::Hosts;
use crate::human;
use crate::surroundings::Surroundings;

/// Largest resolv.conf read; the C library reads far less of it.
const RESOLV_CONF_MAX: u64 = 64 * 1024;

/// The store.
pub(crate) fn store(at: &Surroundings) -> CommandResult<Store> {
    Ok(Store::open(at.root()?, store_options(at)?)?)
}

/// The store, with this way to show layers as one directory.
pub(crate) fn store_with(at: &Surroundings, snapshots: SnapshotKind) -> CommandResult<Store> {
    Ok(Store::open(at.root()?, OpenOptions { snapshots, ..store_options(at)? })?)
}

/// The store, its database replaced if it is broken.
pub(crate) fn store_for_repair(at: &Surroundings) -> CommandResult<Store> {
    Ok(Store::open_for_repair(at.root()?, store_options(at)?)?)
}

fn store_options(at: &Surroundings) -> CommandResult<OpenOptions> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let boot_id = std::fs::read_to_string(BOOT_ID)
        .map_err(|error| CommandError::failure(format!("cannot read `{BOOT_ID}`")).with_source(error))?;
    let mut options = OpenOptions::new(boot_id.trim(), human::now);
    if at.identity.as_ref().is_some_and(|identity| identity.map == IdMap::Single) {
        options.ownership = Ownership::Single;
    }
    Ok(options)
}

/// What runs processes.
pub(crate) fn executor(at: &Surroundings, choice: RuntimeChoice) -> CommandResult<Arc<dyn Executor>> {
    let name = match choice {
        RuntimeChoice::Own => return Ok(Arc::new(Namespaces::new("/proc/self/exe"))),
        RuntimeChoice::Runc => "runc",
        RuntimeChoice::Crun => "crun",
    };
    let program = find_program(name, &at.search_path()).ok_or_else(|| {
        CommandError::failure(format!("there is no `{name}` on this machine"))
            .with_hint("install it, or leave out `--runtime`: cooper runs steps by itself")
    })?;
    Ok(Arc::new(Runtime::new(program, at.root()?.join("runtime"))))
}

fn find_program(name: &str, search: &[PathBuf]) -> Option<PathBuf> {
    search.iter().map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The way to registries, with the credentials and proxies of the environment.
pub(crate) fn client(at: &Surroundings) -> CommandResult<Client> {
    Ok(Client::new(client_options(at)?))
}

/// The way to one registry, with credentials that are kept nowhere.
pub(crate) fn client_with(at: &Surroundings, registry: &str, credentials: Credentials) -> CommandResult<Client> {
    let only = Fixed([(registry.to_owned(), credentials)].into());
    Ok(Client::new(ClientOptions { credentials: Arc::new(only), ..client_options(at)? }))
}

/// The way to the registry that a cache at `address` is in front of; the cache is no mirror of its own upstream.
pub(crate) fn client_of_cache(
    at: &Surroundings,
    upstream: &UpstreamAddress,
    address: SocketAddr,
) -> CommandResult<Client> {
    let mut options = client_options(at)?;
    let own = [address.to_string(), format!("localhost:{}", address.port())];
    options.mirrors.values_mut().for_each(|mirrors| mirrors.retain(|mirror| !own.contains(mirror)));
    if upstream.plain_http {
        options.plain_http.push(upstream.registry.clone());
    }
    Ok(Client::new(options))
}

fn client_options(at: &Surroundings) -> CommandResult<ClientOptions> {
    let hosts = Hosts::of(&at.environment)?;
    let mut options = ClientOptions::new(Arc::new(human::system_time));
    options.credentials = Arc::new(Files::of(&at.environment));
    options.proxies = at.environment.proxies();
    options.plain_http = hosts.plain_http.into_iter().collect();
    options.tls = hosts.tls;
    options.mirrors = hosts.mirrors;
    options.warn = Arc::new(|text| crate::output::note(&format!("warning: {}", crate::sanitise::line(text))));
    options.offline = at.offline;
    Ok(options)
}

/// The way to git repositories: of the environment it sees the search path, the proxies and the trusted certificates.
pub(crate) fn git(at: &Surroundings) -> GitProgram {
    let search = at.search_path();
    let names = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    let names = names.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]);
    let mut variables: Vec<(OsString, OsString)> =
        names.filter_map(|name| Some((name.clone().into(), at.environment.get(&name)?.into()))).collect();
    variables.extend(at.environment.path("SSL_CERT_FILE").map(|file| ("GIT_SSL_CAINFO".into(), file.into())));
    variables.extend(std::env::join_paths(&search).ok().map(|path| ("PATH".into(), path)));
    let known_hosts = at.environment.path("HOME").map(|home| home.join(".ssh/known_hosts"));
    let known_hosts = known_hosts.filter(|file| file.is_file());
    GitProgram { program: find_program("git", &search), variables, known_hosts, offline: at.offline }
}

/// The way to archives of packages, by these proxies.
pub(crate) async fn net(at: &Surroundings, proxies: Proxies) -> CommandResult<Net> {
    let options = client_options(at)?;
    let idle_timeout = options.idle_timeout;
    let client = Client::new(ClientOptions { proxies, ..options });
    let client = if at.offline { None } else { Some(client.http().await?) };
    Ok(Net::new(NetOptions { client, idle_timeout }))
}

/// The name servers that steps see, as the host has them: steps share its network.
pub(crate) fn resolv_conf() -> Option<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open("/etc/resolv.conf").ok()?.take(RESOLV_CONF_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_an_executable_file_of_the_search_path() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir_all(first.join("crun")).unwrap();
        std::fs::create_dir_all(&second).unwrap();
        std::fs::write(first.join("runc"), "").unwrap();
        std::fs::write(second.join("runc"), "").unwrap();
        std::fs::set_permissions(second.join("runc"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let search = [first, second.clone()];
        assert_eq!(find_program("runc", &search), Some(second.join("runc")));
        assert_eq!(find_program("crun", &search), None);
    }
}

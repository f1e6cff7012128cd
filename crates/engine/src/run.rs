//! `cooper run`: a container from an image, so that what was built can be tried.

use cooper_executor::{Limits, MountSource, Network, Process, ProcessMount, Profile, Running, Stdio};
use cooper_llb::RunOptions;
use cooper_oci::{Document, ImageConfig, Platform, best, parse_document};
use cooper_store::{LayerId, Mount};

use crate::emulation;
use crate::error::{from_executor, from_oci, from_store};
use crate::ops::{limits, ulimit};
use crate::{Engine, Error, ErrorKind, Result};

/// Largest manifest or config that is read.
const DOCUMENT_MAX: u64 = 4 * 1024 * 1024;

/// What to run.
#[derive(Debug)]
pub struct RunRequest {
    /// Name, digest or id prefix of an image in the store.
    pub image: String,
    /// Arguments after the image: replace CMD.
    pub args: Vec<String>,
    /// `--entrypoint`; an empty word clears it.
    pub entrypoint: Option<String>,
    /// `-e`, `K=v`.
    pub env: Vec<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--hostname`.
    pub hostname: String,
    /// `-v` and the like.
    pub mounts: Vec<ProcessMount>,
    /// `--platform`; the host's if `None`.
    pub platform: Option<Platform>,
    /// `--read-only`.
    pub readonly: bool,
    /// `--network`.
    pub network: Network,
    /// `--device` by name: devices described on this host.
    pub devices: Vec<String>,
    /// `--add-host`.
    pub add_hosts: Vec<(String, String)>,
    /// `--cap-add`, `--cap-drop`, `--privileged`, `--security-opt`.
    pub profile: Profile,
    /// `--ulimit`, `--shm-size`, `--cgroup-parent`, and what else is limited.
    pub options: RunOptions,
    /// `--pids-limit`.
    pub processes: Option<u64>,
    /// Standard streams.
    pub stdio: Stdio,
}

/// A container that runs. Its filesystem is thrown away when this is dropped.
#[derive(Debug)]
pub struct Container {
    /// The process.
    pub running: Box<dyn Running>,
    _mount: Mount,
}

/// Starts a container.
///
/// # Errors
/// No such image, nothing to run in it, or what the executor refuses.
pub async fn run(engine: &Engine, request: RunRequest) -> Result<Container> {
    let host = Platform::host();
    let (config, layers) = open_image(engine, &request.image, request.platform.as_ref().unwrap_or(&host))?;
    if let Some(wanted) = request.platform.as_ref().filter(|wanted| !config.platform().serves(wanted)) {
        let what = format!("cannot run `{}`: it is for {}, not for {wanted}", request.image, config.platform());
        return Err(Error::new(ErrorKind::User, what));
    }
    let engine = engine.clone();
    crate::engine::blocking(move || start(&engine, request, &config, &layers)).await
}

/// The config and layers of an image in the store.
fn open_image(engine: &Engine, text: &str, wanted: &Platform) -> Result<(ImageConfig, Vec<LayerId>)> {
    let what = format!("cannot run `{text}`");
    let store = &engine.store;
    let found = store.resolve(text).map_err(|e| from_store(e, &what))?;
    let mut current = found.descriptor;
    let manifest = loop {
        let bytes = store.read_blob(&current.digest, DOCUMENT_MAX).map_err(|e| from_store(e, &what))?;
        match parse_document(&current.media_type, &bytes).map_err(|e| from_oci(e, &what))? {
            Document::Manifest(manifest) => break manifest,
            Document::Index(index) => {
                let images: Vec<_> = index.manifests.iter().filter(|entry| entry.media_type.is_manifest()).collect();
                let there: Vec<String> =
                    images.iter().filter_map(|d| d.platform.as_ref()).map(Platform::to_string).collect();
                let found = best(&images, wanted).cloned();
                current = found.ok_or_else(|| {
                    Error::new(ErrorKind::User, format!("{what}: it has no image for {wanted}"))
                        .with_hint(format!("it has: {}", there.join(", ")))
                })?;
            }
            Document::Other => return Err(Error::new(ErrorKind::User, format!("{what}: it is not an image"))),
        }
    };
    let config = store.read_blob(&manifest.config.digest, DOCUMENT_MAX).map_err(|e| from_store(e, &what))?;
    let config: ImageConfig = serde_json::from_slice(&config).map_err(|e| {
        Error::new(ErrorKind::User, format!("{what}: its config is not an image config")).with_source(e)
    })?;
    let import = |(blob, diff_id)| store.import_layer(blob, diff_id).map_err(|e| from_store(e, &what));
    let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(import).collect::<Result<_>>()?;
    Ok((config, layers))
}

fn start(engine: &Engine, request: RunRequest, image: &ImageConfig, layers: &[LayerId]) -> Result<Container> {
    let args = command(&request, image)?;
    let platform = image.platform();
    let emulator = emulation::prepare(&platform, &engine.search)?;
    let mount = engine.store.mount(layers, true).map_err(|e| from_store(e, "cannot mount the image"))?;
    let config = &image.config;
    let mut env = config.env.clone();
    for entry in request.env {
        let key = entry.split('=').next().unwrap_or_default().to_owned();
        env.retain(|old| old.split('=').next() != Some(&key));
        env.push(entry);
    }
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    let workdir = request.workdir.or_else(|| Some(config.working_dir.clone()).filter(|dir| !dir.is_empty()));
    let mut named = Vec::new();
    for device in &request.devices {
        named.extend(engine.devices.resolve(device, true)?);
    }
    let (mut mounts, brought) = engine.devices.give(named.iter().map(String::as_str))?;
    mounts.extend(request.mounts);
    mounts.extend(emulator);
    env.extend(brought);
    let shm = request.options.shm_size.map(|size| MountSource::Tmpfs(Some(size)));
    mounts.extend(shm.map(|source| ProcessMount { target: "/dev/shm".into(), source, readonly: false }));
    let process = Process {
        readonly_root: request.readonly,
        env,
        cwd: workdir.unwrap_or_else(|| "/".into()),
        user: request.user.unwrap_or_else(|| config.user.clone()),
        hostname: request.hostname,
        extra_hosts: request.add_hosts,
        mounts,
        network: request.network,
        profile: request.profile,
        resolv_conf: engine.resolv_conf.clone(),
        limits: Limits {
            processes: request.processes,
            ..limits(&request.options.resources, request.options.cgroup_parent)
        },
        ulimits: request.options.ulimits.iter().map(ulimit).collect(),
        stdio: request.stdio,
        ..Process::new(mount.root(), args)
    };
    let started = engine.executor.start(process).map_err(from_executor);
    let running = started.map_err(|error| emulation::explain(error, &platform))?;
    Ok(Container { running, _mount: mount })
}

/// docker's rule: ENTRYPOINT then the arguments, which default to CMD unless the entrypoint was replaced.
fn command(request: &RunRequest, image: &ImageConfig) -> Result<Vec<String>> {
    let config = &image.config;
    let entrypoint = match &request.entrypoint {
        Some(text) if text.is_empty() => Vec::new(),
        Some(text) => vec![text.clone()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    let args = match request.args.is_empty() && request.entrypoint.is_none() {
        true => config.cmd.clone().unwrap_or_default(),
        false => request.args.clone(),
    };
    let all: Vec<String> = entrypoint.into_iter().chain(args).collect();
    if all.is_empty() {
        return Err(Error::new(
            ErrorKind::User,
            format!("the image `{}` has neither CMD nor ENTRYPOINT", request.image),
        )
        .with_hint("say what to run after the image's name"));
    }
    Ok(all)
}

//! Control groups: one for each step, with its limits and what the kernel counted in it.
//!
//! Knows nothing of processes: they join by themselves, through a descriptor. Speaks both versions of the kernel's
//! interface (`Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst`), each controller where the host has it.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, FlockOperation, Mode, OFlags};

use crate::enter::read;
use crate::{Error, ErrorKind, Limits, Result};

/// Names of our groups begin so; what is left of a killed program is known by it.
const PREFIX: &str = "cooper-";
/// The controllers limits are for.
pub(crate) const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuset", "pids"];
/// Distinguishes the groups of this program.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Where this host has its control groups, and where in them this program is.
#[derive(Debug, Default)]
pub(crate) struct Host {
    hierarchies: Vec<Hierarchy>,
    /// Directories in which what killed programs left was removed.
    swept: Mutex<Vec<PathBuf>>,
}

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Version 2, which has all the controllers that version 1 does not.
    unified: bool,
    /// Of version 1.
    controllers: Vec<String>,
    mount: PathBuf,
    /// The group of this program.
    own: PathBuf,
}

impl Host {
    pub(crate) fn look() -> Self {
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// From the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` (`proc(5)`, `cgroups(7)`).
    fn parse(mounts: &str, groups: &str) -> Self {
        let hierarchies = mounts.lines().filter_map(|line| Hierarchy::parse(line, groups)).collect();
        Self { hierarchies, swept: Mutex::default() }
    }

    /// The hierarchy that has `controller`.
    fn hierarchy(&self, controller: &str) -> Option<&Hierarchy> {
        let has = |hierarchy: &&Hierarchy| match hierarchy.unified {
            true => words(&hierarchy.mount.join("cgroup.controllers")).iter().any(|word| word == controller),
            false => hierarchy.controllers.iter().any(|name| name == controller),
        };
        self.hierarchies.iter().find(has)
    }

    /// Whether groups with this controller can be made, and with which version, or why not. Of version 2, only the
    /// uppermost group of the host has no type, and may have processes and controllers for groups below it at once.
    pub(crate) fn usable(&self, controller: &str) -> std::result::Result<u8, String> {
        let hierarchy = self.hierarchy(controller).ok_or("not on this host")?;
        let writable = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
        if !hierarchy.bases(None)?.iter().any(|base| writable(base)) {
            return Err("may not be written".to_owned());
        }
        let enabled =
            |base: &PathBuf| words(&base.join("cgroup.subtree_control")).iter().any(|word| word == controller);
        let taken = |base: &PathBuf| base.join("cgroup.type").exists() && !enabled(base);
        match hierarchy.unified {
            false => Ok(1),
            true if hierarchy.bases(None)?.iter().any(|base| writable(base) && !taken(base)) => Ok(2),
            true => Err("this program's group is not delegated".to_owned()),
        }
    }

    /// The count of processes killed for memory in the group this program is in.
    fn own_kills(&self) -> Option<PathBuf> {
        let hierarchy = self.hierarchy("memory")?;
        Some(hierarchy.own.join(kills_file(hierarchy.unified)))
    }

    /// Removes the groups of programs that were killed: whoever lives holds a lock on its own.
    fn sweep(&self, base: &Path) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.iter().any(|done| done == base) {
            return;
        }
        swept.push(base.to_owned());
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
                && let Ok(_unlocked) = lock(&entry.path())
            {
                // Refused while a process is in it.
                let _still_used = std::fs::remove_dir(entry.path());
            }
        }
    }
}

fn kills_file(unified: bool) -> &'static str {
    if unified { "memory.events" } else { "memory.oom_control" }
}

fn words(path: &Path) -> Vec<String> {
    read(&path.to_string_lossy()).split_whitespace().map(str::to_owned).collect()
}

fn lock(group: &Path) -> std::io::Result<OwnedFd> {
    let fd = rustix::fs::open(group, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
    Ok(fd)
}

impl Hierarchy {
    fn parse(mount: &str, groups: &str) -> Option<Self> {
        let (place, kind) = mount.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mount) = (place.next()?, PathBuf::from(place.next()?));
        let mut kind = kind.split(' ');
        let unified = match kind.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let options: Vec<&str> = kind.nth(1)?.split(',').collect();
        let of = |line: &str| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let ours = if unified { names.is_empty() } else { names.split(',').all(|name| options.contains(&name)) };
            ours.then(|| (names.to_owned(), path.to_owned()))
        };
        let (names, path) = groups.lines().filter(|line| !line.is_empty()).find_map(of)?;
        // A container may see only a part of the hierarchy, from its own group on.
        let below = Path::new(&path).strip_prefix(root).unwrap_or(Path::new(""));
        let own = if below.as_os_str().is_empty() { mount.clone() } else { mount.join(below) };
        let controllers = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Self { unified, controllers, mount, own })
    }

    /// Where a group can be made, best first. In version 2 a group with processes in it, such as our own, has no
    /// controllers to give to groups below it unless it is the uppermost.
    fn bases(&self, parent: Option<&str>) -> std::result::Result<Vec<PathBuf>, String> {
        let Some(parent) = parent else {
            return Ok(match self.unified {
                true => vec![self.own.clone(), self.mount.clone()],
                false => vec![self.own.clone()],
            });
        };
        Ok(vec![parts(parent)?.fold(self.mount.clone(), |path, part| path.join(part))])
    }

    /// Makes a group for `controllers` in `base`.
    fn make(&self, base: &Path, controllers: &[&str]) -> std::io::Result<(PathBuf, OwnedFd)> {
        std::fs::create_dir_all(base)?;
        if self.unified {
            self.enable(base, controllers)?;
        }
        // A sweep of another program may come between making and locking.
        for _ in 0..8 {
            let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = base.join(name);
            match std::fs::create_dir(&path) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            if let Ok(lock) = lock(&path) {
                return Ok((path, lock));
            }
        }
        Err(std::io::ErrorKind::WouldBlock.into())
    }

    /// Gives the controllers to the groups on the way down to `base` and below it.
    fn enable(&self, base: &Path, controllers: &[&str]) -> std::io::Result<()> {
        let mut way: Vec<&Path> = base.ancestors().take_while(|path| path.starts_with(&self.mount)).collect();
        way.reverse();
        for group in way {
            let file = group.join("cgroup.subtree_control");
            let enabled = words(&file);
            for controller in controllers.iter().filter(|name| enabled.iter().all(|enabled| enabled != *name)) {
                write(&file, &format!("+{controller}"))?;
            }
        }
        Ok(())
    }
}

/// The names on the way to the group `parent`, which is always below the uppermost.
fn parts(parent: &str) -> std::result::Result<impl Iterator<Item = &str>, String> {
    let parts = parent.split('/').filter(|part| !part.is_empty() && *part != ".");
    if parts.clone().any(|part| part == ".." || part.contains('\0')) || parent.ends_with(':') {
        return Err(format!("`{parent}` is no path of a control group"));
    }
    Ok(parts)
}

/// Refuses a parent that leads elsewhere; runtimes would take it.
pub(crate) fn check_parent(limits: &Limits) -> Result<()> {
    let Some(parent) = &limits.parent else { return Ok(()) };
    parts(parent).map(drop).map_err(|e| Error::new(ErrorKind::Host, e))
}

/// A value goes to the kernel in one write. The file must be there: nothing is made.
fn write(file: &Path, value: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

/// The group of a step: a directory in each hierarchy that is used. Removed when dropped.
#[derive(Debug, Default)]
pub(crate) struct Group {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    unified: bool,
    path: PathBuf,
    memory: bool,
    _lock: OwnedFd,
}

impl Drop for Group {
    fn drop(&mut self) {
        for part in &self.parts {
            // What is left is removed by the next program that makes a group here.
            let _still_used = std::fs::remove_dir(&part.path);
        }
    }
}

impl Group {
    /// A group with these limits. Without any, one that limits processes where that can be had, else none.
    pub(crate) fn create(host: &Host, limits: &Limits) -> Result<Self> {
        let asked: Vec<&str> =
            CONTROLLERS.into_iter().filter(|name| !settings(limits, name, false).is_empty()).collect();
        let mut group = Self::default();
        for controller in &asked {
            let hierarchy = host.hierarchy(controller).ok_or_else(|| refused(controller, "it is not there"))?;
            group.limit(host, hierarchy, controller, limits).map_err(|e| refused(controller, &e.to_string()))?;
        }
        if let Some(parent) = &limits.parent {
            group.join_all(host, limits).map_err(|e| {
                let what = format!("cannot make a control group for the step in `{parent}`");
                Error::caused(ErrorKind::Host, what, e)
            })?;
        }
        if !asked.contains(&"pids") {
            let limits =
                Limits { processes: Some(Limits::PROCESSES), parent: limits.parent.clone(), ..Limits::default() };
            let hierarchy = host.hierarchy("pids");
            // Not asked for: a host without is a weaker one, which `cooper doctor` tells.
            let _absent = hierarchy.map(|hierarchy| group.limit(host, hierarchy, "pids", &limits));
        }
        Ok(group)
    }

    fn limit(&mut self, host: &Host, hierarchy: &Hierarchy, controller: &str, limits: &Limits) -> std::io::Result<()> {
        let path = self.part(host, hierarchy, controller, limits.parent.as_deref())?;
        if controller == "cpuset" && !hierarchy.unified {
            inherit_sets(&path)?;
        }
        for (file, value) in settings(limits, controller, hierarchy.unified) {
            write(&path.join(file), &value)
                .map_err(|e| std::io::Error::new(e.kind(), format!("{file} cannot be {value}: {e}")))?;
        }
        if controller == "memory" && hierarchy.unified {
            // Half a build is of no use.
            write(&path.join("memory.oom.group"), "1")?;
        }
        Ok(())
    }

    /// A group in every hierarchy, so that the limits of the parent count, whatever they are.
    fn join_all(&mut self, host: &Host, limits: &Limits) -> std::io::Result<()> {
        for hierarchy in &host.hierarchies {
            let named = hierarchy.controllers.iter().any(|name| name.contains('='));
            // A new group of version 1 has no processors at first; it is only made to give it some.
            if !named && !hierarchy.controllers.iter().any(|name| name == "cpuset") {
                let controller = hierarchy.controllers.first().map_or("", String::as_str);
                self.part(host, hierarchy, controller, limits.parent.as_deref())?;
            }
        }
        Ok(())
    }

    /// The directory of this group in a hierarchy, made at first use.
    fn part(
        &mut self,
        host: &Host,
        hierarchy: &Hierarchy,
        controller: &str,
        parent: Option<&str>,
    ) -> std::io::Result<PathBuf> {
        let controllers: Vec<&str> = [controller].into_iter().filter(|name| !name.is_empty()).collect();
        if let Some(part) = self.parts.iter_mut().find(|part| part.path.starts_with(&hierarchy.mount)) {
            part.memory |= controller == "memory";
            if let (true, Some(base)) = (part.unified, part.path.parent()) {
                hierarchy.enable(base, &controllers)?;
            }
            return Ok(part.path.clone());
        }
        let mut failed = std::io::Error::from(std::io::ErrorKind::NotFound);
        for base in hierarchy.bases(parent).map_err(std::io::Error::other)? {
            host.sweep(&base);
            match hierarchy.make(&base, &controllers) {
                Ok((path, lock)) => {
                    let memory = controller == "memory";
                    self.parts.push(Part { unified: hierarchy.unified, path: path.clone(), memory, _lock: lock });
                    return Ok(path);
                }
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }

    /// What a process writes `0` to in order to join: one descriptor a hierarchy.
    pub(crate) fn entries(&self) -> Result<Vec<OwnedFd>> {
        let open = |part: &Part| {
            let file = File::options().write(true).open(part.path.join("cgroup.procs"))?;
            Ok(OwnedFd::from(file))
        };
        let all = self.parts.iter().map(open).collect::<std::io::Result<_>>();
        all.map_err(|e| Error::caused(ErrorKind::Host, "cannot use the control group of the step", e))
    }

    /// Counts from now on.
    pub(crate) fn meter(&self, host: &Host) -> Meter {
        let part = self.parts.iter().find(|part| part.memory);
        let own = part.map(|part| part.path.join(kills_file(part.unified)));
        let alone = own.is_some();
        let file = own.or_else(|| host.own_kills());
        Meter { before: file.as_deref().map_or(0, kills), file, alone }
    }
}

/// Whether memory ran out while a step ran.
#[derive(Debug)]
pub(crate) struct Meter {
    file: Option<PathBuf>,
    before: u64,
    /// It counts this step only.
    pub(crate) alone: bool,
}

impl Meter {
    /// Counts all of the host, for a step whose group is made and removed by others.
    pub(crate) fn of_host() -> Self {
        let file = PathBuf::from("/proc/vmstat");
        Self { before: kills(&file), file: Some(file), alone: false }
    }

    /// The kernel has killed a process for memory.
    pub(crate) fn ran_out(&self) -> bool {
        self.file.as_deref().is_some_and(|file| kills(file) > self.before)
    }
}

fn kills(file: &Path) -> u64 {
    let text = read(&file.to_string_lossy());
    let count =
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.trim().parse().ok());
    count.unwrap_or(0)
}

/// In version 1 a new group has no processors and no memory nodes, and takes no process before it is given some.
fn inherit_sets(group: &Path) -> std::io::Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let above = group.parent().unwrap_or(group);
        if above.join(name).exists() && read(&above.join(name).to_string_lossy()).trim().is_empty() {
            inherit_sets(above)?;
        }
        write(&group.join(name), read(&above.join(name).to_string_lossy()).trim())?;
    }
    Ok(())
}

fn refused(controller: &str, why: &str) -> Error {
    let what = match controller {
        "memory" => "memory",
        "pids" => "the processes",
        _ => "the processors",
    };
    Error::new(ErrorKind::Host, format!("cannot limit {what} of the step: control group `{controller}`: {why}"))
        .with_hint("`cooper doctor` tells which limits this host gives; in a container it must own its control group")
}

/// What is written to which file for a controller.
fn settings(limits: &Limits, controller: &str, unified: bool) -> Vec<(&'static str, String)> {
    match controller {
        "memory" => memory(limits, unified),
        "cpu" => processors(limits, unified),
        "cpuset" => {
            let sets = [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)];
            sets.into_iter().filter_map(|(file, set)| Some((file, set.clone()?))).collect()
        }
        "pids" => limits.processes.map(|count| ("pids.max", number_of_processes(count))).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The kernel takes no number above that of all processes there can be.
fn number_of_processes(count: u64) -> String {
    const ALL: u64 = 4 << 20;
    if count < ALL { count.to_string() } else { "max".to_owned() }
}

fn memory(limits: &Limits, unified: bool) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let file = if unified { "memory.max" } else { "memory.limit_in_bytes" };
    out.extend(limits.memory.map(|bytes| (file, bytes.to_string())));
    let swap = limits.memory_swap.map(|both| match (unified, u64::try_from(both)) {
        (true, Err(_)) => ("memory.swap.max", "max".to_owned()),
        // Version 2 counts swap alone.
        (true, Ok(both)) => ("memory.swap.max", both.saturating_sub(limits.memory.unwrap_or(0)).to_string()),
        (false, _) => ("memory.memsw.limit_in_bytes", both.to_string()),
    });
    out.extend(swap);
    out
}

fn processors(limits: &Limits, unified: bool) -> Vec<(&'static str, String)> {
    /// Microseconds, the kernel's default.
    const PERIOD: u64 = 100_000;
    let mut out = Vec::new();
    let (quota, period) = (limits.cpu_quota, limits.cpu_period);
    if !unified {
        out.extend(limits.cpu_shares.map(|shares| ("cpu.shares", shares.to_string())));
        out.extend(period.map(|period| ("cpu.cfs_period_us", period.to_string())));
        out.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
        return out;
    }
    out.extend(limits.cpu_shares.map(|shares| ("cpu.weight", weight(shares).to_string())));
    if quota.is_some() || period.is_some() {
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        out.push(("cpu.max", format!("{quota} {}", period.unwrap_or(PERIOD))));
    }
    out
}

/// Shares of 2..=262144 as a weight of 1..=10000, in proportion: what the runtimes do.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

#[cfg(test)]
#[path = "cgroup/tests.rs"]
mod tests;

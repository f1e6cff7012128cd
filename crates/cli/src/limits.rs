//! The limits of steps and containers: docker's flags for them, and their values from text.
//!
//! Knows nothing of how a limit is put into force.

use clap::Args;
use cooper_engine::{Resources, RunOptions, Ulimit};

use crate::error::{CommandError, CommandResult};
use crate::human;

/// The names of limits of a process that docker knows.
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Flags of docker that limit what runs.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LimitFlags {
    /// Limit of each process: `nofile=1024:4096`; may be repeated
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,

    /// Control group below which new ones are made
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// Memory for all processes together
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,

    /// Memory and swap together; -1 for any
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,

    /// Weight where processors are scarce [default: 1024]
    #[arg(short, long, value_name = "N")]
    cpu_shares: Option<String>,

    /// Microseconds in which the quota can be used up
    #[arg(long, value_name = "N")]
    cpu_period: Option<String>,

    /// Microseconds of processor time in a period
    #[arg(long, value_name = "N")]
    cpu_quota: Option<String>,

    /// Processors to run on: `0-2,5`
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// Memory nodes to use, likewise
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
}

impl LimitFlags {
    /// What the flags say, with the `KEY=VALUE` pairs of `--resource` over them.
    pub(crate) fn options(&self, pairs: &[String]) -> CommandResult<RunOptions> {
        let mut resources = Resources::default();
        for (key, value) in [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ] {
            if let Some(value) = value {
                set(&mut resources, key, value).map_err(|what| CommandError::usage(format!("--{key} {what}")))?;
            }
        }
        for pair in pairs {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                CommandError::usage(format!("--resource `{pair}` is not KEY=VALUE")).with_hint("--resource memory=2g")
            })?;
            set(&mut resources, key.trim(), value.trim())
                .map_err(|what| CommandError::usage(format!("--resource {key}: {what}")))?;
        }
        let shm_size = self.shm_size.as_deref().map(|text| {
            memory_size(text).filter(|size| *size > 0).ok_or_else(|| {
                CommandError::usage(format!("--shm-size `{text}` is not a size")).with_hint("write it as `64m` or `1g`")
            })
        });
        Ok(RunOptions {
            ulimits: ulimits(&self.ulimits)?,
            shm_size: shm_size.transpose()?,
            cgroup_parent: self.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
            resources,
        })
    }
}

fn set(resources: &mut Resources, key: &str, value: &str) -> Result<(), String> {
    let number = || value.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{value}` is not a number above 0"));
    match key {
        "memory" => resources.memory = Some(memory_limit(value)?),
        "memory-swap" if value == "-1" => resources.memory_swap = Some(-1),
        "memory-swap" => resources.memory_swap = i64::try_from(memory_limit(value)?).ok(),
        "cpu-shares" => resources.cpu_shares = Some(number()?),
        "cpu-period" => resources.cpu_period = Some(number()?),
        "cpu-quota" => resources.cpu_quota = Some(number()?),
        "cpuset-cpus" => resources.cpuset_cpus = Some(set_of_numbers(value)?),
        "cpuset-mems" => resources.cpuset_mems = Some(set_of_numbers(value)?),
        _ => {
            return Err("is not known; the keys are memory, memory-swap, cpu-shares, cpu-period, cpu-quota, \
                cpuset-cpus and cpuset-mems"
                .to_owned());
        }
    }
    Ok(())
}

fn memory_limit(text: &str) -> Result<u64, String> {
    memory_size(text).filter(|size| *size > 0).ok_or_else(|| format!("`{text}` is not a size such as `512m` or `2g`"))
}

/// A size whose units are powers of 1024, as docker has it for memory.
pub(crate) fn memory_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let bare = text.strip_suffix("ib").or(text.strip_suffix('b')).unwrap_or(&text);
    match bare.ends_with(|c: char| c.is_ascii_digit()) {
        true => human::parse_size(bare),
        false => human::parse_size(&format!("{bare}ib")),
    }
    .filter(|size| i64::try_from(*size).is_ok())
}

/// `0-2,5`: numbers and ranges, as the kernel reads them.
fn set_of_numbers(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u16>().ok();
    let ok = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
        None => number(part).is_some(),
    };
    match text.split(',').all(ok) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is not a list such as `0-2,5`")),
    }
}

/// `NAME=SOFT[:HARD]`; -1 is no limit. Of one name the last counts.
fn ulimits(texts: &[String]) -> CommandResult<Vec<Ulimit>> {
    let mut all: Vec<Ulimit> = Vec::new();
    for text in texts {
        let ulimit = ulimit(text).map_err(|what| {
            CommandError::usage(format!("--ulimit `{text}`: {what}")).with_hint("--ulimit nofile=1024:4096")
        })?;
        all.retain(|other| other.name != ulimit.name);
        all.push(ulimit);
    }
    Ok(all)
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, values) = text.split_once('=').ok_or("it is not NAME=SOFT[:HARD]")?;
    if !ULIMITS.contains(&name) {
        return Err(format!("there is no limit `{name}`; there are {}", ULIMITS.join(", ")));
    }
    let value = |text: &str| match text {
        "-1" => Ok(None),
        text => text.parse::<u64>().map(Some).map_err(|_| format!("`{text}` is not a number")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    // No limit is the largest.
    if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
        return Err("the soft limit is above the hard one".to_owned());
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_are_read_as_docker_does() {
        let limit = |soft, hard| Ok(Ulimit { name: "nofile".into(), soft, hard });
        for (text, expect) in [
            ("nofile=5", limit(Some(5), Some(5))),
            ("nofile=5:7", limit(Some(5), Some(7))),
            ("nofile=5:-1", limit(Some(5), None)),
            ("nofile=-1", limit(None, None)),
            ("nofile=7:5", Err("the soft limit is above the hard one".to_owned())),
            ("nofile=-1:5", Err("the soft limit is above the hard one".to_owned())),
            ("nofile", Err("it is not NAME=SOFT[:HARD]".to_owned())),
            ("nofile=x", Err("`x` is not a number".to_owned())),
            ("nofile=-2", Err("`-2` is not a number".to_owned())),
        ] {
            assert_eq!(ulimit(text), expect, "{text}");
        }
        assert!(ulimit("nofiles=1").is_err());
        let last = ulimits(&["nofile=1".into(), "core=0".into(), "nofile=2".into()]).unwrap();
        assert_eq!(last.iter().map(|limit| limit.name.as_str()).collect::<Vec<_>>(), ["core", "nofile"]);
    }

    #[test]
    fn memory_is_counted_in_powers_of_1024() {
        for (text, expect) in [
            ("512", Some(512)),
            ("512b", Some(512)),
            ("64m", Some(64 << 20)),
            ("1.5G", Some(3 << 29)),
            ("2GiB", Some(2 << 30)),
            ("1kb", Some(1024)),
            ("x", None),
            ("", None),
            ("-1", None),
            ("99999999p", None),
        ] {
            assert_eq!(memory_size(text), expect, "{text}");
        }
    }

    #[test]
    fn resources_over_flags() {
        let flags = LimitFlags { memory: Some("1g".into()), cpu_shares: Some("7".into()), ..LimitFlags::default() };
        let pairs = ["memory=64m", "memory-swap=-1", "cpu-quota=5", "cpuset-cpus=0-1,3"].map(str::to_owned);
        let resources = flags.options(&pairs).unwrap().resources;
        assert_eq!((resources.memory, resources.memory_swap), (Some(64 << 20), Some(-1)));
        assert_eq!((resources.cpu_shares, resources.cpu_quota), (Some(7), Some(5)));
        assert_eq!(resources.cpuset_cpus.as_deref(), Some("0-1,3"));
        for pair in
            ["memory", "memory=0", "memory=x", "cpus=1", "cpu-quota=-1", "cpuset-cpus=2-1", "cpuset-mems=a", "=1"]
        {
            assert!(LimitFlags::default().options(&[pair.to_owned()]).is_err(), "{pair}");
        }
    }
}

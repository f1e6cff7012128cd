//! Caches of type `s3` and `gha`: their options, as BuildKit names them, and what the environment adds.
//!
//! Knows nothing of how such a cache is spoken to, and asks nobody for credentials.

use std::time::Duration;

use cooper_engine::{GhaOptions, S3Options};

use super::caches::Fields;
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};
use crate::human;

/// What a cache in a bucket is called. BuildKit's own is `buildkit`: neither reads the other's, so they can live together.
const S3_NAME: &str = "cooper";

/// What a cache in GitHub's service is called; BuildKit's word, which nothing of BuildKit's collides with.
const GHA_SCOPE: &str = "buildkit";

/// As BuildKit has it.
const TOUCH_REFRESH: Duration = Duration::from_secs(24 * 3600);

/// As BuildKit has it.
const UPLOAD_PARALLELISM: usize = 4;

/// Each upload holds 8 MiB in memory.
const UPLOAD_PARALLELISM_MAX: usize = 64;

/// As BuildKit has it.
const GHA_TIMEOUT: Duration = Duration::from_secs(600);

/// Largest file of credentials read.
const FILE_MAX: u64 = 1024 * 1024;

/// The options of `type=s3`.
pub(super) fn s3(fields: &mut Fields, environment: &Environment) -> CommandResult<S3Options> {
    let profile = Profile::read(environment);
    let of = |fields: &mut Fields, key: &str, names: &[&str]| {
        let given = fields.take(key).filter(|value| !value.is_empty());
        given.or_else(|| {
            names.iter().find_map(|name| environment.get(name).filter(|v| !v.is_empty()).map(str::to_owned))
        })
    };
    let bucket = of(fields, "bucket", &["AWS_BUCKET"]).ok_or_else(|| fields.missing("bucket", "AWS_BUCKET"))?;
    let region = of(fields, "region", &["AWS_REGION", "AWS_DEFAULT_REGION"]).or_else(|| profile.region());
    let region = region.ok_or_else(|| fields.missing("region", "AWS_REGION"))?;
    let endpoint = of(fields, "endpoint_url", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    let names = fields.take("name").unwrap_or_else(|| S3_NAME.into());
    let names: Vec<String> = names.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(CommandError::usage(format!("{}: `name=` names nothing", fields.flag)));
    }
    for key in ["retry_mode", "retry_max_attempts"] {
        if fields.take(key).is_some() {
            let error = CommandError::usage(format!("{}: `{key}` is not supported", fields.flag));
            return Err(error.with_hint("leave it out: what fails in passing is tried five times, later and later"));
        }
    }
    // A request of cooper's has no such header.
    fields.boolean("disable_accept_encoding")?;
    Ok(S3Options {
        credentials: credentials(fields, environment, &profile)?,
        bucket,
        region,
        endpoint,
        path_style: fields.boolean("use_path_style")?,
        prefix: fields.take("prefix").unwrap_or_default(),
        blobs_prefix: fields.take("blobs_prefix").unwrap_or_else(|| "blobs/".into()),
        manifests_prefix: fields.take("manifests_prefix").unwrap_or_else(|| "manifests/".into()),
        names,
        touch_refresh: duration(fields, "touch_refresh", TOUCH_REFRESH)?,
        upload_parallelism: match fields.take("upload_parallelism").map(|text| text.parse::<usize>()) {
            None => UPLOAD_PARALLELISM,
            Some(Ok(count @ 1..=UPLOAD_PARALLELISM_MAX)) => count,
            Some(_) => {
                let what =
                    format!("{}: upload_parallelism is a number from 1 to {UPLOAD_PARALLELISM_MAX}", fields.flag);
                return Err(CommandError::usage(what));
            }
        },
    })
}

type Credentials = (String, String, Option<String>);

/// From the option, the environment or the file of credentials: the first of them that has a key. Roles of machines, web
/// identities and single sign-on would have to be asked over the network.
fn credentials(fields: &mut Fields, environment: &Environment, profile: &Profile) -> CommandResult<Credentials> {
    let pair = |id: Option<String>, secret: Option<String>, token| Some((id?, secret?, token));
    let given = pair(fields.take("access_key_id"), fields.take("secret_access_key"), fields.take("session_token"));
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let set = || pair(variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_SESSION_TOKEN"));
    given.or_else(set).or_else(|| profile.credentials()).ok_or_else(|| {
        CommandError::usage(format!("{}: there is no access key for the bucket", fields.flag)).with_hint(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; of a role or a login, `aws configure export-credentials --format env` prints them",
        )
    })
}

/// The files of Amazon's tools, and the section of them that counts.
#[derive(Debug, Default)]
struct Profile {
    name: String,
    credentials: String,
    config: String,
}

impl Profile {
    fn read(environment: &Environment) -> Self {
        let file = |variable: &str, name: &str| {
            let path =
                environment.path(variable).or_else(|| Some(environment.path("HOME")?.join(".aws").join(name)))?;
            let size = std::fs::metadata(&path).ok()?.len();
            std::fs::read_to_string(path).ok().filter(|_| size <= FILE_MAX)
        };
        Self {
            name: environment.get("AWS_PROFILE").filter(|name| !name.is_empty()).unwrap_or("default").to_owned(),
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials").unwrap_or_default(),
            config: file("AWS_CONFIG_FILE", "config").unwrap_or_default(),
        }
    }

    /// A value of the profile in the one file or the other, where its section is called `profile NAME`.
    fn value(&self, key: &str) -> Option<String> {
        let in_config = if self.name == "default" { self.name.clone() } else { format!("profile {}", self.name) };
        value(&self.credentials, &self.name, key).or_else(|| value(&self.config, &in_config, key))
    }

    fn region(&self) -> Option<String> {
        self.value("region")
    }

    fn credentials(&self) -> Option<Credentials> {
        let token = self.value("aws_session_token");
        Some((self.value("aws_access_key_id")?, self.value("aws_secret_access_key")?, token))
    }
}

/// A value of a section of an INI file.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut here = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            here = name.trim() == section;
        } else if let Some((_, value)) = line.split_once('=').filter(|(name, _)| here && name.trim() == key) {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

/// The options of `type=gha`.
pub(super) fn gha(fields: &mut Fields, environment: &Environment) -> CommandResult<GhaOptions> {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
    for key in ["ghtoken", "repository"] {
        if fields.take(key).is_some() {
            let error = CommandError::usage(format!("{}: `{key}` is not supported", fields.flag));
            return Err(error.with_hint("leave it out: the cache service itself is asked what it has"));
        }
    }
    let wants_v2 = match fields.take("version").as_deref() {
        None => {
            variable("ACTIONS_CACHE_SERVICE_V2").is_some_and(|text| matches!(&*text.to_ascii_lowercase(), "true" | "1"))
        }
        Some("1") => false,
        Some("2") => true,
        Some(other) => {
            return Err(CommandError::usage(format!("{}: version=`{other}` is neither 1 nor 2", fields.flag)));
        }
    };
    let (v1, v2) = (fields.take("url"), fields.take("url_v2"));
    // As in BuildKit: an address of version 2 is used if there is one, unless version 1 is asked for.
    let is_v2 = wants_v2 || (v2.is_some() && v1.is_none());
    let url = match is_v2 {
        true => v2.or_else(|| variable("ACTIONS_RESULTS_URL")).or(v1),
        false => v1.or_else(|| variable("ACTIONS_CACHE_URL")).or_else(|| variable("ACTIONS_RESULTS_URL")),
    };
    let flag = fields.flag;
    let outside = |what: &str| {
        CommandError::usage(format!("{flag}: there is no {what} of GitHub's cache service")).with_hint(
            "runners show ACTIONS_RUNTIME_TOKEN and ACTIONS_RESULTS_URL to actions only: see docs/caches.md for a step that passes them on",
        )
    };
    let url = url.ok_or_else(|| outside("address"))?;
    let token = variable("ACTIONS_RUNTIME_TOKEN");
    let token = fields.take("token").or(token).ok_or_else(|| outside("token"))?;
    Ok(GhaOptions {
        url,
        is_v2,
        token,
        scope: fields.take("scope").unwrap_or_else(|| GHA_SCOPE.into()),
        timeout: duration(fields, "timeout", GHA_TIMEOUT)?,
    })
}

fn duration(fields: &mut Fields, key: &str, default: Duration) -> CommandResult<Duration> {
    let Some(text) = fields.take(key) else { return Ok(default) };
    let error = || CommandError::usage(format!("{}: {key}=`{text}` is not a duration", fields.flag));
    human::parse_duration(&text).ok_or_else(|| error().with_hint("such as 10m or 24h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse("--cache-to", text).unwrap()
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    #[test]
    fn s3_is_written_as_for_buildkit() {
        let environment = Environment::of(&[&KEYS[..], &[("AWS_REGION", "eu-1"), ("AWS_SESSION_TOKEN", "t")]].concat());
        let options = s3(&mut fields("bucket=b,name=a;b,prefix=p/,touch_refresh=1h,use_path_style=true"), &environment);
        let options = options.unwrap();
        assert_eq!((options.bucket.as_str(), options.region.as_str(), options.path_style), ("b", "eu-1", true));
        assert_eq!(options.credentials, ("id".into(), "secret".into(), Some("t".into())));
        assert_eq!((options.names, options.prefix.as_str()), (vec!["a".into(), "b".into()], "p/"));
        assert_eq!((options.blobs_prefix.as_str(), options.manifests_prefix.as_str()), ("blobs/", "manifests/"));
        assert_eq!((options.touch_refresh.as_secs(), options.upload_parallelism), (3600, 4));
        let given = "bucket=b,region=r,access_key_id=x,secret_access_key=y,endpoint_url=http://127.0.0.1:1";
        let options = s3(&mut fields(given), &environment).unwrap();
        assert_eq!(options.credentials, ("x".into(), "y".into(), None), "keys are taken together or not at all");
        assert!(!format!("{options:?}").contains('y'), "no secret is printed");
    }

    #[test]
    fn keys_and_region_of_a_profile() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        write(
            "credentials",
            "[default]\naws_access_key_id=no\n# [work]\n[work]\naws_access_key_id = a\naws_secret_access_key = b=\n",
        );
        write("config", "[default]\nregion=no\n[profile work]\nregion = eu-2\n");
        let environment = Environment::of(&[("HOME", home.path().to_str().unwrap()), ("AWS_PROFILE", "work")]);
        let options = s3(&mut fields("bucket=b"), &environment).unwrap();
        assert_eq!((options.region.as_str(), options.credentials), ("eu-2", ("a".into(), "b=".into(), None)));
    }

    #[test]
    fn github_is_found_in_the_environment() {
        let of = |text: &str, pairs: &[(&str, &str)]| gha(&mut fields(text), &Environment::of(pairs));
        let runner = [
            ("ACTIONS_RUNTIME_TOKEN", "t"),
            ("ACTIONS_CACHE_URL", "https://v1"),
            ("ACTIONS_RESULTS_URL", "https://v2"),
            ("ACTIONS_CACHE_SERVICE_V2", "True"),
        ];
        for (text, pairs, url, is_v2) in [
            ("", &runner[..], "https://v2", true),
            ("version=1", &runner, "https://v1", false),
            ("", &runner[..3], "https://v1", false),
            ("url_v2=https://x", &runner[..3], "https://x", true),
            ("version=2", &runner[..3], "https://v2", true),
        ] {
            let options = of(text, pairs).unwrap();
            assert_eq!((options.url.as_str(), options.is_v2), (url, is_v2), "{text}");
        }
        for (text, pairs) in [("", &runner[1..]), ("", &runner[..1])] {
            assert!(!of(text, pairs).unwrap_err().hints.is_empty());
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let none = Environment::default();
        let keys = Environment::of(&KEYS);
        for (text, environment, expect) in [
            ("region=r", &keys, "`bucket=` is missing"),
            ("bucket=b", &keys, "`region=` is missing"),
            ("bucket=b,region=r", &none, "there is no access key"),
            ("bucket=b,region=r,upload_parallelism=0", &keys, "a number from 1 to 64"),
            ("bucket=b,region=r,touch_refresh=soon", &keys, "is not a duration"),
            ("bucket=b,region=r,retry_mode=standard", &keys, "is not supported"),
        ] {
            let error = s3(&mut fields(text), environment).unwrap_err();
            assert!(error.what.contains(expect), "{text}: {}", error.what);
        }
    }
}

//! The config of a base image, from what is declared of it (image-spec, config.md).
//!
//! Knows nothing of layers beyond their titles: whoever writes them fills in the diff ids.

use cooper_oci::{Config, History, ImageConfig, Platform};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::manifest::ImageSettings;
use crate::{Error, ErrorKind, Lock, Manifest, Result};

/// 1980-01-01: the date of images whose packages come from no dated release. The same as for `FROM scratch`.
const NO_DATE: i64 = 315_532_800;

impl Lock {
    /// The date of an image: that of the newest release it is made from, seconds since 1970.
    pub fn date(&self) -> i64 {
        self.releases.values().map(|release| release.date).max().unwrap_or(NO_DATE)
    }
}

/// The config of an image with these layers, without their diff ids. `created` is in seconds since 1970.
pub fn image_config(manifest: &Manifest, platform: &Platform, created: i64, titles: &[String]) -> Result<ImageConfig> {
    let date = rfc3339(created)?;
    let line = |title: &String| History {
        created: Some(date.clone()),
        created_by: format!("cooper base: {title}"),
        ..History::default()
    };
    Ok(ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        created: Some(date.clone()),
        config: settings(&manifest.config),
        history: titles.iter().map(line).collect(),
        ..ImageConfig::default()
    })
}

fn settings(declared: &ImageSettings) -> Config {
    let set = |list: &[String]| list.iter().map(|key| (key.clone(), json!({}))).collect();
    Config {
        user: declared.user.clone().unwrap_or_default(),
        env: declared.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        entrypoint: declared.entrypoint.clone(),
        cmd: declared.cmd.clone(),
        working_dir: declared.workdir.clone().unwrap_or_default(),
        labels: declared.labels.clone(),
        exposed_ports: set(&declared.expose),
        volumes: set(&declared.volumes),
        stop_signal: declared.stop_signal.clone().unwrap_or_default(),
        ..Config::default()
    }
}

pub(crate) fn rfc3339(secs: i64) -> Result<String> {
    let date = OffsetDateTime::from_unix_timestamp(secs).ok().and_then(|date| date.format(&Rfc3339).ok());
    date.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{secs} seconds since 1970 is not a date of this era")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_declared_is_in_the_config() {
        let manifest = Manifest {
            config: ImageSettings {
                env: BTreeMap::from([("A".into(), "1".into())]),
                expose: vec!["80/tcp".into()],
                user: Some("65532".into()),
                ..ImageSettings::default()
            },
            ..Manifest::default()
        };
        let config = image_config(&manifest, &Platform::new("linux", "arm64"), 0, &["a 1".into()]).unwrap();
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(json["created"], "1970-01-01T00:00:00Z");
        assert_eq!(json["history"][0]["created_by"], "cooper base: a 1");
        assert_eq!(json["config"]["Env"][0], "A=1");
        assert_eq!(json["config"]["User"], "65532");
        assert!(json["config"]["ExposedPorts"]["80/tcp"].is_object());
        assert!(image_config(&manifest, &Platform::host(), i64::MAX, &[]).is_err());
    }
}

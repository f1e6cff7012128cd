//! `cooper pull` and `cooper push`: images between registries and the store.
//!
//! Knows nothing of registries.

use clap::Args;
use cooper_engine::{Carry, Location};
use cooper_oci::{Platform, Reference};

use crate::commands::copy::{self, Shown};
use crate::error::{CommandError, CommandResult};
use crate::surroundings::Surroundings;
use crate::{output, store_calls};

/// Fetch images from registries into the store
#[derive(Args, Clone, Debug)]
pub(crate) struct Pull {
    /// Names of images
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    pub(crate) names: Vec<String>,

    /// Platform of the image [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with = "all_platforms")]
    pub(crate) platform: Option<Platform>,

    /// The images of all platforms
    #[arg(long)]
    pub(crate) all_platforms: bool,

    /// Every tag of the repositories
    #[arg(short, long)]
    pub(crate) all_tags: bool,

    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// Send images of the store to registries
#[derive(Args, Clone, Debug)]
pub(crate) struct Push {
    /// Names of images, which say where they go
    #[arg(value_name = "NAME[:TAG]", required = true)]
    pub(crate) names: Vec<String>,

    /// Every tag of these repositories in the store
    #[arg(short, long)]
    pub(crate) all_tags: bool,

    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// Pulls.
pub(crate) async fn pull(args: &Pull, at: &Surroundings) -> CommandResult {
    let mut names = Vec::new();
    for name in &args.names {
        let name = reference(name)?;
        match args.all_tags {
            true => names.extend(copy::tags_of(&name, at).await?),
            false => names.push(name),
        }
    }
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let work = names.iter().map(|name| Carry {
        from: Location::Registry(name.clone()),
        to: Location::Store(name.to_string()),
        platform: (!args.all_platforms).then(|| platform.clone()),
        referrers: false,
    });
    copy::carry(&work.collect::<Vec<_>>(), &args.shown, at).await?;
    output::data(&names.iter().map(|name| format!("{}\n", name.familiar())).collect::<String>())
}

/// Pushes.
pub(crate) async fn push(args: &Push, at: &Surroundings) -> CommandResult {
    let mut names = Vec::new();
    for text in &args.names {
        let name = reference(text)?;
        if !args.all_tags {
            names.push(name);
            continue;
        }
        let known = store_calls::images(at)?.into_iter().filter_map(|image| image.name);
        let same = |other: &Reference| other.registry() == name.registry() && other.repository() == name.repository();
        let before = names.len();
        names.extend(known.filter(same));
        if names.len() == before {
            return Err(CommandError::failure(format!("no image of the store is named `{text}`")));
        }
    }
    let work = names.iter().map(|name| Carry {
        from: Location::Store(name.to_string()),
        to: Location::Registry(name.clone()),
        platform: None,
        referrers: false,
    });
    copy::carry(&work.collect::<Vec<_>>(), &args.shown, at).await
}

fn reference(name: &str) -> CommandResult<Reference> {
    name.parse().map_err(|error: cooper_oci::Error| {
        let hint = error.hint().map(str::to_owned);
        let error = CommandError::usage(format!("`{name}` is not the name of an image: {error}"));
        hint.into_iter().fold(error, CommandError::with_hint)
    })
}

//! Where files and filesystems of a stage come from, and how a written name is found.
//!
//! Knows nothing of the graph.

use std::collections::BTreeMap;

use cooper_llb::{GitSource, HttpSource};
use cooper_oci::{Platform, Reference};

use super::{Args, BaseKey, Named};

/// A filesystem or set of files that a step reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The build context.
    Context,
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image, with what is shown for it (`FROM docker.io/library/x:latest`).
    Image { reference: Reference, platform: Platform, shown: String },
    /// An image of a layout.
    OciLayout { name: String, target: Option<String>, platform: Platform },
    /// Files given with `--build-context`.
    Local { name: String },
    /// A git repository.
    Git(GitSource),
    /// A file at an address.
    Http(HttpSource),
}

impl Origin {
    /// An image by its name.
    pub(crate) fn image(reference: Reference, platform: &Platform) -> Self {
        let shown = format!("FROM {reference}");
        Self::Image { reference, platform: platform.clone(), shown }
    }

    /// What a `--build-context` stands for.
    pub(crate) fn named(name: &str, named: &Named, platform: &Platform) -> Self {
        match named {
            Named::Local => Self::Local { name: name.to_owned() },
            Named::Image(reference) => Self::Image {
                reference: reference.clone(),
                platform: platform.clone(),
                shown: format!("[context {name}] {reference}"),
            },
            Named::OciLayout { target } => {
                Self::OciLayout { name: name.to_owned(), target: target.clone(), platform: platform.clone() }
            }
        }
    }

    /// The config that must be known to build on it.
    pub(crate) fn base_key(&self) -> Option<BaseKey> {
        match self {
            Self::Image { reference, platform, .. } => {
                Some(BaseKey::Image { reference: reference.clone(), platform: platform.clone() })
            }
            Self::OciLayout { name, target, platform } => {
                Some(BaseKey::OciLayout { name: name.clone(), target: target.clone(), platform: platform.clone() })
            }
            Self::Context | Self::Scratch | Self::Stage(_) => None,
            Self::Local { .. } | Self::Git(_) | Self::Http(_) => None,
        }
    }
}

/// The `--build-context` of a stage name or image name: `name::platform` first, then the name; image names are compared
/// in their short form without `:latest`.
pub(crate) fn named_context(args: &Args, name: &str, platform: &Platform) -> Option<Origin> {
    if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
        return None;
    }
    let short = short_name(name);
    let contexts = &args.contexts;
    let found = [name, short.as_str()].into_iter().find_map(|name| with_platform(contexts, name, platform))?;
    let (name, named) = found;
    Some(Origin::named(name, named, platform))
}

fn with_platform<'a>(
    contexts: &'a BTreeMap<String, Named>,
    name: &str,
    platform: &Platform,
) -> Option<(&'a String, &'a Named)> {
    contexts.get_key_value(&format!("{name}::{platform}")).or_else(|| contexts.get_key_value(name))
}

fn short_name(name: &str) -> String {
    let Ok(reference) = name.parse::<Reference>() else { return name.to_owned() };
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
}

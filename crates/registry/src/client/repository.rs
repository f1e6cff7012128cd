//! One repository of one registry, and the URLs below it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use cooper_oci::{Digest, Reference, Target};
use url::Url;

use super::exchange::Registry;
use super::origin;
use crate::{Error, ErrorKind, Result};

/// Repositories of the same registry that may have a blob already, for mounting it from there.
pub type Mounts = Arc<dyn Fn(&Digest) -> Vec<String> + Send + Sync>;

/// A repository, and the tag or digest its [`Reference`] named. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) registry: Arc<Registry>,
    pub(crate) reference: Reference,
    pub(crate) mounts: Option<Mounts>,
    /// The same repository at the registry's mirrors, asked first for what is read.
    pub(crate) mirrors: Arc<[Repository]>,
    /// Uploads that a refused mount left open, by digest: used by the upload that follows.
    pub(crate) open_uploads: Arc<Mutex<HashMap<Digest, Url>>>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Repository").field(&self.reference.to_string()).finish()
    }
}

/// What a request needs to be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

impl Repository {
    pub(crate) fn new(registry: Arc<Registry>, reference: Reference) -> Self {
        Self { registry, reference, mounts: None, mirrors: Arc::default(), open_uploads: Arc::default() }
    }

    /// The name this repository was opened by.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The same repository, whose `has` also mounts blobs from the repositories that `mounts` names.
    #[must_use]
    pub fn with_mounts(mut self, mounts: Mounts) -> Self {
        self.mounts = Some(mounts);
        self
    }

    /// Reads from the first place that can give it, of [`Self::places`].
    pub(crate) async fn first<T, F>(&self, read: impl Fn(Repository) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let (mut place, mut rest) = self.places();
        loop {
            match (read(place.clone()).await, rest.pop_front()) {
                (Err(error), Some(next)) => {
                    place.failed_as_mirror(&error);
                    place = next;
                }
                (done, _) => return done,
            }
        }
    }

    /// Where reads go: the mirrors in order, but for those left out, and last the registry itself, whose answer counts.
    /// What a mirror gives is verified as if the registry had given it.
    pub(crate) fn places(&self) -> (Self, VecDeque<Self>) {
        let itself = Self { mirrors: Arc::default(), ..self.clone() };
        let mut places: VecDeque<Self> = self.usable_mirrors().cloned().collect();
        match places.pop_front() {
            Some(first) => {
                places.push_back(itself);
                (first, places)
            }
            None => (itself, places),
        }
    }

    pub(crate) fn usable_mirrors(&self) -> impl Iterator<Item = &Self> {
        self.mirrors.iter().filter(|mirror| !mirror.registry.left_out.load(Ordering::Relaxed))
    }

    /// A mirror failed: it need not have everything, but one that breaks, refuses or lies is asked no more, which is told.
    pub(crate) fn failed_as_mirror(&self, error: &Error) {
        use ErrorKind::{Denied, NotFound, Offline, Unauthorized};
        let lacks_it = matches!(error.kind(), NotFound | Unauthorized | Denied | Offline);
        if !lacks_it && !self.registry.left_out.swap(true, Ordering::Relaxed) {
            (self.registry.shared.options.warn)(&format!("mirror {} is left out: {error}", self.registry.name));
        }
    }

    /// The repository's path, as errors print it.
    pub(crate) fn name(&self) -> &str {
        self.reference.repository()
    }

    pub(crate) fn scopes(&self, access: Access) -> Vec<String> {
        vec![scope(self.name(), access)]
    }

    /// `/v2/<name>/<rest>`. Only checked names get here.
    pub(crate) async fn url(&self, rest: &str) -> Result<Url> {
        let base = self.registry.base().await?;
        let invalid = || Error::new(ErrorKind::Invalid, format!("`{}` is no repository name", self.name()));
        if !origin::is_repository(self.name()) {
            return Err(invalid());
        }
        base.join(&format!("{}/{rest}", self.name())).map_err(|e| invalid().with_source(e))
    }
}

pub(crate) fn scope(name: &str, access: Access) -> String {
    let actions = match access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    format!("repository:{name}:{actions}")
}

/// The last part of a manifest's URL.
pub(crate) fn target_text(target: &Target<'_>) -> String {
    match target {
        Target::Tag(tag) => (*tag).to_owned(),
        Target::Digest(digest) => digest.to_string(),
    }
}

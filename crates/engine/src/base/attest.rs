//! The list of packages, attached to an image the way BuildKit attaches it: a manifest beside it in the index whose only
//! layer is an in-toto statement (docs.docker.com, "Image attestation storage").

use cooper_base::{Described, LockedPackage, Subject, spdx};
use cooper_oci::{Descriptor, ImageConfig, Manifest, MediaType, Platform};
use serde::Serialize;
use serde_json::json;

use super::OnePlatform;
use crate::error::{from_base, from_store};
use crate::{Error, ErrorKind, Result};

/// Media type of a statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What SPDX documents are called as predicates.
const SPDX: &str = "https://spdx.dev/Document";

const WHAT: &str = "cannot write the list of packages";

impl OnePlatform<'_> {
    /// The manifest that states what `image` holds.
    pub(super) fn statement(
        &self,
        image: &Descriptor,
        packages: &[LockedPackage],
        described: &Described,
    ) -> Result<Descriptor> {
        let subject = Subject { name: &self.request.name, manifest: &image.digest, created: self.created, described };
        let document = spdx(subject, &self.request.lock, packages).map_err(|e| from_base(e, WHAT))?;
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": SPDX,
            "subject": [{"name": self.request.name, "digest": {"sha256": image.digest.hex()}}],
            "predicate": document,
        });
        let mut layer = self.put(IN_TOTO, &statement)?;
        layer.annotations.insert("in-toto.io/predicate-type".into(), SPDX.into());
        let mut config = ImageConfig { architecture: "unknown".into(), os: "unknown".into(), ..ImageConfig::default() };
        config.rootfs.diff_ids.push(layer.digest.clone());
        let config = self.put(MediaType::CONFIG, &config)?;
        let mut descriptor = self.put(MediaType::MANIFEST, &Manifest::new(config, vec![layer]))?;
        descriptor.platform = Some(Platform::new("unknown", "unknown"));
        let annotations = [("digest", image.digest.to_string()), ("type", "attestation-manifest".into())];
        let named = |(key, value): (&str, String)| (format!("vnd.docker.reference.{key}"), value);
        descriptor.annotations = annotations.into_iter().map(named).collect();
        Ok(descriptor)
    }

    fn put(&self, media_type: &str, value: &impl Serialize) -> Result<Descriptor> {
        let bytes = serde_json::to_vec(value).map_err(|e| Error::new(ErrorKind::Io, WHAT).with_source(e))?;
        self.engine.store.put_bytes(media_type, &bytes).map_err(|e| from_store(e, WHAT))
    }
}

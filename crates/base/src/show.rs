//! A declared file written out, with all it extends.

use crate::{Error, ErrorKind, Manifest, Result};

impl Manifest {
    /// The declarations as YAML.
    pub fn to_yaml(&self) -> Result<String> {
        let unprintable = |e| Error::new(ErrorKind::Invalid, "the declared file cannot be printed").with_source(e);
        yaml_serde::to_string(self).map_err(unprintable)
    }
}

//! `configure: run`: dpkg and the maintainer scripts run in the sandbox of a RUN step, without network.

use std::sync::Arc;

use cooper_base::Unpacked;
use cooper_base::dpkg::{Step, configure_step};
use cooper_llb::{Exec, Network};
use cooper_store::{LayerId, Ownership};

use super::OnePlatform;
use crate::engine::blocking;
use crate::error::from_base;
use crate::ops::{ExecWork, KillSwitch, Prepared, SINGLE_ID, exec};
use crate::{Error, Result};

/// Ends the process when the build is given up.
struct KillOnDrop(Arc<KillSwitch>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.throw();
    }
}

impl OnePlatform<'_> {
    /// Configures the packages of `layers`; what that changed, as a layer of its own.
    pub(super) async fn configure(&self, layers: &[LayerId], packages: &[Unpacked]) -> Result<(String, LayerId)> {
        let step = configure_step(packages, &self.request.manifest);
        let Step { title, script } = step.map_err(|e| from_base(e, &self.request.name))?;
        let op = Exec {
            args: vec!["/bin/sh".into(), "-ec".into(), script],
            env: vec![format!("SOURCE_DATE_EPOCH={}", self.created)],
            cwd: "/".into(),
            platform: Some(self.platform.clone()),
            network: Network::None,
            clamp: Some(self.created),
            ..Exec::default()
        };
        let kill = KillOnDrop(Arc::default());
        let work = ExecWork {
            store: self.engine.store.clone(),
            executor: self.engine.executor.clone(),
            layers: layers.to_vec(),
            mounts: Prepared::default(),
            resolv_conf: None,
            search: self.engine.search.clone(),
            extra_hosts: Vec::new(),
            output: self.output(),
            kill: kill.0.clone(),
        };
        let layer = blocking(move || exec(&op, work)).await;
        let layer = layer.map_err(|e| {
            let tail = e.step.as_deref().map(|(_, lines)| lines.clone()).unwrap_or_default();
            let what = self.failed(&e);
            let mut error = Error { step: Some(Box::new((title.clone(), tail))), what, ..e };
            // dpkg goes on after a script that could not give a file away: the last lines do not tell.
            let is_single = self.engine.store.ownership() == Ownership::Single;
            if is_single && error.exit_code.is_some() && error.hints.is_empty() {
                error.hints.push(SINGLE_ID.to_owned());
            }
            error
        })?;
        Ok((title, layer))
    }

    fn failed(&self, error: &Error) -> String {
        let why = error.exit_code.map_or(error.what.clone(), |code| format!("exit code {code}"));
        format!("{}: the packages could not be configured: {why}", self.request.name)
    }
}

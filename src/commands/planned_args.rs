//! What every command takes that plans a run: the manifest with its variations, and which nodes.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::failure::Failure;
use super::manifest_args::ManifestArgs;
use super::names;
use crate::manifest::overrides::{Variation, vary};
use crate::plan::Plan;
use crate::session::{RunOptions, Session};

/// Which runs are planned.
#[derive(Args)]
pub struct PlannedArgs {
    #[command(flatten)]
    pub(super) manifest: ManifestArgs,
    /// Run once per value, and per combination of values if given several times
    #[arg(long, value_name = "KEY=A,B,…")]
    vary: Vec<String>,
    /// Rerun this stage or node and everything downstream, even if cached, as in `cluster`, `cluster@2` or `train@2[3]`
    #[arg(long, value_name = "NODE", add = ArgValueCompleter::new(names::nodes))]
    from: Option<String>,
    /// Run only this stage or node and everything upstream
    #[arg(long, value_name = "NODE", add = ArgValueCompleter::new(names::nodes))]
    until: Option<String>,
}

/// One of the runs that are planned.
pub(super) struct PlannedRun {
    /// The values of `--vary` that distinguish it; empty without `--vary`.
    pub label: String,
    /// Its manifest.
    pub session: Session,
}

impl PlannedArgs {
    /// The session that the arguments describe, without the values of `--vary`.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        self.manifest.session()
    }

    /// The runs that `--vary` requests; one without it.
    pub(super) fn runs(&self, session: &Session) -> Result<Vec<PlannedRun>, Failure> {
        let variations = vary(&self.vary).map_err(|problems| Failure::Manifest(Box::new(problems)))?;
        let run = |variation: Variation| PlannedRun {
            label: variation.label,
            session: session.clone().with(variation.overrides),
        };
        Ok(variations.into_iter().map(run).collect())
    }

    /// How `plan` is run.
    pub(super) fn options(&self, plan: &Plan) -> Result<RunOptions, Failure> {
        let mut options = RunOptions::new(plan, self.manifest.device);
        if let Some(selection) = &self.until {
            options = options.until(plan, selection)?;
        }
        if let Some(selection) = &self.from {
            options = options.from(plan, selection)?;
        }
        Ok(options)
    }
}

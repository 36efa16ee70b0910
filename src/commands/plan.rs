//! `dnc-run plan MANIFEST`: each node is a hit, stale with the reason, or unknown until another node has run.

use clap::Args;

use super::failure::Failure;
use super::manifest_args::{ManifestArgs, hashing_progress};
use crate::execute::driver::Options;
use crate::execute::forecast::Forecast;
use crate::plan::Plan;
use crate::session::Session;

/// Arguments of `plan`.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
}

impl PlanArgs {
    /// Prints what would run.
    pub(super) fn run(self) -> Result<(), Failure> {
        let session = self.manifest.session()?;
        let plan = session.plan()?;
        let options = Options::everything(&plan, session.device().resolve());
        show(&session, &plan, &options)
    }
}

/// Prints what a run with these options would do.
pub(super) fn show(session: &Session, plan: &Plan, options: &Options) -> Result<(), Failure> {
    let store = session.store()?;
    let forecasts = session.forecast(plan, options, &store, &session.history(plan), &hashing_progress())?;
    let width = plan.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let (mut hits, mut stale, mut unknown) = (0, 0, 0);
    for (node, forecast) in plan.nodes.iter().zip(&forecasts) {
        let text = match forecast {
            Forecast::NotWanted => continue,
            Forecast::Hit { .. } => {
                hits += 1;
                "hit".to_owned()
            }
            Forecast::Stale { reason, .. } => {
                stale += 1;
                format!("stale: {reason}")
            }
            Forecast::Unknown { until } => {
                unknown += 1;
                format!("unknown until {} has run", plan.nodes[*until].name)
            }
            Forecast::Unusable { message } => format!("cannot run: {message}"),
        };
        print_line!("{:width$}  {text}", node.name);
    }
    eprintln!("{hits} hit, {stale} stale, {unknown} unknown");
    Ok(())
}

//! `dnc-run plan MANIFEST`: each node is a hit, stale with the reason, or unknown until another one runs.

use clap::Args;
use dnc_stages::device::DeviceChoice;

use super::Failure;
use super::manifest_args::{Chosen, ManifestArgs, ingredients_to_show};
use crate::execute::budget::Limits;
use crate::execute::driver::Options;
use crate::execute::forecast::{Forecast, forecast};
use crate::plan::Plan;
use crate::report::run_folder::HELD;

/// Arguments of `plan`.
#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
}

impl PlanArgs {
    /// Prints what would run.
    pub(super) fn run(self) -> Result<(), Failure> {
        let chosen = self.manifest.choose()?;
        let plan = chosen.plan()?;
        let options = everything(&plan, self.manifest.device.resolve());
        show(&chosen, &plan, &options)
    }
}

/// Options that ask for all of the plan, for commands that run nothing.
pub(super) fn everything(plan: &Plan, device: DeviceChoice) -> Options {
    Options {
        limits: Limits { jobs: 1, threads: 1, memory: u64::MAX, gpus: Vec::new() },
        device,
        targets: plan.goals(&HELD),
        forced: vec![false; plan.nodes.len()],
        verify: false,
    }
}

/// Prints what a run with these options would do.
pub(super) fn show(chosen: &Chosen, plan: &Plan, options: &Options) -> Result<(), Failure> {
    let store = chosen.store()?;
    let ingredients = ingredients_to_show(plan, &store.index(), options.device)?;
    let previous = chosen.previous(plan, &store, None);
    let forecasts = forecast(plan, &store, &ingredients, options, &previous)?;
    let width = plan.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let (mut hits, mut stale, mut unknown) = (0, 0, 0);
    for (node, forecast) in plan.nodes.iter().zip(&forecasts) {
        let told = match forecast {
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
                format!("unknown until {} runs", plan.nodes[*until].name)
            }
            Forecast::Wrong { message } => format!("cannot run: {message}"),
        };
        say!("{:width$}  {told}", node.name);
    }
    eprintln!("{hits} hit, {stale} stale, {unknown} unknown");
    Ok(())
}

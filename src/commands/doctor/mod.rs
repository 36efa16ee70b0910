//! `dnc-run doctor`: checks the machine, the store, and the files that manifests read.
//!
//! **Reading order** `finding` (what a check answers), then one file per topic: `processor`, `disk`, `gpu`, `store`, `inputs`.
//! Nothing is created, upgraded or downloaded. A check never fails: what it cannot find out is a finding of its own.

mod disk;
mod finding;
mod gpu;
mod inputs;
mod processor;
mod store;

use std::path::PathBuf;

use clap::Args;
use finding::{Finding, Status};
use serde::Serialize;

use super::failure::Failure;
use super::output::write_json;
use crate::project::{Folders, Project};

/// Arguments of `dnc-run doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    /// Manifests whose data and weights must exist [default: all manifests of the project; what is missing is only a note]
    #[arg(value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folders: Folders,
}

/// What `doctor --json` prints.
#[derive(Serialize)]
struct DoctorJson {
    /// Version of `dnc-run`.
    version: &'static str,
    /// Whether nothing hinders a run.
    ok: bool,
    /// All findings, in the order of their topics.
    findings: Vec<Finding>,
}

impl DoctorArgs {
    /// Prints the findings. Fails if one of them is a problem.
    pub(super) fn run(self) -> Result<(), Failure> {
        let project = match self.manifests.first() {
            Some(manifest) => Project::containing(manifest, &self.folders)?,
            None => Project::current(&self.folders)?,
        };
        let mut findings = processor::check();
        findings.extend(disk::check(&project.store));
        findings.extend(gpu::check());
        findings.extend(store::check(&project.store));
        findings.extend(inputs::check(&project, &self.manifests));

        let problems = findings.iter().filter(|finding| finding.status == Status::Problem).count();
        if self.json {
            write_json(&DoctorJson { version: env!("CARGO_PKG_VERSION"), ok: problems == 0, findings })?;
        } else {
            print(&findings)?;
        }
        match problems {
            0 => eprintln!("No problems found"),
            1 => eprintln!("1 problem"),
            _ => eprintln!("{problems} problems"),
        }
        if problems == 0 { Ok(()) } else { Err(Failure::Node) }
    }
}

/// Prints the findings by topic, with advice below what is not in order.
fn print(findings: &[Finding]) -> anyhow::Result<()> {
    let mut topic = "";
    for finding in findings {
        if finding.topic != topic {
            topic = finding.topic;
            print_line!("{topic}");
        }
        print_line!("  {:8} {}: {}", finding.status.name(), finding.name, finding.value);
        if let Some(advice) = &finding.advice {
            print_line!("           {advice}");
        }
    }
    Ok(())
}

//! How much of the machine a run may use.

use std::num::NonZero;

use clap::Args;
use dnc_stages::api::device::DeviceChoice;

use super::units::{parse_limit, parse_ordinal};
use crate::session::{RunOptions, SessionError};

/// How much of the machine a run may use.
#[derive(Args, Clone, Debug)]
pub struct ResourceArgs {
    /// Maximum number of nodes running at once [default: --threads if given, else the number of cores plus two]
    #[arg(long, value_name = "N", value_parser = parse_limit, allow_negative_numbers = true)]
    jobs: Option<NonZero<usize>>,
    /// Total number of threads of all nodes [default: the number of cores, or what Slurm or a control group allows]
    #[arg(long, value_name = "N", value_parser = parse_limit, allow_negative_numbers = true)]
    threads: Option<NonZero<usize>>,
    /// GPUs that nodes may use, as in `0,1` [default: the one of --device]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = parse_ordinal, allow_negative_numbers = true)]
    gpus: Vec<usize>,
}

impl ResourceArgs {
    /// Sets what the arguments say.
    ///
    /// # Errors
    /// They do not fit the device.
    pub fn configure(&self, mut options: RunOptions) -> Result<RunOptions, SessionError> {
        if !self.gpus.is_empty() {
            if !matches!(options.options.device, DeviceChoice::Cuda(_)) {
                return Err(SessionError::Call(
                    "`--gpus` needs a GPU, but the device is the CPU; add `--device cuda`".into(),
                ));
            }
            options.limits.gpus.clone_from(&self.gpus);
        }
        if let Some(jobs) = self.jobs.or(self.threads) {
            options.limits.jobs = jobs.get();
        }
        if let Some(threads) = self.threads {
            options.limits.threads = threads.get();
        }
        Ok(options)
    }
}

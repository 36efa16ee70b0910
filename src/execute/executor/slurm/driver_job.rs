//! The driver itself as a job, for runs that nobody stays logged in for.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::SlurmError;
use super::settings::SlurmSettings;
use super::submission::{pattern, sbatch};

/// The script of the job.
const SCRIPT: &str = include_str!("driver.sh");

/// A call of `dnc-run` to submit as a job, in the current folder and with this environment.
pub struct DriverJob<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Settings of the project.
    pub settings: &'a SlurmSettings,
    /// The folder for what the driver writes, on a file system that all machines share.
    pub folder: &'a Path,
    /// This version of `dnc-run`.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A driver that Slurm has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmittedDriver {
    /// Id of its job.
    pub job: String,
    /// Where what it writes goes.
    pub log: PathBuf,
}

impl DriverJob<'_> {
    /// Submits the job.
    ///
    /// # Errors
    /// The folder cannot be written, or Slurm does not take the job.
    pub fn submit(self) -> Result<SubmittedDriver, SlurmError> {
        let script =
            script_in(self.folder).map_err(|source| SlurmError::Folder { folder: self.folder.to_owned(), source })?;
        let options = self.options().into_iter().map(OsString::from);
        let call = [script.path().as_os_str().to_owned(), self.program.as_os_str().to_owned()];
        // Slurm keeps a copy of the script.
        let job = sbatch(options.chain(call).chain(self.arguments))?;
        let log = self.folder.join(format!("driver-{job}.log"));
        Ok(SubmittedDriver { job, log })
    }

    fn options(&self) -> Vec<String> {
        let (all, own) = (self.settings, &self.settings.driver);
        let mut options = vec![
            "--parsable".to_owned(),
            format!("--job-name=dnc:{}:driver", self.run),
            format!("--output={}/driver-%j.log", pattern(self.folder)),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            "--export=ALL".to_owned(),
            // To the script alone, and not SIGTERM, which tells a driver to cancel its jobs.
            "--signal=B:USR1@60".to_owned(),
            format!("--cpus-per-task={}", own.cpus),
            format!("--mem={}", own.memory),
        ];
        let mut add =
            |name: &str, value: Option<&String>| options.extend(value.map(|value| format!("--{name}={value}")));
        add("partition", own.partition.as_ref().or(all.partition.as_ref()));
        add("account", own.account.as_ref().or(all.account.as_ref()));
        add("time", own.time.as_ref());
        options.extend(all.options.iter().chain(&own.options).cloned());
        options
    }
}

/// Writes the script to a file, which is removed when it is dropped.
fn script_in(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    fs::create_dir_all(folder)?;
    let mut script = tempfile::Builder::new().prefix(".driver-").suffix(".sh").tempfile_in(folder)?;
    script.write_all(SCRIPT.as_bytes())?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_small_and_has_the_options_of_all_jobs() {
        let settings: SlurmSettings = toml::from_str(
            "partition = \"gpu\"\naccount = \"lab\"\ntime = \"60\"\nmemory = \"64G\"\noptions = [\"--constraint=avx512\"]\n\
             [driver]\npartition = \"small\"\noptions = [\"--qos=long\"]",
        )
        .unwrap();
        let folder = Path::new("/p/100%/runs/a");
        let job = DriverJob { run: "a", settings: &settings, folder, program: folder, arguments: Vec::new() };
        let options = job.options();
        assert_eq!(options[2], "--output=/p/100%%/runs/a/driver-%j.log");
        assert_eq!(
            options[7..].join(" "),
            "--cpus-per-task=1 --mem=2G --partition=small --account=lab --constraint=avx512 --qos=long"
        );
    }
}

//! `[executor.slurm]` of the project file: what jobs ask for, and how many there are at once.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `[executor.slurm]`. What a stage's own table sets takes precedence.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmSettings {
    /// Partition of the jobs.
    pub partition: Option<String>,
    /// Account of the jobs.
    pub account: Option<String>,
    /// Time limit, as `sbatch --time` takes it: `90`, `4:00:00`, `2-12:00:00`.
    pub time: Option<String>,
    /// Memory of a job, as in `16G`.
    pub memory: Option<String>,
    /// Number of cores of nodes that can use several threads.
    pub cpus: usize,
    /// Generic resources of nodes that compute on a GPU, as in `gpu:a100:1`.
    pub gres: Option<String>,
    /// Further options of `sbatch`.
    pub options: Vec<String>,
    /// Number of small nodes that one job runs one after another.
    pub group: usize,
    /// Stages that run on the machine of the driver.
    pub local: Vec<String>,
    /// Maximum number of jobs in the queue, each element of an array counted.
    pub jobs: usize,
    /// Seconds between two looks at the queue.
    pub check: u64,
    /// Settings by stage, under its name in the manifest.
    pub stage: BTreeMap<String, StageSettings>,
    /// The job of the driver of a detached run.
    pub driver: DriverSettings,
}

/// `[executor.slurm.driver]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriverSettings {
    /// Its partition, if not that of the other jobs.
    pub partition: Option<String>,
    /// Its account, if not that of the other jobs.
    pub account: Option<String>,
    /// Its time limit, at least [`SHORTEST`] minutes. Slurm starts it again when it is reached.
    pub time: Option<String>,
    /// Its memory.
    pub memory: String,
    /// Number of cores.
    pub cpus: usize,
    /// Options of `sbatch`, after those for all jobs.
    pub options: Vec<String>,
}

/// `[executor.slurm.stage.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StageSettings {
    /// Partition of its jobs.
    pub partition: Option<String>,
    /// Account of its jobs.
    pub account: Option<String>,
    /// Time limit.
    pub time: Option<String>,
    /// Memory of a job.
    pub memory: Option<String>,
    /// Number of cores, for nodes that can use several threads.
    pub cpus: Option<usize>,
    /// Generic resources, whether or not the stage computes on a GPU.
    pub gres: Option<String>,
    /// Options of `sbatch`, after those for all stages.
    pub options: Vec<String>,
    /// Number of nodes that one job runs one after another.
    pub group: Option<usize>,
}

impl Default for SlurmSettings {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            time: None,
            memory: None,
            cpus: 4,
            gres: None,
            options: Vec::new(),
            group: 8,
            local: Vec::new(),
            jobs: 500,
            check: 30,
            stage: BTreeMap::new(),
            driver: DriverSettings::default(),
        }
    }
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self { partition: None, account: None, time: None, memory: "2G".into(), cpus: 1, options: Vec::new() }
    }
}

/// The shortest time limit of a driver in minutes. It is stopped a minute before, and must get somewhere until then.
const SHORTEST: u64 = 3;

/// Options of `sbatch` that the executor sets itself.
const OWN: [&str; 12] =
    ["--array", "-a", "--job-name", "-J", "--output", "-o", "--error", "-e", "--wrap", "--parsable", "--wait", "-W"];

impl SlurmSettings {
    /// Checks the values.
    ///
    /// # Errors
    /// A value cannot be used. The message names its key.
    pub fn check(&self) -> Result<(), String> {
        for (key, value) in [("cpus", self.cpus), ("group", self.group), ("jobs", self.jobs)] {
            at_least_one("", key, value)?;
        }
        if self.check == 0 {
            return Err("`executor.slurm.check` must be at least 1 second".into());
        }
        check_texts("", self.time.as_deref(), self.memory.as_deref(), &self.options)?;
        for (name, stage) in &self.stage {
            let table = format!("stage.{name}.");
            for (key, value) in [("cpus", stage.cpus), ("group", stage.group)] {
                at_least_one(&table, key, value.unwrap_or(1))?;
            }
            check_texts(&table, stage.time.as_deref(), stage.memory.as_deref(), &stage.options)?;
        }
        let driver = &self.driver;
        at_least_one("driver.", "cpus", driver.cpus)?;
        check_texts("driver.", driver.time.as_deref(), Some(&driver.memory), &driver.options)?;
        match driver.time.as_deref().and_then(minutes).filter(|&minutes| minutes < SHORTEST) {
            Some(_) => Err(format!("`executor.slurm.driver.time` must be at least {SHORTEST} minutes")),
            None => Ok(()),
        }
    }
}

fn at_least_one(table: &str, key: &str, value: usize) -> Result<(), String> {
    match value {
        0 => Err(format!("`executor.slurm.{table}{key}` must be at least 1")),
        _ => Ok(()),
    }
}

fn check_texts(table: &str, time: Option<&str>, memory: Option<&str>, options: &[String]) -> Result<(), String> {
    if let Some(time) = time.filter(|time| !is_time(time)) {
        return Err(format!(
            "`executor.slurm.{table}time` is `{time}`, but must be minutes, `hours:minutes:seconds` or \
             `days-hours:minutes:seconds`"
        ));
    }
    if let Some(memory) = memory.filter(|memory| !is_memory(memory)) {
        return Err(format!(
            "`executor.slurm.{table}memory` is `{memory}`, but must be a number with K, M, G or T, as in `16G`"
        ));
    }
    for option in options {
        let name = option.split('=').next().unwrap_or(option);
        if !option.starts_with('-') {
            return Err(format!(
                "`executor.slurm.{table}options` contains `{option}`, but each entry must be one whole option of \
                 sbatch, as in `--qos=long`"
            ));
        }
        if OWN.contains(&name) {
            return Err(format!(
                "`executor.slurm.{table}options` must not contain `{name}`, which dnc-run sets itself"
            ));
        }
    }
    Ok(())
}

fn is_time(text: &str) -> bool {
    let is_allowed = |character: char| character.is_ascii_digit() || character == ':' || character == '-';
    text.starts_with(|first: char| first.is_ascii_digit()) && text.chars().all(is_allowed)
}

/// The minutes of a time limit, rounded down: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, or `days-hours` with more after it.
fn minutes(text: &str) -> Option<u64> {
    let numbers = |text: &str| text.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>();
    let (hours, minutes) = match text.split_once('-') {
        Some((days, rest)) => match numbers(rest)?[..] {
            [hours] => (24 * days.parse::<u64>().ok()? + hours, 0),
            [hours, minutes, ..] => (24 * days.parse::<u64>().ok()? + hours, minutes),
            [] => return None,
        },
        None => match numbers(text)?[..] {
            [hours, minutes, _] => (hours, minutes),
            [minutes, ..] => (0, minutes),
            [] => return None,
        },
    };
    Some(60 * hours + minutes)
}

fn is_memory(text: &str) -> bool {
    let digits = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
    !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SlurmSettings, String> {
        let settings: SlurmSettings = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        settings.check().map(|()| settings)
    }

    #[test]
    fn defaults_and_stages() {
        assert_eq!(read(""), Ok(SlurmSettings::default()));
        let settings = read("time = \"4:00:00\"\n[stage.train]\nmemory = \"16G\"\noptions = [\"--qos=long\"]").unwrap();
        assert_eq!(settings.stage["train"].memory.as_deref(), Some("16G"));
        assert_eq!(settings.cpus, 4);
    }

    #[test]
    fn errors_name_the_key() {
        let check = |text: &str, expected: &str| {
            let message = read(text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        };
        check("jobs = 0", "`executor.slurm.jobs` must be at least 1");
        check("time = \"soon\"", "`executor.slurm.time` is `soon`");
        check("[stage.a]\nmemory = \"16 GB\"", "`executor.slurm.stage.a.memory` is `16 GB`");
        check("options = [\"qos long\"]", "one whole option");
        check("options = [\"--array=1-3\"]", "`--array`, which dnc-run sets itself");
        check("partitoin = \"x\"", "unknown field `partitoin`");
        check("[driver]\ncpus = 0", "`executor.slurm.driver.cpus` must be at least 1");
        check("[driver]\ntime = \"2:59\"", "`executor.slurm.driver.time` must be at least 3 minutes");
        check("[driver]\nmemory = \"\"", "`executor.slurm.driver.memory`");
    }

    #[test]
    fn time_limits_are_read_as_sbatch_does() {
        let texts = ["90", "4:30", "4:00:30", "2-12", "2-12:30", "1-00:00:00", "a"];
        assert_eq!(texts.map(minutes), [Some(90), Some(4), Some(240), Some(3600), Some(3630), Some(1440), None]);
    }
}

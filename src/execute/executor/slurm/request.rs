//! What a job asks Slurm for: the settings of its stage, or else the needs that the stage itself declares.

use dnc_stages::api::DeviceChoice;

use super::settings::{SlurmSettings, StageSettings};
use crate::execute::work::Work;
use crate::plan::Needs;

/// What a job asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Options of `sbatch`. Nodes with the same options can share an array.
    pub(super) options: Vec<String>,
    /// Number of cores.
    pub(super) cpus: usize,
    /// Number of nodes that one job runs one after another.
    pub(super) group: usize,
    /// Memory, if it is limited.
    pub(super) memory: Option<String>,
    /// Time limit, if there is one.
    pub(super) time: Option<String>,
}

/// Added to the memory that a node declares: its share for the program itself, and some room.
const PROGRAM_MIB: u64 = 512;

impl Request {
    /// What the job of `work` asks for.
    pub(super) fn of(work: &Work, settings: &SlurmSettings) -> Self {
        let own = settings.stage.get(&work.stage);
        let none = StageSettings::default();
        let stage = own.unwrap_or(&none);
        let needs = &work.needs;
        let either = |stage: &Option<String>, all: &Option<String>| stage.clone().or_else(|| all.clone());
        let cpus = needs.threads.min(stage.cpus.unwrap_or(settings.cpus)).max(1);
        let memory = either(&stage.memory, &settings.memory).or_else(|| declared_memory(needs));
        let time = either(&stage.time, &settings.time);
        let on_gpu = needs.device && matches!(work.device, DeviceChoice::Cuda(_));
        let gres = stage.gres.clone().or_else(|| {
            let default = || settings.gres.clone().unwrap_or_else(|| "gpu:1".to_owned());
            on_gpu.then(default)
        });
        let mut options = vec![format!("--cpus-per-task={cpus}")];
        let mut add =
            |name: &str, value: Option<&String>| options.extend(value.map(|value| format!("--{name}={value}")));
        add("partition", stage.partition.as_ref().or(settings.partition.as_ref()));
        add("account", stage.account.as_ref().or(settings.account.as_ref()));
        add("time", time.as_ref());
        add("mem", memory.as_ref());
        add("gres", gres.as_ref());
        options.extend(settings.options.iter().chain(&stage.options).cloned());
        // A stage with a table of its own is one that somebody thought about: it is small only if that table says so.
        let is_small = own.is_none() && needs.threads == 1 && needs.memory == 0 && !needs.device;
        let group = stage.group.unwrap_or(if is_small { settings.group } else { 1 });
        Self { options, cpus, group, memory, time }
    }

    /// What to do about a limit that a job of `stage` reached: `memory` or `time`.
    pub(super) fn remedy(&self, key: &str, stage: &str) -> String {
        let now = if key == "time" { &self.time } else { &self.memory };
        let now = now.as_ref().map_or_else(|| "which is not set".to_owned(), |now| format!("now {now}"));
        format!("raise `{key}`, {now}, in `[executor.slurm.stage.{stage}]` of dnc.toml")
    }
}

fn declared_memory(needs: &Needs) -> Option<String> {
    let mebibytes = needs.memory.div_ceil(1 << 20);
    (mebibytes > 0).then(|| format!("{}M", mebibytes + mebibytes / 4 + PROGRAM_MIB))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::execute::task::Task;
    use crate::fingerprint::Fingerprint;

    fn work(stage: &str, needs: Needs, device: DeviceChoice) -> Work {
        let fingerprint = Fingerprint {
            stage: stage.into(),
            version: 1,
            params: Value::Null,
            inputs: BTreeMap::new(),
            sources: BTreeMap::new(),
            seed: None,
            round: None,
            learners: None,
            previous_learners: None,
            learner: None,
            arithmetic: None,
        };
        Work {
            index: 0,
            node: format!("{stage}@1"),
            stage: stage.into(),
            why: "new".into(),
            task: Task::from(fingerprint),
            params: Value::Null,
            inputs: BTreeMap::new(),
            sources: Vec::new(),
            needs,
            device,
            previous: None,
            forced: false,
            verify: false,
            memory_remedy: None,
        }
    }

    const SMALL: Needs = Needs { threads: 1, memory: 0, device: false };
    const LARGE: Needs = Needs { threads: usize::MAX, memory: 4 << 30, device: true };

    #[test]
    fn a_stage_asks_for_what_it_needs_unless_the_settings_say_otherwise() {
        let settings: SlurmSettings = toml::from_str(
            "partition = \"all\"\ngres = \"gpu:a100:1\"\noptions = [\"--qos=long\"]\n\
             [stage.train]\npartition = \"big\"\ncpus = 16\nmemory = \"64G\"\noptions = [\"--exclusive\"]",
        )
        .unwrap();
        let options = |stage, needs, device| Request::of(&work(stage, needs, device), &settings).options.join(" ");
        let cuda = DeviceChoice::Cuda(3);
        assert_eq!(options("merge", SMALL, cuda), "--cpus-per-task=1 --partition=all --qos=long");
        assert_eq!(
            options("embed", LARGE, DeviceChoice::Cpu),
            "--cpus-per-task=4 --partition=all --mem=5632M --qos=long"
        );
        assert_eq!(
            options("train", LARGE, cuda),
            "--cpus-per-task=16 --partition=big --mem=64G --gres=gpu:a100:1 --qos=long --exclusive"
        );
    }

    #[test]
    fn only_small_nodes_without_a_table_of_their_own_are_grouped() {
        let settings: SlurmSettings =
            toml::from_str("group = 5\n[stage.b]\ntime = \"60\"\n[stage.c]\ngroup = 3").unwrap();
        let group = |stage, needs| Request::of(&work(stage, needs, DeviceChoice::Cpu), &settings).group;
        assert_eq!([group("a", SMALL), group("a", LARGE), group("b", SMALL), group("c", LARGE)], [5, 1, 1, 3]);
    }
}

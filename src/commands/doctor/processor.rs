//! Instruction set, kernels, threads and memory.

use super::finding::Finding;
use crate::commands::units::format_bytes;
use crate::machine::{self, Memory, SLURM_CORES};

const TOPIC: &str = "processor";
/// Memory below which even small manifests may fail.
const LITTLE_MEMORY: u64 = 1_000_000_000;

/// Looks at the processor and the memory.
pub(super) fn check() -> Vec<Finding> {
    let mut findings = vec![instruction_set(&dnc_kernels::instruction_sets()), neighbours()];
    findings.push(threads(machine::granted_cores(), machine::all_cores(), machine::slurm_cores()));
    findings.extend(memory(&Memory::of_this_machine()));
    findings
}

/// `sets` are the instruction sets that kernels can run on, best first.
fn instruction_set(sets: &[&str]) -> Finding {
    let (best, others) = sets.split_first().map_or(("none", &[][..]), |(best, others)| (*best, others));
    let value = match others {
        [] => best.to_owned(),
        _ => format!("{best} (this processor could also run {})", others.join(", ")),
    };
    match best {
        "portable" => Finding::note(TOPIC, "kernels", value)
            .advise("This processor has none of AVX-512, AVX2 and NEON; kernels run, but slowly."),
        _ => Finding::ok(TOPIC, "kernels", value),
    }
}

fn neighbours() -> Finding {
    let value = match dnc_kernels::prefilter_name() {
        "int8" => "8-bit integers (AVX-512 VNNI), then exact",
        _ => "32-bit floats, then exact",
    };
    Finding::ok(TOPIC, "nearest neighbours", value)
}

fn threads(granted: usize, all: Option<usize>, slurm: Option<usize>) -> Finding {
    let used = slurm.map_or(granted, |slurm| slurm.min(granted));
    let mut value = used.to_string();
    if let Some(all) = all.filter(|&all| all != granted) {
        value += &format!(", of {all} cores; affinity or a CPU quota of the control group allows {granted}");
    }
    match slurm {
        Some(slurm) if slurm > granted => Finding::note(TOPIC, "threads", value).advise(format!(
            "{SLURM_CORES} is {slurm}, but the system grants {granted} cores: start the program with `srun`, or correct the job."
        )),
        Some(slurm) => Finding::ok(TOPIC, "threads", format!("{value}; {SLURM_CORES} is {slurm}")),
        None => Finding::ok(TOPIC, "threads", value),
    }
}

fn memory(memory: &Memory) -> Vec<Finding> {
    let Some(total) = memory.total else {
        return vec![
            Finding::note(TOPIC, "memory", "unknown").advise("Nodes are not limited by memory on this system."),
        ];
    };
    let mut value = format_bytes(total);
    if let Some(available) = memory.available {
        value += &format!(", of which {} are free", format_bytes(available));
    }
    let usable = memory.group_limit.map_or(total, |limit| limit.min(total));
    if usable < total {
        value += &format!("; the control group allows {}", format_bytes(usable));
    }
    let free = memory.available.map_or(usable, |available| available.min(usable));
    vec![if free < LITTLE_MEMORY {
        let advice = "Free memory, or raise the limit of the job: a training may be killed.";
        Finding::problem(TOPIC, "memory", value, advice)
    } else {
        Finding::ok(TOPIC, "memory", value)
    }]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn slurm_and_quotas_limit_the_threads() {
        assert_eq!(threads(8, Some(8), None), Finding::ok(TOPIC, "threads", "8"));
        let quota = "2, of 64 cores; affinity or a CPU quota of the control group allows 2";
        assert_eq!(threads(2, Some(64), None).value, quota);
        assert_eq!(threads(8, Some(8), Some(4)).value, "4; SLURM_CPUS_PER_TASK is 4");
        assert_eq!(threads(2, None, Some(16)).status, Status::Note);
    }

    #[test]
    fn little_memory_is_a_problem() {
        let of = |total, available, group_limit| {
            memory(&Memory { total: Some(total), available: Some(available), group_limit }).remove(0)
        };
        assert_eq!(of(16 << 30, 8 << 30, None).status, Status::Ok);
        let limited = of(16 << 30, 8 << 30, Some(500_000_000));
        assert_eq!((limited.status, limited.advice.is_some()), (Status::Problem, true));
        assert!(limited.value.ends_with("the control group allows 500.0 MB"), "{}", limited.value);
    }

    #[test]
    fn a_processor_without_vectors_is_noted() {
        assert_eq!(instruction_set(&["avx2", "portable"]).value, "avx2 (this processor could also run portable)");
        assert_eq!(instruction_set(&["portable"]).status, Status::Note);
    }
}

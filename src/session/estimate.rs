//! How long a run will probably take and how much it will write, from what its nodes took in earlier runs.

use super::costs::Cost;
use crate::execute::budget::Limits;
use crate::execute::forecast::Forecast;
use crate::plan::Plan;

/// What a run will probably take.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// What each node will probably take; `None` if it does not run, or if neither it nor another node of its stage has run.
    pub nodes: Vec<Option<Cost>>,
    /// Number of nodes that may run.
    pub running: usize,
    /// Number of these whose time is known.
    pub known: usize,
    /// Expected duration in seconds of the nodes whose time is known.
    pub seconds: f64,
    /// Bytes that the nodes will write, as far as known.
    pub bytes: u64,
    /// Bytes that are free on the disk of the store; `None` if the system does not say.
    pub free: Option<u64>,
}

impl Estimate {
    /// Adds up what the nodes took.
    ///
    /// The duration is the largest of three: the longest chain of nodes that wait for one another; the time of all nodes divided by
    /// the limit of nodes at once; the thread-seconds of all nodes divided by the limit of threads. No schedule is faster than the
    /// first two, and none than the third as far as nodes use their threads as well as they did.
    pub(super) fn new(
        plan: &Plan,
        running: &[bool],
        nodes: Vec<Option<Cost>>,
        limits: &Limits,
        free: Option<u64>,
    ) -> Self {
        let known = || nodes.iter().flatten();
        let seconds: f64 = known().map(|cost| cost.seconds).sum();
        let thread_seconds: f64 = known().map(|cost| cost.thread_seconds).sum();
        let longest = longest_chain(plan, &nodes);
        Self {
            running: running.iter().filter(|&&runs| runs).count(),
            known: known().count(),
            seconds: longest.max(seconds / limits.jobs as f64).max(thread_seconds / limits.threads as f64),
            bytes: known().filter_map(|cost| cost.bytes).sum(),
            free,
            nodes,
        }
    }

    /// Whether the store's disk has too little space for what the run is expected to write.
    pub fn is_too_large(&self) -> bool {
        self.free.is_some_and(|free| self.bytes > free)
    }
}

/// For each node, whether a run may run it: it is stale, or unknown until another node has run.
pub(super) fn may_run(forecasts: &[Forecast]) -> Vec<bool> {
    let may_run = |forecast: &Forecast| match forecast {
        Forecast::Stale { .. } => true,
        Forecast::Unknown { until } => !matches!(forecasts[*until], Forecast::Unusable { .. }),
        Forecast::NotWanted | Forecast::Hit { .. } | Forecast::Unusable { .. } => false,
    };
    forecasts.iter().map(may_run).collect()
}

/// Seconds of the longest chain of nodes that wait for one another.
fn longest_chain(plan: &Plan, nodes: &[Option<Cost>]) -> f64 {
    let mut ends: Vec<f64> = Vec::with_capacity(nodes.len());
    for (node, cost) in plan.nodes.iter().zip(nodes) {
        let begins = node.feeds().map(|feed| ends[feed.node]).fold(0.0, f64::max);
        ends.push(begins + cost.as_ref().map_or(0.0, |cost| cost.seconds));
    }
    ends.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Manifest, ReadOptions};

    #[test]
    fn the_duration_is_the_largest_of_three_bounds() {
        let stage = |name: &str, input: &str| {
            format!("[stage.{name}]\nkind = \"command\"\nrun = \"true\"\noutputs = {{ x = \"files\" }}\n{input}\n")
        };
        let text = format!("name = \"n\"\n{}{}{}", stage("a", ""), stage("b", "in = { x = \"a\" }"), stage("c", ""));
        let manifest = Manifest::parse("m.toml", text, ".".into(), ReadOptions::default());
        let plan = Plan::new(manifest.unwrap_or_else(|problems| panic!("{problems}")));
        let costs = |seconds: [Option<f64>; 3], threads: f64| {
            let cost = |seconds: f64| Cost {
                run: "n/1".into(),
                node: "a".into(),
                seconds,
                thread_seconds: seconds * threads,
                bytes: Some(10),
            };
            seconds.map(|seconds| seconds.map(cost)).to_vec()
        };
        let estimate = |costs, jobs, threads| {
            let limits = Limits { jobs, threads, memory: 0, gpus: Vec::new() };
            Estimate::new(&plan, &[true; 3], costs, &limits, Some(29))
        };
        let all = [Some(2.0), Some(3.0), Some(4.0)];
        let duration = |costs, jobs, threads| estimate(costs, jobs, threads).seconds;
        assert_eq!(duration(costs(all, 1.0), 4, 4), 5.0, "b waits for a");
        assert_eq!(duration(costs(all, 1.0), 1, 4), 9.0, "one node after the other");
        assert_eq!(duration(costs(all, 2.0), 4, 3), 6.0, "eighteen seconds of a thread on three threads");
        let two = estimate(costs([Some(2.0), None, Some(4.0)], 1.0), 4, 4);
        assert_eq!((two.seconds, two.running, two.known, two.bytes, two.is_too_large()), (4.0, 3, 2, 20, false));
        assert!(estimate(costs(all, 1.0), 4, 4).is_too_large(), "30 bytes do not fit into 29");
    }
}

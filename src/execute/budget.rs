//! The machine's threads, memory and GPUs, and which running node has which of them.
//!
//! A node that uses one thread gets one. A node that can use many gets a fair share of the free ones, at least one, and later
//! those that no other node can use. What a node writes never depends on how many it got.
//!
//! When all threads are taken but `jobs` allows more nodes, small nodes run in addition: most of their time they wait for a
//! disk or for a program that they started.

use std::sync::Arc;

use super::thread_share::ThreadShare;
use crate::plan::Needs;

/// What a run may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of nodes at once. Those in excess of `threads` are small nodes without a thread of their own.
    pub jobs: usize,
    /// Number of threads of all nodes together.
    pub threads: usize,
    /// Bytes of memory of all nodes together, as far as they declare it.
    pub memory: u64,
    /// Ordinals of the GPUs to hand out; empty on a CPU.
    pub gpus: Vec<usize>,
}

/// The resources that a running node holds.
#[derive(Debug)]
pub struct Grant {
    /// Threads of its pool.
    pub share: Arc<ThreadShare>,
    /// The GPU that it has to itself.
    pub gpu: Option<usize>,
    memory: u64,
}

/// The resources that are free.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    running: Vec<Arc<ThreadShare>>,
    threads: usize,
    /// Number of running small nodes that hold no thread of the budget.
    beyond: usize,
    memory: u64,
    gpus: Vec<usize>,
}

impl Budget {
    /// A budget with everything free.
    pub fn new(limits: Limits) -> Self {
        let gpus = limits.gpus.iter().rev().copied().collect();
        let (threads, memory) = (limits.threads, limits.memory);
        Self { running: Vec::new(), threads, beyond: 0, memory, gpus, limits }
    }

    /// Whether a node with these needs can start now. A node that needs more memory than the limit can start when nothing
    /// else holds any.
    pub fn fits(&self, needs: &Needs) -> bool {
        let has_thread = self.threads > 0 || is_small(needs);
        let has_gpu = !self.wants_gpu(needs) || !self.gpus.is_empty();
        !self.is_spent() && has_thread && has_gpu && needs.memory.min(self.limits.memory) <= self.memory
    }

    /// Takes resources for a node, while `others` more are ready to run; `None` unless it [`fits`](Self::fits).
    pub fn grant(&mut self, needs: &Needs, others: usize) -> Option<Grant> {
        if !self.fits(needs) {
            return None;
        }
        let share = if self.threads > 0 {
            let slots = (self.limits.jobs - self.running.len()).min(others + 1);
            let threads = self.threads.div_ceil(slots).min(needs.threads);
            self.threads -= threads;
            ThreadShare::new(threads, needs.threads.min(self.limits.threads))
        } else {
            self.beyond += 1;
            ThreadShare::fixed(1)
        };
        let share = Arc::new(share);
        self.running.push(Arc::clone(&share));
        let memory = needs.memory.min(self.limits.memory);
        self.memory -= memory;
        let gpu = if self.wants_gpu(needs) { self.gpus.pop() } else { None };
        Some(Grant { share, gpu, memory })
    }

    fn wants_gpu(&self, needs: &Needs) -> bool {
        needs.device && !self.limits.gpus.is_empty()
    }

    /// Number of running nodes.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether no node can start now, whatever it needs.
    pub fn is_spent(&self) -> bool {
        let most_beyond = self.limits.jobs.saturating_sub(self.limits.threads);
        self.running.len() >= self.limits.jobs || (self.threads == 0 && self.beyond >= most_beyond)
    }

    /// Gives free threads to running nodes that can use more, each to the node that has the fewest.
    pub fn spread(&mut self) {
        while self.threads > 0
            && let Some(share) =
                self.running.iter().filter(|share| share.now() < share.most()).min_by_key(|share| share.now())
        {
            share.grow();
            self.threads -= 1;
        }
    }

    /// Returns a node's resources.
    pub fn give_back(&mut self, grant: Grant) {
        self.running.retain(|share| !Arc::ptr_eq(share, &grant.share));
        // Nodes that run without a thread of the budget get the returned ones first.
        let back = grant.share.now();
        let settled = back.min(self.beyond);
        self.beyond -= settled;
        self.threads += back - settled;
        self.memory += grant.memory;
        self.gpus.extend(grant.gpu);
        self.gpus.sort_unstable_by(|a, b| b.cmp(a));
    }
}

/// Whether a node may run without a thread of the budget.
fn is_small(needs: &Needs) -> bool {
    needs.threads == 1 && needs.memory == 0 && !needs.device
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(jobs: usize, threads: usize, gpus: &[usize]) -> Limits {
        Limits { jobs, threads, memory: 100, gpus: gpus.to_vec() }
    }

    const MANY: Needs = Needs { threads: usize::MAX, memory: 0, device: true };
    const ONE: Needs = Needs { threads: 1, memory: 0, device: false };

    #[test]
    fn shares_are_fair_and_returned() {
        let mut budget = Budget::new(limits(4, 8, &[]));
        let first = budget.grant(&MANY, 1).expect("all is free");
        assert_eq!(first.share.now(), 4);
        let second = budget.grant(&MANY, 0).expect("half is free");
        assert_eq!(second.share.now(), 4);
        assert!(budget.grant(&ONE, 0).is_none());
        budget.give_back(first);
        assert_eq!(budget.grant(&ONE, 0).expect("half is free again").share.now(), 1);
    }

    #[test]
    fn threads_of_finished_nodes_go_to_running_ones() {
        let mut budget = Budget::new(limits(4, 7, &[]));
        let grant = |budget: &mut Budget, needs, others| budget.grant(&needs, others).expect("threads are free");
        let (one, two) = (grant(&mut budget, ONE, 2), grant(&mut budget, MANY, 1));
        let three = grant(&mut budget, MANY, 0);
        let shares = [&one, &two, &three].map(|grant| Arc::clone(&grant.share));
        let now = || shares.each_ref().map(|share| share.now());
        assert_eq!(now(), [1, 3, 3]);
        budget.give_back(one);
        budget.spread();
        assert_eq!(now()[1..], [4, 3]);
        budget.give_back(two);
        budget.spread();
        assert_eq!((shares[2].now(), shares[2].most()), (7, 7));
        budget.give_back(three);
        assert_eq!(grant(&mut budget, MANY, 0).share.now(), 7);
    }

    #[test]
    fn gpus_are_handed_out_by_number() {
        let mut budget = Budget::new(limits(4, 8, &[0, 3]));
        let first = budget.grant(&MANY, 3).expect("two GPUs are free");
        let second = budget.grant(&MANY, 2).expect("one GPU is free");
        assert_eq!((first.gpu, second.gpu), (Some(0), Some(3)));
        assert!(budget.grant(&MANY, 1).is_none());
        assert_eq!(budget.grant(&ONE, 1).expect("it needs no GPU").gpu, None);
        budget.give_back(second);
        assert_eq!(budget.grant(&MANY, 1).expect("a GPU came back").gpu, Some(3));
    }

    #[test]
    fn small_nodes_run_beyond_the_threads() {
        let mut budget = Budget::new(limits(5, 3, &[]));
        let many = budget.grant(&MANY, 0).expect("all is free");
        assert_eq!((many.share.now(), budget.is_spent()), (3, false));
        assert!(budget.grant(&MANY, 0).is_none() && budget.grant(&Needs { memory: 1, ..ONE }, 0).is_none());
        let [one, other] = [(); 2].map(|()| budget.grant(&ONE, 0).expect("two may run beyond three threads"));
        assert!(budget.is_spent() && budget.grant(&ONE, 0).is_none());
        budget.give_back(many);
        assert_eq!((budget.running(), budget.threads), (2, 1), "each of the two holds a thread now");
        [one, other].into_iter().for_each(|grant| budget.give_back(grant));
        assert_eq!((budget.running(), budget.threads, budget.beyond), (0, 3, 0));
    }

    #[test]
    fn memory_and_jobs_are_limits() {
        let mut budget = Budget::new(limits(2, 8, &[]));
        let hungry = Needs { memory: 80, ..ONE };
        let first = budget.grant(&hungry, 1).expect("100 are free");
        assert!(budget.grant(&hungry, 0).is_none());
        assert!(budget.grant(&ONE, 0).is_some());
        assert!(budget.is_spent() && budget.grant(&ONE, 0).is_none(), "two nodes run already");
        budget.give_back(first);
        let insatiable = Needs { memory: 1000, ..ONE };
        assert_eq!(budget.grant(&insatiable, 0).expect("it gets all there is").memory, 100);
    }
}

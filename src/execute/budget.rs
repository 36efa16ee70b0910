//! Who gets which threads, memory and GPU.
//!
//! A node that uses one thread takes one; a node that can use many takes a fair share of those that are free, at least
//! one, and later those that nobody else can use. Nothing that a node writes depends on how many it got.
//!
//! Where all threads are taken and there may still be more nodes at once, small nodes run beside the others: many wait for a
//! disk or for the program that they started more than they compute.

use std::sync::Arc;

use super::share::Share;

/// What the run may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes at once. As many as there are more than `threads` may be small ones for which no thread is left.
    pub jobs: usize,
    /// Threads of all nodes together.
    pub threads: usize,
    /// Bytes of memory of all nodes together, as far as they declare it.
    pub memory: u64,
    /// Ordinals of the GPUs to hand out; empty on a CPU.
    pub gpus: Vec<usize>,
}

/// What a node asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Threads that it can use.
    pub threads: usize,
    /// Bytes of memory that it may need.
    pub memory: u64,
    /// Whether it computes on the run's device, so that on a GPU it wants one to itself.
    pub device: bool,
}

/// What one running node was given.
#[derive(Debug)]
pub struct Grant {
    /// Threads for its pool.
    pub share: Arc<Share>,
    /// The GPU that is its own while it runs.
    pub gpu: Option<usize>,
    memory: u64,
}

/// What is left to give.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    running: Vec<Arc<Share>>,
    threads: usize,
    /// Threads that run though none was left.
    beyond: usize,
    memory: u64,
    gpus: Vec<usize>,
}

impl Budget {
    /// Everything is free.
    pub fn new(limits: Limits) -> Self {
        let gpus = limits.gpus.iter().rev().copied().collect();
        let (threads, memory) = (limits.threads, limits.memory);
        Self { running: Vec::new(), threads, beyond: 0, memory, gpus, limits }
    }

    /// What a node that asks for `wanted` may have now, when `others` more are ready to run; `None` if it has to wait.
    /// A node that alone wants more memory than there is runs when nothing else does.
    pub fn grant(&mut self, wanted: Wanted, others: usize) -> Option<Grant> {
        let memory = wanted.memory.min(self.limits.memory);
        let wants_gpu = wanted.device && !self.limits.gpus.is_empty();
        if self.is_spent() || memory > self.memory || (wants_gpu && self.gpus.is_empty()) {
            return None;
        }
        let share = if self.threads > 0 {
            let slots = (self.limits.jobs - self.running.len()).min(others + 1);
            let threads = self.threads.div_ceil(slots).min(wanted.threads);
            self.threads -= threads;
            Share::new(threads, wanted.threads.min(self.limits.threads))
        } else if wanted.threads == 1 && memory == 0 && !wanted.device {
            self.beyond += 1;
            Share::fixed(1)
        } else {
            return None;
        };
        let share = Arc::new(share);
        self.running.push(Arc::clone(&share));
        self.memory -= memory;
        let gpu = if wants_gpu { self.gpus.pop() } else { None };
        Some(Grant { share, gpu, memory })
    }

    /// Nodes that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether no node at all, whatever it asks for, can have anything now.
    pub fn is_spent(&self) -> bool {
        let most_beyond = self.limits.jobs.saturating_sub(self.limits.threads);
        self.running.len() >= self.limits.jobs || (self.threads == 0 && self.beyond >= most_beyond)
    }

    /// Gives the threads that are left to running nodes, one by one to the one that has the fewest.
    pub fn spread(&mut self) {
        while self.threads > 0
            && let Some(share) =
                self.running.iter().filter(|share| share.now() < share.most()).min_by_key(|share| share.now())
        {
            share.grow();
            self.threads -= 1;
        }
    }

    /// Takes back what a node was given.
    pub fn give_back(&mut self, grant: Grant) {
        self.running.retain(|share| !Arc::ptr_eq(share, &grant.share));
        // Whoever runs beyond what there is gets what comes back.
        let back = grant.share.now();
        let settled = back.min(self.beyond);
        self.beyond -= settled;
        self.threads += back - settled;
        self.memory += grant.memory;
        self.gpus.extend(grant.gpu);
        self.gpus.sort_unstable_by(|a, b| b.cmp(a));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(jobs: usize, threads: usize, gpus: &[usize]) -> Limits {
        Limits { jobs, threads, memory: 100, gpus: gpus.to_vec() }
    }

    const MANY: Wanted = Wanted { threads: usize::MAX, memory: 0, device: true };
    const ONE: Wanted = Wanted { threads: 1, memory: 0, device: false };

    #[test]
    fn shares_are_fair_and_come_back() {
        let mut budget = Budget::new(limits(4, 8, &[]));
        let first = budget.grant(MANY, 1).expect("all is free");
        assert_eq!(first.share.now(), 4);
        let second = budget.grant(MANY, 0).expect("half is free");
        assert_eq!(second.share.now(), 4);
        assert!(budget.grant(ONE, 0).is_none());
        budget.give_back(first);
        assert_eq!(budget.grant(ONE, 0).expect("half is free again").share.now(), 1);
    }

    #[test]
    fn who_ends_leaves_its_threads_to_who_goes_on() {
        let mut budget = Budget::new(limits(4, 7, &[]));
        let grant = |budget: &mut Budget, wanted, others| budget.grant(wanted, others).expect("threads are free");
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
        let first = budget.grant(MANY, 3).expect("two GPUs are free");
        let second = budget.grant(MANY, 2).expect("one GPU is free");
        assert_eq!((first.gpu, second.gpu), (Some(0), Some(3)));
        assert!(budget.grant(MANY, 1).is_none());
        assert_eq!(budget.grant(ONE, 1).expect("it needs no GPU").gpu, None);
        budget.give_back(second);
        assert_eq!(budget.grant(MANY, 1).expect("a GPU came back").gpu, Some(3));
    }

    #[test]
    fn small_nodes_run_beyond_the_threads() {
        let mut budget = Budget::new(limits(5, 3, &[]));
        let many = budget.grant(MANY, 0).expect("all is free");
        assert_eq!((many.share.now(), budget.is_spent()), (3, false));
        assert!(budget.grant(MANY, 0).is_none() && budget.grant(Wanted { memory: 1, ..ONE }, 0).is_none());
        let [one, other] = [(); 2].map(|()| budget.grant(ONE, 0).expect("two may run beyond three threads"));
        assert!(budget.is_spent() && budget.grant(ONE, 0).is_none());
        budget.give_back(many);
        assert_eq!((budget.running(), budget.threads), (2, 1), "the two have a thread each now");
        [one, other].into_iter().for_each(|grant| budget.give_back(grant));
        assert_eq!((budget.running(), budget.threads, budget.beyond), (0, 3, 0));
    }

    #[test]
    fn memory_and_jobs_are_limits() {
        let mut budget = Budget::new(limits(2, 8, &[]));
        let hungry = Wanted { memory: 80, ..ONE };
        let first = budget.grant(hungry, 1).expect("100 are free");
        assert!(budget.grant(hungry, 0).is_none());
        assert!(budget.grant(ONE, 0).is_some());
        assert!(budget.is_spent() && budget.grant(ONE, 0).is_none(), "two nodes run already");
        budget.give_back(first);
        let insatiable = Wanted { memory: 1000, ..ONE };
        assert_eq!(budget.grant(insatiable, 0).expect("it gets all there is").memory, 100);
    }
}

//! The local executor: nodes run on threads of this process.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use dnc_stages::api::DeviceChoice;

use super::Executor;
use crate::execute::budget::{Budget, Grant, Limits};
use crate::execute::host::Host;
use crate::execute::run_work::run_work;
use crate::execute::work::{Answer, Work};
use crate::execute::workers::{NodePool, Workers};
use crate::plan::Needs;

/// Runs nodes on threads of this process.
pub struct Threads {
    budget: Budget,
    workers: Workers<(Work, Grant)>,
    answers: Receiver<(Grant, Answer)>,
}

impl Threads {
    /// An executor within these limits. Work stops when the host's flag is set.
    pub fn new(limits: Limits, host: Host) -> Self {
        let (sender, answers) = mpsc::channel();
        let workers = Workers::new(move |(mut work, grant): (Work, Grant), pool: &mut NodePool| {
            if let Some(gpu) = grant.gpu {
                work.device = DeviceChoice::Cuda(gpu);
            }
            let answer = run_work(&work, &grant.share, pool, &host);
            // Nobody receives it once the executor has been dropped.
            drop(sender.send((grant, answer)));
        });
        Self { budget: Budget::new(limits), workers, answers }
    }
}

impl Executor for Threads {
    fn is_full(&self) -> bool {
        self.budget.is_spent()
    }

    fn has_room(&self, _stage: &str, needs: &Needs) -> bool {
        self.budget.fits(needs)
    }

    fn submit(&mut self, work: Work, ready: usize) {
        let grant = self.budget.grant(&work.needs, ready).expect("there is room for the work");
        self.workers.start((work, grant), self.budget.running());
    }

    fn poll(&mut self, timeout: Duration) -> Option<Answer> {
        self.budget.spread();
        match self.answers.recv_timeout(timeout) {
            Ok((grant, answer)) => {
                self.budget.give_back(grant);
                Some(answer)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the workers hold a sender"),
        }
    }

    /// Stages see the flag themselves.
    fn cancel(&mut self) {}
}

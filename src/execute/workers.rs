//! The threads that run nodes. Each is started when first needed and then takes one node after another, since a thousand
//! trivial nodes are as quick as the work around each of them.

use std::cell::Cell;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::thread_share::ThreadShare;
use crate::sync::lock;

/// Threads that each run one job after another. Dropping the value waits for the jobs under way.
pub struct Workers<Job> {
    run: Arc<dyn Fn(Job, &mut NodePool) + Send + Sync>,
    jobs: Option<Sender<Job>>,
    waiting: Arc<Mutex<Receiver<Job>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<Job: Send + 'static> Workers<Job> {
    /// No threads yet. Each will call `run` with its jobs and a pool of its own.
    pub fn new(run: impl Fn(Job, &mut NodePool) + Send + Sync + 'static) -> Self {
        let (jobs, waiting) = mpsc::channel();
        Self { run: Arc::new(run), jobs: Some(jobs), waiting: Arc::new(Mutex::new(waiting)), threads: Vec::new() }
    }

    /// Hands over a job. `under_way` is the number of jobs under way with this one: as many threads are needed.
    ///
    /// # Panics
    /// The system cannot start another thread.
    pub fn start(&mut self, job: Job, under_way: usize) {
        if under_way > self.threads.len() {
            let (run, waiting) = (Arc::clone(&self.run), Arc::clone(&self.waiting));
            let work = move || {
                let mut pool = NodePool::default();
                let next = || lock(&waiting).recv();
                while let Ok(job) = next() {
                    run(job, &mut pool);
                }
            };
            let name = format!("worker {}", self.threads.len());
            self.threads.push(Builder::new().name(name).spawn(work).expect("the system can start a thread"));
        }
        let jobs = self.jobs.as_ref().expect("only dropping the value takes the sender");
        jobs.send(job).unwrap_or_else(|_| unreachable!("this value holds the receiver"));
    }
}

impl<Job> Drop for Workers<Job> {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if let Err(payload) = thread.join()
                && !std::thread::panicking()
            {
                panic::resume_unwind(payload);
            }
        }
    }
}

/// The rayon pools that the nodes of one worker run in.
#[derive(Default)]
pub struct NodePool {
    /// The worker's own thread as a pool, reused by many nodes one after another: handing each of them to another thread and
    /// waiting for it would take longer than some nodes run. Larger pools are built anew, since a thread that ends frees
    /// what it cached.
    own: Option<ThreadPool>,
}

thread_local! {
    /// Number of the pool in which the thread runs a node.
    static POOL: Cell<Option<usize>> = const { Cell::new(None) };
}

static POOLS: AtomicUsize = AtomicUsize::new(0);

impl NodePool {
    /// Runs `work` in a pool with as many threads as `share` can ever have; those beyond its current size are parked.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn run<T: Send>(
        &mut self,
        share: &Arc<ThreadShare>,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, ThreadPoolBuildError> {
        let number = POOLS.fetch_add(1, Ordering::Relaxed);
        if share.most() > 1 {
            let ended = Arc::new(AtomicBool::new(false));
            let waiting = (Arc::clone(share), Arc::clone(&ended));
            let pool = ThreadPoolBuilder::new()
                .num_threads(share.most())
                .thread_name(move |thread| format!("node pool {number}/{thread}"))
                .start_handler(move |thread| {
                    POOL.set(Some(number));
                    // Park before looking for work, so that a parked thread never holds any.
                    waiting.0.wait(thread, &waiting.1);
                })
                .build()?;
            let result = pool.install(work);
            share.end(&ended);
            return Ok(result);
        }
        let pool = match self.own.take() {
            Some(pool) => pool,
            None => ThreadPoolBuilder::new().num_threads(1).use_current_thread().build()?,
        };
        POOL.set(Some(number));
        let result = self.own.insert(pool).install(work);
        POOL.set(None);
        Ok(result)
    }
}

/// Number of the pool in which the current thread runs a node, if it does.
pub fn current_pool() -> Option<usize> {
    POOL.get()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn as_many_threads_as_are_busy_at_once() {
        let names = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = mpsc::channel();
        let mut workers = Workers::new({
            let names = Arc::clone(&names);
            move |job: u32, _: &mut NodePool| {
                names.lock().unwrap().push(thread::current().name().map(str::to_owned));
                sender.send(job).unwrap();
            }
        });
        for job in 0..5 {
            workers.start(job, 1);
            assert_eq!(receiver.recv(), Ok(job));
        }
        drop(workers);
        assert_eq!(*names.lock().unwrap(), vec![Some("worker 0".to_owned()); 5]);
    }

    #[test]
    fn a_pool_uses_the_threads_of_its_share() {
        let share = Arc::new(ThreadShare::new(1, 3));
        let working = || {
            let looks = (0..64).into_par_iter().map(|_| rayon::current_thread_index());
            looks.collect::<BTreeSet<_>>().len()
        };
        let meet = Barrier::new(3);
        let numbers = NodePool::default().run(&share, || {
            let alone = working();
            share.grow();
            share.grow();
            // Passes only when all three threads have arrived.
            (0..3).into_par_iter().with_max_len(1).for_each(|_| {
                meet.wait();
            });
            (alone, rayon::current_num_threads())
        });
        assert_eq!(numbers.unwrap(), (1, 3));
        let waits = NodePool::default().run(&Arc::new(ThreadShare::new(2, 8)), working).unwrap();
        assert!(waits <= 2, "{waits}");
    }

    #[test]
    fn a_single_thread_is_the_worker_itself() {
        let run = || {
            let mut pool = NodePool::default();
            let own = thread::current().id();
            let mut run = |threads| {
                let share = Arc::new(ThreadShare::fixed(threads));
                let look = || (rayon::current_num_threads(), thread::current().id() == own, current_pool());
                pool.run(&share, look).unwrap()
            };
            let (one, two, again) = (run(1), run(2), run(1));
            assert_eq!((one.0, one.1, two.0, two.1, again.0, again.1), (1, true, 2, false, 1, true));
            assert!(one.2.is_some() && two.2.is_some() && again.2.is_some());
            assert!(one.2 != two.2 && two.2 != again.2);
            assert_eq!(current_pool(), None);
        };
        // On a thread of its own, since threads of the test harness also run other tests.
        thread::spawn(run).join().unwrap();
    }
}

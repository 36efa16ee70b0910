//! The threads that run nodes. They are started when first needed and stay for the next node, since a thousand trivial
//! nodes are as quick as what is done around each.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::share::Share;

/// Threads that each run one job after the other until the value is dropped.
pub struct Workers<'scope, 'env, Job, Run> {
    scope: &'scope Scope<'scope, 'env>,
    run: Arc<Run>,
    jobs: Sender<Job>,
    waiting: Arc<Mutex<Receiver<Job>>>,
    threads: usize,
}

impl<'scope, 'env, Job, Run> Workers<'scope, 'env, Job, Run>
where
    Job: Send + 'scope,
    Run: Fn(Job, &mut NodePool) + Send + Sync + 'scope,
{
    /// No threads yet; each will `run` its jobs with a pool of its own.
    pub fn new(scope: &'scope Scope<'scope, 'env>, run: Run) -> Self {
        let (jobs, waiting) = mpsc::channel();
        Self { scope, run: Arc::new(run), jobs, waiting: Arc::new(Mutex::new(waiting)), threads: 0 }
    }

    /// Hands over a job, where as many as are to be under way need a thread each.
    ///
    /// # Panics
    /// The system has no thread left.
    pub fn start(&mut self, job: Job, under_way: usize) {
        if under_way > self.threads {
            let (run, waiting) = (Arc::clone(&self.run), Arc::clone(&self.waiting));
            let work = move || {
                let mut pool = NodePool::default();
                // A thread that panics here holds nothing that could be half-done.
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(job) = next() {
                    run(job, &mut pool);
                }
            };
            let name = format!("worker {}", self.threads);
            Builder::new().name(name).spawn_scoped(self.scope, work).expect("the system can start a thread");
            self.threads += 1;
        }
        self.jobs.send(job).unwrap_or_else(|_| unreachable!("this value holds the receiver"));
    }
}

/// The rayon pools that a worker's nodes run in.
#[derive(Default)]
pub struct NodePool {
    /// The worker's own thread as a pool, which many nodes want one after the other: to hand each of them to another thread
    /// and to wait for it would take longer than some run. Larger pools are made anew: a thread that ends gives back what it
    /// kept for itself.
    own: Option<ThreadPool>,
}

thread_local! {
    /// The number of the pool in which the thread runs a node.
    static POOL: Cell<Option<usize>> = const { Cell::new(None) };
}

static POOLS: AtomicUsize = AtomicUsize::new(0);

impl NodePool {
    /// Runs `work` in a pool of as many threads as `share` may ever have; those that it has not yet got wait.
    ///
    /// # Errors
    /// They cannot be started.
    pub fn run<T: Send>(
        &mut self,
        share: &Arc<Share>,
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
                    // Before it looks for work, so that what it waits for is never its own.
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

/// The number of the pool in which the current thread runs a node, if it does.
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
        let names = Mutex::new(Vec::new());
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let mut workers = Workers::new(scope, |job: u32, _: &mut NodePool| {
                names.lock().unwrap().push(thread::current().name().map(str::to_owned));
                sender.send(job).unwrap();
            });
            for job in 0..5 {
                workers.start(job, 1);
                assert_eq!(receiver.recv(), Ok(job));
            }
        });
        assert_eq!(names.into_inner().unwrap(), vec![Some("worker 0".to_owned()); 5]);
    }

    #[test]
    fn a_pool_works_with_the_threads_that_it_has_got() {
        let share = Arc::new(Share::new(1, 3));
        let working = || {
            let looks = (0..64).into_par_iter().map(|_| rayon::current_thread_index());
            looks.collect::<BTreeSet<_>>().len()
        };
        let meet = Barrier::new(3);
        let numbers = NodePool::default().run(&share, || {
            let alone = working();
            share.grow();
            share.grow();
            // Each of the three can only go on when all have come.
            (0..3).into_par_iter().with_max_len(1).for_each(|_| {
                meet.wait();
            });
            (alone, rayon::current_num_threads())
        });
        assert_eq!(numbers.unwrap(), (1, 3));
        let waits = NodePool::default().run(&Arc::new(Share::new(2, 8)), working).unwrap();
        assert!(waits <= 2, "{waits}");
    }

    #[test]
    fn one_thread_is_the_own_one() {
        let run = || {
            let mut pool = NodePool::default();
            let own = thread::current().id();
            let mut run = |threads| {
                let share = Arc::new(Share::fixed(threads));
                let look = || (rayon::current_num_threads(), thread::current().id() == own, current_pool());
                pool.run(&share, look).unwrap()
            };
            let (one, two, again) = (run(1), run(2), run(1));
            assert_eq!((one.0, one.1, two.0, two.1, again.0, again.1), (1, true, 2, false, 1, true));
            assert!(one.2.is_some() && two.2.is_some() && again.2.is_some());
            assert!(one.2 != two.2 && two.2 != again.2);
            assert_eq!(current_pool(), None);
        };
        // Not on a thread of the test harness, which other tests may get.
        thread::spawn(run).join().unwrap();
    }
}

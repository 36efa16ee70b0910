//! A pool with few workers and a bounded queue. What does not fit is refused at once, so that memory does not grow.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::limits::Limits;
use crate::problem::Problem;

/// A pool with few workers and a bounded queue.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    workers: Arc<Semaphore>,
    /// Places for what waits and what is worked on.
    places: Arc<Semaphore>,
    time: Duration,
}

impl Pool {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            workers: Arc::new(Semaphore::new(limits.workers)),
            places: Arc::new(Semaphore::new(limits.workers + limits.queue)),
            time: limits.work_time,
        }
    }

    /// Runs a job. What is started is finished, even if nobody waits for its result any more, and keeps its place until then.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Problem::busy())?;
        let work = async {
            let worker = Arc::clone(&self.workers).acquire_owned().await.map_err(|_| Problem::stopping())?;
            let work = spawn_blocking(move || {
                let held = (place, worker);
                let result = job();
                drop(held);
                result
            });
            // The message of a panic is on standard error.
            work.await.map_err(|_| Problem::internal("The request made the program fail; its standard error says how"))
        };
        timeout(self.time, work).await.unwrap_or_else(|_| Err(Problem::too_slow()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_a_panic_frees_its_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let limits = Limits { workers: 1, queue: 1, work_time: Duration::from_millis(50), ..Limits::default() };
        let pool = Pool::new(&limits);
        runtime.block_on(async {
            let (release, wait) = channel::<()>();
            let running = tokio::spawn({
                let pool = pool.clone();
                async move { pool.run(move || wait.recv()).await.map(|_| ()) }
            });
            tokio::task::yield_now().await;
            let waiting = tokio::spawn({
                let pool = pool.clone();
                async move { pool.run(|| ()).await }
            });
            tokio::task::yield_now().await;
            let refused = pool.run(|| ()).await.unwrap_err();
            assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
            // Both take too long; the one that waited never starts.
            assert!(running.await.unwrap().is_err() && waiting.await.unwrap().is_err());
            release.send(()).unwrap();
            while pool.places.available_permits() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(pool.run(|| 7).await.unwrap(), 7);
            // Writing where a panic happened takes a while.
            let pool = Pool { time: Duration::from_secs(20), ..pool };
            let failed = pool.run(|| panic!("on purpose")).await.unwrap_err();
            assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(pool.run(|| 8).await.unwrap(), 8);
        });
    }
}

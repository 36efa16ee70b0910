//! Requests to a remote, several at a time.
//!
//! Requests wait for a network or a disk, so they run on threads of their own rather than on the current rayon pool, which is
//! sized for computation.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::Result;
use crate::poison;

/// Applies `work` to every item on at most `threads` threads and returns the results in the order of the items. After the
/// first error no further item is started, and that error is returned.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    poison::lock(&results).push((index, result));
                }
            });
        }
    });
    let mut results = poison::ignore(results.into_inner());
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CacheError;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u64> = (0..100).collect();
        for threads in [0, 1, 7, 1000] {
            let doubled = map(&items, threads, |item| Ok(item * 2)).unwrap();
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
        assert!(map(&[], 4, |item: &u64| Ok(*item)).unwrap().is_empty());
    }

    #[test]
    fn an_error_stops_the_remaining_work() {
        let started = AtomicUsize::new(0);
        let result = map(&[0; 100], 1, |_: &u8| -> Result<()> {
            match started.fetch_add(1, Ordering::Relaxed) {
                2 => Err(CacheError::CommitterPanicked),
                _ => Ok(()),
            }
        });
        assert!(matches!(result, Err(CacheError::CommitterPanicked)));
        assert_eq!(started.into_inner(), 3);
    }
}

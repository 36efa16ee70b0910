//! Panics of stages: remembered with their location instead of being printed among the lines of other nodes.

use std::any::Any;
use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::panic;
use std::sync::{Mutex, Once};

use super::workers::current_pool;
use crate::sync::lock;

/// Message, location and backtrace of the last panic in each pool that runs a node.
static PANICS: Mutex<BTreeMap<usize, String>> = Mutex::new(BTreeMap::new());

/// Installs the hook that remembers the panics of nodes; all other panics go to the hook that was there before.
pub(super) fn remember() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let Some(pool) = current_pool() else { return default(info) };
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            let message = format!("{} at {location}\n{}", text_of(info.payload()), Backtrace::capture());
            lock(&PANICS).insert(pool, message);
        }));
    });
}

/// The panic that was remembered for the current thread's pool; without one, the message in `payload`.
pub(super) fn take(payload: &(dyn Any + Send)) -> String {
    let remembered = current_pool().and_then(|pool| lock(&PANICS).remove(&pool));
    remembered.unwrap_or_else(|| text_of(payload))
}

/// The message of a panic.
pub(super) fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|&text| text.to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

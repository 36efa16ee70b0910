//! What a process lends to the nodes that it runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dnc_cache::Store;
use dnc_stages::api::Devices;

use super::event::Listener;

/// What a process lends to the nodes that it runs.
#[derive(Clone)]
pub struct Host {
    /// The store with records and blobs.
    pub store: Arc<Store>,
    /// The open GPUs.
    pub devices: Arc<Devices>,
    /// Receives the events of the nodes.
    pub listener: Arc<dyn Listener>,
    /// Set when the user asks to stop.
    pub stop: Arc<AtomicBool>,
}

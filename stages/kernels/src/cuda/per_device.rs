//! State that a process keeps for each GPU.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use candle_core::Result;
use candle_core::cuda_backend::{CudaDevice, DeviceId};

use crate::lock::lock;

/// A value for each GPU, made when it is first asked for. It is used by one thread at a time.
pub(super) struct PerDevice<T>(LazyLock<Mutex<HashMap<DeviceId, Arc<Mutex<T>>>>>);

impl<T> PerDevice<T> {
    pub(super) const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// The value for a GPU.
    ///
    /// # Errors
    /// If it is the first call for this GPU and `make` fails.
    pub(super) fn of(&self, device: &CudaDevice, make: impl FnOnce() -> Result<T>) -> Result<Arc<Mutex<T>>> {
        let mut devices = lock(&self.0);
        if let Some(value) = devices.get(&device.id()) {
            return Ok(value.clone());
        }
        let value = Arc::new(Mutex::new(make()?));
        devices.insert(device.id(), value.clone());
        Ok(value)
    }
}

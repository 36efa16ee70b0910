//! The open devices of a process: each GPU is opened once, and its handle is shared by all nodes that compute on it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Device;
use dnc_kernels::{gpu_arithmetic, open_gpu};

use super::device::DeviceChoice;
use super::error::StageError;

/// The GPUs that have been opened, by ordinal.
#[derive(Debug, Default)]
pub struct Devices {
    gpus: Mutex<BTreeMap<usize, Device>>,
}

impl Devices {
    /// The device of this choice, opened at the first call.
    ///
    /// # Errors
    /// There is no such GPU, no driver, or the program was built without CUDA.
    pub fn get(&self, choice: DeviceChoice) -> Result<Device, StageError> {
        let DeviceChoice::Cuda(ordinal) = choice.resolve() else { return Ok(Device::Cpu) };
        let mut gpus = self.gpus();
        if let Some(device) = gpus.get(&ordinal) {
            return Ok(device.clone());
        }
        let device = open_gpu(ordinal).map_err(|source| StageError::compute("use the GPU", source))?;
        gpus.insert(ordinal, device.clone());
        Ok(device)
    }

    /// The name of what the bits of floats depend on: the instruction set of the CPU, `cpu/avx512`, or the card and its
    /// libraries. It is part of the key of every stage that computes floats there ([`Arithmetic`](super::ambient::Arithmetic)).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn arithmetic(&self, choice: DeviceChoice) -> Result<String, StageError> {
        match self.get(choice)? {
            Device::Cpu => Ok(cpu_arithmetic()),
            gpu => gpu_arithmetic(&gpu).map_err(|source| StageError::compute("identify the GPU", source)),
        }
    }

    /// A handle is inserted whole, so a panic elsewhere cannot leave the map half-written.
    fn gpus(&self) -> MutexGuard<'_, BTreeMap<usize, Device>> {
        self.gpus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the CPU's instruction set, such as `cpu/avx512`.
pub fn cpu_arithmetic() -> String {
    format!("cpu/{}", dnc_kernels::arithmetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        let devices = Devices::default();
        assert!(matches!(devices.get(DeviceChoice::Cpu), Ok(Device::Cpu)));
        assert_eq!(devices.arithmetic(DeviceChoice::Cpu).unwrap(), cpu_arithmetic());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_one() {
        let error = Devices::default().get(DeviceChoice::Cuda(1)).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("Cannot open the GPU `cuda:1`"));
        let source = std::error::Error::source(&error).and_then(std::error::Error::source).map(ToString::to_string);
        assert!(source.is_some_and(|text| text.contains("--features cuda")));
    }
}

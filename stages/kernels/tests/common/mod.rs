//! The device that the tests run on, and comparison of tensors.

use std::error::Error;
use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};

/// Environment variable with the device to test: `cpu` (the default) or `cuda:N`.
const VARIABLE: &str = "DNC_TEST_DEVICE";

/// The device to test; `None` if it is not available, with the reason on stderr. A test then returns early.
pub(crate) fn device() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE
        .get_or_init(|| {
            let name = std::env::var(VARIABLE).unwrap_or_else(|_| "cpu".to_owned());
            let reason = |error: &dyn Error| error.source().map(|source| format!(": {source}")).unwrap_or_default();
            let skipped = |error| eprintln!("skipped: device `{name}` is not available: {error}{}", reason(&error));
            open(&name).map_err(skipped).ok()
        })
        .clone()
}

fn open(name: &str) -> dnc_kernels::Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let ordinal = name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
    let ordinal = ordinal.unwrap_or_else(|| panic!("`{VARIABLE}` is `{name}`: expected `cpu` or `cuda:N`"));
    dnc_kernels::open_gpu(ordinal)
}

/// Largest accepted difference, relative to the largest value; on a GPU in `f32` as on a CPU.
pub(crate) fn tolerance(_: &Device) -> f32 {
    1e-4
}

/// The values of a tensor of floats.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    let values = tensor.flatten_all().and_then(|tensor| tensor.to_dtype(DType::F32));
    values.and_then(|values| values.to_vec1()).expect("a tensor of floats can be read")
}

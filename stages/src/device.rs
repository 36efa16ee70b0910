//! Where floats are computed: `auto`, `cpu` or `cuda:N`.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::error::StageError;

/// The device that a run asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU where the program was built for one and one is there, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this ordinal.
    Cuda(usize),
}

impl DeviceChoice {
    /// Turns `auto` into what this machine has: `Cpu` or `Cuda(0)`.
    #[must_use]
    pub fn resolve(self) -> Self {
        match self {
            DeviceChoice::Auto if cuda_answers() => DeviceChoice::Cuda(0),
            DeviceChoice::Auto => DeviceChoice::Cpu,
            chosen => chosen,
        }
    }

    /// Opens the device.
    ///
    /// # Errors
    /// The program was built without CUDA, or no GPU of this number answers.
    pub fn open(self) -> Result<Device, StageError> {
        match self.resolve() {
            DeviceChoice::Cuda(ordinal) => Device::new_cuda(ordinal)
                .map_err(|source| StageError::compute(format!("open the device `cuda:{ordinal}`"), source)),
            _ => Ok(Device::Cpu),
        }
    }

    /// What enters the key of every stage that computes floats: the instruction set or the kind of GPU.
    pub fn arithmetic(self) -> String {
        match self.resolve() {
            DeviceChoice::Cuda(_) => "cuda".to_owned(),
            _ => format!("cpu/{}", dnc_kernels::arithmetic()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => formatter.write_str("auto"),
            DeviceChoice::Cpu => formatter.write_str("cpu"),
            DeviceChoice::Cuda(ordinal) => write!(formatter, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(DeviceChoice::Cuda)
                .ok_or_else(|| format!("`{text}` is no device; write `auto`, `cpu` or `cuda:N`")),
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda_answers() -> bool {
    Device::new_cuda(0).is_ok()
}

#[cfg(not(feature = "cuda"))]
fn cuda_answers() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (text, expected) in [
            ("auto", Some(DeviceChoice::Auto)),
            ("cpu", Some(DeviceChoice::Cpu)),
            ("cuda", Some(DeviceChoice::Cuda(0))),
            ("cuda:3", Some(DeviceChoice::Cuda(3))),
            ("cuda:x", None),
            ("gpu", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
        assert_eq!(DeviceChoice::Cuda(3).to_string(), "cuda:3");
    }
}

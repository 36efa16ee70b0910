//! Weights from and for elsewhere: named tensors as plain bytes, and the files that hold them.
//!
//! Read in this order: [`NamedTensor`] and [`import`] here, [`Fit`] in `fit`, then the formats: `safetensors` (read and
//! written), and PyTorch's pickles, `torch_zip` (since 1.6) and `torch_legacy` (before), both over `pickle`, which knows
//! how to rebuild tensors and nothing else, so that no file can run code.

pub(crate) mod fit;
mod pickle;
mod safetensors;
mod torch_legacy;
mod torch_zip;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::error::{LearnError, Result};
use crate::parameters::Spec;
pub use fit::{Fit, Misshapen};

/// How often the tensors of a PyTorch file may hold its bytes over: tied weights share a storage, but a small file whose
/// tensors all view the same storage could ask for any amount of memory.
const MOST_SHARING: usize = 8;

/// Counters of batch-norm layers that nothing here has a use for.
const COUNTER: &str = "num_batches_tracked";

/// A tensor with its name, as little-endian bytes in row-major order: what a file or a table row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTensor {
    /// Its name in the model.
    pub name: String,
    /// The type of its numbers.
    pub dtype: DType,
    /// Length along each axis; empty for a single number.
    pub shape: Vec<usize>,
    /// The numbers.
    pub bytes: Vec<u8>,
}

impl NamedTensor {
    /// The `f32` values of `tensor` under `name`.
    pub fn from_tensor(name: &str, tensor: &Tensor) -> Result<Self> {
        let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Self { name: name.to_owned(), dtype: DType::F32, shape: tensor.dims().to_vec(), bytes })
    }

    /// The numbers as an `f32` tensor on `device`.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_raw_buffer(&self.bytes, self.dtype, &self.shape, device)?.to_dtype(DType::F32)?)
    }
}

/// The tensors of the weights file at `path`: safetensors, or a `state_dict` saved by PyTorch in either of its formats.
/// Dictionaries within dictionaries are joined by dots; batch-norm's `num_batches_tracked` are left out.
///
/// # Errors
/// If the file cannot be read, is of another kind, is damaged or holds no tensor.
pub fn import(path: &Path) -> Result<Vec<NamedTensor>> {
    let file_error = |source| LearnError::WeightsFile { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(file_error)?;
    // SAFETY: the map is read-only and dropped before this function returns. A file that another process cuts meanwhile
    // ends this process with a bus error, as for every memory-mapped file.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(file_error)?;
    let mut tensors = parse(&map)
        .and_then(|tensors| if tensors.is_empty() { Err("it holds no tensor".to_owned()) } else { Ok(tensors) })
        .map_err(|problem| LearnError::WeightsFormat { path: path.to_owned(), problem })?;
    tensors.retain(|tensor| !tensor.name.ends_with(COUNTER));
    Ok(tensors)
}

/// Writes `tensors` to a safetensors file at `path`, which `load_state_dict` takes after `safetensors.torch.load_file`.
///
/// # Errors
/// If the file cannot be written.
pub fn export(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    let bytes =
        safetensors::write(tensors).map_err(|problem| LearnError::WeightsFormat { path: path.to_owned(), problem })?;
    File::create(path).and_then(|mut file| file.write_all(&bytes)).map_err(|source| LearnError::WeightsFile {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

/// What of `tensors` belongs to a network of these `specs`, under the names that they have there, and how it fits: wrappers'
/// prefixes (`module.`, `state_dict.` …) are stripped.
pub fn fitting(specs: &[Spec], tensors: &[NamedTensor]) -> (Vec<NamedTensor>, Fit) {
    let wanted = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
    let (pairs, fit) = fit::renamed(wanted, tensors);
    let named = |(name, tensor): (&str, &NamedTensor)| NamedTensor { name: name.to_owned(), ..tensor.clone() };
    (pairs.into_iter().map(named).collect(), fit)
}

fn parse(bytes: &[u8]) -> std::result::Result<Vec<NamedTensor>, String> {
    if bytes.starts_with(torch_zip::MAGIC) {
        torch_zip::read(bytes)
    } else if bytes.starts_with(torch_legacy::MAGIC) {
        torch_legacy::read(bytes)
    } else if bytes.get(8) == Some(&b'{') {
        safetensors::read(bytes)
    } else {
        Err("it is neither safetensors nor a `state_dict` saved by PyTorch".to_owned())
    }
}

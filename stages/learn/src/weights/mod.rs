//! Weights files: named tensors as plain bytes, read from safetensors and PyTorch files and written as safetensors.
//!
//! **Reading order** `named_tensor`; [`import`] and [`export`] here; `matching`, which pairs tensors with what a model
//! expects, and `timm_names`; then the formats: `safetensors` (read and written) and PyTorch's pickles, `torch_zip` (since PyTorch 1.6) and
//! `torch_legacy` (before), both on top of `pickle`, which can rebuild tensors and nothing else, so that no file can run
//! code.

pub(crate) mod matching;
mod named_tensor;
mod parse_result;
mod pickle;
mod safetensors;
mod timm_names;
mod torch_legacy;
mod torch_zip;

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

pub use crate::fit::{Fit, ShapeMismatch};
pub use named_tensor::NamedTensor;
pub use timm_names::timm;

use crate::error::{LearnError, Result};
use crate::spec::Spec;
use parse_result::ParseResult;

/// Suffix of batch-norm's batch counters, which nothing here uses.
const COUNTER: &str = "num_batches_tracked";

/// Reads the tensors of the weights file at `path`: safetensors, or a `state_dict` saved by PyTorch in either of its
/// formats. Keys of nested dictionaries are joined by dots; batch-norm's `num_batches_tracked` are left out.
///
/// # Errors
/// If the file cannot be read, is of another format, is damaged or holds no tensor.
pub fn import(path: &Path) -> Result<Vec<NamedTensor>> {
    let file_error = |source| LearnError::WeightsFile { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(file_error)?;
    // SAFETY: the map is read-only and dropped before this function returns. If another process truncates the file in the
    // meantime, this process ends with a bus error, as with every memory-mapped file.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(file_error)?;
    let mut tensors = parse(&map)
        .and_then(|tensors| if tensors.is_empty() { Err("it holds no tensor".to_owned()) } else { Ok(tensors) })
        .map_err(|problem| LearnError::WeightsFormat { path: path.to_owned(), problem })?;
    tensors.retain(|tensor| !tensor.name.ends_with(COUNTER));
    Ok(tensors)
}

/// Writes `tensors` to a safetensors file at `path`, which PyTorch loads with `safetensors.torch.load_file` and
/// `load_state_dict`. With a `layer`, the embedding is written under the name of that layer, which is the last one of a
/// network's published code; [`import`] gives it its own name back.
///
/// # Errors
/// If the file cannot be written.
pub fn export(path: &Path, tensors: &[NamedTensor], layer: Option<&str>) -> Result<()> {
    let bytes = safetensors::write(tensors, layer)
        .map_err(|problem| LearnError::WeightsFormat { path: path.to_owned(), problem })?;
    File::create(path).and_then(|mut file| file.write_all(&bytes)).map_err(|source| LearnError::WeightsFile {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}

/// The tensors out of `tensors` that a network of these `specs` has, under the network's names, and how well they fit.
/// Prefixes of wrappers (`module.`, `state_dict.` …) are stripped.
pub fn fitting(specs: &[Spec], tensors: &[NamedTensor]) -> (Vec<NamedTensor>, Fit) {
    let expected = specs.iter().map(|spec| (spec.name.as_str(), spec.shape.as_slice()));
    let (pairs, fit) = matching::unwrapped(expected, tensors);
    let shapes: HashMap<&str, &[usize]> = specs.iter().map(|spec| (spec.name.as_str(), &spec.shape[..])).collect();
    let named = |(name, tensor): (&str, &NamedTensor)| NamedTensor {
        name: name.to_owned(),
        shape: shapes[name].to_vec(),
        ..tensor.clone()
    };
    (pairs.into_iter().map(named).collect(), fit)
}

/// What a file is that holds no weights, as far as its first bytes tell.
fn described(bytes: &[u8]) -> &'static str {
    let start = bytes.trim_ascii_start();
    if bytes.is_empty() {
        "empty"
    } else if bytes.starts_with(b"version https://git-lfs") {
        "a pointer of Git LFS (`git lfs pull` fetches the file)"
    } else if start.starts_with(b"<") {
        "a web page (the download failed)"
    } else {
        "something else"
    }
}

fn parse(bytes: &[u8]) -> ParseResult<Vec<NamedTensor>> {
    if bytes.starts_with(torch_zip::MAGIC) {
        torch_zip::read(bytes)
    } else if bytes.starts_with(torch_legacy::MAGIC) {
        torch_legacy::read(bytes)
    } else if bytes.get(8) == Some(&b'{') {
        safetensors::read(bytes)
    } else {
        Err(format!("it is {}, neither safetensors nor a `state_dict` saved by PyTorch", described(bytes)))
    }
}

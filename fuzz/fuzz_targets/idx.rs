//! IDX files: the first byte says which of the four is the input; the others are those of two images of 2 × 2 pixels.
#![no_main]

use std::fs;

use dnc_stages::decode::datasets::{DatasetConfig, Idx};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
const IMAGES: &[u8] = &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7];
const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1];

fuzz_target!(|input: &[u8]| {
    let Some((&first, input)) = input.split_first() else { return };
    let folder = dnc_fuzz::folder();
    for (number, name) in NAMES.into_iter().enumerate() {
        let is_input = number == usize::from(first) % NAMES.len();
        let bytes = if is_input { input } else { [IMAGES, LABELS][number % 2] };
        let is_packed = is_input && input.starts_with(&[0x1F, 0x8B]);
        let path = folder.path().join(if is_packed { format!("{name}.gz") } else { name.to_owned() });
        fs::write(path, bytes).expect("the folder can be written to");
    }
    dnc_fuzz::list(&DatasetConfig::Idx(Idx::default()), folder.path());
});

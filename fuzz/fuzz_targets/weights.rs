//! Files of weights: safetensors, PyTorch's zip archives and its older pickles, which the reader recognises by their first bytes.
#![no_main]

use dnc_learn::weights;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    dnc_fuzz::with_file("weights", bytes, |path| drop(weights::import(path)));
});

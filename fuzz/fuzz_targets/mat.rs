//! MATLAB files: the annotations of Cars196.
#![no_main]

use dnc_stages::decode::datasets::{Cars, DatasetConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let cars = DatasetConfig::Cars(Cars {});
    dnc_fuzz::with_file("cars_annos.mat", bytes, |path| dnc_fuzz::list(&cars, path.parent().expect("it lies in a folder")));
});

//! Parquet files with the bytes of images.
#![no_main]

use dnc_stages::decode::datasets::{DatasetConfig, Parquet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parquet = DatasetConfig::Parquet(Parquet::default());
    dnc_fuzz::with_file("images.parquet", bytes, |path| dnc_fuzz::list(&parquet, path));
});

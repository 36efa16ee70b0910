//! Lists of image files as text: CSV, TSV and what lies between.
#![no_main]

use dnc_stages::decode::datasets::{DatasetConfig, List};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [image, class, split, camera] = ["image", "class", "split", "camera"].map(str::to_owned);
    let list = DatasetConfig::List(List { file: "list.csv".into(), image, class, split, camera });
    dnc_fuzz::with_file("list.csv", bytes, |path| dnc_fuzz::list(&list, path.parent().expect("it lies in a folder")));
});

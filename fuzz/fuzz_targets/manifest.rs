//! Text of a manifest: it is read, checked and unrolled into a plan.
#![no_main]

use std::path::PathBuf;

use dnc_run::manifest::{Manifest, ReadOptions};
use dnc_run::plan::Plan;
use libfuzzer_sys::fuzz_target;

/// Rounds and learners that are unrolled: more would only take longer.
const MOST_DIGITS: usize = 3;

fuzz_target!(|text: &str| {
    if has_long_number(text) {
        return;
    }
    match Manifest::parse("m.toml", text.to_owned(), PathBuf::new(), ReadOptions::default()) {
        Ok(manifest) => drop(Plan::new(manifest)),
        Err(problems) => drop(problems.to_string()),
    }
});

/// Whether any number has so many digits that it could stand for millions of nodes.
fn has_long_number(text: &str) -> bool {
    let mut digits = 0;
    text.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits > MOST_DIGITS
    })
}

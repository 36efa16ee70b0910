//! How long a generated manifest of many `command` stages takes to be read and checked.
//!
//! `cargo run --release --example bench_manifest [STAGES]` (10,000 unless said otherwise): chains of ten, each stage also
//! read by one of a thousand-wide fan-in, about 150 bytes a stage.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dnc_run::manifest::{Manifest, Reading};
use toml::de::DeTable;

const REPEATS: usize = 25;
const FAN_IN: usize = 1_000;

fn main() -> Result<()> {
    let stages = std::env::args().nth(1).map_or(Ok(10_000), |count| count.parse()).context("STAGES is a number")?;
    let text = generate(stages, "/bin/sh");
    println!("{stages} stages, {:.2} MB       median     best", text.len() as f64 / 1e6);

    time("TOML alone", || DeTable::parse(&text))?;
    let read = |text: &str, check_sources| {
        let reading = Reading { check_sources, ..Reading::default() };
        Manifest::parse("bench.toml", text.to_owned(), PathBuf::new(), reading)
    };
    time("without its sources", || read(&text, false))?;
    time("read and checked", || read(&text, true))?;
    let on_path = generate(stages, "sh");
    time("programs on the PATH", || read(&on_path, true))?;
    let manifest = Manifest::parse("bench.toml", text, PathBuf::new(), Reading::default())?;
    time("written as resolved", || Ok::<_, Infallible>(manifest.to_toml()))?;
    Ok(())
}

fn generate(stages: usize, program: &str) -> String {
    let stage = |index: usize| {
        let inputs = match index {
            _ if index % FAN_IN == FAN_IN - 1 => {
                let all: Vec<String> = (index + 1 - FAN_IN..index).map(|index| format!("\"node-{index}\"")).collect();
                format!("all = [{}]", all.join(", "))
            }
            _ if index.is_multiple_of(10) => String::new(),
            _ => format!("before = \"node-{}\"", index - 1),
        };
        format!(
            "[stage.node-{index}]\nkind = \"command\"\nrun = [\"{program}\", \"-c\", \"cat {{in.before}} > {{out.result}}/{index}.txt\"]\n\
             in = {{ {inputs} }}\noutputs = {{ result = \"files\" }}\n\n"
        )
    };
    format!("name = \"bench\"\n\n{}", (0..stages).map(stage).collect::<String>())
}

/// Prints the median and the best time of `work` over some repeats.
fn time<T, E>(what: &str, mut work: impl FnMut() -> Result<T, E>) -> Result<(), E> {
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let start = Instant::now();
        let result = work()?;
        times.push(start.elapsed());
        drop(result);
    }
    times.sort();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{what:22} {:7.1} ms {:7.1} ms", milliseconds(times[REPEATS / 2]), milliseconds(times[0]));
    Ok(())
}

//! How long a generated manifest of many `command` stages takes to be read, checked and written as resolved.
//!
//! usage: `bench_manifest [PATTERN] [--nodes N] [--reps N] [--cpu] [--memory]`

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::Result;
use dnc_bench::{Bench, Work};
use dnc_run::manifest::{Manifest, ReadOptions};
use dnc_run::plan::Plan;
use graph::Graph;
use toml::de::DeTable;

#[expect(dead_code, reason = "what is written for ninja is for the benchmark of the executor")]
mod graph;

fn main() -> Result<()> {
    let bench = Bench::from_args(&["--nodes"]);
    let nodes = bench.option("--nodes").map_or(Ok(10_000), str::parse)?;
    let text = Graph { nodes, version: 0 }.manifest();
    let work = || Work::new(nodes, "stages");
    let name = |row: &str| format!("manifest/{row}/n{nodes}");

    bench.row(&name("toml"), work(), || DeTable::parse(&text).map(drop))?;
    let read = |check_sources| {
        let options = ReadOptions { check_sources, ..ReadOptions::default() };
        Manifest::parse("bench.toml", text.clone(), PathBuf::new(), options)
    };
    bench.row(&name("without_sources"), work(), || read(false))?;
    bench.row(&name("read"), work(), || read(true))?;
    let manifest = read(false)?;
    bench.row(&name("plan"), work(), || Ok::<_, Infallible>(Plan::new(manifest.clone())))?;
    bench.row(&name("resolved"), work(), || Ok::<_, Infallible>(manifest.to_toml()))?;
    Ok(())
}

//! How long a generated manifest of many `command` stages takes to be read and checked: chains of ten, each stage also
//! read by one of a thousand-wide fan-in, about 150 bytes a stage.
//!
//! usage: `bench_manifest [PATTERN] [--stages N] [--reps N] [--memory]`

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::Result;
use dnc_bench::{Bench, Work};
use dnc_run::manifest::{Manifest, Reading};
use toml::de::DeTable;

const FAN_IN: usize = 1_000;

fn main() -> Result<()> {
    let bench = Bench::from_args(&["--stages"]);
    let stages = bench.option("--stages").map_or(Ok(10_000), str::parse)?;
    let text = generate(stages, "/bin/sh");
    let work = || Work::new(stages, "stages");
    let name = |row: &str| format!("manifest/{row}/n{stages}");

    bench.row(&name("toml"), work(), || DeTable::parse(&text).map(drop))?;
    let read = |text: &str, check_sources| {
        let reading = Reading { check_sources, ..Reading::default() };
        Manifest::parse("bench.toml", text.to_owned(), PathBuf::new(), reading)
    };
    bench.row(&name("without_sources"), work(), || read(&text, false))?;
    bench.row(&name("read"), work(), || read(&text, true))?;
    let on_path = generate(stages, "sh");
    bench.row(&name("read_from_path"), work(), || read(&on_path, true))?;
    let manifest = Manifest::parse("bench.toml", text, PathBuf::new(), Reading::default())?;
    bench.row(&name("resolved"), work(), || Ok::<_, Infallible>(manifest.to_toml()))?;
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

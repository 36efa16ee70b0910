//! The executor on graphs of trivial commands, alternating with ninja where that is installed: cold, with nothing to do,
//! and after one node in the middle of a chain changed.
//!
//! usage: `bench_executor [PATTERN] [--reps N] [--nodes N]`; without `--nodes` both 1,000 and 10,000. The files lie in a
//! new folder below TMPDIR. `peak_mib` is the largest resident size of `dnc-run`, which must be built.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dnc_bench::{Bench, Work, median_of};
use dnc_run::execute::Outcome;
use dnc_run::report::run_folder::RunFolder;
use graph::{BELOW, Graph};

mod graph;

/// Cold runs of more nodes than this take minutes.
const COLD: usize = 2_000;

fn main() -> Result<()> {
    let bench = Bench::from_args(&["--nodes"]);
    let sizes = match bench.option("--nodes") {
        Some(nodes) => vec![nodes.parse()?],
        None => vec![1_000, 10_000],
    };
    for nodes in sizes {
        let rows = ["cold", "noop", "changed"].map(|row| format!("executor/{row}/n{nodes}"));
        if rows.iter().any(|row| bench.wants(row)) {
            measure(&bench, nodes, &rows)?;
        }
    }
    Ok(())
}

fn measure(bench: &Bench, nodes: usize, [cold, noop, changed]: &[String; 3]) -> Result<()> {
    let mut graph = Graph { nodes, version: 0 };
    let both = Both::new()?;
    let reps = if nodes <= COLD && bench.wants(cold) { bench.reps() } else { 1 };
    let mut times = Times::default();
    for _ in 0..reps {
        both.forget()?;
        both.write(graph)?;
        times.take(&both, nodes)?;
    }
    times.print(bench, cold, nodes, None);

    let peak = bench.wants(noop).then(|| both.peak_mib()).transpose()?.flatten();
    let mut times = Times::default();
    for _ in 0..bench.reps() {
        times.take(&both, 0)?;
    }
    times.print(bench, noop, nodes, peak);

    let mut times = Times::default();
    for _ in 0..bench.reps() {
        graph.version += 1;
        both.write(graph)?;
        times.take(&both, BELOW)?;
    }
    times.print(bench, changed, nodes, None);
    Ok(())
}

/// The same graph in a folder for `dnc-run` and in one for ninja.
struct Both {
    folder: tempfile::TempDir,
    has_ninja: bool,
}

impl Both {
    fn new() -> Result<Self> {
        let has_ninja = Command::new("ninja").arg("--version").stdout(Stdio::null()).status().is_ok();
        Ok(Self { folder: tempfile::tempdir()?, has_ninja })
    }

    fn ours(&self) -> PathBuf {
        self.folder.path().join("dnc")
    }

    fn ninjas(&self) -> PathBuf {
        self.folder.path().join("ninja")
    }

    /// Empties both folders. What they held is only set aside until the end: ext4 takes long to make files just after it
    /// has removed thousands, which would be measured and not the executors.
    fn forget(&self) -> Result<()> {
        for folder in [self.ours(), self.ninjas()] {
            if folder.exists() {
                fs::rename(&folder, tempfile::tempdir_in(self.folder.path())?.keep().join("spent"))?;
            }
            fs::create_dir(&folder)?;
        }
        Ok(fs::create_dir(self.ours().join(".dnc"))?)
    }

    fn write(&self, graph: Graph) -> Result<()> {
        fs::write(self.ours().join("graph.toml"), graph.manifest())?;
        Ok(fs::write(self.ninjas().join("build.ninja"), graph.ninja())?)
    }

    fn dnc_run(&self) -> Result<Command> {
        let beside = std::env::current_exe()?;
        let built = beside.ancestors().nth(2).context("An example lies in a folder of the build's folder")?;
        let mut command = Command::new(built.join("dnc-run"));
        command.args(["graph.toml", "--quiet"]).current_dir(self.ours());
        Ok(command)
    }

    fn ninja(&self) -> Command {
        let mut command = Command::new("ninja");
        command.arg("--quiet").current_dir(self.ninjas()).stdout(Stdio::null());
        command
    }

    /// How many nodes the last run of `dnc-run` ran.
    fn ran(&self) -> Result<usize> {
        let run = RunFolder::find(&self.ours().join("runs"), "graph").map_err(anyhow::Error::msg)?.read()?;
        Ok(run.nodes.iter().filter(|node| node.outcome == Outcome::Ran).count())
    }

    /// The largest resident size of `dnc-run`, looked at until it ends.
    fn peak_mib(&self) -> Result<Option<u64>> {
        let (_, peak) = dnc_bench::wait(&mut self.dnc_run()?.spawn()?)?;
        Ok(peak)
    }
}

/// Seconds of both, one after the other.
#[derive(Default)]
struct Times {
    ours: Vec<f64>,
    ninjas: Vec<f64>,
}

impl Times {
    /// Runs both; `dnc-run` must run so many nodes.
    fn take(&mut self, both: &Both, nodes: usize) -> Result<()> {
        self.ours.push(time(both.dnc_run()?)?);
        ensure!(both.ran()? == nodes, "`dnc-run` ran {} nodes instead of {nodes}", both.ran()?);
        if both.has_ninja {
            self.ninjas.push(time(both.ninja())?);
        }
        Ok(())
    }

    fn print(self, bench: &Bench, row: &str, nodes: usize, peak: Option<u64>) {
        if !bench.wants(row) {
            return;
        }
        let work = || Work::new(nodes, "nodes");
        let ours = match peak {
            Some(peak) => work().also("peak_mib", peak),
            None => work(),
        };
        bench.print(row, median_of(self.ours), ours);
        if !self.ninjas.is_empty() {
            bench.print(&format!("{row}/ninja"), median_of(self.ninjas), work());
        }
    }
}

fn time(mut command: Command) -> Result<f64> {
    let begin = Instant::now();
    let status = command.status().with_context(|| format!("Cannot run {:?}", command.get_program()))?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(seconds)
}

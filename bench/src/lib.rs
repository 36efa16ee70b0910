//! What all benchmarks share: their arguments, the median of repeated measurements, one JSON object a line.
//!
//! A benchmark is an example called `bench_*` of the crate that it measures. `make bench ONLY=PATTERN` builds them all and
//! hands the pattern to each; a row is measured, and its input made, only if its name matches.
//!
//! ```text
//! bench_layers [PATTERN] [--threads N] [--reps N] [--cpu] [--memory]
//! {"name":"train_step/resnet18/64/b80","seconds":0.258,"unit":"images","work":80}
//! ```
//!
//! `PATTERN` is a regular expression that is looked for in the names. The form is that of `bench_torch.py`, which measures
//! the peers under the same names. `--cpu` tells the CPU time of all threads, which other processes disturb less;
//! `--memory` adds `peak_mib`, the process's largest resident size so far.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

use regex::Regex;
use serde_json::{Value, json};

/// CPU time is told in ticks of some milliseconds: a measurement takes at least this long, so that they don't matter.
const CPU_SECONDS: f64 = 0.2;

/// What was asked for on the command line.
#[derive(Debug)]
pub struct Bench {
    pattern: Regex,
    /// How many threads the benchmark's pool should have.
    pub threads: usize,
    reps: usize,
    cpu: bool,
    memory: bool,
    own: BTreeMap<String, String>,
}

/// How much one measurement does.
#[derive(Clone, Debug)]
pub struct Work {
    count: u64,
    unit: &'static str,
    also: Vec<(&'static str, Value)>,
}

impl Work {
    /// So many images, queries, bytes …
    pub fn new(count: impl TryInto<u64>, unit: &'static str) -> Self {
        Self { count: count.try_into().unwrap_or(u64::MAX), unit, also: Vec::new() }
    }

    /// Another member of the printed object.
    #[must_use]
    pub fn also(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.also.push((name, value.into()));
        self
    }
}

impl Bench {
    /// Reads the command line. `own` are options of this benchmark alone, each with a value.
    ///
    /// Ends the process with a message if the command line is wrong.
    pub fn from_args(own: &[&str]) -> Self {
        Self::parse(env::args().skip(1), own).unwrap_or_else(|error| {
            eprintln!("error: {error}");
            process::exit(2)
        })
    }

    fn parse(mut words: impl Iterator<Item = String>, own: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut bench =
            Self { pattern: Regex::new("")?, threads: 2, reps: 5, cpu: false, memory: false, own: BTreeMap::new() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("`{word}` wants a value"));
            match word.as_str() {
                "--threads" => bench.threads = value()?.parse()?,
                "--reps" => bench.reps = value()?.parse::<usize>()?.max(1),
                "--cpu" => bench.cpu = true,
                "--memory" => bench.memory = true,
                option if own.contains(&option) => {
                    let value = value()?;
                    bench.own.insert(word, value);
                }
                option if option.starts_with('-') => return Err(format!("`{option}` is no option").into()),
                pattern => bench.pattern = Regex::new(pattern)?,
            }
        }
        Ok(bench)
    }

    /// The value of an option that [`Bench::from_args`] was told of.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.own.get(name).map(String::as_str)
    }

    /// Whether the row of this name is asked for: ask before making a costly input.
    pub fn wants(&self, name: &str) -> bool {
        self.pattern.is_match(name)
    }

    /// Measures `run` after one run that warms up, and prints the median, if the row is asked for.
    ///
    /// # Errors
    /// That of `run`.
    pub fn row<T, E>(&self, name: &str, work: Work, run: impl FnMut() -> Result<T, E>) -> Result<(), E> {
        if self.wants(name) {
            let seconds = self.median(run)?;
            self.print(name, seconds, work);
        }
        Ok(())
    }

    /// Like [`Bench::row`] for a `run` that times a part of itself, and without warming up.
    ///
    /// # Errors
    /// That of `run`.
    pub fn row_timed<E>(&self, name: &str, work: Work, mut run: impl FnMut() -> Result<Duration, E>) -> Result<(), E> {
        if self.wants(name) {
            let times = (0..self.reps).map(|_| run().map(|time| time.as_secs_f64()));
            let times = times.collect::<Result<Vec<_>, E>>()?;
            self.print(name, median_of(times), work);
        }
        Ok(())
    }

    /// The median seconds of `run` after one run that warms up, for rows that are computed from several.
    ///
    /// # Errors
    /// That of `run`.
    pub fn median<T, E>(&self, mut run: impl FnMut() -> Result<T, E>) -> Result<f64, E> {
        let begin = Instant::now();
        run()?;
        let once = begin.elapsed().as_secs_f64();
        let runs = if self.cpu { (CPU_SECONDS / once).ceil().clamp(1.0, 1e4) as usize } else { 1 };
        let mut times = Vec::with_capacity(self.reps);
        for _ in 0..self.reps {
            let (begin, cpu_before) = (Instant::now(), cpu_seconds());
            for _ in 0..runs {
                run()?;
            }
            let passed = if self.cpu { cpu_seconds() - cpu_before } else { begin.elapsed().as_secs_f64() };
            times.push(passed / runs as f64);
        }
        Ok(median_of(times))
    }

    /// How many measurements there are in a median.
    pub fn reps(&self) -> usize {
        self.reps
    }

    /// Prints a row that was measured in another way.
    pub fn print(&self, name: &str, seconds: f64, work: Work) {
        let seconds = (seconds * 1e6).round() / 1e6;
        let mut row = json!({ "name": name, "seconds": seconds, "work": work.count, "unit": work.unit });
        for (name, value) in work.also {
            row[name] = value;
        }
        if self.memory {
            row["peak_mib"] = peak_mib(process::id()).into();
        }
        println!("{row}");
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median_of(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    match times.len() {
        0 => f64::NAN,
        count => f64::midpoint(times[(count - 1) / 2], times[count / 2]),
    }
}

/// CPU time of this process so far, as Linux tells it: all threads, user and system.
fn cpu_seconds() -> f64 {
    let nanoseconds = |stat: String| stat.split_whitespace().next()?.parse::<f64>().ok();
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| nanoseconds(fs::read_to_string(thread.path().join("schedstat")).ok()?));
    times.sum::<f64>() * 1e-9
}

/// Waits for a process: how it ended, and its largest resident size where Linux tells it.
///
/// # Errors
/// It cannot be waited for.
pub fn wait(child: &mut Child) -> io::Result<(ExitStatus, Option<u64>)> {
    let mut peak = None;
    loop {
        // The kernel forgets the size when the process ends, so it is looked at while it runs.
        peak = peak_mib(child.id()).max(peak);
        if let Some(status) = child.try_wait()? {
            return Ok((status, peak));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The largest resident size of a process so far, as Linux tells it.
fn peak_mib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Bench, String> {
        Bench::parse(words.iter().map(|&word| word.to_owned()), &["--jpegs"]).map_err(|error| error.to_string())
    }

    #[test]
    fn the_pattern_is_looked_for_in_names() {
        let check = |words: &[&str], name, expected| {
            assert_eq!(parse(words).map(|bench| bench.wants(name)), Ok(expected), "{words:?}");
        };
        check(&[], "embed/resnet18/64/b80", true);
        check(&["."], "embed/resnet18/64/b80", true);
        check(&["resnet18"], "embed/resnet18/64/b80", true);
        check(&["^(embed|train_step)/resnet50", "--threads", "1"], "embed/resnet18/64/b80", false);
    }

    #[test]
    fn options_are_read_and_others_refused() {
        let bench = parse(&["--threads", "3", "--jpegs", "folder", "--cpu"]).expect("these are options");
        assert_eq!((bench.threads, bench.option("--jpegs"), bench.cpu), (3, Some("folder"), true));
        assert_eq!(parse(&["--thread", "3"]).map(drop), Err("`--thread` is no option".to_owned()));
        assert_eq!(parse(&["--reps"]).map(drop), Err("`--reps` wants a value".to_owned()));
        assert!(parse(&["("]).is_err());
    }

    #[test]
    fn medians() {
        assert_eq!(median_of(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_of(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}

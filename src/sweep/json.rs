//! The result of a sweep as JSON.

use serde::Serialize;
use serde_json::{Map, Value};

use super::conduct::Course;
use super::file::SweepFile;
use super::objective::VALIDATION;
use super::result::{SweepResult, TrialResult};
use super::space::Space;
use super::summary;
use super::trial::{Reached, Trial};

/// What `sweep --json` prints.
#[derive(Serialize)]
pub struct SweepJson {
    sweep: String,
    manifest: String,
    method: &'static str,
    objective: ObjectiveJson,
    seeds: Vec<u64>,
    /// The best first.
    trials: Vec<TrialJson>,
    /// Number of the best trial.
    best: Option<usize>,
    sentence: String,
    /// Runs the best setting on test classes.
    command: Option<String>,
}

#[derive(Serialize)]
struct ObjectiveJson {
    node: String,
    split: &'static str,
    metric: String,
    k: Option<i32>,
}

#[derive(Serialize)]
struct TrialJson {
    trial: usize,
    settings: Map<String, Value>,
    verdict: String,
    round: Option<u32>,
    values: Vec<f64>,
    mean: Option<f64>,
    interval: Option<[f64; 2]>,
    difference: Option<DifferenceJson>,
    reason: Option<String>,
    runs: Vec<String>,
}

#[derive(Serialize)]
struct DifferenceJson {
    over: &'static str,
    mean: f64,
    low: f64,
    high: f64,
    p: f64,
    p_adjusted: f64,
}

impl SweepJson {
    /// The result of a sweep.
    pub fn new(file: &SweepFile, result: &SweepResult, command: Option<String>) -> Self {
        let objective = &file.objective;
        Self {
            sweep: file.name.clone(),
            manifest: file.manifest.display().to_string(),
            method: file.method.name(),
            objective: ObjectiveJson {
                node: objective.node.clone(),
                split: VALIDATION,
                metric: objective.metric.clone(),
                k: objective.k,
            },
            seeds: file.seeds.clone(),
            trials: result.trials.iter().map(|trial| TrialJson::new(&file.space, trial)).collect(),
            best: result.best().map(|best| best.number),
            sentence: summary::sentence(file, result),
            command,
        }
    }
}

impl TrialJson {
    fn new(space: &Space, trial: &TrialResult) -> Self {
        Self {
            trial: trial.number,
            settings: settings(space, &trial.texts),
            verdict: trial.verdict.name(),
            round: trial.round,
            values: trial.values.clone(),
            mean: trial.mean,
            interval: trial.interval.map(|interval| [interval.low, interval.high]),
            difference: trial.difference.map(|compared| DifferenceJson {
                over: compared.basis.name(),
                mean: compared.difference.mean,
                low: compared.difference.interval.0,
                high: compared.difference.interval.1,
                p: compared.difference.p,
                p_adjusted: compared.adjusted_p,
            }),
            reason: trial.reason.clone(),
            runs: trial.runs.clone(),
        }
    }
}

/// What `sweep --dry-run --json` prints.
#[derive(Serialize)]
pub struct DryRunJson {
    /// Number of trials of the sweep.
    trials: usize,
    /// Those that can be named before another one has run.
    known: Vec<DryTrialJson>,
}

#[derive(Serialize)]
struct DryTrialJson {
    trial: usize,
    settings: Map<String, Value>,
    /// The last rung that it runs to, as far as that is known.
    round: Option<u32>,
    /// Number of runs to make.
    runs: usize,
    /// Of their nodes, number of those with a record, and of those that would run.
    hit: usize,
    stale: usize,
}

impl DryRunJson {
    /// What a sweep would do.
    pub fn new(file: &SweepFile, course: &Course) -> Self {
        let trial = |trial: &Trial| {
            let (runs, hit, stale) = to_do(trial);
            let round = trial.rungs.last().and_then(|rung| rung.round);
            DryTrialJson { trial: trial.number, settings: settings(&file.space, &trial.texts), round, runs, hit, stale }
        };
        Self { trials: file.trials, known: course.trials.iter().map(trial).collect() }
    }
}

/// Runs that a trial lacks, and of their nodes those that have a record and those that would run.
pub fn to_do(trial: &Trial) -> (usize, usize, usize) {
    let open = trial.rungs.iter().flat_map(|rung| &rung.seeds);
    open.fold((0, 0, 0), |(runs, hits, stales), reached| match reached {
        Reached::NotRun { hit, stale } => (runs + 1, hits + hit, stales + stale),
        _ => (runs, hits, stales),
    })
}

/// The values by key.
fn settings(space: &Space, texts: &[String]) -> Map<String, Value> {
    let pairs = space.dimensions.iter().zip(texts);
    pairs.map(|(dimension, text)| (dimension.key.clone(), json_of(text))).collect()
}

/// A value in TOML as JSON.
fn json_of(text: &str) -> Value {
    let table: Option<toml::Table> = toml::from_str(&format!("value = {text}")).ok();
    table.and_then(|mut table| serde_json::to_value(table.remove("value")?).ok()).unwrap_or_else(|| text.into())
}

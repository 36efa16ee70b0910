//! The result of a sweep as a table, a sentence and a command.

use super::file::SweepFile;
use super::objective::VALIDATION;
use super::result::{SweepResult, TrialResult, TrialVerdict};
use crate::report::table::text_table;
use crate::shell::quoted;

/// The table for a terminal, the best trial first.
pub fn table(file: &SweepFile, result: &SweepResult) -> String {
    let label = file.objective.label();
    let mut headings = vec!["trial"];
    headings.extend(file.space.dimensions.iter().map(|dimension| dimension.short_key()));
    headings.push(&label);
    if result.trials.iter().any(|trial| trial.difference.is_some()) {
        headings.extend(["− best", "95 % interval", "p"]);
    }
    headings.push("verdict");
    let columns = headings.len();
    text_table(&headings, result.trials.iter().map(|trial| row(trial, columns)).collect())
}

fn row(trial: &TrialResult, columns: usize) -> Vec<String> {
    let mut row = vec![trial.number.to_string()];
    row.extend(trial.texts.iter().cloned());
    row.push(value(trial));
    if columns > row.len() + 1 {
        let cells = trial.difference.map(|compared| {
            let (low, high) = compared.difference.interval;
            let mean = format!("{:+.4}", compared.difference.mean);
            [mean, format!("{low:+.4} … {high:+.4}"), format!("{:.4}", compared.adjusted_p)]
        });
        row.extend(cells.unwrap_or_default());
    }
    row.push(trial.verdict.name());
    row
}

/// `0.3127 ± 0.0052`.
fn value(trial: &TrialResult) -> String {
    let half_width = trial.interval.and_then(|interval| interval.half_width);
    match (trial.mean, half_width) {
        (None, _) => String::new(),
        (Some(mean), None) => format!("{mean:.4}"),
        (Some(mean), Some(half_width)) => format!("{mean:.4} ± {half_width:.4}"),
    }
}

/// What came out, in plain sentences.
pub fn sentence(file: &SweepFile, result: &SweepResult) -> String {
    let count = |verdict| result.count(|found| found == verdict);
    let failed = count(TrialVerdict::Failed);
    let Some(best) = result.best() else {
        return format!("No trial reached the end: {failed} of {} failed.", result.trials.len());
    };
    let over = match best.values.len() {
        1 => "one seed".to_owned(),
        seeds => format!("{seeds} seeds"),
    };
    let counts = [
        (count(TrialVerdict::Indistinguishable), "not distinguishable from it"),
        (count(TrialVerdict::Worse), "worse"),
        (
            count(TrialVerdict::NotCompared),
            "not compared, since there are neither several seeds nor queries to compare over",
        ),
        (result.count(|verdict| matches!(verdict, TrialVerdict::Stopped(_))), "stopped early"),
        (failed, "failed"),
    ];
    let others: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let others =
        if others.is_empty() { String::new() } else { format!(" Of the other trials: {}.", others.join(", ")) };
    format!(
        "Trial {} is the best: {}, with {VALIDATION} {} {} over {over}.{others}",
        best.number,
        file.space.label(&best.texts),
        file.objective.label(),
        value(best),
    )
}

/// What a reader must know to trust the table.
pub fn caveats(result: &SweepResult) -> Vec<String> {
    let comparisons = result.trials.iter().filter(|trial| trial.difference.is_some()).count();
    let mut caveats = Vec::new();
    if comparisons > 0 {
        caveats.push(format!(
            "Intervals are those of single comparisons with the best; p and verdicts account for {comparisons} of them (Holm)."
        ));
    }
    if result.best().is_some_and(|best| best.values.len() == 1) && comparisons > 0 {
        caveats.push(
            "With one seed, a verdict is about these models; another seed may reverse it. Set `seeds`.".to_owned(),
        );
    }
    if result.trials.len() > 1 && result.best().is_some() {
        caveats.push("The best value of many is too good by chance. To measure it on unseen classes, run:".to_owned());
    }
    caveats
}

/// The command that runs a setting until the end, and so evaluates it on test classes. `options` are added to it.
pub fn command(file: &SweepFile, trial: &TrialResult, options: &str) -> String {
    let sets = file.space.assignments(&trial.texts);
    let mut command = format!("dnc-run {}{options}", quoted(&file.manifest.display().to_string()));
    sets.iter().for_each(|set| command += &format!(" --set {}", quoted(set)));
    if !file.seeds.is_empty() {
        let seeds: Vec<String> = file.seeds.iter().map(u64::to_string).collect();
        command += &format!(" --vary seed={}", seeds.join(","));
    }
    command
}

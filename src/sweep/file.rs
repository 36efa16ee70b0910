//! Reads a sweep from TOML, or reports every problem in it with the line underlined.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dnc_stages::api::is_name;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::halving::Halving;
use super::objective::{Objective, VALIDATION};
use super::samplers::{MOST_KEYS, Method, TpeSettings};
use super::space::Space;
use super::{numbers, space_table};
use crate::manifest::diagnostic::{Diagnostic, Diagnostics, Span, Texts};
use crate::manifest::suggest;
use crate::manifest::text;
use crate::manifest::value::{keep, non_negative, positive, string, table, unknown_key};

/// The most trials of a sweep: all of them are checked before the first one runs.
const MOST_TRIALS: u64 = 10_000;

pub(super) const KEYS: [&str; 10] =
    ["manifest", "name", "method", "trials", "seed", "seeds", "objective", "space", "halving", "tpe"];
pub(super) const OBJECTIVE_KEYS: [&str; 4] = ["node", "metric", "k", "split"];
pub(super) const HALVING_KEYS: [&str; 2] = ["rungs", "keep"];
pub(super) const TPE_KEYS: [&str; 2] = ["startup", "batch"];

/// A checked sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepFile {
    /// Name of the sweep, which is also the name of its runs.
    pub name: String,
    /// The manifest.
    pub manifest: PathBuf,
    /// How settings are proposed.
    pub method: Method,
    /// Number of trials.
    pub trials: usize,
    /// Seed of the sampler.
    pub seed: u64,
    /// Seeds that every trial runs with; none for that of the manifest.
    pub seeds: Vec<u64>,
    /// What is optimised.
    pub objective: Objective,
    /// What varies.
    pub space: Space,
    /// Whether, and when, trials are stopped.
    pub halving: Option<Halving>,
}

/// What stands in the file, before keys are checked against each other.
#[derive(Default)]
struct Raw {
    /// The keys that stand there, whatever their values.
    keys: BTreeSet<String>,
    manifest: Option<String>,
    name: Option<Spanned<String>>,
    method: Option<Spanned<String>>,
    trials: Option<Spanned<u32>>,
    seed: u64,
    seeds: Vec<u64>,
    objective: Objective,
    space: Option<(Span, Space)>,
    halving: Option<Halving>,
    tpe: Option<(Span, TpeSettings)>,
}

impl SweepFile {
    /// Reads and checks the sweep at `path`.
    ///
    /// # Errors
    /// Every problem found, in the order of the text.
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        let text = fs::read_to_string(path).map_err(|error| {
            let problem = Diagnostic::general(format!("Cannot read the sweep `{}`: {error}", path.display()));
            Diagnostics::new(Texts::default(), vec![problem])
        })?;
        Self::parse(path, text)
    }

    /// Checks the sweep `text`. Messages refer to it as `path`, and the manifest's path starts from its folder.
    ///
    /// # Errors
    /// Every problem found, in the order of the text.
    pub fn parse(path: &Path, text: String) -> Result<Self, Diagnostics> {
        let mut texts = Texts::default();
        texts.push_file(path.display().to_string(), text);
        let mut problems = Vec::new();
        let raw = text::tables(texts.get(0).0, &mut problems).map(|table| read(table, &texts, &mut problems));
        let checked = raw.and_then(|raw| check(raw, path, &mut problems));
        match checked {
            Some(sweep) if problems.is_empty() => Ok(sweep),
            _ => Err(Diagnostics::new(texts, problems)),
        }
    }
}

fn read(tables: DeTable<'_>, texts: &Texts, problems: &mut Vec<Diagnostic>) -> Raw {
    let mut raw = Raw::default();
    for (key, value) in tables {
        raw.keys.insert(key.get_ref().to_string());
        let span = key.span();
        let text = |value, problems: &mut Vec<Diagnostic>| {
            keep(string(key.get_ref(), value), problems)
                .map(|word| Spanned::new(word.span(), word.into_inner().into_owned()))
        };
        match key.get_ref().as_ref() {
            "manifest" => raw.manifest = text(value, problems).map(Spanned::into_inner),
            "name" => raw.name = text(value, problems),
            "method" => raw.method = text(value, problems),
            "trials" => {
                let span = value.span();
                raw.trials = keep(positive("trials", &value), problems).map(|trials| Spanned::new(span, trials));
            }
            "seed" => raw.seed = keep(non_negative("seed", &value), problems).unwrap_or_default(),
            "seeds" => raw.seeds = keep(numbers::list("seeds", value), problems).unwrap_or_default(),
            "objective" => raw.objective = objective(value, problems),
            "space" => raw.space = Some((span, space_table::read(value, texts, problems))),
            "halving" => raw.halving = halving(span, value, problems),
            "tpe" => raw.tpe = Some((span, tpe(value, problems))),
            _ => problems.push(unknown_key(&key, "in a sweep", &KEYS)),
        }
    }
    raw
}

fn objective(value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Objective {
    let mut objective = Objective::default();
    for (key, value) in keep(table("objective", value), problems).unwrap_or_default() {
        match key.get_ref().as_ref() {
            "node" => {
                if let Some(node) = keep(string("node", value), problems) {
                    objective.node = node.into_inner().into_owned();
                }
            }
            "metric" => {
                let Some(metric) = keep(string("metric", value), problems) else { continue };
                if let Some((name, k)) = metric.get_ref().split_once('@') {
                    let hint = format!("Write `metric = \"{name}\"` and `k = {k}`.");
                    problems.push(
                        Diagnostic::at(metric.span(), "`metric` must be the name of a metric without its k").hint(hint),
                    );
                }
                objective.metric = metric.into_inner().into_owned();
            }
            "k" => objective.k = keep(positive("k", &value), problems).and_then(|k| i32::try_from(k).ok()),
            "split" => {
                if let Some(split) =
                    keep(string("split", value), problems).filter(|split| *split.get_ref() != VALIDATION)
                {
                    problems.push(refused_split(split.get_ref(), split.span()));
                }
            }
            _ => problems.push(unknown_key(&key, "in `objective`", &OBJECTIVE_KEYS)),
        }
    }
    objective
}

fn refused_split(split: &str, span: Span) -> Diagnostic {
    let reason = match split {
        "train" => "A model knows its training classes by heart, however bad its settings are for others.",
        _ => {
            "The best of many settings on test classes is too good by chance: no classes would be left to measure what it reaches."
        }
    };
    Diagnostic::at(span, format!("`objective.split` must be `{VALIDATION}`, not `{split}`")).hint(reason.to_owned())
}

fn halving(span: Span, value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> Option<Halving> {
    let mut halving = Halving { rungs: Vec::new(), keep: 0.5 };
    let before = problems.len();
    for (key, value) in keep(table("halving", value), problems)? {
        let span = value.span();
        match key.get_ref().as_ref() {
            "rungs" => {
                let rungs: Vec<u64> = keep(numbers::list("rungs", value), problems).unwrap_or_default();
                halving.rungs = rungs.iter().map(|&rung| u32::try_from(rung).unwrap_or(u32::MAX)).collect();
                if !halving.rungs.is_sorted_by(|a, b| a < b) {
                    problems.push(
                        Diagnostic::at(span, "`rungs` must ascend")
                            .hint("List rounds, counted from 0, as in `rungs = [0, 2, 5]`.".to_owned()),
                    );
                }
            }
            "keep" => {
                halving.keep = keep(numbers::real("keep", &value), problems).unwrap_or(halving.keep);
                if !(halving.keep > 0.0 && halving.keep < 1.0) {
                    problems.push(
                        Diagnostic::at(span, "`keep` must be a share between 0 and 1")
                            .hint("`keep = 0.5` stops half of the trials at each rung.".to_owned()),
                    );
                }
            }
            _ => problems.push(unknown_key(&key, "in `halving`", &HALVING_KEYS)),
        }
    }
    if halving.rungs.is_empty() && problems.len() == before {
        problems.push(
            Diagnostic::at(span, "`halving` has no `rungs`")
                .hint("List the rounds after which trials are compared, as in `rungs = [0, 2, 5]`.".to_owned()),
        );
    }
    Some(halving)
}

fn tpe(value: Spanned<DeValue<'_>>, problems: &mut Vec<Diagnostic>) -> TpeSettings {
    let mut settings = TpeSettings::default();
    for (key, value) in keep(table("tpe", value), problems).unwrap_or_default() {
        let mut set = |number: &mut usize| {
            if let Some(read) = keep(positive(key.get_ref(), &value), problems) {
                *number = read as usize;
            }
        };
        match key.get_ref().as_ref() {
            "startup" => set(&mut settings.startup),
            "batch" => set(&mut settings.batch),
            _ => problems.push(unknown_key(&key, "in `tpe`", &TPE_KEYS)),
        }
    }
    settings
}

fn check(raw: Raw, path: &Path, problems: &mut Vec<Diagnostic>) -> Option<SweepFile> {
    let missing =
        |key: &str, hint: &str| Diagnostic::general(format!("The sweep has no `{key}`")).hint(hint.to_owned());
    if !raw.keys.contains("manifest") {
        problems.push(missing("manifest", "Name the manifest, as in `manifest = \"photos.toml\"`."));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = raw.name.unwrap_or_else(|| Spanned::new(0..0, stem));
    if !is_name(name.get_ref()) {
        let at = (!name.span().is_empty()).then(|| name.span());
        problems.push(
            Diagnostic { at, ..Diagnostic::general(format!("Invalid name `{}`", name.get_ref())) }.hint(
                "Set `name` to letters, digits, `-` and `_`: runs are stored in a folder of that name.".to_owned(),
            ),
        );
    }
    if !raw.keys.contains("method") {
        problems.push(missing("method", &format!("Set `method` to {}.", suggest::one_of(Method::NAMES))));
    }
    let method = raw.method.and_then(|word| method(&word, raw.tpe, problems));
    let (at, space) = match raw.space {
        Some(space) => space,
        None => {
            let hint =
                "Add a table `[space]` with a key of the manifest, as in `stage.train.epochs = { values = [5, 10] }`.";
            problems.push(missing("space", hint));
            return None;
        }
    };
    if !problems.is_empty() {
        return None;
    }
    let trials = trials(method?, raw.trials, at, &space, problems)?;
    let manifest = path.parent().unwrap_or(Path::new("")).join(raw.manifest?);
    Some(SweepFile {
        name: name.into_inner(),
        manifest,
        method: method?,
        trials,
        seed: raw.seed,
        seeds: raw.seeds,
        objective: raw.objective,
        space,
        halving: raw.halving,
    })
}

fn method(word: &Spanned<String>, tpe: Option<(Span, TpeSettings)>, problems: &mut Vec<Diagnostic>) -> Option<Method> {
    let settings = tpe.as_ref().map(|(_, settings)| *settings).unwrap_or_default();
    let found = match word.get_ref().as_str() {
        "grid" => Method::Grid,
        "random" => Method::Random,
        "sobol" => Method::Sobol,
        "tpe" => return Some(Method::Tpe(settings)),
        other => {
            problems.push(
                Diagnostic::at(word.span(), format!("Unknown method `{other}`"))
                    .label(format!("expected {}", suggest::one_of(Method::NAMES)))
                    .hint(suggest::did_you_mean(other, Method::NAMES)),
            );
            return None;
        }
    };
    if let Some((span, _)) = tpe {
        problems.push(Diagnostic::at(span, format!("`[tpe]` has no meaning for method `{}`", found.name())));
    }
    Some(found)
}

/// The number of trials: given, or that of a grid.
fn trials(
    method: Method,
    given: Option<Spanned<u32>>,
    space_span: Span,
    space: &Space,
    problems: &mut Vec<Diagnostic>,
) -> Option<usize> {
    let before = problems.len();
    if space.dimensions.len() > MOST_KEYS {
        problems.push(Diagnostic::at(space_span.clone(), format!("`space` has more than {MOST_KEYS} keys")));
    }
    let trials = match (method, given, space.size()) {
        (Method::Grid, Some(given), _) => {
            problems.push(
                Diagnostic::at(given.span(), "A grid tries every combination, so it has no `trials`")
                    .hint("Remove `trials`, or use `method = \"random\"` to try some of them.".to_owned()),
            );
            return None;
        }
        (Method::Grid, None, None) => {
            let title = "A grid needs a list of values for each key, or a `step`";
            problems.push(Diagnostic::at(space_span, title));
            return None;
        }
        (Method::Grid, None, Some(size)) => Spanned::new(space_span, size),
        (_, None, _) => {
            problems.push(
                Diagnostic::general("The sweep has no `trials`").hint("Set the number of settings to try.".to_owned()),
            );
            return None;
        }
        (_, Some(given), size) => {
            let trials = u64::from(*given.get_ref());
            if let Some(size) = size.filter(|&size| size < trials) {
                let title = format!("`space` has only {size} different settings");
                let hint = format!("Set `trials` to at most {size}, or use `method = \"grid\"` for all of them.");
                problems.push(Diagnostic::at(given.span(), title).hint(hint));
            }
            Spanned::new(given.span(), trials)
        }
    };
    if *trials.get_ref() > MOST_TRIALS {
        let title = format!("A sweep has at most {MOST_TRIALS} trials, and this one would have {}", trials.get_ref());
        problems.push(Diagnostic::at(trials.span(), title));
    }
    (problems.len() == before).then_some(trials.into_inner() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWEEP: &str = "\
manifest = \"photos.toml\"
method = \"random\"
trials = 4

[space]
stage.train.epochs = { values = [5, 10] }
stage.train.optimiser.lr = { min = 1e-4, max = 1e-2, log = true }
";

    fn parse(text: &str) -> Result<SweepFile, String> {
        SweepFile::parse(Path::new("sweeps/lr.toml"), text.to_owned()).map_err(|problems| problems.to_string())
    }

    #[test]
    fn keys_are_read_in_their_order_with_or_without_quotes() {
        let sweep = parse(SWEEP).expect("it is valid");
        assert_eq!((sweep.name.as_str(), sweep.manifest.as_path()), ("lr", Path::new("sweeps/photos.toml")));
        assert_eq!((sweep.seeds, sweep.objective, sweep.halving), (vec![], Objective::default(), None));
        let quoted = SWEEP.replace("stage.train.epochs", "\"stage.train.epochs\"");
        assert_eq!(parse(&quoted).expect("it is valid").space, sweep.space);
        assert_eq!(sweep.space.label(&sweep.space.texts(&[0.9, 0.5])), "train.epochs=10 train.optimiser.lr=0.001");
    }

    #[test]
    fn numbers_that_are_written_as_integers_are_integers() {
        let check = |range: &str, expected: &[&str]| {
            let text = SWEEP.replace("{ values = [5, 10] }", range);
            let space = parse(&text).expect("it is valid").space;
            let values: Vec<String> =
                [0.0, 0.5, 0.999].iter().map(|&unit| space.texts(&[unit, 0.0])[0].clone()).collect();
            assert_eq!(values, expected, "{range}");
        };
        check("{ min = 1, max = 9 }", &["1", "5", "9"]);
        check("{ min = 1.0, max = 9 }", &["1.0", "5.0", "8.992"]);
        check("{ min = 1, max = 9, integer = false }", &["1.0", "5.0", "8.992"]);
        check("{ min = 0, max = 20, step = 10 }", &["0", "10", "20"]);
        check("{ min = 0.1, max = 0.3, step = 0.1 }", &["0.1", "0.2", "0.3"]);
        check("{ min = 0x10, max = 1_000, log = true }", &["16", "125", "996"]);
    }

    #[test]
    fn every_problem_is_underlined() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(SWEEP.contains(from), "{from}");
            let found = parse(&SWEEP.replacen(from, to, 1)).expect_err(to);
            assert!(found.contains(expected), "{to}: {found}");
        };
        check("trials", "trails", "Did you mean `trials`?");
        check("trials = 4\n", "", "The sweep has no `trials`");
        check("method = \"random\"\n", "", "The sweep has no `method`");
        check("\"random\"", "\"tpi\"", "Did you mean `tpe`?");
        check("\"random\"", "\"grid\"", "A grid tries every combination, so it has no `trials`");
        check("\"random\"\ntrials = 4", "\"grid\"", "A grid needs a list of values for each key, or a `step`");
        check("stage.train.optimiser.lr = { min = 1e-4, max = 1e-2, log = true }\n", "", "only 2 different settings");
        check("trials = 4", "trials = 20_000", "at most 10000 trials");
        check("trials = 4", "trials = 4\nseeds = [0, 0]", "`seeds` lists 0 twice");
        check("[5, 10]", "[5, 5]", "lists `5` twice");
        check("[5, 10]", "[]", "`values` of `stage.train.epochs` is empty");
        check("values = [5, 10]", "vaules = [5, 10]", "Did you mean `values`?");
        check("values = [5, 10]", "values = [5, 10], min = 1", "it takes no other key");
        check(
            "stage.train.epochs = { values = [5, 10] }",
            "stage.train.epochs = [5, 10]",
            "`stage.train.epochs` must be a table",
        );
        check("min = 1e-4", "min = 1e-2", "`min` must be less than `max`");
        check("min = 1e-4", "min = 0.0", "`min` must be greater than 0");
        check("min = 1e-4, ", "", "needs `values`, or `min` and `max`");
        check("log = true", "log = true, step = 0.001", "`log` and `step` exclude each other");
        check("log = true", "step = 0.0", "`step` must be a number greater than 0");
        check("log = true", "step = 1e-7", "more than 1000 values");
        check("log = true", "integer = true", "`min` and `max` must be integers");
        check("stage.train.epochs", "seed", "every trial runs with each");
        check("[space]", "[halving]\nrungs = [2, 1]\n[space]", "`rungs` must ascend");
        check("[space]", "[halving]\nkeep = 0.5\n[space]", "`halving` has no `rungs`");
        check("[space]", "[halving]\nrungs = [0]\nkeep = 1.0\n[space]", "`keep` must be a share");
        check("[space]", "[objective]\nmetric = \"recall@1\"\n[space]", "Write `metric = \"recall\"` and `k = 1`.");
        check("[space]", "[tpe]\nbatch = 2\n[space]", "`[tpe]` has no meaning for method `random`");
        let empty = parse("manifest = \"a.toml\"\nmethod = \"grid\"\n[space]\n").expect_err("nothing varies");
        assert!(empty.contains("`space` is empty"), "{empty}");
    }

    #[test]
    fn what_is_wrong_is_not_reported_as_missing_too() {
        let check = |from: &str, to: &str, expected: &str| {
            let found = parse(&SWEEP.replacen(from, to, 1)).expect_err(to);
            assert!(found.contains(expected) && found.matches("error:").count() == 1, "{to}: {found}");
        };
        check("\"photos.toml\"", "5", "`manifest` must be a string");
        check("\"random\"", "5", "`method` must be a string");
        check("trials = 4", "trials = 0", "`trials` must be a positive integer");
        check("max = 1e-2", "max = nan", "`max` must be a number");
        check("min = 1e-4", "minn = 1e-4", "Did you mean `min`?");
    }

    #[test]
    fn a_test_split_is_refused_with_the_reason() {
        let found = parse(&SWEEP.replace("[space]", "[objective]\nsplit = \"test\"\n\n[space]"));
        insta::assert_snapshot!(found.expect_err("it must be refused"), @r#"
        error: `objective.split` must be `validation`, not `test`
         --> sweeps/lr.toml:6:9
          |
        6 | split = "test"
          |         ^^^^^^
          |
          = hint: The best of many settings on test classes is too good by chance: no classes would be left to measure what it reaches.
        "#);
    }
}

//! `choose`: keeps the best model so far, by a metric on validation classes.
//!
//! Run once per round, it compares the round's model with the best model of the earlier rounds, so that at most two models
//! have to be stored. On a tie the earlier model stays. Its output is meant for evaluation and export and has no optimiser
//! moments.
//!
//! **Source** Musgrave et al. 2020, arXiv 2003.08505, §3.2: models are selected on classes held out of the training classes,
//! never on test classes.

use std::collections::BTreeSet;

use dnc_tables::Split;
use dnc_tables::metrics::{self, MAP_AT_R, MetricRow, bounds, label, more_is_better, with_substitute};
use dnc_tables::model::{self, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    ArtifactKind, Context, Input, Ks, Measure, Output, ParamError, Ports, Stage, StageError, WantedMetric,
};

/// Keeps the better of this round's model and the best model so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choose {
    /// Split whose metric is compared.
    pub split: Split,
    /// Metric that is compared; the higher value wins. Where images have cameras, `map` takes the place of `map_at_r`.
    pub metric: String,
    /// Value of k, for metrics that have one, such as `recall`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
}

impl Default for Choose {
    fn default() -> Self {
        Self { split: Split::Validation, metric: MAP_AT_R.to_owned(), k: None }
    }
}

impl Stage for Choose {
    const NAME: &'static str = "choose";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Keep the best model so far, by a metric on validation classes";

    fn ports(&self) -> Ports {
        let model = |port: &str| Input::new(port, ArtifactKind::Model, &[model::PARAMETERS, model::STEP]);
        Ports {
            inputs: vec![
                model("model"),
                Input::whole("metrics", ArtifactKind::Metrics),
                model("best").optional(),
                Input::whole("best_metrics", ArtifactKind::Metrics).optional(),
            ],
            outputs: vec![Output::new("model", ArtifactKind::Model), Output::new("metrics", ArtifactKind::Metrics)],
        }
    }

    fn check(&self) -> Result<(), ParamError> {
        if let Some((name, k)) = self.metric.split_once('@') {
            return Err(ParamError::new("metric", "`metric` must be the name of a metric without its k")
                .hint(format!("write `metric = \"{name}\"` and `k = {k}`")));
        }
        if !more_is_better(&self.metric) {
            let message = format!(
                "`metric` cannot be `{}`: the highest value is chosen, but for this metric lower is better",
                self.metric
            );
            return Err(ParamError::new("metric", message).hint("choose by `map_at_r`, or by `recall` with a `k`"));
        }
        Ok(())
    }

    fn measures(&self, split: Split) -> Option<Vec<Measure>> {
        let ks = self.k.map_or(Ks::None, |k| Ks::Among(vec![k]));
        let measure = |name: &str| Measure { metric: name.to_owned(), ks: ks.clone() };
        Some(if split == self.split { with_substitute(&self.metric).map(measure).collect() } else { Vec::new() })
    }

    fn wanted_metric(&self) -> Option<WantedMetric> {
        Some(WantedMetric {
            names: with_substitute(&self.metric).map(str::to_owned).collect(),
            k: self.k,
            split: self.split,
        })
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        if matches!(self.split, Split::Test | Split::Query | Split::Gallery) {
            context.warn(format!(
                "the model is chosen on the split `{}`, so its metrics on that split are too optimistic",
                self.split
            ));
        }
        let new = self.compared_row(&metrics::open(context.input("metrics")?)?)?;
        let best = context.input_if_any("best_metrics").map(metrics::open).transpose()?;
        let best = best.map(|rows| self.compared_row(&rows)).transpose()?;
        if best.is_some() != context.input_if_any("best").is_some() {
            return Err(StageError::UnpairedInput { first: "best", second: "best_metrics" });
        }
        if let Some(best) = &best {
            warn_of_tie(best, &new, context);
        }
        let (port, row) = match best {
            Some(best) if best.value >= new.value => ("best", best),
            _ => ("model", new),
        };
        let model = Model::open(context.input(port)?)?;
        context
            .log(format!("The best model so far is that of round {}, with {} = {}", row.round, row.metric, row.value));
        metrics::write(context.output("metrics")?, vec![row])?;
        Ok(model::write(context.output("model")?, &Model { moments: Vec::new(), ..model })?)
    }
}

impl Choose {
    /// The row of the metric that is compared.
    fn compared_row(&self, rows: &[MetricRow]) -> Result<MetricRow, StageError> {
        let of_split = || rows.iter().filter(|row| row.split == self.split);
        let k = self.k.map(|k| k as i32);
        let row = |metric: &str| of_split().find(|row| row.metric == metric && row.k == k);
        if let Some(row) = with_substitute(&self.metric).find_map(row) {
            return Ok(row.clone());
        }
        let available: BTreeSet<String> = of_split().map(|row| label(&row.metric, row.k)).collect();
        let (metric, split) = (label(&self.metric, k), self.split);
        Err(StageError::MetricNotFound { metric, split, available: available.into_iter().collect() })
    }
}

/// Warns if both models have the least or the greatest value that the metric can have, so that it does not distinguish them.
fn warn_of_tie(best: &MetricRow, new: &MetricRow, context: &Context<'_>) {
    let is_extreme = bounds(&new.metric).is_some_and(|(least, most)| new.value == least || new.value == most);
    if is_extreme && best.value == new.value {
        context.warn(format!(
            "`{}` is {} in both round {} and round {}, so it cannot choose between them; the earlier round is kept",
            new.metric, new.value, best.round, new.round
        ));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use dnc_learn::weights::NamedTensor;
    use serde_json::json;

    use super::*;
    use crate::api::InputArtifact;
    use crate::testing::{Workshop, artifact, digest};

    fn model(step: u64) -> Model {
        let tensor = |name: &str| NamedTensor {
            name: name.into(),
            dtype: DType::F32,
            shape: vec![1],
            bytes: (step as f32).to_le_bytes().to_vec(),
        };
        let architecture = json!({ "backbone": "plain" });
        Model { architecture, parameters: vec![tensor("w")], moments: vec![tensor("w.first")], step }
    }

    fn row(round: i32, split: Split, value: f64) -> MetricRow {
        MetricRow { round, learners: 1, split, metric: "map_at_r".into(), k: None, value }
    }

    fn tables(shop: &Workshop, step: u64, rows: &[MetricRow]) -> [InputArtifact; 2] {
        let model = shop.write(ArtifactKind::Model, |output| model::write(output, &model(step)));
        let metrics = shop.write(ArtifactKind::Metrics, |output| metrics::write(output, rows.to_vec()));
        [model.unwrap().0, metrics.unwrap().0]
    }

    #[test]
    fn the_best_model_on_validation_classes_is_kept_whatever_the_test_metrics() {
        let shop = Workshop::new();
        let mut best: Option<[InputArtifact; 2]> = None;
        for (round, validation, chosen) in [(0, 0.3, 0), (1, 0.5, 1), (2, 0.5, 1), (3, 0.4, 1), (4, 0.6, 4)] {
            let rows = [row(round, Split::Validation, validation), row(round, Split::Test, 1.0 - validation)];
            let [new, metrics] = tables(&shop, 10 + round as u64, &rows);
            let mut inputs = vec![("model", &new), ("metrics", &metrics)];
            if let Some([model, metrics]) = &best {
                inputs.extend([("best", model), ("best_metrics", metrics)]);
            }
            let outputs = shop.run(&Choose::default(), &inputs).unwrap();
            let of = |kind: ArtifactKind, output: &str| artifact(kind, &outputs[output].folder);
            let [model_after, metrics_after] = [of(ArtifactKind::Model, "model"), of(ArtifactKind::Metrics, "metrics")];
            let expected = Model { moments: Vec::new(), ..model(10 + chosen) };
            assert_eq!(Model::open(&model_after).unwrap(), expected, "round {round}");
            let best_rows = metrics::open(&metrics_after).unwrap();
            assert_eq!(best_rows.iter().map(|row| row.round).collect::<Vec<_>>(), [chosen as i32]);
            best = Some([model_after, metrics_after]);
        }
    }

    #[test]
    fn a_choice_that_says_nothing_is_refused_or_a_warning() {
        let error = Choose { metric: "alignment".into(), ..Choose::default() }.check().err().unwrap();
        insta::assert_snapshot!(error, @"`metric` cannot be `alignment`: the highest value is chosen, but for this metric lower is better");
        let warnings = |split: Split, values: [f64; 2]| {
            let shop = Workshop::new();
            let [[best, best_metrics], [new, metrics]] =
                [0, 1].map(|round| tables(&shop, 0, &[row(round, split, values[round as usize])]));
            let inputs = [("model", &new), ("metrics", &metrics), ("best", &best), ("best_metrics", &best_metrics)];
            shop.run(&Choose { split, ..Choose::default() }, &inputs).unwrap();
            shop.warnings()
        };
        assert_eq!(warnings(Split::Validation, [0.5, 0.5]), "");
        assert_eq!(warnings(Split::Validation, [1.0, 0.5]), "");
        insta::assert_snapshot!(warnings(Split::Validation, [1.0, 1.0]), @"Warning: `map_at_r` is 1 in both round 0 and round 1, so it cannot choose between them; the earlier round is kept");
        insta::assert_snapshot!(warnings(Split::Test, [0.5, 0.25]), @"Warning: the model is chosen on the split `test`, so its metrics on that split are too optimistic");
    }

    #[test]
    fn missing_metrics_and_unpaired_inputs_are_errors() {
        let shop = Workshop::new();
        let check = |choose: &Choose, rows: &[MetricRow]| {
            let [model, metrics] = tables(&shop, 0, rows);
            shop.run(choose, &[("model", &model), ("metrics", &metrics)]).err().unwrap().to_string()
        };
        let test = [row(0, Split::Test, 0.5)];
        insta::assert_snapshot!(check(&Choose::default(), &test), @"The metrics have no `map_at_r` for the split `validation`; it has none: reserve classes for it in `decode`, and let `evaluate` include it");
        let cameras = [MetricRow { metric: "map".into(), ..row(0, Split::Validation, 0.5) }];
        let [model, metrics] = tables(&shop, 0, &cameras);
        assert!(shop.run(&Choose::default(), &[("model", &model), ("metrics", &metrics)]).is_ok());
        let recall = Choose { split: Split::Test, metric: "recall".into(), k: Some(1) };
        insta::assert_snapshot!(check(&recall, &test), @"The metrics have no `recall@1` for the split `test`; it has map_at_r");
        let [model, metrics] = tables(&shop, 0, &[row(0, Split::Validation, 0.5)]);
        let inputs = [("model", &model), ("metrics", &metrics), ("best", &model)];
        insta::assert_snapshot!(shop.run(&Choose::default(), &inputs).err().unwrap(), @"The inputs `best` and `best_metrics` belong together, but only one of them is connected");
    }

    /// Law 3: a commit that changes these bytes also raises [`Choose::VERSION`], and updates the digest.
    #[test]
    fn the_version_matches_the_bytes() {
        let shop = Workshop::new();
        let [model, metrics] = tables(&shop, 7, &[row(3, Split::Validation, 0.5), row(3, Split::Test, 0.25)]);
        let outputs = shop.run(&Choose::default(), &[("model", &model), ("metrics", &metrics)]).unwrap();
        assert_eq!((Choose::VERSION, digest(&outputs).as_str()), (2, "3e73773cebce900f"));
    }
}

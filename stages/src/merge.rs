//! `merge`: learners that were trained apart become one model.
//!
//! The method is `dnc_learn::merge`. Where one node trained all learners there is one artifact, which comes out as it went in.

use dnc_learn::merge::{Merge as Merging, Trained};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Stage};
use crate::tables::model::{self, Model};

/// Merges the learners of a round into one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Merge {
    /// The share of the way from the model that all learners began with (`model`) to their mean that is gone: 1 is the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outer_lr: Option<f64>,
}

impl Stage for Merge {
    const NAME: &'static str = "merge";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Merges the learners of a round into one model";

    fn ports(&self) -> Ports {
        let begin = match self.outer_lr {
            Some(_) => Input::whole("model", Kind::Model),
            None => Input::new("model", Kind::Model, &[model::STEP]).optional(),
        };
        Ports {
            inputs: vec![Input::whole("learners", Kind::Model).many(), begin],
            outputs: vec![Output::new("model", Kind::Model)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { arithmetic: true, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        match self.outer_lr {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => {
                Err(ParamError::new("outer_lr", "A learning rate is a number above 0"))
            }
            _ => Ok(()),
        }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        // With the model that they all began with, learners count by the batches that they have seen since; without it, alike.
        let begin = context.input_if_any("model").map(Model::open).transpose()?;
        let learners = context.inputs("learners");
        let mut merging = Merging::of(learners.len());
        let (mut architecture, mut step) = (None, 0);
        for artifact in learners {
            context.check_cancelled()?;
            let learner = Model::open(artifact)?;
            if architecture.get_or_insert_with(|| learner.architecture.clone()) != &learner.architecture {
                let node = &artifact.node;
                return Err(StageError::input(format!("The model of `{node}` is another network than its siblings'")));
            }
            // A learner counts even if it has seen nothing: it then is what all began with.
            let batches = begin.as_ref().map_or(1, |begin| learner.step.saturating_sub(begin.step).max(1));
            let trained = Trained { batches: batches as f64, tensors: &learner.parameters, moments: &learner.moments };
            merging.add(trained).map_err(|source| StageError::compute("merge the learners", source))?;
            step = step.max(learner.step);
        }
        let Some(architecture) = architecture else {
            return Err(StageError::input("There is no learner to be merged"));
        };
        let (parameters, moments) = match (self.outer_lr, begin) {
            (None, _) => merging.finish(),
            (Some(rate), Some(begin)) => merging
                .finish_stepping(&begin.parameters, rate)
                .map_err(|source| StageError::compute("merge the learners", source))?,
            (Some(_), None) => {
                return Err(StageError::input(
                    "`outer_lr` needs the model that the learners began with, on the port `model`",
                ));
            }
        };
        model::write(context, "model", &Model { architecture, parameters, moments, step })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use dnc_learn::weights::NamedTensor;
    use serde_json::json;

    use super::*;
    use crate::context::InputArtifact;
    use crate::testing::{Workshop, artifact, digest};

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        NamedTensor { name: name.into(), dtype: DType::F32, shape: shape.to_vec(), bytes }
    }

    fn learner(value: f32, step: u64) -> Model {
        Model {
            architecture: json!({ "backbone": "small" }),
            parameters: vec![
                tensor("conv.weight", &[1], &[value]),
                tensor("embedding.bias", &[2], &[value, value]),
                tensor("masks", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
            ],
            moments: vec![tensor("conv.weight.first", &[1], &[-value])],
            step,
        }
    }

    fn stored(workshop: &Workshop, model: &Model) -> InputArtifact {
        workshop.write(Kind::Model, "model", |context| model::write(context, "model", model)).unwrap().0
    }

    #[test]
    fn learners_count_by_their_batches_and_keep_what_they_own() {
        let workshop = Workshop::new();
        let inputs = [learner(1.0, 13), learner(5.0, 11), learner(0.0, 10)].map(|model| stored(&workshop, &model));
        let [first, second, begin] = &inputs;
        let check = |inputs: &[(&str, &InputArtifact)], shared: f32| {
            let outputs = workshop.run(&Merge::default(), inputs).unwrap();
            let merged = Model::open(&artifact(Kind::Model, &outputs["model"].folder)).unwrap();
            assert_eq!(merged.parameters[0], tensor("conv.weight", &[1], &[shared]));
            assert_eq!(merged.parameters[1], tensor("embedding.bias", &[2], &[1.0, 5.0]));
            assert_eq!(merged.moments, [tensor("conv.weight.first", &[1], &[-shared])]);
            assert_eq!(merged.step, 13);
        };
        check(&[("learners", first), ("learners", second), ("model", begin)], 2.0);
        check(&[("learners", first), ("learners", second)], 3.0);
    }

    #[test]
    fn an_outer_learning_rate_needs_the_beginning() {
        let workshop = Workshop::new();
        let inputs = [learner(1.0, 11), learner(5.0, 11), learner(0.0, 10)].map(|model| stored(&workshop, &model));
        let [first, second, begin] = &inputs;
        let merge = Merge { outer_lr: Some(2.0) };
        let outputs = workshop.run(&merge, &[("learners", first), ("learners", second), ("model", begin)]).unwrap();
        let merged = Model::open(&artifact(Kind::Model, &outputs["model"].folder)).unwrap();
        assert_eq!(merged.parameters[0], tensor("conv.weight", &[1], &[6.0]));
        let error = workshop.run(&merge, &[("learners", first), ("learners", second)]).err().unwrap();
        assert!(error.to_string().contains("`outer_lr`"), "{error}");
        assert!(Merge { outer_lr: Some(-1.0) }.check().is_err() && merge.check().is_ok());
    }

    #[test]
    fn one_artifact_comes_out_as_it_went_in() {
        let workshop = Workshop::new();
        let model = learner(-0.0, 7);
        let outputs = workshop.run(&Merge::default(), &[("learners", &stored(&workshop, &model))]).unwrap();
        assert_eq!(Model::open(&artifact(Kind::Model, &outputs["model"].folder)).unwrap(), model);
    }

    #[test]
    fn different_networks_are_refused() {
        let workshop = Workshop::new();
        let other = Model { architecture: json!({ "backbone": "resnet18" }), ..learner(1.0, 1) };
        let inputs = [learner(1.0, 1), other].map(|model| stored(&workshop, &model));
        let error =
            workshop.run(&Merge::default(), &[("learners", &inputs[0]), ("learners", &inputs[1])]).err().unwrap();
        assert_eq!(error.to_string(), "The model of `model` is another network than its siblings'");
    }

    /// Law 3: whoever changes these bytes raises [`Merge::VERSION`] in the same commit, and then this digest.
    #[test]
    fn the_version_stands_for_these_bytes() {
        let workshop = Workshop::new();
        let inputs = [learner(1.0, 13), learner(5.0, 11), learner(0.5, 10)].map(|model| stored(&workshop, &model));
        let [first, second, begin] = &inputs;
        let ports = [("learners", first), ("learners", second), ("model", begin)];
        let outputs = workshop.run(&Merge { outer_lr: Some(1.5) }, &ports).unwrap();
        assert_eq!((Merge::VERSION, digest(&outputs).as_str()), (1, "1030f7df0d7a555c"));
    }
}

//! `merge`: combines learners that were trained separately into one model.
//!
//! The method is in `dnc_learn::merge`. If one node trained all learners, there is a single artifact, which is passed on
//! unchanged.

use dnc_learn::merge::{Merge as Merging, Trained};
use dnc_tables::model::{self, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Ambient, Arithmetic, ArtifactKind, Context, Input, Output, ParamError, Ports, Stage, StageError};

/// Merges the learners of a round into one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Merge {
    /// Outer learning rate: shared tensors become t + outer_lr · (mean − t), where t is the tensor of the input `model`, with
    /// which all learners started. 1 gives the learners' mean, as does leaving it out. Requires the input `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outer_lr: Option<f64>,
}

impl Stage for Merge {
    const NAME: &'static str = "merge";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Merge the learners of a round into one model";

    fn ports(&self) -> Ports {
        let initial = match self.outer_lr {
            Some(_) => Input::whole("model", ArtifactKind::Model),
            None => Input::new("model", ArtifactKind::Model, &[model::STEP]).optional(),
        };
        Ports {
            inputs: vec![Input::whole("learners", ArtifactKind::Model).many(), initial],
            outputs: vec![Output::new("model", ArtifactKind::Model)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { arithmetic: Arithmetic::Cpu, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        match self.outer_lr {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => {
                Err(ParamError::new("outer_lr", "`outer_lr` must be above 0"))
            }
            _ => Ok(()),
        }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        // With the initial model, each learner is weighted by the number of batches that it has seen since; without it, all
        // learners have the same weight.
        let initial = context.input_if_any("model").map(Model::open).transpose()?;
        let learners = context.inputs("learners");
        let mut merging = Merging::of(learners.len());
        let (mut architecture, mut step) = (None, 0);
        for artifact in learners {
            context.check_cancelled()?;
            let learner = Model::open(artifact)?;
            if architecture.get_or_insert_with(|| learner.architecture.clone()) != &learner.architecture {
                return Err(StageError::ArchitectureMismatch { node: artifact.node.clone() });
            }
            // A learner that has seen no batch is the initial model and still counts.
            let batches = initial.as_ref().map_or(1, |initial| learner.step.saturating_sub(initial.step).max(1));
            let trained = Trained { batches: batches as f64, tensors: &learner.parameters, moments: &learner.moments };
            merging.add(trained).map_err(|source| StageError::compute("merge the learners", source))?;
            step = step.max(learner.step);
        }
        let Some(architecture) = architecture else {
            return Err(StageError::InputNotConnected { port: "learners", purpose: "merge them".to_owned() });
        };
        let (parameters, moments) = match (self.outer_lr, initial) {
            (None, _) => merging.finish(),
            (Some(rate), Some(initial)) => merging
                .finish_with_outer_lr(&initial.parameters, rate)
                .map_err(|source| StageError::compute("merge the learners", source))?,
            (Some(_), None) => {
                let purpose = "apply `outer_lr`: it is the model with which the learners started".to_owned();
                return Err(StageError::InputNotConnected { port: "model", purpose });
            }
        };
        Ok(model::write(context.output("model")?, &Model { architecture, parameters, moments, step })?)
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
        workshop.write(ArtifactKind::Model, |output| model::write(output, model)).unwrap().0
    }

    #[test]
    fn learners_are_weighted_by_their_batches_and_keep_their_own_rows() {
        let workshop = Workshop::new();
        let inputs = [learner(1.0, 13), learner(5.0, 11), learner(0.0, 10)].map(|model| stored(&workshop, &model));
        let [first, second, initial] = &inputs;
        let check = |inputs: &[(&str, &InputArtifact)], shared: f32| {
            let outputs = workshop.run(&Merge::default(), inputs).unwrap();
            let merged = Model::open(&artifact(ArtifactKind::Model, &outputs["model"].folder)).unwrap();
            assert_eq!(merged.parameters[0], tensor("conv.weight", &[1], &[shared]));
            assert_eq!(merged.parameters[1], tensor("embedding.bias", &[2], &[1.0, 5.0]));
            assert_eq!(merged.moments, [tensor("conv.weight.first", &[1], &[-shared])]);
            assert_eq!(merged.step, 13);
        };
        check(&[("learners", first), ("learners", second), ("model", initial)], 2.0);
        check(&[("learners", first), ("learners", second)], 3.0);
    }

    #[test]
    fn an_outer_learning_rate_needs_the_beginning() {
        let workshop = Workshop::new();
        let inputs = [learner(1.0, 11), learner(5.0, 11), learner(0.0, 10)].map(|model| stored(&workshop, &model));
        let [first, second, initial] = &inputs;
        let merge = Merge { outer_lr: Some(2.0) };
        let outputs = workshop.run(&merge, &[("learners", first), ("learners", second), ("model", initial)]).unwrap();
        let merged = Model::open(&artifact(ArtifactKind::Model, &outputs["model"].folder)).unwrap();
        assert_eq!(merged.parameters[0], tensor("conv.weight", &[1], &[6.0]));
        let error = workshop.run(&merge, &[("learners", first), ("learners", second)]).err().unwrap();
        assert!(error.to_string().contains("`outer_lr`"), "{error}");
        assert!(Merge { outer_lr: Some(-1.0) }.check().is_err() && merge.check().is_ok());
    }

    #[test]
    fn a_single_artifact_is_passed_on_unchanged() {
        let workshop = Workshop::new();
        let model = learner(-0.0, 7);
        let outputs = workshop.run(&Merge::default(), &[("learners", &stored(&workshop, &model))]).unwrap();
        assert_eq!(Model::open(&artifact(ArtifactKind::Model, &outputs["model"].folder)).unwrap(), model);
    }

    #[test]
    fn different_architectures_are_refused() {
        let workshop = Workshop::new();
        let other = Model { architecture: json!({ "backbone": "resnet18" }), ..learner(1.0, 1) };
        let inputs = [learner(1.0, 1), other].map(|model| stored(&workshop, &model));
        let error =
            workshop.run(&Merge::default(), &[("learners", &inputs[0]), ("learners", &inputs[1])]).err().unwrap();
        assert_eq!(error.to_string(), "The model of `model` has another architecture than the other learners' models");
    }

    /// Law 3: a commit that changes these bytes also raises [`Merge::VERSION`], and updates the digest.
    #[test]
    fn the_version_matches_the_bytes() {
        let workshop = Workshop::new();
        let inputs = [learner(1.0, 13), learner(5.0, 11), learner(0.5, 10)].map(|model| stored(&workshop, &model));
        let [first, second, initial] = &inputs;
        let ports = [("learners", first), ("learners", second), ("model", initial)];
        let outputs = workshop.run(&Merge { outer_lr: Some(1.5) }, &ports).unwrap();
        assert_eq!((Merge::VERSION, digest(&outputs).as_str()), (2, "ce684580efd27fe0"));
    }
}

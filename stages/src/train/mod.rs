//! `train`: trains each learner in its subspace of the embedding on its cluster of images.
//!
//! Run once per round, it trains all learners, one batch each in round-robin order (the papers' schedule). Run once per
//! learner, it trains one, and `merge` combines them. The state is saved after each epoch, so that a run that is killed loses
//! the epoch in flight only.
//!
//! **Reading order** [`parameters`] and [`optimiser`], [`training_set`], [`prospects`] (what is said
//! before it begins), [`trainer`] (the loop), [`checkpoint`].

mod checkpoint;
mod optimiser;
mod parameters;
mod prospects;
#[cfg(test)]
mod tests;
mod trainer;
mod training_set;

use dnc_learn::losses::drop_state;
use dnc_learn::training::Method;
use dnc_tables::history::{self, HistoryRow};
use dnc_tables::images::Images;
use dnc_tables::model;
use dnc_tables::views::Views;

use crate::api::{
    Ambient, Arithmetic, ArtifactKind, Context, Input, Output, ParamError, Ports, Resources, Stage, StageError, Threads,
};
use crate::loader::Loader;

pub use optimiser::{GroupRate, OptimiserConfig};
pub use parameters::Train;

use checkpoint::Checkpoint;
use trainer::{Setup, Trainer};
use training_set::TrainingSet;

/// What to do when a GPU has too little memory for a training step.
const MEMORY_REMEDY: &str = "lower `sampler.batch` or the `crop` of `init`, or choose `precision = \"bf16\"`";

impl Stage for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = 8;
    const SUMMARY: &'static str = "Train the learners of a round, or one of them, each on its cluster of images";

    fn ports(&self) -> Ports {
        let columns = ["id", "label", "split", "height", "width", "pixels"];
        Ports {
            inputs: vec![
                Input::new("images", ArtifactKind::Images, &columns),
                Input::whole("views", ArtifactKind::Views).optional(),
                Input::new("clusters", ArtifactKind::Assignments, &["id", "cluster"]).optional(),
                Input::whole("model", ArtifactKind::Model),
            ],
            outputs: vec![Output::new("model", ArtifactKind::Model), Output::new("history", ArtifactKind::History)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: true, round: true, learners: true, learner: true, arithmetic: Arithmetic::Device }
    }

    fn check(&self) -> Result<(), ParamError> {
        self.check_values()
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, device: true, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        self.train(context).map_err(|error| error.with_memory_remedy(MEMORY_REMEDY))
    }
}

impl Train {
    fn train(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let images = Images::open(context.input("images")?)?;
        let views = context.input_if_any("views").map(Views::open).transpose()?;
        let training_set = TrainingSet::open(context, &images)?;
        let mut initial = model::Model::open(context.input("model")?)?;
        prospects::warn(self, &training_set, &initial, context);
        drop_state(&mut initial.parameters);
        let method = self.method(&initial, training_set.classes)?;
        let activations = self.precision.on(context.device()?)?.activations();
        let loader = Loader::new(&images, views.as_ref(), method.model.preprocessing)?.of_type(activations);

        let first_step = initial.step;
        let start = Checkpoint { epochs: 0, model: initial, history: Vec::new() };
        let mut state = Checkpoint::last(context.scratch()?)?.unwrap_or(start);
        if state.epochs > 0 {
            context.log(format!("Resuming after epoch {} of {}", state.epochs, self.epochs));
        }
        let setup = Setup { stage: self, method: &method, images: &training_set, loader: &loader };
        let mut trainer = Trainer::new(setup, &state.model, context)?;
        for epoch in state.epochs..self.epochs {
            for step in trainer.epoch(context, epoch)? {
                let number = (state.model.step - first_step) as u32;
                state.history.extend(step.terms().map(|(term, value)| HistoryRow {
                    step: number,
                    epoch,
                    learner: step.learner,
                    term: term.to_owned(),
                    value,
                }));
                state.model.step += 1;
            }
            state.epochs = epoch + 1;
            context.log(summary(&state.history, epoch));
            trainer.save(&mut state.model)?;
            if state.epochs < self.epochs {
                state.write(context.scratch()?)?;
            }
        }
        trainer.check(self.epochs - 1)?;
        model::write(context.output("model")?, &state.model)?;
        Ok(history::write(context.output("history")?, &state.history)?)
    }

    /// The training method for the given model.
    fn method(&self, initial: &model::Model, classes: usize) -> Result<Method, StageError> {
        let model = initial.network()?;
        let miner = self.miner.clone().unwrap_or_else(|| self.loss.as_loss().default_miner());
        Ok(Method { model, loss: self.loss.clone(), miner, subspaces: self.subspaces.clone(), classes })
    }
}

/// The log line of an epoch: the number of steps, and the mean of each term over them. `informative` and `negative_distance`
/// show how the mined pairs change during training.
fn summary(history: &[HistoryRow], epoch: u32) -> String {
    let means = ["loss", "informative", "negative_distance"].into_iter().filter_map(|term| {
        let mean = history::mean_of_epoch(history, epoch, term)?;
        Some(format!(", {term} {mean:.4}"))
    });
    let steps = history.iter().filter(|row| row.epoch == epoch && row.term == "loss").count();
    format!("Epoch {epoch}: {steps} steps{}", means.collect::<String>())
}

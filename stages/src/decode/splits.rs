//! Which images are trained on and which are tested: as the data set says, or made here from a share of the classes.

use dnc_learn::streams::Streams;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Entry;
use crate::error::StageError;
use crate::stage::ParamError;
use crate::tables::Split;

/// How images are split. Classes are never shared between training, validation and test where the split is made here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SplitRule {
    /// Classes to train on, as a number or, below 1, as a share; the others are tested. Without it the data set decides.
    pub train: Option<f64>,
    /// Of the training classes, how many are held out for validation, as a number or a share.
    pub validation: Option<f64>,
    /// Which classes are taken.
    pub choose: Choose,
}

/// Which classes are taken where some are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// By the seed.
    #[default]
    Random,
    /// The first in the order of the data set.
    First,
}

impl SplitRule {
    /// Whether the seed decides anything.
    pub fn draws(&self) -> bool {
        self.choose == Choose::Random && (self.train.is_some() || self.validation.is_some())
    }

    /// Refuses what is neither a number of classes nor a share.
    pub fn check(&self) -> Result<(), ParamError> {
        for (key, amount) in [("split.train", self.train), ("split.validation", self.validation)] {
            if amount.is_some_and(|amount| amount.is_nan() || amount <= 0.0 || (amount >= 1.0 && amount.fract() != 0.0))
            {
                return Err(ParamError::new(
                    key,
                    format!("`{key}` is neither a number of classes nor a share of them"),
                )
                .hint("write a whole number, or a share such as 0.5"));
            }
        }
        Ok(())
    }

    /// Gives every entry its split. `classes` are the names of the classes; `streams` decide where the choice is random.
    ///
    /// # Errors
    /// The data set says nothing and the rule neither, or there are too few classes.
    pub fn apply(
        &self,
        entries: &mut [Entry],
        classes: &[String],
        streams: Option<&Streams>,
    ) -> Result<(), StageError> {
        if let Some(amount) = self.train {
            let train = self.chosen("train", amount, (0..classes.len()).collect(), classes, streams)?;
            if train.len() == classes.len() {
                let count = classes.len();
                return Err(StageError::input(format!("All {count} classes would be trained on and none tested")));
            }
            for entry in entries.iter_mut() {
                let seen = train.binary_search(&entry.class).is_ok();
                entry.split = Some(if seen { Split::Train } else { Split::Test });
            }
        }
        if let Some(entry) = entries.iter().find(|entry| entry.split.is_none()) {
            let message = format!(
                "The data set does not say what `{}` is for; write for instance `split = {{ train = 0.5 }}` to train on half \
                 of the classes",
                entry.source
            );
            return Err(StageError::input(message));
        }
        if let Some(amount) = self.validation {
            let mut trained: Vec<usize> =
                entries.iter().filter(|entry| entry.split == Some(Split::Train)).map(|entry| entry.class).collect();
            trained.sort_unstable();
            trained.dedup();
            let count = trained.len();
            let held_out = self.chosen("validation", amount, trained, classes, streams)?;
            if held_out.len() == count {
                return Err(StageError::input(format!(
                    "All {count} training classes would be held out for validation"
                )));
            }
            for entry in entries.iter_mut().filter(|entry| entry.split == Some(Split::Train)) {
                if held_out.binary_search(&entry.class).is_ok() {
                    entry.split = Some(Split::Validation);
                }
            }
        }
        Ok(())
    }

    /// `amount` of the classes with the numbers `ranked`, sorted. Each name has a lot of its own, so that a class more or
    /// less does not shuffle the others.
    fn chosen(
        &self,
        name: &str,
        amount: f64,
        mut ranked: Vec<usize>,
        classes: &[String],
        streams: Option<&Streams>,
    ) -> Result<Vec<usize>, StageError> {
        let count = if amount < 1.0 { (amount * ranked.len() as f64).round() as usize } else { amount as usize };
        if count == 0 || count > ranked.len() {
            let message = format!("`split.{name}` asks for {count} of {} classes", ranked.len());
            return Err(StageError::input(message));
        }
        if let (Choose::Random, Some(streams)) = (self.choose, streams) {
            let lots = streams.named("split").named(name);
            ranked.sort_by_cached_key(|&class| (lots.named(&classes[class]).seed(), class));
        }
        ranked.truncate(count);
        ranked.sort_unstable();
        Ok(ranked)
    }
}

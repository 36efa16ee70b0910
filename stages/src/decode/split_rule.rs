//! The split rule: which classes are for training, validation and testing, if the data set does not decide.
//!
//! It has a seed of its own, so that runs with several seeds are evaluated on the same classes.

use dnc_learn::streams::Streams;
use dnc_tables::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::error::DecodeError;
use crate::api::ParamError;

/// Assignment of whole classes to training, validation and testing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SplitRule {
    /// Number of classes for training or, below 1, their fraction. The other classes are for testing. Without it, the data set
    /// decides.
    pub train: Option<f64>,
    /// Number or fraction of the training classes that are held out for validation.
    pub validation: Option<f64>,
    /// Which classes are selected.
    pub choose: Choose,
    /// Seed of the random selection. It is not the seed of the run: runs with several seeds have the same test classes, without which
    /// their metrics could not be compared.
    pub seed: u64,
}

/// Which classes are selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// Random classes, drawn with `split.seed`.
    #[default]
    Random,
    /// The first classes in the order of the data set.
    First,
}

impl SplitRule {
    /// Refuses amounts that are neither a number of classes nor a fraction.
    ///
    /// # Errors
    /// Names the parameter.
    pub fn check(&self) -> Result<(), ParamError> {
        for (key, amount) in [("split.train", self.train), ("split.validation", self.validation)] {
            if amount.is_some_and(|amount| amount.is_nan() || amount <= 0.0 || (amount >= 1.0 && amount.fract() != 0.0))
            {
                let message = format!("`{key}` must be a whole number of classes, or a fraction between 0 and 1");
                return Err(ParamError::new(key, message).hint("write a whole number, or a fraction such as 0.5"));
            }
        }
        Ok(())
    }

    /// Assigns a split to every entry. `classes` are the names of the classes.
    ///
    /// # Errors
    /// Neither the data set nor the rule assigns a split, or there are too few classes.
    pub fn apply(&self, entries: &mut [Entry], classes: &[String]) -> Result<(), DecodeError> {
        if let Some(amount) = self.train {
            let train = self.select("train", amount, (0..classes.len()).collect(), classes)?;
            if train.len() == classes.len() {
                return Err(DecodeError::NoClassLeft { key: "train", classes: classes.len(), rest: "testing" });
            }
            for entry in entries.iter_mut() {
                let is_trained = train.binary_search(&entry.class).is_ok();
                entry.split = Some(if is_trained { Split::Train } else { Split::Test });
            }
        }
        if let Some(entry) = entries.iter().find(|entry| entry.split.is_none()) {
            return Err(DecodeError::NoSplit { source_name: entry.source.clone() });
        }
        if let Some(amount) = self.validation {
            let mut trained: Vec<usize> =
                entries.iter().filter(|entry| entry.split == Some(Split::Train)).map(|entry| entry.class).collect();
            trained.sort_unstable();
            trained.dedup();
            let count = trained.len();
            let held_out = self.select("validation", amount, trained, classes)?;
            if held_out.len() == count {
                return Err(DecodeError::NoClassLeft { key: "validation", classes: count, rest: "training" });
            }
            for entry in entries.iter_mut().filter(|entry| entry.split == Some(Split::Train)) {
                if held_out.binary_search(&entry.class).is_ok() {
                    entry.split = Some(Split::Validation);
                }
            }
        }
        Ok(())
    }

    /// Selects `amount` of the classes with these indices; returns the indices sorted. The random number of a class depends on
    /// its name, so that adding or removing a class does not reshuffle the others.
    fn select(
        &self,
        key: &'static str,
        amount: f64,
        mut ranked: Vec<usize>,
        classes: &[String],
    ) -> Result<Vec<usize>, DecodeError> {
        let count = if amount < 1.0 { (amount * ranked.len() as f64).round() as usize } else { amount as usize };
        if count == 0 || count > ranked.len() {
            return Err(DecodeError::ClassCount { key, count, classes: ranked.len() });
        }
        if self.choose == Choose::Random {
            let draws = Streams::new(self.seed).named("split").named(key);
            ranked.sort_by_cached_key(|&class| (draws.named(&classes[class]).seed(), class));
        }
        ranked.truncate(count);
        ranked.sort_unstable();
        Ok(ranked)
    }
}

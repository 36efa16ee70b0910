//! Learning rate schedules: the factor by which learning rates are multiplied over the course of a training.
//!
//! Time is measured in epochs over the whole training, all rounds together, with fractions within an epoch.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{LearnError, Result};

/// Learning rate schedule, as in `{ kind = "cosine", epochs = 60, warm_up = 1 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleConfig {
    /// Constant learning rate after the warm-up.
    Constant(ConstantRate),
    /// Step decay: the learning rate is multiplied by a factor every few epochs.
    Step(StepDecay),
    /// Cosine decay from the full learning rate to a fraction of it.
    Cosine(CosineDecay),
}

/// Constant learning rate after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConstantRate {
    /// Number of epochs over which the learning rate rises linearly from 0.
    pub warm_up: f64,
}

/// Step decay: `factor^⌊t / every⌋`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDecay {
    /// Number of epochs between two decays.
    pub every: u32,
    /// Factor by which the learning rate is multiplied at each decay, between 0 and 1.
    pub factor: f64,
    /// Number of epochs over which the learning rate rises linearly from 0.
    #[serde(default)]
    pub warm_up: f64,
}

/// Cosine decay: `floor + (1 − floor) (1 + cos(π t / epochs)) / 2`, then constant at `floor`.
///
/// Source: Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CosineDecay {
    /// Number of epochs until the floor is reached: the length of the whole training, all rounds together.
    pub epochs: u32,
    /// Final learning rate as a fraction of the full one, between 0 and 1.
    #[serde(default)]
    pub floor: f64,
    /// Number of epochs over which the learning rate rises linearly from 0.
    #[serde(default)]
    pub warm_up: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleConfig::Constant(ConstantRate::default())
    }
}

impl ScheduleConfig {
    /// The factor at `epoch`, a fractional number of epochs since the start of the training.
    pub fn factor(&self, epoch: f64) -> f64 {
        let (factor, warm_up) = match self {
            ScheduleConfig::Constant(schedule) => (1.0, schedule.warm_up),
            ScheduleConfig::Step(schedule) => {
                let decays = (epoch / f64::from(schedule.every.max(1))).floor();
                (schedule.factor.powf(decays), schedule.warm_up)
            }
            ScheduleConfig::Cosine(schedule) => {
                let progress = (epoch / f64::from(schedule.epochs.max(1))).min(1.0);
                let cosine = (1.0 + (PI * progress).cos()) / 2.0;
                (schedule.floor + (1.0 - schedule.floor) * cosine, schedule.warm_up)
            }
        };
        let warm_up_factor = if epoch < warm_up { epoch / warm_up } else { 1.0 };
        factor * warm_up_factor
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// If one is out of range; the error names it.
    pub fn check(&self) -> Result<()> {
        let refuse = |parameter, value: f64, reason: &str| {
            Err(LearnError::Config { parameter, value: value.to_string(), reason: reason.to_owned() })
        };
        let warm_up = match self {
            ScheduleConfig::Constant(schedule) => schedule.warm_up,
            ScheduleConfig::Step(schedule) if schedule.every == 0 => {
                return refuse("every", 0.0, "it must be at least 1");
            }
            ScheduleConfig::Step(schedule) if !(0.0..=1.0).contains(&schedule.factor) => {
                return refuse("factor", schedule.factor, "it must lie between 0 and 1");
            }
            ScheduleConfig::Step(schedule) => schedule.warm_up,
            ScheduleConfig::Cosine(schedule) if schedule.epochs == 0 => {
                return refuse("epochs", 0.0, "it must be at least 1");
            }
            ScheduleConfig::Cosine(schedule) if !(0.0..=1.0).contains(&schedule.floor) => {
                return refuse("floor", schedule.floor, "it must lie between 0 and 1");
            }
            ScheduleConfig::Cosine(schedule) => schedule.warm_up,
        };
        if warm_up >= 0.0 { Ok(()) } else { refuse("warm_up", warm_up, "it must be 0 or more") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_follow_their_formulas() {
        let check = |text: &str, expected: &[(f64, f64)]| {
            let schedule: ScheduleConfig = serde_json::from_str(text).unwrap();
            schedule.check().unwrap();
            for &(epoch, factor) in expected {
                assert!(
                    (schedule.factor(epoch) - factor).abs() < 1e-9,
                    "{text} at {epoch}: {}",
                    schedule.factor(epoch)
                );
            }
        };
        check(r#"{"kind":"constant"}"#, &[(0.0, 1.0), (90.0, 1.0)]);
        check(r#"{"kind":"constant","warm_up":2}"#, &[(0.0, 0.0), (0.5, 0.25), (2.0, 1.0), (3.0, 1.0)]);
        check(r#"{"kind":"step","every":10,"factor":0.5}"#, &[(9.9, 1.0), (10.0, 0.5), (35.0, 0.125)]);
        check(
            r#"{"kind":"cosine","epochs":4,"floor":0.1,"warm_up":1}"#,
            &[(0.5, (0.1 + 0.9 * (1.0 + (PI / 8.0).cos()) / 2.0) / 2.0), (2.0, 0.55), (4.0, 0.1), (9.0, 0.1)],
        );
    }

    #[test]
    fn values_out_of_range_are_rejected() {
        let check = |text: &str| serde_json::from_str::<ScheduleConfig>(text).unwrap().check().unwrap_err().to_string();
        insta::assert_snapshot!(check(r#"{"kind":"step","every":0,"factor":0.5}"#), @"`every` cannot be 0: it must be at least 1");
        insta::assert_snapshot!(check(r#"{"kind":"cosine","epochs":2,"floor":2}"#), @"`floor` cannot be 2: it must lie between 0 and 1");
        insta::assert_snapshot!(check(r#"{"kind":"constant","warm_up":-1}"#), @"`warm_up` cannot be -1: it must be 0 or more");
    }
}

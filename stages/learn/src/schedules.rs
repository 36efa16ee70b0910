//! Schedules: by what factor learning rates are multiplied as training goes on.
//!
//! Time is measured in epochs over the whole training, all rounds together, with fractions within an epoch.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{LearnError, Result};

/// A schedule, as in `{ kind = "cosine", epochs = 60, warm_up = 1 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleConfig {
    /// Factor 1 after the warm-up.
    Constant(Constant),
    /// A fall every so many epochs.
    Step(Step),
    /// Half a cosine from 1 down to a floor.
    Cosine(Cosine),
}

/// Factor 1 after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Constant {
    /// Epochs over which the factor rises from 0 in proportion.
    pub warm_up: f64,
}

/// A fall every so many epochs: `factor^⌊t / every⌋`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Epochs from one fall to the next.
    pub every: u32,
    /// What the rate is multiplied by at each.
    pub factor: f64,
    /// Epochs over which the factor rises from 0 in proportion.
    #[serde(default)]
    pub warm_up: f64,
}

/// Half a cosine: `floor + (1 − floor) (1 + cos(π t / epochs)) / 2`, and the floor ever after.
///
/// Source: Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// Epochs until the floor: the length of the whole training.
    pub epochs: u32,
    /// The last factor.
    #[serde(default)]
    pub floor: f64,
    /// Epochs over which the factor rises from 0 in proportion.
    #[serde(default)]
    pub warm_up: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        ScheduleConfig::Constant(Constant::default())
    }
}

impl ScheduleConfig {
    /// The factor at `epoch`, which counts from the beginning of the training with fractions.
    pub fn factor(&self, epoch: f64) -> f64 {
        let (factor, warm_up) = match self {
            ScheduleConfig::Constant(schedule) => (1.0, schedule.warm_up),
            ScheduleConfig::Step(schedule) => {
                let falls = (epoch / f64::from(schedule.every.max(1))).floor();
                (schedule.factor.powf(falls), schedule.warm_up)
            }
            ScheduleConfig::Cosine(schedule) => {
                let share = (epoch / f64::from(schedule.epochs.max(1))).min(1.0);
                let cosine = (1.0 + (PI * share).cos()) / 2.0;
                (schedule.floor + (1.0 - schedule.floor) * cosine, schedule.warm_up)
            }
        };
        let warmth = if epoch < warm_up { epoch / warm_up } else { 1.0 };
        factor * warmth
    }

    /// Refuses numbers that cannot be meant.
    ///
    /// # Errors
    /// Names the parameter.
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
        if warm_up >= 0.0 { Ok(()) } else { refuse("warm_up", warm_up, "it cannot be negative") }
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
    fn senseless_numbers_are_refused() {
        let check = |text: &str| serde_json::from_str::<ScheduleConfig>(text).unwrap().check().unwrap_err().to_string();
        insta::assert_snapshot!(check(r#"{"kind":"step","every":0,"factor":0.5}"#), @"`every` cannot be 0: it must be at least 1");
        insta::assert_snapshot!(check(r#"{"kind":"cosine","epochs":2,"floor":2}"#), @"`floor` cannot be 2: it must lie between 0 and 1");
        insta::assert_snapshot!(check(r#"{"kind":"constant","warm_up":-1}"#), @"`warm_up` cannot be -1: it cannot be negative");
    }
}

//! Few-shot learning: how often a few images of each of a few unseen classes are enough to tell others of them apart.

use dnc_learn::metrics::{FewShot, few_shot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::embedded::Embedded;
use super::rows::Rows;
use crate::context::Context;
use crate::error::StageError;
use crate::stage::ParamError;
use crate::tables::Split;

/// Episodes of a few images of a few classes. What is not given is as in the papers on few-shot learning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Episodes {
    /// Classes of an episode.
    pub ways: u32,
    /// Images of each class whose mean stands for it; each number is reported by itself.
    pub shots: Vec<u32>,
    /// Images of each class that are told apart.
    pub queries: u32,
    /// How many episodes are drawn.
    pub episodes: u32,
}

impl Default for Episodes {
    fn default() -> Self {
        Self { ways: 5, shots: vec![1, 5], queries: 15, episodes: 600 }
    }
}

impl Episodes {
    pub(super) fn check(&self) -> Result<(), ParamError> {
        if self.ways < 2 || self.queries == 0 || self.shots.is_empty() || self.shots.contains(&0) || self.episodes < 2 {
            let message =
                "Episodes have at least 2 `ways`, 1 shot and 1 of `queries`, and there are at least 2 `episodes`";
            return Err(ParamError::new("few_shot", message));
        }
        Ok(())
    }

    pub(super) fn judge(
        &self,
        context: &Context<'_>,
        split: Split,
        images: &Embedded,
        rows: &mut Rows,
    ) -> Result<(), StageError> {
        let streams = context.streams()?.named("evaluate").named("few shot");
        for &shots in &self.shots {
            context.check_cancelled()?;
            let plan = FewShot {
                ways: self.ways as usize,
                shots: shots as usize,
                queries: self.queries as usize,
                episodes: self.episodes as usize,
            };
            let found = few_shot(&images.vectors, images.dim, &images.labels, plan, &streams.at(shots.into()))
                .map_err(|source| StageError::compute(format!("judge episodes of the split `{split}`"), source))?;
            let name = format!("few_shot_{}_way", self.ways);
            rows.metric(split, format!("{name}_half_width"), Some(shots), found.interval.half_width);
            rows.metric(split, name, Some(shots), found.interval.mean);
        }
        Ok(())
    }
}

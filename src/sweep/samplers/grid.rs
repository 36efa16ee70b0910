//! Grid: every combination of values, the last key varying fastest.

use super::sampler::{Sampler, Told};
use crate::sweep::space::{Point, Space};

pub(super) struct Grid<'s> {
    /// Without continuous ranges.
    pub(super) space: &'s Space,
}

impl Sampler for Grid<'_> {
    fn propose(&self, number: usize, _attempt: u32, _told: &[Told]) -> Point {
        self.space.grid_point(number as u64)
    }
}

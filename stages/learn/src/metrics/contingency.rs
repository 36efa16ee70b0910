//! Contingency table of two labellings of the same items, from which NMI and AMI are computed.

use std::collections::BTreeMap;

use super::ranking::metric_error;
use crate::error::Result;

/// Number n_ij of items with label i in one labelling and j in the other, and the margins a_i and b_j.
#[derive(Debug)]
pub(super) struct Contingency {
    /// (i, j, n_ij) for n_ij > 0, where i and j are positions in the margins, ordered by (i, j).
    pub(super) cells: Vec<(usize, usize, u64)>,
    pub(super) rows: Vec<u64>,
    pub(super) columns: Vec<u64>,
    /// n, the number of items.
    pub(super) items: u64,
}

impl Contingency {
    pub(super) fn new<A: Copy + Ord, B: Copy + Ord>(metric: &'static str, a: &[A], b: &[B]) -> Result<Self> {
        if a.len() != b.len() {
            return Err(metric_error(metric, format!("one labelling has {} items and the other {}", a.len(), b.len())));
        }
        let mut pairs: Vec<(A, B)> = a.iter().copied().zip(b.iter().copied()).collect();
        pairs.sort_unstable();
        let mut column_of: BTreeMap<B, usize> = b.iter().map(|label| (*label, 0)).collect();
        column_of.values_mut().zip(0..).for_each(|(number, column)| *number = column);
        let mut table =
            Self { cells: Vec::new(), rows: Vec::new(), columns: vec![0; column_of.len()], items: pairs.len() as u64 };
        for row in pairs.chunk_by(|one, next| one.0 == next.0) {
            for cell in row.chunk_by(|one, next| one.1 == next.1) {
                let column = column_of[&cell[0].1];
                table.cells.push((table.rows.len(), column, cell.len() as u64));
                table.columns[column] += cell.len() as u64;
            }
            table.rows.push(row.len() as u64);
        }
        Ok(table)
    }

    /// Mutual information Σ n_ij/n · ln(n n_ij / (a_i b_j)), in nats; never negative.
    pub(super) fn mutual_information(&self) -> f64 {
        let n = self.items as f64;
        let term = |&(row, column, count): &(usize, usize, u64)| {
            let (count, a, b) = (count as f64, self.rows[row] as f64, self.columns[column] as f64);
            count / n * ((count / n).ln() - (a / n).ln() - (b / n).ln())
        };
        self.cells.iter().map(term).sum::<f64>().max(0.0)
    }

    /// Mean of the entropies of both labellings, in nats.
    pub(super) fn mean_entropy(&self) -> f64 {
        let n = self.items as f64;
        let entropy =
            |margin: &[u64]| -> f64 { -margin.iter().map(|m| *m as f64 / n * (*m as f64 / n).ln()).sum::<f64>() };
        (entropy(&self.rows) + entropy(&self.columns)) / 2.0
    }

    /// Whether both labellings put all items into one class, or there are no items: they are equal and carry no information.
    pub(super) fn trivial(&self) -> bool {
        self.rows.len() <= 1 && self.columns.len() <= 1
    }
}

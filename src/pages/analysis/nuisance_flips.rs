//! Queries whose nearest image changes from right to wrong, or back, when images are perturbed.

use std::collections::BTreeMap;

use dnc_stages::ArtifactKind;
use dnc_stages::api::Columns;
use dnc_stages::tables::nuisances::{self, NuisanceRow};

use super::comparison::mcnemar;
use crate::pages::error::PagesError;
use crate::pages::evidence::{Evidence, Subject};
use crate::report::answers::Answer;

/// A query that flips.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    /// Its position among the answers.
    pub query: usize,
    /// Its nearest image under the nuisance, and the distance to that.
    pub nearest: (u32, f32),
}

/// What a nuisance does to the queries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NuisanceFlips {
    /// Number of queries that were compared.
    pub queries: usize,
    /// Queries that are right without the nuisance and wrong with it, the most confidently right first.
    pub lost: Vec<Flip>,
    /// Queries that are wrong without the nuisance and right with it.
    pub gained: Vec<Flip>,
    /// p of McNemar's exact test.
    pub p: f64,
}

/// The flips by nuisance; empty if the run did not record them, or the store no longer has the table.
///
/// # Errors
/// The store cannot be read, or the table is damaged.
pub fn flips(
    evidence: &Evidence,
    subject: &Subject,
    answers: &[Answer],
) -> Result<BTreeMap<String, NuisanceFlips>, PagesError> {
    let (node, kind) = (&subject.chosen().node, ArtifactKind::Nuisances);
    let Some(artifact) = evidence.open(node, kind.name(), kind, Columns::All, |_| true)? else {
        return Ok(BTreeMap::new());
    };
    let rows = nuisances::open(&artifact)?.into_iter().filter(|row| row.split.name() == subject.split);
    Ok(of_rows(rows, answers))
}

fn of_rows(rows: impl Iterator<Item = NuisanceRow>, answers: &[Answer]) -> BTreeMap<String, NuisanceFlips> {
    // With random galleries an image is a query several times, in the same order in both tables.
    let mut positions: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    answers.iter().enumerate().for_each(|(at, answer)| positions.entry(answer.id).or_default().push(at));
    let mut seen: BTreeMap<(String, u32), usize> = BTreeMap::new();
    let mut found: BTreeMap<String, NuisanceFlips> = BTreeMap::new();
    for row in rows {
        let Some((hit, nearest)) = row.hit.zip(row.nearest) else { continue };
        let turn = seen.entry((row.nuisance.clone(), row.id)).or_default();
        let query = positions.get(&row.id).and_then(|positions| positions.get(*turn).copied());
        *turn += 1;
        let Some(query) = query else { continue };
        let flips = found.entry(row.nuisance).or_default();
        flips.queries += 1;
        match (answers[query].is_right(), hit) {
            (true, false) => flips.lost.push(Flip { query, nearest }),
            (false, true) => flips.gained.push(Flip { query, nearest }),
            _ => {}
        }
    }
    let before = |flip: &Flip| answers[flip.query].distances.first().copied().unwrap_or(f32::MAX);
    for flips in found.values_mut() {
        for list in [&mut flips.lost, &mut flips.gained] {
            list.sort_by(|a, b| before(a).total_cmp(&before(b)).then(a.query.cmp(&b.query)));
        }
        flips.p = mcnemar(flips.gained.len(), flips.lost.len());
    }
    found
}

#[cfg(test)]
mod tests {
    use dnc_stages::tables::Split;

    use super::*;

    #[test]
    fn each_query_is_compared_with_itself_and_what_was_most_certain_comes_first() {
        let answer = |id, is_right: bool, distance| Answer {
            id,
            label: 0,
            first_hit: is_right.then_some(1),
            average_precision: 0.0,
            neighbours: vec![9],
            distances: vec![distance],
        };
        // Image 3 is a query twice.
        let answers = [
            answer(1, true, 0.5),
            answer(2, true, 0.2),
            answer(3, true, 0.1),
            answer(4, false, 0.3),
            answer(3, false, 0.4),
        ];
        let row =
            |id, hit| NuisanceRow { nuisance: "blur".into(), id, split: Split::Test, nearest: Some((8, 1.0)), hit };
        let rows = [(1, Some(false)), (2, Some(false)), (3, Some(true)), (4, Some(true)), (3, Some(true)), (5, None)];
        let found = of_rows(rows.into_iter().map(|(id, hit)| row(id, hit)), &answers);
        let flips = &found["blur"];
        let positions = |list: &[Flip]| list.iter().map(|flip| flip.query).collect::<Vec<_>>();
        assert_eq!((flips.queries, positions(&flips.lost), positions(&flips.gained)), (5, vec![1, 0], vec![3, 4]));
        assert_eq!(flips.p, 1.0);
    }
}

//! Which queries the gallery shows: a few lists of queries, each in its own order.

use super::comparison::{Flips, flips};
use crate::report::answers::Answer;

/// A list of queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GalleryList {
    /// Name of the list, for links.
    pub name: &'static str,
    /// Its heading.
    pub title: String,
    /// How the queries were chosen and ordered.
    pub definition: String,
    /// Positions of the queries among the answers, in order.
    pub queries: Vec<usize>,
}

/// The lists of a run, each with at most `most` queries. `earlier` are the answers to compare with, with their name.
pub fn lists(answers: &[Answer], earlier: Option<(&str, &[Answer])>, most: usize) -> Vec<GalleryList> {
    let first = |answer: &Answer| answer.distances.first().copied().unwrap_or(f32::INFINITY);
    let pick = |keep: &dyn Fn(&Answer) -> bool, order: &dyn Fn(&Answer) -> [f64; 2]| {
        let mut chosen: Vec<(usize, [f64; 2])> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| keep(answer) && !answer.neighbours.is_empty())
            .map(|(position, answer)| (position, order(answer)))
            .collect();
        chosen.sort_by(|a, b| a.1[0].total_cmp(&b.1[0]).then(a.1[1].total_cmp(&b.1[1])).then(a.0.cmp(&b.0)));
        chosen.truncate(most);
        chosen.into_iter().map(|(position, _)| position).collect::<Vec<usize>>()
    };
    let list = |name, title: &str, definition: &str, queries| GalleryList {
        name,
        title: title.to_owned(),
        definition: definition.to_owned(),
        queries,
    };
    let mut lists = vec![
        list(
            "worst",
            "Worst",
            "Lowest average precision, then the nearest right image farthest down the ranking.",
            pick(&|_| true, &|answer| [answer.average_precision, -answer.first_hit.map_or(f64::INFINITY, f64::from)]),
        ),
        list(
            "confident",
            "Confidently wrong",
            "The nearest image is of another class; smallest distance first.",
            pick(&|answer| !answer.is_right(), &|answer| [f64::from(first(answer)), 0.0]),
        ),
        list(
            "near-misses",
            "Near misses",
            "The second nearest image is the first right one; smallest gap between the two distances first.",
            pick(&|answer| answer.first_hit == Some(2) && answer.distances.len() > 1, &|answer| {
                [f64::from(answer.distances[1] - answer.distances[0]), 0.0]
            }),
        ),
        list(
            "random",
            "Random",
            "A sample that depends on nothing but the ids of the images.",
            pick(&|_| true, &|answer| [f64::from(scattered(answer.id)), 0.0]),
        ),
        list(
            "best",
            "Best",
            "Highest average precision, then the nearest image closest.",
            pick(&|_| true, &|answer| [-answer.average_precision, f64::from(first(answer))]),
        ),
    ];
    if let Some((name, earlier)) = earlier {
        let Flips { gained, lost, .. } = flips(earlier, answers);
        let shown = |queries: Vec<usize>| {
            let with_neighbours = queries.into_iter().filter(|&query| !answers[query].neighbours.is_empty());
            with_neighbours.take(most).collect::<Vec<usize>>()
        };
        lists.push(list(
            "gained",
            &format!("Gained against {name}"),
            "The nearest image is right here and was wrong there; largest gain in average precision first.",
            shown(gained),
        ));
        lists.push(list(
            "lost",
            &format!("Lost against {name}"),
            "The nearest image is wrong here and was right there; largest loss in average precision first.",
            shown(lost),
        ));
    }
    lists.retain(|list| !list.queries.is_empty());
    lists
}

/// A number that has nothing to do with the order of ids: the finaliser of MurmurHash3.
fn scattered(id: u32) -> u32 {
    let mut bits = id ^ 0x9e37_79b9;
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
    bits ^ (bits >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u32, first_hit: Option<u32>, average_precision: f64, distances: &[f32]) -> Answer {
        Answer {
            id,
            label: 0,
            first_hit,
            average_precision,
            neighbours: (0..distances.len() as u32).map(|rank| 100 + rank).collect(),
            distances: distances.to_vec(),
        }
    }

    #[test]
    fn each_list_has_its_order() {
        let answers = [
            answer(0, Some(1), 0.9, &[0.2, 0.3]),
            answer(1, Some(2), 0.4, &[0.30, 0.31]),
            answer(2, None, 0.0, &[0.5, 0.6]),
            answer(3, Some(2), 0.3, &[0.1, 0.3]),
            answer(4, Some(9), 0.0, &[0.4, 0.5]),
        ];
        let earlier =
            [answer(0, Some(2), 0.5, &[0.1]), answer(1, Some(1), 1.0, &[0.1]), answer(2, Some(1), 0.4, &[0.1])];
        let lists = lists(&answers, Some(("round 0", &earlier)), 3);
        let found: Vec<(&str, &[usize])> = lists.iter().map(|list| (list.name, list.queries.as_slice())).collect();
        assert_eq!(
            found.iter().map(|list| list.0).collect::<Vec<_>>(),
            ["worst", "confident", "near-misses", "random", "best", "gained", "lost"]
        );
        assert_eq!([found[0].1, found[1].1, found[2].1], [&[2, 4, 3][..], &[3, 1, 4], &[1, 3]]);
        assert_eq!([found[4].1, found[5].1, found[6].1], [&[0, 1, 3][..], &[0], &[1, 2]]);
        assert_eq!(found[3].1.len(), 3);
    }
}

//! `index`: orders embeddings for approximate search, and measures how much it finds.
//!
//! The index is made of inverted lists ([`dnc_kernels::neighbours::inverted`]): k-means divides the embeddings, and a query searches only
//! the lists of its nearest centroids. How many lists that are follows from the recall that is asked for, which is measured with a
//! sample of the embeddings as queries, each without itself, against exact search.

use dnc_kernels::kmeans::Stop;
use dnc_kernels::neighbours::inverted::{Layout, divide_unless};
use dnc_kernels::neighbours::{Gallery, Neighbours};
use dnc_tables::Split;
use dnc_tables::embeddings::Embeddings;
use dnc_tables::index::{self, IndexRows, RecallRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Ambient, Arithmetic, ArtifactKind, Context, Input, Output, ParamError, Ports, Resources, Stage, StageError, Threads,
};

/// Queries that are searched at a time.
const BLOCK: usize = 256;

/// The movement of the centroids below which k-means stops.
const TOLERANCE: f64 = 1e-3;

/// Orders embeddings for approximate search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// Number of lists that the embeddings are divided into. Without it, four times the square root of their number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lists: Option<u32>,
    /// Recall that a search should reach: the mean share of the `k` true nearest neighbours that it finds.
    pub recall: f64,
    /// Number of lists that a query searches. Without it, the smallest number that reaches `recall`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// Number of nearest neighbours for which the recall is measured.
    pub k: u32,
    /// Number of embeddings that serve as queries to measure the recall.
    pub queries: u32,
    /// Maximum number of k-means iterations.
    pub iterations: u32,
}

impl Default for Index {
    fn default() -> Self {
        Self { lists: None, recall: 0.98, probes: None, k: 10, queries: 1_000, iterations: 10 }
    }
}

impl Stage for Index {
    const NAME: &'static str = "index";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Build an index for approximate search among millions of images, with measured recall";

    fn ports(&self) -> Ports {
        let columns = ["id", "label", "split", "vector"];
        Ports {
            inputs: vec![Input::new("embeddings", ArtifactKind::Embeddings, &columns)],
            outputs: vec![Output::new("index", ArtifactKind::Index)],
        }
    }

    fn ambient(&self) -> Ambient {
        Ambient { seed: true, arithmetic: Arithmetic::Cpu, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        let whole = [("lists", self.lists.unwrap_or(1)), ("probes", self.probes.unwrap_or(1)), ("k", self.k)];
        for (name, value) in whole.into_iter().chain([("queries", self.queries), ("iterations", self.iterations)]) {
            if value == 0 {
                return Err(ParamError::new(name, format!("`{name}` must be at least 1")));
            }
        }
        if let (Some(lists), Some(probes)) = (self.lists, self.probes)
            && probes > lists
        {
            return Err(ParamError::new(
                "probes",
                format!("`probes` must be at most `lists`, {lists}, but is {probes}"),
            ));
        }
        if !(self.recall > 0.0 && self.recall <= 1.0) {
            return Err(ParamError::new("recall", "`recall` must be above 0 and at most 1"));
        }
        Ok(())
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let rows = Rows::open(context)?;
        let count = rows.ids.len();
        if count < 2 {
            return Err(StageError::TooFewToIndex { count });
        }
        let lists = self.lists.map_or(4 * count.isqrt(), |lists| lists as usize).min(count);
        let stop = Stop { iterations: self.iterations as usize, tolerance: TOLERANCE };
        let seed = context.streams()?.named(Self::NAME).seed();
        context.progress(0, 3, "steps");
        let stopped = || context.check_cancelled().is_err();
        let layout = divide_unless(&rows.vectors, rows.dim, lists, (stop, seed), stopped).map_err(failed)?;
        let layout = layout.ok_or(StageError::Cancelled)?;
        context.progress(1, 3, "steps");
        let curve = self.curve(context, &rows, &layout)?;
        context.check_cancelled()?;
        context.progress(2, 3, "steps");

        let probes = self.probes.map_or_else(|| curve.probes_for(self.recall), |probes| (probes as usize).min(lists));
        let recall = curve.rows(probes);
        let chosen = curve.row(probes, true);
        context.log(format!(
            "Recall@{} is {:.4} with {probes} of {lists} lists, which hold {:.1} % of {count} images",
            chosen.k,
            chosen.recall,
            100.0 * chosen.scanned
        ));
        let of_rows = |values: &[u32]| layout.rows.iter().map(|&row| values[row as usize]).collect();
        let splits: Vec<Split> = layout.rows.iter().map(|&row| rows.splits[row as usize]).collect();
        let (ids, labels) = (of_rows(&rows.ids), of_rows(&rows.labels));
        let vectors = layout.ordered(&rows.vectors, rows.dim);
        let (ends, centroids, dim) = (layout.ends, layout.centroids, rows.dim);
        drop(rows.vectors);
        let written = IndexRows { ids, labels, splits: &splits, vectors, ends, centroids, dim, recall: &recall };
        Ok(index::write(context.output("index")?, written)?)
    }
}

impl Index {
    /// How much is found with any number of probes. A neighbour is found exactly if its list is probed: the search within a list
    /// is exact.
    fn curve(&self, context: &Context<'_>, rows: &Rows, layout: &Layout) -> Result<Curve, StageError> {
        let (count, lists) = (rows.ids.len(), layout.ends.len());
        let step = count.div_ceil(self.queries as usize);
        let sample: Vec<usize> = (0..count).step_by(step).collect();
        let queries: Vec<f32> =
            sample.iter().flat_map(|&row| &rows.vectors[row * rows.dim..][..rows.dim]).copied().collect();
        let k = (self.k as usize).min(count - 1);
        let queries = (queries.as_slice(), rows.dim);
        let nearest = self::nearest(context, &rows.vectors, queries, k, |query, row| sample[query] == row as usize)?;
        let order = self::nearest(context, &layout.centroids, queries, lists, |_, _| false)?;

        let mut list_of = vec![0; count];
        let mut sizes = vec![0; lists];
        for (position, &row) in layout.rows.iter().enumerate() {
            let list = layout.ends.partition_point(|&end| end as usize <= position);
            list_of[row as usize] = list;
            sizes[list] += 1;
        }
        let (mut found, mut scanned) = (vec![0_u64; lists], vec![0_u64; lists]);
        let mut rank = vec![0; lists];
        for query in 0..sample.len() {
            for (place, &list) in order.of(query).0.iter().enumerate() {
                rank[list as usize] = place;
                scanned[place] += sizes[list as usize];
            }
            for &row in nearest.of(query).0 {
                found[rank[list_of[row as usize]]] += 1;
            }
        }
        let totals = ((sample.len() * k) as f64, sample.len() as f64 * count as f64);
        Ok(Curve { k, found: running_share(&found, totals.0), scanned: running_share(&scanned, totals.1) })
    }
}

/// Recall and effort against the number of probes, which is the position plus one.
struct Curve {
    k: usize,
    found: Vec<f64>,
    scanned: Vec<f64>,
}

impl Curve {
    /// The smallest number of probes that reaches `recall`.
    fn probes_for(&self, recall: f64) -> usize {
        1 + self.found.iter().position(|&found| found >= recall).unwrap_or(self.found.len() - 1)
    }

    fn row(&self, probes: usize, chosen: bool) -> RecallRow {
        RecallRow {
            probes: probes as u32,
            k: self.k as u32,
            recall: self.found[probes - 1],
            scanned: self.scanned[probes - 1],
            chosen,
        }
    }

    /// Rows for powers of two, all lists, and the chosen number.
    fn rows(&self, chosen: usize) -> Vec<RecallRow> {
        let lists = self.found.len();
        let powers = std::iter::successors(Some(1), |probes| Some(2 * probes)).take_while(|&probes| probes < lists);
        let mut probes: Vec<usize> = powers.chain([lists, chosen]).collect();
        probes.sort_unstable();
        probes.dedup();
        probes.into_iter().map(|probes| self.row(probes, probes == chosen)).collect()
    }
}

/// The `k` nearest rows of `gallery`, `[n, dim]`, of each of `queries`, `[m, dim]`. A stop is heeded between blocks of queries.
fn nearest(
    context: &Context<'_>,
    gallery: &[f32],
    (queries, dim): (&[f32], usize),
    k: usize,
    excluded: impl Fn(usize, u32) -> bool + Sync,
) -> Result<Neighbours, StageError> {
    let gallery = Gallery::new(gallery, dim).map_err(failed)?;
    let mut all = Neighbours { k, ids: Vec::new(), distances: Vec::new() };
    for (block, queries) in queries.chunks(BLOCK * dim).enumerate() {
        context.check_cancelled()?;
        let excluded = |query: usize, row: u32| excluded(block * BLOCK + query, row);
        let found = gallery.nearest(queries, k, excluded).map_err(failed)?;
        all.ids.extend(found.ids);
        all.distances.extend(found.distances);
    }
    Ok(all)
}

/// Running sums as shares of a total.
fn running_share(counts: &[u64], total: f64) -> Vec<f64> {
    let mut sum = 0;
    counts
        .iter()
        .map(|count| {
            sum += count;
            sum as f64 / total
        })
        .collect()
}

/// The embeddings by ascending id.
struct Rows {
    ids: Vec<u32>,
    labels: Vec<u32>,
    splits: Vec<Split>,
    vectors: Vec<f32>,
    dim: usize,
}

impl Rows {
    fn open(context: &Context<'_>) -> Result<Self, StageError> {
        let table = Embeddings::open(context.input("embeddings")?)?;
        let (ids, labels, splits) = (table.ids()?, table.labels()?, table.splits()?);
        let (vectors, dim) = (table.vectors()?, table.dim()?);
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&row| ids[row]);
        Ok(Self {
            ids: order.iter().map(|&row| ids[row]).collect(),
            labels: order.iter().map(|&row| labels[row]).collect(),
            splits: order.iter().map(|&row| splits[row]).collect(),
            vectors: order.iter().flat_map(|&row| &vectors[row * dim..][..dim]).copied().collect(),
            dim,
        })
    }
}

fn failed(source: dnc_kernels::Error) -> StageError {
    StageError::compute("index the embeddings", source)
}

#[cfg(test)]
mod tests {
    use dnc_kernels::neighbours::inverted::InvertedLists;
    use dnc_tables::embeddings::EmbeddingRows;

    use super::*;
    use crate::api::InputArtifact;
    use crate::testing::{Workshop, artifact, check_known_bytes, on_threads};

    const DIM: usize = 8;
    const COUNT: usize = 600;

    /// Sixty classes of ten images on a sphere, by descending id.
    fn embeddings(workshop: &Workshop) -> InputArtifact {
        let ids: Vec<u32> = (0..COUNT as u32).rev().collect();
        let labels: Vec<u32> = ids.iter().map(|id| id / 10).collect();
        let mut vectors = Vec::new();
        for &id in &ids {
            let value = |axis: u32| {
                let (centre, noise) = ((id / 10 + 1) * (axis + 3) * 7_919 % 101, (id * 31 + axis * 17) % 13);
                centre as f32 / 50.5 - 1.0 + noise as f32 / 8.0
            };
            let vector: Vec<f32> = (0..DIM as u32).map(value).collect();
            let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vectors.extend(vector.into_iter().map(|value| value / norm));
        }
        let splits = vec![Split::Test; COUNT];
        let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim: DIM };
        workshop.write(ArtifactKind::Embeddings, |output| dnc_tables::embeddings::write(output, rows)).unwrap().0
    }

    fn indexed(stage: &Index) -> (Workshop, InputArtifact, index::Index) {
        let workshop = Workshop::new();
        let embeddings = embeddings(&workshop);
        let outputs = workshop.run(stage, &[("embeddings", &embeddings)]).unwrap();
        let index = index::Index::open(&artifact(ArtifactKind::Index, &outputs["index"].folder)).unwrap();
        (workshop, embeddings, index)
    }

    #[test]
    fn the_stored_recall_is_that_of_a_search_and_every_image_finds_itself() {
        let stage = Index { queries: COUNT as u32, lists: Some(40), recall: 0.9, ..Index::default() };
        let (_workshop, embeddings, index) = indexed(&stage);
        let (ids, dim) = (index.ids().unwrap(), index.dim().unwrap());
        let vectors = index.vectors().unwrap();
        let (ends, centroids) = (index.ends().unwrap(), index.centroids().unwrap());
        let lists = InvertedLists::new(vectors, dim, ids, ends, centroids).unwrap();
        assert_eq!(ids.len(), COUNT);

        let table = Embeddings::open(&embeddings).unwrap();
        let (all, queries) = (table.ids().unwrap(), table.vectors().unwrap());
        let itself = lists.nearest(queries, 1, 1, |_, _| false).unwrap();
        assert_eq!(itself.distances, vec![0.0; COUNT]);
        assert_eq!(itself.ids, all);

        let exact =
            Gallery::new(queries, dim).unwrap().nearest(queries, 10, |query, row| query == row as usize).unwrap();
        for row in index.recall() {
            let found = lists.nearest(queries, 10, row.probes as usize, |query, id| all[query] == id).unwrap();
            let common = |query: usize| {
                let is_found = |&&row: &&u32| found.of(query).0.contains(&all[row as usize]);
                exact.of(query).0.iter().filter(is_found).count()
            };
            let recall = (0..COUNT).map(common).sum::<usize>() as f64 / (10 * COUNT) as f64;
            // Neighbours at equal distances may be exchanged for one another.
            assert!((recall - row.recall).abs() < 0.002, "{row:?}: {recall}");
        }
        let chosen = index.chosen().unwrap();
        assert!(chosen.recall >= 0.9 && chosen.scanned < 0.5 && chosen.probes > 1, "{chosen:?}");
        let fewer = Index { probes: Some(chosen.probes - 1), ..stage };
        assert!(indexed(&fewer).2.chosen().unwrap().recall < 0.9);
    }

    #[test]
    fn more_lists_than_images_are_one_list_an_image() {
        let (_workshop, _, index) = indexed(&Index { lists: Some(10_000), ..Index::default() });
        assert_eq!(index.ends().unwrap().len(), COUNT);
    }

    #[test]
    fn the_version_is_raised_with_the_bytes_and_threads_do_not_matter() {
        let workshop = Workshop::new();
        let embeddings = embeddings(&workshop);
        let outputs = [1, 3].map(|threads| {
            on_threads(threads, || workshop.run(&Index::default(), &[("embeddings", &embeddings)]).unwrap())
        });
        assert_eq!(crate::testing::digest(&outputs[0]), crate::testing::digest(&outputs[1]));
        let digest = "3966a8ff1101127a";
        let known = ["cpu/avx512/gnu", "cpu/avx2/gnu", "cpu/portable/gnu"].map(|arithmetic| (arithmetic, digest));
        check_known_bytes((Index::VERSION, &outputs[0]), (1, &known));
    }

    #[test]
    fn parameters_out_of_bounds_are_refused() {
        for (stage, key) in [
            (Index { lists: Some(0), ..Index::default() }, "lists"),
            (Index { k: 0, ..Index::default() }, "k"),
            (Index { recall: 1.5, ..Index::default() }, "recall"),
            (Index { recall: f64::NAN, ..Index::default() }, "recall"),
            (Index { lists: Some(4), probes: Some(5), ..Index::default() }, "probes"),
        ] {
            assert_eq!(stage.check().unwrap_err().key, key);
        }
    }
}

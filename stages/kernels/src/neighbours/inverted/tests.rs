use super::super::tests::clustered;
use super::*;
use crate::kmeans::Stop;

const DIM: usize = 24;
const STOP: Stop = Stop { iterations: 10, tolerance: 0.0 };

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started")
}

/// Rows in lists, as a caller keeps them.
struct Built {
    layout: Layout,
    ordered: Vec<f32>,
}

impl Built {
    fn new(rows: &[f32], lists: usize) -> Self {
        let layout = divide(rows, DIM, lists, STOP, 3).expect("the rows are well formed");
        let ordered = layout.ordered(rows, DIM);
        Self { layout, ordered }
    }

    fn lists(&self) -> InvertedLists<'_> {
        let Layout { centroids, rows, ends } = &self.layout;
        InvertedLists::new(&self.ordered, DIM, rows, ends, centroids).expect("a layout fits together")
    }
}

#[test]
fn all_lists_give_the_exact_result() {
    let rows = clustered(2_000, DIM, 40, 0.3);
    let built = Built::new(&rows, 30);
    let exact = Gallery::new(&rows, DIM).expect("the rows are well formed");
    // Many queries share lists; a few are compared row by row. A query is one of the rows and must not find its own class half.
    for queries in [1_000, 3] {
        let queries = &rows[..queries * DIM];
        let excluded = |query: usize, row: u32| query == row as usize || row.is_multiple_of(5);
        let expected = exact.nearest(queries, 7, excluded).expect("the queries are well formed");
        for threads in [1, 3] {
            let found = pool(threads).install(|| built.lists().nearest(queries, 7, 30, excluded));
            assert!(found.expect("the queries are well formed") == expected, "{threads} threads");
        }
    }
}

#[test]
fn few_lists_give_the_nearest_rows_of_these_lists() {
    let rows = clustered(3_000, DIM, 60, 0.5);
    let built = Built::new(&rows, 50);
    let (lists, Layout { rows: order, ends, centroids }) = (built.lists(), &built.layout);
    let queries = clustered(300, DIM, 300, 0.0);
    let found = pool(2).install(|| lists.nearest(&queries, 10, 4, |_, _| false)).expect("the queries are well formed");
    for (number, query) in queries.chunks_exact(DIM).enumerate() {
        let by_distance = |rows: &[f32], names: &[u32]| {
            let pairs = rows.chunks_exact(DIM).zip(names).map(|(row, &name)| (distance::squared(query, row), name));
            let mut pairs: Vec<(f32, u32)> = pairs.collect();
            pairs.sort_by(|a, b| a.partial_cmp(b).expect("distances of finite rows are ordered"));
            pairs
        };
        let names: Vec<u32> = (0..ends.len() as u32).collect();
        let members = by_distance(centroids, &names).into_iter().take(4).flat_map(|(_, list)| {
            let start = if list == 0 { 0 } else { ends[list as usize - 1] };
            order[start as usize..ends[list as usize] as usize].to_vec()
        });
        let members: Vec<u32> = members.collect();
        let vectors: Vec<f32> = members.iter().flat_map(|&row| &rows[row as usize * DIM..][..DIM]).copied().collect();
        let expected: Vec<u32> = by_distance(&vectors, &members).into_iter().take(10).map(|(_, row)| row).collect();
        assert_eq!(found.of(number).0, expected);
    }
}

#[test]
fn every_row_finds_itself_in_one_list() {
    let mut rows = clustered(1_500, DIM, 10, 0.4);
    // A copy of an earlier row: its twin with the smaller id comes first, at the same distance.
    rows.copy_within(0..DIM, 1_499 * DIM);
    let built = Built::new(&rows, 64);
    let found = built.lists().nearest(&rows, 2, 1, |_, _| false).expect("the queries are well formed");
    for row in 0..1_500 {
        let (ids, distances) = found.of(row);
        assert_eq!(distances[0], 0.0);
        assert!(ids.contains(&(row as u32)), "row {row} finds {ids:?}");
    }
}

#[test]
fn more_probes_find_more() {
    let rows = clustered(4_000, DIM, 400, 1.5);
    let built = Built::new(&rows, 64);
    let queries = &rows[..400 * DIM];
    let exact = Gallery::new(&rows, DIM).and_then(|gallery| gallery.nearest(queries, 10, |_, _| false));
    let exact = exact.expect("the queries are well formed");
    let found = |probes: usize| {
        let found = built.lists().nearest(queries, 10, probes, |_, _| false).expect("the queries are well formed");
        let common = |query: usize| exact.of(query).0.iter().filter(|id| found.of(query).0.contains(id)).count();
        (0..400).map(common).sum::<usize>()
    };
    let found = [1, 4, 16, 64].map(found);
    assert!(found.is_sorted() && found[0] < found[3] && found[3] == 4_000, "{found:?}");
}

#[test]
fn the_layout_does_not_depend_on_threads() {
    let rows = clustered(9_000, DIM, 90, 0.4);
    let divided =
        [1, 3].map(|threads| pool(threads).install(|| divide(&rows, DIM, 20, STOP, 5)).expect("it can be divided"));
    assert!(divided[0] == divided[1]);
    assert_eq!(divided[0].ends.last(), Some(&9_000));
}

#[test]
fn what_does_not_fit_is_refused() {
    let rows = [0.0, 1.0, 2.0, 3.0];
    let refused = |rows: &[f32], ids: &[u32], ends: &[u32], centroids: &[f32]| {
        InvertedLists::new(rows, 1, ids, ends, centroids).err().map(|error| error.to_string())
    };
    assert_eq!(refused(&rows, &[0, 1, 2, 3], &[1, 4], &[0.0, 2.0]), None);
    for (ids, ends, centroids) in [
        (&[0, 1, 2][..], &[1, 3][..], &[0.0, 2.0][..]),
        (&[0, 1, 2, 3], &[4], &[0.0, 2.0]),
        (&[0, 1, 2, 3], &[3, 2], &[0.0, 2.0]),
        (&[0, 1, 2, 3], &[1, 3], &[0.0, 2.0]),
        (&[0, 1, 2, 3], &[1, 4], &[0.0, f32::NAN]),
    ] {
        assert!(refused(&rows, ids, ends, centroids).is_some(), "{ids:?} {ends:?} {centroids:?}");
    }
    for lists in [0, 5] {
        assert!(divide(&rows, 1, lists, STOP, 0).is_err());
    }
}

#[test]
fn a_division_that_is_stopped_gives_nothing() {
    use std::cell::Cell;

    let rows = clustered(500, DIM, 10, 0.3);
    let asked = Cell::new(0);
    let after = |most: usize| {
        asked.set(0);
        let stopped = || {
            asked.set(asked.get() + 1);
            asked.get() > most
        };
        divide_unless(&rows, DIM, 8, (STOP, 3), stopped).expect("the rows are well formed")
    };
    assert_eq!(after(usize::MAX), Some(divide(&rows, DIM, 8, STOP, 3).expect("the rows are well formed")));
    let all = asked.get();
    for most in [0, 3, all - 1] {
        assert_eq!(after(most), None, "after {most} of {all}");
    }
}

//! Image search in a run.

use std::ffi::c_char;
use std::str::FromStr as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, StringArray, UInt32Array};
use dnc_run::search::{Hit, Searcher, Space, Within};
use dnc_stages::tables::Split;
use serde::Deserialize;

use crate::boundary::{Problem, free, handle, parsed};
use crate::opened::Opened;
use crate::pictures::{self, Image};
use crate::tables::Table;

/// What is searched.
#[derive(Deserialize)]
struct Gallery {
    /// A split, or `all`.
    within: Option<String>,
    approximate: bool,
}

impl Gallery {
    fn within(&self) -> Result<Within, Problem> {
        match self.within.as_deref() {
            Some(_) if self.approximate => {
                Err(Problem("An approximate search is one of the run's index; leave out `within`".to_owned()))
            }
            None if self.approximate => Ok(Within::Indexed),
            None => Ok(Within::Evaluated),
            Some("all") => Ok(Within::All),
            Some(name) => Split::from_str(name).map(Within::Split).map_err(|_| {
                Problem(format!("`within` is `{name}`, but must be train, validation, test, query, gallery or all"))
            }),
        }
    }
}

/// What is searched for.
#[derive(Deserialize)]
struct Request {
    /// For each query the id of an image of the run, or null for the next of the images that are passed.
    ids: Vec<Option<u32>>,
    k: usize,
    learner: Option<usize>,
}

/// Prepares a search in a run; [`dnc_free_searcher`] frees it.
///
/// # Safety
/// `run` is a handle of this library, `request` is JSON that ends with a zero, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_searcher(
    run: *const Opened,
    request: *const c_char,
    error: *mut *mut c_char,
) -> *mut Searcher {
    // SAFETY: by the caller's promise.
    unsafe {
        handle(error, || {
            let within = parsed::<Gallery>(request)?.within()?;
            Ok(Searcher::open(&(*run).evidence, &within, &|_, _| {})?)
        })
    }
}

/// The nearest images to each query: a table.
///
/// # Safety
/// `searcher` is a handle of this library, `images` points to `count` images whose pointers are valid, `request` is JSON that ends with a
/// zero, and `error` can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_search(
    searcher: *const Searcher,
    images: *const Image,
    count: usize,
    request: *const c_char,
    error: *mut *mut c_char,
) -> *mut Table {
    // SAFETY: by the caller's promise.
    unsafe {
        handle(error, || {
            let searcher = &*searcher;
            let request: Request = parsed(request)?;
            if request.k == 0 {
                return Err(Problem("`k` is 0, but must be at least 1".to_owned()));
            }
            let embedded = searcher.embed(&pictures::decoded(images, count, searcher.model())?)?;
            let vectors = vectors(searcher, &request.ids, &embedded)?;
            table(&searcher.nearest(&vectors, request.k, &space(searcher, request.learner)?)?)
        })
    }
}

/// Frees a search.
///
/// # Safety
/// `searcher` is null or a handle of this library that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dnc_free_searcher(searcher: *mut Searcher) {
    // SAFETY: by the caller's promise.
    unsafe { free(searcher) };
}

/// The embeddings of the queries; of images of the run those that it kept.
fn vectors(searcher: &Searcher, ids: &[Option<u32>], embedded: &[f32]) -> Result<Vec<f32>, Problem> {
    let mut embedded = embedded.chunks_exact(searcher.dim());
    let mut vectors = Vec::with_capacity(ids.len() * searcher.dim());
    for id in ids {
        match id {
            None => vectors.extend(embedded.next().unwrap_or_default()),
            Some(id) => {
                let vector = searcher.vector_of(*id)?;
                vectors.extend(vector.ok_or_else(|| Problem(format!("The run has no image with the id {id}")))?);
            }
        }
    }
    Ok(vectors)
}

fn space(searcher: &Searcher, learner: Option<usize>) -> Result<Space, Problem> {
    let learners = searcher.learners();
    match learner {
        None => Ok(Space::Whole),
        Some(learner) if learner < learners => Ok(Space::of(learner, learners)),
        Some(learner) => Err(Problem(format!(
            "`learner` is {learner}, but must be below {learners}, the number of learners of the run's model"
        ))),
    }
}

fn table(found: &[Vec<Hit>]) -> Result<Table, Problem> {
    let ranked = || found.iter().flat_map(|hits| (1u32..).zip(hits));
    let queries = (0u32..).zip(found).flat_map(|(query, hits)| vec![query; hits.len()]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("query", Arc::new(UInt32Array::from_iter_values(queries))),
        ("rank", Arc::new(UInt32Array::from_iter_values(ranked().map(|(rank, _)| rank)))),
        ("id", Arc::new(UInt32Array::from_iter_values(ranked().map(|(_, hit)| hit.id)))),
        ("class", Arc::new(StringArray::from_iter_values(ranked().map(|(_, hit)| &hit.class)))),
        ("distance", Arc::new(Float32Array::from_iter_values(ranked().map(|(_, hit)| hit.distance)))),
        ("share_right", Arc::new(Float64Array::from_iter(ranked().map(|(_, hit)| hit.share_right)))),
        ("source", Arc::new(StringArray::from_iter_values(ranked().map(|(_, hit)| &hit.source)))),
    ];
    Table::new(columns, &["share_right"])
}

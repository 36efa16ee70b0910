//! Approximate search with what a stage `index` wrote.

use dnc_kernels::neighbours::Neighbours;
use dnc_kernels::neighbours::inverted::InvertedLists;
use dnc_stages::api::{ArtifactKind, Columns};
use dnc_stages::tables::index::{Index, RecallRow};

use super::error::SearchError;
use crate::pages::evidence::{EMBEDDINGS, Evidence};

/// The kind of stage, and the name of its input and of its output.
const STAGE: &str = "index";

/// An index of the embeddings of an evaluation. Its vectors stay in the mapped file.
pub(super) struct Indexed {
    table: Index,
    /// The numbers of the rows.
    rows: Vec<u32>,
    /// Which rows are searched.
    is_searched: Vec<bool>,
    chosen: RecallRow,
}

impl Indexed {
    /// The index of the embeddings that `node` wrote, to search the images of the split `gallery`; none if the run has no such index, or
    /// the store no longer has it.
    pub(super) fn open(evidence: &Evidence, node: &str, gallery: &str) -> Result<Option<Self>, SearchError> {
        let embeddings = Some((node.to_owned(), EMBEDDINGS.to_owned()));
        let is_wanted = |name: &str| evidence.feed(name, EMBEDDINGS) == embeddings;
        let mut nodes = evidence.json.nodes.iter().filter(|node| node.stage == STAGE && is_wanted(&node.node));
        let Some(node) = nodes.next() else { return Ok(None) };
        let artifact = evidence.open(&node.node, STAGE, ArtifactKind::Index, Columns::All, |_| true)?;
        let Some(table) = artifact.as_ref().map(Index::open).transpose()? else { return Ok(None) };
        let Some(chosen) = table.chosen() else { return Ok(None) };
        let rows = (0..table.len() as u32).collect();
        let is_searched = table.splits()?.into_iter().map(|split| split.name() == gallery).collect();
        Ok(Some(Self { table, rows, is_searched, chosen }))
    }

    /// Image of each row.
    pub(super) fn ids(&self) -> Result<&[u32], SearchError> {
        Ok(self.table.ids()?)
    }

    /// `[rows, dim]`.
    pub(super) fn vectors(&self) -> Result<&[f32], SearchError> {
        Ok(self.table.vectors()?)
    }

    /// Number of rows that are searched.
    pub(super) fn len(&self) -> usize {
        self.is_searched.iter().filter(|is_searched| **is_searched).count()
    }

    /// How much is found.
    pub(super) fn recall(&self) -> RecallRow {
        self.chosen
    }

    /// The rows among the `k` nearest to each of `queries`, `[queries, dim]`, that are found in the probed lists.
    pub(super) fn nearest(&self, queries: &[f32], k: usize) -> Result<Neighbours, SearchError> {
        let table = &self.table;
        let lists = InvertedLists::new(table.vectors()?, table.dim()?, &self.rows, table.ends()?, table.centroids()?)?;
        Ok(lists.nearest(queries, k, self.chosen.probes as usize, |_, row| !self.is_searched[row as usize])?)
    }
}

//! The tables of each kind of artifact.

use crate::kind::ArtifactKind;
use crate::schema::TableSchema;
use crate::{
    assignments, contents, embeddings, history, images, index, metrics, model, nuisances, pixels, queries, skipped,
    summary, views,
};

impl ArtifactKind {
    /// The tables of an artifact of this kind, the main one first; empty for plain files.
    pub fn tables(self) -> Vec<TableSchema> {
        match self {
            ArtifactKind::Images => {
                vec![images::schema(), pixels::schema(self), contents::schema(), skipped::schema()]
            }
            ArtifactKind::Summary => vec![summary::schema()],
            ArtifactKind::Views => vec![views::schema(), pixels::schema(self)],
            ArtifactKind::Embeddings => vec![embeddings::schema()],
            ArtifactKind::Index => vec![index::schema(), index::lists_schema(), index::recall_schema()],
            ArtifactKind::Assignments => {
                vec![assignments::schema(), assignments::centroids_schema(), assignments::agreement_schema()]
            }
            ArtifactKind::Model => vec![model::schema(), model::moments_schema(), model::state_schema()],
            ArtifactKind::History => vec![history::schema()],
            ArtifactKind::Metrics => vec![metrics::schema()],
            ArtifactKind::Queries => vec![queries::schema()],
            ArtifactKind::Nuisances => vec![nuisances::schema()],
            ArtifactKind::Files => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;
    use crate::facets::Facets;

    #[test]
    fn every_column_of_every_table_has_a_unit_and_a_meaning() {
        for schema in ArtifactKind::ALL.into_iter().flat_map(ArtifactKind::tables) {
            for field in schema.columns.fields() {
                assert!(Facets::new(&Schema::new(vec![field.clone()])).is_ok(), "{field}");
                for key in ["unit", "meaning"] {
                    assert!(field.metadata().get(key).is_some_and(|text| !text.is_empty()), "{field}");
                }
            }
        }
    }
}

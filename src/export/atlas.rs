//! Embeddings, their map, pictures and neighbours as one Parquet file, which Embedding Atlas opens.
//!
//! Source: the documentation of Apple's `embedding-atlas`: `neighbors` are positions of rows with distances, an image is a structure of
//! its bytes and its path, as in data sets of Hugging Face.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{Float32Type, Int64Type};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, ListArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use dnc_kernels::neighbours::Gallery;
use parquet::arrow::ArrowWriter;

use super::error::ExportError;
use super::subject::Subject;
use super::{Written, files};
use crate::pages::PagesError;
use crate::pages::analysis::map::Map;
use crate::pages::evidence::{Catalogue, Embedded};
use crate::pages::thumbnails::Thumbnails;

/// Neighbours of an image.
const NEIGHBOURS: usize = 10;
/// Rows that are held in memory at a time.
const CHUNK: usize = 8_192;
const FILE: &str = "embeddings.parquet";

/// Writes the folder.
pub(super) fn write(subject: &Subject, folder: &Path) -> Result<Written, ExportError> {
    let embedded = subject.embedded()?;
    if embedded.ids.len() < 2 {
        return Err(ExportError::Lacking(format!(
            "`{}` has a single embedding, which has no neighbours",
            embedded.node
        )));
    }
    let catalogue = Catalogue::read(&subject.evidence, &[])?;
    let map = Map::new(&subject.evidence, &embedded)?;
    let mut shown = embedded.ids.clone();
    shown.sort_unstable();
    let thumbnails = Thumbnails::of(&subject.evidence, catalogue.entries().len(), &shown)?;
    let path = folder.join(FILE);
    let failed = |source: std::io::Error| ExportError::Write { path: path.clone(), source };
    let table = Rows { embedded: &embedded, catalogue: &catalogue, map: map.as_ref(), thumbnails: thumbnails.as_ref() };
    let written = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut writer: Option<ArrowWriter<File>> = None;
        for first in (0..embedded.ids.len()).step_by(CHUNK) {
            let batch = table.batch(first, CHUNK.min(embedded.ids.len() - first))?;
            if writer.is_none() {
                writer = Some(ArrowWriter::try_new(File::create(&path)?, batch.schema(), None)?);
            }
            if let Some(writer) = &mut writer {
                writer.write(&batch)?;
            }
        }
        writer.map(ArrowWriter::close).transpose()?;
        Ok(())
    };
    written().map_err(|error| failed(std::io::Error::other(error)))?;
    files::write(&folder.join("README.md"), readme(map.is_some(), thumbnails.is_some()))?;
    let what = format!("{} embeddings of `{}`", embedded.ids.len(), embedded.node);
    Ok(Written { what, details: FILE.to_owned(), card: None })
}

/// What the rows are made of.
struct Rows<'a> {
    embedded: &'a Embedded,
    catalogue: &'a Catalogue,
    map: Option<&'a Map>,
    thumbnails: Option<&'a Thumbnails>,
}

impl Rows<'_> {
    /// The rows from `first` on.
    fn batch(&self, first: usize, count: usize) -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>> {
        let Embedded { ids, labels, splits, vectors, dim, .. } = self.embedded;
        let rows = first..first + count;
        let queries = &vectors[first * dim..][..count * dim];
        let found = Gallery::new(vectors, *dim).and_then(|gallery| {
            gallery.nearest(queries, NEIGHBOURS.min(ids.len() - 1), |query, row| first + query == row as usize)
        });
        let found = found.map_err(|error| PagesError::Derive { what: "neighbours", source: error.into() })?;
        let nearest_is_right: BooleanArray = (0..count)
            .map(|query| found.of(query).0.first().map(|&row| labels[row as usize] == labels[first + query]))
            .collect();
        let positions = ListArray::from_iter_primitive::<Int64Type, _, _>(
            (0..count).map(|query| Some(found.of(query).0.iter().map(|&row| Some(i64::from(row))))),
        );
        let distances = ListArray::from_iter_primitive::<Float32Type, _, _>(
            (0..count).map(|query| Some(found.of(query).1.iter().map(|&squared| Some(squared.sqrt())))),
        );
        let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(
            queries.chunks_exact(*dim).map(|vector| Some(vector.iter().map(|&value| Some(value)))),
        );
        let text = |value: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.clone().map(value)))
        };
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("image_id", Arc::new(UInt32Array::from_iter_values(ids[rows.clone()].iter().copied()))),
            ("class", text(&|row| self.catalogue.class(labels[row]))),
            ("split", text(&|row| splits[row].name().to_owned())),
            ("nearest_is_right", Arc::new(nearest_is_right)),
        ];
        if let Some(map) = self.map {
            let axis = |places: &[f32]| -> ArrayRef {
                Arc::new(Float32Array::from_iter_values(places[rows.clone()].iter().copied()))
            };
            columns.push(("x", axis(&map.plane.x)));
            columns.push(("y", axis(&map.plane.y)));
        }
        columns.push(("vector", Arc::new(vectors)));
        columns.push((
            "neighbors",
            Arc::new(structure([("ids", Arc::new(positions)), ("distances", Arc::new(distances))])?),
        ));
        if let Some(thumbnails) = self.thumbnails {
            let jpegs: BinaryArray = ids[rows.clone()].iter().map(|&id| thumbnails.jpeg(id)).collect();
            let paths = text(&|row| self.catalogue.source(ids[row]).to_owned());
            columns.push(("image", Arc::new(structure([("bytes", Arc::new(jpegs)), ("path", paths)])?)));
        }
        let fields: Vec<Field> =
            columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

/// A column of structures.
fn structure(parts: [(&str, ArrayRef); 2]) -> Result<StructArray, ArrowError> {
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, DataType::clone(column.data_type()), true);
    let fields = Fields::from_iter(parts.iter().map(field));
    StructArray::try_new(fields, parts.map(|(_, column)| column).to_vec(), None::<NullBuffer>)
}

fn readme(has_map: bool, has_pictures: bool) -> String {
    let map = if has_map { " --x x --y y" } else { "" };
    let image = if has_pictures { " --image image" } else { "" };
    let missing = match (has_map, has_pictures) {
        (true, true) => "",
        (true, false) => "\n\nThere is no column `image`: the pictures are no longer in the store.",
        (false, _) => "\n\nThere is no map: there are too few embeddings, or they are no longer in the store.",
    };
    format!(
        "# Embeddings exported by `dnc-run`\n\n```sh\npip install embedding-atlas\n\
         embedding-atlas {FILE}{map} --vector vector --neighbors neighbors{image}\n```\n\n\
         `neighbors` are the ten nearest rows in the embedding, not on the map. `nearest_is_right`: whether the nearest is of the same \
         class.{missing}\n"
    )
}

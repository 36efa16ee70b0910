//! A model: one row per tensor, and the moments of the optimiser in a file of their own.
//!
//! Its facets are coarser than columns, since names of tensors are of no use without values: `parameters` (names, types,
//! shapes, values and the architecture), `moments` and `step`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{UInt32Type, UInt64Type};
use arrow::array::{ArrayRef, AsArray, LargeBinaryArray, ListArray, StringArray, UInt64Array};
use arrow::datatypes::DataType;
use candle_core::DType;
use dnc_learn::model as learn;
use dnc_learn::subspaces::MASKS;
use dnc_learn::weights::NamedTensor;
use serde_json::Value;

use crate::artifact::Columns;
use crate::artifact::FacetDigests;
use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::facets::{Facet, Facets};
use crate::file::{Form, TableWriter, batch};
use crate::finite::check_tensors;
use crate::kind::ArtifactKind;
use crate::schema::{TableSchema, column, list};
use crate::table::Table;

/// The facet of the tensors and the architecture.
pub const PARAMETERS: &str = "parameters";
/// The facet of the optimiser's moments.
pub const MOMENTS: &str = "moments";
/// The facet of the number of optimiser steps taken.
pub const STEP: &str = "step";

/// The schema of the table of the model's tensors.
pub fn schema() -> TableSchema {
    TableSchema::new(ArtifactKind::Model, "model", tensor_columns())
}

/// The schema of the table of the optimiser's moments, in a file of its own.
pub fn moments_schema() -> TableSchema {
    TableSchema::new(ArtifactKind::Model, "moments", tensor_columns())
}

/// The schema of the table of architecture and training state, beside them: one row.
pub fn state_schema() -> TableSchema {
    TableSchema::new(
        ArtifactKind::Model,
        "state",
        vec![
            column(
                "architecture",
                DataType::Utf8,
                "JSON",
                "architecture of the model: backbone, embedding dimension and so on",
            ),
            column("step", DataType::UInt64, "steps", "number of optimiser steps taken"),
        ],
    )
}

/// A model and its training state.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The architecture, from which a reader can build the model: backbone, embedding dimension and so on.
    pub architecture: Value,
    /// Its tensors, by name.
    pub parameters: Vec<NamedTensor>,
    /// The optimiser's moments, by names that the optimiser chose. Empty if the port did not declare [`MOMENTS`].
    pub moments: Vec<NamedTensor>,
    /// Number of optimiser steps taken. 0 if the port did not declare [`STEP`].
    pub step: u64,
}

/// Writes a model.
///
/// # Errors
/// A file cannot be written.
pub fn write(output: &mut OutputArtifact, model: &Model) -> Result<(), TableError> {
    write_files(&output.folder, model)?;
    output.facets.extend(facets(model)?);
    Ok(())
}

/// Writes the model's three files into `folder`, for instance as a checkpoint.
///
/// # Errors
/// A file cannot be written.
pub fn write_files(folder: &Path, model: &Model) -> Result<(), TableError> {
    write_tensors(folder, &schema(), &model.parameters)?;
    write_tensors(folder, &moments_schema(), &model.moments)?;
    let state = state_schema();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![model.architecture.to_string()])),
        Arc::new(UInt64Array::from(vec![model.step])),
    ];
    let mut writer = TableWriter::create(&folder.join("state.arrow"), Form::Arrow, &state.columns)?;
    writer.write(&batch(&state.columns, columns)?)?;
    writer.finish()
}

impl Model {
    /// Opens those of [`PARAMETERS`], [`MOMENTS`] and [`STEP`] of an artifact that the port declared.
    ///
    /// # Errors
    /// A file is damaged or a tensor has more or fewer bytes than its shape needs.
    pub fn open(artifact: &InputArtifact) -> Result<Self, TableError> {
        Self::read(&artifact.columns, |name| artifact.file(name).map(Path::to_path_buf))
    }

    /// Reads the model's three files from `folder`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read_files(folder: &Path) -> Result<Self, TableError> {
        Self::read(&Columns::All, |name| Ok(folder.join(name)))
    }

    /// The masks of the learners, `[learners, dim]`; `None` if it has none, as before its first training.
    pub fn masks(&self) -> Option<&NamedTensor> {
        self.parameters.iter().find(|tensor| tensor.name == MASKS)
    }

    /// The network with this architecture.
    ///
    /// # Errors
    /// The architecture is malformed, or names a backbone that does not exist.
    pub fn network(&self) -> Result<learn::Model, TableError> {
        let architecture: learn::Architecture = serde_json::from_value(self.architecture.clone())
            .map_err(|source| TableError::Architecture { action: "read", source: source.into() })?;
        learn::Model::build(&architecture)
            .map_err(|source| TableError::Architecture { action: "build", source: source.into() })
    }

    fn read(
        declared: &Columns,
        path: impl Fn(&str) -> Result<std::path::PathBuf, TableError>,
    ) -> Result<Self, TableError> {
        let mut model = Model { architecture: Value::Null, parameters: Vec::new(), moments: Vec::new(), step: 0 };
        let rows = Table::read(&path("state.arrow")?, "state.arrow", Columns::All, state_schema())?;
        if rows.len() != 1 {
            return Err(TableError::ModelState { found: rows.len() });
        }
        if declared.contains(PARAMETERS) {
            let text = rows.array("architecture")?.as_string::<i32>().value(0);
            model.architecture = serde_json::from_str(text)
                .map_err(|source| TableError::arrow("read the column `architecture` of `state.arrow`", source))?;
            model.parameters = read_tensors(&path("model.arrow")?, schema())?;
        }
        if declared.contains(MOMENTS) {
            model.moments = read_tensors(&path("moments.arrow")?, moments_schema())?;
        }
        if declared.contains(STEP) {
            model.step = rows.numbers::<UInt64Type>("step")?.value(0);
        }
        Ok(model)
    }
}

/// The facets of a model that another program wrote into `folder`.
pub(crate) fn facets_of_folder(folder: &Path) -> Result<FacetDigests, TableError> {
    facets(&Model::read_files(folder)?)
}

/// The digests of `parameters`, `moments` and `step`, once all values are known to be finite.
fn facets(model: &Model) -> Result<FacetDigests, TableError> {
    check_tensors(&model.parameters)?;
    check_tensors(&model.moments)?;
    let mut architecture = text_facet();
    architecture.update(&StringArray::from(vec![model.architecture.to_string()]));
    let mut step = Facet::new(&DataType::UInt64).expect("numbers have an encoding");
    step.update(&UInt64Array::from(vec![model.step]));
    let parameters = tensors_facet(&model.parameters, Some(architecture.finish()))?;
    let facets = [(PARAMETERS, parameters), (MOMENTS, tensors_facet(&model.moments, None)?), (STEP, step.finish())];
    Ok(facets.map(|(name, digest)| (name.to_owned(), digest)).into())
}

fn text_facet() -> Facet {
    Facet::new(&DataType::Utf8).expect("text has an encoding")
}

/// The digest of the digests of all columns.
fn tensors_facet(tensors: &[NamedTensor], first: Option<[u8; 32]>) -> Result<[u8; 32], TableError> {
    let schema = schema();
    let mut facets = Facets::new(&schema.columns)?;
    facets.update(&tensor_batch(&schema, tensors)?);
    let mut all = blake3::Hasher::new_derive_key("dnc 2026 tensors");
    for digest in first.into_iter().chain(facets.finish().map(|(_, digest)| digest)) {
        all.update(&digest);
    }
    Ok(*all.finalize().as_bytes())
}

fn tensor_columns() -> Vec<arrow::datatypes::Field> {
    vec![
        column(
            "name",
            DataType::Utf8,
            "none",
            "name of the tensor: as in torchvision for the backbone; `embedding.weight`, `masks` …",
        ),
        column("dtype", DataType::Utf8, "none", "type of the values, as named in candle and safetensors"),
        column("shape", list(DataType::UInt32), "none", "length along each axis"),
        column("values", DataType::LargeBinary, "none", "values in row-major order, little-endian"),
    ]
}

fn write_tensors(folder: &Path, schema: &TableSchema, tensors: &[NamedTensor]) -> Result<(), TableError> {
    let path = folder.join(format!("{}.arrow", schema.name));
    let mut writer = TableWriter::create(&path, Form::Arrow, &schema.columns)?;
    writer.write(&tensor_batch(schema, tensors)?)?;
    writer.finish()
}

fn tensor_batch(schema: &TableSchema, tensors: &[NamedTensor]) -> Result<arrow::array::RecordBatch, TableError> {
    let shape = |tensor: &NamedTensor| Some(tensor.shape.iter().map(|&n| Some(n as u32)).collect::<Vec<_>>());
    let shapes = ListArray::from_iter_primitive::<UInt32Type, _, _>(tensors.iter().map(shape));
    let (_, offsets, values, nulls) = shapes.into_parts();
    let item = Arc::new(arrow::datatypes::Field::new_list_field(DataType::UInt32, false));
    let shapes = ListArray::try_new(item, offsets, values, nulls)
        .map_err(|source| TableError::arrow("make the column `shape`", source))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(tensors.iter().map(|tensor| &tensor.name))),
        Arc::new(StringArray::from_iter_values(tensors.iter().map(|tensor| tensor.dtype.as_str()))),
        Arc::new(shapes),
        Arc::new(LargeBinaryArray::from_iter_values(tensors.iter().map(|tensor| &tensor.bytes))),
    ];
    batch(&schema.columns, columns)
}

fn read_tensors(path: &Path, schema: TableSchema) -> Result<Vec<NamedTensor>, TableError> {
    let file = format!("{}.arrow", schema.name);
    let rows = Table::read(path, &file, Columns::All, schema)?;
    let names = rows.array("name")?.as_string::<i32>();
    let dtypes = rows.array("dtype")?.as_string::<i32>();
    let shapes = rows.array("shape")?.as_list::<i32>();
    let values = rows.array("values")?.as_binary::<i64>();
    let tensor = |row: usize| {
        let dtype: DType = dtypes.value(row).parse().map_err(|source| {
            TableError::arrow(format!("read the tensor `{}` of `{file}`", names.value(row)), source)
        })?;
        let shape = shapes.value(row);
        let shape: Vec<usize> = shape.as_primitive::<UInt32Type>().values().iter().map(|&n| n as usize).collect();
        let bytes = values.value(row).to_vec();
        // Another program may have written any shape.
        let expected = shape.iter().fold(dtype.size_in_bytes(), |bytes, &length| bytes.saturating_mul(length));
        if bytes.len() != expected {
            let item = format!("The tensor `{}` of `{file}`", names.value(row));
            return Err(TableError::Length { item, found: bytes.len(), expected });
        }
        Ok(NamedTensor { name: names.value(row).to_owned(), dtype, shape, bytes })
    };
    (0..rows.len()).map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Written, written};

    fn tensor(name: &str, shape: &[usize], first: f32) -> NamedTensor {
        let count: usize = shape.iter().product();
        let bytes = (0..count).flat_map(|n| (first + n as f32).to_le_bytes()).collect();
        NamedTensor { name: name.to_owned(), dtype: DType::F32, shape: shape.to_vec(), bytes }
    }

    fn model() -> Model {
        Model {
            architecture: serde_json::json!({ "backbone": "small", "dimension": 4 }),
            parameters: vec![tensor("conv1.weight", &[2, 3], 0.5), tensor("scale", &[], 7.0)],
            moments: vec![tensor("conv1.weight.first", &[2, 3], 0.0)],
            step: 12,
        }
    }

    #[test]
    fn a_model_comes_back_and_each_part_has_its_facet() {
        let write = |model: &Model| written(ArtifactKind::Model, |output| write(output, model)).unwrap();
        let Written { input, output: before, .. } = &write(&model());
        assert_eq!(Model::open(input).unwrap(), model());
        let check = |changed: Model, facets: &[&str]| {
            let after = write(&changed).output;
            let different: Vec<_> =
                before.facets.keys().filter(|key| before.facets[*key] != after.facets[*key]).collect();
            assert_eq!(different, facets);
        };
        check(Model { step: 13, ..model() }, &["step"]);
        check(Model { moments: Vec::new(), ..model() }, &["moments"]);
        check(Model { architecture: Value::Null, ..model() }, &["parameters"]);
        check(Model { parameters: vec![tensor("conv1.weight", &[3, 2], 0.5)], ..model() }, &["parameters"]);
    }

    #[test]
    fn a_port_sees_the_parts_that_it_declared() {
        let Written { input, .. } = &written(ArtifactKind::Model, |output| write(output, &model())).unwrap();
        let columns = Columns::Named(vec![PARAMETERS.to_owned()]);
        let seen = Model::open(&InputArtifact { columns, ..input.clone() }).unwrap();
        assert_eq!(seen, Model { moments: Vec::new(), step: 0, ..model() });
    }

    #[test]
    fn a_folder_of_another_program_has_the_same_facets() {
        let Written { output, .. } = &written(ArtifactKind::Model, |output| write(output, &model())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), &model()).unwrap();
        assert_eq!(facets_of_folder(folder.path()).unwrap(), output.facets);
        let short = Model { parameters: vec![NamedTensor { shape: vec![9], ..tensor("x", &[2], 0.0) }], ..model() };
        write_files(folder.path(), &short).unwrap();
        insta::assert_snapshot!(
            Model::read_files(folder.path()).unwrap_err(),
            @"The tensor `x` of `model.arrow` has 8 bytes instead of 36"
        );
        let huge = NamedTensor { shape: vec![u32::MAX as usize; 3], ..tensor("x", &[2], 0.0) };
        write_files(folder.path(), &Model { parameters: vec![huge], ..model() }).unwrap();
        assert!(matches!(Model::read_files(folder.path()), Err(TableError::Length { found: 8, .. })));
    }
}

//! A model: a row a tensor, and the optimiser's moments in a file apart.
//!
//! Its facets are coarser than columns, since nobody wants the names of a model without its values: `parameters` (names,
//! types, shapes, values and what the model is), `moments` and `step`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::types::{UInt32Type, UInt64Type};
use arrow::array::{ArrayRef, AsArray, LargeBinaryArray, ListArray, StringArray, UInt64Array};
use arrow::datatypes::DataType;
use candle_core::DType;
use dnc_learn::model as learn;
use dnc_learn::weights::NamedTensor;
use serde_json::Value;

use super::facets::{Facet, Facets};
use super::file::{Form, TableWriter, batch};
use super::rows::Rows;
use super::schema::{Description, column, list};
use super::written::FacetDigests;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::Columns;

/// The facet of the tensors and of what the model is.
pub const PARAMETERS: &str = "parameters";
/// The facet of the optimiser's moments.
pub const MOMENTS: &str = "moments";
/// The facet of the number of optimiser steps taken.
pub const STEP: &str = "step";

/// The table of the model's tensors.
pub fn description() -> Description {
    Description::new(Kind::Model, "model", tensor_columns())
}

/// The table of the optimiser's moments, in a file apart.
pub fn moments() -> Description {
    Description::new(Kind::Model, "moments", tensor_columns())
}

/// The table of what the model is and how far it is trained, beside them: one row.
pub fn state() -> Description {
    Description::new(
        Kind::Model,
        "state",
        vec![
            column("architecture", DataType::Utf8, "JSON", "what the model is: backbone, dimension and the rest"),
            column("step", DataType::UInt64, "steps", "how many steps the optimiser has taken"),
        ],
    )
}

/// A model and its training state.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What the model is, so that a reader can build it: backbone, embedding dimension and the rest.
    pub architecture: Value,
    /// Its tensors, by name.
    pub parameters: Vec<NamedTensor>,
    /// The optimiser's moments, by names that the optimiser chose. Empty where the port did not declare [`MOMENTS`].
    pub moments: Vec<NamedTensor>,
    /// How many steps the optimiser has taken. 0 where the port did not declare [`STEP`].
    pub step: u64,
}

/// Writes a model as the output called `output`.
///
/// # Errors
/// A file cannot be written.
pub fn write(context: &mut Context<'_>, output: &str, model: &Model) -> Result<(), StageError> {
    let folder = context.output(output)?;
    write_files(&folder, model)?;
    let (parameters, moments, step) = facets(model)?;
    context.facet(output, PARAMETERS, parameters)?;
    context.facet(output, MOMENTS, moments)?;
    context.facet(output, STEP, step)
}

/// Writes the model's three files into `folder`, for instance as a checkpoint in a stage's scratch folder.
///
/// # Errors
/// A file cannot be written.
pub fn write_files(folder: &Path, model: &Model) -> Result<(), StageError> {
    write_tensors(folder, &description(), &model.parameters)?;
    write_tensors(folder, &moments(), &model.moments)?;
    let state = state();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![model.architecture.to_string()])),
        Arc::new(UInt64Array::from(vec![model.step])),
    ];
    let mut writer = TableWriter::create(&folder.join("state.arrow"), Form::Arrow, &state.schema)?;
    writer.write(&batch(&state.schema, columns)?)?;
    writer.finish()
}

impl Model {
    /// Opens the model of a port, as far as the port declared [`PARAMETERS`], [`MOMENTS`] and [`STEP`].
    ///
    /// # Errors
    /// A file is damaged or its tensors are not what their shapes say.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        Self::gather(&artifact.columns, |name| artifact.file(name).map(Path::to_path_buf))
    }

    /// Reads the model's three files from `folder`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read_files(folder: &Path) -> Result<Self, StageError> {
        Self::gather(&Columns::All, |name| Ok(folder.join(name)))
    }

    /// The network that it is the state of.
    ///
    /// # Errors
    /// The description is not one of ours, or names what there is not.
    pub fn network(&self) -> Result<learn::Model, StageError> {
        let architecture: learn::Architecture = serde_json::from_value(self.architecture.clone())
            .map_err(|source| StageError::compute("read what the model is", source))?;
        learn::Model::build(&architecture).map_err(|source| StageError::compute("build the model", source))
    }

    fn gather(
        declared: &Columns,
        path: impl Fn(&str) -> Result<std::path::PathBuf, StageError>,
    ) -> Result<Self, StageError> {
        let sees = |facet: &str| match declared {
            Columns::All => true,
            Columns::Named(names) => names.iter().any(|name| name == facet),
        };
        let mut model = Model { architecture: Value::Null, parameters: Vec::new(), moments: Vec::new(), step: 0 };
        let rows = Rows::read(&path("state.arrow")?, "state.arrow", Columns::All, state())?;
        if rows.len() != 1 {
            return Err(StageError::input(format!(
                "The file `state.arrow` of a model has {} rows, not one",
                rows.len()
            )));
        }
        if sees(PARAMETERS) {
            let text = rows.array("architecture")?.as_string::<i32>().value(0);
            model.architecture = serde_json::from_str(text)
                .map_err(|source| StageError::table("read the column `architecture` of `state.arrow`", source))?;
            model.parameters = read_tensors(&path("model.arrow")?, description())?;
        }
        if sees(MOMENTS) {
            model.moments = read_tensors(&path("moments.arrow")?, moments())?;
        }
        if sees(STEP) {
            model.step = rows.numbers::<UInt64Type>("step")?.value(0);
        }
        Ok(model)
    }
}

/// The facets of a model that another program wrote into `folder`.
pub(super) fn facets_of_folder(folder: &Path) -> Result<FacetDigests, StageError> {
    let (parameters, moments, step) = facets(&Model::read_files(folder)?)?;
    Ok([(PARAMETERS, parameters), (MOMENTS, moments), (STEP, step)]
        .map(|(name, facet)| (name.to_owned(), facet))
        .into())
}

/// The digests of `parameters`, `moments` and `step`.
fn facets(model: &Model) -> Result<([u8; 32], [u8; 32], [u8; 32]), StageError> {
    let mut architecture = text_facet();
    architecture.update(&StringArray::from(vec![model.architecture.to_string()]));
    let mut step = Facet::new(&DataType::UInt64).expect("numbers have an encoding");
    step.update(&UInt64Array::from(vec![model.step]));
    let parameters = tensors_facet(&model.parameters, Some(architecture.finish()))?;
    Ok((parameters, tensors_facet(&model.moments, None)?, step.finish()))
}

fn text_facet() -> Facet {
    Facet::new(&DataType::Utf8).expect("text has an encoding")
}

/// The digest of the columns' digests.
fn tensors_facet(tensors: &[NamedTensor], first: Option<[u8; 32]>) -> Result<[u8; 32], StageError> {
    let description = description();
    let mut facets = Facets::new(&description.schema)?;
    facets.update(&tensor_batch(&description, tensors)?);
    let mut all = blake3::Hasher::new_derive_key("dnc 2026 tensors");
    for digest in first.into_iter().chain(facets.finish().map(|(_, digest)| digest)) {
        all.update(&digest);
    }
    Ok(*all.finalize().as_bytes())
}

fn tensor_columns() -> Vec<arrow::datatypes::Field> {
    vec![
        column("name", DataType::Utf8, "none", "torchvision's name for the backbone; `embedding.weight`, `masks` …"),
        column("dtype", DataType::Utf8, "none", "type of the values, as candle and safetensors call it"),
        column("shape", list(DataType::UInt32), "none", "length along each axis"),
        column("values", DataType::LargeBinary, "none", "the values, little-endian, row-major"),
    ]
}

fn write_tensors(folder: &Path, description: &Description, tensors: &[NamedTensor]) -> Result<(), StageError> {
    let path = folder.join(format!("{}.arrow", description.name));
    let mut writer = TableWriter::create(&path, Form::Arrow, &description.schema)?;
    writer.write(&tensor_batch(description, tensors)?)?;
    writer.finish()
}

fn tensor_batch(description: &Description, tensors: &[NamedTensor]) -> Result<arrow::array::RecordBatch, StageError> {
    let shape = |tensor: &NamedTensor| Some(tensor.shape.iter().map(|&n| Some(n as u32)).collect::<Vec<_>>());
    let shapes = ListArray::from_iter_primitive::<UInt32Type, _, _>(tensors.iter().map(shape));
    let (_, offsets, values, nulls) = shapes.into_parts();
    let item = Arc::new(arrow::datatypes::Field::new_list_field(DataType::UInt32, false));
    let shapes = ListArray::try_new(item, offsets, values, nulls)
        .map_err(|source| StageError::table("make the column `shape`", source))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(tensors.iter().map(|tensor| &tensor.name))),
        Arc::new(StringArray::from_iter_values(tensors.iter().map(|tensor| tensor.dtype.as_str()))),
        Arc::new(shapes),
        Arc::new(LargeBinaryArray::from_iter_values(tensors.iter().map(|tensor| &tensor.bytes))),
    ];
    batch(&description.schema, columns)
}

fn read_tensors(path: &Path, description: Description) -> Result<Vec<NamedTensor>, StageError> {
    let file = format!("{}.arrow", description.name);
    let rows = Rows::read(path, &file, Columns::All, description)?;
    let names = rows.array("name")?.as_string::<i32>();
    let dtypes = rows.array("dtype")?.as_string::<i32>();
    let shapes = rows.array("shape")?.as_list::<i32>();
    let values = rows.array("values")?.as_binary::<i64>();
    let tensor = |row: usize| {
        let dtype: DType = dtypes.value(row).parse().map_err(|source| {
            StageError::table(format!("read the tensor `{}` of `{file}`", names.value(row)), source)
        })?;
        let shape = shapes.value(row);
        let shape: Vec<usize> = shape.as_primitive::<UInt32Type>().values().iter().map(|&n| n as usize).collect();
        let bytes = values.value(row).to_vec();
        let expected = shape.iter().product::<usize>() * dtype.size_in_bytes();
        if bytes.len() != expected {
            let (name, found) = (names.value(row), bytes.len());
            return Err(StageError::input(format!(
                "The tensor `{name}` of `{file}` has {found} bytes instead of {expected}"
            )));
        }
        Ok(NamedTensor { name: names.value(row).to_owned(), dtype, shape, bytes })
    };
    (0..rows.len()).map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Workshop;

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
        let shop = Workshop::new();
        let written =
            |model: &Model| shop.write(Kind::Model, "model", |context| write(context, "model", model)).unwrap();
        let (artifact, before) = written(&model());
        assert_eq!(Model::open(&artifact).unwrap(), model());
        let check = |changed: Model, facets: &[&str]| {
            let (_, after) = written(&changed);
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
        let shop = Workshop::new();
        let (artifact, _) = shop.write(Kind::Model, "model", |context| write(context, "model", &model())).unwrap();
        let columns = Columns::Named(vec![PARAMETERS.to_owned()]);
        let seen = Model::open(&InputArtifact { columns, ..artifact }).unwrap();
        assert_eq!(seen, Model { moments: Vec::new(), step: 0, ..model() });
    }

    #[test]
    fn a_folder_of_another_program_has_the_same_facets() {
        let shop = Workshop::new();
        let (_, written) = shop.write(Kind::Model, "model", |context| write(context, "model", &model())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path(), &model()).unwrap();
        assert_eq!(facets_of_folder(folder.path()).unwrap(), written.facets);
        let short = Model { parameters: vec![NamedTensor { shape: vec![9], ..tensor("x", &[2], 0.0) }], ..model() };
        write_files(folder.path(), &short).unwrap();
        insta::assert_snapshot!(
            Model::read_files(folder.path()).unwrap_err(),
            @"The tensor `x` of `model.arrow` has 8 bytes instead of 36"
        );
    }
}

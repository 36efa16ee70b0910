//! Augmented views: for each view of each image, the random parameters of its augmentation. The loader applies them when it
//! reads an image, unless the resulting pixels are stored beside this table ([`crate::pixels`]), one row per view.
//!
//! A null parameter means that the operation is skipped. Operations are applied in the order of the columns: crop, flip,
//! colour jitter (its four factors in the drawn order), greyscale, blur, rotation, cutout, JPEG artefacts, chromatic
//! aberration.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::types::{Float32Type, UInt8Type, UInt16Type};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, PrimitiveArray, RecordBatch, UInt8Array, UInt16Array,
    UInt32Array,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType};

use crate::artifact::{InputArtifact, OutputArtifact};
use crate::error::TableError;
use crate::facets::Facets;
use crate::file::{Form, TableWriter, batch};
use crate::kind::ArtifactKind;
use crate::pixels::{PIXELS, PixelParts};
use crate::schema::{TableSchema, column, optional};
use crate::table::Table;

/// The schema of the table.
pub fn schema() -> TableSchema {
    use DataType::{Boolean, Float32, UInt8, UInt16, UInt32};
    TableSchema::new(
        ArtifactKind::Views,
        "views",
        vec![
            column("id", UInt32, "none", "the image, as in the table of images"),
            column("view", UInt32, "none", "number of the view of that image, from 0"),
            column("top", UInt16, "pixels", "first row of the crop"),
            column("left", UInt16, "pixels", "first column of the crop"),
            column("height", UInt16, "pixels", "rows of the crop"),
            column("width", UInt16, "pixels", "columns of the crop"),
            column("flip", Boolean, "none", "whether the view is mirrored horizontally"),
            optional("brightness", Float32, "factor", "brightness factor; values below 1 darken"),
            optional("contrast", Float32, "factor", "contrast factor; values below 1 move towards the mean grey"),
            optional("saturation", Float32, "factor", "saturation factor; values below 1 move towards grey"),
            optional("hue", Float32, "turns", "shift of the hue around the colour circle, -0.5 to 0.5"),
            optional(
                "order",
                UInt8,
                "none",
                "index of the order in which the four colour factors are applied, 0 to 23",
            ),
            column("grey", Boolean, "none", "whether the view is converted to greyscale"),
            optional("blur", Float32, "pixels", "standard deviation of a Gaussian blur"),
            optional("rotation", Float32, "degrees", "rotation about the centre, counter-clockwise"),
            optional("cutout_top", Float32, "fraction of the view", "first row of the erased box"),
            optional("cutout_left", Float32, "fraction of the view", "first column of the erased box"),
            optional("cutout_height", Float32, "fraction of the view", "rows of the erased box"),
            optional("cutout_width", Float32, "fraction of the view", "columns of the erased box"),
            optional(
                "jpeg",
                UInt8,
                "quality",
                "JPEG quality at which the view is compressed and decompressed, 1 to 100",
            ),
            optional("aberration", Float32, "factor", "red is scaled about the centre by 1 + s, blue by 1 - s"),
        ],
    )
}

/// A box within an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First row.
    pub top: u16,
    /// First column.
    pub left: u16,
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// The augmentation parameters of one view of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The part of the image that is cropped and resized.
    pub crop: Region,
    /// Whether the view is mirrored horizontally.
    pub flip: bool,
    /// Colour jitter, if any.
    pub colour: Option<Colour>,
    /// Whether the view is converted to greyscale.
    pub grey: bool,
    /// Standard deviation of a Gaussian blur, in pixels of the view.
    pub blur: Option<f32>,
    /// Degrees, counter-clockwise about the centre.
    pub rotation: Option<f32>,
    /// The erased box: top, left, height and width, as fractions of the view.
    pub cutout: Option<[f32; 4]>,
    /// JPEG quality at which the view is compressed and decompressed.
    pub jpeg: Option<u8>,
    /// Chromatic aberration: red is scaled by 1 + s about the centre, blue by 1 − s.
    pub aberration: Option<f32>,
}

/// Colour jitter: factors and the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    /// Factor of brightness.
    pub brightness: f32,
    /// Factor of contrast.
    pub contrast: f32,
    /// Factor of saturation.
    pub saturation: f32,
    /// Shift of the hue, in turns of the colour circle.
    pub hue: f32,
    /// The order of the four factors: index of the permutation in lexicographic order, 0 to 23.
    pub order: u8,
}

impl View {
    /// A view that only crops.
    pub fn of(crop: Region) -> Self {
        View {
            crop,
            flip: false,
            colour: None,
            grey: false,
            blur: None,
            rotation: None,
            cutout: None,
            jpeg: None,
            aberration: None,
        }
    }
}

/// A view and its image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewRow {
    /// The image.
    pub id: u32,
    /// Number of the view of that image, from 0.
    pub view: u32,
    /// Its augmentation parameters.
    pub draws: View,
}

/// Writes views batch by batch.
pub struct ViewsWriter {
    schema: TableSchema,
    facets: Facets,
    writer: TableWriter,
}

impl ViewsWriter {
    /// Begins the table in `output`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(output: &OutputArtifact) -> Result<Self, TableError> {
        let schema = schema();
        let writer = TableWriter::create(&output.folder.join("views.parquet"), Form::Parquet, &schema.columns)?;
        Ok(Self { facets: Facets::new(&schema.columns)?, schema, writer })
    }

    /// Appends rows, sorted by image and then view.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, rows: &[ViewRow]) -> Result<(), TableError> {
        let batch = columns_of(&self.schema, rows)?;
        self.facets.update(&batch);
        self.writer.write(&batch)
    }

    /// Closes the file and adds the digests of its columns to `output`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self, output: &mut OutputArtifact) -> Result<(), TableError> {
        self.writer.finish()?;
        output.facets.extend(self.facets.finish());
        Ok(())
    }
}

/// Augmented views, as read.
pub struct Views {
    rows: Table,
    /// Row of the first view of each image; the views of an image are in consecutive rows.
    first: HashMap<u32, usize>,
    per_image: usize,
    /// The pixels of each view, if they were materialised.
    pixels: Option<PixelParts>,
}

impl Views {
    /// Opens the views of an artifact. At least `id`, `view` and the columns of the crop and the flip must be declared; operations
    /// whose columns are not declared are skipped.
    ///
    /// # Errors
    /// The file is damaged, a declared column is missing, or the images do not all have the same views.
    pub fn open(artifact: &InputArtifact) -> Result<Self, TableError> {
        let rows = Table::open(artifact, schema())?;
        let (ids, views) = (rows.u32s("id")?, rows.u32s("view")?);
        let per_image = ids.iter().take_while(|&&id| id == ids[0]).count();
        let mut first = HashMap::new();
        for (row, (&id, &view)) in ids.iter().zip(views).enumerate() {
            if row % per_image == 0 {
                first.insert(id, row);
            }
            let is_in_order = view as usize == row % per_image && first.get(&id) == Some(&(row - row % per_image));
            if !is_in_order || ids.len() % per_image != 0 {
                let (node, last) = (artifact.node.clone(), per_image - 1);
                return Err(TableError::ViewOrder { node, last, row, view, id });
            }
        }
        let pixels = PixelParts::open(artifact, PIXELS, rows.len())?;
        Ok(Self { rows, first, per_image, pixels })
    }

    /// Number of views of each image.
    pub fn per_image(&self) -> usize {
        self.per_image
    }

    /// The view numbered `view` of the image numbered `id`; numbers beyond the last wrap around to the first.
    ///
    /// # Errors
    /// The image has no views.
    pub fn view(&self, id: u32, view: u64) -> Result<View, TableError> {
        self.draws(self.row(id, view)?)
    }

    /// The pixels of the same view, `[side, side, 3]`, if the views were materialised.
    ///
    /// # Errors
    /// The image has no views.
    pub fn materialised(&self, id: u32, view: u64) -> Result<Option<&[u8]>, TableError> {
        self.pixels.as_ref().map(|pixels| Ok(pixels.row(self.row(id, view)?))).transpose()
    }

    fn row(&self, id: u32, view: u64) -> Result<usize, TableError> {
        let first = self.first.get(&id).ok_or_else(|| TableError::NoViews { id })?;
        Ok(first + (view % self.per_image as u64) as usize)
    }

    fn draws(&self, row: usize) -> Result<View, TableError> {
        let crop = self.four::<UInt16Type>(row, ["top", "left", "height", "width"])?;
        let [top, left, height, width] = crop.ok_or_else(|| TableError::Undeclared {
            what: "a view without its columns `top`, `left`, `height` and `width`".to_owned(),
        })?;
        let colour = match self.value::<UInt8Type>(row, "order")? {
            None => None,
            Some(order) => Some(Colour {
                brightness: self.value::<Float32Type>(row, "brightness")?.unwrap_or(1.0),
                contrast: self.value::<Float32Type>(row, "contrast")?.unwrap_or(1.0),
                saturation: self.value::<Float32Type>(row, "saturation")?.unwrap_or(1.0),
                hue: self.value::<Float32Type>(row, "hue")?.unwrap_or(0.0),
                order,
            }),
        };
        Ok(View {
            crop: Region { top, left, height, width },
            flip: self.flag(row, "flip")?,
            colour,
            grey: self.flag(row, "grey")?,
            blur: self.value::<Float32Type>(row, "blur")?,
            rotation: self.value::<Float32Type>(row, "rotation")?,
            cutout: self.four::<Float32Type>(row, ["cutout_top", "cutout_left", "cutout_height", "cutout_width"])?,
            jpeg: self.value::<UInt8Type>(row, "jpeg")?,
            aberration: self.value::<Float32Type>(row, "aberration")?,
        })
    }

    fn value<T: ArrowPrimitiveType>(&self, row: usize, column: &str) -> Result<Option<T::Native>, TableError> {
        if !self.rows.is_declared(column) {
            return Ok(None);
        }
        let values: &PrimitiveArray<T> = self.rows.numbers(column)?;
        Ok(values.is_valid(row).then(|| values.value(row)))
    }

    fn flag(&self, row: usize, column: &str) -> Result<bool, TableError> {
        Ok(self.rows.is_declared(column) && self.rows.array(column)?.as_boolean().value(row))
    }

    /// The values of four columns, if none is null or undeclared.
    fn four<T: ArrowPrimitiveType>(
        &self,
        row: usize,
        columns: [&str; 4],
    ) -> Result<Option<[T::Native; 4]>, TableError> {
        let mut values = [T::Native::default(); 4];
        for (value, column) in values.iter_mut().zip(columns) {
            let Some(found) = self.value::<T>(row, column)? else { return Ok(None) };
            *value = found;
        }
        Ok(Some(values))
    }
}

fn columns_of(schema: &TableSchema, rows: &[ViewRow]) -> Result<RecordBatch, TableError> {
    let crop = |side: fn(&Region) -> u16| -> ArrayRef {
        Arc::new(UInt16Array::from_iter_values(rows.iter().map(|row| side(&row.draws.crop))))
    };
    let colour = |factor: fn(&Colour) -> f32| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.draws.colour.as_ref().map(factor)).collect::<Float32Array>())
    };
    let cutout = |side: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.draws.cutout.map(|sides| sides[side])).collect::<Float32Array>())
    };
    let draw = |value: fn(&View) -> Option<f32>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| value(&row.draws)).collect::<Float32Array>())
    };
    let flag = |value: fn(&View) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(value(&row.draws)))))
    };
    let small = |value: fn(&View) -> Option<u8>| -> ArrayRef {
        Arc::new(rows.iter().map(|row| value(&row.draws)).collect::<UInt8Array>())
    };
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.id))) as ArrayRef,
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.view))),
        crop(|region| region.top),
        crop(|region| region.left),
        crop(|region| region.height),
        crop(|region| region.width),
        flag(|view| view.flip),
        colour(|colour| colour.brightness),
        colour(|colour| colour.contrast),
        colour(|colour| colour.saturation),
        colour(|colour| colour.hue),
        small(|view| view.colour.map(|colour| colour.order)),
        flag(|view| view.grey),
        draw(|view| view.blur),
        draw(|view| view.rotation),
        cutout(0),
        cutout(1),
        cutout(2),
        cutout(3),
        small(|view| view.jpeg),
        draw(|view| view.aberration),
    ];
    batch(&schema.columns, columns)
}

//! The plan of each augmentation: for every image and view what is drawn. The loader applies it when it reads, unless the
//! pixels that come of it lie beside ([`super::pixels`]), a row for each view.
//!
//! A null draw means that the operation is left out. Operations are applied in the order of the columns: crop, flip,
//! colour jitter (its four factors in the drawn order), grey, blur, rotation, cutout, JPEG artefacts, chromatic
//! aberration.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::types::{Float32Type, UInt8Type, UInt16Type};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, PrimitiveArray, RecordBatch, UInt8Array, UInt16Array,
    UInt32Array,
};
use arrow::datatypes::{ArrowPrimitiveType, DataType};

use super::facets::Facets;
use super::file::{Form, TableWriter, batch};
use super::pixels::{PIXELS, PixelParts};
use super::rows::Rows;
use super::schema::{Description, column, optional};
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// The columns that say where to crop and whether to flip: what geometry alone needs.
pub const GEOMETRY: [&str; 7] = ["id", "view", "top", "left", "height", "width", "flip"];

/// The table.
pub fn description() -> Description {
    use DataType::{Boolean, Float32, UInt8, UInt16, UInt32};
    Description::new(
        Kind::Views,
        "views",
        vec![
            column("id", UInt32, "none", "the image, as in the table of images"),
            column("view", UInt32, "none", "number of the view of that image"),
            column("top", UInt16, "pixels", "first row of the crop"),
            column("left", UInt16, "pixels", "first column of the crop"),
            column("height", UInt16, "pixels", "rows of the crop"),
            column("width", UInt16, "pixels", "columns of the crop"),
            column("flip", Boolean, "none", "whether left and right change places"),
            optional("brightness", Float32, "factor", "towards black below 1"),
            optional("contrast", Float32, "factor", "towards the mean grey below 1"),
            optional("saturation", Float32, "factor", "towards grey below 1"),
            optional("hue", Float32, "turns", "shift round the circle of hues, -0.5 to 0.5"),
            optional("order", UInt8, "none", "which of the 24 orders the four colour factors are applied in"),
            column("grey", Boolean, "none", "whether all colour is taken away"),
            optional("blur", Float32, "pixels", "standard deviation of a Gaussian blur"),
            optional("rotation", Float32, "degrees", "counter-clockwise about the centre"),
            optional("cutout_top", Float32, "share of the view", "first row of the erased box"),
            optional("cutout_left", Float32, "share of the view", "first column of the erased box"),
            optional("cutout_height", Float32, "share of the view", "rows of the erased box"),
            optional("cutout_width", Float32, "share of the view", "columns of the erased box"),
            optional("jpeg", UInt8, "quality", "compressed and decompressed at this quality"),
            optional("aberration", Float32, "share", "red is scaled about the centre by 1 + s, blue by 1 - s"),
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

/// What is drawn for one view of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// What is cut out of the image and resized.
    pub crop: Region,
    /// Whether left and right change places.
    pub flip: bool,
    /// Changes of colour, where there are any.
    pub colour: Option<Colour>,
    /// Whether all colour is taken away.
    pub grey: bool,
    /// Standard deviation of a Gaussian blur, in pixels of the view.
    pub blur: Option<f32>,
    /// Degrees, counter-clockwise about the centre.
    pub rotation: Option<f32>,
    /// What is erased: top, left, height and width, as shares of the view.
    pub cutout: Option<[f32; 4]>,
    /// The quality at which the view is compressed and decompressed.
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
    /// Shift of hue, in turns.
    pub hue: f32,
    /// Which of the 24 orders: the index of the permutation in lexicographic order.
    pub order: u8,
}

impl View {
    /// The view that only crops.
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

/// A view with the image that it is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewRow {
    /// The image.
    pub id: u32,
    /// Number of the view of that image.
    pub view: u32,
    /// What is drawn.
    pub draws: View,
}

/// Writes views batch by batch.
pub struct ViewsWriter {
    output: String,
    description: Description,
    facets: Facets,
    writer: TableWriter,
}

impl ViewsWriter {
    /// Begins the table as the output called `output`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(context: &mut Context<'_>, output: &str) -> Result<Self, StageError> {
        let description = description();
        let path = context.output(output)?.join("views.parquet");
        let writer = TableWriter::create(&path, Form::Parquet, &description.schema)?;
        Ok(Self { output: output.to_owned(), facets: Facets::new(&description.schema)?, description, writer })
    }

    /// Appends rows, sorted by image and then view.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn push(&mut self, rows: &[ViewRow]) -> Result<(), StageError> {
        let batch = columns_of(&self.description, rows)?;
        self.facets.update(&batch);
        self.writer.write(&batch)
    }

    /// Closes the file and notes the columns' digests.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self, context: &mut Context<'_>) -> Result<(), StageError> {
        self.writer.finish()?;
        self.facets.note(context, &self.output, None)
    }
}

/// The plan of each augmentation, as read.
pub struct Views {
    rows: Rows,
    /// Row of the first view of each image; views of an image lie together, in order.
    first: HashMap<u32, usize>,
    per_image: usize,
    /// Where they were materialised.
    pixels: Option<PixelParts>,
}

impl Views {
    /// Opens the views of a port. It must have declared at least the columns of [`GEOMETRY`]; a draw whose columns it did
    /// not declare is taken as left out.
    ///
    /// # Errors
    /// The file is damaged, a declared column is not there, or the images do not all have the same views.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        let rows = Rows::open(artifact, description())?;
        let (ids, views) = (rows.u32s("id")?, rows.u32s("view")?);
        let per_image = ids.iter().take_while(|&&id| id == ids[0]).count();
        let mut first = HashMap::new();
        for (place, (&id, &view)) in ids.iter().zip(views).enumerate() {
            if place % per_image == 0 {
                first.insert(id, place);
            }
            let regular = view as usize == place % per_image && first.get(&id) == Some(&(place - place % per_image));
            if !regular || ids.len() % per_image != 0 {
                let node = &artifact.node;
                let message = format!(
                    "The views of `{node}` are not the views 0 to {} of each image in turn: row {place} is view {view} of \
                     image {id}",
                    per_image - 1
                );
                return Err(StageError::input(message));
            }
        }
        let pixels = PixelParts::open(artifact, PIXELS, rows.len())?;
        Ok(Self { rows, first, per_image, pixels })
    }

    /// How many views each image has.
    pub fn per_image(&self) -> usize {
        self.per_image
    }

    /// The view numbered `view` of the image numbered `id`; numbers beyond the last start again at the first.
    ///
    /// # Errors
    /// The image has no views.
    pub fn view(&self, id: u32, view: u64) -> Result<View, StageError> {
        self.draws(self.row(id, view)?)
    }

    /// The pixels of the same view, `[side, side, 3]`, where the views were materialised.
    ///
    /// # Errors
    /// The image has no views.
    pub fn made(&self, id: u32, view: u64) -> Result<Option<&[u8]>, StageError> {
        self.pixels.as_ref().map(|pixels| Ok(pixels.row(self.row(id, view)?))).transpose()
    }

    fn row(&self, id: u32, view: u64) -> Result<usize, StageError> {
        let first = self.first.get(&id).ok_or_else(|| StageError::input(format!("The image {id} has no views")))?;
        Ok(first + (view % self.per_image as u64) as usize)
    }

    fn draws(&self, row: usize) -> Result<View, StageError> {
        let crop = self.four::<UInt16Type>(row, ["top", "left", "height", "width"])?;
        let [top, left, height, width] = crop.ok_or_else(|| StageError::Undeclared {
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

    fn value<T: ArrowPrimitiveType>(&self, row: usize, column: &str) -> Result<Option<T::Native>, StageError> {
        if !self.rows.is_declared(column) {
            return Ok(None);
        }
        let values: &PrimitiveArray<T> = self.rows.numbers(column)?;
        Ok(values.is_valid(row).then(|| values.value(row)))
    }

    fn flag(&self, row: usize, column: &str) -> Result<bool, StageError> {
        Ok(self.rows.is_declared(column) && self.rows.array(column)?.as_boolean().value(row))
    }

    /// The values of four columns, where all are there.
    fn four<T: ArrowPrimitiveType>(
        &self,
        row: usize,
        columns: [&str; 4],
    ) -> Result<Option<[T::Native; 4]>, StageError> {
        let mut values = [T::Native::default(); 4];
        for (value, column) in values.iter_mut().zip(columns) {
            let Some(found) = self.value::<T>(row, column)? else { return Ok(None) };
            *value = found;
        }
        Ok(Some(values))
    }
}

fn columns_of(description: &Description, rows: &[ViewRow]) -> Result<RecordBatch, StageError> {
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
    batch(&description.schema, columns)
}

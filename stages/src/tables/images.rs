//! Decoded images with their labels and splits, in parts, so that neither writing nor reading holds them all in memory.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::types::{UInt16Type, UInt32Type};
use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BinaryBuilder, StringArray, StringDictionaryBuilder, UInt16Array, UInt32Array,
};
use arrow::datatypes::DataType;

use super::facets::Facets;
use super::file::{Form, TableWriter, batch};
use super::rows::{Rows, files, no_table};
use super::schema::{Description, category, column, optional};
use super::split::{self, Split};
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;

/// Bytes of pixels after which a part is closed. Fixed: the parts are what the store hashes, shares and maps.
pub const PART_BYTES: usize = 32 << 20;

/// The table.
pub fn description() -> Description {
    Description::new(
        Kind::Images,
        "images",
        vec![
            column("id", DataType::UInt32, "none", "number of the image, in the order of the data set"),
            column("label", DataType::UInt32, "none", "the image's class, numbered by first appearance"),
            column("class", category(), "none", "name of the class"),
            column("split", split::data_type(), "none", "train, validation, test, query or gallery"),
            optional("camera", DataType::UInt16, "none", "the camera, where the data set tells it"),
            column(
                "source",
                DataType::Utf8,
                "none",
                "where the image is from: a file, a row, or what the data set says",
            ),
            column("height", DataType::UInt16, "pixels", "rows of pixels"),
            column("width", DataType::UInt16, "pixels", "columns of pixels"),
            column(
                "pixels",
                DataType::Binary,
                "grey levels of 255",
                "red, green and blue, row by row [height, width, 3]",
            ),
        ],
    )
}

/// One image, to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow<'a> {
    /// Its class as a number.
    pub label: u32,
    /// Its class as a name.
    pub class: &'a str,
    /// What it is for.
    pub split: Split,
    /// The camera, where the data set tells it.
    pub camera: Option<u16>,
    /// Where it is from.
    pub source: &'a str,
    /// Rows of pixels.
    pub height: u16,
    /// Columns of pixels.
    pub width: u16,
    /// `[height, width, 3]`.
    pub pixels: &'a [u8],
}

/// Writes images one by one, numbers them, and closes a part whenever it is full.
pub struct ImagesWriter {
    folder: PathBuf,
    output: String,
    description: Description,
    facets: Facets,
    parts: usize,
    images: u32,
    part: Part,
}

/// The columns of the part in hand.
#[derive(Default)]
struct Part {
    ids: Vec<u32>,
    labels: Vec<u32>,
    classes: StringDictionaryBuilder<UInt32Type>,
    splits: Vec<Split>,
    cameras: Vec<Option<u16>>,
    sources: Vec<String>,
    heights: Vec<u16>,
    widths: Vec<u16>,
    pixels: BinaryBuilder,
}

impl ImagesWriter {
    /// Begins the table as the output called `output`.
    ///
    /// # Errors
    /// The output's folder cannot be made.
    pub fn create(context: &mut Context<'_>, output: &str) -> Result<Self, StageError> {
        let description = description();
        Ok(Self {
            folder: context.output(output)?,
            output: output.to_owned(),
            facets: Facets::new(&description.schema)?,
            description,
            parts: 0,
            images: 0,
            part: Part::default(),
        })
    }

    /// Appends an image and returns its id: its place among all images written.
    ///
    /// # Errors
    /// The pixels are not `height × width × 3`, or the part that it fills cannot be written.
    pub fn push(&mut self, row: &ImageRow<'_>) -> Result<u32, StageError> {
        let expected = usize::from(row.height) * usize::from(row.width) * 3;
        if row.pixels.len() != expected {
            let (found, source) = (row.pixels.len(), row.source);
            return Err(StageError::input(format!(
                "The image `{source}` has {found} bytes of pixels instead of {expected}"
            )));
        }
        let id = self.images;
        self.images += 1;
        let part = &mut self.part;
        part.ids.push(id);
        part.labels.push(row.label);
        part.classes.append_value(row.class);
        part.splits.push(row.split);
        part.cameras.push(row.camera);
        part.sources.push(row.source.to_owned());
        part.heights.push(row.height);
        part.widths.push(row.width);
        part.pixels.append_value(row.pixels);
        if part.pixels.values_slice().len() >= PART_BYTES {
            self.close_part()?;
        }
        Ok(id)
    }

    /// Writes the last part and notes the columns' digests.
    ///
    /// # Errors
    /// The part cannot be written.
    pub fn finish(mut self, context: &mut Context<'_>) -> Result<(), StageError> {
        if !self.part.ids.is_empty() || self.parts == 0 {
            self.close_part()?;
        }
        self.facets.note(context, &self.output, None)
    }

    fn close_part(&mut self) -> Result<(), StageError> {
        let mut part = std::mem::take(&mut self.part);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(part.ids)),
            Arc::new(UInt32Array::from(part.labels)),
            Arc::new(part.classes.finish()),
            Arc::new(split::array(&part.splits)),
            Arc::new(UInt16Array::from(part.cameras)),
            Arc::new(StringArray::from(part.sources)),
            Arc::new(UInt16Array::from(part.heights)),
            Arc::new(UInt16Array::from(part.widths)),
            Arc::new(part.pixels.finish()),
        ];
        let rows = batch(&self.description.schema, columns)?;
        let path = self.folder.join(format!("images-{:05}.arrow", self.parts));
        let mut writer = TableWriter::create(&path, Form::Arrow, &self.description.schema)?;
        writer.write(&rows)?;
        writer.finish()?;
        self.facets.update(&rows);
        self.parts += 1;
        Ok(())
    }
}

/// Decoded images, as read. Pixels stay in the mapped files.
pub struct Images {
    parts: Vec<Rows>,
    /// Row at which each part begins, and at the end the number of rows.
    starts: Vec<usize>,
    /// Sorted by id where ids are not simply `0, 1, 2 …`.
    rows_by_id: Option<Vec<(u32, u32)>>,
}

impl Images {
    /// Opens the images of a port.
    ///
    /// # Errors
    /// A file is damaged, or a declared column is not there.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        let mut parts = Vec::new();
        for file in files(artifact, "images") {
            parts.push(Rows::read(&file.path, &file.name, artifact.columns.clone(), description())?);
        }
        let first = parts.first().ok_or_else(|| no_table(artifact, "images"))?;
        let knows_ids = first.is_declared("id");
        let mut starts = vec![0];
        starts.extend(parts.iter().scan(0, |end, part| {
            *end += part.len();
            Some(*end)
        }));
        let mut images = Self { parts, starts, rows_by_id: None };
        if knows_ids && images.ids()?.iter().enumerate().any(|(row, &id)| row != id as usize) {
            let mut pairs: Vec<(u32, u32)> = images.ids()?.into_iter().zip(0..).collect();
            pairs.sort_unstable();
            images.rows_by_id = Some(pairs);
        }
        Ok(images)
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        *self.starts.last().expect("the list begins with 0")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of the image numbered `id`, where there is one. Needs `id` to be declared unless ids are row numbers.
    pub fn row(&self, id: u32) -> Option<usize> {
        match &self.rows_by_id {
            None => Some(id as usize).filter(|&row| row < self.len()),
            Some(pairs) => {
                let place = pairs.binary_search_by_key(&id, |pair| pair.0).ok()?;
                Some(pairs[place].1 as usize)
            }
        }
    }

    /// Number of each image.
    ///
    /// # Errors
    /// The port did not declare `id`.
    pub fn ids(&self) -> Result<Vec<u32>, StageError> {
        self.gather(|part| Ok(part.u32s("id")?.to_vec()))
    }

    /// Label of each image.
    ///
    /// # Errors
    /// The port did not declare `label`.
    pub fn labels(&self) -> Result<Vec<u32>, StageError> {
        self.gather(|part| Ok(part.u32s("label")?.to_vec()))
    }

    /// Name of each image's class.
    ///
    /// # Errors
    /// The port did not declare `class`.
    pub fn classes(&self) -> Result<Vec<&str>, StageError> {
        self.gather(|part| Ok(part.texts("class")?.collect()))
    }

    /// Split of each image.
    ///
    /// # Errors
    /// The port did not declare `split`, or a value is no split.
    pub fn splits(&self) -> Result<Vec<Split>, StageError> {
        self.gather(|part| split::parse_all(part.texts("split")?))
    }

    /// Camera of each image.
    ///
    /// # Errors
    /// The port did not declare `camera`.
    pub fn cameras(&self) -> Result<Vec<Option<u16>>, StageError> {
        self.gather(|part| Ok(part.numbers::<UInt16Type>("camera")?.iter().collect()))
    }

    /// Where each image is from.
    ///
    /// # Errors
    /// The port did not declare `source`.
    pub fn sources(&self) -> Result<Vec<&str>, StageError> {
        self.gather(|part| Ok(part.array("source")?.as_string::<i32>().iter().flatten().collect()))
    }

    /// Height and width of each image.
    ///
    /// # Errors
    /// The port did not declare `height` and `width`.
    pub fn sizes(&self) -> Result<Vec<(u16, u16)>, StageError> {
        self.gather(|part| {
            let heights = part.numbers::<UInt16Type>("height")?.values();
            let widths = part.numbers::<UInt16Type>("width")?.values();
            Ok(heights.iter().copied().zip(widths.iter().copied()).collect())
        })
    }

    /// The pixels of all images.
    ///
    /// # Errors
    /// The port did not declare `height`, `width` and `pixels`, or an image has another number of pixels than its size.
    pub fn pixels(&self) -> Result<Pixels<'_>, StageError> {
        let arrays = self.parts.iter().map(|part| Ok(part.array("pixels")?.as_binary::<i32>()));
        let pixels =
            Pixels { sizes: self.sizes()?, parts: arrays.collect::<Result<_, StageError>>()?, starts: &self.starts };
        for (row, &(height, width)) in pixels.sizes.iter().enumerate() {
            let (found, expected) = (pixels.of(row).pixels.len(), usize::from(height) * usize::from(width) * 3);
            if found != expected {
                let message = format!("The image in row {row} is {width} × {height} but has {found} bytes of pixels");
                return Err(StageError::input(message));
            }
        }
        Ok(pixels)
    }

    fn gather<'a, T>(&'a self, of: impl Fn(&'a Rows) -> Result<Vec<T>, StageError>) -> Result<Vec<T>, StageError> {
        let mut all = Vec::with_capacity(self.len());
        for part in &self.parts {
            all.extend(of(part)?);
        }
        Ok(all)
    }
}

/// The pixels of all images, in the mapped files.
pub struct Pixels<'a> {
    sizes: Vec<(u16, u16)>,
    parts: Vec<&'a BinaryArray>,
    starts: &'a [usize],
}

/// The pixels of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture<'a> {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// `[height, width, 3]`.
    pub pixels: &'a [u8],
}

impl<'a> Pixels<'a> {
    /// The image in row `row` of the table.
    ///
    /// # Panics
    /// There is no such row.
    pub fn of(&self, row: usize) -> Picture<'a> {
        let part = self.starts.partition_point(|&start| start <= row) - 1;
        let (height, width) = self.sizes[row];
        let pixels = self.parts[part].value(row - self.starts[part]);
        Picture { height: height.into(), width: width.into(), pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;
    use crate::stage::Columns;
    use crate::testing::Workshop;

    /// Writes `count` grey images of `side × side` pixels, whose class is told by `class`.
    fn write(
        context: &mut Context<'_>,
        count: usize,
        side: u16,
        class: impl Fn(usize) -> String,
    ) -> Result<(), StageError> {
        let mut writer = ImagesWriter::create(context, "images")?;
        for number in 0..count {
            let pixels = vec![number as u8; usize::from(side).pow(2) * 3];
            let row = ImageRow {
                label: number as u32 % 3,
                class: &class(number % 3),
                split: Split::ALL[number % 2],
                camera: (number % 2 == 0).then_some(7),
                source: &format!("{number}.png"),
                height: side,
                width: side,
                pixels: &pixels,
            };
            assert_eq!(writer.push(&row)?, number as u32);
        }
        writer.finish(context)
    }

    fn declaring(artifact: &InputArtifact, columns: &[&str]) -> InputArtifact {
        let columns = Columns::Named(columns.iter().map(|&column| column.to_owned()).collect());
        InputArtifact { columns, ..artifact.clone() }
    }

    #[test]
    fn what_is_written_is_read_across_parts() {
        let shop = Workshop::new();
        // Six images of 5.3 MB fill more than one part.
        let names = |n: usize| format!("class {n}");
        let (artifact, _) = shop.write(Kind::Images, "images", |context| write(context, 8, 1330, names)).unwrap();
        assert_eq!(
            artifact.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
            ["images-00000.arrow", "images-00001.arrow"]
        );
        let images = Images::open(&artifact).unwrap();
        assert_eq!(images.ids().unwrap(), (0..8).collect::<Vec<_>>());
        assert_eq!(images.labels().unwrap(), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(images.classes().unwrap()[5], "class 2");
        assert_eq!(images.splits().unwrap()[..2], [Split::Train, Split::Validation]);
        assert_eq!(images.cameras().unwrap()[..2], [Some(7), None]);
        assert_eq!(images.sources().unwrap()[7], "7.png");
        let pixels = images.pixels().unwrap();
        for row in 0..8 {
            let picture = pixels.of(row);
            assert_eq!((picture.height, picture.width), (1330, 1330));
            assert!(picture.pixels.iter().all(|&value| value == row as u8));
        }
    }

    #[test]
    fn a_renamed_class_changes_one_facet() {
        let shop = Workshop::new();
        let facets = |class: fn(usize) -> String| {
            shop.write(Kind::Images, "images", |context| write(context, 5, 4, class)).unwrap().1.facets
        };
        let (before, after) = (facets(|n| format!("a{n}")), facets(|n| format!("b{n}")));
        let changed: Vec<_> = before.keys().filter(|key| before[*key] != after[*key]).collect();
        assert_eq!(changed, ["class"]);
        assert_eq!(before.len(), 9);
    }

    #[test]
    fn an_undeclared_column_is_not_shown() {
        let shop = Workshop::new();
        let (artifact, _) =
            shop.write(Kind::Images, "images", |context| write(context, 3, 2, |n| n.to_string())).unwrap();
        let images = Images::open(&declaring(&artifact, &["id", "label"])).unwrap();
        assert_eq!(images.labels().unwrap(), [0, 1, 2]);
        let told = |result: Result<_, StageError>| result.err().unwrap().to_string();
        insta::assert_snapshot!(
            told(images.classes().map(drop)),
            @"The stage asked for the column `class` of the images without declaring it (a defect of the stage, please report it)"
        );
        assert!(matches!(images.pixels(), Err(StageError::Undeclared { .. })));
    }

    #[test]
    fn pixels_of_another_number_than_the_size_says_are_refused() {
        let shop = Workshop::new();
        let refused = shop.write(Kind::Images, "images", |context| {
            let mut writer = ImagesWriter::create(context, "images")?;
            let (split, pixels) = (Split::Test, [0; 11]);
            writer.push(&ImageRow {
                label: 0,
                class: "a",
                split,
                camera: None,
                source: "a.png",
                height: 2,
                width: 2,
                pixels: &pixels,
            })?;
            Ok(())
        });
        insta::assert_snapshot!(refused.unwrap_err(), @"The image `a.png` has 11 bytes of pixels instead of 12");
    }
}

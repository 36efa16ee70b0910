//! Decoded images with their labels and splits. All columns but one are in one file; the pixels are in parts
//! ([`super::pixels`]), so that neither writing nor reading holds them all in memory.
//!
//! Another program may write all columns into the same files instead.

use std::sync::Arc;

use arrow::array::types::{UInt16Type, UInt32Type};
use arrow::array::{ArrayRef, AsArray, StringArray, StringDictionaryBuilder, UInt16Array, UInt32Array};
use arrow::datatypes::DataType;

use super::file::{Form, batch};
use super::pixels::{PIXELS, PixelDigest, PixelParts, PixelsWriter};
use super::rows::{Rows, files, no_table};
use super::schema::{Description, category, column, optional};
use super::split::{self, Split};
use super::write_table;
use crate::context::{Context, InputArtifact};
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::Columns;

/// The table, without the pixels beside it.
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

/// Writes images one by one and numbers them.
pub struct ImagesWriter {
    output: String,
    rows: RowsInHand,
    pixels: PixelsWriter,
}

/// The columns as far as they are known: some hundred bytes an image, while pixels are written as they come.
#[derive(Default)]
struct RowsInHand {
    ids: Vec<u32>,
    labels: Vec<u32>,
    classes: StringDictionaryBuilder<UInt32Type>,
    splits: Vec<Split>,
    cameras: Vec<Option<u16>>,
    sources: Vec<String>,
    heights: Vec<u16>,
    widths: Vec<u16>,
}

impl ImagesWriter {
    /// Begins the table as the output called `output`.
    ///
    /// # Errors
    /// The output's folder cannot be made.
    pub fn create(context: &mut Context<'_>, output: &str) -> Result<Self, StageError> {
        let pixels = PixelsWriter::create(context, output, Kind::Images)?;
        Ok(Self { output: output.to_owned(), rows: RowsInHand::default(), pixels })
    }

    /// Appends an image and returns its id: its place among all images written.
    ///
    /// # Errors
    /// The pixels are not `height × width × 3`, or the part that ends with it cannot be written.
    pub fn push(&mut self, row: &ImageRow<'_>) -> Result<u32, StageError> {
        self.push_hashed(row, *blake3::hash(row.pixels).as_bytes())
    }

    /// As [`push`](Self::push), of pixels whose digest is known.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_hashed(&mut self, row: &ImageRow<'_>, digest: PixelDigest) -> Result<u32, StageError> {
        let expected = usize::from(row.height) * usize::from(row.width) * 3;
        if row.pixels.len() != expected {
            let (found, source) = (row.pixels.len(), row.source);
            return Err(StageError::input(format!(
                "The image `{source}` has {found} bytes of pixels instead of {expected}"
            )));
        }
        self.pixels.push(row.pixels, digest)?;
        Ok(self.rows.push(row))
    }

    /// Appends images whose pixels are the earlier artifact's part called `name`, as [`PixelsWriter::keep`] does; the
    /// pixels in `rows` are not looked at.
    pub fn keep(&mut self, name: &str, rows: &[ImageRow<'_>], digests: &[PixelDigest]) {
        self.pixels.keep(name, digests);
        for row in rows {
            self.rows.push(row);
        }
    }

    /// The digest of each image's pixels so far.
    pub fn pixel_digests(&self) -> &[PixelDigest] {
        self.pixels.digests()
    }

    /// Writes what is left and notes the columns' digests.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self, context: &mut Context<'_>) -> Result<(), StageError> {
        let Self { output, mut rows, pixels } = self;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(rows.ids)),
            Arc::new(UInt32Array::from(rows.labels)),
            Arc::new(rows.classes.finish()),
            Arc::new(split::array(&rows.splits)),
            Arc::new(UInt16Array::from(rows.cameras)),
            Arc::new(StringArray::from(rows.sources)),
            Arc::new(UInt16Array::from(rows.heights)),
            Arc::new(UInt16Array::from(rows.widths)),
        ];
        let description = description();
        write_table(context, &output, &description, Form::Arrow, &batch(&description.schema, columns)?)?;
        pixels.finish(context)
    }
}

impl RowsInHand {
    fn push(&mut self, row: &ImageRow<'_>) -> u32 {
        let id = self.ids.len() as u32;
        self.ids.push(id);
        self.labels.push(row.label);
        self.classes.append_value(row.class);
        self.splits.push(row.split);
        self.cameras.push(row.camera);
        self.sources.push(row.source.to_owned());
        self.heights.push(row.height);
        self.widths.push(row.width);
        id
    }
}

/// Decoded images, as read. Pixels stay in the mapped files.
pub struct Images {
    parts: Vec<Rows>,
    rows: usize,
    /// Where the port declared them.
    pixels: Option<PixelParts>,
    /// Sorted by id where ids are not simply `0, 1, 2 …`.
    rows_by_id: Option<Vec<(u32, u32)>>,
}

impl Images {
    /// Opens the images of a port.
    ///
    /// # Errors
    /// A file is damaged, a declared column is not there, or there are more or fewer pictures than rows.
    pub fn open(artifact: &InputArtifact) -> Result<Self, StageError> {
        let mut parts = Vec::new();
        for file in files(artifact, "images") {
            parts.push(Rows::read(&file.path, &file.name, artifact.columns.clone(), description())?);
        }
        let first = parts.first().ok_or_else(|| no_table(artifact, "images"))?;
        let knows_ids = first.is_declared("id");
        let rows = parts.iter().map(Rows::len).sum();
        let pixels = PixelParts::open(artifact, "images", rows)?;
        let mut images = Self { parts, rows, pixels, rows_by_id: None };
        if knows_ids && images.ids()?.iter().enumerate().any(|(row, &id)| row != id as usize) {
            let mut pairs: Vec<(u32, u32)> = images.ids()?.into_iter().zip(0..).collect();
            pairs.sort_unstable();
            images.rows_by_id = Some(pairs);
        }
        Ok(images)
    }

    /// Height and width of each image of an artifact whose pixels are not at hand.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sizes_of(artifact: &InputArtifact) -> Result<Vec<(u16, u16)>, StageError> {
        let columns = Columns::Named(["height", "width"].map(str::to_owned).to_vec());
        Self::open(&InputArtifact { columns, ..artifact.clone() })?.sizes()
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.rows
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
        let parts = self
            .pixels
            .as_ref()
            .ok_or_else(|| StageError::Undeclared { what: format!("the column `{PIXELS}` of the {}", Kind::Images) })?;
        let pixels = Pixels { sizes: self.sizes()?, parts };
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
    parts: &'a PixelParts,
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
        let (height, width) = self.sizes[row];
        Picture { height: height.into(), width: width.into(), pixels: self.parts.row(row) }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::super::file::TableWriter;
    use super::super::{facets_of_folder, pixels, read_file};
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
        // Of 5.3 MB an image, at most six fit a part.
        let names = |n: usize| format!("class {n}");
        let (artifact, _) = shop.write(Kind::Images, "images", |context| write(context, 8, 1330, names)).unwrap();
        let files: Vec<_> = artifact.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(files[..3], ["images.arrow", "pixels-00000.arrow", "pixels-00001.arrow"]);
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

    /// The images as another program may leave them: all columns in one file.
    #[test]
    fn pixels_among_the_other_columns_are_the_same_images() {
        let shop = Workshop::new();
        let names = |n: usize| n.to_string();
        let (artifact, written) = shop.write(Kind::Images, "images", |context| write(context, 5, 4, names)).unwrap();
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (file, description) in artifact.files.iter().zip([description(), pixels::description(Kind::Images)]) {
            let rows = read_file(&file.path, description.clone()).unwrap();
            for field in description.schema.fields() {
                fields.push(field.clone());
                columns.push(rows.array(field.name()).unwrap().clone());
            }
        }
        let (folder, schema) = (tempfile::tempdir().unwrap(), Arc::new(Schema::new(fields)));
        let mut writer = TableWriter::create(&folder.path().join("images.parquet"), Form::Parquet, &schema).unwrap();
        writer.write(&batch(&schema, columns).unwrap()).unwrap();
        writer.finish().unwrap();
        let (ours, theirs) =
            (Images::open(&artifact).unwrap(), Images::open(&crate::testing::artifact(Kind::Images, folder.path())));
        let (ours, theirs) = (ours.pixels().unwrap(), theirs.unwrap());
        assert!((0..5).all(|row| ours.of(row) == theirs.pixels().unwrap().of(row)));
        assert_eq!(facets_of_folder(Kind::Images, folder.path()).unwrap(), written.facets);
        assert_eq!(facets_of_folder(Kind::Images, &written.folder).unwrap(), written.facets);
    }

    #[test]
    fn as_many_pictures_as_rows() {
        let shop = Workshop::new();
        let write = |count| move |context: &mut Context<'_>| write(context, count, 4, |n| n.to_string());
        let (mut artifact, _) = shop.write(Kind::Images, "images", write(5)).unwrap();
        artifact.files[1] = shop.write(Kind::Images, "images", write(4)).unwrap().0.files[1].clone();
        insta::assert_snapshot!(
            Images::open(&artifact).err().unwrap(),
            @"The images of `images` are 5, but there are 4 pictures"
        );
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

//! Reading the table of images.

use arrow::array::AsArray;
use arrow::array::types::UInt16Type;

use super::schema::schema;
use crate::artifact::{Columns, InputArtifact};
use crate::error::TableError;
use crate::kind::ArtifactKind;
use crate::pictures::picture::Picture;
use crate::pixels::{PIXELS, PixelParts};
use crate::split::{self, Split};
use crate::table::{Table, files, missing_table};

/// Decoded images, as read. Pixels stay in the mapped files.
pub struct Images {
    parts: Vec<Table>,
    rows: usize,
    /// `None` if the port did not declare them.
    pixels: Option<PixelParts>,
    /// Pairs of id and row sorted by id; `None` if ids are row numbers.
    rows_by_id: Option<Vec<(u32, u32)>>,
}

impl Images {
    /// Opens the images of an artifact.
    ///
    /// # Errors
    /// A file is damaged, a declared column is missing, or the number of rows and of pixels differ.
    pub fn open(artifact: &InputArtifact) -> Result<Self, TableError> {
        let mut parts = Vec::new();
        for file in files(artifact, "images") {
            parts.push(Table::read(&file.path, &file.name, artifact.columns.clone(), schema())?);
        }
        let first = parts.first().ok_or_else(|| missing_table(artifact, "images"))?;
        let knows_ids = first.is_declared("id");
        let rows = parts.iter().map(Table::len).sum();
        let pixels = PixelParts::open(artifact, "images", rows)?;
        let mut images = Self { parts, rows, pixels, rows_by_id: None };
        if knows_ids && images.ids()?.iter().enumerate().any(|(row, &id)| row != id as usize) {
            let mut pairs: Vec<(u32, u32)> = images.ids()?.into_iter().zip(0..).collect();
            pairs.sort_unstable();
            images.rows_by_id = Some(pairs);
        }
        Ok(images)
    }

    /// Height and width of each image of an artifact whose files of pixels need not exist.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sizes_of(artifact: &InputArtifact) -> Result<Vec<(u16, u16)>, TableError> {
        let columns = Columns::Named(["height", "width"].map(str::to_owned).to_vec());
        Self::open(&InputArtifact { columns, ..artifact.clone() })?.sizes()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of the image numbered `id`, if it exists. The port must declare `id` unless ids are row numbers.
    pub fn row(&self, id: u32) -> Option<usize> {
        match &self.rows_by_id {
            None => Some(id as usize).filter(|&row| row < self.len()),
            Some(pairs) => {
                let found = pairs.binary_search_by_key(&id, |pair| pair.0).ok()?;
                Some(pairs[found].1 as usize)
            }
        }
    }

    /// Number of each image.
    ///
    /// # Errors
    /// The port did not declare `id`.
    pub fn ids(&self) -> Result<Vec<u32>, TableError> {
        self.gather(|part| Ok(part.u32s("id")?.to_vec()))
    }

    /// Label of each image.
    ///
    /// # Errors
    /// The port did not declare `label`.
    pub fn labels(&self) -> Result<Vec<u32>, TableError> {
        self.gather(|part| Ok(part.u32s("label")?.to_vec()))
    }

    /// Name of each image's class.
    ///
    /// # Errors
    /// The port did not declare `class`.
    pub fn classes(&self) -> Result<Vec<&str>, TableError> {
        self.gather(|part| Ok(part.texts("class")?.collect()))
    }

    /// Split of each image.
    ///
    /// # Errors
    /// The port did not declare `split`, or a value is not a split.
    pub fn splits(&self) -> Result<Vec<Split>, TableError> {
        self.gather(|part| Ok(split::parse_all(part.texts("split")?)?))
    }

    /// Camera of each image.
    ///
    /// # Errors
    /// The port did not declare `camera`.
    pub fn cameras(&self) -> Result<Vec<Option<u16>>, TableError> {
        self.gather(|part| Ok(part.numbers::<UInt16Type>("camera")?.iter().collect()))
    }

    /// Origin of each image.
    ///
    /// # Errors
    /// The port did not declare `source`.
    pub fn sources(&self) -> Result<Vec<&str>, TableError> {
        self.gather(|part| Ok(part.array("source")?.as_string::<i32>().iter().flatten().collect()))
    }

    /// Height and width of each image.
    ///
    /// # Errors
    /// The port did not declare `height` and `width`.
    pub fn sizes(&self) -> Result<Vec<(u16, u16)>, TableError> {
        self.gather(|part| {
            let heights = part.numbers::<UInt16Type>("height")?.values();
            let widths = part.numbers::<UInt16Type>("width")?.values();
            Ok(heights.iter().copied().zip(widths.iter().copied()).collect())
        })
    }

    /// The pixels of all images.
    ///
    /// # Errors
    /// The port did not declare `height`, `width` and `pixels`, or the pixels of an image do not have its size.
    pub fn pixels(&self) -> Result<Pixels<'_>, TableError> {
        let parts = self.pixels.as_ref().ok_or_else(|| TableError::Undeclared {
            what: format!("the column `{PIXELS}` of the {}", ArtifactKind::Images),
        })?;
        let pixels = Pixels { sizes: self.sizes()?, parts };
        for (row, &(height, width)) in pixels.sizes.iter().enumerate() {
            let (found, expected) = (pixels.of(row).pixels.len(), usize::from(height) * usize::from(width) * 3);
            if found != expected {
                let item = format!("The image in row {row} ({width} × {height} pixels)");
                return Err(TableError::Length { item, found, expected });
            }
        }
        Ok(pixels)
    }

    fn gather<'a, T>(&'a self, read: impl Fn(&'a Table) -> Result<Vec<T>, TableError>) -> Result<Vec<T>, TableError> {
        let mut all = Vec::with_capacity(self.len());
        for part in &self.parts {
            all.extend(read(part)?);
        }
        Ok(all)
    }
}

/// The pixels of all images, in the mapped files.
pub struct Pixels<'a> {
    sizes: Vec<(u16, u16)>,
    parts: &'a PixelParts,
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

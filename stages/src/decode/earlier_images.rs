//! The images of an earlier run of the same node, by content digest. Pixels of known contents are copied instead of decoded, and
//! a part of the pixel table whose images are all unchanged and in the same order is kept without being read.
//!
//! The parameters of the node were the same in the earlier run, so that the same bytes became the same pixels.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use dnc_tables::contents::{self, ContentDigest};
use dnc_tables::images::Images;
use dnc_tables::pictures::Raster;
use dnc_tables::pixels::{PartBoundaries, PixelDigest, PixelParts, part_name};

use super::error::DecodeError;
use crate::api::{EarlierArtifact, StageError};

/// The images of an earlier run.
pub struct EarlierImages<'run> {
    artifact: EarlierArtifact<'run>,
    contents: Vec<ContentDigest>,
    /// Digests of the pixels.
    digests: Vec<PixelDigest>,
    /// Height and width.
    sizes: Vec<(u16, u16)>,
    rows: HashMap<ContentDigest, usize>,
    parts: Vec<Part>,
    /// The parts that begin with an image of this content.
    parts_by_first: HashMap<ContentDigest, Vec<usize>>,
}

/// A part of the pixel table.
struct Part {
    name: String,
    rows: Range<usize>,
    /// Whether it ends there whatever follows. The last part need not.
    is_closed: bool,
    /// Opened when needed; `None` inside if its bytes are missing or damaged.
    pixels: OnceLock<Option<PixelParts>>,
}

/// A part that can be kept.
pub struct ReusablePart<'a> {
    /// Its name in the earlier artifact.
    pub name: &'a str,
    /// Digests of the pixels of its images.
    pub digests: &'a [PixelDigest],
    /// Heights and widths of its images.
    pub sizes: &'a [(u16, u16)],
}

impl<'run> EarlierImages<'run> {
    /// Opens them; `Ok(None)` if their tables are missing or damaged.
    ///
    /// # Errors
    /// A table cannot be read, or the tables do not fit together.
    pub fn open(artifact: &EarlierArtifact<'run>) -> Result<Option<Self>, StageError> {
        let Some(tables) = artifact.input(&["contents.arrow", "images.arrow"])? else { return Ok(None) };
        let (contents, digests) = contents::read(&tables)?;
        let sizes = Images::sizes_of(&tables)?;
        if contents.len() != sizes.len() {
            return Err(DecodeError::EarlierRun { contents: contents.len(), images: sizes.len() }.into());
        }
        let (mut parts, mut boundaries, mut start) = (Vec::new(), PartBoundaries::default(), 0);
        for (row, (digest, &(height, width))) in digests.iter().zip(&sizes).enumerate() {
            let is_closed = boundaries.push(digest, usize::from(height) * usize::from(width) * 3);
            if is_closed || row + 1 == sizes.len() {
                let name = part_name(parts.len());
                parts.push(Part { name, rows: start..row + 1, is_closed, pixels: OnceLock::new() });
                start = row + 1;
            }
        }
        parts.retain(|part| artifact.names.contains(&part.name));
        let mut parts_by_first: HashMap<ContentDigest, Vec<usize>> = HashMap::new();
        for (number, part) in parts.iter().enumerate() {
            parts_by_first.entry(contents[part.rows.start]).or_default().push(number);
        }
        let rows = contents.iter().copied().zip(0..).collect();
        Ok(Some(Self { artifact: artifact.clone(), contents, digests, sizes, rows, parts, parts_by_first }))
    }

    /// The pixels that these bytes were decoded to, if they are known.
    pub fn raster(&self, content: &ContentDigest) -> Option<Raster> {
        let row = *self.rows.get(content)?;
        let number = self.parts.partition_point(|part| part.rows.end <= row);
        let part = self.parts.get(number).filter(|part| part.rows.contains(&row))?;
        let open = || PixelParts::of_files(&self.artifact.input(&[&part.name]).ok()??).ok();
        let pixels = part.pixels.get_or_init(open).as_ref().filter(|pixels| pixels.len() == part.rows.len())?;
        let (height, width) = self.sizes[row];
        let (height, width, pixels) = (height.into(), width.into(), pixels.row(row - part.rows.start).to_vec());
        (pixels.len() == height * width * 3).then_some(Raster { height, width, pixels })
    }

    /// The part with exactly the first few of these images, if there is one.
    pub fn part(&self, contents: &[Option<ContentDigest>]) -> Option<ReusablePart<'_>> {
        let first = contents.first().copied().flatten()?;
        let fits = |part: &&Part| {
            let earlier = &self.contents[part.rows.clone()];
            let same = |now: &[Option<ContentDigest>]| earlier.iter().zip(now).all(|(then, now)| Some(*then) == *now);
            (part.is_closed || earlier.len() == contents.len()) && contents.get(..earlier.len()).is_some_and(same)
        };
        let part = self.parts_by_first.get(&first)?.iter().map(|&number| &self.parts[number]).find(fits)?;
        let rows = part.rows.clone();
        Some(ReusablePart { name: &part.name, digests: &self.digests[rows.clone()], sizes: &self.sizes[rows] })
    }
}

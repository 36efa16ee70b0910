//! What an earlier run of the same node decoded, by the digest of the encoded bytes: pictures that are known are copied, and
//! a part of which every picture is known and in its place is kept without being read.
//!
//! All parameters of the node were the same then, so that the same bytes became the same pixels.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::picture::Raster;
use crate::context::EarlierArtifact;
use crate::error::StageError;
use crate::tables::contents::{self, Content};
use crate::tables::images::Images;
use crate::tables::pixels::{Cutter, PixelDigest, PixelParts, part_name};

/// The images of an earlier run.
pub struct Known<'run> {
    artifact: EarlierArtifact<'run>,
    contents: Vec<Content>,
    /// Digests of the pixels.
    digests: Vec<PixelDigest>,
    /// Height and width.
    sizes: Vec<(u16, u16)>,
    rows: HashMap<Content, usize>,
    parts: Vec<Part>,
    /// The parts that begin with this picture.
    begun: HashMap<Content, Vec<usize>>,
}

/// A part of the pixels.
struct Part {
    name: String,
    rows: Range<usize>,
    /// Whether it ends where it does whatever comes behind it, unlike the last one.
    is_closed: bool,
    /// `None` inside where its bytes are gone or rotten.
    pixels: OnceLock<Option<PixelParts>>,
}

/// A part that can be kept.
pub struct Kept<'a> {
    /// Its name in the earlier artifact.
    pub name: &'a str,
    /// Digests of its pixels.
    pub digests: &'a [PixelDigest],
    /// Heights and widths.
    pub sizes: &'a [(u16, u16)],
}

impl<'run> Known<'run> {
    /// Opens them; `Ok(None)` where their tables are gone or rotten.
    ///
    /// # Errors
    /// A table cannot be read, or they are not of this version.
    pub fn open(artifact: &EarlierArtifact<'run>) -> Result<Option<Self>, StageError> {
        let Some(tables) = artifact.input(&["contents.arrow", "images.arrow"])? else { return Ok(None) };
        let (contents, digests) = contents::read(&tables)?;
        let sizes = Images::sizes_of(&tables)?;
        if contents.len() != sizes.len() {
            let (found, expected) = (contents.len(), sizes.len());
            return Err(StageError::input(format!("There are {found} contents of {expected} images")));
        }
        let (mut parts, mut cutter, mut start) = (Vec::new(), Cutter::default(), 0);
        for (row, (digest, &(height, width))) in digests.iter().zip(&sizes).enumerate() {
            let is_closed = cutter.push(digest, usize::from(height) * usize::from(width) * 3);
            if is_closed || row + 1 == sizes.len() {
                let name = part_name(parts.len());
                parts.push(Part { name, rows: start..row + 1, is_closed, pixels: OnceLock::new() });
                start = row + 1;
            }
        }
        parts.retain(|part| artifact.names.contains(&part.name));
        let mut begun: HashMap<Content, Vec<usize>> = HashMap::new();
        for (number, part) in parts.iter().enumerate() {
            begun.entry(contents[part.rows.start]).or_default().push(number);
        }
        let rows = contents.iter().copied().zip(0..).collect();
        Ok(Some(Self { artifact: artifact.clone(), contents, digests, sizes, rows, parts, begun }))
    }

    /// What these bytes became, where that is known.
    pub fn picture(&self, content: &Content) -> Option<Raster> {
        let row = *self.rows.get(content)?;
        let number = self.parts.partition_point(|part| part.rows.end <= row);
        let part = self.parts.get(number).filter(|part| part.rows.contains(&row))?;
        let open = || PixelParts::of_files(&self.artifact.input(&[&part.name]).ok()??).ok();
        let pixels = part.pixels.get_or_init(open).as_ref().filter(|pixels| pixels.len() == part.rows.len())?;
        let (height, width) = self.sizes[row];
        let (height, width, pixels) = (height.into(), width.into(), pixels.row(row - part.rows.start).to_vec());
        (pixels.len() == height * width * 3).then_some(Raster { height, width, pixels })
    }

    /// The part that holds the first of these pictures and others behind it and nothing else, where there is one.
    pub fn part(&self, contents: &[Option<Content>]) -> Option<Kept<'_>> {
        let first = contents.first().copied().flatten()?;
        let fits = |part: &&Part| {
            let known = &self.contents[part.rows.clone()];
            (part.is_closed || known.len() == contents.len())
                && contents.get(..known.len()).is_some_and(|asked| known.iter().zip(asked).all(|(k, a)| Some(*k) == *a))
        };
        let part = self.begun.get(&first)?.iter().map(|&number| &self.parts[number]).find(fits)?;
        let rows = part.rows.clone();
        Some(Kept { name: &part.name, digests: &self.digests[rows.clone()], sizes: &self.sizes[rows] })
    }
}

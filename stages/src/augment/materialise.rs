//! `materialise = true`: the pixels of every view, written once instead of being computed each time a batch is read.

use dnc_learn::backbones::Preprocessing;
use dnc_tables::images::{Images, Pixels};
use dnc_tables::model::Model;
use dnc_tables::pictures::apply;
use dnc_tables::pixels::PixelsWriter;
use dnc_tables::views::ViewRow;
use rayon::prelude::*;

use crate::api::{ArtifactKind, Context, StageError};
use crate::loader::fill;

/// Bytes of pixels held in memory before they are written.
const CHUNK_BYTES: usize = 32 << 20;

/// Writer of the pixels of views, at the crop size of the model on the input `model`.
pub(super) struct ViewPixels<'a> {
    images: &'a Images,
    pixels: Pixels<'a>,
    preprocessing: Preprocessing,
    writer: PixelsWriter,
}

impl<'a> ViewPixels<'a> {
    /// Opens the output `views` for the pixels of views of `images`.
    pub(super) fn create(context: &mut Context<'_>, images: &'a Images) -> Result<Self, StageError> {
        let preprocessing = Model::open(context.input("model")?)?.network()?.preprocessing;
        let writer = PixelsWriter::new(context.output("views")?, ArtifactKind::Views);
        Ok(Self { images, pixels: images.pixels()?, preprocessing, writer })
    }

    /// Computes the pixels of these views on all threads and appends them in order.
    pub(super) fn push(&mut self, rows: &[ViewRow], context: &Context<'_>) -> Result<(), StageError> {
        let (side, fill) = (self.preprocessing.crop, fill(&self.preprocessing));
        let bytes = side * side * 3;
        let render = |row: &ViewRow| {
            let image = self.images.row(row.id).expect("the views were drawn for these images");
            let mut pixels = vec![0; bytes];
            apply(self.pixels.of(image), &row.draws, fill, side, &mut pixels);
            let digest = *blake3::hash(&pixels).as_bytes();
            (pixels, digest)
        };
        for rows in rows.chunks((CHUNK_BYTES / bytes).max(1)) {
            context.check_cancelled()?;
            let rendered: Vec<_> = rows.par_iter().map(render).collect();
            for (pixels, digest) in rendered {
                self.writer.push(&pixels, digest)?;
            }
        }
        Ok(())
    }

    /// Completes the output.
    pub(super) fn finish(self, context: &mut Context<'_>) -> Result<(), StageError> {
        Ok(self.writer.finish(context.output("views")?)?)
    }
}

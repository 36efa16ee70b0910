//! `augment`: random views of every image, drawn from the seed.
//!
//! Only the draws (crop box, flip, …) are stored. The loader applies them when it reads a batch, unless the stage
//! writes the pixels itself (`materialise`). Each draw comes from its own random stream, named after image, view and
//! operation, so that adding images, views or an operation changes no other draw.
//!
//! **Reading order** [`operations`]: the parameters of each operation. [`distribution`]: how a view is drawn from them.
//! [`materialise`]: writing the pixels.
//!
//! **Source** torchvision's `RandomResizedCrop`, `RandomHorizontalFlip`, `ColorJitter`, `RandomGrayscale`, `GaussianBlur`,
//! `RandomRotation`, `RandomErasing` and `JPEG`; chromatic aberration is described in `views::aberration`.

mod distribution;
mod materialise;
mod operations;
#[cfg(test)]
mod tests;

use dnc_tables::images::Images;
use dnc_tables::model;
use dnc_tables::views::{ViewRow, ViewsWriter};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Ambient, Arithmetic, ArtifactKind, Context, Input, Output, ParamError, Ports, Resources, Stage, StageError, Threads,
};

pub use operations::{ColourJitter, Cutout, Preset, RangedOperation, ViewCount};

use distribution::ViewDistribution;
use materialise::ViewPixels;

/// Most views per image: far more than any training shows, and few enough for the memory.
const MOST_VIEWS: u32 = 1 << 16;
/// Largest standard deviation of a blur in pixels; nothing is left of a view long before.
const WIDEST_BLUR: f64 = 1000.0;
/// Strongest colour jitter; colours are black or saturated long before.
const STRONGEST_JITTER: f64 = 100.0;

/// Images whose views are drawn at a time. Fixed, because it determines the pages of the Parquet file.
const CHUNK: usize = 4096;

/// Draws random augmented views of each image. An operation that is neither given nor part of the preset is off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Number of views per image. Training takes another view each time it shows an image and starts again after the last.
    pub views: ViewCount,
    /// Set of operations that the other parameters override one by one.
    pub preset: Preset,
    /// Area of the random crop as a fraction of the image's area, `[min, max]`. Without it: `[0.08, 1.0]`.
    pub scale: Option<[f64; 2]>,
    /// Aspect ratio of the random crop (width / height), `[min, max]`. Without it: `[0.75, 1.333]`.
    pub ratio: Option<[f64; 2]>,
    /// Probability of a horizontal flip. Without it: 0.5.
    pub flip: Option<f64>,
    /// Colour jitter. Without it: on for the preset `geometric-colour`, off for the others.
    pub colour: Option<ColourJitter>,
    /// Probability that a view is converted to greyscale. Without it: 0.2 for the preset `geometric-colour`, 0 for the others.
    pub grey: Option<f64>,
    /// Gaussian blur; `range` is the standard deviation in pixels of the view. Without it: off.
    pub blur: Option<RangedOperation>,
    /// Maximum rotation in degrees; the angle is drawn from `[-rotation, rotation]`. Without it: 15 for the geometric
    /// presets, 0 for `standard`.
    pub rotation: Option<f64>,
    /// Erasing of a random rectangle. Without it: on for the geometric presets, off for `standard`.
    pub cutout: Option<Cutout>,
    /// JPEG compression artefacts; `range` is the JPEG quality, from 1 to 100. Without it: off.
    pub jpeg: Option<RangedOperation>,
    /// Chromatic aberration; `range` is the fraction by which the red channel is enlarged and the blue one shrunk, or the
    /// reverse. Without it: on for the preset `geometric-colour`, off for the others.
    pub aberration: Option<RangedOperation>,
    /// Whether to write the pixels of every view, at the crop size of the model on the input `model`, instead of computing
    /// them each time a batch is read. Takes views × crop² × 3 bytes per image, so it pays only if the operations take longer
    /// than reading.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub materialise: bool,
}

impl Stage for Augment {
    const NAME: &'static str = "augment";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Draw random augmented views of each image";

    fn ports(&self) -> Ports {
        let images = |columns: &[&str]| Input::new("images", ArtifactKind::Images, columns);
        let inputs = if self.materialise {
            let images = images(&["id", "height", "width", "pixels"]);
            vec![images, Input::new("model", ArtifactKind::Model, &[model::PARAMETERS])]
        } else {
            vec![images(&["id", "height", "width"])]
        };
        Ports { inputs, outputs: vec![Output::new("views", ArtifactKind::Views)] }
    }

    fn ambient(&self) -> Ambient {
        // Logarithms and roots come from the C library and are then rounded to whole pixels.
        Ambient { seed: true, arithmetic: Arithmetic::Cpu, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if !(1..=MOST_VIEWS).contains(&self.views.0) {
            return Err(ParamError::new("views", format!("`views` must be between 1 and {MOST_VIEWS}")));
        }
        let distribution = self.distribution();
        check_probabilities(&distribution)?;
        check_ranges(&distribution)?;
        if !(0.0..=180.0).contains(&distribution.rotation) {
            let message = "`rotation` must be between 0 and 180 degrees; angles are drawn in both directions";
            return Err(ParamError::new("rotation", message));
        }
        match distribution.colour {
            Some(colour) if !(0.0..=0.5).contains(&colour.hue) => {
                Err(ParamError::new("colour.hue", "`colour.hue` must be between 0 and 0.5 turns"))
            }
            Some(ColourJitter { brightness, contrast, saturation, .. })
                if [brightness, contrast, saturation]
                    .iter()
                    .any(|strength| !(0.0..=STRONGEST_JITTER).contains(strength)) =>
            {
                let message = format!(
                    "`brightness`, `contrast` and `saturation` of `colour` must be between 0 and {STRONGEST_JITTER}"
                );
                Err(ParamError::new("colour", message))
            }
            _ => Ok(()),
        }
    }

    fn resources(&self) -> Resources {
        Resources { threads: Threads::Many, ..Resources::default() }
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let images = Images::open(context.input("images")?)?;
        let sized: Vec<(u32, (u16, u16))> = images.ids()?.into_iter().zip(images.sizes()?).collect();
        let streams = context.streams()?.named("augment");
        let distribution = self.distribution();
        let mut writer = ViewsWriter::create(context.output("views")?)?;
        let mut pixels = if self.materialise { Some(ViewPixels::create(context, &images)?) } else { None };
        for (number, chunk) in sized.chunks(CHUNK).enumerate() {
            context.check_cancelled()?;
            let views_of = |&(id, size): &(u32, (u16, u16))| {
                let (distribution, image) = (&distribution, streams.at(id.into()));
                (0..self.views.0).map(move |view| {
                    let draws = distribution.draw(size, &image.at(view.into()));
                    ViewRow { id, view, draws }
                })
            };
            let rows: Vec<ViewRow> = chunk.par_iter().flat_map_iter(views_of).collect();
            writer.push(&rows)?;
            if let Some(pixels) = &mut pixels {
                pixels.push(&rows, context)?;
            }
            context.progress((number * CHUNK + chunk.len()) as u64, sized.len() as u64, "images");
        }
        writer.finish(context.output("views")?)?;
        pixels.map_or(Ok(()), |pixels| pixels.finish(context))
    }
}

impl Augment {
    /// Every operation, from the parameters and, for those that are not given, the preset.
    fn distribution(&self) -> ViewDistribution {
        let geometric = self.preset != Preset::Standard;
        let coloured = self.preset == Preset::GeometricColour;
        let aberration = RangedOperation { share: 0.5, range: [0.0, 0.02] };
        ViewDistribution {
            scale: self.scale.unwrap_or([0.08, 1.0]),
            ratio: self.ratio.unwrap_or([3.0 / 4.0, 4.0 / 3.0]),
            flip: self.flip.unwrap_or(0.5),
            colour: self.colour.or(coloured.then(ColourJitter::default)),
            grey: self.grey.unwrap_or(if coloured { 0.2 } else { 0.0 }),
            blur: self.blur,
            rotation: self.rotation.unwrap_or(if geometric { 15.0 } else { 0.0 }),
            cutout: self.cutout.or(geometric.then(Cutout::default)),
            jpeg: self.jpeg,
            aberration: self.aberration.or(coloured.then_some(aberration)),
        }
    }
}

fn check_probabilities(distribution: &ViewDistribution) -> Result<(), ParamError> {
    let probabilities = [
        ("flip", Some(distribution.flip)),
        ("colour.share", distribution.colour.map(|colour| colour.share)),
        ("grey", Some(distribution.grey)),
        ("blur.share", distribution.blur.map(|blur| blur.share)),
        ("cutout.share", distribution.cutout.map(|cutout| cutout.share)),
        ("jpeg.share", distribution.jpeg.map(|jpeg| jpeg.share)),
        ("aberration.share", distribution.aberration.map(|aberration| aberration.share)),
    ];
    for (key, probability) in probabilities {
        if probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return Err(ParamError::new(key, format!("`{key}` must be between 0 and 1")));
        }
    }
    Ok(())
}

fn check_ranges(distribution: &ViewDistribution) -> Result<(), ParamError> {
    const POSITIVE: f64 = f64::MIN_POSITIVE;
    const MAX: f64 = f64::MAX;
    let ranges = [
        ("scale", Some(distribution.scale), POSITIVE, 1.0, "0 < min <= max <= 1"),
        ("ratio", Some(distribution.ratio), POSITIVE, MAX, "0 < min <= max"),
        ("blur.range", distribution.blur.map(|blur| blur.range), POSITIVE, WIDEST_BLUR, "0 < min <= max <= 1000"),
        ("cutout.scale", distribution.cutout.map(|cutout| cutout.scale), 0.0, 1.0, "0 <= min <= max <= 1"),
        ("cutout.ratio", distribution.cutout.map(|cutout| cutout.ratio), POSITIVE, MAX, "0 < min <= max"),
        ("jpeg.range", distribution.jpeg.map(|jpeg| jpeg.range), 1.0, 100.0, "1 <= min <= max <= 100"),
        (
            "aberration.range",
            distribution.aberration.map(|aberration| aberration.range),
            0.0,
            0.5,
            "0 <= min <= max <= 0.5",
        ),
    ];
    for (key, range, lowest, highest, bounds) in ranges {
        let Some([low, high]) = range else { continue };
        if !(low >= lowest && low <= high && high <= highest) {
            return Err(ParamError::new(key, format!("`{key}` must be `[min, max]` with {bounds}")));
        }
    }
    Ok(())
}

//! `augment`: the plan of every view of every image, drawn from the seed; the loader makes the pixels when it reads, or
//! they are made here once for all (`materialise`).
//!
//! Each draw comes from a stream of its own, named by image, view and operation, so that adding images, views or an
//! operation changes no other draw.
//! Source: torchvision's `RandomResizedCrop`, `RandomHorizontalFlip`, `ColorJitter`, `RandomGrayscale`, `GaussianBlur`,
//! `RandomRotation`, `RandomErasing` and `JPEG`; chromatic aberration is described in `views::aberration`.

use dnc_learn::backbones::Preprocessing;
use dnc_learn::streams::Streams;
use rand::Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StageError;
use crate::kind::Kind;
use crate::loader::fill;
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Resources, Stage, Threads};
use crate::tables::images::{Images, Pixels};
use crate::tables::model::{self, Model};
use crate::tables::pixels::PixelsWriter;
use crate::tables::views::{Colour, Region, View, ViewRow, ViewsWriter};
use crate::views::apply;

/// Images whose views are drawn at a time. Fixed, because it decides about the pages of the Parquet file.
const CHUNK: usize = 4096;

/// Bytes of pixels of the views that are made before they are written.
const MADE_BYTES: usize = 32 << 20;

/// Tries to find a crop of the drawn area and shape that fits, before the middle is taken.
const TRIES: usize = 10;

/// Plans views. What is not given is as the preset has it; an operation that neither names is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Views of each image.
    pub views: Views,
    /// What is not given.
    pub preset: Preset,
    /// Least and most share of the image's area that is cut out.
    pub scale: Option<[f64; 2]>,
    /// Least and most width of the crop for its height.
    pub ratio: Option<[f64; 2]>,
    /// Share of views that are mirrored.
    pub flip: Option<f64>,
    /// Changes of colour.
    pub colour: Option<ColourJitter>,
    /// Share of views without colour.
    pub grey: Option<f64>,
    /// Gaussian blur; its range is of the standard deviation in pixels of the view.
    pub blur: Option<Ranged>,
    /// Most degrees of rotation either way.
    pub rotation: Option<f64>,
    /// An erased box.
    pub cutout: Option<Cutout>,
    /// JPEG artefacts; the range is of the quality.
    pub jpeg: Option<Ranged>,
    /// Chromatic aberration; the range is of the share by which red and blue are scaled, either way.
    pub aberration: Option<Ranged>,
    /// Writes the pixels of every view, as the backbone of `in.model` takes them, instead of making them whenever they are
    /// read: worth its space (views × crop² × 3 bytes an image) where operations cost more than reading.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub materialise: bool,
}

/// How many views an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Views(pub u32);

impl Default for Views {
    fn default() -> Self {
        Views(8)
    }
}

/// A set of operations by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The papers' own: random resized crop and flip.
    #[default]
    Standard,
    /// Also rotation and cutout.
    Geometric,
    /// Also changes of colour, grey, and chromatic aberration.
    GeometricColour,
}

/// Changes of colour, as `ColorJitter` has them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// Share of views that are changed.
    pub share: f64,
    /// The factor is between 1 less and 1 more this.
    pub brightness: f64,
    /// As for brightness.
    pub contrast: f64,
    /// As for brightness.
    pub saturation: f64,
    /// The shift is between this many turns either way, at most 0.5.
    pub hue: f64,
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self { share: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }
    }
}

/// An operation with one strength.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ranged {
    /// Share of views that it is applied to.
    pub share: f64,
    /// Least and most strength.
    pub range: [f64; 2],
}

/// An erased box, as `RandomErasing` has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cutout {
    /// Share of views that have one.
    pub share: f64,
    /// Least and most share of the view's area.
    pub scale: [f64; 2],
    /// Least and most height of the box for its width.
    pub ratio: [f64; 2],
}

impl Default for Cutout {
    fn default() -> Self {
        Self { share: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3] }
    }
}

impl Stage for Augment {
    const NAME: &'static str = "augment";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Plans the random views of each image";

    fn ports(&self) -> Ports {
        let images = |columns: &[&str]| Input::new("images", Kind::Images, columns);
        let inputs = if self.materialise {
            let images = images(&["id", "height", "width", "pixels"]);
            vec![images, Input::new("model", Kind::Model, &[model::PARAMETERS])]
        } else {
            vec![images(&["id", "height", "width"])]
        };
        Ports { inputs, outputs: vec![Output::new("views", Kind::Views)] }
    }

    fn ambient(&self) -> Ambient {
        // Logarithms and roots are rounded by the machine's own library before they become whole pixels.
        Ambient { seed: true, arithmetic: true, ..Ambient::default() }
    }

    fn check(&self) -> Result<(), ParamError> {
        if self.views.0 == 0 {
            return Err(ParamError::new("views", "An image needs at least one view"));
        }
        let plan = self.plan();
        let colour = plan.colour.map(|colour| colour.share);
        let shares = [
            ("flip", Some(plan.flip)),
            ("colour.share", colour),
            ("grey", Some(plan.grey)),
            ("blur.share", plan.blur.map(|blur| blur.share)),
            ("cutout.share", plan.cutout.map(|cutout| cutout.share)),
            ("jpeg.share", plan.jpeg.map(|jpeg| jpeg.share)),
            ("aberration.share", plan.aberration.map(|aberration| aberration.share)),
        ];
        for (key, share) in shares {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err(ParamError::new(key, format!("`{key}` is no share: it must be between 0 and 1")));
            }
        }
        let ranges = [
            ("scale", Some(plan.scale), f64::MIN_POSITIVE, 1.0),
            ("ratio", Some(plan.ratio), f64::MIN_POSITIVE, f64::MAX),
            ("blur.range", plan.blur.map(|blur| blur.range), f64::MIN_POSITIVE, f64::MAX),
            ("cutout.scale", plan.cutout.map(|cutout| cutout.scale), 0.0, 1.0),
            ("cutout.ratio", plan.cutout.map(|cutout| cutout.ratio), f64::MIN_POSITIVE, f64::MAX),
            ("jpeg.range", plan.jpeg.map(|jpeg| jpeg.range), 1.0, 100.0),
            ("aberration.range", plan.aberration.map(|aberration| aberration.range), 0.0, 0.5),
        ];
        for (key, range, least, most) in ranges {
            let Some([low, high]) = range else { continue };
            if !(low >= least && low <= high && high <= most) {
                let message = format!("`{key}` is no range from low to high, or beyond what it can be");
                return Err(ParamError::new(key, message));
            }
        }
        match plan.colour {
            Some(colour) if !(0.0..=0.5).contains(&colour.hue) => {
                Err(ParamError::new("colour.hue", "`colour.hue` must be between 0 and 0.5 turns"))
            }
            Some(ColourJitter { brightness, contrast, saturation, .. })
                if [brightness, contrast, saturation].iter().any(|&strength| strength.is_nan() || strength < 0.0) =>
            {
                Err(ParamError::new("colour", "The strengths of `colour` must not be negative"))
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
        let plan = self.plan();
        let mut writer = ViewsWriter::create(context, "views")?;
        let mut pixels = if self.materialise { Some(Materialised::create(context, &images)?) } else { None };
        for (number, chunk) in sized.chunks(CHUNK).enumerate() {
            context.check_cancelled()?;
            let views_of = |&(id, size): &(u32, (u16, u16))| {
                let (plan, image) = (&plan, streams.at(id.into()));
                (0..self.views.0).map(move |view| {
                    let draws = plan.draw(size, &image.at(view.into()));
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
        writer.finish(context)?;
        pixels.map_or(Ok(()), |pixels| pixels.writer.finish(context))
    }
}

/// The pixels of the views, as far as they are written.
struct Materialised<'a> {
    images: &'a Images,
    pixels: Pixels<'a>,
    preprocessing: Preprocessing,
    writer: PixelsWriter,
}

impl<'a> Materialised<'a> {
    fn create(context: &mut Context<'_>, images: &'a Images) -> Result<Self, StageError> {
        let preprocessing = Model::open(context.input("model")?)?.network()?.preprocessing;
        let writer = PixelsWriter::create(context, "views", Kind::Views)?;
        Ok(Self { images, pixels: images.pixels()?, preprocessing, writer })
    }

    /// Makes the pixels of these views on all threads and appends them in their order.
    fn push(&mut self, rows: &[ViewRow], context: &Context<'_>) -> Result<(), StageError> {
        let (side, fill) = (self.preprocessing.crop, fill(&self.preprocessing));
        let bytes = side * side * 3;
        let made = |row: &ViewRow| {
            let place = self.images.row(row.id).expect("the views are of these images");
            let mut pixels = vec![0; bytes];
            apply(self.pixels.of(place), &row.draws, fill, side, &mut pixels);
            let digest = *blake3::hash(&pixels).as_bytes();
            (pixels, digest)
        };
        for rows in rows.chunks((MADE_BYTES / bytes).max(1)) {
            context.check_cancelled()?;
            let made: Vec<_> = rows.par_iter().map(made).collect();
            for (pixels, digest) in made {
                self.writer.push(&pixels, digest)?;
            }
        }
        Ok(())
    }
}

impl Augment {
    /// Every operation as preset and parameters together say.
    fn plan(&self) -> Plan {
        let geometric = self.preset != Preset::Standard;
        let coloured = self.preset == Preset::GeometricColour;
        let aberration = Ranged { share: 0.5, range: [0.0, 0.02] };
        Plan {
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

/// Every operation with its strength.
struct Plan {
    scale: [f64; 2],
    ratio: [f64; 2],
    flip: f64,
    colour: Option<ColourJitter>,
    grey: f64,
    blur: Option<Ranged>,
    rotation: f64,
    cutout: Option<Cutout>,
    jpeg: Option<Ranged>,
    aberration: Option<Ranged>,
}

impl Plan {
    /// One view of an image of this height and width.
    fn draw(&self, size: (u16, u16), streams: &Streams) -> View {
        let ranged = |name: &str, operation: Option<Ranged>| {
            let mut rng = streams.named(name).rng();
            let Ranged { share, range } = operation?;
            happens(&mut rng, share).then(|| between(&mut rng, range))
        };
        View {
            crop: self.crop(size, &mut streams.named("crop").rng()),
            flip: happens(&mut streams.named("flip").rng(), self.flip),
            colour: self.colour.and_then(|colour| jitter(&colour, &mut streams.named("colour").rng())),
            grey: happens(&mut streams.named("grey").rng(), self.grey),
            blur: ranged("blur", self.blur).map(|sigma| sigma as f32),
            rotation: (self.rotation > 0.0)
                .then(|| between(&mut streams.named("rotation").rng(), [-self.rotation, self.rotation]) as f32),
            cutout: self.cutout.and_then(|cutout| erased(&cutout, &mut streams.named("cutout").rng())),
            jpeg: ranged("jpeg", self.jpeg).map(|quality| quality.round() as u8),
            aberration: ranged("aberration", self.aberration).map(|strength| {
                let outwards = streams.named("aberration").named("sign").rng().random::<bool>();
                (if outwards { strength } else { -strength }) as f32
            }),
        }
    }

    /// `RandomResizedCrop.get_params`: a box of random area and shape; where none fits, the middle.
    fn crop(&self, (height, width): (u16, u16), rng: &mut impl Rng) -> Region {
        let (rows, columns) = (f64::from(height), f64::from(width));
        let log_ratio = self.ratio.map(f64::ln);
        for _ in 0..TRIES {
            let area = rows * columns * between(rng, self.scale);
            let ratio = between(rng, log_ratio).exp();
            let (w, h) = ((area * ratio).sqrt().round_ties_even(), (area / ratio).sqrt().round_ties_even());
            if w > 0.0 && w <= columns && h > 0.0 && h <= rows {
                let (w, h) = (w as u16, h as u16);
                let (top, left) = (rng.random_range(0..=height - h), rng.random_range(0..=width - w));
                return Region { top, left, height: h, width: w };
            }
        }
        let [narrowest, widest] = self.ratio;
        let shape = columns / rows;
        let (h, w) = if shape < narrowest {
            ((columns / narrowest).round_ties_even().min(rows), columns)
        } else if shape > widest {
            (rows, (rows * widest).round_ties_even().min(columns))
        } else {
            (rows, columns)
        };
        let (h, w) = (h.max(1.0) as u16, w.max(1.0) as u16);
        Region { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
    }
}

fn happens(rng: &mut impl Rng, share: f64) -> bool {
    rng.random::<f64>() < share
}

fn between(rng: &mut impl Rng, [low, high]: [f64; 2]) -> f64 {
    low + rng.random::<f64>() * (high - low)
}

fn jitter(colour: &ColourJitter, rng: &mut impl Rng) -> Option<Colour> {
    if !happens(rng, colour.share) {
        return None;
    }
    let mut factor = |strength: f64| between(rng, [(1.0 - strength).max(0.0), 1.0 + strength]) as f32;
    let (brightness, contrast) = (factor(colour.brightness), factor(colour.contrast));
    let saturation = factor(colour.saturation);
    let hue = between(rng, [-colour.hue, colour.hue]) as f32;
    Some(Colour { brightness, contrast, saturation, hue, order: rng.random_range(0..24) })
}

/// `RandomErasing.get_params` on a square of side 1: top, left, height and width.
fn erased(cutout: &Cutout, rng: &mut impl Rng) -> Option<[f32; 4]> {
    if !happens(rng, cutout.share) {
        return None;
    }
    for _ in 0..TRIES {
        let area = between(rng, cutout.scale);
        let ratio = between(rng, cutout.ratio.map(f64::ln)).exp();
        let (height, width) = ((area * ratio).sqrt(), (area / ratio).sqrt());
        if height < 1.0 && width < 1.0 {
            let (top, left) = (rng.random::<f64>() * (1.0 - height), rng.random::<f64>() * (1.0 - width));
            return Some([top, left, height, width].map(|side| side as f32));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::context::InputArtifact;
    use crate::stage::StageKind;
    use crate::tables::Split;
    use crate::tables::images::{ImageRow, ImagesWriter};
    use crate::tables::views;
    use crate::testing::{Outputs, Workshop, artifact, digest, on_threads};

    fn images(shop: &Workshop, sizes: &[(u16, u16)]) -> InputArtifact {
        let written = shop.write(Kind::Images, "images", |context| {
            let mut writer = ImagesWriter::create(context, "images")?;
            for &(height, width) in sizes {
                writer.push(&ImageRow {
                    label: 0,
                    class: "a",
                    split: Split::Train,
                    camera: None,
                    source: "a.png",
                    height,
                    width,
                    pixels: &vec![0; usize::from(height) * usize::from(width) * 3],
                })?;
            }
            writer.finish(context)
        });
        written.unwrap().0
    }

    fn run(shop: &Workshop, sizes: &[(u16, u16)], params: serde_json::Value) -> Outputs {
        let stage: Augment = serde_json::from_value(params).unwrap();
        shop.run(&stage, &[("images", &images(shop, sizes))]).unwrap()
    }

    fn drawn(sizes: &[(u16, u16)], count: u64, params: serde_json::Value) -> Vec<View> {
        let shop = Workshop::new();
        let outputs = run(&shop, sizes, params);
        let views = views::Views::open(&artifact(Kind::Views, &outputs["views"].folder)).unwrap();
        (0..sizes.len() as u32)
            .flat_map(|id| (0..count).map(move |view| (id, view)))
            .map(|(id, view)| views.view(id, view).unwrap())
            .collect()
    }

    #[test]
    fn crops_have_torchvision_s_distribution() {
        let views = drawn(&[(100, 150)], 2000, json!({ "views": 2000 }));
        let mut shares = Vec::new();
        for View { crop, .. } in &views {
            assert!(crop.top + crop.height <= 100 && crop.left + crop.width <= 150);
            let ratio = f64::from(crop.width) / f64::from(crop.height);
            assert!((0.7..1.4).contains(&ratio), "{ratio}");
            shares.push(f64::from(crop.height) * f64::from(crop.width) / 15_000.0);
        }
        assert!(shares.iter().all(|share| (0.07..=1.0).contains(share)));
        // Large areas often do not fit and are drawn again: torchvision's own mean over 30,000 crops of this shape is 0.392.
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((mean - 0.392).abs() < 0.02, "{mean}");
        let flipped = views.iter().filter(|view| view.flip).count();
        assert!((900..1100).contains(&flipped), "{flipped}");
    }

    #[test]
    fn the_middle_is_taken_where_no_crop_fits() {
        for (height, width, expected) in [(10, 100, [0, 43, 10, 13]), (100, 10, [43, 0, 13, 10]), (1, 1, [0, 0, 1, 1])]
        {
            let view = drawn(&[(height, width)], 1, json!({ "views": 1, "scale": [1.0, 1.0] }))[0];
            let Region { top, left, height, width } = view.crop;
            assert_eq!([top, left, height, width], expected);
        }
    }

    #[test]
    fn draws_do_not_disturb_each_other() {
        let plain = drawn(&[(50, 50), (40, 60)], 3, json!({ "views": 3 }));
        let coloured = drawn(&[(50, 50), (40, 60)], 3, json!({ "views": 3, "preset": "geometric-colour" }));
        let longer = drawn(&[(50, 50), (40, 60), (9, 9)], 4, json!({ "views": 4 }));
        assert!(
            coloured.iter().any(|view| view.colour.is_some()) && coloured.iter().all(|view| view.rotation.is_some())
        );
        for (place, view) in plain.iter().enumerate() {
            assert_eq!((view.crop, view.flip), (coloured[place].crop, coloured[place].flip));
            assert_eq!(*view, longer[place / 3 * 4 + place % 3]);
        }
    }

    #[test]
    fn threads_do_not_count() {
        let sizes = vec![(30, 40); 5000];
        let shop = Workshop::new();
        let params = json!({ "views": 2, "preset": "geometric" });
        let digests = [1, 3].map(|threads| on_threads(threads, || digest(&run(&shop, &sizes, params.clone()))));
        assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let check = |params: serde_json::Value, expected: &str| {
            let error = StageKind::of::<Augment>().parse(params).err().unwrap();
            assert_eq!(format!("{}: {error}", error.key), expected);
        };
        check(json!({ "views": 0 }), "views: An image needs at least one view");
        check(json!({ "flip": 1.5 }), "flip: `flip` is no share: it must be between 0 and 1");
        check(json!({ "scale": [0.5, 0.1] }), "scale: `scale` is no range from low to high, or beyond what it can be");
        check(
            json!({ "jpeg": { "share": 1.0, "range": [0, 50] } }),
            "jpeg.range: `jpeg.range` is no range from low to high, or beyond what it can be",
        );
        check(json!({ "colour": { "hue": 0.6 } }), "colour.hue: `colour.hue` must be between 0 and 0.5 turns");
        check(
            json!({ "preset": "strong" }),
            "preset: unknown variant `strong`, expected one of `standard`, `geometric`, `geometric-colour`",
        );
    }

    /// Law 3: whoever changes these bytes raises [`Augment::VERSION`] in the same commit, and then this digest.
    #[test]
    fn the_version_stands_for_these_bytes() {
        let shop = Workshop::new();
        let params = json!({ "views": 3, "preset": "geometric-colour", "jpeg": { "share": 0.5, "range": [30, 90] } });
        let outputs = run(&shop, &[(31, 17), (48, 48), (5, 90)], params);
        assert_eq!((Augment::VERSION, digest(&outputs).as_str()), (1, "f51c4e249cc9df5e"));
    }
}

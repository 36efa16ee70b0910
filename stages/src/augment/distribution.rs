//! Distribution of views: every operation with its strength, and how a view is drawn from it.
//!
//! Each operation draws from its own stream, named after the operation, so that adding an operation changes no other draw.

use dnc_learn::streams::Streams;
use dnc_tables::views::{Colour, Region, View};
use rand::Rng;

use super::operations::{ColourJitter, Cutout, RangedOperation};

/// Attempts to draw a box that fits, as in torchvision, before the fallback is used.
const ATTEMPTS: usize = 10;

/// Every operation with its strength.
pub(super) struct ViewDistribution {
    pub(super) scale: [f64; 2],
    pub(super) ratio: [f64; 2],
    pub(super) flip: f64,
    pub(super) colour: Option<ColourJitter>,
    pub(super) grey: f64,
    pub(super) blur: Option<RangedOperation>,
    pub(super) rotation: f64,
    pub(super) cutout: Option<Cutout>,
    pub(super) jpeg: Option<RangedOperation>,
    pub(super) aberration: Option<RangedOperation>,
}

impl ViewDistribution {
    /// Draws one view of an image of this height and width.
    pub(super) fn draw(&self, size: (u16, u16), streams: &Streams) -> View {
        let strength = |name: &str, operation: Option<RangedOperation>| {
            let mut rng = streams.named(name).rng();
            let RangedOperation { share, range } = operation?;
            is_applied(&mut rng, share).then(|| uniform(&mut rng, range))
        };
        View {
            crop: self.draw_crop(size, &mut streams.named("crop").rng()),
            flip: is_applied(&mut streams.named("flip").rng(), self.flip),
            colour: self.colour.and_then(|colour| draw_colour(&colour, &mut streams.named("colour").rng())),
            grey: is_applied(&mut streams.named("grey").rng(), self.grey),
            blur: strength("blur", self.blur).map(|sigma| sigma as f32),
            rotation: (self.rotation > 0.0)
                .then(|| uniform(&mut streams.named("rotation").rng(), [-self.rotation, self.rotation]) as f32),
            cutout: self.cutout.and_then(|cutout| draw_cutout(&cutout, &mut streams.named("cutout").rng())),
            jpeg: strength("jpeg", self.jpeg).map(|quality| quality.round() as u8),
            aberration: strength("aberration", self.aberration).map(|strength| {
                let outwards = streams.named("aberration").named("sign").rng().random::<bool>();
                (if outwards { strength } else { -strength }) as f32
            }),
        }
    }

    /// Draws a box of random area and aspect ratio, as `RandomResizedCrop.get_params` does. If no attempt fits, takes the
    /// largest centred box whose aspect ratio is in range.
    fn draw_crop(&self, (height, width): (u16, u16), rng: &mut impl Rng) -> Region {
        let (rows, columns) = (f64::from(height), f64::from(width));
        let log_ratio = self.ratio.map(f64::ln);
        for _ in 0..ATTEMPTS {
            let area = rows * columns * uniform(rng, self.scale);
            let ratio = uniform(rng, log_ratio).exp();
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

fn draw_colour(colour: &ColourJitter, rng: &mut impl Rng) -> Option<Colour> {
    if !is_applied(rng, colour.share) {
        return None;
    }
    let mut factor = |strength: f64| uniform(rng, [(1.0 - strength).max(0.0), 1.0 + strength]) as f32;
    let (brightness, contrast) = (factor(colour.brightness), factor(colour.contrast));
    let saturation = factor(colour.saturation);
    let hue = uniform(rng, [-colour.hue, colour.hue]) as f32;
    Some(Colour { brightness, contrast, saturation, hue, order: rng.random_range(0..24) })
}

/// Draws top, left, height and width of a box in a square of side 1, as `RandomErasing.get_params` does. If no attempt fits,
/// nothing is erased.
fn draw_cutout(cutout: &Cutout, rng: &mut impl Rng) -> Option<[f32; 4]> {
    if !is_applied(rng, cutout.share) {
        return None;
    }
    for _ in 0..ATTEMPTS {
        let area = uniform(rng, cutout.scale);
        let ratio = uniform(rng, cutout.ratio.map(f64::ln)).exp();
        let (height, width) = ((area * ratio).sqrt(), (area / ratio).sqrt());
        if height < 1.0 && width < 1.0 {
            let (top, left) = (rng.random::<f64>() * (1.0 - height), rng.random::<f64>() * (1.0 - width));
            return Some([top, left, height, width].map(|side| side as f32));
        }
    }
    None
}

/// Draws whether an operation of this probability is applied.
fn is_applied(rng: &mut impl Rng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

/// Draws uniformly from `[low, high)`.
fn uniform(rng: &mut impl Rng, [low, high]: [f64; 2]) -> f64 {
    low + rng.random::<f64>() * (high - low)
}

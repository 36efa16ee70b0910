//! Nuisances: changes of an image that are unrelated to its class, with which evaluation measures robustness.
//!
//! The change of each image is drawn from a random stream named after the nuisance and the id of the image. It therefore
//! differs between images of one class and is similar between images of different classes, which misleads a model that
//! depends on it.

use dnc_learn::streams::Streams;
use rand::{Rng, RngCore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::square::Square;
use super::{aberration, blur, colour, jpeg};

/// Maximum of chromatic aberration, in either direction.
const ABERRATION: f32 = 0.03;
/// Minimum and maximum standard deviation of the blur, as fractions of the image's side.
const BLUR: [f32; 2] = [0.005, 0.02];
/// Minimum and maximum JPEG quality.
const JPEG: [u8; 2] = [10, 50];
/// Minimum and maximum factor of each colour channel.
const CAST: [f32; 2] = [0.7, 1.3];
/// Maximum standard deviation of the noise, in grey levels.
const NOISE: f32 = 30.0;

/// A change that is unrelated to the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nuisance {
    /// Chromatic aberration: red and blue are scaled about the centre, by up to 3 % in either direction.
    Aberration,
    /// Gaussian blur with a standard deviation of 0.5 to 2 % of the image's side.
    Blur,
    /// JPEG compression with quality 10 to 50.
    Jpeg,
    /// Half of the images are converted to greyscale.
    Grey,
    /// Red, green and blue are each multiplied by 0.7 to 1.3.
    ColourCast,
    /// Gaussian noise with a standard deviation of up to 30 grey levels.
    Noise,
}

impl Nuisance {
    /// The name in manifests and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Nuisance::Aberration => "aberration",
            Nuisance::Blur => "blur",
            Nuisance::Jpeg => "jpeg",
            Nuisance::Grey => "grey",
            Nuisance::ColourCast => "colour_cast",
            Nuisance::Noise => "noise",
        }
    }
}

/// The changes of all images by one nuisance.
pub struct Changes {
    nuisance: Nuisance,
    streams: Streams,
}

impl Changes {
    /// Changes drawn from `streams`.
    pub fn new(nuisance: Nuisance, streams: &Streams) -> Self {
        Self { nuisance, streams: streams.named("nuisance").named(nuisance.name()) }
    }

    /// Changes the image with this id.
    pub fn apply(&self, id: u32, square: &mut Square<'_>) {
        let mut rng = self.streams.at(id.into()).rng();
        match self.nuisance {
            Nuisance::Aberration => aberration::chromatic(square, rng.random_range(-ABERRATION..ABERRATION)),
            Nuisance::Blur => blur::gaussian(square, rng.random_range(BLUR[0]..BLUR[1]) * square.side as f32),
            Nuisance::Jpeg => jpeg::artefacts(square, rng.random_range(JPEG[0]..=JPEG[1])),
            Nuisance::Grey if rng.random::<bool>() => colour::grey(square),
            Nuisance::Grey => {}
            Nuisance::ColourCast => {
                let factors = [(); 3].map(|()| rng.random_range(CAST[0]..CAST[1]));
                let (pixels, _) = square.pixels.as_chunks_mut::<3>();
                for pixel in pixels {
                    *pixel = std::array::from_fn(|c| (f32::from(pixel[c]) * factors[c]).round() as u8);
                }
            }
            Nuisance::Noise => {
                let deviation = rng.random_range(0.0..NOISE);
                square.pixels.iter_mut().for_each(|value| {
                    *value = (f32::from(*value) + deviation * normal(&mut rng)).round() as u8;
                });
            }
        }
    }
}

/// An approximately standard normal number: the sum of four random bytes, shifted and scaled.
fn normal(rng: &mut impl RngCore) -> f32 {
    /// The mean of the sum of four bytes.
    const MEAN: f32 = 510.0;
    /// Its standard deviation, √(4 · (256² − 1) / 12).
    const DEVIATION: f32 = 147.8;
    let sum: u32 = rng.next_u32().to_le_bytes().into_iter().map(u32::from).sum();
    (sum as f32 - MEAN) / DEVIATION
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Nuisance; 6] =
        [Nuisance::Aberration, Nuisance::Blur, Nuisance::Jpeg, Nuisance::Grey, Nuisance::ColourCast, Nuisance::Noise];

    fn changed(nuisance: Nuisance, id: u32) -> Vec<u8> {
        let mut pixels: Vec<u8> = (0..64 * 64 * 3_u32).map(|i| (i * i % 251) as u8).collect();
        Changes::new(nuisance, &Streams::new(1)).apply(id, &mut Square { side: 64, pixels: &mut pixels });
        pixels
    }

    #[test]
    fn changes_differ_between_images_and_are_reproducible() {
        for nuisance in ALL {
            assert_eq!(changed(nuisance, 7), changed(nuisance, 7), "{nuisance:?}");
            let variants: std::collections::BTreeSet<_> = (0..6).map(|id| changed(nuisance, id)).collect();
            // An image is either grey or not.
            assert_eq!(variants.len(), if nuisance == Nuisance::Grey { 2 } else { 6 }, "{nuisance:?}");
        }
    }

    #[test]
    fn names_are_as_in_manifests() {
        for nuisance in ALL {
            assert_eq!(serde_json::to_value(nuisance).unwrap(), nuisance.name());
        }
    }

    #[test]
    fn noise_is_approximately_standard_normal() {
        let mut rng = Streams::new(3).rng();
        let drawn: Vec<f32> = (0..20_000).map(|_| normal(&mut rng)).collect();
        let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
        let variance = drawn.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / drawn.len() as f32;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}

//! Orientation: cameras store pictures as the sensor lies, and how to turn them beside the pixels.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use crate::pictures::picture::Raster;

/// The image as it is to be seen.
pub(super) fn oriented(raster: Raster, orientation: Orientation) -> Raster {
    if orientation == Orientation::NoTransforms {
        return raster;
    }
    let (width, height) = (raster.width as u32, raster.height as u32);
    let image = RgbImage::from_raw(width, height, raster.pixels).expect("a raster has height × width × 3 bytes");
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    let (height, width) = (image.height() as usize, image.width() as usize);
    Raster { height, width, pixels: image.into_rgb8().into_raw() }
}

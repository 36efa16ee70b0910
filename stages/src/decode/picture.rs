//! From the bytes of an image file to RGB pixels.
//!
//! JPEG, PNG, WebP, GIF (the first frame), BMP and TIFF; grey, palette, CMYK, 16 bits and transparency become 8-bit RGB, and
//! the orientation that a camera noted is applied. What a file claims is checked before memory is taken for it.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::tables::images::Picture;

/// Bytes that a decoder may take for each pixel that is allowed: 16-bit RGBA.
const BYTES_PER_PIXEL: u64 = 8;

/// What an image may claim, so that a small file cannot fill the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Pixels of an image.
    pub pixels: u64,
    /// Bytes of an image file.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pixels: 32_000_000, bytes: 64 << 20 }
    }
}

/// An image in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

impl Raster {
    /// The same image, borrowed.
    pub fn as_picture(&self) -> Picture<'_> {
        Picture { height: self.height, width: self.width, pixels: &self.pixels }
    }
}

/// Why the bytes are no image; the message goes behind the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It is larger than the limits allow.
    #[error("has {found} {unit}, more than the limit of {limit}")]
    Limit {
        /// How much there is.
        found: u64,
        /// Of what.
        unit: &'static str,
        /// How much may be.
        limit: u64,
    },
    /// No known format begins like this.
    #[error("is no JPEG, PNG, WebP, GIF, BMP or TIFF image")]
    UnknownFormat,
    /// The decoder refused.
    #[error("cannot be decoded as {format}: {reason}")]
    Damaged {
        /// The format that its first bytes tell.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

/// The picture in `bytes`, what is transparent over `background`.
///
/// # Errors
/// It is no image, damaged or cut short, or beyond the limits.
pub fn decode(bytes: &[u8], background: [u8; 3], limits: Limits) -> Result<Raster, PictureError> {
    if bytes.len() as u64 > limits.bytes {
        return Err(PictureError::Limit { found: bytes.len() as u64, unit: "bytes", limit: limits.bytes });
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg(bytes, limits),
        Ok(format) => other(bytes, format, background, limits),
        Err(_) => Err(PictureError::UnknownFormat),
    }
}

/// A JPEG image. A file that breaks the standard but is whole is shown as other programs show it; one that is cut short
/// is not, since its lower part would be grey.
fn jpeg(bytes: &[u8], limits: Limits) -> Result<Raster, PictureError> {
    let damaged = |reason: String| PictureError::Damaged { format: "JPEG", reason };
    let decoded = |strict: bool| {
        let options = DecoderOptions::default()
            .set_strict_mode(strict)
            .set_max_width(usize::MAX)
            .set_max_height(usize::MAX)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(|error| damaged(error.to_string()))?;
        let (width, height) = decoder.dimensions().ok_or_else(|| damaged("it has no size".to_owned()))?;
        check_size(width as u64, height as u64, limits)?;
        let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
        let pixels = decoder.decode().map_err(|error| damaged(error.to_string()))?;
        if pixels.len() != width * height * 3 {
            return Err(damaged(format!("{} bytes for {width} × {height} pixels", pixels.len())));
        }
        Ok(turned(Raster { height, width, pixels }, orientation.unwrap_or(Orientation::NoTransforms)))
    };
    match decoded(true) {
        Err(PictureError::Damaged { .. }) if ends_as_jpeg(bytes) => decoded(false),
        result => result,
    }
}

/// Whether the last marker is the end of the image; some writers pad after it.
fn ends_as_jpeg(bytes: &[u8]) -> bool {
    bytes
        .trim_ascii_end()
        .strip_suffix(b"\0")
        .unwrap_or(bytes)
        .rsplit(|&byte| byte == 0xff)
        .next()
        .is_some_and(|tail| tail.first() == Some(&0xd9))
}

fn other(bytes: &[u8], format: ImageFormat, background: [u8; 3], limits: Limits) -> Result<Raster, PictureError> {
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => return Err(PictureError::UnknownFormat),
    };
    let damaged = |error: image::ImageError| PictureError::Damaged { format: name, reason: error.to_string() };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut allowed = image::Limits::default();
    allowed.max_alloc = Some(limits.pixels * BYTES_PER_PIXEL);
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let pixels = flat(decoded, background);
    Ok(turned(Raster { height: height as usize, width: width as usize, pixels: pixels.into_raw() }, orientation))
}

fn check_size(width: u64, height: u64, limits: Limits) -> Result<(), PictureError> {
    let found = width * height;
    if found > limits.pixels {
        return Err(PictureError::Limit { found, unit: "pixels", limit: limits.pixels });
    }
    // The table of images counts rows and columns in 16 bits.
    let longest = width.max(height);
    if longest > u64::from(u16::MAX) {
        return Err(PictureError::Limit { found: longest, unit: "pixels in a row", limit: u16::MAX.into() });
    }
    Ok(())
}

/// 8-bit RGB, what is transparent over `background`.
fn flat(image: DynamicImage, background: [u8; 3]) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let mut flat = RgbImage::new(image.width(), image.height());
    for (to, from) in flat.pixels_mut().zip(image.pixels()) {
        let [colour @ .., alpha] = from.0;
        to.0 = std::array::from_fn(|c| {
            let alpha = u32::from(alpha);
            ((u32::from(colour[c]) * alpha + u32::from(background[c]) * (255 - alpha) + 127) / 255) as u8
        });
    }
    flat
}

fn turned(raster: Raster, orientation: Orientation) -> Raster {
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

//! Decoding image files to RGB pixels.
//!
//! Formats are JPEG, PNG, WebP, GIF (the first frame), BMP, TIFF and, with the feature `svg`, SVG. Greyscale, palettes, CMYK,
//! 16 bits per channel and transparency are converted to 8-bit RGB, and the orientation in the EXIF data is applied. The size
//! that a file claims is checked before memory is allocated for it.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::pictures::limits::{Limits, PictureError, check_size};
use crate::pictures::orientation::oriented;
use crate::pictures::picture::Raster;
use crate::pictures::tiff;

/// How the pointer begins that Git LFS leaves in place of a file.
const POINTER: &[u8] = b"version https://git-lfs";

/// Bytes that a decoder may allocate per allowed pixel: 16-bit RGBA.
const BYTES_PER_PIXEL: u64 = 8;
/// Bytes that it may allocate in any case, so that it can read the size of the image, which is then checked.
const LEAST_BYTES: u64 = 1 << 20;

/// Decodes the image in `bytes`; transparent pixels are blended over `background`. The memory of `spare` is reused where
/// possible, since allocating an image takes a tenth of the time of decoding it.
///
/// # Errors
/// The bytes are not an image, damaged or truncated, or exceed the limits.
pub fn decode(bytes: &[u8], background: [u8; 3], limits: Limits, spare: Vec<u8>) -> Result<Raster, PictureError> {
    if bytes.len() as u64 > limits.bytes {
        return Err(PictureError::Limit { found: bytes.len() as u64, unit: "bytes", limit: limits.bytes });
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg(bytes, limits, spare),
        Ok(ImageFormat::Tiff) => match tiff::decode(bytes, background, limits)? {
            Some(raster) => Ok(raster),
            None => other(bytes, ImageFormat::Tiff, background, limits),
        },
        Ok(format) => other(bytes, format, background, limits),
        Err(_) if is_drawing(bytes) => drawing(bytes, background, limits),
        Err(_) if bytes.is_empty() => Err(PictureError::Empty),
        Err(_) if bytes.starts_with(POINTER) => Err(PictureError::Pointer),
        Err(_) => Err(PictureError::UnknownFormat),
    }
}

/// Decodes a JPEG image. A complete file that violates the standard is decoded as other programs do; a truncated one is
/// refused, since its lower part would be grey.
fn jpeg(bytes: &[u8], limits: Limits, mut pixels: Vec<u8>) -> Result<Raster, PictureError> {
    // The decoder's messages may have several lines.
    let damaged = |reason: String| PictureError::Damaged { format: "JPEG", reason: reason.trim().replace('\n', " ") };
    let mut decode = |strict: bool| {
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
        pixels.clear();
        pixels.resize(width * height * 3, 0);
        decoder.decode_into(&mut pixels).map_err(|error| damaged(error.to_string()))?;
        Ok((height, width, orientation.unwrap_or(Orientation::NoTransforms)))
    };
    let (height, width, orientation) = match decode(true) {
        Err(PictureError::Damaged { .. }) if ends_as_jpeg(bytes) => decode(false)?,
        result => result?,
    };
    Ok(oriented(Raster { height, width, pixels }, orientation))
}

/// Whether the last marker is the end of the image. Some writers add padding after it.
fn ends_as_jpeg(bytes: &[u8]) -> bool {
    bytes.rsplit(|&byte| byte == 0xff).next().is_some_and(|tail| tail.first() == Some(&0xd9))
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
    allowed.max_alloc = Some(limits.pixels.saturating_mul(BYTES_PER_PIXEL).max(LEAST_BYTES));
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let pixels = to_rgb8(decoded, background);
    Ok(oriented(Raster { height: height as usize, width: width as usize, pixels: pixels.into_raw() }, orientation))
}

/// Whether the bytes begin like XML with an `svg` element near the beginning.
pub fn is_drawing(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    head.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with('<') && head.contains("<svg")
}

#[cfg(feature = "svg")]
fn drawing(bytes: &[u8], background: [u8; 3], limits: Limits) -> Result<Raster, PictureError> {
    crate::pictures::svg::render(bytes, background, limits, None)
}

#[cfg(not(feature = "svg"))]
fn drawing(_: &[u8], _: [u8; 3], _: Limits) -> Result<Raster, PictureError> {
    Err(PictureError::SvgUnsupported)
}

/// Converts to 8-bit RGB; transparent pixels are blended over `background`.
fn to_rgb8(image: DynamicImage, background: [u8; 3]) -> RgbImage {
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

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, GrayAlphaImage, GrayImage, ImageBuffer, ImageEncoder, Luma, Rgb, Rgba, RgbaImage};

    use super::*;

    const WHITE: [u8; 3] = [255; 3];

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A smooth picture, so that lossy formats stay near it.
    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y) * 255 / (width + height)) as u8])
        })
    }

    fn decoded(bytes: &[u8]) -> Raster {
        decode(bytes, WHITE, Limits::default(), Vec::new()).unwrap()
    }

    fn refused(bytes: &[u8], limits: Limits) -> String {
        decode(bytes, WHITE, limits, Vec::new()).unwrap_err().to_string()
    }

    #[test]
    fn every_format_is_read() {
        let picture = picture(40, 24);
        let check = |format, tolerance: u8| {
            let raster = decoded(&encoded(&DynamicImage::ImageRgb8(picture.clone()), format));
            assert_eq!((raster.height, raster.width), (24, 40), "{format:?}");
            let worst = raster.pixels.iter().zip(picture.as_raw()).map(|(&a, &b)| a.abs_diff(b)).max();
            assert!(worst <= Some(tolerance), "{format:?}: {worst:?}");
        };
        check(ImageFormat::Png, 0);
        check(ImageFormat::Bmp, 0);
        check(ImageFormat::Tiff, 0);
        check(ImageFormat::WebP, 0);
        check(ImageFormat::Jpeg, 12);
        // A palette of 256 colours.
        check(ImageFormat::Gif, 40);
    }

    #[test]
    fn the_largest_limit_is_no_limit() {
        let png = encoded(&DynamicImage::ImageRgb8(picture(40, 24)), ImageFormat::Png);
        let limits = Limits { pixels: u64::MAX, bytes: u64::MAX };
        assert_eq!(decode(&png, WHITE, limits, Vec::new()).unwrap().width, 40);
    }

    #[test]
    fn grey_deep_and_transparent_pixels_become_rgb() {
        let first = |image: DynamicImage| decoded(&encoded(&image, ImageFormat::Png)).pixels[..3].to_vec();
        assert_eq!(first(DynamicImage::ImageLuma8(GrayImage::from_pixel(3, 2, Luma([77])))), [77; 3]);
        let deep = ImageBuffer::from_pixel(3, 2, Rgb([257_u16 * 10, 0, u16::MAX]));
        assert_eq!(first(DynamicImage::ImageRgb16(deep)), [10, 0, 255]);
        let glass = RgbaImage::from_pixel(3, 2, Rgba([100, 0, 200, 51]));
        assert_eq!(first(DynamicImage::ImageRgba8(glass)), [224, 204, 244]);
        let clear = GrayAlphaImage::from_pixel(3, 2, image::LumaA([9, 0]));
        let clear = encoded(&DynamicImage::ImageLumaA8(clear), ImageFormat::Png);
        assert_eq!(decode(&clear, [1, 2, 3], Limits::default(), Vec::new()).unwrap().pixels[..3], [1, 2, 3]);
    }

    #[test]
    fn the_exif_orientation_is_applied() {
        let image = picture(16, 8);
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
        // Little-endian TIFF with one entry: tag 0x0112, type SHORT, one value, 6 for a quarter turn clockwise.
        let exif = *b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.write_image(image.as_raw(), 16, 8, ExtendedColorType::Rgb8).unwrap();
        let raster = decoded(&bytes);
        assert_eq!((raster.height, raster.width), (16, 8));
        let turned = image::imageops::rotate90(&image);
        let worst = raster.pixels.iter().zip(turned.as_raw()).map(|(&a, &b)| a.abs_diff(b)).max();
        assert!(worst <= Some(8), "{worst:?}");
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        let png = encoded(&DynamicImage::ImageRgb8(picture(40, 24)), ImageFormat::Png);
        let jpeg = encoded(&DynamicImage::ImageRgb8(picture(40, 24)), ImageFormat::Jpeg);
        let cut = |bytes: &[u8]| refused(&bytes[..bytes.len() * 2 / 3], Limits::default());
        insta::assert_snapshot!(refused(b"hello", Limits::default()), @"is not a JPEG, PNG, WebP, GIF, BMP or TIFF image");
        insta::assert_snapshot!(refused(b"", Limits::default()), @"is empty");
        insta::assert_snapshot!(
            refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", Limits::default()),
            @"is a pointer of Git LFS; `git lfs pull` fetches the image"
        );
        insta::assert_snapshot!(cut(&png), @"cannot be decoded as PNG: unexpected end of file");
        insta::assert_snapshot!(cut(&jpeg), @"cannot be decoded as JPEG: I/O errors Not enough bytes, expected 162 but found 85");
        let small = Limits { pixels: 900, ..Limits::default() };
        insta::assert_snapshot!(refused(&png, small), @"has 960 pixels, more than the limit of 900");
        insta::assert_snapshot!(refused(&jpeg, small), @"has 960 pixels, more than the limit of 900");
        insta::assert_snapshot!(refused(&png, Limits { pixels: 1, ..small }), @"has 960 pixels, more than the limit of 1");
        let small = Limits { bytes: 100, ..Limits::default() };
        insta::assert_snapshot!(refused(&png[..101], small), @"has 101 bytes, more than the limit of 100");
    }

    #[test]
    fn a_complete_jpeg_that_violates_the_standard_is_read() {
        let mut jpeg = encoded(&DynamicImage::ImageRgb8(picture(40, 24)), ImageFormat::Jpeg);
        let plain = decoded(&jpeg);
        // Padding between two headers and after the end. The first header begins at byte 2 with its marker and length.
        let second = 4 + usize::from(u16::from_be_bytes([jpeg[4], jpeg[5]]));
        jpeg.splice(second..second, [0; 9]);
        jpeg.extend([0; 3]);
        assert_eq!(decoded(&jpeg), plain);
    }

    #[test]
    fn the_instruction_set_does_not_matter() {
        let jpeg = encoded(&DynamicImage::ImageRgb8(picture(253, 127)), ImageFormat::Jpeg);
        let options = DecoderOptions::default().set_use_unsafe(false).jpeg_set_out_colorspace(ColorSpace::RGB);
        let plain = JpegDecoder::new_with_options(ZCursor::new(&jpeg), options).decode().unwrap();
        assert_eq!(decoded(&jpeg).pixels, plain);
    }
}

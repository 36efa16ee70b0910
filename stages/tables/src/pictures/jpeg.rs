//! JPEG artefacts: the image is compressed and decompressed again.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};

use super::square::Square;

/// Compresses at `quality`, 1 to 100, and decompresses again.
pub fn artefacts(square: &mut Square<'_>, quality: u8) {
    let side = square.side as u32;
    let mut compressed = Vec::new();
    JpegEncoder::new_with_quality(&mut compressed, quality.clamp(1, 100))
        .encode(square.pixels, side, side, ExtendedColorType::Rgb8)
        .expect("a square of RGB bytes can be encoded into memory");
    let decoded = image::load_from_memory_with_format(&compressed, ImageFormat::Jpeg)
        .expect("what was just encoded can be decoded");
    square.pixels.copy_from_slice(&decoded.into_rgb8());
}

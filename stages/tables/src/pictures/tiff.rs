//! TIFF images with palettes, floating-point samples, YCbCr colours or an unusual number of bits, which the `image` crate refuses.
//!
//! Floats are taken for shares of white if none of them exceeds 1, and for values from 0 to 255 otherwise, as Pillow does; what is
//! beyond is clipped, and so are signed integers. Unsigned ones of more than 8 bits keep their highest 8.
//!
//! Source: "TIFF Revision 6.0", Adobe 1992; YCbCr is that of JPEG (ITU-R BT.601 with all 256 values).

use std::borrow::Cow;
use std::io::Cursor;

use ::tiff::ColorType;
use ::tiff::decoder::{Decoder, DecodingResult, Limits as TiffLimits};
use ::tiff::tags::Tag;
use image::metadata::Orientation;

use crate::pictures::limits::{Limits, PictureError, check_size};
use crate::pictures::orientation::oriented;
use crate::pictures::picture::Raster;

/// Tag of the interpretation of samples, and its values for grey samples and for positions in a palette.
const INTERPRETATION: u16 = 262;
const GREY: u16 = 1;
const PALETTE: u16 = 3;
/// The type of a tag that is a 16-bit number.
const SHORT: u16 = 3;

/// Decodes the image; `Ok(None)` if it is one that the `image` crate reads.
pub(super) fn decode(bytes: &[u8], background: [u8; 3], limits: Limits) -> Result<Option<Raster>, PictureError> {
    let damaged = |error: ::tiff::TiffError| PictureError::Damaged { format: "TIFF", reason: error.to_string() };
    // The decoder refuses palettes, but reads the positions in them as grey samples.
    let as_grey = palette_as_grey(bytes);
    let has_palette = as_grey.is_some();
    let bytes = as_grey.map_or(Cow::Borrowed(bytes), Cow::Owned);
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(damaged)?.with_limits(allowed(limits));
    let colours = decoder.colortype().map_err(damaged)?;
    let (width, height) = decoder.dimensions().map_err(damaged)?;
    check_size(width.into(), height.into(), limits)?;
    let is_planar = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).ok().flatten() == Some(2);
    let sample_format = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).ok().flatten();
    // Signed integers are 2, floats are 3.
    let is_unusual = sample_format.is_some_and(|formats| matches!(formats.first(), Some(2 | 3)));
    let samples = match colours {
        _ if has_palette => 1,
        ColorType::Gray(bits) if is_unusual || !matches!(bits, 1 | 8 | 16) => 1,
        ColorType::Multiband { num_samples: 2, .. } => 2,
        ColorType::GrayA(_) if is_unusual => 2,
        ColorType::RGB(bits) if is_unusual || bits > 16 => 3,
        ColorType::YCbCr(8) => 3,
        ColorType::RGBA(bits) if is_unusual || bits > 16 => 4,
        _ => return Ok(None),
    };
    if is_planar && samples > 1 {
        return Ok(None);
    }
    if has_palette && colours.bit_depth() > 8 {
        return Err(PictureError::Damaged {
            format: "TIFF",
            reason: "its palette has more than 256 colours".to_owned(),
        });
    }
    let palette = has_palette.then(|| decoder.get_tag_u16_vec(Tag::ColorMap)).transpose().map_err(damaged)?;
    let orientation = decoder.find_tag_unsigned::<u8>(Tag::Orientation).ok().flatten();
    let orientation = orientation.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms);
    let (width, height) = (width as usize, height as usize);
    let bits = colours.bit_depth();
    let values = match decoder.read_image().map_err(damaged)? {
        DecodingResult::U8(packed) if bits < 8 => unpacked(&packed, width * samples, height, bits, palette.is_none()),
        read => bytes_of(read),
    };
    if values.len() < width * height * samples {
        return Err(PictureError::Damaged { format: "TIFF", reason: "it has too few samples".to_owned() });
    }
    let mut pixels = Vec::with_capacity(width * height * 3);
    for sample in values.chunks_exact(samples).take(width * height) {
        pixels.extend(match (sample, &palette) {
            (&[position], Some(palette)) => colour_of(palette, position).ok_or_else(|| PictureError::Damaged {
                format: "TIFF",
                reason: "its palette is too short".to_owned(),
            })?,
            (&[grey], None) => [grey; 3],
            (&[grey, alpha], _) => blended([grey; 3], alpha, background),
            (&[y, cb, cr], _) if matches!(colours, ColorType::YCbCr(_)) => from_ycbcr(y, cb, cr),
            (&[r, g, b], _) => [r, g, b],
            (&[r, g, b, alpha], _) => blended([r, g, b], alpha, background),
            _ => unreachable!("there are one to four samples"),
        });
    }
    Ok(Some(oriented(Raster { height, width, pixels }, orientation)))
}

/// A copy of the file in which a palette is declared to be grey samples; `None` if the first image has no palette.
fn palette_as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_little = bytes.starts_with(b"II");
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    };
    let is_big = number(2, 2)? == 43;
    let (offset, count_length, entry_length, value_at) =
        if is_big { (number(8, 8)?, 8, 20, 12) } else { (number(4, 4)?, 2, 12, 8) };
    let offset = usize::try_from(offset).ok()?;
    let first = offset.checked_add(count_length)?;
    for entry in 0..usize::try_from(number(offset, count_length)?).ok()?.min(bytes.len() / entry_length) {
        let at = first.checked_add(entry.checked_mul(entry_length)?)?;
        if number(at, 2)? == u64::from(INTERPRETATION) {
            let value = at + value_at;
            let is_palette = number(at + 2, 2)? == u64::from(SHORT) && number(value, 2)? == u64::from(PALETTE);
            return is_palette.then(|| {
                let mut bytes = bytes.to_vec();
                let grey = if is_little { GREY.to_le_bytes() } else { GREY.to_be_bytes() };
                bytes[value..value + 2].copy_from_slice(&grey);
                bytes
            });
        }
    }
    None
}

fn allowed(limits: Limits) -> TiffLimits {
    let mut allowed = TiffLimits::default();
    // Up to four floats of 64 bits per pixel.
    allowed.decoding_buffer_size = usize::try_from(limits.pixels.saturating_mul(32)).unwrap_or(usize::MAX);
    allowed
}

/// Samples of fewer than 8 bits, of rows that begin at whole bytes. Grey ones are spread over 0 to 255.
fn unpacked(packed: &[u8], row_length: usize, rows: usize, bits: u8, spread: bool) -> Vec<u8> {
    let row_bytes = (row_length * usize::from(bits)).div_ceil(8);
    let most = (1_u16 << bits) - 1;
    let mut values = Vec::with_capacity(row_length * rows);
    for row in packed.chunks_exact(row_bytes.max(1)).take(rows) {
        for index in 0..row_length {
            let bit = index * usize::from(bits);
            let pair = u16::from(row[bit / 8]) << 8 | u16::from(row.get(bit / 8 + 1).copied().unwrap_or(0));
            let value = pair >> (16 - bit % 8 - usize::from(bits)) & most;
            values.push(if spread { (value * 255 / most) as u8 } else { value as u8 });
        }
    }
    values
}

/// The samples as 8-bit numbers.
fn bytes_of(read: DecodingResult) -> Vec<u8> {
    match read {
        DecodingResult::U8(values) => values,
        DecodingResult::U16(values) => values.into_iter().map(|value| (value >> 8) as u8).collect(),
        DecodingResult::U32(values) => values.into_iter().map(|value| (value >> 24) as u8).collect(),
        DecodingResult::U64(values) => values.into_iter().map(|value| (value >> 56) as u8).collect(),
        DecodingResult::F16(values) => of_floats(values.into_iter().map(f64::from)),
        DecodingResult::F32(values) => of_floats(values.into_iter().map(f64::from)),
        DecodingResult::F64(values) => of_floats(values.into_iter()),
        DecodingResult::I8(values) => clipped(values.into_iter().map(i64::from)),
        DecodingResult::I16(values) => clipped(values.into_iter().map(i64::from)),
        DecodingResult::I32(values) => clipped(values.into_iter().map(i64::from)),
        DecodingResult::I64(values) => clipped(values.into_iter()),
    }
}

fn clipped(values: impl Iterator<Item = i64>) -> Vec<u8> {
    values.map(|value| value.clamp(0, 255) as u8).collect()
}

fn of_floats(values: impl Iterator<Item = f64> + Clone) -> Vec<u8> {
    let white = if values.clone().all(|value| value.is_nan() || value <= 1.0) { 255.0 } else { 1.0 };
    // A number that is not one is black: the conversion makes 0 of it.
    values.map(|value| (value * white).round().clamp(0.0, 255.0) as u8).collect()
}

/// The colour at a position of a palette, which holds 16 bits of red for each position, then of green, then of blue.
fn colour_of(palette: &[u16], position: u8) -> Option<[u8; 3]> {
    let length = palette.len() / 3;
    let position = usize::from(position);
    (position < length).then(|| std::array::from_fn(|colour| (palette[colour * length + position] >> 8) as u8))
}

fn blended(colour: [u8; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    std::array::from_fn(|c| {
        let alpha = u32::from(alpha);
        ((u32::from(colour[c]) * alpha + u32::from(background[c]) * (255 - alpha) + 127) / 255) as u8
    })
}

fn from_ycbcr(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (f64::from(y), f64::from(cb) - 128.0, f64::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
        .map(|value| value.round().clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use ::tiff::encoder::{TiffEncoder, colortype};

    use super::*;

    const WHITE: [u8; 3] = [255; 3];

    fn pixels(bytes: &[u8]) -> Vec<u8> {
        crate::pictures::decode(bytes, WHITE, Limits::default(), Vec::new()).unwrap().pixels
    }

    /// A file of one strip, written by hand: tags as (number, values), of 16 bits each.
    fn file(tags: &[(u16, &[u16])], strip: &[u8], big_endian: bool) -> Vec<u8> {
        let short = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let long = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut tags: Vec<(u16, Vec<u16>)> = tags.iter().map(|(tag, values)| (*tag, values.to_vec())).collect();
        tags.extend([(278, vec![1000]), (279, vec![strip.len() as u16]), (273, vec![0])]);
        tags.sort();
        let mut outside = 8 + 2 + tags.len() * 12 + 4;
        let mut bytes = if big_endian { b"MM\0*\0\0\0\x08".to_vec() } else { b"II*\0\x08\0\0\0".to_vec() };
        bytes.extend(short(tags.len() as u16));
        let strip_at =
            outside + tags.iter().map(|(_, values)| if values.len() > 2 { values.len() * 2 } else { 0 }).sum::<usize>();
        let mut rest = Vec::new();
        for (tag, values) in &tags {
            let values = if *tag == 273 { vec![strip_at as u16] } else { values.clone() };
            bytes.extend([short(*tag), short(SHORT)].concat());
            bytes.extend(long(values.len() as u32));
            let data: Vec<u8> = values.iter().flat_map(|&value| short(value)).collect();
            if data.len() <= 4 {
                bytes.extend([data.clone(), vec![0; 4 - data.len()]].concat());
            } else {
                bytes.extend(long(outside as u32));
                outside += data.len();
                rest.extend(data);
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(rest);
        bytes.extend(strip);
        bytes
    }

    #[test]
    fn palettes_of_any_depth_are_read() {
        for big_endian in [false, true] {
            let check = |bits: u16, strip: &[u8], expected: &[u8]| {
                let colours = 1_usize << bits;
                // Position n is (n, 10 n, 255 − n) in the highest byte.
                let palette: Vec<u16> = (0..3)
                    .flat_map(|colour| (0..colours).map(move |n| [n, n * 10 % 256, 255 - n][colour] as u16 * 256 + 9))
                    .collect();
                let tags: [(u16, &[u16]); 7] =
                    [(256, &[3]), (257, &[2]), (258, &[bits]), (259, &[1]), (262, &[3]), (277, &[1]), (320, &palette)];
                let expected: Vec<u8> =
                    expected.iter().flat_map(|&n| [n, (u16::from(n) * 10 % 256) as u8, 255 - n]).collect();
                assert_eq!(pixels(&file(&tags, strip, big_endian)), expected, "{bits} bits");
            };
            check(8, &[0, 7, 255, 3, 2, 1], &[0, 7, 255, 3, 2, 1]);
            check(4, &[0x07, 0xf0, 0x32, 0x10], &[0, 7, 15, 3, 2, 1]);
            check(2, &[0b0001_1100, 0b1110_0100], &[0, 1, 3, 3, 2, 1]);
            check(1, &[0b0110_0000, 0b1010_0000], &[0, 1, 1, 1, 0, 1]);
        }
    }

    #[test]
    fn a_damaged_palette_is_refused() {
        let tags: [(u16, &[u16]); 7] =
            [(256, &[1]), (257, &[1]), (258, &[8]), (259, &[1]), (262, &[3]), (277, &[1]), (320, &[1; 30])];
        let error = decode(&file(&tags, &[200], false), WHITE, Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "cannot be decoded as TIFF: its palette is too short");
        let whole = file(&tags, &[2], false);
        for length in 0..whole.len() {
            assert!(crate::pictures::decode(&whole[..length], WHITE, Limits::default(), Vec::new()).is_err());
        }
    }

    fn encoded<C: colortype::ColorType>(width: u32, values: &[C::Inner]) -> Vec<u8>
    where
        [C::Inner]: ::tiff::encoder::TiffValue,
    {
        let mut bytes = Cursor::new(Vec::new());
        TiffEncoder::new(&mut bytes).unwrap().write_image::<C>(width, 1, values).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn floats_are_shares_of_white_or_values_up_to_255() {
        let grey = |values: &[f32]| pixels(&encoded::<colortype::Gray32Float>(values.len() as u32, values));
        let each = |values: &[u8]| values.iter().flat_map(|&value| [value; 3]).collect::<Vec<u8>>();
        assert_eq!(grey(&[0.0, 0.5, 1.0, -3.0, f32::NAN]), each(&[0, 128, 255, 0, 0]));
        assert_eq!(grey(&[0.0, 0.5, 100.4, 300.0]), each(&[0, 1, 100, 255]));
        assert_eq!(
            pixels(&encoded::<colortype::RGB32Float>(2, &[1.0, 0.0, 0.2, 0.0, 1.0, 0.4])),
            [255, 0, 51, 0, 255, 102]
        );
        assert_eq!(pixels(&encoded::<colortype::RGB32Float>(1, &[10.0, 20.0, 255.0])), [10, 20, 255]);
        assert_eq!(pixels(&encoded::<colortype::GrayI32>(3, &[-7, 100, 5000])), each(&[0, 100, 255]));
        assert_eq!(pixels(&encoded::<colortype::GrayI16>(2, &[-7, 100])), each(&[0, 100]));
        assert_eq!(pixels(&encoded::<colortype::Gray64Float>(1, &[0.2])), [51; 3]);
        assert_eq!(pixels(&encoded::<colortype::Gray32>(2, &[0, u32::MAX / 2])), each(&[0, 127]));
        assert_eq!(pixels(&encoded::<colortype::YCbCr8>(2, &[76, 85, 255, 255, 128, 128])), [254, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn ordinary_images_are_left_to_the_other_decoder() {
        assert!(decode(&encoded::<colortype::RGB8>(1, &[1, 2, 3]), WHITE, Limits::default()).unwrap().is_none());
        assert_eq!(pixels(&encoded::<colortype::RGB8>(1, &[1, 2, 3])), [1, 2, 3]);
        assert_eq!(pixels(&encoded::<colortype::Gray16>(1, &[1000])), [4; 3]);
    }
}

//! Contact sheet: rows of pictures, each with lines of text below it.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage, imageops};

/// Pixels between cells and around the sheet.
const GAP: u32 = 8;
/// Height of a line of text in pixels.
const LINE: u32 = 11;
/// Width of a character in pixels.
const CHARACTER: u32 = 6;
/// Background of a picture, so that the edges of a white one are visible.
const BACKGROUND: Rgb<u8> = Rgb([232, 232, 236]);
const INK: Rgb888 = Rgb888::new(24, 24, 28);
const PALE_INK: Rgb888 = Rgb888::new(112, 112, 120);

/// A picture with the text below it.
pub struct Cell {
    /// The picture, no larger than the cell.
    pub picture: RgbImage,
    /// The first line.
    pub title: String,
    /// Further lines, in a paler colour.
    pub notes: Vec<String>,
}

/// Draws a sheet of these rows. Its cells hold pictures of up to `side` × `side` pixels.
pub fn draw(rows: &[Vec<Cell>], side: u32) -> RgbImage {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let notes = rows.iter().flatten().map(|cell| cell.notes.len()).max().unwrap_or(0) as u32;
    let (across, down) = (side + GAP, side + (1 + notes) * LINE + GAP);
    let white = Rgb([255; 3]);
    let mut sheet = Canvas(RgbImage::from_pixel(GAP + columns * across, GAP + rows.len() as u32 * down, white));
    for (y, row) in (0..).zip(rows) {
        for (x, cell) in (0..).zip(row) {
            sheet.place(cell, GAP + x * across, GAP + y * down, side);
        }
    }
    sheet.0
}

/// An image on which text can be drawn.
struct Canvas(RgbImage);

impl Canvas {
    fn place(&mut self, cell: &Cell, left: u32, top: u32, side: u32) {
        let (width, height) = cell.picture.dimensions();
        imageops::replace(&mut self.0, &RgbImage::from_pixel(side, side, BACKGROUND), left.into(), top.into());
        let (x, y) = (left + side.saturating_sub(width) / 2, top + side.saturating_sub(height) / 2);
        imageops::replace(&mut self.0, &cell.picture, x.into(), y.into());
        for (line, text) in (0..).zip(std::iter::once(&cell.title).chain(&cell.notes)) {
            let text = shortened(text, (side / CHARACTER) as usize);
            let place = Point::new(left as i32, (top + side + 2 + line * LINE) as i32);
            let style = MonoTextStyle::new(&FONT_6X10, if line == 0 { INK } else { PALE_INK });
            let Ok(_) = Text::with_baseline(&text, place, style, Baseline::Top).draw(self);
        }
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = embedded_graphics::Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for embedded_graphics::Pixel(Point { x, y }, colour) in pixels {
            if let (Ok(x), Ok(y)) = (x.try_into(), y.try_into())
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

/// Shortens `text` to at most `max` characters. The middle is replaced by two dots, since names often differ at their ends.
fn shortened(text: &str, max: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= max {
        return text.to_owned();
    }
    let kept = max.saturating_sub(2);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    characters[..head].iter().chain(['.', '.'].iter()).chain(&characters[characters.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_centred_in_their_cells_above_their_text() {
        let red = || Cell {
            picture: RgbImage::from_pixel(10, 4, Rgb([255, 0, 0])),
            title: "I".into(),
            notes: vec![String::new()],
        };
        let sheet = draw(&[vec![red(), red()], vec![red()]], 20);
        assert_eq!(sheet.dimensions(), (8 + 2 * 28, 8 + 2 * 50));
        let at = |x, y| sheet.get_pixel(x, y).0;
        assert_eq!((at(0, 0), at(8, 8)), ([255; 3], BACKGROUND.0));
        for (x, y) in [(8 + 5, 8 + 8), (36 + 5, 8 + 8), (8 + 5, 58 + 8)] {
            assert_eq!((at(x, y), at(x + 9, y + 3), at(x + 10, y)), ([255, 0, 0], [255, 0, 0], BACKGROUND.0));
        }
        let inked =
            |top: u32| (top..top + 10).flat_map(|y| (8..28).map(move |x| (x, y))).any(|(x, y)| at(x, y)[0] == 24);
        assert!(inked(30) && !inked(41));
    }

    #[test]
    fn long_texts_are_shortened_in_the_middle() {
        assert_eq!(shortened("abcdefgh", 8), "abcdefgh");
        assert_eq!(shortened("abcdefghi", 8), "abc..ghi");
        assert_eq!(shortened("äöüäöü", 5), "äö..ü");
        assert_eq!(shortened("abc", 1), "..");
    }
}

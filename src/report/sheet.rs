//! A contact sheet: pictures in rows, each with lines of text below it.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage, imageops};

/// Pixels between cells, and round the sheet.
const GAP: u32 = 8;
/// Pixels of a line of text, and of its characters' width.
const LINE: u32 = 11;
const CHARACTER: u32 = 6;
/// What lies behind a picture, so that a white one is seen to end.
const BEHIND: Rgb<u8> = Rgb([232, 232, 236]);
const INK: Rgb888 = Rgb888::new(24, 24, 28);
const PALE_INK: Rgb888 = Rgb888::new(112, 112, 120);

/// A picture with its text.
pub struct Cell {
    /// At most as large as the cell.
    pub picture: RgbImage,
    /// The upper line.
    pub title: String,
    /// The lower, paler lines.
    pub notes: Vec<String>,
}

/// The sheet of these rows, whose cells hold pictures of `side` × `side` pixels.
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

/// An image of height × width that can be written on.
struct Canvas(RgbImage);

impl Canvas {
    fn place(&mut self, cell: &Cell, left: u32, top: u32, side: u32) {
        let (width, height) = cell.picture.dimensions();
        imageops::replace(&mut self.0, &RgbImage::from_pixel(side, side, BEHIND), left.into(), top.into());
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

/// At most `most` characters; two dots stand for what is left out in the middle, since ends tell names apart.
fn shortened(text: &str, most: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(2);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    characters[..head].iter().chain(['.', '.'].iter()).chain(&characters[characters.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_in_the_middle_of_their_cells_above_their_text() {
        let red = || Cell {
            picture: RgbImage::from_pixel(10, 4, Rgb([255, 0, 0])),
            title: "I".into(),
            notes: vec![String::new()],
        };
        let sheet = draw(&[vec![red(), red()], vec![red()]], 20);
        assert_eq!(sheet.dimensions(), (8 + 2 * 28, 8 + 2 * 50));
        let at = |x, y| sheet.get_pixel(x, y).0;
        assert_eq!((at(0, 0), at(8, 8)), ([255; 3], BEHIND.0));
        for (x, y) in [(8 + 5, 8 + 8), (36 + 5, 8 + 8), (8 + 5, 58 + 8)] {
            assert_eq!((at(x, y), at(x + 9, y + 3), at(x + 10, y)), ([255, 0, 0], [255, 0, 0], BEHIND.0));
        }
        let inked =
            |top: u32| (top..top + 10).flat_map(|y| (8..28).map(move |x| (x, y))).any(|(x, y)| at(x, y)[0] == 24);
        assert!(inked(30) && !inked(41));
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(shortened("abcdefgh", 8), "abcdefgh");
        assert_eq!(shortened("abcdefghi", 8), "abc..ghi");
        assert_eq!(shortened("äöüäöü", 5), "äö..ü");
        assert_eq!(shortened("abc", 1), "..");
    }
}

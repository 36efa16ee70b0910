//! The embedding projector: vectors, what is known of each, and one picture of all pictures.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::Path;

use dnc_stages::tables::images::Images;
use dnc_stages::tables::pictures::resize;
use image::{ImageFormat, Rgb, RgbImage};

use crate::export::error::ExportError;
use crate::export::files;
use crate::export::subject::Subject;
use crate::pages::evidence::{Catalogue, Embedded};

/// Most points; the projector itself takes a sample of more for its t-SNE.
const MOST: usize = 10_000;
/// Largest width and height of the picture of all pictures, which browsers and graphics cards have a limit for.
const SPRITE: u32 = 8_192;
/// Largest side of one picture in it.
const SIDE: u32 = 96;

/// Writes the files of the projector; the number of points.
pub(super) fn write(
    subject: &Subject,
    embedded: &Embedded,
    catalogue: &Catalogue,
    folder: &Path,
) -> Result<usize, ExportError> {
    let step = embedded.ids.len().div_ceil(MOST).max(1);
    let rows: Vec<usize> = (0..embedded.ids.len()).step_by(step).collect();
    let mut vectors = String::new();
    let mut metadata = String::from("class\tsplit\tid\tsource\n");
    for &row in &rows {
        let values: Vec<String> = embedded.vector(row).iter().map(ToString::to_string).collect();
        writeln!(vectors, "{}", values.join("\t")).expect("writing to a string cannot fail");
        let id = embedded.ids[row];
        let [class, source] = [catalogue.class(embedded.labels[row]), catalogue.source(id).to_owned()].map(cell);
        writeln!(metadata, "{class}\t{}\t{id}\t{source}", embedded.splits[row].name())
            .expect("writing to a string cannot fail");
    }
    files::write(&folder.join("vectors.tsv"), vectors)?;
    files::write(&folder.join("metadata.tsv"), metadata)?;
    let mut config = format!(
        "embeddings {{\n  tensor_name: \"{}\"\n  tensor_shape: {}\n  tensor_shape: {}\n  tensor_path: \"vectors.tsv\"\n  \
         metadata_path: \"metadata.tsv\"\n",
        embedded.node,
        rows.len(),
        embedded.dim
    );
    if let Some(side) = sprite(subject, embedded, &rows, &folder.join("sprite.png"))? {
        write!(
            config,
            "  sprite {{\n    image_path: \"sprite.png\"\n    single_image_dim: {side}\n    single_image_dim: {side}\n  }}\n"
        )
        .expect("writing to a string cannot fail");
    }
    files::write(&folder.join("projector_config.pbtxt"), config + "}\n")?;
    Ok(rows.len())
}

/// Text without what separates cells and rows.
fn cell(text: String) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}

/// The side of a picture where so many fit in a square.
fn side(pictures: usize) -> (u32, u32) {
    let columns = (pictures.max(1) as f64).sqrt().ceil() as u32;
    (columns, (SPRITE / columns).clamp(1, SIDE))
}

/// Writes the picture of all pictures, row by row; the side of each. `None` if the store no longer has the images.
fn sprite(subject: &Subject, embedded: &Embedded, rows: &[usize], path: &Path) -> Result<Option<u32>, ExportError> {
    let Some(artifact) = subject.images()? else { return Ok(None) };
    let images = Images::open(&artifact)?;
    let pixels = images.pixels()?;
    let (columns, side) = side(rows.len());
    let height = (rows.len() as u32).div_ceil(columns).max(1);
    let mut sprite = RgbImage::from_pixel(columns * side, height * side, Rgb([255; 3]));
    for (at, &row) in rows.iter().enumerate() {
        let Some(image) = images.row(embedded.ids[row]) else { continue };
        let picture = pixels.of(image);
        let longest = picture.height.max(picture.width).max(1);
        let [height, width] = [picture.height, picture.width].map(|length| (length * side as usize / longest).max(1));
        let scaled = resize::resized(picture, height, width);
        let image = RgbImage::from_raw(width as u32, height as u32, scaled)
            .expect("a scaled picture has as many pixels as its size says");
        let (column, line) = (at as u32 % columns, at as u32 / columns);
        let centre = |position: u32, length: usize| i64::from(position * side + (side - length as u32) / 2);
        image::imageops::replace(&mut sprite, &image, centre(column, width), centre(line, height));
    }
    let mut bytes = Cursor::new(Vec::new());
    sprite.write_to(&mut bytes, ImageFormat::Png).expect("an image in memory can be written to memory");
    files::write(path, bytes.into_inner())?;
    Ok(Some(side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pictures_fit_in_the_sprite() {
        for (pictures, expected) in [(1, (1, 96)), (10, (4, 96)), (7_225, (85, 96)), (10_000, (100, 81))] {
            assert_eq!(side(pictures), expected);
            assert!(expected.0 * expected.1 <= SPRITE && (expected.0 as usize).pow(2) >= pictures);
        }
    }
}

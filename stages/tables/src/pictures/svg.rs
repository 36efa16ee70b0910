//! Rendering SVG in its own size. Text, embedded images and referenced files are left out, so that the result depends only on
//! the bytes of the file.

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{ImageHrefResolver, Options, Tree};

use super::limits::{Limits, PictureError, check_size};
use super::picture::Raster;

/// Renders the drawing in `bytes` over `background`, in its own size or so that its longer side has `longest` pixels.
///
/// # Errors
/// The bytes are not an SVG drawing, or it exceeds the limits.
pub fn render(bytes: &[u8], background: [u8; 3], limits: Limits, longest: Option<u16>) -> Result<Raster, PictureError> {
    let damaged = |reason: String| PictureError::Damaged { format: "SVG", reason };
    let resolver = ImageHrefResolver { resolve_string: Box::new(|_, _| None), ..ImageHrefResolver::default() };
    let options = Options { image_href_resolver: resolver, ..Options::default() };
    let tree = Tree::from_data(bytes, &options).map_err(|error| damaged(error.to_string()))?;
    let own = tree.size();
    let scale = longest.map_or(1.0, |longest| f32::from(longest) / own.width().max(own.height()));
    // A conversion with `as` clamps; sizes that are too large are refused in the next line.
    let [width, height] = [own.width(), own.height()].map(|length| (length * scale).round().max(1.0) as u32);
    check_size(width.into(), height.into(), limits)?;
    let mut pixmap = Pixmap::new(width, height).ok_or_else(|| damaged("it has no size".to_owned()))?;
    let [red, green, blue] = background;
    pixmap.fill(Color::from_rgba8(red, green, blue, u8::MAX));
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    let pixels = pixmap.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
    Ok(Raster { height: height as usize, width: width as usize, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWING: &[u8] = br##"<svg xmlns="http://www.w3.org/2000/svg" width="8" height="4">
        <rect width="4" height="4" fill="#204060"/><image href="/etc/hostname" width="8" height="4"/></svg>"##;

    #[test]
    fn a_drawing_is_rendered_over_the_background_in_any_size() {
        let check = |longest, height: usize, width: usize| {
            let raster = render(DRAWING, [1, 2, 3], Limits::default(), longest).unwrap();
            assert_eq!((raster.height, raster.width), (height, width));
            assert_eq!(raster.pixels[..3], [0x20, 0x40, 0x60]);
            assert_eq!(raster.pixels[width * 3 - 3..][..3], [1, 2, 3]);
        };
        check(None, 4, 8);
        check(Some(96), 48, 96);
    }

    #[test]
    fn a_huge_or_broken_drawing_is_refused() {
        let refused =
            |bytes: &[u8], longest| render(bytes, [0; 3], Limits::default(), longest).unwrap_err().to_string();
        assert!(refused(DRAWING, Some(u16::MAX)).starts_with("has 2147418112 pixels"));
        assert!(refused(b"<svg", None).starts_with("cannot be decoded as SVG"));
    }
}

//! Antialiased resizing: the convolution of Pillow's `BILINEAR`, whose triangle filter widens with the reduction.

use std::cell::RefCell;

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::pictures::picture::Picture;
use crate::views::Region;

thread_local! {
    /// Reuses the intermediate buffers of a thread from one image to the next.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// The crop scaled to `side × side`. Pixels outside it have no influence, as if it had been cut out first.
///
/// # Panics
/// The crop does not lie within the picture or `out` is not `side × side × 3`.
pub fn crop_resized(picture: Picture<'_>, crop: Region, side: usize, out: &mut [u8]) {
    let Region { top, left, height, width } = crop;
    let source = source(picture);
    let cropped = TypedCroppedImage::from_ref(&source, left.into(), top.into(), width.into(), height.into())
        .expect("the caller checked that the crop lies within the picture");
    let mut target = TypedImage::<U8x3>::from_buffer(side as u32, side as u32, out)
        .expect("the caller passed a buffer of this size");
    RESIZER.with_borrow_mut(|resizer| {
        resizer.resize_typed(&cropped, &mut target, &bilinear()).expect("both images have pixels");
    });
}

/// The whole picture scaled to `[height, width, 3]`.
pub fn resized(picture: Picture<'_>, height: usize, width: usize) -> Vec<u8> {
    if (height, width) == (picture.height, picture.width) {
        return picture.pixels.to_vec();
    }
    let mut out = vec![0; height * width * 3];
    let mut target =
        TypedImage::<U8x3>::from_buffer(width as u32, height as u32, &mut out).expect("the buffer is made for it");
    RESIZER.with_borrow_mut(|resizer| {
        resizer.resize_typed(&source(picture), &mut target, &bilinear()).expect("both images have pixels");
    });
    out
}

/// The view for evaluation: the shorter side is scaled to `resize`, then the central square of `crop` pixels is taken,
/// `[crop, crop, 3]`. A picture that already has this size is copied unchanged. Only the pixels of the square are computed.
///
/// # Panics
/// `out` is not `crop × crop × 3`, or `crop` is more than `resize`.
pub fn centre(picture: Picture<'_>, resize: usize, crop: usize, out: &mut [u8]) {
    if (picture.height, picture.width) == (crop, crop) {
        return out.copy_from_slice(picture.pixels);
    }
    let (height, width) = scaled(picture.height, picture.width, resize);
    // torchvision's `CenterCrop` rounds half to even, as Python does.
    let start = |length: usize| ((length - crop) as f64 / 2.0).round_ties_even();
    let scale = |from: usize, to: usize| from as f64 / to as f64;
    let (down, across) = (scale(picture.height, height), scale(picture.width, width));
    // Unlike a crop before resizing, this reads pixels outside the box that the filter covers.
    let options =
        bilinear().crop(start(width) * across, start(height) * down, crop as f64 * across, crop as f64 * down);
    let mut target = TypedImage::<U8x3>::from_buffer(crop as u32, crop as u32, out)
        .expect("the caller passed a buffer of this size");
    RESIZER.with_borrow_mut(|resizer| {
        resizer.resize_typed(&source(picture), &mut target, &options).expect("the box lies within the picture");
    });
}

/// Height and width after scaling the shorter side to `shorter`; the longer is rounded down, as in torchvision.
pub fn scaled(height: usize, width: usize, shorter: usize) -> (usize, usize) {
    if height <= width { (shorter, shorter * width / height) } else { (shorter * height / width, shorter) }
}

fn bilinear() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false)
}

fn source(picture: Picture<'_>) -> TypedImageRef<'_, U8x3> {
    TypedImageRef::from_buffer(picture.width as u32, picture.height as u32, picture.pixels)
        .expect("a picture has height × width × 3 bytes")
}

//! Images from Python: the bytes of files, or pixels that another library has decoded.

use std::ffi::{CStr, c_char};
use std::slice;

use dnc_run::search::RunModel;
use dnc_stages::tables::pictures::Raster;
use rayon::prelude::*;

use crate::boundary::Problem;

/// Colours of a pixel.
const CHANNELS: usize = 3;

/// An image. It is only read during the call that it is passed to.
#[repr(C)]
pub struct Image {
    /// What it is called in errors.
    name: *const c_char,
    /// The bytes of a file, or pixels `[height, width, 3]`.
    bytes: *const u8,
    /// Number of bytes.
    length: usize,
    /// Height and width of pixels; 0 for a file.
    height: usize,
    width: usize,
}

/// An image whose pointers were checked.
struct Borrowed<'a> {
    name: &'a CStr,
    bytes: &'a [u8],
    size: Option<(usize, usize)>,
}

/// The images as the run decodes its own.
///
/// # Safety
/// `images` points to `count` images whose pointers are valid.
pub(crate) unsafe fn decoded(images: *const Image, count: usize, model: &RunModel) -> Result<Vec<Raster>, Problem> {
    // SAFETY: by the caller's promise.
    let borrowed: Vec<Borrowed<'_>> = unsafe {
        let images = slice::from_raw_parts(images, count);
        images
            .iter()
            .map(|image| Borrowed {
                name: CStr::from_ptr(image.name),
                bytes: slice::from_raw_parts(image.bytes, image.length),
                size: (image.height > 0 || image.width > 0).then_some((image.height, image.width)),
            })
            .collect()
    };
    borrowed.par_iter().map(|image| raster(image, model)).collect()
}

fn raster(image: &Borrowed<'_>, model: &RunModel) -> Result<Raster, Problem> {
    let name = image.name.to_string_lossy();
    let found = match image.size {
        None => model.decode(image.bytes),
        Some((height, width)) => {
            let expected = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(CHANNELS));
            if expected != Some(image.bytes.len()) {
                let found = image.bytes.len();
                return Err(Problem(format!("{name} has {found} bytes, which are not {height} × {width} RGB pixels")));
            }
            model.accept(Raster { height, width, pixels: image.bytes.to_vec() })
        }
    };
    found.map_err(|error| Problem(format!("{name} {error}")))
}

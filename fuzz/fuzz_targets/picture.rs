//! Files of images: PNG, JPEG, GIF, BMP, WebP, TIFF and SVG.
#![no_main]

use dnc_tables::pictures::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(raster) = decode(bytes, [255; 3], dnc_fuzz::LIMITS, Vec::new()) {
        assert_eq!(raster.pixels.len(), raster.height * raster.width * 3);
    }
});

//! Comparison with torchvision and Pillow, whose results `tests/fixtures/views_torchvision.py` recorded.

use serde::Deserialize;

use super::*;
use crate::views::Colour;
use crate::views::{Region, View};

const RECORDED: &str = include_str!("../../tests/fixtures/views_torchvision.json");

#[derive(Deserialize)]
struct Recorded {
    height: usize,
    width: usize,
    side: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    on: String,
    pixels: Vec<u8>,
    crop: Option<[u16; 4]>,
    resize: Option<usize>,
    #[serde(default)]
    flip: bool,
    colour: Option<Factors>,
    #[serde(default)]
    grey: bool,
    blur: Option<f32>,
    rotation: Option<f32>,
}

#[derive(Deserialize)]
struct Factors {
    brightness: f32,
    contrast: f32,
    saturation: f32,
    hue: f32,
    order: u8,
}

/// The picture of `views_torchvision.py`.
fn picture(height: usize, width: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let (fx, fy, fc) = (x as f64, y as f64, c as f64);
                let waves = 128.0 + 70.0 * (fx * 0.31 + fc).sin() + 50.0 * (fy * 0.23 + 2.0 * fc).cos();
                let edges = if (x / 9 + y / 7) % 2 == 0 { 20.0 } else { -20.0 };
                pixels.push((waves + edges).floor() as u8);
            }
        }
    }
    pixels
}

fn whole(side: usize) -> Region {
    Region { top: 0, left: 0, height: side as u16, width: side as u16 }
}

fn differences(name: &str, found: &[u8], expected: &[u8], worst: u8, mean: f64) {
    let differences: Vec<u8> = found.iter().zip(expected).map(|(&a, &b)| a.abs_diff(b)).collect();
    let sum: u64 = differences.iter().map(|&difference| u64::from(difference)).sum();
    let (most, average) = (differences.iter().copied().max().unwrap_or(0), sum as f64 / differences.len() as f64);
    assert!(most <= worst && average <= mean, "{name}: at most {most}, {average:.3} on average");
}

#[test]
fn operations_agree_with_torchvision() {
    let recorded: Recorded = serde_json::from_str(RECORDED).unwrap();
    let (large, square) = (picture(recorded.height, recorded.width), picture(recorded.side, recorded.side));
    let large = Picture { height: recorded.height, width: recorded.width, pixels: &large };
    let square = Picture { height: recorded.side, width: recorded.side, pixels: &square };
    for case in recorded.cases {
        let mut pixels = vec![0; recorded.side * recorded.side * 3];
        let [top, left, height, width] = case.crop.unwrap_or([0, 0, recorded.side as u16, recorded.side as u16]);
        let colour = case.colour.map(|Factors { brightness, contrast, saturation, hue, order }| Colour {
            brightness,
            contrast,
            saturation,
            hue,
            order,
        });
        let view = View {
            flip: case.flip,
            colour,
            grey: case.grey,
            blur: case.blur,
            rotation: case.rotation,
            ..View::of(Region { top, left, height, width })
        };
        let picture = if case.on == "large" { large } else { square };
        match case.resize {
            Some(resize) => resize::centre(picture, resize, recorded.side, &mut pixels),
            None => apply(picture, &view, [0; 3], recorded.side, &mut pixels),
        }
        // In a chain of four operations, a difference of one level after the first is amplified by the next.
        let worst = if case.on == "large" || case.name.starts_with("order") { 2 } else { 1 };
        differences(&case.name, &pixels, &case.pixels, worst, 0.5);
    }
}

#[test]
fn the_instruction_set_does_not_matter() {
    use fast_image_resize::images::{TypedImage, TypedImageRef};
    use fast_image_resize::pixels::U8x3;
    use fast_image_resize::{CpuExtensions, FilterType, ResizeAlg, ResizeOptions, Resizer};

    let (height, width) = (83, 131);
    let pixels = picture(height, width);
    let source = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, &pixels).unwrap();
    for (h, w) in [(16, 16), (37, 61), (200, 150), (83, 20)] {
        let fast = resize::resized(Picture { height, width, pixels: &pixels }, h, w);
        let mut plain = vec![0; h * w * 3];
        let mut target = TypedImage::<U8x3>::from_buffer(w as u32, h as u32, &mut plain).unwrap();
        let mut resizer = Resizer::new();
        // SAFETY: every machine supports running without extensions.
        unsafe { resizer.set_cpu_extensions(CpuExtensions::None) };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
        resizer.resize_typed(&source, &mut target, &options).unwrap();
        assert_eq!(fast, plain, "{h} × {w}");
    }
}

#[test]
fn cutout_erases_only_its_box() {
    let square = picture(10, 10);
    let picture = Picture { height: 10, width: 10, pixels: &square };
    let mut pixels = vec![0; 300];
    let view = View { cutout: Some([0.2, 0.5, 0.3, 0.4]), ..View::of(whole(10)) };
    apply(picture, &view, [1, 2, 3], 10, &mut pixels);
    for (place, (pixel, before)) in pixels.chunks(3).zip(square.chunks(3)).enumerate() {
        let erased = (2..5).contains(&(place / 10)) && (5..9).contains(&(place % 10));
        assert_eq!(pixel, if erased { &[1, 2, 3][..] } else { before }, "{place}");
    }
}

#[test]
fn aberration_moves_red_outwards_and_blue_inwards() {
    let side = 41;
    let mut dot = vec![0; side * side * 3];
    let at = |x: usize| (20 * side + x) * 3;
    dot[at(30)..at(30) + 3].fill(200);
    let mut pixels = vec![0; dot.len()];
    let view = View { aberration: Some(0.1), ..View::of(whole(side)) };
    apply(Picture { height: side, width: side, pixels: &dot }, &view, [0; 3], side, &mut pixels);
    // Ten pixels from the centre: red moves to eleven, blue to nine, green stays.
    let brightest = |channel: usize| (0..side).max_by_key(|&x| pixels[at(x) + channel]).unwrap();
    assert_eq!([0, 1, 2].map(brightest), [31, 30, 29]);
}

#[test]
fn jpeg_artefacts_grow_as_quality_falls() {
    let square = picture(32, 32);
    let error = |quality: u8| {
        let mut pixels = vec![0; square.len()];
        let view = View { jpeg: Some(quality), ..View::of(whole(32)) };
        apply(Picture { height: 32, width: 32, pixels: &square }, &view, [0; 3], 32, &mut pixels);
        pixels.iter().zip(&square).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum::<u64>()
    };
    assert!(error(95) < error(50) && error(50) < error(5));
}

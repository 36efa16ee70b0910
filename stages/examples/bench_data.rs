//! Benchmark of image decoding and augmentation: JPEG bytes to normalised batches, as `bench_torch.py` measures PyTorch's
//! DataLoader, and batches of augmented views of decoded images, as training loads them.
//!
//! usage: `bench_data [PATTERN] [--jpegs FOLDER] [--threads N] [--reps N] [--cpu] [--memory]`
//!
//! Without a folder of JPEG files, 256 images are generated: 500 × 500 pixels of structured noise, JPEG quality 90.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::{hint, mem};

use dnc_bench::{Bench, Work};
use dnc_learn::backbones::Preprocessing;
use dnc_stages::tables::pictures::Picture;
use dnc_stages::tables::pictures::{Limits, decode};
use dnc_stages::tables::pictures::{apply, resize};
use dnc_stages::tables::views::{Colour, Region, View};
use image::imageops::{FilterType, resize as enlarge};
use image::{Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

#[global_allocator]
static ALLOCATOR: dnc_kernels::CachingAllocator = dnc_kernels::CachingAllocator::new();

const IMAGES: usize = 256;
const BATCH: usize = 64;
const SIDE: usize = 224;

fn main() -> Result<(), Box<dyn Error>> {
    let bench = Bench::from_args(&["--jpegs"]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build()?;
    pool.install(|| loader(&bench));
    let rows = ["decode/eval/jpeg500/224", "decode/train/jpeg500/224", "decode/only/jpeg500"];
    if !rows.iter().any(|row| bench.wants(row)) {
        return Ok(());
    }
    let jpegs = match bench.option("--jpegs") {
        Some(folder) => read(Path::new(&folder))?,
        None => (0..IMAGES as u64).into_par_iter().map(jpeg).collect(),
    };
    let views: Vec<View> = (0..jpegs.len() as u64).map(view).collect();
    pool.install(|| {
        measure(&bench, rows[0], &jpegs, |picture, _, pixels| resize::centre(picture, 256, SIDE, pixels));
        measure(&bench, rows[1], &jpegs, |picture, number, pixels| {
            apply(picture, &views[number], [0; 3], SIDE, pixels);
        });
        measure(&bench, rows[2], &jpegs, |_, _, _| ());
    });
    Ok(())
}

/// Measures decoding and normalising all batches; `render` writes the pixels of a view of a picture.
fn measure(bench: &Bench, name: &str, jpegs: &[Vec<u8>], render: impl Fn(Picture<'_>, usize, &mut [u8]) + Sync) {
    let values_per_image = SIDE * SIDE * 3;
    let work = Work::new(jpegs.len(), "images");
    let Ok(()) = bench.row::<(), Infallible>(name, work, || {
        for (number, batch) in jpegs.chunks(BATCH).enumerate() {
            let mut values = vec![0.0; batch.len() * values_per_image];
            let buffers = || (Vec::new(), vec![0; values_per_image]);
            values.par_chunks_exact_mut(values_per_image).zip(batch).enumerate().for_each_init(
                buffers,
                |(raster, pixels), (index, (values, jpeg))| {
                    let decoded = decode(jpeg, [255; 3], Limits::default(), mem::take(raster));
                    let decoded = decoded.expect("the JPEG files are valid");
                    render(decoded.as_picture(), number * BATCH + index, pixels);
                    Preprocessing::IMAGENET.normalise(pixels, values);
                    *raster = decoded.pixels;
                },
            );
            hint::black_box(values);
        }
        Ok(())
    });
}

/// Measures loading one training batch of decoded images, for comparison with `train_step/efficientnet_lite0/96/b80`.
fn loader(bench: &Bench) {
    const BATCH: usize = 80;
    const SIDE: usize = 96;
    let values_per_image = SIDE * SIDE * 3;
    let grain: Vec<u8> = (0..values_per_image).map(|index| (index * index % 251) as u8).collect();
    let picture = Picture { height: SIDE, width: SIDE, pixels: &grain };
    let crop = Region { top: 7, left: 5, height: 80, width: 74 };
    let standard = View { flip: true, ..View::of(crop) };
    let colour = Colour { brightness: 1.2, contrast: 0.8, saturation: 1.3, hue: 0.05, order: 7 };
    let everything = View {
        colour: Some(colour),
        rotation: Some(9.0),
        cutout: Some([0.1, 0.2, 0.3, 0.3]),
        aberration: Some(0.01),
        ..standard
    };
    for (name, view) in [("standard", standard), ("geometric-colour", everything)] {
        let Ok(()) = bench.row::<_, Infallible>(&format!("loader/{name}/96/b80"), Work::new(BATCH, "images"), || {
            let mut values = vec![0.0; BATCH * values_per_image];
            values.par_chunks_exact_mut(values_per_image).for_each_init(
                || vec![0; values_per_image],
                |pixels, values| {
                    apply(picture, &view, [0; 3], SIDE, pixels);
                    Preprocessing::IMAGENET.normalise(pixels, values);
                },
            );
            Ok(values)
        });
    }
}

fn read(folder: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut paths =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    Ok(paths.iter().map(std::fs::read).collect::<Result<_, _>>()?)
}

/// A JPEG file like those that `bench_torch.py` generates.
fn jpeg(number: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(number);
    let small = RgbImage::from_fn(32, 32, |_, _| Rgb(rng.random()));
    let mut large = enlarge(&small, 500, 500, FilterType::CatmullRom);
    for value in large.iter_mut() {
        // The sum of twelve uniform numbers is approximately normal with standard deviation 1.
        let noise: f32 = (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
        *value = (f32::from(*value) + 6.0 * noise) as u8;
    }
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    // Chroma subsampling as cameras and Pillow do; the encoder of the `image` crate does none.
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(&large, 500, 500, ColorType::Rgb).expect("encoding to memory cannot fail");
    bytes
}

/// A random resized crop of 500 × 500 pixels, drawn as torchvision draws it, and a random flip.
fn view(number: u64) -> View {
    let mut rng = ChaCha8Rng::seed_from_u64(1000 + number);
    loop {
        let area = 250_000.0 * rng.random_range(0.08..1.0_f64);
        let ratio = rng.random_range((0.75_f64).ln()..(4.0 / 3.0_f64).ln()).exp();
        let (width, height) = ((area * ratio).sqrt().round() as u16, (area / ratio).sqrt().round() as u16);
        if width <= 500 && height <= 500 {
            let (top, left) = (rng.random_range(0..=500 - height), rng.random_range(0..=500 - width));
            return View { flip: rng.random(), ..View::of(Region { top, left, height, width }) };
        }
    }
}

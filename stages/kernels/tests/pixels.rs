//! Batches of images on their way to the device: against the formula, and on a GPU with the bits of the CPU.
//!
//! `DNC_TEST_DEVICE` names the device; see `common`.

mod common;

use candle_core::{DType, Device};
use common::{device, flat, tolerance};
use dnc_kernels::{PixelBuffer, PixelNorm, Result};

/// ImageNet's means and standard deviations, RGB; and Caffe's, BGR.
const NORMS: [PixelNorm; 2] = [
    PixelNorm {
        reversed: false,
        mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
        std: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
    },
    PixelNorm { reversed: true, mean: [104.0, 117.0, 128.0], std: [1.0, 3.0, 7.0] },
];

/// Bytes without a pattern, and every byte in every channel if there are enough.
fn noise(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|at| if at < 768 { (at / 3) as u8 } else { (((at + seed) * 2_654_435_761) >> 13) as u8 }).collect()
}

fn upload(buffer: &mut PixelBuffer, dims: [usize; 4], norm: &PixelNorm, dtype: DType, seed: usize) -> Result<Vec<f32>> {
    let pixels = noise(dims.iter().product(), seed);
    buffer.pixels(pixels.len())?.copy_from_slice(&pixels);
    let images = buffer.upload(dims, norm, dtype)?;
    assert_eq!((images.dims(), images.dtype()), (&dims[..], dtype));
    Ok(flat(&images))
}

#[test]
fn pixels_are_normalised_by_the_formula_with_equal_bits_on_every_device() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let (mut here, mut there) = (PixelBuffer::new(&Device::Cpu), PixelBuffer::new(&device));
    // Packs of eight, of four, and none; larger and smaller batches in one buffer.
    for dims in [[1, 1, 1, 3], [2, 16, 18, 3], [1, 9, 4, 3], [3, 5, 7, 3], [4, 32, 32, 3]] {
        for (seed, norm) in NORMS.iter().enumerate() {
            let found = upload(&mut there, dims, norm, DType::F32, seed)?;
            let pixels = noise(found.len(), seed);
            for (at, value) in found.iter().enumerate() {
                let channel = at % 3;
                let source = if norm.reversed { at + 2 - 2 * channel } else { at };
                let expected = (f32::from(pixels[source]) - norm.mean[channel]) / norm.std[channel];
                assert_eq!(value.to_bits(), expected.to_bits(), "{dims:?} {norm:?} at {at}");
            }
            assert_eq!(found, upload(&mut here, dims, norm, DType::F32, seed)?);
            let rounded = upload(&mut there, dims, norm, DType::BF16, seed)?;
            assert_eq!(rounded, upload(&mut here, dims, norm, DType::BF16, seed)?);
        }
    }
    Ok(())
}

#[test]
fn images_are_normalised_as_torchvision_does() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let found = upload(&mut PixelBuffer::new(&device), [1, 16, 16, 3], &NORMS[0], DType::F32, 0)?;
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    for (at, (value, pixel)) in found.iter().zip(noise(found.len(), 0)).enumerate() {
        let expected = (f64::from(pixel) / 255.0 - mean[at % 3]) / std[at % 3];
        assert!((f64::from(*value) - expected).abs() < f64::from(tolerance(&device)), "{value} for {expected}");
    }
    Ok(())
}

/// Alternates between two buffers, as a loader does. Each upload keeps its own pixels, even if all results are read only at the end.
#[test]
fn a_buffer_is_written_again_while_results_are_unread() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let (dims, norm) = ([8, 24, 24, 3], &NORMS[0]);
    let mut buffers = [PixelBuffer::new(&device), PixelBuffer::new(&device)];
    let mut images = Vec::new();
    for seed in 0..9 {
        let pixels = noise(dims.iter().product(), seed);
        let buffer = &mut buffers[seed % 2];
        buffer.pixels(pixels.len())?.copy_from_slice(&pixels);
        images.push(buffer.upload(dims, norm, DType::F32)?);
    }
    drop(buffers);
    for (seed, images) in images.iter().enumerate() {
        let expected = upload(&mut PixelBuffer::new(&Device::Cpu), dims, norm, DType::F32, seed)?;
        assert_eq!(flat(images), expected, "batch {seed}");
    }
    Ok(())
}

#[test]
fn pixels_that_are_no_images_are_refused() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let mut buffer = PixelBuffer::new(&device);
    let mut refused = |count: usize, dims: [usize; 4]| -> Result<String> {
        buffer.pixels(count)?.fill(7);
        let error = buffer.upload(dims, &NORMS[0], DType::F32).expect_err("these are no images");
        Ok(error.to_string())
    };
    let expected = "Cannot run `upload`: 12 bytes are not images of the shape [1, 2, 3, 3], with three channels";
    assert_eq!(refused(12, [1, 2, 3, 3])?, expected);
    assert!(refused(16, [1, 2, 2, 4])?.contains("16 bytes are not images"));
    assert!(refused(0, [0, 2, 2, 3])?.contains("0 bytes are not images"));
    Ok(())
}

//! Numbers that are a function of a name, which `fixtures/models_make.py` also computes.

use candle_core::{Device, Tensor};

/// Numbers in [-1, 1): splitmix64 of the name's FNV-1a hash plus the index.
pub(crate) fn fill(name: &str, count: usize) -> Vec<f64> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (0..count as u64)
        .map(|index| {
            let z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let z = z ^ (z >> 31);
            (z >> 40) as f64 / f64::from(1 << 23) - 1.0
        })
        .collect()
}

/// A tensor of such numbers, each transformed by `map` in `f64`.
pub(crate) fn filled(name: &str, shape: &[usize], map: impl Fn(f64) -> f64) -> Tensor {
    let values: Vec<f32> = fill(name, shape.iter().product()).into_iter().map(|u| map(u) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

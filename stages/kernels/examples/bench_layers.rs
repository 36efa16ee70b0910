//! Benchmark of every convolution of three backbones on its own: the parts of `embed/…` and `train_step/…`.
//!
//! Prints one JSON object per line: `{"name", "seconds": median, "gflops", "work", "unit"}`, for the forward pass and for forward and
//! backward pass together. Equal layers are measured once; `"count"` is the number of such layers.
//! usage: `bench_layers [PATTERN] [--threads N] [--reps N] [--cpu] [--memory]`

use candle_core::{Device, Tensor, Var};
use dnc_bench::{Bench, Work};
use dnc_kernels::{Activation, Conv2d, Padding, Result, backward, conv2d_affine, max_pool2d};

#[global_allocator]
static ALLOCATOR: dnc_kernels::CachingAllocator = dnc_kernels::CachingAllocator::new();

/// Geometry of a layer: side of the square input, input and output channels, kernel, stride, groups.
#[derive(Clone, Copy, PartialEq)]
struct Layer {
    side: usize,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
}

impl Layer {
    fn out(&self) -> usize {
        self.side.div_ceil(self.stride)
    }

    /// Multiplications and additions of the direct convolution.
    fn operations(&self, batch: usize) -> f64 {
        let taps = self.kernel * self.kernel * self.channels[0] / self.groups;
        2.0 * (batch * self.out() * self.out() * self.channels[1] * taps) as f64
    }

    fn name(&self) -> String {
        let Self { side, channels: [inputs, outputs], kernel, stride, groups } = self;
        let kind = if *groups > 1 { "depthwise" } else { "dense" };
        format!("{kind}/{side}x{side}x{inputs}-{outputs}/k{kernel}/s{stride}")
    }
}

fn main() -> Result<()> {
    let bench = Bench::from_args(&[]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build().expect("a pool of a few threads");
    pool.install(|| {
        for (model, batch, layers) in [
            ("resnet18", 80, resnet(64, false)),
            ("efficientnet_lite0", 80, lite0(96)),
            ("resnet50", 16, resnet(224, true)),
        ] {
            let mut distinct: Vec<(Layer, usize)> = Vec::new();
            for layer in layers {
                match distinct.iter_mut().find(|(known, _)| *known == layer) {
                    Some((_, count)) => *count += 1,
                    None => distinct.push((layer, 1)),
                }
            }
            for (layer, count) in distinct {
                let name = format!("{model}/{}", layer.name());
                rows(&bench, &name, layer, count, batch)?;
            }
        }
        Ok(())
    })
}

fn rows(bench: &Bench, name: &str, layer: Layer, count: usize, batch: usize) -> Result<()> {
    let (forward_name, step_name) = (format!("forward/{name}"), format!("step/{name}"));
    if !bench.wants(&forward_name) && !bench.wants(&step_name) {
        return Ok(());
    }
    let Layer { side, channels: [inputs, outputs], kernel, stride, groups } = layer;
    let device = Device::Cpu;
    let x = Tensor::randn(0f32, 1.0, (batch, side, side, inputs), &device)?;
    let weight = Tensor::randn(0f32, 0.05, (outputs, inputs / groups, kernel, kernel), &device)?;
    let (scale, shift) =
        (Tensor::ones(outputs, candle_core::DType::F32, &device)?, Tensor::randn(0f32, 1.0, outputs, &device)?);
    let padding = Padding::tensorflow_same_2d(side, side, kernel, stride);
    let options = Conv2d { stride, padding, groups, ..Conv2d::default() };
    let forward =
        |x: &Tensor, weight: &Tensor| conv2d_affine(x, weight, &scale, &shift, None, Activation::Relu, &options);
    let print = |name: &str, operations: f64, seconds: f64| {
        let gflops = (operations / seconds / 1e9).round();
        bench.print(name, seconds, Work::new(batch, "images").also("gflops", gflops).also("count", count));
    };
    if bench.wants(&forward_name) {
        let seconds = bench.median(|| forward(&x, &weight))?;
        print(&forward_name, layer.operations(batch), seconds);
    }
    if !bench.wants(&step_name) {
        return Ok(());
    }
    // Pooling over one pixel is the identity. It puts x on the tape, as inside a network; the time of the pools is subtracted below.
    let (x, weight) = (Var::from_tensor(&x)?, Var::from_tensor(&weight)?);
    let step = bench.median(|| {
        let y = forward(&max_pool2d(&x, 1, 1, 0)?, &weight)?;
        let y = max_pool2d(&y, layer.out(), layer.out(), 0)?;
        backward(&y.sum_all()?)
    })?;
    let y = Var::from_tensor(&forward(&x, &weight)?.detach())?;
    let rest = bench.median(|| {
        let z = max_pool2d(&max_pool2d(&x, 1, 1, 0)?, side, side, 0)?;
        backward(&z.sum_all()?)?;
        let z = max_pool2d(&max_pool2d(&y, 1, 1, 0)?, layer.out(), layer.out(), 0)?;
        Result::Ok(z)
    })?;
    print(&step_name, 3.0 * layer.operations(batch), step - rest);
    Ok(())
}

fn resnet(image: usize, bottleneck: bool) -> Vec<Layer> {
    let dense =
        |side, inputs, outputs, kernel, stride| Layer { side, channels: [inputs, outputs], kernel, stride, groups: 1 };
    let mut layers = vec![dense(image, 3, 64, 7, 2)];
    let (mut side, mut inputs) = (image / 4, 64);
    let depths = if bottleneck { [3, 4, 6, 3] } else { [2, 2, 2, 2] };
    for (stage, depth) in depths.into_iter().enumerate() {
        let width = 64 << stage;
        for index in 0..depth {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let outputs = if bottleneck { 4 * width } else { width };
            let out = side / stride;
            if bottleneck {
                layers.push(dense(side, inputs, width, 1, 1));
                layers.push(dense(side, width, width, 3, stride));
                layers.push(dense(out, width, outputs, 1, 1));
            } else {
                layers.push(dense(side, inputs, width, 3, stride));
                layers.push(dense(out, width, width, 3, 1));
            }
            if stride != 1 || inputs != outputs {
                layers.push(dense(side, inputs, outputs, 1, stride));
            }
            (side, inputs) = (out, outputs);
        }
    }
    layers
}

fn lite0(image: usize) -> Vec<Layer> {
    let layer = |side, inputs, outputs, kernel, stride, groups| Layer {
        side,
        channels: [inputs, outputs],
        kernel,
        stride,
        groups,
    };
    let mut layers = vec![layer(image, 3, 32, 3, 2, 1)];
    let (mut side, mut inputs) = (image / 2, 32);
    for (depth, kernel, stride, expansion, outputs) in [
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ] {
        for index in 0..depth {
            let stride = if index == 0 { stride } else { 1 };
            let width = inputs * expansion;
            if expansion > 1 {
                layers.push(layer(side, inputs, width, 1, 1, 1));
            }
            layers.push(layer(side, width, width, kernel, stride, width));
            side = side.div_ceil(stride);
            layers.push(layer(side, width, outputs, 1, 1, 1));
            inputs = outputs;
        }
    }
    layers.push(layer(side, inputs, 1280, 1, 1, 1));
    layers
}

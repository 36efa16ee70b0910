//! Every convolution of three backbones, measured alone: where the time of `embed/…` and `train_step/…` goes.
//!
//! Prints one JSON object a line: `{"name", "seconds": median, "gflops", "work", "unit"}` for the forward pass and for forward and
//! backward together. Equal layers are measured once; `"count"` says how often a layer occurs.
//! usage: `bench_layers [PATTERN] [--threads N] [--reps N] [--cpu]`; `--cpu` measures the process's CPU time, which other
//! processes disturb less.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use dnc_kernels::{Activation, Conv2d, Padding, Result, conv2d_affine, max_pool2d};

#[global_allocator]
static ALLOCATOR: dnc_kernels::LargeBlocks = dnc_kernels::LargeBlocks::new();

/// A layer's geometry: side of the square input, channels in and out, kernel, stride, groups.
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
    let mut pattern = String::new();
    let (mut threads, mut reps, mut cpu) = (2, 5, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse().ok()).expect("a number follows the option");
        match argument.as_str() {
            "--threads" => threads = number(),
            "--reps" => reps = number(),
            "--cpu" => cpu = true,
            text => pattern = text.to_owned(),
        }
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of a few threads");
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
                if name.contains(&pattern) {
                    bench(&name, layer, count, batch, reps, cpu)?;
                }
            }
        }
        Ok(())
    })
}

fn bench(name: &str, layer: Layer, count: usize, batch: usize, reps: usize, cpu: bool) -> Result<()> {
    let Layer { side, channels: [inputs, outputs], kernel, stride, groups } = layer;
    let device = Device::Cpu;
    let x = Tensor::randn(0f32, 1.0, (batch, side, side, inputs), &device)?;
    let weight = Tensor::randn(0f32, 0.05, (outputs, inputs / groups, kernel, kernel), &device)?;
    let (scale, shift) =
        (Tensor::ones(outputs, candle_core::DType::F32, &device)?, Tensor::randn(0f32, 1.0, outputs, &device)?);
    let padding = Padding::tensorflow_same_2d(side, side, kernel, stride);
    let options = Conv2d { stride, padding, groups };
    let forward =
        |x: &Tensor, weight: &Tensor| conv2d_affine(x, weight, &scale, &shift, None, Activation::Relu, &options);
    let report = |kind: &str, operations: f64, seconds: f64| {
        let gflops = operations / seconds / 1e9;
        println!(
            "{}",
            serde_json::json!({
                "name": format!("{kind}/{name}"), "seconds": (seconds * 1e6).round() / 1e6, "gflops": gflops.round(),
                "count": count, "work": batch, "unit": "images",
            })
        );
    };
    let seconds = median(reps, cpu, || {
        black_box(forward(&x, &weight)?);
        Ok(())
    })?;
    report("forward", layer.operations(batch), seconds);
    // A pooling of one pixel is the identity: it puts x on the kernels' tape, as inside a network; the costs of both are taken off.
    let (x, weight) = (Var::from_tensor(&x)?, Var::from_tensor(&weight)?);
    let step = median(reps, cpu, || {
        let y = forward(&max_pool2d(&x, 1, 1, 0)?, &weight)?;
        let y = max_pool2d(&y, layer.out(), layer.out(), 0)?;
        y.sum_all()?.backward()?;
        Ok(())
    })?;
    let y = Var::from_tensor(&forward(&x, &weight)?.detach())?;
    let rest = median(reps, cpu, || {
        let z = max_pool2d(&max_pool2d(&x, 1, 1, 0)?, side, side, 0)?;
        z.sum_all()?.backward()?;
        let z = max_pool2d(&max_pool2d(&y, 1, 1, 0)?, layer.out(), layer.out(), 0)?;
        black_box(z);
        Ok(())
    })?;
    report("step", 3.0 * layer.operations(batch), step - rest);
    Ok(())
}

fn median(reps: usize, cpu: bool, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    run()?;
    // Linux counts CPU time in ticks of a few milliseconds: repeat until they don't matter.
    let repeats = if cpu { (0.2 / start.elapsed().as_secs_f64()).ceil().clamp(1.0, 1e4) as usize } else { 1 };
    let mut seconds = Vec::with_capacity(reps);
    for _ in 0..reps {
        let (start, before) = (Instant::now(), cpu_seconds());
        for _ in 0..repeats {
            run()?;
        }
        let passed = if cpu { cpu_seconds() - before } else { start.elapsed().as_secs_f64() };
        seconds.push(passed / repeats as f64);
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[reps / 2])
}

/// CPU time of this process so far, as Linux tells it (all threads, user and system).
fn cpu_seconds() -> f64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/schedstat") else {
        return 0.0;
    };
    let own: f64 = stat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let all: f64 = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()))
        .sum();
    all.max(own) * 1e-9
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

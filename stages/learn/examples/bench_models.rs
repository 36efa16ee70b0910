//! Whole models, measured: the rows `embed/…` and `train_step/…` of `shared/peers/bench_torch.py`, in its form.
//!
//! Prints one JSON object a line: `{"name", "seconds": median, "work", "unit"}`; with `--memory` also the process's
//! largest resident size so far, in `"peak_mib"`.
//! usage: `bench_models [PATTERN] [--threads N] [--reps N] [--memory]`; a row runs if its name contains PATTERN.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use dnc_kernels::l2_normalise;
use dnc_learn::model::Model;
use dnc_learn::optimise::{Kind, Optimiser, Rate, Settings};
use dnc_learn::parameters::Parameters;
use dnc_learn::streams::Streams;

#[global_allocator]
static ALLOCATOR: dnc_kernels::LargeBlocks = dnc_kernels::LargeBlocks::new();

/// Backbone, side of the images, images in a batch.
const MODELS: [(&str, usize, usize); 3] = [("resnet18", 64, 80), ("efficientnet_lite0", 96, 80), ("resnet50", 224, 16)];

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Options {
    pattern: String,
    threads: usize,
    reps: usize,
    memory: bool,
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build()?;
    pool.install(|| MODELS.into_iter().try_for_each(|model| bench(model, &options)))
}

fn options() -> Result<Options, Failure> {
    let mut options = Options { pattern: String::new(), threads: 2, reps: 5, memory: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().ok_or(format!("`{argument}` wants a number"));
        match argument.as_str() {
            "--threads" => options.threads = number()?.parse()?,
            "--reps" => options.reps = number()?.parse()?,
            "--memory" => options.memory = true,
            pattern => options.pattern = pattern.to_owned(),
        }
    }
    Ok(options)
}

fn bench((name, side, batch): (&str, usize, usize), options: &Options) -> Result<(), Failure> {
    let (embed, train_step) = (format!("embed/{name}/{side}/b{batch}"), format!("train_step/{name}/{side}/b{batch}"));
    let wanted = |row: &str| row.contains(&options.pattern);
    if !wanted(&embed) && !wanted(&train_step) {
        return Ok(());
    }
    let model = Model::new(name, 128)?;
    let parameters = Parameters::initialise(&model.specs(), &Streams::new(0), &Device::Cpu)?;
    let images = Tensor::randn(0f32, 1.0, (batch, side, side, 3), &Device::Cpu)?;
    let forward = |parameters: &Parameters| model.embed(parameters, &model.features(parameters, &images)?, None);
    if wanted(&embed) {
        let folded = model.fold(&parameters)?;
        report(&embed, batch, options, || {
            black_box(forward(&folded)?);
            Ok(())
        })?;
    }
    if wanted(&train_step) {
        let mut optimiser = Optimiser::new(Settings::uniform(Kind::Adam, Rate { lr: 1e-5, weight_decay: 0.0 }));
        report(&train_step, batch, options, || {
            let embeddings = l2_normalise(&forward(&parameters)?)?;
            let loss = embeddings.matmul(&embeddings.t()?)?.sqr()?.mean_all()?;
            optimiser.step(&parameters, &loss.backward()?)?;
            Ok(())
        })?;
    }
    Ok(())
}

fn report(
    name: &str,
    work: usize,
    options: &Options,
    mut run: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    run()?;
    let mut seconds = Vec::with_capacity(options.reps);
    for _ in 0..options.reps {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median = (seconds[(options.reps - 1) / 2] + seconds[options.reps / 2]) / 2.0;
    let mut row = serde_json::json!({
        "name": name,
        "seconds": (median * 1e5).round() / 1e5,
        "work": work,
        "unit": "images",
    });
    if options.memory {
        row["peak_mib"] = peak_mib()?.into();
    }
    println!("{row}");
    Ok(())
}

/// The largest resident size of this process so far, as Linux tells it.
fn peak_mib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no `VmHWM` in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

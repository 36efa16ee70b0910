//! Benchmark of whole models: the rows `embed/…` and `train_step/…`, in the same form as the PyTorch benchmark.
//!
//! usage: `bench_models [PATTERN] [--threads N] [--reps N] [--cpu] [--memory]`

use candle_core::{Device, Tensor};
use dnc_bench::{Bench, Work};
use dnc_kernels::{backward, l2_normalise};
use dnc_learn::model::Model;
use dnc_learn::optimise::{Algorithm, Optimiser, Rate, Settings};
use dnc_learn::parameters::Parameters;
use dnc_learn::streams::Streams;

#[global_allocator]
static ALLOCATOR: dnc_kernels::CachingAllocator = dnc_kernels::CachingAllocator::new();

/// Backbone, side length of the images, batch size.
const MODELS: [(&str, usize, usize); 3] = [("resnet18", 64, 80), ("efficientnet_lite0", 96, 80), ("resnet50", 224, 16)];

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let bench = Bench::from_args(&[]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build()?;
    pool.install(|| MODELS.into_iter().try_for_each(|model| rows(&bench, model)))
}

fn rows(bench: &Bench, (name, side, batch): (&str, usize, usize)) -> Result<(), Failure> {
    let (embed, train_step) = (format!("embed/{name}/{side}/b{batch}"), format!("train_step/{name}/{side}/b{batch}"));
    if !bench.wants(&embed) && !bench.wants(&train_step) {
        return Ok(());
    }
    let model = Model::new(name, 128)?;
    let parameters = Parameters::initialise(&model.specs(), &Streams::new(0), &Device::Cpu)?;
    let images = Tensor::randn(0f32, 1.0, (batch, side, side, 3), &Device::Cpu)?;
    let forward = |parameters: &Parameters| model.embed(parameters, &model.features(parameters, &images, None)?, None);
    if bench.wants(&embed) {
        let folded = model.fold(&parameters)?;
        bench.row(&embed, Work::new(batch, "images"), || forward(&folded))?;
    }
    if bench.wants(&train_step) {
        let mut optimiser = Optimiser::new(Settings::uniform(Algorithm::Adam, Rate { lr: 1e-5, weight_decay: 0.0 }));
        bench.row(&train_step, Work::new(batch, "images"), || {
            let embeddings = l2_normalise(&forward(&parameters)?)?;
            let loss = embeddings.matmul(&embeddings.t()?)?.sqr()?.mean_all()?;
            optimiser.step(&parameters, &backward(&loss)?)
        })?;
    }
    Ok(())
}

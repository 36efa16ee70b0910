//! Benchmark of whole models: the rows `embed/…` and `train_step/…`, in the same form as the PyTorch benchmark.
//!
//! usage: `bench_models [PATTERN] [--threads N] [--reps N] [--cpu] [--memory] [--device cpu|cuda:N] [--precision f32|tf32|bf16]`
//!
//! On a GPU, names end in the precision and more models are measured: `train_step/resnet50/224/b80/bf16`.

use candle_core::{Device, Tensor};
use dnc_bench::{Bench, Work};
use dnc_kernels::{KeptWeights, Precision, backward, l2_normalise, open_gpu, take_gpu_peak};
use dnc_learn::error::LearnError;
use dnc_learn::model::Model;
use dnc_learn::optimise::{Algorithm, Optimiser, Rate, Settings};
use dnc_learn::parameters::Parameters;
use dnc_learn::streams::Streams;

#[global_allocator]
static ALLOCATOR: dnc_kernels::CachingAllocator = dnc_kernels::CachingAllocator::new();

/// Backbone, side length of the images, batch size.
const MODELS: [(&str, usize, usize); 3] = [("resnet18", 64, 80), ("efficientnet_lite0", 96, 80), ("resnet50", 224, 16)];

/// What is measured on a GPU beside these.
const LARGE_MODELS: [(&str, usize, usize); 2] = [("resnet50", 224, 80), ("vit_small_patch16", 224, 80)];

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let bench = Bench::from_args(&["--device", "--precision"]);
    let device = match bench.option("--device") {
        None | Some("cpu") => Device::Cpu,
        Some(name) => {
            let ordinal =
                name.strip_prefix("cuda:").ok_or_else(|| format!("`{name}` is neither `cpu` nor `cuda:N`"))?;
            open_gpu(ordinal.parse()?)?
        }
    };
    let (precision, suffix) = match bench.option("--precision").unwrap_or("f32") {
        "f32" => (Precision::F32, "/f32"),
        "tf32" => (Precision::Tf32, "/tf32"),
        "bf16" => (Precision::Bf16, "/bf16"),
        other => return Err(format!("`{other}` is none of `f32`, `tf32` and `bf16`").into()),
    };
    let setting = Setting { device: device.clone(), precision, suffix: if device.is_cpu() { "" } else { suffix } };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build()?;
    let large = LARGE_MODELS.into_iter().filter(|_| device.is_cuda());
    pool.install(|| MODELS.into_iter().chain(large).try_for_each(|model| rows(&bench, &setting, model)))
}

/// Where and how the models compute.
struct Setting {
    device: Device,
    precision: Precision,
    suffix: &'static str,
}

fn rows(bench: &Bench, setting: &Setting, (name, side, batch): (&str, usize, usize)) -> Result<(), Failure> {
    let Setting { device, precision, suffix } = setting;
    let row = |what: &str| format!("{what}/{name}/{side}/b{batch}{suffix}");
    let (embed, train_step) = (row("embed"), row("train_step"));
    if !bench.wants(&embed) && !bench.wants(&train_step) {
        return Ok(());
    }
    let model = Model::new(name, 128)?;
    let parameters = Parameters::initialise(&model.specs(), &Streams::new(0), device)?.with_precision(*precision);
    let images = Tensor::randn(0f32, 1.0, (batch, side, side, 3), &Device::Cpu)?.to_device(device)?;
    let forward = |parameters: &Parameters| model.embed(parameters, &model.features(parameters, &images, None)?, None);
    if bench.wants(&embed) {
        let folded = model.fold(&parameters)?;
        let _weights = KeptWeights::new();
        measure(bench, device, &embed, batch, || {
            let embeddings = forward(&folded)?;
            device.synchronize()?;
            Ok::<_, LearnError>(embeddings)
        })?;
    }
    if bench.wants(&train_step) {
        let mut optimiser = Optimiser::new(Settings::uniform(Algorithm::Adam, Rate { lr: 1e-5, weight_decay: 0.0 }));
        measure(bench, device, &train_step, batch, || {
            let embeddings = l2_normalise(&forward(&parameters)?)?;
            let loss = embeddings.matmul(&embeddings.t()?)?.sqr()?.mean_all()?;
            optimiser.step(&parameters, &backward(&loss)?)?;
            device.synchronize()?;
            Ok::<_, LearnError>(())
        })?;
    }
    Ok(())
}

/// Prints a row; on a GPU with the most memory that its tensors took at the same time.
fn measure<T>(
    bench: &Bench,
    device: &Device,
    name: &str,
    batch: usize,
    run: impl FnMut() -> Result<T, LearnError>,
) -> Result<(), Failure> {
    take_gpu_peak();
    let seconds = bench.median(run)?;
    let work = Work::new(batch, "images");
    let work = if device.is_cuda() { work.also("peak_bytes", take_gpu_peak()) } else { work };
    bench.print(name, seconds, work);
    Ok(())
}

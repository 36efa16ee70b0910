//! Benchmark of the `evaluate` stage on embeddings of the size of Stanford Online Products (60,502 images of 11,316 classes,
//! d = 512), from table to tables: Recall@1, 10, 100 and 1000, R-precision, MAP@R, NMI and AMI. Also of the paired tests over as
//! many queries.
//!
//! usage: `bench_evaluate [PATTERN] [--threads N] [--reps N] [--cpu] [--memory]`; the evaluation is measured once.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use dnc_bench::{Bench, Work};
use dnc_learn::statistics::{paired_bootstrap, sign_flip_test};
use dnc_learn::streams::Streams;
use dnc_stages::ArtifactKind;
use dnc_stages::api::{
    AmbientValues, Context, DeviceChoice, Devices, Environment, InputArtifact, InputFile, MakeFolder, Observer,
};
use dnc_stages::api::{Columns, Stage};
use dnc_stages::evaluate::Evaluate;
use dnc_stages::tables::Split;
use dnc_stages::tables::embeddings::{self, EmbeddingRows};
use dnc_stages::tables::metrics;
use rand::Rng;

const IMAGES: usize = 60_502;
const CLASSES: u32 = 11_316;
const DIM: usize = 512;
const DRAWS: usize = 10_000;
/// Number of metrics that are means over queries: four values of Recall@k, MAP@R and R-precision.
const METRICS: usize = 6;

fn main() -> Result<(), Box<dyn Error>> {
    let bench = Bench::from_args(&[]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(bench.threads).build()?;
    pool.install(|| -> Result<(), Box<dyn Error + Send + Sync>> {
        evaluate(&bench)?;
        statistics(&bench)
    })
    .map_err(|error| error as Box<dyn Error>)
}

/// Measures the whole stage, once instead of as a median, since it takes a minute.
fn evaluate(bench: &Bench) -> Result<(), Box<dyn Error + Send + Sync>> {
    if !bench.wants("evaluate/sop") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let make_folder = || Ok(tempfile::tempdir_in(&folder)?.keep());
    let table = write_embeddings(&make_folder)?;
    let stage = Evaluate { recall: vec![1, 10, 100, 1000], nmi: true, ..Evaluate::default() };
    let start = Instant::now();
    let (devices, not_cancelled) = (Devices::default(), AtomicBool::new(false));
    let mut context =
        context(&make_folder, [("embeddings".to_owned(), vec![table])].into(), (&devices, &not_cancelled));
    stage.run(&mut context)?;
    bench.print("evaluate/sop", start.elapsed().as_secs_f64(), Work::new(IMAGES, "images"));
    for row in metrics::read(&context.output("metrics")?.folder.join("metrics.parquet"))? {
        let k = row.k.map(|k| format!("@{k}")).unwrap_or_default();
        eprintln!("{}{k} {:.4}", row.metric, row.value);
    }
    Ok(())
}

fn statistics(bench: &Bench) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut rng = Streams::new(1).rng();
    let differences: Vec<Vec<f64>> =
        (0..METRICS).map(|_| (0..IMAGES).map(|_| rng.random::<f64>() - 0.5).collect()).collect();
    for metrics in [1, METRICS] {
        let (differences, streams) = (&differences[..metrics], Streams::new(2));
        let name = |test: &str| format!("{test}/n60502/draws10000/m{metrics}");
        bench.row(&name("bootstrap"), Work::new(DRAWS, "draws"), || {
            Ok::<_, Box<dyn Error + Send + Sync>>(paired_bootstrap(differences, DRAWS, &streams))
        })?;
        bench.row(&name("sign_flip"), Work::new(DRAWS, "draws"), || {
            Ok::<_, Box<dyn Error + Send + Sync>>(sign_flip_test(differences, DRAWS, &streams))
        })?;
    }
    Ok(())
}

/// Writes the table of embeddings and returns it as an input artifact.
fn write_embeddings(folder: MakeFolder<'_>) -> Result<InputArtifact, Box<dyn Error + Send + Sync>> {
    let labels: Vec<u32> = (0..IMAGES as u32).map(|image| image % CLASSES).collect();
    let ids: Vec<u32> = (0..IMAGES as u32).collect();
    let (vectors, splits) = (vectors(&labels), vec![Split::Test; IMAGES]);
    let (devices, not_cancelled) = (Devices::default(), AtomicBool::new(false));
    let mut context = context(folder, BTreeMap::new(), (&devices, &not_cancelled));
    let rows = EmbeddingRows { ids: &ids, labels: &labels, splits: &splits, vectors: &vectors, dim: DIM };
    embeddings::write(context.output("embeddings")?, rows)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&context.output("embeddings")?.folder)? {
        let path = entry?.path();
        files.push(InputFile { name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path });
    }
    Ok(InputArtifact { node: "embed".to_owned(), kind: ArtifactKind::Embeddings, files, columns: Columns::All })
}

fn context<'run>(
    folder: MakeFolder<'run>,
    inputs: BTreeMap<String, Vec<InputArtifact>>,
    (devices, cancelled): (&'run Devices, &'run AtomicBool),
) -> Context<'run> {
    Context::new(Environment {
        inputs,
        sources: BTreeMap::new(),
        own: Vec::new(),
        ambient: AmbientValues { seed: Some(0), round: Some(0), learners: Some(1), ..AmbientValues::default() },
        device: DeviceChoice::Cpu,
        devices,
        output: folder,
        folder,
        scratch: folder,
        observer: &Silent,
        earlier: BTreeMap::new(),
        known_digest: &|_| None,
        cancelled,
    })
}

/// Observer that ignores everything.
struct Silent;

impl Observer for Silent {
    fn progress(&self, _: u64, _: u64, _: &str) {}
    fn log(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn measured(&self, _: &str, _: f64) {}
}

/// Normalised rows around the centres of their classes, at about the distances of a trained model.
fn vectors(labels: &[u32]) -> Vec<f32> {
    let row = |seed: Streams| {
        let mut rng = seed.rng();
        // The sum of four uniform numbers is approximately normal.
        let normal = move |_| (0..4).map(|_| rng.random::<f32>() - 0.5).sum::<f32>() * 3.0f32.sqrt();
        (0..DIM).map(normal).collect::<Vec<f32>>()
    };
    let streams = Streams::new(0);
    let centres: Vec<Vec<f32>> = (0..CLASSES).map(|class| row(streams.named("class").at(u64::from(class)))).collect();
    let mut vectors = Vec::with_capacity(labels.len() * DIM);
    for (image, label) in labels.iter().enumerate() {
        let noise = row(streams.named("image").at(image as u64));
        let sum: Vec<f32> =
            centres[*label as usize].iter().zip(noise).map(|(centre, noise)| centre + 1.2 * noise).collect();
        let norm = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        vectors.extend(sum.iter().map(|value| value / norm));
    }
    vectors
}

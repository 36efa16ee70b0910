//! How long a folder of generated JPEG files takes to be decoded by `dnc-run`: at first, again, and with ten more files
//! here and there; with the most memory that each took. Half as many files tell whether time is linear in their number.
//!
//! usage: `bench_decode [PATTERN] [--images N]`, by default 12,000 images of 500 × 500, brought to 96 × 96; `bench_data` must
//! be told to `make bench` too, since it builds `dnc-run`

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context as _, Result, ensure};
use dnc_bench::{Bench, Work, median_of};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use rayon::prelude::*;

/// Images of a class.
const PER_CLASS: usize = 6;
const ADDED: usize = 10;
/// Different pictures.
const PICTURES: usize = 2_000;
const SIDE: u32 = 500;

fn main() -> Result<()> {
    let bench = Bench::from_args(&["--images"]);
    let images: usize = bench.option("--images").map_or(Ok(12_000), str::parse)?;
    if !bench.wants("decode/folder") {
        return Ok(());
    }
    let program =
        env::current_exe()?.parent().and_then(Path::parent).context("An example lies in a folder")?.join("dnc-run");
    ensure!(program.is_file(), "Build `{}` first", program.display());
    let project = tempfile::tempdir()?;
    let project = project.path();
    let manifest = "name = \"bench\"\n[stage.decode]\ndataset = \"folder\"\nroot = \"images\"\n\
                    resize = { exact = [96, 96] }\nsplit = { train = 0.5 }\n";
    fs::write(project.join("bench.toml"), manifest)?;
    let pictures: Vec<Vec<u8>> = (0..PICTURES).into_par_iter().map(picture).collect::<Result<_>>()?;
    let write = |number, path: &Path| write_image(&pictures, number, path);
    let mut begin = 0;
    for images in [images / 2, images] {
        (begin..images).into_par_iter().try_for_each(|number| write(number, &place(project, number)))?;
        begin = images;
        // A store does not trust the times of files that are seconds old, and would read them a second time.
        thread::sleep(Duration::from_secs(3));
        measure(&bench, &program, project, images, "first", 1)?;
        measure(&bench, &program, project, images, "again", 5)?;
        let added: Vec<PathBuf> =
            (0..ADDED).map(|number| place(project, number * images / ADDED).with_extension("new.jpg")).collect();
        added.iter().zip(images..).try_for_each(|(path, number)| write(number, path))?;
        measure(&bench, &program, project, images, "ten_more", 1)?;
        added.iter().try_for_each(fs::remove_file)?;
        // The larger folder is to be decoded from scratch.
        fs::remove_dir_all(project.join(".dnc"))?;
        fs::remove_dir_all(project.join("runs"))?;
    }
    Ok(())
}

/// Runs the manifest so many times; prints the median of how long it took, and the most memory of a process.
fn measure(bench: &Bench, program: &Path, project: &Path, images: usize, what: &str, times: usize) -> Result<()> {
    let (mut seconds, mut peak) = (Vec::new(), None);
    for _ in 0..times {
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(["bench.toml", "--quiet", "--threads", &bench.threads.to_string()])
            .current_dir(project)
            .stdin(Stdio::null())
            .spawn()?;
        let (status, its_peak) = dnc_bench::wait(&mut child)?;
        ensure!(status.success(), "The run failed");
        seconds.push(begin.elapsed().as_secs_f64());
        peak = its_peak.max(peak);
    }
    let work = Work::new(images, "images").also("peak_mib", peak);
    bench.print(&format!("decode/folder/jpeg{SIDE}/96/n{images}/{what}"), median_of(seconds), work);
    Ok(())
}

/// Where the image of this number lies.
fn place(project: &Path, number: usize) -> PathBuf {
    project.join(format!("images/{:06}/{number:06}.jpg", number / PER_CLASS))
}

/// The file of an image: one of the pictures, with the image's number as a comment, so that no file is as another.
fn write_image(pictures: &[Vec<u8>], number: usize, path: &Path) -> Result<()> {
    // Mixed, lest the same pictures follow each other twice and the store keep their pixels once.
    let mut mixed = DefaultHasher::new();
    number.hash(&mut mixed);
    let (start, rest) = pictures[mixed.finish() as usize % pictures.len()].split_at(2);
    let comment = number.to_be_bytes();
    let length = (comment.len() as u16 + 2).to_be_bytes();
    fs::create_dir_all(path.parent().context("An image lies in a folder")?)?;
    fs::write(path, [start, &[0xff, 0xfe], &length, &comment, rest].concat())?;
    Ok(())
}

/// A JPEG file of smooth waves with some grain, about 25 kB.
fn picture(number: usize) -> Result<Vec<u8>> {
    let (across, down) = (0.01 + (number % 97) as f32 * 1e-3, 0.01 + (number % 89) as f32 * 1e-3);
    let columns: Vec<[f32; 3]> =
        (0..SIDE).map(|x| [0.0, 2.0, 4.0].map(|phase| 100.0 * (x as f32 * across + phase).sin())).collect();
    let rows: Vec<f32> = (0..SIDE).map(|y| (y as f32 * down).cos()).collect();
    let image = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let grain = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ number as u32) % 16;
        Rgb(columns[x as usize].map(|wave| (128.0 + wave * rows[y as usize]) as u8 + grain as u8))
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 75).encode_image(&image)?;
    Ok(bytes)
}

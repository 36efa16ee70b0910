//! Builds the open-emoji data set: the emoji of seven artists, each rendered at 96 × 96 pixels on white, as Parquet.
//!
//! usage: `open_emoji NODE_MODULES OUT.parquet`, where the folder holds the packages of [`SVG_SETS`] and [`PNG_SET`].
//!
//! A class is an emoji by its meaning: its code points without fe0f (emoji presentation) and 200d (joiner). Left out are emoji
//! with a skin tone, drawings that an artist uses again for another emoji, and classes with fewer than two images. The first
//! half of the sorted classes is the training split. Columns: class, source, split, and image, the bytes of a PNG file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, DictionaryArray, RecordBatch};
use arrow::datatypes::Int32Type;
use dnc_stages::tables::pictures::resize;
use dnc_stages::tables::pictures::svg;
use dnc_stages::tables::pictures::{Limits, Raster, decode};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;
use serde::Deserialize;

/// Artists whose emoji are SVG, and the package of each. The first three give each drawing's code points in `chars.json`; the
/// others have only names, which are looked up among the names of those before.
const SVG_SETS: [(&str, &str); 6] = [
    ("noto", "@iconify-json/noto"),
    ("twemoji", "@iconify-json/twemoji"),
    ("openmoji", "@iconify-json/openmoji"),
    ("notov1", "@iconify-json/noto-v1"),
    ("emojione", "@iconify-json/emojione"),
    ("emojionev1", "@iconify-json/emojione-v1"),
];
/// The artist whose emoji are image files, named by their code points.
const PNG_SET: (&str, &str) = ("fluent3d", "@lobehub/fluent-emoji-3d/assets");

const SIDE: usize = 96;
const WHITE: [u8; 3] = [255; 3];
const SKIN_TONES: [&str; 5] = ["1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"];
/// Code points that do not change the meaning.
const IGNORED_POINTS: [&str; 2] = ["fe0f", "200d"];

type Failure = Box<dyn Error + Send + Sync>;

/// `icons.json` of a package.
#[derive(Deserialize)]
struct Icons {
    icons: BTreeMap<String, Icon>,
    #[serde(default)]
    aliases: BTreeMap<String, Alias>,
    width: f32,
    height: f32,
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    width: Option<f32>,
    height: Option<f32>,
}

#[derive(Deserialize)]
struct Alias {
    parent: String,
}

/// PNG of an emoji by one artist.
struct Image {
    class: String,
    source: &'static str,
    png: Vec<u8>,
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [packages, out] = words.as_slice() else { return Err("usage: open_emoji NODE_MODULES OUT.parquet".into()) };
    let packages = Path::new(packages);
    let mut images = Vec::new();
    let mut classes_by_name = HashMap::new();
    for (source, package) in SVG_SETS {
        images.extend(svg_images(source, &packages.join(package), &mut classes_by_name)?);
    }
    images.extend(png_images(PNG_SET.0, &packages.join(PNG_SET.1))?);
    let images = select(images);
    write(&images, Path::new(out))?;
    let classes: BTreeSet<&str> = images.iter().map(|image| image.class.as_str()).collect();
    println!("Wrote {} images of {} classes to `{out}`", images.len(), classes.len());
    Ok(())
}

/// The emoji of an SVG package. `classes_by_name` collects the classes of names over all packages.
fn svg_images(
    source: &'static str,
    package: &Path,
    classes_by_name: &mut HashMap<String, String>,
) -> Result<Vec<Image>, Failure> {
    let Icons { icons, aliases, width, height } = serde_json::from_slice(&fs::read(package.join("icons.json"))?)?;
    let chars: BTreeMap<String, String> = serde_json::from_slice(&fs::read(package.join("chars.json"))?)?;
    let mut names = BTreeMap::<String, &str>::new();
    for (points, name) in &chars {
        let Some(class) = class_of(points) else { continue };
        classes_by_name.entry(name.clone()).or_insert_with(|| class.clone());
        if let Some((name, _)) = icons.get_key_value(name) {
            names.entry(class).or_insert(name);
        }
    }
    if chars.is_empty() {
        for name in icons.keys() {
            let other_names = aliases.iter().filter(|(_, alias)| alias.parent == *name).map(|(other, _)| other);
            if let Some(class) = std::iter::once(name).chain(other_names).find_map(|name| classes_by_name.get(name)) {
                names.entry(class.clone()).or_insert(name);
            }
        }
    }
    let mut seen = HashSet::new();
    let distinct: Vec<(String, &Icon)> = names
        .into_iter()
        .map(|(class, name)| (class, &icons[name]))
        .filter(|(_, icon)| seen.insert(&icon.body))
        .collect();
    let draw = |(class, icon): (String, &Icon)| {
        let (width, height) = (icon.width.unwrap_or(width), icon.height.unwrap_or(height));
        let text = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{}</svg>"#,
            icon.body
        );
        let raster = svg::render(text.as_bytes(), WHITE, Limits::default(), Some(SIDE as u16));
        let raster = raster.map_err(|problem| format!("The emoji {class} of {source} {problem}"))?;
        Ok(Image { class, source, png: png(&raster)? })
    };
    distinct.into_par_iter().map(draw).collect()
}

/// The emoji of a folder of image files.
fn png_images(source: &'static str, folder: &Path) -> Result<Vec<Image>, Failure> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(class) = path.file_stem().and_then(|stem| class_of(stem.to_str()?)) {
            files.entry(class).or_insert_with(BTreeSet::new).insert(path);
        }
    }
    let convert = |(class, paths): (String, BTreeSet<std::path::PathBuf>)| {
        let path = paths.first().expect("a class is only made with a file");
        let raster = decode(&fs::read(path)?, WHITE, Limits::default(), Vec::new());
        let raster = raster.map_err(|problem| format!("The file `{}` {problem}", path.display()))?;
        Ok(Image { class, source, png: png(&raster)? })
    };
    let files: Vec<_> = files.into_iter().collect();
    files.into_par_iter().map(convert).collect()
}

/// The class of an emoji, from its code points; `None` if it has a skin tone.
fn class_of(points: &str) -> Option<String> {
    let points: Vec<&str> = points.split('-').filter(|point| !IGNORED_POINTS.contains(point)).collect();
    let has_class = !points.is_empty() && !points.iter().any(|point| SKIN_TONES.contains(point));
    has_class.then(|| points.join("-"))
}

/// PNG of the picture, centred on a white square of [`SIDE`] pixels.
fn png(raster: &Raster) -> Result<Vec<u8>, Failure> {
    let longest = raster.height.max(raster.width);
    let [height, width] = [raster.height, raster.width].map(|length| (length * SIDE / longest).max(1));
    let resized = resize::resized(raster.as_picture(), height, width);
    let mut square = vec![u8::MAX; SIDE * SIDE * 3];
    let (top, left) = ((SIDE - height) / 2, (SIDE - width) / 2);
    for (y, row) in resized.chunks_exact(width * 3).enumerate() {
        square[((top + y) * SIDE + left) * 3..][..width * 3].copy_from_slice(row);
    }
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&square, SIDE as u32, SIDE as u32, ExtendedColorType::Rgb8)?;
    Ok(png)
}

/// Keeps each picture of an artist once and classes with at least two images; sorts by class and artist.
fn select(mut images: Vec<Image>) -> Vec<Image> {
    images.sort_by(|a, b| (&a.class, a.source).cmp(&(&b.class, b.source)));
    let mut seen = HashSet::new();
    images.retain(|image| seen.insert((image.source, image.png.clone())));
    let mut counts = HashMap::<String, usize>::new();
    for image in &images {
        *counts.entry(image.class.clone()).or_default() += 1;
    }
    images.retain(|image| counts[&image.class] >= 2);
    images
}

fn write(images: &[Image], out: &Path) -> Result<(), Failure> {
    let classes: Vec<&str> =
        images.iter().map(|image| image.class.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let train: HashSet<&str> = classes[..classes.len() / 2].iter().copied().collect();
    let split = |image: &Image| if train.contains(image.class.as_str()) { "train" } else { "test" };
    let column = |of: &dyn Fn(&Image) -> String| -> ArrayRef {
        let values: Vec<String> = images.iter().map(of).collect();
        Arc::new(values.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>())
    };
    let rows = RecordBatch::try_from_iter([
        ("class", column(&|image| image.class.clone())),
        ("source", column(&|image| image.source.to_owned())),
        ("split", column(&|image| split(image).to_owned())),
        ("image", Arc::new(BinaryArray::from_iter_values(images.iter().map(|image| &image.png))) as ArrayRef),
    ])?;
    let mut writer = ArrowWriter::try_new(fs::File::create(out)?, rows.schema(), None)?;
    writer.write(&rows)?;
    writer.close()?;
    Ok(())
}

//! Builds the open-emoji data set: the emoji of seven artists, each rendered at 96 × 96 pixels on white, as Parquet.
//!
//! usage: `open_emoji NODE_MODULES OUT.parquet`, where the folder holds the packages of [`SVG_SETS`] and [`PNG_SET`].
//!
//! A class is an emoji by its meaning: its code points without fe0f (emoji presentation) and 200d (joiner). Left out are emoji
//! with a skin tone, drawings that an artist uses again for another emoji, and classes with fewer than two images. The first
//! half of the sorted classes is the training split. Columns: class, source, split, and image, the bytes of a PNG file.

mod drawings;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use dnc_stages::tables::pictures::{Limits, decode};
use drawings::{Drawing, Failure, Image, WHITE, keep_shared, png, read_json, read_package, write};
use rayon::prelude::*;

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

const SKIN_TONES: [&str; 5] = ["1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"];
/// Code points that do not change the meaning.
const IGNORED_POINTS: [&str; 2] = ["fe0f", "200d"];

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
    let classes: BTreeSet<&str> = images.iter().map(|image| image.class.as_str()).collect();
    let train: HashSet<&str> = classes.iter().take(classes.len() / 2).copied().collect();
    write(&images, &|class| train.contains(class), None, Path::new(out))
}

/// The emoji of an SVG package. `classes_by_name` collects the classes of names over all packages.
fn svg_images(
    source: &'static str,
    package: &Path,
    classes_by_name: &mut HashMap<String, String>,
) -> Result<Vec<Image>, Failure> {
    let (drawings, aliases) = read_package(package)?;
    let chars: BTreeMap<String, String> = read_json(&package.join("chars.json"))?;
    let mut names = BTreeMap::<String, &str>::new();
    for (points, name) in &chars {
        let Some(class) = class_of(points) else { continue };
        classes_by_name.entry(name.clone()).or_insert_with(|| class.clone());
        if let Some((name, _)) = drawings.get_key_value(name) {
            names.entry(class).or_insert(name);
        }
    }
    if chars.is_empty() {
        for name in drawings.keys() {
            let other_names = aliases.iter().filter(|(_, parent)| *parent == name).map(|(other, _)| other);
            if let Some(class) = std::iter::once(name).chain(other_names).find_map(|name| classes_by_name.get(name)) {
                names.entry(class.clone()).or_insert(name);
            }
        }
    }
    let mut seen = HashSet::new();
    let distinct: Vec<(String, &Drawing)> = names
        .into_iter()
        .map(|(class, name)| (class, &drawings[name]))
        .filter(|(_, drawing)| seen.insert(&drawing.body))
        .collect();
    let draw = |(class, drawing): (String, &Drawing)| {
        let png = drawing.png().map_err(|problem| format!("The emoji {class} of {source} {problem}"))?;
        Ok(Image { class, source, png })
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

/// Keeps each picture of an artist once and classes with at least two images; sorts by class and artist.
fn select(mut images: Vec<Image>) -> Vec<Image> {
    images.sort_by(|a, b| (&a.class, a.source).cmp(&(&b.class, b.source)));
    let mut seen = HashSet::new();
    images.retain(|image| seen.insert((image.source, image.png.clone())));
    keep_shared(&mut images, |image| (image.class.as_str(), image.source));
    images
}

//! What the data sets of drawings share: packages of Iconify, square pictures on white, and the table of images.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, DictionaryArray, RecordBatch};
use arrow::datatypes::Int32Type;
use dnc_stages::tables::pictures::resize;
use dnc_stages::tables::pictures::svg;
use dnc_stages::tables::pictures::{Limits, Raster};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde::Deserialize;

/// Width and height of the images.
const SIDE: usize = 96;
pub(crate) const WHITE: [u8; 3] = [255; 3];

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A row of the table.
pub(crate) struct Image {
    pub(crate) class: String,
    pub(crate) source: &'static str,
    pub(crate) png: Vec<u8>,
}

/// A drawing of a package: the content of an `<svg>` element, and left, top, width and height of what it shows.
pub(crate) struct Drawing {
    pub(crate) body: String,
    view: [f32; 4],
}

/// `icons.json` of a package. Sizes are defaults for its icons, and their own defaults are Iconify's.
#[derive(Deserialize)]
struct Package {
    icons: BTreeMap<String, Icon>,
    #[serde(default)]
    aliases: BTreeMap<String, Alias>,
    #[serde(default)]
    left: f32,
    #[serde(default)]
    top: f32,
    #[serde(default = "default_side")]
    width: f32,
    #[serde(default = "default_side")]
    height: f32,
}

/// No drawing of the packages is turned or mirrored: the keys for that are refused, as all that are not known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Icon {
    body: String,
    left: Option<f32>,
    top: Option<f32>,
    width: Option<f32>,
    height: Option<f32>,
    /// The set has withdrawn the drawing and keeps it only for those who use it.
    #[serde(default)]
    hidden: bool,
}

/// Another name of a drawing. One that changes the drawing is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alias {
    parent: String,
}

fn default_side() -> f32 {
    16.0
}

/// The drawings of a package by name, without withdrawn ones, and the name that each other name stands for.
pub(crate) fn read_package(folder: &Path) -> Result<(BTreeMap<String, Drawing>, BTreeMap<String, String>), Failure> {
    let Package { icons, aliases, left, top, width, height } = read_json(&folder.join("icons.json"))?;
    let drawing = |icon: Icon| Drawing {
        body: icon.body,
        view: [
            icon.left.unwrap_or(left),
            icon.top.unwrap_or(top),
            icon.width.unwrap_or(width),
            icon.height.unwrap_or(height),
        ],
    };
    let drawings =
        icons.into_iter().filter(|(_, icon)| !icon.hidden).map(|(name, icon)| (name, drawing(icon))).collect();
    Ok((drawings, aliases.into_iter().map(|(name, alias)| (name, alias.parent)).collect()))
}

pub(crate) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Failure> {
    let bytes = fs::read(path).map_err(|problem| format!("Cannot read `{}`: {problem}", path.display()))?;
    Ok(serde_json::from_slice(&bytes).map_err(|problem| format!("Cannot read `{}`: {problem}", path.display()))?)
}

impl Drawing {
    /// PNG of the drawing; black where it takes the colour of the text around it.
    pub(crate) fn png(&self) -> Result<Vec<u8>, Failure> {
        let [left, top, width, height] = self.view;
        let text = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">{}</svg>"#,
            self.body
        );
        png(&svg::render(text.as_bytes(), WHITE, Limits::default(), Some(SIDE as u16))?)
    }
}

/// PNG of the picture, centred on a white square of [`SIDE`] pixels.
pub(crate) fn png(raster: &Raster) -> Result<Vec<u8>, Failure> {
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

/// Keeps the classes that at least two sources have. `place` gives class and source of an item.
pub(crate) fn keep_shared<T>(items: &mut Vec<T>, place: impl Fn(&T) -> (&str, &'static str)) {
    let mut sources = HashMap::<String, HashSet<&str>>::new();
    for item in items.iter() {
        let (class, source) = place(item);
        sources.entry(class.to_owned()).or_default().insert(source);
    }
    items.retain(|item| sources[place(item).0].len() >= 2);
}

/// Writes the images as Parquet, with the columns class, source, split and image (the bytes of a PNG file).
pub(crate) fn write(
    images: &[Image],
    is_train: &dyn Fn(&str) -> bool,
    properties: Option<WriterProperties>,
    out: &Path,
) -> Result<(), Failure> {
    let split = |image: &Image| if is_train(&image.class) { "train" } else { "test" };
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
    let mut writer = ArrowWriter::try_new(fs::File::create(out)?, rows.schema(), properties)?;
    writer.write(&rows)?;
    writer.close()?;
    for name in ["train", "test"] {
        let part: Vec<&str> =
            images.iter().filter(|&image| split(image) == name).map(|image| image.class.as_str()).collect();
        let classes: BTreeSet<&&str> = part.iter().collect();
        println!("{name}: {} images of {} classes", part.len(), classes.len());
    }
    println!("Wrote {} images to `{}`", images.len(), out.display());
    Ok(())
}

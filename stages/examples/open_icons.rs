//! Builds the open-icons data set: what many open icon sets draw under the same name, at 96 × 96 pixels in black on white, as
//! Parquet.
//!
//! usage: `open_icons NODE_MODULES OUT.parquet`, where the folder holds the package `@iconify-json/NAME` of each of [`SETS`].
//!
//! A class is an icon's name without style and size; its source is the set. A set gives one size of each style. Left out are
//! icons that a set has withdrawn, other names of the same drawing, names of variants ([`VARIANTS`]), exact duplicates, and
//! classes that only one set has. The hash of its name puts a class into training or test. Columns: class, source, split, and
//! image, the bytes of a PNG file; author and licence of each set are in the file's metadata, under the key `licences`.

mod drawings;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use drawings::{Drawing, Failure, Image, keep_shared, read_json, read_package, write};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use serde::Deserialize;

/// A set of icons and how it names them: `home-outline`, `home-24-filled`, `home-fill-16`.
struct Set {
    name: &'static str,
    /// Endings that say how an icon is drawn. At most one is taken off a name: the first that fits. They are listed by set, because
    /// a word has its meaning from its set: `bold` is a style of Phosphor, but `format-bold` of Material Design is a bold letter.
    styles: &'static [&'static str],
    /// Endings that say for which size in pixels an icon is drawn, of which at most one is taken off a name. All sizes of a drawing
    /// look nearly the same at 96 pixels, so the one without an ending is used, or else the first in this list.
    sizes: &'static [&'static str],
}

/// Material Line Icons (`line-md`) are not among them: they are animations, which begin with an empty picture.
const SETS: [Set; 28] = [
    Set { name: "akar-icons", styles: &["fill"], sizes: &[] },
    Set { name: "ant-design", styles: &["outlined", "filled", "twotone"], sizes: &[] },
    Set { name: "bi", styles: &["fill"], sizes: &[] },
    Set { name: "bx", styles: &[], sizes: &[] },
    Set { name: "carbon", styles: &["filled", "outline", "solid"], sizes: &[] },
    Set { name: "codicon", styles: &["filled"], sizes: &["compact"] },
    Set { name: "eva", styles: &["fill", "outline"], sizes: &[] },
    Set { name: "fa6-regular", styles: &[], sizes: &[] },
    Set { name: "fa6-solid", styles: &[], sizes: &[] },
    Set { name: "feather", styles: &[], sizes: &[] },
    Set {
        name: "fluent",
        styles: &["filled", "regular", "light"],
        sizes: &["24", "20", "28", "16", "32", "48", "12", "10"],
    },
    Set { name: "gg", styles: &[], sizes: &[] },
    Set { name: "heroicons", styles: &["solid"], sizes: &["20", "16"] },
    Set { name: "iconoir", styles: &["solid"], sizes: &[] },
    Set { name: "ion", styles: &["outline", "sharp"], sizes: &[] },
    Set { name: "jam", styles: &["f"], sizes: &[] },
    Set { name: "lucide", styles: &[], sizes: &[] },
    Set {
        name: "material-symbols",
        styles: &["outline-rounded", "outline-sharp", "rounded", "sharp", "outline"],
        sizes: &[],
    },
    Set { name: "mdi", styles: &["outline"], sizes: &[] },
    Set { name: "mingcute", styles: &["fill", "line"], sizes: &[] },
    Set { name: "octicon", styles: &["fill"], sizes: &["24", "16", "48", "96", "12"] },
    Set { name: "ph", styles: &["bold", "duotone", "fill", "light", "thin"], sizes: &[] },
    Set { name: "radix-icons", styles: &["filled"], sizes: &[] },
    Set { name: "ri", styles: &["fill", "line"], sizes: &[] },
    Set { name: "solar", styles: &["bold-duotone", "line-duotone", "bold", "broken", "linear", "outline"], sizes: &[] },
    Set { name: "tabler", styles: &["filled"], sizes: &[] },
    Set { name: "uil", styles: &[], sizes: &[] },
    Set { name: "uiw", styles: &["o"], sizes: &[] },
];

/// Last words, besides numbers, of a set's further drawings of the same thing. They mean another drawing in each set, and
/// `home-2` would be a class beside `home`, so such names are left out.
const VARIANTS: [&str; 2] = ["alt", "variant"];

/// Licences under which the images may be passed on.
const LICENCES: [&str; 4] = ["MIT", "Apache-2.0", "ISC", "CC-BY-4.0"];

/// `info.json` of a package.
#[derive(Deserialize)]
struct Info {
    name: String,
    author: Author,
    license: Licence,
}

#[derive(Deserialize)]
struct Author {
    name: String,
    url: String,
}

#[derive(Deserialize)]
struct Licence {
    spdx: String,
}

/// A drawing that is not rendered yet.
struct Icon {
    class: String,
    source: &'static str,
    name: String,
    drawing: Drawing,
}

/// Parts of an icon's name: style and size as their places in the lists of the set.
struct Parts<'a> {
    class: &'a str,
    style: Option<usize>,
    size: Option<usize>,
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [packages, out] = words.as_slice() else { return Err("usage: open_icons NODE_MODULES OUT.parquet".into()) };
    let packages = Path::new(packages).join("@iconify-json");
    let mut icons = Vec::new();
    let mut licences = BTreeMap::new();
    for set in &SETS {
        let package = packages.join(set.name);
        let licence = licence(set.name, &package)?;
        println!("{}: {licence}", set.name);
        licences.insert(set.name, licence);
        icons.extend(icons_of(set, &package)?);
    }
    keep_shared(&mut icons, |icon: &Icon| (icon.class.as_str(), icon.source));
    let images = icons.into_par_iter().map(draw).collect::<Result<Vec<Image>, Failure>>()?;
    let images = select(images);
    let licences = KeyValue::new("licences".to_owned(), serde_json::to_string(&licences)?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![licences]))
        .build();
    write(&images, &is_train, Some(properties), Path::new(out))
}

/// Name, author and licence of a set.
fn licence(set: &str, package: &Path) -> Result<String, Failure> {
    let Info { name, author, license: Licence { spdx } } = read_json(&package.join("info.json"))?;
    if !LICENCES.contains(&spdx.as_str()) {
        return Err(format!("The set `{set}` has the licence {spdx}, which is none of {}", LICENCES.join(", ")).into());
    }
    Ok(format!("{name} by {} ({}), {spdx}", author.name, author.url))
}

/// The icons of a set, sorted by class and style.
fn icons_of(set: &Set, package: &Path) -> Result<Vec<Icon>, Failure> {
    let (drawings, _) = read_package(package)?;
    let mut sizes = BTreeMap::<(String, Option<usize>), Vec<(Option<usize>, Icon)>>::new();
    for (name, drawing) in drawings {
        let Parts { class, style, size } = set.parts(&name);
        if !is_variant(class) {
            let icon = Icon { class: class.to_owned(), source: set.name, name: name.clone(), drawing };
            sizes.entry((class.to_owned(), style)).or_default().push((size, icon));
        }
    }
    let best = |sizes: Vec<(Option<usize>, Icon)>| sizes.into_iter().min_by_key(|(size, _)| *size);
    Ok(sizes.into_values().filter_map(best).map(|(_, icon)| icon).collect())
}

impl Set {
    /// Takes style and size off the end of a name, in either order.
    fn parts<'a>(&self, name: &'a str) -> Parts<'a> {
        let mut parts = Parts { class: name, style: None, size: None };
        loop {
            if parts.style.is_none()
                && let Some((rest, style)) = without_ending(parts.class, self.styles)
            {
                (parts.class, parts.style) = (rest, Some(style));
            } else if parts.size.is_none()
                && let Some((rest, size)) = without_ending(parts.class, self.sizes)
            {
                (parts.class, parts.size) = (rest, Some(size));
            } else {
                return parts;
            }
        }
    }
}

/// The name without the first of the endings that fits, and the place of the ending.
fn without_ending<'a>(name: &'a str, endings: &[&str]) -> Option<(&'a str, usize)> {
    let rest = |ending: &str| name.strip_suffix(ending)?.strip_suffix('-');
    endings.iter().enumerate().find_map(|(place, ending)| Some((rest(ending)?, place)))
}

fn is_variant(class: &str) -> bool {
    let last = class.rsplit_once('-').map(|(_, last)| last);
    last.is_some_and(|last| VARIANTS.contains(&last) || last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn draw(icon: Icon) -> Result<Image, Failure> {
    let Icon { class, source, name, drawing } = icon;
    let png = drawing.png().map_err(|problem| format!("The icon {name} of {source} {problem}"))?;
    Ok(Image { class, source, png })
}

/// Keeps each picture once and classes that at least two sets have; sorts by class and set, and leaves the styles of a set in
/// their order.
fn select(mut images: Vec<Image>) -> Vec<Image> {
    images.sort_by(|a, b| (&a.class, a.source).cmp(&(&b.class, b.source)));
    let mut seen = HashSet::new();
    images.retain(|image| seen.insert(image.png.clone()));
    keep_shared(&mut images, |image| (image.class.as_str(), image.source));
    images
}

/// Whether a class is in the training split. It depends on the name alone, so that a class stays in its split when sets grow.
fn is_train(class: &str) -> bool {
    blake3::hash(class.as_bytes()).as_bytes()[0].is_multiple_of(2)
}

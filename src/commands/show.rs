//! `dnc-run show MANIFEST NODE`: a contact sheet of samples of a node's images, or of images and their views side by side.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::{Artifact, Store};
use dnc_stages::context::InputArtifact;
use dnc_stages::stage::Columns;
use dnc_stages::tables::images::{Images, Picture};
use dnc_stages::tables::views::{View, Views};
use dnc_stages::views::resize;
use dnc_stages::{Kind, views};
use image::{ImageFormat, RgbImage};

use super::Failure;
use super::manifest_args::{ManifestArgs, ingredients_to_show};
use super::plan::everything;
use crate::execute::forecast::{Forecast, forecast};
use crate::execute::local::verified_files;
use crate::plan::{Plan, Selection};
use crate::report::sheet::{self, Cell};

/// Cells of a row of images.
const COLUMNS: usize = 8;
/// What a view shows where something was cut out: the mean colour of ImageNet, near what most backbones are trained with.
const CUT_OUT: [u8; 3] = [124, 116, 104];

/// Arguments of `show`.
#[derive(Args)]
pub struct ShowArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// The node, whose output is images or views: `decode`, `augment`
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// How many images are shown, evenly chosen from all
    #[arg(long, value_name = "N", default_value_t = 32)]
    count: usize,
    /// How many views are shown of each image
    #[arg(long, value_name = "N", default_value_t = 7)]
    views: usize,
    /// Pixels along each side of a picture
    #[arg(long, value_name = "PIXELS", default_value_t = 120, value_parser = clap::value_parser!(u16).range(24..=1024))]
    side: u16,
    /// Where the PNG is written [default: NODE.png]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl ShowArgs {
    /// Writes the sheet and prints where it is.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        // `show NODE` alone means the manifest of the last run.
        if self.node.is_none() {
            self.node = self.manifest.manifest.take().map(|node| node.display().to_string());
        }
        let Some(node) = self.node.take() else { return Err(Failure::Call("Name the node to show".into())) };
        let chosen = self.manifest.choose()?;
        let plan = chosen.plan()?;
        let store = chosen.store()?;
        let (images, views) = self.artifacts(&plan, &store, &node)?;
        let images = Images::open(&images)?;
        let rows = match views {
            Some(views) => self.rows_of_views(&images, &Views::open(&views)?)?,
            None => self.rows_of_images(&images)?,
        };
        let path = self.output.unwrap_or_else(|| format!("{node}.png").into());
        let sheet = sheet::draw(&rows, self.side.into());
        sheet
            .save_with_format(&path, ImageFormat::Png)
            .with_context(|| format!("Cannot write the sheet `{}`", path.display()))?;
        say!("{}", path.display());
        Ok(())
    }

    /// The images that the node made or has views of, and the views.
    fn artifacts(
        &self,
        plan: &Plan,
        store: &Store,
        node: &str,
    ) -> Result<(InputArtifact, Option<InputArtifact>), Failure> {
        let selected = Selection::new(node).nodes(plan).map_err(Failure::Call)?;
        let index = selected[0];
        let options = everything(plan, self.manifest.device.resolve());
        let ingredients = ingredients_to_show(plan, &store.index(), options.device)?;
        let forecasts = forecast(plan, store, &ingredients, &options, &|_| None)?;
        let output_of = |index: usize, kind: Kind| -> Result<Option<InputArtifact>, Failure> {
            let name = &plan.nodes[index].name;
            let Forecast::Hit { fingerprint } = &forecasts[index] else {
                return Err(Failure::Call(format!("`{name}` is not up to date; run the manifest first")));
            };
            let Some(output) = plan.stage(&plan.nodes[index]).ports.outputs.iter().find(|output| output.kind == kind)
            else {
                return Ok(None);
            };
            let record = store.record(&fingerprint.key())?;
            let stored = record.as_ref().and_then(|record| record.outputs.get(&output.name));
            stored.map(|stored| open(store, name, kind, stored)).transpose()
        };
        if let Some(views) = output_of(index, Kind::Views)? {
            let wires = &plan.nodes[index].inputs;
            let feed = wires.iter().flat_map(|wire| &wire.feeds).find(|feed| feed.kind == Kind::Images);
            let images = feed.map(|feed| output_of(feed.node, Kind::Images)).transpose()?.flatten();
            let images = images.ok_or_else(|| Failure::Call(format!("`{node}` reads no images")))?;
            return Ok((images, Some(views)));
        }
        match output_of(index, Kind::Images)? {
            Some(images) => Ok((images, None)),
            None => Err(Failure::Call(format!("`{node}` makes neither images nor views"))),
        }
    }

    fn rows_of_images(&self, images: &Images) -> Result<Vec<Vec<Cell>>, Failure> {
        let (classes, splits, pixels) = (images.classes()?, images.splits()?, images.pixels()?);
        let cells = spread(images.len(), self.count).map(|row| {
            let picture = pixels.of(row);
            let notes = vec![format!("{} {}x{}", splits[row], picture.width, picture.height)];
            Cell { picture: fitted(picture, self.side.into()), title: classes[row].to_owned(), notes }
        });
        let mut cells = cells.collect::<Vec<_>>().into_iter();
        Ok(std::iter::from_fn(|| Some(cells.by_ref().take(COLUMNS).collect::<Vec<_>>()).filter(|row| !row.is_empty()))
            .collect())
    }

    fn rows_of_views(&self, images: &Images, views: &Views) -> Result<Vec<Vec<Cell>>, Failure> {
        let (ids, classes, pixels) = (images.ids()?, images.classes()?, images.pixels()?);
        let side = usize::from(self.side);
        // With their views beside them, fewer images fill the sheet.
        let count = self.count.div_ceil(2);
        spread(images.len(), count)
            .map(|row| {
                let picture = pixels.of(row);
                let notes = vec![format!("image {}", ids[row])];
                let mut cells = vec![Cell { picture: fitted(picture, side), title: classes[row].to_owned(), notes }];
                for number in 0..self.views.min(views.per_image()) {
                    let view = views.view(ids[row], number as u64)?;
                    let shown = match views.made(ids[row], number as u64)? {
                        Some(pixels) => fitted(square(pixels), side),
                        None => {
                            let mut shown = vec![0; side * side * 3];
                            views::apply(picture, &view, CUT_OUT, side, &mut shown);
                            RgbImage::from_raw(side as u32, side as u32, shown).expect("it was made for that size")
                        }
                    };
                    let (title, notes) = described(number, &view, picture);
                    cells.push(Cell { picture: shown, title, notes });
                }
                Ok(cells)
            })
            .collect()
    }
}

/// The artifact with its verified files.
fn open(store: &Store, node: &str, kind: Kind, stored: &Artifact) -> Result<InputArtifact, Failure> {
    let files = verified_files(store, stored)?
        .map_err(|_| Failure::Call(format!("The {kind} of `{node}` are not in the store; run the manifest first")))?;
    Ok(InputArtifact { node: node.to_owned(), kind, files, columns: Columns::All })
}

/// At most `count` of the numbers below `length`, evenly spread.
fn spread(length: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(length);
    (0..count).map(move |number| number * length / count)
}

/// The picture as large as it can be within `side` × `side`; small ones grow by whole factors, so that they stay sharp.
fn fitted(picture: Picture<'_>, side: usize) -> RgbImage {
    let longest = picture.height.max(picture.width).max(1);
    let (height, width) = if longest > side {
        let scaled = |length: usize| (length * side / longest).max(1);
        (scaled(picture.height), scaled(picture.width))
    } else {
        (picture.height, picture.width)
    };
    let pixels = resize::resized(picture, height, width);
    let image = RgbImage::from_raw(width as u32, height as u32, pixels).expect("it was made for that size");
    let factor = (side / longest).max(1) as u32;
    image::imageops::resize(
        &image,
        image.width() * factor,
        image.height() * factor,
        image::imageops::FilterType::Nearest,
    )
}

/// A view as it was materialised.
fn square(pixels: &[u8]) -> Picture<'_> {
    let side = (pixels.len() / 3).isqrt();
    Picture { height: side, width: side, pixels }
}

/// What was drawn for a view, in short lines: crop and flip; colours; the rest.
fn described(number: usize, view: &View, picture: Picture<'_>) -> (String, Vec<String>) {
    let whole = (picture.height * picture.width) as f64;
    let share = f64::from(view.crop.height) * f64::from(view.crop.width) / whole * 100.0;
    let flip = if view.flip { " flipped" } else { "" };
    let line = |names: &[(&'static str, bool)]| {
        let drawn = names.iter().filter(|(_, drawn)| *drawn).map(|(name, _)| *name);
        drawn.collect::<Vec<_>>().join(" ")
    };
    let colours = line(&[("colour", view.colour.is_some()), ("grey", view.grey), ("blur", view.blur.is_some())]);
    let rest = line(&[
        ("turned", view.rotation.is_some()),
        ("cut", view.cutout.is_some()),
        ("jpeg", view.jpeg.is_some()),
        ("lens", view.aberration.is_some()),
    ]);
    (format!("view {number}: {share:.0}%{flip}"), vec![colours, rest])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_over_all() {
        let check = |length, count, expected: &[usize]| assert_eq!(spread(length, count).collect::<Vec<_>>(), expected);
        check(10, 3, &[0, 3, 6]);
        check(2, 5, &[0, 1]);
        check(0, 5, &[]);
    }

    #[test]
    fn pictures_fill_their_cells_in_their_own_shape() {
        let check = |height: usize, width: usize, expected| {
            let pixels = vec![7; height * width * 3];
            assert_eq!(fitted(Picture { height, width, pixels: &pixels }, 100).dimensions(), expected);
        };
        check(400, 200, (50, 100));
        check(40, 20, (40, 80));
        check(1, 1000, (100, 1));
        check(60, 100, (100, 60));
    }
}

//! `dnc-run show MANIFEST NODE`: writes a contact sheet of a node's images, or of images beside their augmented views.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use dnc_cache::{Artifact, Store};
use dnc_stages::api::{ArtifactKind, Columns, InputArtifact};
use dnc_stages::tables::images::Images;
use dnc_stages::tables::pictures::{self, Picture, resize};
use dnc_stages::tables::views::{View, Views};
use image::{ImageFormat, RgbImage};
use serde::Serialize;

use super::failure::Failure;
use super::manifest_args::{ManifestArgs, hashing_progress};
use super::output::{check_replaceable, write_json};
use crate::execute::attempt::verified_files;
use crate::execute::driver::Options;
use crate::execute::forecast::Forecast;
use crate::plan::{Plan, Selection};
use crate::report::sheet::{self, Cell};
use crate::session::Session;

/// Number of images in a row.
const COLUMNS: usize = 8;
/// Colour of the erased parts of a view: the mean colour of ImageNet, which is near the training mean of most backbones.
const ERASED: [u8; 3] = [124, 116, 104];

/// Arguments of `dnc-run show`.
#[derive(Args)]
pub struct ShowArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Node whose images or views are shown, such as `decode` or `augment`
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// Number of images, spread evenly over the data set
    #[arg(long, value_name = "N", default_value_t = 32)]
    count: usize,
    /// Number of views of each image
    #[arg(long, value_name = "N", default_value_t = 7)]
    views: usize,
    /// Side length of each picture in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 120, value_parser = clap::value_parser!(u16).range(24..=1024))]
    side: u16,
    /// PNG file to write [default: NODE.png]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `show --json` prints.
#[derive(Serialize)]
struct ShowJson {
    /// The node.
    node: String,
    /// The file that was written.
    path: PathBuf,
    /// Number of pictures on the sheet.
    pictures: usize,
}

impl ShowArgs {
    /// Writes the sheet and prints its path.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let node = self.manifest.node(self.node.take(), "show")?;
        let path = self.output.clone().unwrap_or_else(|| format!("{node}.png").into());
        check_replaceable(&path, &["png"])?;
        let session = self.manifest.session()?;
        let plan = session.plan()?;
        let store = session.store_to_read()?;
        let (images, views) = artifacts(&session, &plan, &store, &node)?;
        let images = Images::open(&images)?;
        let rows = match views {
            Some(views) => self.rows_of_views(&images, &Views::open(&views)?)?,
            None => self.rows_of_images(&images)?,
        };
        let sheet = sheet::draw(&rows, self.side.into());
        sheet
            .save_with_format(&path, ImageFormat::Png)
            .with_context(|| format!("Cannot write the contact sheet `{}`", path.display()))?;
        if self.json {
            let pictures = rows.iter().map(Vec::len).sum();
            return Ok(write_json(&ShowJson { node, path, pictures })?);
        }
        print_line!("{}", path.display());
        Ok(())
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
        // Views take up space as well, so fewer images fill the sheet.
        let count = self.count.div_ceil(2);
        spread(images.len(), count)
            .map(|row| {
                let picture = pixels.of(row);
                let notes = vec![format!("image {}", ids[row])];
                let mut cells = vec![Cell { picture: fitted(picture, side), title: classes[row].to_owned(), notes }];
                for number in 0..self.views.min(views.per_image()) {
                    let view = views.view(ids[row], number as u64)?;
                    let shown = match views.materialised(ids[row], number as u64)? {
                        Some(pixels) => fitted(square(pixels), side),
                        None => {
                            let mut shown = vec![0; side * side * 3];
                            pictures::apply(picture, &view, ERASED, side, &mut shown);
                            RgbImage::from_raw(side as u32, side as u32, shown).expect("the buffer has that size")
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

/// The images of the node, or its views and the images that they belong to.
fn artifacts(
    session: &Session,
    plan: &Plan,
    store: &Store,
    node: &str,
) -> Result<(InputArtifact, Option<InputArtifact>), Failure> {
    let selected = Selection::new(node).nodes(plan).map_err(Failure::Call)?;
    let index = selected[0];
    let options = Options::everything(plan, session.device().resolve());
    let forecasts = session.forecast(plan, &options, store, &session.history(plan), &hashing_progress())?;
    let output_of = |index: usize, kind: ArtifactKind| -> Result<Option<InputArtifact>, Failure> {
        let name = &plan.nodes[index].name;
        let Forecast::Hit { fingerprint } = &forecasts[index] else {
            return Err(Failure::Call(format!("`{name}` is not up to date; run the manifest first")));
        };
        let Some(output) = plan.stage(&plan.nodes[index]).ports.outputs.iter().find(|output| output.kind == kind)
        else {
            return Ok(None);
        };
        let outputs = store.outputs(&fingerprint.key())?.unwrap_or_default();
        outputs.get(&output.name).map(|stored| open(store, name, kind, stored)).transpose()
    };
    if let Some(views) = output_of(index, ArtifactKind::Views)? {
        let wires = &plan.nodes[index].inputs;
        let feed = wires.iter().flat_map(|wire| &wire.feeds).find(|feed| feed.kind == ArtifactKind::Images);
        let images = feed.map(|feed| output_of(feed.node, ArtifactKind::Images)).transpose()?.flatten();
        let images = images.ok_or_else(|| {
            Failure::Call(format!("The images of `{node}` are missing: it has no input of kind `images`"))
        })?;
        return Ok((images, Some(views)));
    }
    match output_of(index, ArtifactKind::Images)? {
        Some(images) => Ok((images, None)),
        None => Err(Failure::Call(format!("`{node}` has neither images nor views to show"))),
    }
}

/// Opens the artifact after verifying its files.
fn open(store: &Store, node: &str, kind: ArtifactKind, stored: &Artifact) -> Result<InputArtifact, Failure> {
    let files = verified_files(store, stored)?.map_err(|_| {
        Failure::Call(format!("The {kind} of `{node}` are no longer in the store; run the manifest first"))
    })?;
    Ok(InputArtifact { node: node.to_owned(), kind, files, columns: Columns::All })
}

/// At most `count` of the indices below `length`, spread evenly.
fn spread(length: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(length);
    (0..count).map(move |number| number * length / count)
}

/// Scales the picture to fit `side` × `side`. Small pictures grow by an integer factor, so that they stay sharp.
fn fitted(picture: Picture<'_>, side: usize) -> RgbImage {
    let longest = picture.height.max(picture.width).max(1);
    let (height, width) = if longest > side {
        let scaled = |length: usize| (length * side / longest).max(1);
        (scaled(picture.height), scaled(picture.width))
    } else {
        (picture.height, picture.width)
    };
    let pixels = resize::resized(picture, height, width);
    let image = RgbImage::from_raw(width as u32, height as u32, pixels).expect("the buffer has that size");
    let factor = (side / longest).max(1) as u32;
    image::imageops::resize(
        &image,
        image.width() * factor,
        image.height() * factor,
        image::imageops::FilterType::Nearest,
    )
}

/// A materialised view.
fn square(pixels: &[u8]) -> Picture<'_> {
    let side = (pixels.len() / 3).isqrt();
    Picture { height: side, width: side, pixels }
}

/// The random parameters of a view, in short lines: crop and flip; colours; the rest.
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
    fn samples_are_spread_evenly() {
        let check = |length, count, expected: &[usize]| assert_eq!(spread(length, count).collect::<Vec<_>>(), expected);
        check(10, 3, &[0, 3, 6]);
        check(2, 5, &[0, 1]);
        check(0, 5, &[]);
    }

    #[test]
    fn pictures_fill_their_cells_and_keep_their_aspect_ratio() {
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

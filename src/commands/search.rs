//! `dnc-run search RUN IMAGE…`: finds the nearest images of a run.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use dnc_stages::decode::data_folder::is_junk;
use dnc_stages::tables::Split;
use dnc_stages::tables::index::RecallRow;
use dnc_stages::tables::pictures::Raster;
use image::{ImageFormat, RgbImage};
use serde::Serialize;

use super::failure::Failure;
use super::names;
use super::output::{check_replaceable, embedding_progress, write_json};
use crate::pages::evidence::Evidence;
use crate::project::{Folders, Project};
use crate::report::run_folder::RunFolder;
use crate::report::sheet::{self, Cell};
use crate::report::table::text_table;
use crate::report::text_rows::csv_cell;
use crate::search::{Crop, Hit, Searcher, Space, Within};

/// Side of a picture on the contact sheet.
const SIDE: u32 = 120;
/// Extensions of the pictures in a folder.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Arguments of `dnc-run search`.
#[derive(Args)]
pub struct SearchArgs {
    /// Run whose model and images are used: `<name>/<n>`, or `<name>` for its last run
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    run: String,
    /// Images to search for: files, folders, `id:N` for an image of the run, or `-` for standard input
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Number of nearest images to show
    #[arg(long, short, value_name = "N", default_value_t = 10)]
    k: usize,
    /// Where to search: a split of the run (train, validation, test, query, gallery), `all`, or a folder of pictures [default: the
    /// images that the run's queries were searched in]
    #[arg(long = "in", value_name = "SPLIT|DIR")]
    within: Option<String>,
    /// Use the run's index: fast for millions of images, but may miss some neighbours
    #[arg(long, conflicts_with_all = ["within", "learner"])]
    approximate: bool,
    /// Part of each image to search for, in pixels
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT")]
    crop: Option<Crop>,
    /// Compare images in the subspace of one learner, counted from 0
    #[arg(long, value_name = "N")]
    learner: Option<usize>,
    /// Output format
    #[arg(long, default_value = "table")]
    format: Format,
    /// PNG file to write, with each image beside its nearest ones
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    folders: Folders,
}

/// Values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns
    Table,
    /// JSON
    Json,
    /// Comma-separated values
    Csv,
    /// Only the sources of the images found, one per line
    Paths,
}

/// An image with what was found.
#[derive(Serialize)]
struct FoundJson {
    image: String,
    nothing_near: bool,
    /// Of an approximate search: the share of the nearest images that it finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    index_recall: Option<f64>,
    neighbours: Vec<NeighbourJson>,
}

#[derive(Serialize)]
struct NeighbourJson {
    rank: usize,
    id: u32,
    class: String,
    distance: f32,
    share_right: Option<f64>,
    source: String,
}

/// A picture to search for.
struct Query {
    name: String,
    picture: Raster,
    /// Its id, if it is a whole image of the run.
    id: Option<u32>,
}

impl SearchArgs {
    /// Prints the nearest images.
    pub(super) fn run(self) -> Result<(), Failure> {
        self.sheet.iter().try_for_each(|path| check_replaceable(path, &["png"]))?;
        if self.k == 0 {
            return Err(Failure::Call("`-k` must be at least 1".into()));
        }
        let project = Project::current(&self.folders)?;
        let folder = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        let within = self.within()?;
        let evidence = Evidence::read(folder, self.folders.store.as_deref())?;
        let searcher = Searcher::open(&evidence, &within, &embedding_progress())?;
        if let Within::Files { root, files } = &within
            && searcher.len() < files.len()
        {
            let left_out = files.len() - searcher.len();
            eprintln!(
                "warning: {left_out} of {} pictures in `{}` cannot be decoded and are left out",
                files.len(),
                root.display()
            );
        }
        if let Some(RecallRow { k, recall, .. }) = searcher.recall() {
            eprintln!(
                "Approximate search: Recall@{k} of the nearest images is {recall:.3}, as measured when the index was built"
            );
        }
        let space = self.space(&searcher)?;
        let queries = self.queries(&searcher)?;
        let found = searcher.nearest(&vectors(&searcher, &queries)?, self.k, &space)?;
        if let Some(path) = &self.sheet {
            write_sheet(&searcher, &within, &queries, &found, path)?;
            eprintln!("Wrote `{}`", path.display());
        }
        self.print(&queries, &found, searcher.recall())
    }

    fn print(&self, queries: &[Query], found: &[Vec<Hit>], recall: Option<RecallRow>) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let all: Vec<FoundJson> =
                    queries.iter().zip(found).map(|(query, hits)| json(query, hits, recall)).collect();
                write_json(&all)?;
            }
            Format::Csv => {
                print_line!("image,rank,id,class,distance,share_right,source");
                for (query, hits) in queries.iter().zip(found) {
                    for (rank, hit) in hits.iter().enumerate() {
                        let share = hit.share_right.map_or_else(String::new, |share| format!("{share:.4}"));
                        let [image, class, source] = [&query.name, &hit.class, &hit.source].map(|text| csv_cell(text));
                        print_line!("{image},{},{},{class},{:.6},{share},{source}", rank + 1, hit.id, hit.distance);
                    }
                }
            }
            Format::Paths => {
                for hit in found.iter().flatten() {
                    print_line!("{}", hit.source);
                }
            }
            Format::Table => {
                for (query, hits) in queries.iter().zip(found) {
                    print_line!("{}: {}", query.name, answer(hits));
                    let rows = hits.iter().enumerate().map(|(rank, hit)| {
                        let share = hit.share_right.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
                        let distance = format!("{:.4}", hit.distance);
                        vec![
                            (rank + 1).to_string(),
                            hit.class.clone(),
                            distance,
                            share,
                            hit.id.to_string(),
                            hit.source.clone(),
                        ]
                    });
                    print_line!(
                        "{}",
                        text_table(
                            &["rank", "class", "distance", "right at this distance", "id", "source"],
                            rows.collect()
                        )
                    );
                }
            }
        }
        Ok(())
    }

    /// The space in which images are compared.
    fn space(&self, searcher: &Searcher) -> Result<Space, Failure> {
        let learners = searcher.learners();
        match self.learner {
            None => Ok(Space::Whole),
            Some(learner) if learner < learners => Ok(Space::of(learner, learners)),
            Some(learner) => Err(Failure::Call(format!(
                "`--learner {learner}`: the run's model has no such learner; it has {learners}, counted from 0"
            ))),
        }
    }

    fn within(&self) -> Result<Within, Failure> {
        if self.approximate {
            return Ok(Within::Indexed);
        }
        let Some(text) = &self.within else { return Ok(Within::Evaluated) };
        if text == "all" {
            return Ok(Within::All);
        }
        if let Ok(split) = Split::from_str(text) {
            return Ok(Within::Split(split));
        }
        if !Path::new(text).exists() {
            return Err(Failure::Call(format!(
                "`--in {text}` must be a split (train, validation, test, query or gallery), `all`, or a folder that exists"
            )));
        }
        let files = pictures_below(Path::new(text))?;
        let class = |path: &PathBuf| {
            path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let files = files.into_iter().map(|path| (class(&path), path)).collect();
        Ok(Within::Files { root: PathBuf::from(text), files })
    }

    fn queries(&self, searcher: &Searcher) -> Result<Vec<Query>, Failure> {
        let mut queries = Vec::new();
        for text in &self.images {
            if let Some(id) = text.strip_prefix("id:") {
                let id = id
                    .parse()
                    .map_err(|_| Failure::Call(format!("`{text}` must be `id:` and a number, as in `id:7`")))?;
                let picture = searcher.picture_of(id)?;
                let picture = picture.ok_or_else(|| Failure::Call(format!("The run has no image with the id {id}")))?;
                let whole = self.crop.is_none().then_some(id);
                queries.push(Query { name: text.clone(), picture: self.cropped(text, picture)?, id: whole });
            } else if text == "-" {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes).context("Cannot read standard input")?;
                queries.push(self.decoded(searcher, "standard input", &bytes)?);
            } else {
                let is_folder = Path::new(text).is_dir();
                for path in pictures_below(Path::new(text))? {
                    let bytes = fs::read(&path).with_context(|| format!("Cannot read `{}`", path.display()))?;
                    match self.decoded(searcher, &path.display().to_string(), &bytes) {
                        Ok(query) => queries.push(query),
                        // A folder may hold anything.
                        Err(Failure::Call(message)) if is_folder => eprintln!("warning: {message}; it is left out"),
                        Err(failure) => return Err(failure),
                    }
                }
            }
        }
        if queries.is_empty() {
            return Err(Failure::Call("There is no picture to search for".to_owned()));
        }
        Ok(queries)
    }

    fn decoded(&self, searcher: &Searcher, name: &str, bytes: &[u8]) -> Result<Query, Failure> {
        let picture = searcher.decode(bytes).map_err(|error| Failure::Call(format!("`{name}` {error}")))?;
        Ok(Query { name: name.to_owned(), picture: self.cropped(name, picture)?, id: None })
    }

    /// The part of the picture that `--crop` names.
    fn cropped(&self, name: &str, picture: Raster) -> Result<Raster, Failure> {
        let Some(crop) = self.crop else { return Ok(picture) };
        crop.of(&picture).ok_or_else(|| {
            Failure::Call(format!(
                "`--crop {crop}` is not within `{name}`, which has {} × {} pixels as the run decodes it",
                picture.width, picture.height
            ))
        })
    }
}

/// The embeddings of the queries; of images of the run those that the run kept.
fn vectors(searcher: &Searcher, queries: &[Query]) -> Result<Vec<f32>, Failure> {
    let others = queries.iter().filter(|query| query.id.is_none());
    let embedded = searcher.embed(&others.map(|query| query.picture.clone()).collect::<Vec<Raster>>())?;
    let mut embedded = embedded.chunks_exact(searcher.dim());
    let mut vectors = Vec::with_capacity(queries.len() * searcher.dim());
    for query in queries {
        match query.id {
            None => vectors.extend(embedded.next().unwrap_or_default()),
            Some(id) => vectors.extend(searcher.vector_of(id)?.unwrap_or_default()),
        }
    }
    Ok(vectors)
}

/// The most frequent class among the neighbours, or that there is nothing near.
fn answer(hits: &[Hit]) -> String {
    if Hit::is_nothing_near(hits) {
        return "nothing near: fewer than 5 % of neighbours at this distance are of the same class".to_owned();
    }
    // Of equally frequent classes the nearer one counts.
    let mut votes: Vec<(&str, usize)> = Vec::new();
    for hit in hits {
        match votes.iter_mut().find(|(class, _)| *class == hit.class) {
            Some((_, count)) => *count += 1,
            None => votes.push((&hit.class, 1)),
        }
    }
    let most = votes.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let class = votes.iter().find(|(_, count)| *count == most).map_or("", |(class, _)| class);
    format!("{class} ({most} of the {} nearest)", hits.len())
}

fn json(query: &Query, hits: &[Hit], recall: Option<RecallRow>) -> FoundJson {
    let neighbour = |(rank, hit): (usize, &Hit)| {
        let Hit { id, class, distance, share_right, source } = hit.clone();
        NeighbourJson { rank: rank + 1, id, class, distance, share_right, source }
    };
    FoundJson {
        image: query.name.clone(),
        nothing_near: Hit::is_nothing_near(hits),
        index_recall: recall.map(|row| row.recall),
        neighbours: hits.iter().enumerate().map(neighbour).collect(),
    }
}

/// The pictures at `path`, a file or a folder, sorted by path.
fn pictures_below(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        if path.is_file() {
            return Ok(vec![path.to_owned()]);
        }
        return Err(Failure::Call(format!("There is no file or folder `{}`", path.display())));
    }
    let (mut folders, mut pictures) = (vec![path.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("Cannot list `{}`", folder.display()))? {
            let entry = entry.with_context(|| format!("Cannot list `{}`", folder.display()))?;
            if is_junk(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
            // A link to a folder may lead back here.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) && path.is_file() {
                pictures.push(path);
            }
        }
    }
    if pictures.is_empty() {
        return Err(Failure::Call(format!(
            "There is no picture in `{}` (extensions: {})",
            path.display(),
            EXTENSIONS.join(", ")
        )));
    }
    pictures.sort();
    Ok(pictures)
}

/// Writes a contact sheet with a row for each image.
fn write_sheet(
    searcher: &Searcher,
    within: &Within,
    queries: &[Query],
    found: &[Vec<Hit>],
    path: &Path,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (query, hits) in queries.iter().zip(found) {
        let name =
            Path::new(&query.name).file_name().map_or(query.name.clone(), |name| name.to_string_lossy().into_owned());
        let mut row = vec![Cell { picture: fitted(&query.picture), title: name, notes: vec!["searched".to_owned()] }];
        for hit in hits {
            let picture = match within {
                Within::Files { .. } => fs::read(&hit.source).ok().and_then(|bytes| searcher.decode(&bytes).ok()),
                _ => searcher.picture_of(hit.id)?,
            };
            let Some(picture) = picture else { continue };
            row.push(Cell {
                picture: fitted(&picture),
                title: hit.class.clone(),
                notes: vec![format!("distance {:.3}", hit.distance)],
            });
        }
        rows.push(row);
    }
    let sheet = sheet::draw(&rows, SIDE);
    let mut bytes = io::Cursor::new(Vec::new());
    let failed = || format!("Cannot write the contact sheet `{}`", path.display());
    sheet.write_to(&mut bytes, ImageFormat::Png).with_context(failed)?;
    fs::File::create(path).and_then(|mut file| file.write_all(bytes.get_ref())).with_context(failed)?;
    Ok(())
}

/// The picture, no larger than a cell.
fn fitted(picture: &Raster) -> RgbImage {
    let image = RgbImage::from_raw(picture.width as u32, picture.height as u32, picture.pixels.clone())
        .expect("a raster has as many pixels as its size says");
    let scale = f64::from(SIDE) / f64::from(image.width().max(image.height()));
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, SIDE);
    image::imageops::resize(&image, side(image.width()), side(image.height()), image::imageops::FilterType::Triangle)
}

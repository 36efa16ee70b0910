//! Which data set a folder or file is: recognised by the names in it.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use dnc_stages::decode::datasets::{DELIMITERS, DatasetConfig, csv_records};
use dnc_stages::decode::entry::split_named;
use image::ImageFormat;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value, json};

/// Names of columns with the image, and with the class, in any case.
const IMAGE: [&str; 8] = ["image", "path", "file", "filename", "file_name", "image_path", "filepath", "img"];
const CLASS: [&str; 8] = ["class", "label", "labels", "class_name", "category", "class_id", "product_id", "id"];
/// Published data sets: the kind and a file or folder by which its root is recognised.
const PUBLISHED: [(&str, &str); 9] = [
    ("market", "bounding_box_train"),
    ("sop", "Ebay_train.txt"),
    ("cars", "cars_annos.mat"),
    ("cub", "images.txt"),
    ("in_shop", "Eval/list_eval_partition.txt"),
    ("in_shop", "list_eval_partition.txt"),
    ("vehicle_id", "train_test_split/train_list.txt"),
    ("idx", "train-images-idx3-ubyte"),
    ("idx", "train-images-idx3-ubyte.gz"),
];
/// How many folders with nothing but one folder in them are descended into.
const DESCENTS: usize = 3;

/// A data set as `decode` reads it.
pub(super) struct Layout {
    /// Name for the manifest.
    pub(super) name: String,
    /// The value of `dataset`.
    pub(super) dataset: Value,
    /// The folder or file.
    pub(super) root: PathBuf,
}

impl Layout {
    /// Recognises the data set in `path`. A folder of which nothing is recognised is taken for a folder of class folders.
    ///
    /// # Errors
    /// The path does not exist, or a table has no column of images or classes.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let exists = path.canonicalize().map_err(|error| format!("Cannot find `{}`: {error}", path.display()))?;
        if exists.is_file() {
            return of_file(path);
        }
        let mut root = path.to_path_buf();
        for _ in 0..DESCENTS {
            if let Some(layout) = of_folder(&root)? {
                return Ok(layout);
            }
            match only_folder(&root) {
                // The folder that holds the class folders is the one with more than one of them.
                Some(inner) if has_folders(&inner) || of_folder(&inner)?.is_some() => root = inner,
                _ => break,
            }
        }
        Ok(Self { name: name_of(&root), dataset: json!("folder"), root })
    }

    /// The data set with its parameters.
    pub(super) fn config(&self) -> Result<DatasetConfig, String> {
        let table = match &self.dataset {
            Value::String(kind) => json!({ "kind": kind }),
            table => table.clone(),
        };
        serde_json::from_value(table).map_err(|error| error.to_string())
    }

    /// The kind of the data set.
    pub(super) fn kind(&self) -> &str {
        self.dataset.as_str().or(self.dataset["kind"].as_str()).unwrap_or_default()
    }
}

fn of_folder(root: &Path) -> Result<Option<Layout>, String> {
    let layout = |dataset: Value| Layout { name: name_of(root), dataset, root: root.to_owned() };
    if let Some((kind, _)) = PUBLISHED.iter().find(|(_, file)| root.join(file).exists()) {
        return Ok(Some(layout(json!(kind))));
    }
    let names = names(root);
    let folders: Vec<&str> = names.iter().map(String::as_str).filter(|name| root.join(name).is_dir()).collect();
    // A single one may be a class: trains, for instance. Other folders beside the splits often hold annotations.
    if folders.iter().filter(|name| split_named(name).is_ok()).count() > 1 {
        return Ok(Some(layout(json!({ "kind": "folder", "by_split": true }))));
    }
    let is_list = |name: &&String| name.ends_with(".csv") || name.ends_with(".tsv");
    if let Some(list) = names.iter().filter(is_list).find_map(|name| of_file(&root.join(name)).ok()) {
        return Ok(Some(list));
    }
    match names.iter().find(|name| name.ends_with(".parquet")) {
        Some(file) if folders.is_empty() => Ok(Some(layout(of_file(&root.join(file))?.dataset))),
        _ => Ok(None),
    }
}

fn of_file(path: &Path) -> Result<Layout, String> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    if ImageFormat::from_extension(&extension).is_some() {
        return Err(format!("`{}` is an image; name a folder of images, as in `FOLDER/CLASS/IMAGE`", path.display()));
    }
    let columns = match extension.as_str() {
        "zip" | "tar" | "tgz" | "gz" | "7z" | "rar" => {
            return Err(format!("`{}` is an archive; unpack it, and name the folder", path.display()));
        }
        "csv" | "tsv" => headings(path)?,
        "parquet" => {
            let columns = parquet_columns(path)?;
            let is_image = |name: &str| IMAGE.iter().any(|known| name.eq_ignore_ascii_case(known));
            if columns.iter().any(|(name, is_text)| is_image(name) && !is_text) {
                let named = named_columns(path, columns, false)?;
                let dataset = with_kind("parquet", named);
                return Ok(Layout { name: name_of(path), dataset, root: path.to_owned() });
            }
            columns
        }
        _ => [("image".to_owned(), true), ("class".to_owned(), true)].to_vec(),
    };
    let mut named = named_columns(path, columns, true)?;
    let file = path.file_name().and_then(|name| name.to_str()).ok_or("The name of the list is not valid UTF-8")?;
    named.insert("file".to_owned(), file.into());
    let root = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Layout { name: name_of(path), dataset: with_kind("list", named), root: root.to_owned() })
}

/// `"parquet"`, or a table if there are parameters.
fn with_kind(kind: &str, mut named: Map<String, Value>) -> Value {
    if named.is_empty() {
        return kind.into();
    }
    named.insert("kind".to_owned(), kind.into());
    named.into()
}

/// The parameters that name columns which are not called `image` and `class`, in any case. A column is given with whether it is text.
fn named_columns(path: &Path, columns: Vec<(String, bool)>, is_list: bool) -> Result<Map<String, Value>, String> {
    let mut named = Map::new();
    for (parameter, known, is_image) in [("image", IMAGE, true), ("class", CLASS, false)] {
        let called = |name: &str| {
            let fits = |(column, is_text): &&(String, bool)| {
                column.eq_ignore_ascii_case(name) && (!is_image || *is_text == is_list)
            };
            columns.iter().find(fits).map(|(column, _)| column)
        };
        let Some(column) = known.into_iter().find_map(called) else {
            let found: Vec<String> = columns.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(format!(
                "`{}` has no column of the {parameter} called {}, but {}; rename the one that has it",
                path.display(),
                known.map(|name| format!("`{name}`")).join(", "),
                found.join(", ")
            ));
        };
        if !column.eq_ignore_ascii_case(parameter) {
            named.insert(parameter.to_owned(), column.as_str().into());
        }
    }
    Ok(named)
}

/// The headings of a list, which are separated by the delimiter that gives most of them.
fn headings(path: &Path) -> Result<Vec<(String, bool)>, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData => format!("`{}` is not UTF-8; save it as UTF-8", path.display()),
        _ => format!("Cannot read `{}`: {error}", path.display()),
    };
    let mut lines = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = String::new();
    // Blank lines may come first.
    while line.trim().is_empty() && lines.read_line(&mut line).map_err(failed)? > 0 {}
    let line = line.trim_start_matches('\u{feff}').trim_start();
    // Of equals, the last one is found.
    let records = DELIMITERS.into_iter().rev().filter_map(|delimiter| csv_records(line.as_bytes(), delimiter).next());
    let names = records.max_by_key(Vec::len);
    let names = names.ok_or_else(|| format!("`{}` does not begin with a line of headings", path.display()))?;
    Ok(names.into_iter().map(|name| (name.trim().to_owned(), true)).collect())
}

fn parquet_columns(path: &Path) -> Result<Vec<(String, bool)>, String> {
    use arrow::datatypes::DataType::{LargeUtf8, Utf8, Utf8View};
    let file = File::open(path).map_err(|error| format!("Cannot read `{}`: {error}", path.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|error| format!("Cannot read `{}`: {error}", path.display()))?;
    let fields = reader.schema().fields().iter();
    Ok(fields.map(|field| (field.name().clone(), matches!(field.data_type(), Utf8 | LargeUtf8 | Utf8View))).collect())
}

/// Names in a folder without hidden ones, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

fn has_folders(folder: &Path) -> bool {
    names(folder).iter().any(|name| folder.join(name).is_dir())
}

/// The only folder in a folder, apart from the runs of a project.
fn only_folder(folder: &Path) -> Option<PathBuf> {
    let inner = names(folder).into_iter().filter(|name| name != "runs").map(|name| folder.join(name));
    let inner: Vec<PathBuf> = inner.filter(|path| path.is_dir()).collect();
    <[PathBuf; 1]>::try_from(inner).ok().map(|[only]| only)
}

/// A name for a manifest, from the name of a file or folder.
fn name_of(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if real.is_dir() { real.file_name() } else { real.file_stem() };
    let stem = stem.and_then(|stem| stem.to_str()).unwrap_or_default();
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let name: String = stem.chars().map(|letter| if is_allowed(letter) { letter } else { '-' }).collect();
    match name.trim_matches('-') {
        "" => "images".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it is below the folder")).expect("the folder is writable");
            fs::write(path, text).expect("the folder is writable");
        }
        folder
    }

    fn found(files: &[(&str, &str)], path: &str) -> (Value, String, String) {
        let folder = project(files);
        let layout = Layout::of(&folder.path().join(path)).expect("it is recognised");
        layout.config().expect("it is a data set");
        let root = layout.root.strip_prefix(folder.path()).expect("it is below the folder");
        (layout.dataset.clone(), root.display().to_string(), layout.name)
    }

    #[test]
    fn layouts_are_recognised() {
        let classes = [("my photos/a/1.png", ""), ("my photos/b/1.png", ""), ("runs/x/1/run.json", "")];
        assert_eq!(found(&classes, ""), (json!("folder"), "my photos".into(), "my-photos".into()));
        let version = [("shoes-1.5/a/1.png", ""), ("shoes-1.5/b/1.png", "")];
        assert_eq!(found(&version, "shoes-1.5").2, "shoes-1-5");
        for other in ["test", "val", "Test"] {
            let (image, notes) = (format!("d/{other}/b/1.png"), "d/annotations/x.json");
            let by_split = [("d/train/a/1.png", ""), (image.as_str(), ""), (notes, "")];
            assert_eq!(found(&by_split, "d").0, json!({ "kind": "folder", "by_split": true }), "{other}");
        }
        let vehicles = [("d/bus/1.png", ""), ("d/train/1.png", "")];
        assert_eq!(found(&vehicles, "d").0, json!("folder"));
        let list = [("d/all.csv", "path,label,split\n"), ("d/x/1.png", "")];
        let expected = json!({ "kind": "list", "file": "all.csv", "image": "path", "class": "label" });
        assert_eq!(found(&list, "d"), (expected.clone(), "d".into(), "all".into()));
        assert_eq!(found(&list, "d/all.csv").0, expected);
        let exported = json!({ "kind": "list", "file": "All.CSV" });
        assert_eq!(found(&[("All.CSV", "\u{feff}\"Image\";Class;Split\r\n")], "All.CSV").0, exported);
        let renamed = json!({ "kind": "list", "file": "all.tsv", "image": "Filename", "class": "Label" });
        assert_eq!(found(&[("all.tsv", "Filename\tLabel\n")], "all.tsv").0, renamed);
        assert_eq!(found(&[("all.csv", "\n\"path\",\"label\"\r")], "all.csv").0, expected);
        let second = [("d/a.csv", "author,licence\n"), ("d/b.csv", "image,class\n"), ("d/1.png", "")];
        assert_eq!(found(&second, "d").0, json!({ "kind": "list", "file": "b.csv" }));
        assert_eq!(found(&[("d/Ebay_train.txt", "")], "").0, json!("sop"));
        assert_eq!(found(&[("d/bounding_box_train/1.jpg", "")], "d").0, json!("market"));
    }

    #[test]
    fn what_is_no_data_set_is_refused() {
        let folder = project(&[("all.csv", "path,colour\n"), ("none.csv", ""), ("photos.zip", "PK")]);
        let message = |name: &str| Layout::of(&folder.path().join(name)).err().expect("it is no data set");
        let without_class = message("all.csv");
        assert!(without_class.contains("no column of the class") && without_class.contains("`colour`; rename"));
        assert!(message("none.csv").ends_with("does not begin with a line of headings"));
        assert!(message("photos.zip").ends_with("is an archive; unpack it, and name the folder"));
        assert!(message("absent").starts_with("Cannot find"));
        fs::write(folder.path().join("all.csv"), [0xff, 0xfe, b'p', 0]).expect("the folder is writable");
        assert!(message("all.csv").ends_with("is not UTF-8; save it as UTF-8"));
    }
}

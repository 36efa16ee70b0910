//! `dnc-run get RUN NODE[.output] [DEST]`: copies what a node wrote out of the store, converted if asked for.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use arrow::array::RecordBatch;
use arrow::ipc::writer::FileWriter;
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use dnc_stages::api::InputFile;
use dnc_stages::tables::{for_each_batch, schema_of, table_of};
use parquet::arrow::ArrowWriter;

use super::failure::Failure;
use super::names;
use super::output::{check_free, check_local};
use crate::project::{Folders, Project};
use crate::report::run_folder::{NodeJson, RunFolder};
use crate::report::stored::StoredRun;
use crate::report::text_rows;

/// Arguments of `dnc-run get`.
#[derive(Args)]
pub struct GetArgs {
    /// Run: `<name>/<n>`, or `<name>` for its last run
    #[arg(value_name = "RUN", add = ArgValueCompleter::new(names::runs))]
    run: String,
    /// Node, as in `train@2[3]`, or one of its outputs, as in `train@2[3].history`
    #[arg(value_name = "NODE[.OUTPUT]", add = ArgValueCompleter::new(names::nodes))]
    node: String,
    /// Folder to write. With the extension of a table (.parquet, .csv, .arrow, .json): the file to write [default: NODE.OUTPUT]
    #[arg(value_name = "DEST")]
    destination: Option<PathBuf>,
    /// Format of tables [default: that of DEST, else as they are stored]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    folders: Folders,
}

/// Format of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Parquet
    Parquet,
    /// Comma-separated values; lists become text such as `[1, 2]`
    Csv,
    /// Arrow IPC file
    Arrow,
    /// JSON Lines: one object per row
    Json,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "parquet" => Some(Format::Parquet),
            "csv" => Some(Format::Csv),
            "arrow" => Some(Format::Arrow),
            "json" | "jsonl" | "ndjson" => Some(Format::Json),
            _ => None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::Arrow => "arrow",
            Format::Json => "json",
        }
    }
}

impl GetArgs {
    /// Writes the files and prints the path of each.
    pub(super) fn run(self) -> Result<(), Failure> {
        self.destination.iter().try_for_each(|path| check_local(path))?;
        let project = Project::current(&self.folders)?;
        let folder = RunFolder::find(&project.runs, &self.run).map_err(Failure::Call)?;
        let run = StoredRun::open(folder, self.folders.store.as_deref())?;
        let (node, output) = self.wanted(&run)?;
        let to_file = self.destination.as_deref().and_then(Format::of);
        match (output, to_file) {
            (Some(output), Some(format)) => {
                let destination = self.destination.as_deref().expect("its extension was read");
                check_free(destination)?;
                let files = run.files(node, output).map_err(call)?;
                write_one(&files, destination, self.format.unwrap_or(format))?;
                print_line!("{}", destination.display());
                return Ok(());
            }
            (None, Some(_)) => {
                let first = node.outputs.keys().next().map_or("output", String::as_str);
                return Err(Failure::Call(format!(
                    "A single file holds one output; name it, as in `{}.{first}`. Outputs of `{}`: {}",
                    node.node,
                    node.node,
                    crate::manifest::suggest::all_of(node.outputs.keys().map(String::as_str))
                )));
            }
            (_, None) => {}
        }
        let outputs: Vec<&str> =
            output.map_or_else(|| node.outputs.keys().map(String::as_str).collect(), |one| vec![one]);
        if outputs.is_empty() {
            // The message says why it has none.
            run.files(node, "").map_err(call)?;
        }
        let several = output.is_none();
        let mut copies: Vec<FileCopy> = Vec::new();
        for output in outputs {
            let destination = match &self.destination {
                Some(folder) if several => folder.join(output),
                Some(folder) => folder.clone(),
                None => format!("{}.{output}", node.node).into(),
            };
            let files = run.files(node, output).map_err(call)?;
            copies.extend(files.into_iter().map(|file| FileCopy::new(file, &destination, self.format)));
        }
        copies.iter().try_for_each(|copy| check_free(&copy.path))?;
        for copy in copies {
            copy.write()?;
            print_line!("{}", copy.path.display());
        }
        Ok(())
    }

    /// The node and the output, if one is named. Nodes of a plan have no dot in their names.
    fn wanted<'a>(&'a self, run: &'a StoredRun) -> Result<(&'a NodeJson, Option<&'a str>), Failure> {
        let (name, output) = match self.node.rsplit_once('.') {
            Some((name, output)) if !run.json.nodes.iter().any(|node| node.node == self.node) => (name, Some(output)),
            _ => (self.node.as_str(), None),
        };
        Ok((run.node(name).map_err(call)?, output))
    }
}

fn call(error: crate::report::stored::StoredError) -> Failure {
    Failure::Call(error.to_string())
}

/// A file of an artifact that is copied.
struct FileCopy {
    file: InputFile,
    /// Where to.
    path: PathBuf,
    /// The format that it is converted to, if it is a table.
    format: Option<Format>,
}

impl FileCopy {
    /// The copy of `file` below `folder`, in `format` if it is a table.
    fn new(file: InputFile, folder: &Path, format: Option<Format>) -> Self {
        let format = format.filter(|_| table_of(&file.name).is_some());
        let name = Path::new(&file.name);
        let path = match format {
            Some(format) => folder.join(name.with_extension(format.extension())),
            None => folder.join(name),
        };
        Self { file, path, format }
    }

    fn write(&self) -> anyhow::Result<()> {
        match self.format {
            Some(format) => write_table(&[&self.file], &self.path, format),
            None => create(&self.path, |mut to| {
                io::copy(&mut BufReader::new(File::open(&self.file.path)?), &mut to)?;
                Ok(())
            }),
        }
    }
}

/// Writes the table of an artifact to one file: the only one, or the one that the artifact is named after.
fn write_one(files: &[InputFile], path: &Path, format: Format) -> Result<(), Failure> {
    let mut tables: Vec<&str> = files.iter().filter_map(|file| table_of(&file.name)).collect();
    tables.dedup();
    let [table] = tables[..] else {
        let names = crate::manifest::suggest::all_of(files.iter().map(|file| file.name.as_str()));
        return Err(Failure::Call(format!(
            "This output is not one table but the files {names}; name a folder instead of `{}`",
            path.display()
        )));
    };
    let parts: Vec<&InputFile> = files.iter().filter(|file| table_of(&file.name) == Some(table)).collect();
    Ok(write_table(&parts, path, format)?)
}

/// Writes a table, which may be in several files, as one file.
fn write_table(parts: &[&InputFile], path: &Path, format: Format) -> anyhow::Result<()> {
    let schema = schema_of(parts.iter().map(|part| part.path.as_path()))?;
    let schema = schema.ok_or_else(|| anyhow!("`{}` is not a table", parts[0].name))?;
    let each = |write: &mut dyn FnMut(RecordBatch) -> anyhow::Result<()>| {
        parts.iter().try_for_each(|part| for_each_batch(&part.path, |_| true, write))
    };
    create(path, |file| match format {
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(file, Arc::new(schema.clone()), None)?;
            each(&mut |batch| Ok(writer.write(&batch)?))?;
            writer.close()?;
            Ok(())
        }
        Format::Arrow => {
            let mut writer = FileWriter::try_new_buffered(file, &schema)?;
            each(&mut |batch| Ok(writer.write(&batch)?))?;
            Ok(writer.finish()?)
        }
        Format::Csv => {
            let mut file = BufWriter::new(file);
            writeln!(file, "{}", text_rows::csv_heading(&schema))?;
            each(&mut |batch| Ok(text_rows::csv(&batch, &mut file)?))?;
            Ok(file.flush()?)
        }
        Format::Json => {
            let mut file = BufWriter::new(file);
            each(&mut |batch| Ok(text_rows::json(&batch, &mut file)?))?;
            Ok(file.flush()?)
        }
    })
}

/// Creates a new file with its folders. If it cannot be written completely, it is removed.
fn create(path: &Path, write: impl FnOnce(File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let failed = || format!("Cannot write `{}`", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    let file = File::create_new(path).with_context(failed)?;
    write(file).with_context(failed).inspect_err(|_| drop(fs::remove_file(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_of_a_file_names_its_format_in_any_case() {
        for (path, format) in [
            ("a.csv", Some(Format::Csv)),
            ("a/B.CSV", Some(Format::Csv)),
            ("a.Parquet", Some(Format::Parquet)),
            ("a.b/csv", None),
            ("a.png", None),
        ] {
            assert_eq!(Format::of(Path::new(path)), format, "{path}");
        }
    }
}

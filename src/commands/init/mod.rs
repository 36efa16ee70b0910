//! `dnc-run init [DATA]`: looks at images and writes a manifest for them.
//!
//! **Reading order** `task`, `layout` (which data set it is), `survey` (what is in it, and what is odd), `settings` (parameters that suit
//! its size), `template` (the text of the manifest), `questions`; `quickstart` stands apart.

mod layout;
mod questions;
mod quickstart;
mod settings;
mod survey;
mod task;
mod template;

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use dnc_stages::pretrained::Caches;

use super::failure::Failure;
use crate::manifest::{Manifest, ReadOptions, schema};
use crate::project::{Folders, Project};
use crate::project_file;
use layout::Layout;
use questions::Questions;
use settings::Settings;
use survey::Survey;
use task::Task;

/// Arguments of `dnc-run init`.
#[derive(Args)]
pub struct InitArgs {
    /// Images: a folder with a subfolder per class, a list (CSV, TSV, Parquet or Arrow), Parquet with image bytes, or a published
    /// data set as distributed
    #[arg(value_name = "DATA", default_value = ".")]
    data: PathBuf,
    /// Kind of task [default: inferred from the data]
    #[arg(long, value_name = "TASK")]
    template: Option<Task>,
    /// Manifest to write; an existing file is never overwritten [default: the name of the data with `.toml`]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ask no questions, and use the settings that suit the data
    #[arg(long, short)]
    yes: bool,
    /// Write the quickstart instead, a manifest with 5,305 drawings of emoji, into this folder [default: the current one]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    #[arg(conflicts_with_all = ["data", "template", "output"])]
    quickstart: Option<PathBuf>,
    #[command(flatten)]
    folders: Folders,
}

impl InitArgs {
    /// Writes the manifest and its schema, and prints the path of the manifest.
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = match &self.quickstart {
            Some(folder) => quickstart::write(folder)?,
            None => self.write()?,
        };
        print_line!("{}", path.display());
        eprintln!("Run it with `dnc-run {}`", path.display());
        Ok(())
    }

    /// Writes a manifest for images, and its schema.
    fn write(&self) -> Result<PathBuf, Failure> {
        let layout = Layout::of(&self.data).map_err(Failure::Call)?;
        let path = self.output.clone().unwrap_or_else(|| format!("{}.toml", layout.name).into());
        let refused = match path.file_name() {
            Some(name) if name == project_file::NAME => Some("is for the settings of a project"),
            _ if path.exists() => Some("exists and is not overwritten"),
            _ => None,
        };
        if let Some(reason) = refused {
            let message = format!("`{}` {reason}; name another file with `--output`", path.display());
            return Err(Failure::Call(message));
        }
        let own = [Project::current(&self.folders)?.runs];
        let survey = Survey::of(&layout, &own).map_err(Failure::Call)?;
        for line in survey.described().into_iter().chain(survey.oddities()) {
            eprintln!("{line}");
        }
        let task = self.template.unwrap_or_else(|| survey.task());
        let questions = match self.yes || !io::stdin().is_terminal() {
            true => Questions::Defaults,
            false => Questions::Terminal,
        };
        let settings = Settings::choose(&survey, task, &Caches::of_this_user(), &questions).map_err(Failure::Call)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let text = template::manifest(&layout, &settings, &relative(&layout.root, folder)?, schema::FILE);

        // What is wrong with the text is reported before anything is written.
        let name = path.display().to_string();
        Manifest::parse(&name, text.clone(), folder.to_owned(), ReadOptions::default())
            .map_err(|problems| Failure::Manifest(Box::new(problems)))?;
        create(&path, text.as_bytes())?;
        let schema_path = folder.join(schema::FILE);
        if !schema_path.exists() {
            create(&schema_path, schema_text()?.as_bytes())?;
        }
        Ok(path)
    }
}

/// What the file with the schema contains.
fn schema_text() -> serde_json::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(&schema::schema())?))
}

/// Writes a file that does not exist yet.
fn create(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("Cannot write `{}`", path.display()))
}

/// The path of the data as a manifest in `folder` names it: relative if the data are below that folder.
fn relative(root: &Path, folder: &Path) -> anyhow::Result<String> {
    let real = |path: &Path| path.canonicalize().with_context(|| format!("Cannot find `{}`", path.display()));
    let (root, folder) = (real(root)?, real(folder)?);
    let path = root.strip_prefix(&folder).unwrap_or(&root);
    let text = path.to_str().with_context(|| format!("The name of `{}` is not valid UTF-8", path.display()))?;
    Ok(if text.is_empty() { ".".to_owned() } else { text.to_owned() })
}

//! The answers to the questions of `dnc-serve`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use dnc_serve::answers::{Embedding, Found, Labels, Metrics, RunState, Runs};
use dnc_serve::backend::{ImageRequest, Picture, SearchRequest, Size};
use dnc_serve::{Backend, Refusal};

use super::labels::{self, Corrector};
use super::listed::{Listed, changed, metrics_of};
use super::searched::Searched;
use crate::error_chain::error_chain;
use crate::pages::{self, Budget, ReportOptions};
use crate::report::run_folder::RunFolder;
use crate::sync::lock;

/// Number of queries in the gallery of a report, which here has no budget.
const QUERIES: usize = 600;

/// The runs of a project, some of which can be searched.
pub struct Served {
    listed: Listed,
    searched: Vec<Searched>,
    store: Option<PathBuf>,
    corrector: Corrector,
    is_read_only: bool,
    /// The last report that was asked for.
    report: Mutex<Option<MadeReport>>,
}

struct MadeReport {
    run: String,
    changed: Option<SystemTime>,
    html: String,
}

impl Served {
    /// Serves the runs below `runs`; the images of those in `searched` can be searched. `store` replaces the one that a run used.
    pub fn new(runs: &Path, searched: Vec<RunFolder>, store: Option<&Path>, is_read_only: bool) -> Self {
        let searched = searched.into_iter().map(|run| Searched::new(run, store.map(Path::to_owned)));
        Self {
            listed: Listed::new(runs),
            searched: searched.collect(),
            store: store.map(Path::to_owned),
            corrector: Corrector::default(),
            is_read_only,
            report: Mutex::default(),
        }
    }

    /// Loads models and embeddings. A run that cannot be searched, such as one that is not done, is no error; the answer says why.
    pub fn load(&self, progress: &dyn Fn(usize, usize)) -> Vec<(String, Result<usize, String>)> {
        let load = |run: &Searched| {
            let images = run.load(progress).map(|searcher| searcher.len()).map_err(|problem| problem.to_string());
            (run.folder.id(), images)
        };
        self.searched.iter().map(load).collect()
    }

    /// The run that can be searched under this name.
    fn searched(&self, run: Option<&str>) -> Result<&Searched, Refusal> {
        let found = match run {
            None => self.searched.first(),
            Some(name) => self.searched.iter().find(|searched| searched.folder.id() == name),
        };
        found.ok_or_else(|| {
            let served: Vec<String> = self.searched.iter().map(|run| format!("`{}`", run.folder.id())).collect();
            let message =
                format!("The run `{}` is not served; {} can be searched", run.unwrap_or_default(), served.join(", "));
            Refusal::NotFound(message)
        })
    }

    /// Any run of the project.
    fn any(&self, run: Option<&str>) -> Result<RunFolder, Refusal> {
        match run {
            None => Ok(self.searched(None)?.folder.clone()),
            Some(name) => self.listed.find(name),
        }
    }
}

impl Backend for Served {
    fn runs(&self) -> Result<Runs, Refusal> {
        let mut runs = self.listed.all()?;
        for searched in &self.searched {
            if let Some(run) = runs.iter_mut().find(|run| run.run == searched.folder.id()) {
                run.search = Some(searched.describe());
            }
        }
        let served = self.searched.iter().map(|run| run.folder.id()).collect();
        Ok(Runs { version: env!("CARGO_PKG_VERSION").to_owned(), read_only: self.is_read_only, served, runs })
    }

    fn state(&self, run: Option<&str>) -> Result<RunState, Refusal> {
        self.listed.state(&self.any(run)?)
    }

    fn metrics(&self, run: Option<&str>) -> Result<Metrics, Refusal> {
        let folder = self.any(run)?;
        Ok(Metrics { run: folder.id(), metrics: metrics_of(&folder)? })
    }

    fn search(&self, request: &SearchRequest) -> Result<Found, Refusal> {
        self.searched(request.run.as_deref())?.search(request)
    }

    fn embed(&self, request: &ImageRequest) -> Result<Embedding, Refusal> {
        self.searched(request.run.as_deref())?.embed(request)
    }

    fn image(&self, run: Option<&str>, id: u32, size: Size) -> Result<Picture, Refusal> {
        self.searched(run)?.image(id, size)
    }

    fn report(&self, run: Option<&str>) -> Result<String, Refusal> {
        let folder = self.any(run)?;
        // One report at a time: it takes all threads, and much memory.
        let mut made = lock(&self.report);
        let (run, changed) = (folder.id(), changed(&folder));
        if let Some(report) = made.as_ref().filter(|made| made.run == run && made.changed == changed) {
            return Ok(report.html.clone());
        }
        let options = ReportOptions {
            budget: Budget(usize::MAX),
            queries: QUERIES,
            store: self.store.clone(),
            ..ReportOptions::default()
        };
        let html = pages::html(&[folder], &options).map_err(|error| Refusal::Unavailable(error_chain(&error)))?;
        *made = Some(MadeReport { run, changed, html: html.clone() });
        Ok(html)
    }

    fn labels(&self, run: Option<&str>) -> Result<Labels, Refusal> {
        labels::labels(&self.searched(run)?.folder)
    }

    fn correct(&self, run: Option<&str>, id: u32, class: Option<&str>) -> Result<Labels, Refusal> {
        if self.is_read_only {
            let message = "Labels cannot be corrected, since the program was started with `--read-only`";
            return Err(Refusal::ReadOnly(message.to_owned()));
        }
        self.searched(run)?.correct(&self.corrector, id, class)
    }
}

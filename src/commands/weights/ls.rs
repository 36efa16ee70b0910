//! `dnc-run weights ls`: lists published weights, and where they are on this machine.

use std::path::PathBuf;

use clap::Args;
use dnc_stages::pretrained::{Caches, PUBLISHED, Published};
use serde::Serialize;

use crate::commands::failure::Failure;
use crate::commands::output::write_json;
use crate::report::table::text_table;

/// Arguments of `weights ls`.
#[derive(Args)]
pub(super) struct LsArgs {
    /// List only the weights of this backbone
    backbone: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `weights ls --json` prints.
#[derive(Serialize)]
struct WeightsJson {
    weights: Vec<PublishedJson>,
}

/// Published weights.
#[derive(Serialize)]
struct PublishedJson {
    /// The name.
    name: &'static str,
    /// Names that mean it together with the backbone.
    short_names: &'static [&'static str],
    /// The backbone.
    backbone: &'static str,
    /// What it was trained on.
    training: &'static str,
    /// The licence.
    licence: &'static str,
    /// The host that it is downloaded from.
    host: &'static str,
    /// SHA-256 or its first digits, if they are published.
    sha256: Option<&'static str>,
    /// Where it is on this machine.
    path: Option<PathBuf>,
}

impl LsArgs {
    /// Prints one line per file.
    pub(super) fn run(self) -> Result<(), Failure> {
        let wanted = |entry: &&Published| self.backbone.as_deref().is_none_or(|backbone| backbone == entry.backbone);
        let entries: Vec<&Published> = PUBLISHED.iter().filter(wanted).collect();
        if let (Some(backbone), true) = (&self.backbone, entries.is_empty()) {
            return Err(Failure::Call(format!(
                "There are no published weights of `{backbone}`; `dnc-run weights ls` lists all"
            )));
        }
        let caches = Caches::of_this_user();
        let found = entries.iter().map(|entry| caches.find(entry));
        if self.json {
            let weights = entries.iter().zip(found).map(|(entry, path)| PublishedJson {
                name: entry.name,
                short_names: entry.short_names,
                backbone: entry.backbone,
                training: entry.training,
                licence: entry.licence,
                host: entry.host(),
                sha256: entry.sha256,
                path,
            });
            return Ok(write_json(&WeightsJson { weights: weights.collect() })?);
        }
        let rows = entries.iter().zip(found).map(|(entry, path)| {
            let path = path.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
            let names = [entry.backbone, &entry.short_names.join(" "), entry.name, entry.licence, entry.training];
            names.map(str::to_owned).into_iter().chain([path]).collect()
        });
        let headings = ["backbone", "short name", "name", "licence", "trained on", "file"];
        print_line!("{}", text_table(&headings, rows.collect()));
        eprintln!("`dnc-run weights fetch NAME` downloads one of them");
        Ok(())
    }
}

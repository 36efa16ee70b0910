//! From a TOML file to a checked [`Manifest`], or to every problem that it has, each with its line underlined.
//!
//! Reading order: this file (what comes out), `raw` (the tables as written), `rounds`, `reference` (what `in` says),
//! `params` (what a stage refuses), `wiring` and `cycle` (what flows where), `check` (all of it in order), then
//! [`overrides`] (`--set` and `--vary`), `resolved` (back to TOML) and [`schema`].
//!
//! It deliberately knows no store and no run: what it reads besides the manifest's text is whether the files that a stage
//! names are there.

mod check;
mod cycle;
pub mod describe;
pub mod diagnostic;
pub mod overrides;

mod params;
mod raw;
mod reference;
mod refusal;
mod resolved;
mod rounds;
pub mod schema;
pub mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod wiring;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnc_stages::stage::{Job, Ports, STAGES, StageKind};
use serde_json::Value;

pub use diagnostic::{Diagnostic, Diagnostics, Paint};
pub use overrides::{Override, Variation, vary};
pub(crate) use params::value_at;
pub use raw::{ResourceOverride, parse_bytes};
pub use reference::{Reference, When, Which, learner_then};

/// A checked manifest: every name in it is known, every value can be meant, every port is fed what it takes.
#[derive(Clone)]
pub struct Manifest {
    /// The name; its runs lie in the folder of this name.
    pub name: String,
    /// The root of all random streams.
    pub seed: u64,
    /// How many learners each round has; empty where nothing is done in rounds.
    pub learners: Vec<u32>,
    /// The stages, in the order of the file.
    pub stages: Vec<StageNode>,
    /// The manifest's folder: sources are relative to it.
    pub folder: PathBuf,
}

/// A stage with its parameters and inputs, before rounds and learners are unrolled.
#[derive(Clone)]
pub struct StageNode {
    /// Its name in this manifest.
    pub name: String,
    /// What kind of work it is.
    pub kind: StageKind,
    /// How often it is done.
    pub per: Per,
    /// The work itself.
    pub job: Arc<dyn Job>,
    /// Every parameter with its value, defaults included.
    pub params: Value,
    /// What flows in and out, as [`Job::ports`] says.
    pub ports: Ports,
    /// What is fed to each port of `ports.inputs`, in that order.
    pub inputs: Vec<Wire>,
    /// How much of what it makes stays in the store.
    pub retain: Retain,
    /// What the manifest says about resources in place of the stage.
    pub resources: ResourceOverride,
}

/// What is fed to one port: nothing to an optional port, one to most, any number to one that takes many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Each a list of alternatives, of which the first that exists is meant.
    pub feeds: Vec<Vec<Reference>>,
}

/// How often a stage is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// Once.
    #[default]
    Once,
    /// Once a round.
    Round,
    /// Once for each learner of each round.
    Learner,
}

impl Per {
    /// All of them with their names in manifests.
    pub const ALL: [(Per, &'static str); 3] = [(Per::Once, "once"), (Per::Round, "round"), (Per::Learner, "learner")];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How much of what a stage makes round by round stays in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Retain {
    /// All of it.
    #[default]
    All,
    /// Models and embeddings of the last round only. Those of the others are dropped as soon as everything that reads them
    /// is done, and made again if they are ever needed.
    Last,
}

impl Retain {
    /// All of them with their names in manifests.
    pub const ALL: [(Retain, &'static str); 2] = [(Retain::All, "all"), (Retain::Last, "last")];

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How a manifest is read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The kinds of stage that there are.
    pub stages: &'a [StageKind],
    /// Whether the files and folders that stages read must be there.
    pub check_sources: bool,
    /// What `--set` and `--vary` lay over the manifest, the last of them on top.
    pub overrides: &'a [Override],
}

impl Default for Reading<'_> {
    fn default() -> Self {
        Self { stages: STAGES, check_sources: true, overrides: &[] }
    }
}

impl Manifest {
    /// Reads and checks the manifest at `path`.
    ///
    /// # Errors
    /// Every problem that it has, in the order of the text.
    pub fn load(path: &Path, reading: Reading<'_>) -> Result<Self, Diagnostics> {
        let text = text::read(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::parse(&path.display().to_string(), text, folder, reading)
    }

    /// Checks the manifest `text`, which messages call `name` and whose sources are relative to `folder`.
    ///
    /// # Errors
    /// Every problem that it has, in the order of the text.
    pub fn parse(name: &str, text: String, folder: PathBuf, reading: Reading<'_>) -> Result<Self, Diagnostics> {
        let mut texts = diagnostic::Texts::default();
        texts.push_file(name, text);
        reading.overrides.iter().for_each(|change| change.lay(&mut texts));
        let mut problems = Vec::new();
        if reading.overrides.is_empty()
            && let Some(pieces) = text::parse_in_pieces(texts.get(0).0)
            && let Some(raw) = raw::read_pieces(pieces, &mut problems)
            && let Some(manifest) = check::check(raw, &texts, folder.clone(), reading, &mut problems)
            && problems.is_empty()
        {
            return Ok(manifest);
        }
        // Whatever is to be told needs the places in the whole text.
        problems.clear();
        let table = text::parse(texts.get(0).0, &mut problems);
        let manifest = table.and_then(|table| {
            let table = overrides::apply(table, reading.overrides, &texts, &mut problems);
            check::check(raw::read(table, &mut problems), &texts, folder, reading, &mut problems)
        });
        match manifest {
            Some(manifest) if problems.is_empty() => Ok(manifest),
            _ => Err(Diagnostics::new(texts, problems)),
        }
    }

    /// How many rounds there are.
    pub fn rounds(&self) -> u32 {
        u32::try_from(self.learners.len()).expect("the number of rounds is bounded where they are read")
    }
}

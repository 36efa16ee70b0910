//! What is exported: a run, its evidence, and the node whose model is meant.

use std::path::Path;

use dnc_learn::subspaces::Merged;
use dnc_stages::api::{ArtifactKind, Columns, InputArtifact};
use dnc_stages::pytorch::Card;
use serde_json::Value;

use super::error::ExportError;
use crate::pages::evidence::{EMBEDDINGS, Embedded, Evidence};
use crate::report::run_folder::{NodeJson, RunFolder};
use crate::report::stored::{MODEL, StoredRun, model_node};

/// What of a run is exported, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The node; `None` chooses.
    pub node: Option<String>,
    /// Whether an ONNX file leaves out the normalisation of pixels and of embeddings.
    pub raw: bool,
}

/// A run that is exported.
pub struct Subject {
    /// Its folder and what the store holds of it.
    pub evidence: Evidence,
    /// What of it is exported.
    pub target: Target,
    run: StoredRun,
}

impl Subject {
    /// Opens the run in `folder` with its store, or with the store at `store`.
    ///
    /// # Errors
    /// A file of the run or the store cannot be read, or the run has no such node.
    pub fn open(folder: RunFolder, store: Option<&Path>, target: Target) -> anyhow::Result<Self> {
        let run = StoredRun::open(folder.clone(), store)?;
        let evidence = Evidence::read(folder, store)?;
        Ok(Self { evidence, target, run })
    }

    /// The node called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<&NodeJson, ExportError> {
        Ok(self.run.node(name)?)
    }

    /// The node whose model is exported.
    ///
    /// # Errors
    /// There is no such node, or the run did not finish one that makes a model.
    pub fn model_node(&self) -> Result<&NodeJson, ExportError> {
        match &self.target.node {
            Some(name) => self.node(name),
            None => model_node(&self.run.json).map_err(ExportError::Lacking),
        }
    }

    /// The model in words: whose it is, and its properties.
    ///
    /// # Errors
    /// As [`Subject::model_node`].
    pub fn described(&self, card: &Card) -> Result<(String, String), ExportError> {
        let what = format!("the model of `{}`", self.model_node()?.node);
        Ok((what, format!("{}, {} dimensions", card.backbone, card.dimension)))
    }

    /// The model that is exported.
    ///
    /// # Errors
    /// As [`Subject::model_node`], or it is no longer in the store.
    pub fn model(&self) -> Result<InputArtifact, ExportError> {
        Ok(self.run.open_output(self.model_node()?, MODEL, ArtifactKind::Model)?)
    }

    /// The embeddings that are exported: those of the node, else those that the chosen round was evaluated with.
    ///
    /// # Errors
    /// There are none, or they are no longer in the store.
    pub fn embedded(&self) -> Result<Embedded, ExportError> {
        if let Some(name) = &self.target.node {
            let node = self.node(name)?;
            let artifact = self.run.open_output(node, EMBEDDINGS, ArtifactKind::Embeddings)?;
            return Ok(Embedded::of(name, &artifact)?);
        }
        let run = self.evidence.folder.id();
        let subject = self.evidence.subject.as_ref();
        let subject = subject.ok_or_else(|| ExportError::Lacking(format!("Run `{run}` evaluated nothing")))?;
        let node = &subject.chosen().node;
        Embedded::read(&self.evidence, subject, &[])?.ok_or_else(|| {
            ExportError::Lacking(format!(
                "The embeddings that `{node}` of run `{run}` evaluated were not kept or are no longer in the store"
            ))
        })
    }

    /// How the learners' subspaces are merged in the embedding: as in the evaluation of the exported model, else of the chosen round.
    pub fn merged(&self) -> Merged {
        let Some(plan) = &self.evidence.plan else { return Merged::Plain };
        let node = self.model_node().map(|node| node.node.clone()).unwrap_or_default();
        let chosen = self.evidence.chosen_node();
        let of_model = |name: &str| self.evidence.feed(name, MODEL).is_some_and(|(feed, _)| feed == node);
        let evaluations = || plan.nodes.iter().filter(|node| plan.stage(node).kind.name == "evaluate");
        let of_chosen = |name: &str| self.target.node.is_none() && chosen == Some(name);
        let found = evaluations()
            .find(|node| of_model(&node.name))
            .or_else(|| evaluations().find(|node| of_chosen(&node.name)));
        let merged = found.and_then(|node| plan.stage(node).params.get("merged").cloned());
        merged.and_then(|merged| serde_json::from_value(merged).ok()).unwrap_or(Merged::Plain)
    }

    /// The parameters of the stage that decoded the images; null if they are not known.
    pub fn decode(&self) -> Value {
        let found = self.evidence.plan.as_ref().zip(self.evidence.images()).and_then(|(plan, (name, _))| {
            let node = plan.nodes.iter().find(|node| node.name == name)?;
            Some(plan.stage(node).params.clone())
        });
        found.unwrap_or_default()
    }

    /// The table of images, if it is still in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn images(&self) -> Result<Option<InputArtifact>, ExportError> {
        let Some((node, output)) = self.evidence.images() else { return Ok(None) };
        Ok(self.evidence.open(&node, &output, ArtifactKind::Images, Columns::All, |_| true)?)
    }
}

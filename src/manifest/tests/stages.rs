//! Small stages with the ports of the real ones, so that the tests of manifests do not depend on the real stages.

use std::collections::BTreeMap;

use dnc_stages::api::{Input, Output, ParamError, Ports, Source, Stage, StageKind};
use dnc_stages::{ArtifactKind, Context, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of stage in these tests.
pub(in crate::manifest) const KINDS: &[StageKind] = &[
    StageKind::of::<Decode>(),
    StageKind::of::<Init>(),
    StageKind::of::<Embed>(),
    StageKind::of::<Cluster>(),
    StageKind::of::<Train>(),
    StageKind::of::<Merge>(),
    StageKind::of::<Evaluate>(),
    StageKind::of::<Command>(),
];

/// Defines a stage whose parameters are `$fields`. These stages are never run.
macro_rules! stage {
    ($type:ident, $name:literal, { $($(#[$attribute:meta])* $field:ident: $of:ty,)* }, |$self:ident| {
        inputs: $inputs:expr, outputs: $outputs:expr $(, $extra:ident: $value:expr)* $(,)?
    }) => {
        #[derive(Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $type { $($(#[$attribute])* $field: $of,)* }

        impl Stage for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = 1;
            const SUMMARY: &'static str = "A stage of the tests";

            fn ports(&self) -> Ports {
                let $self = self;
                let _ = $self;
                Ports { inputs: $inputs, outputs: $outputs }
            }

            $(stage!(@ $extra $self $value);)*

            fn run(&self, _: &mut Context<'_>) -> Result<(), StageError> {
                Ok(())
            }
        }
    };
    (@ sources $self:ident $value:expr) => {
        fn sources(&self) -> Vec<Source> { let $self = self; $value }
    };
    (@ dimension $self:ident $value:expr) => {
        fn embedding_dimension(&self) -> Option<usize> { let $self = self; $value }
    };
    (@ check $self:ident $value:expr) => {
        fn check(&self) -> Result<(), ParamError> { let $self = self; $value }
    };
}

stage!(Decode, "decode", {
    root: String,
    #[serde(default)]
    max_classes: Option<u32>,
}, |stage| {
    inputs: vec![],
    outputs: vec![Output::new("images", ArtifactKind::Images)],
    sources: vec![Source::file("root", &stage.root)],
});

stage!(Init, "init", {
    #[serde(default = "dimension")]
    dimension: usize,
    #[serde(default)]
    backbone: Backbone,
}, |stage| {
    inputs: vec![],
    outputs: vec![Output::new("model", ArtifactKind::Model)],
    dimension: Some(stage.dimension),
});

fn dimension() -> usize {
    128
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Backbone {
    #[default]
    Resnet18,
    Resnet50,
}

stage!(Embed, "embed", {
    #[serde(default = "batch")]
    batch: u32,
}, |_stage| {
    inputs: vec![Input::new("images", ArtifactKind::Images, &["pixels"]), Input::whole("model", ArtifactKind::Model)],
    outputs: vec![Output::new("embeddings", ArtifactKind::Embeddings)],
});

fn batch() -> u32 {
    80
}

stage!(Cluster, "cluster", {}, |_stage| {
    inputs: vec![
        Input::whole("embeddings", ArtifactKind::Embeddings),
        Input::whole("previous", ArtifactKind::Assignments).optional(),
    ],
    outputs: vec![Output::new("assignments", ArtifactKind::Assignments)],
});

stage!(Train, "train", {
    #[serde(default)]
    epochs: Option<u32>,
    #[serde(default)]
    loss: Loss,
    #[serde(default)]
    decay: Vec<f64>,
}, |stage| {
    inputs: vec![
        Input::whole("images", ArtifactKind::Images),
        Input::whole("clusters", ArtifactKind::Assignments),
        Input::whole("model", ArtifactKind::Model),
    ],
    outputs: vec![Output::new("model", ArtifactKind::Model), Output::new("history", ArtifactKind::History)],
    check: match stage.epochs {
        Some(0) => Err(ParamError::new("epochs", "`epochs` is 0, so nothing would be learned").hint("Write 1 or more.")),
        _ => Ok(()),
    },
});

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Loss {
    Margin {
        #[serde(default = "one")]
        beta: f64,
        #[serde(default = "one")]
        margin: f64,
    },
    Triplet {
        margin: f64,
    },
}

impl Default for Loss {
    fn default() -> Self {
        Loss::Margin { beta: 1.2, margin: 0.2 }
    }
}

fn one() -> f64 {
    1.0
}

stage!(Merge, "merge", {}, |_stage| {
    inputs: vec![Input::whole("learners", ArtifactKind::Model).many()],
    outputs: vec![Output::new("model", ArtifactKind::Model)],
});

stage!(Evaluate, "evaluate", {
    #[serde(default)]
    recall: Vec<u32>,
}, |_stage| {
    inputs: vec![Input::whole("images", ArtifactKind::Images), Input::whole("model", ArtifactKind::Model)],
    outputs: vec![Output::new("metrics", ArtifactKind::Metrics), Output::new("queries", ArtifactKind::Queries)],
});

stage!(Command, "command", {
    program: Vec<String>,
    #[serde(default)]
    inputs: BTreeMap<String, ArtifactKind>,
    #[serde(default)]
    outputs: BTreeMap<String, ArtifactKind>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
}, |stage| {
    inputs: stage.inputs.iter().map(|(name, kind)| Input::whole(name, *kind).many()).collect(),
    outputs: stage.outputs.iter().map(|(name, kind)| Output::new(name, *kind)).collect(),
});

//! Input and output ports of a stage.

use dnc_tables::{ArtifactKind, Columns};

/// The inputs and outputs of a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    /// The ports that it reads.
    pub inputs: Vec<Input>,
    /// The ports that it writes. A reference that names only the stage means the first one, unless kinds decide.
    pub outputs: Vec<Output>,
}

/// An input port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name under `in` in the manifest.
    pub name: String,
    /// The kind of artifact that it accepts.
    pub kind: ArtifactKind,
    /// The columns that the stage sees; only their digests are part of the key.
    pub columns: Columns,
    /// The number of artifacts that it accepts.
    pub arity: Arity,
}

impl Input {
    /// A port that takes one artifact, of which the stage sees only `columns`. A column of a table beside the main one is
    /// written `table.column`.
    pub fn new(name: impl Into<String>, kind: ArtifactKind, columns: &[&str]) -> Self {
        let columns = Columns::Named(columns.iter().map(|&column| column.to_owned()).collect());
        Self { name: name.into(), kind, columns, arity: Arity::One }
    }

    /// A port that takes one artifact, of which the stage sees everything.
    pub fn whole(name: impl Into<String>, kind: ArtifactKind) -> Self {
        Self { name: name.into(), kind, columns: Columns::All, arity: Arity::One }
    }

    /// A placeholder for all further ports that a manifest names: each takes any number of artifacts of any kind, and the
    /// stage sees everything in them. A plan replaces it by ports with the names in the manifest.
    pub fn rest() -> Self {
        Self::whole(Self::REST, ArtifactKind::Files).many()
    }

    /// Whether this is [`Input::rest`].
    pub fn is_rest(&self) -> bool {
        self.name == Self::REST
    }

    /// The name of [`Input::rest`], which is not a valid port name in manifests.
    const REST: &'static str = "*";

    /// The same port, which may be left unconnected.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { arity: Arity::Optional, ..self }
    }

    /// The same port, which takes one artifact per learner, in the order of learners.
    #[must_use]
    pub fn many(self) -> Self {
        Self { arity: Arity::Many, ..self }
    }
}

/// The number of artifacts that a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// At least one; a stage that runs per learner provides one per learner.
    Many,
}

/// An output port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name, as in `train.history`.
    pub name: String,
    /// What it holds.
    pub kind: ArtifactKind,
    /// Whether the stage may leave it out, depending on which of its inputs are connected.
    pub is_optional: bool,
}

impl Output {
    /// An output called `name` that holds `kind`.
    pub fn new(name: impl Into<String>, kind: ArtifactKind) -> Self {
        Self { name: name.into(), kind, is_optional: false }
    }

    /// The same output, which the stage may leave out.
    #[must_use]
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }
}

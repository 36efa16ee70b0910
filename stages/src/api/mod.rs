//! What a stage is and what a running stage may see.
//!
//! Read [`stage`] first (the trait), then [`ports`] (inputs and outputs), [`context`] (what `run` is given), and the small files
//! that these refer to: [`params`] (invalid parameters), [`ambient`] (seed, round and so on), [`source`] (files outside the
//! store), [`resources`], [`device`], [`measures`] (metrics that a stage writes or needs), [`observer`] (progress and logs), [`name`]
//! (names that users give), [`earlier`] (outputs of an earlier run) and [`error`].
//! [`job`] hides the type of a stage from the engine. No file here knows a particular stage: the list of them is in
//! [`registry`](crate::registry).

pub mod ambient;
pub mod context;
pub mod device;
pub mod devices;
pub mod earlier;
pub mod error;
pub mod job;
pub mod measures;
pub mod name;
pub mod observer;
pub mod params;
pub mod ports;
pub mod resources;
pub mod source;
pub mod stage;

pub use ambient::{Ambient, AmbientValues, Arithmetic};
pub use context::{Context, Environment, KnownDigest, MakeFolder};
pub use device::DeviceChoice;
pub use devices::{Devices, cpu_arithmetic};
pub use dnc_tables::{ArtifactKind, Columns, InputArtifact, InputFile, OutputArtifact};
pub use earlier::EarlierArtifact;
pub use error::StageError;
pub use job::{Job, StageKind};
pub use measures::{Ks, Measure, WantedMetric};
pub use name::{LONGEST_NAME, is_name};
pub use observer::Observer;
pub use params::ParamError;
pub use ports::{Arity, Input, Output, Ports};
pub use resources::{Resources, Threads};
pub use source::{Lookup, Source};
pub use stage::{Stage, Usage};

//! The list of all stages. To add one, write its file and add a line here.

use crate::api::job::StageKind;
use crate::augment::Augment;
use crate::choose::Choose;
use crate::cluster::Cluster;
use crate::command::Command;
use crate::decode::Decode;
use crate::embed::Embed;
use crate::evaluate::Evaluate;
use crate::index::Index;
use crate::init::Init;
use crate::merge::Merge;
use crate::train::Train;

/// Every stage, in the order in which a pipeline uses them.
pub const STAGES: &[StageKind] = &[
    StageKind::of::<Decode>(),
    StageKind::of::<Augment>(),
    StageKind::of::<Init>(),
    StageKind::of::<Embed>(),
    StageKind::of::<Cluster>(),
    StageKind::of::<Train>(),
    StageKind::of::<Merge>(),
    StageKind::of::<Evaluate>(),
    StageKind::of::<Index>(),
    StageKind::of::<Choose>(),
    StageKind::of::<Command>(),
];

/// The stage called `name`.
pub fn find(name: &str) -> Option<&'static StageKind> {
    STAGES.iter().find(|kind| kind.name == name)
}

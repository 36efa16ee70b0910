//! What can be known of a training before it begins: how many steps it has, and whether they can work at all. What cannot is said
//! before the hours are spent.

use dnc_learn::parameters::Group;
use dnc_learn::samplers::batches_in;
use dnc_tables::model::Model;

use super::parameters::Train;
use super::training_set::TrainingSet;
use crate::api::Context;

/// Steps of a node below which little can be learned.
const FEW_STEPS: usize = 20;

/// Learning rate of Adam and its kin below which a network that starts without weights hardly moves in a usual number of steps.
const SLOWEST: f64 = 1e-4;
/// The learning rates that such networks usually need.
const USUAL: &str = "3e-4 to 3e-3";

/// Logs the number of steps, and warns of what makes the training useless.
pub(super) fn warn(stage: &Train, images: &TrainingSet, initial: &Model, context: &Context<'_>) {
    let batch = stage.sampler.as_sampler().batch();
    let (count, epochs) = (images.ids.len(), stage.epochs as usize);
    let steps = batches_in(count, batch).max(images.learners.len());
    let each = format!("{count} training images in batches of {batch}");
    let per_epoch = if steps == 1 { "1 step per epoch".to_owned() } else { format!("{steps} steps per epoch") };
    context.log(format!("{each}: {per_epoch}, {} in all", steps * epochs));
    if count < batch {
        context.warn(format!(
            "the batch of {batch} images is larger than the training set of {count}; reduce `sampler.batch`"
        ));
    }
    if steps * epochs < FEW_STEPS {
        context.warn(format!(
            "{each} are {per_epoch} and {} in all, too few to learn much; increase `epochs` or reduce `sampler.batch`",
            steps * epochs
        ));
    }
    let lr = stage.optimiser.lr;
    if lr < SLOWEST && stage.freeze_backbone < stage.epochs && is_drawn(initial) {
        context
            .warn(format!("`optimiser.lr` is {lr:e}, too low for a network without pretrained weights; try {USUAL}"));
    }
}

/// Whether the backbone is as it was drawn: then all of its shifts are exactly zero, which those of a trained network never are.
fn is_drawn(model: &Model) -> bool {
    let is_shift = |name: &str| name.ends_with("bias") || name.ends_with("running_mean");
    let mut shifts = model
        .parameters
        .iter()
        .filter(|tensor| Group::of(&tensor.name) == Group::Backbone && is_shift(&tensor.name))
        .peekable();
    model.step == 0 && shifts.peek().is_some() && shifts.all(|tensor| tensor.bytes.iter().all(|&byte| byte == 0))
}

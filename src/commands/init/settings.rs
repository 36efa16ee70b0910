//! Parameters that suit the size of a data set.
//!
//! Budgets are for a laptop: a first run should take minutes. Networks that start from random weights are small and see small
//! images; pretrained ones need few epochs and a small learning rate.

use dnc_stages::pretrained::{Caches, of_backbone};
use dnc_stages::tables::Split;

use super::questions::Questions;
use super::survey::Survey;
use super::task::Task;

/// Images that a training from random weights shows in all.
const SHOWN_FROM_SCRATCH: usize = 60_000;
/// Images that a training from pretrained weights shows in all.
const SHOWN_PRETRAINED: usize = 6_000;
/// Smallest crop: the network needs more than 32 pixels.
const SMALLEST_CROP: usize = 40;
/// Largest crop of a network that starts from random weights.
const LARGEST_CROP: usize = 64;
/// Backbones whose published weights are used if they are on this machine, cheapest first.
const PRETRAINED: [&str; 4] = ["efficientnet_lite0", "resnet18", "resnet50", "resnet34"];
/// Training classes that a learner should have at least.
const CLASSES_PER_LEARNER: usize = 16;
/// Images below which batches are small.
const SMALL: usize = 1000;

/// What the template fills in.
pub(super) struct Settings {
    /// The task.
    pub(super) task: Task,
    /// The backbone, and its published weights if it has any here.
    pub(super) backbone: &'static str,
    pub(super) weights: Option<&'static str>,
    /// Length of the shorter side that images are stored in, and crop and resize of the model.
    pub(super) stored: usize,
    pub(super) crop: usize,
    pub(super) resize: usize,
    /// Probability of a flip.
    pub(super) flip: f64,
    /// Number of learners in each round; empty without rounds.
    pub(super) learners: Vec<u32>,
    /// The value of `split`, if the data set has none.
    pub(super) split: Option<&'static str>,
    pub(super) skip_unreadable: bool,
    pub(super) epochs: usize,
    pub(super) batch: usize,
    pub(super) per_class: usize,
    pub(super) recall: Vec<u32>,
    pub(super) cameras: bool,
    /// Ways, shots and queries of few-shot episodes.
    pub(super) few_shot: Option<(usize, &'static [u32], usize)>,
}

impl Settings {
    /// Chooses parameters, with at most three questions.
    ///
    /// # Errors
    /// The data set has too few classes for the task.
    pub(super) fn choose(survey: &Survey, task: Task, caches: &Caches, questions: &Questions) -> Result<Self, String> {
        let (train_images, train_classes, test_classes) = counts(survey)?;
        let found = PRETRAINED.into_iter().find(|backbone| {
            of_backbone(backbone, "imagenet").is_some_and(|published| caches.find(published).is_some())
        });
        let found =
            found.filter(|backbone| questions.ask(&format!("Start from ImageNet weights of {backbone}?"), true));
        let flip = questions.ask("Does a mirrored image belong to the same class?", true);
        let learners = match learners(train_classes) {
            few if few.len() < 2 => Vec::new(),
            some => {
                let most = some[some.len() - 1];
                let divide = format!("Divide and conquer, with up to {most} learners?");
                if questions.ask(&divide, task == Task::Sop) { some } else { Vec::new() }
            }
        };
        let rounds = learners.len().max(1);
        let (shown, most) = if found.is_some() { (SHOWN_PRETRAINED, 20) } else { (SHOWN_FROM_SCRATCH, 60) };
        let epochs = (shown / train_images.max(1)).clamp(2, most).div_ceil(rounds);
        let (crop, resize) = match found {
            // Published weights see larger images; small ones are not blown up all the way.
            Some(_) if survey.side >= 200 => (224, 256),
            Some(_) => (survey.side.div_ceil(32).clamp(3, 7) * 32, survey.side.div_ceil(32).clamp(3, 7) * 32),
            None => {
                let crop = (survey.side / 8 * 8).clamp(SMALLEST_CROP, LARGEST_CROP);
                (crop, crop * 9 / 8)
            }
        };
        let per_class = if task == Task::Sop || survey.median_trained() < 4 { 2 } else { 4 };
        let batch = if train_images < SMALL { 32 } else { 80 };
        let classes_per_batch = (batch / per_class).min(train_classes).max(2);
        Ok(Self {
            task,
            backbone: found.unwrap_or("plain"),
            weights: found.map(|_| "imagenet"),
            stored: resize,
            crop,
            resize,
            flip: if flip { 0.5 } else { 0.0 },
            learners,
            split: (!survey.has_splits()).then_some("{ train = 0.5 }"),
            skip_unreadable: survey.has_unreadable(),
            epochs,
            batch: classes_per_batch * per_class,
            per_class,
            recall: recall(task, searched(survey)),
            cameras: task == Task::Reid && survey.cameras,
            few_shot: if task == Task::FewShot { Some(episodes(survey, test_classes)?) } else { None },
        })
    }
}

/// Number of learners in each round. A learner needs several classes: fewer, and its cluster may be of one class.
fn learners(train_classes: usize) -> Vec<u32> {
    [1, 2, 4].into_iter().filter(|&learners| train_classes >= learners as usize * CLASSES_PER_LEARNER).collect()
}

/// Values of k for Recall@k: those that are usual for the task and smaller than the number of `searched` images.
fn recall(task: Task, searched: usize) -> Vec<u32> {
    let usual: &[u32] = match task {
        Task::Sop => &[1, 10, 100, 1000],
        Task::Reid => &[1, 5, 10],
        Task::Retrieval | Task::FewShot => &[1, 10],
    };
    usual.iter().copied().filter(|&k| k == 1 || (k as usize) < searched).collect()
}

/// Number of images among which a query is searched.
fn searched(survey: &Survey) -> usize {
    let images = |split| survey.splits.contains_key(&split).then(|| survey.counts_of(split).0);
    match survey.has_splits() {
        true => images(Split::Gallery).or(images(Split::Test)).or(images(Split::Validation)).unwrap_or(0),
        false => survey.images / 2,
    }
}

/// Training images, training classes and test classes.
fn counts(survey: &Survey) -> Result<(usize, usize, usize), String> {
    if survey.has_splits() {
        let (images, classes) = survey.counts_of(Split::Train);
        if classes < 2 {
            return Err("There are fewer than two training classes; a metric cannot be learned from one".to_owned());
        }
        let others = survey.splits.iter().filter(|(split, _)| **split != Split::Train);
        let tested = others.map(|(_, classes)| classes.len()).max().unwrap_or(0);
        if tested == 0 {
            return Err(
                "All images are in the split `train`; without another split nothing can be evaluated".to_owned()
            );
        }
        return Ok((images, classes, tested));
    }
    let (images, classes) = (survey.images, survey.classes());
    let pairable = survey.class_sizes.iter().filter(|&&size| size >= 2).count();
    if classes < 4 || pairable < 4 {
        return Err(format!(
            "Classes with two or more images: {pairable}; at least four are needed: two for training and two for testing"
        ));
    }
    Ok((images / 2, classes / 2, classes - classes / 2))
}

/// Ways, shots and queries: those of the literature, or fewer if classes are few or small.
fn episodes(survey: &Survey, test_classes: usize) -> Result<(usize, &'static [u32], usize), String> {
    let splits: Vec<(usize, usize)> = match survey.has_splits() {
        true => {
            // `evaluate` draws the episodes of queries from their gallery.
            let drawn = survey.splits.iter().filter(|(split, _)| !matches!(split, Split::Train | Split::Query));
            drawn.map(|(_, sizes)| drawable(sizes, sizes.len())).collect()
        }
        false => vec![drawable(&survey.class_sizes, test_classes)],
    };
    let ways = splits.iter().map(|(classes, _)| *classes).min().unwrap_or(0).min(5);
    let smallest = splits.iter().map(|(_, smallest)| *smallest).min().unwrap_or(0);
    if ways < 2 {
        return Err("Few-shot classification needs at least two test classes with two or more images".to_owned());
    }
    Ok(match smallest {
        10.. => (ways, &[1, 5], (smallest - 5).min(15)),
        _ => (ways, &[1], smallest - 1),
    })
}

/// The classes that episodes can be drawn from if `tested` of the classes of these sizes are for testing, all with a single image among
/// them, and the size of the smallest.
fn drawable(sizes: &[usize], tested: usize) -> (usize, usize) {
    let (singles, others): (Vec<usize>, Vec<usize>) = sizes.iter().partition(|&&size| size < 2);
    (tested.saturating_sub(singles.len()), others.into_iter().min().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn episodes_are_drawn_from_classes_with_two_images() {
        assert_eq!(drawable(&[2, 5, 3], 3), (3, 2));
        assert_eq!(drawable(&[1, 1, 4, 5, 6, 7], 3), (1, 4));
        assert_eq!(drawable(&[1, 1, 1], 1), (0, 0));
    }

    #[test]
    fn no_more_neighbours_are_asked_for_than_there_are() {
        assert_eq!(recall(Task::Sop, 500), [1, 10, 100]);
        assert_eq!(recall(Task::Retrieval, 3), [1]);
    }

    #[test]
    fn few_classes_are_not_divided() {
        assert_eq!((learners(3), learners(40), learners(500)), (vec![], vec![1, 2], vec![1, 2, 4]));
    }
}

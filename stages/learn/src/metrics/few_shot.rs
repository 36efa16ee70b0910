//! Few-shot accuracy: N-way S-shot episodes on classes unseen in training, classified by the nearest class mean.
//!
//! **Formula** An episode draws N classes, and from each class S support images and Q query images. A query is classified correctly
//! if, among the N means of the support embeddings, that of its own class is nearest in Euclidean distance (the first one if
//! distances are equal). The accuracy of an episode is the share of its N · Q queries that are correct; the result is the mean over
//! episodes with Student's 95 % interval.
//!
//! **Shapes** embeddings `[images, dim]`, normalised or not; labels `[images]`.
//!
//! **Source** Snell, Swersky and Zemel, *Prototypical networks for few-shot learning*, 2017, §2.3 and 3.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::Rng;
use rayon::prelude::*;

use super::ranking::metric_error;
use crate::{
    error::Result,
    statistics::{Interval, mean_interval},
    streams::Streams,
};

/// Size and number of the episodes.
#[derive(Clone, Copy, Debug)]
pub struct FewShot {
    /// N, classes per episode.
    pub ways: usize,
    /// S, support images per class, whose mean represents the class.
    pub shots: usize,
    /// Q, query images per class, which are classified.
    pub queries: usize,
    /// Number of episodes.
    pub episodes: usize,
}

/// Accuracy over episodes.
#[derive(Clone, Debug, PartialEq)]
pub struct FewShotAccuracy {
    /// Accuracy of each episode.
    pub episodes: Vec<f64>,
    /// Their mean with its 95 % interval.
    pub interval: Interval,
}

/// Draws episodes, each from its own random stream, and classifies their queries.
///
/// # Errors
/// If `embeddings` does not have one row of `dim` values per label, fewer than N classes have S + Q images, N, S or Q is 0, or
/// there are fewer than two episodes.
pub fn few_shot(
    embeddings: &[f32],
    dim: usize,
    labels: &[u32],
    plan: FewShot,
    streams: &Streams,
) -> Result<FewShotAccuracy> {
    Ok(few_shot_unless((embeddings, dim), labels, plan, streams, &AtomicBool::new(false))?.expect("nothing stops it"))
}

/// As [`few_shot`], but gives up once `stopped`.
///
/// # Errors
/// As [`few_shot`].
pub fn few_shot_unless(
    (embeddings, dim): (&[f32], usize),
    labels: &[u32],
    plan: FewShot,
    streams: &Streams,
    stopped: &AtomicBool,
) -> Result<Option<FewShotAccuracy>> {
    if labels.len() * dim != embeddings.len() {
        let problem = format!("{} values are not {} rows of {dim}", embeddings.len(), labels.len());
        return Err(metric_error("few-shot accuracy", problem));
    }
    if plan.ways == 0 || plan.shots == 0 || plan.queries == 0 || plan.episodes < 2 {
        return Err(metric_error(
            "few-shot accuracy",
            "`ways`, `shots` and `queries` must be at least 1 and `episodes` at least 2",
        ));
    }
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    labels.iter().enumerate().for_each(|(image, label)| classes.entry(*label).or_default().push(image));
    let wanted = plan.shots + plan.queries;
    let classes: Vec<Vec<usize>> = classes.into_values().filter(|images| images.len() >= wanted).collect();
    if classes.len() < plan.ways {
        let problem = format!(
            "an episode needs {} classes with at least {wanted} images, but there are {}",
            plan.ways,
            classes.len()
        );
        return Err(metric_error("few-shot accuracy", problem));
    }
    let row = |image: usize| &embeddings[image * dim..][..dim];
    let episode = |number: usize| {
        if stopped.load(Ordering::Relaxed) {
            return 0.0;
        }
        episode(&classes, row, plan, &mut streams.named("episode").at(number as u64).rng())
    };
    let episodes: Vec<f64> = (0..plan.episodes).into_par_iter().map(episode).collect();
    if stopped.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let interval = mean_interval(&episodes).expect("there are at least two episodes");
    Ok(Some(FewShotAccuracy { episodes, interval }))
}

/// Draws one episode and returns its accuracy.
fn episode<'a>(classes: &[Vec<usize>], row: impl Fn(usize) -> &'a [f32], plan: FewShot, rng: &mut impl Rng) -> f64 {
    let chosen: Vec<Vec<usize>> =
        draw(classes, plan.ways, rng).into_iter().map(|images| draw(&images, plan.shots + plan.queries, rng)).collect();
    let mean = |images: &Vec<usize>| -> Vec<f64> {
        let mut mean = vec![0.0; row(images[0]).len()];
        for image in &images[..plan.shots] {
            mean.iter_mut().zip(row(*image)).for_each(|(mean, value)| *mean += f64::from(*value) / plan.shots as f64);
        }
        mean
    };
    let means: Vec<Vec<f64>> = chosen.iter().map(mean).collect();
    let nearest = |image: usize| {
        let distance = |mean: &Vec<f64>| -> f64 {
            mean.iter().zip(row(image)).map(|(mean, value)| (mean - f64::from(*value)).powi(2)).sum()
        };
        let distances = means.iter().map(distance).zip(0..);
        distances.fold((f64::INFINITY, 0), |best, next| if next.0 < best.0 { next } else { best }).1
    };
    let queries = chosen
        .iter()
        .enumerate()
        .flat_map(|(class, images)| images[plan.shots..].iter().map(move |image| (class, *image)));
    queries.filter(|(class, image)| nearest(*image) == *class).count() as f64 / (plan.ways * plan.queries) as f64
}

/// Draws `count` of `items` without replacement.
fn draw<T: Clone>(items: &[T], count: usize, rng: &mut impl Rng) -> Vec<T> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    for position in 0..count {
        let other = rng.random_range(position..items.len());
        order.swap(position, other);
    }
    order[..count].iter().map(|index| items[*index].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: FewShot = FewShot { ways: 3, shots: 2, queries: 4, episodes: 50 };

    #[test]
    fn separated_classes_are_classified_correctly() {
        let labels: Vec<u32> = (0..40).map(|image| image % 5).collect();
        let embeddings: Vec<f32> = labels.iter().flat_map(|label| [*label as f32, 0.0]).collect();
        let found = few_shot(&embeddings, 2, &labels, PLAN, &Streams::new(1)).expect("well formed");
        assert_eq!((found.interval.mean, found.interval.half_width), (1.0, 0.0));
    }

    #[test]
    fn random_embeddings_give_the_accuracy_of_chance() {
        let labels: Vec<u32> = (0..400).map(|image| image % 5).collect();
        let mut rng = Streams::new(2).rng();
        let embeddings: Vec<f32> = labels.iter().map(|_| rng.random()).collect();
        let plan = FewShot { episodes: 600, ..PLAN };
        let found = few_shot(&embeddings, 1, &labels, plan, &Streams::new(3)).expect("well formed");
        let Interval { mean, half_width } = found.interval;
        assert!((mean - 1.0 / 3.0).abs() < 3.0 * half_width && half_width < 0.02, "{mean} ± {half_width}");
        let again = few_shot(&embeddings, 1, &labels, plan, &Streams::new(3)).expect("well formed");
        assert_eq!(found, again);
    }

    #[test]
    fn draws_without_replacement_and_evenly() {
        let mut rng = Streams::new(4).rng();
        let mut counts = [0; 6];
        for _ in 0..6000 {
            let mut drawn = draw(&[0, 1, 2, 3, 4, 5], 3, &mut rng);
            drawn.iter().for_each(|item| counts[*item] += 1);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 3);
        }
        assert!(counts.iter().all(|count| (2800..3200).contains(count)), "{counts:?}");
    }

    #[test]
    fn rejects_too_few_images() {
        let error = few_shot(&[0.0; 4], 1, &[1, 1, 2, 2], PLAN, &Streams::new(0)).expect_err("there are too few");
        assert_eq!(
            error.to_string(),
            "Cannot compute `few-shot accuracy`: an episode needs 3 classes with at least 6 images, but there are 0"
        );
    }
}

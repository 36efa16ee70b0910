//! Laws of the samplers, and the proposals of today as a golden text: a sweep that goes on must find its trials again.

use std::collections::BTreeSet;

use super::*;
use crate::sweep::space::{Dimension, Range};

fn space(ranges: &[Range]) -> Space {
    let dimension = |(index, range): (usize, &Range)| Dimension { key: format!("k{index}"), range: range.clone() };
    Space { dimensions: ranges.iter().enumerate().map(dimension).collect() }
}

fn unit() -> Range {
    Range::Real { min: 0.0, max: 1.0, log: false }
}

fn levels(count: usize) -> Range {
    Range::Levels { texts: (0..count).map(|level| level.to_string()).collect(), ordered: false }
}

/// The points of a sweep with this objective, told to the sampler as a sweep does.
fn sweep(
    method: Method,
    space: &Space,
    seed: u64,
    trials: usize,
    objective: impl Fn(&[f64]) -> Option<f64>,
) -> Vec<Told> {
    let sampler = method.sampler(space, seed);
    let mut told: Vec<Told> = Vec::new();
    let mut tried = HashSet::new();
    for number in 0..trials {
        let point = propose(space, sampler.as_ref(), number, &tried, &told[..sampler.needs(number)]);
        tried.insert(space.texts(&point));
        told.push(Told { score: objective(&point), point });
    }
    told
}

fn best(told: &[Told]) -> f64 {
    told.iter().filter_map(|told| told.score).fold(f64::NEG_INFINITY, f64::max)
}

fn tpe() -> Method {
    Method::Tpe(TpeSettings::default())
}

#[test]
fn sobol_is_stratified_in_every_key() {
    let space = space(&[unit(), unit(), unit()]);
    for seed in 0..5 {
        let points = sweep(Method::Sobol, &space, seed, 16, |_| None);
        for key in 0..3 {
            let parts: BTreeSet<usize> = points.iter().map(|told| (told.point[key] * 16.0) as usize).collect();
            assert_eq!(parts.len(), 16, "seed {seed}, key {key}: each sixteenth has a trial");
        }
    }
}

#[test]
fn no_setting_is_tried_twice() {
    let space = space(&[levels(3), Range::Integer { min: 1, max: 4, log: true }]);
    for method in [Method::Grid, Method::Random, Method::Sobol, tpe()] {
        let tried: BTreeSet<Vec<String>> =
            sweep(method, &space, 1, 12, |point| Some(point[0])).iter().map(|told| space.texts(&told.point)).collect();
        assert_eq!(tried.len(), 12, "{method:?}");
    }
}

#[test]
fn a_continuous_range_may_have_fewer_values_than_there_are_trials() {
    let space = space(&[Range::Real { min: 0.5, max: 0.5002, log: false }]);
    for method in [Method::Random, Method::Sobol, tpe()] {
        let told = sweep(method, &space, 1, 12, |point| Some(point[0]));
        let tried: BTreeSet<Vec<String>> = told.iter().map(|told| space.texts(&told.point)).collect();
        assert_eq!((told.len(), tried.len()), (12, 3), "{method:?}");
    }
}

#[test]
fn a_proposal_depends_on_the_trials_that_it_needs_only() {
    let space = space(&[unit(), levels(4)]);
    let method = Method::Tpe(TpeSettings { startup: 4, batch: 3 });
    let sampler = method.sampler(&space, 3);
    assert_eq!((0..11).map(|number| sampler.needs(number)).collect::<Vec<_>>(), [0, 0, 0, 0, 4, 4, 4, 7, 7, 7, 10]);
    let long = sweep(method, &space, 3, 12, |point| Some(point[0]));
    assert_eq!(sweep(method, &space, 3, 8, |point| Some(point[0])), long[..8]);
}

/// The optimum is at 0.3 of the first key, at 0.8 of the second, and at value 2 of the third.
fn hill(point: &[f64]) -> Option<f64> {
    let category = if (point[2] * 5.0) as usize == 2 { 0.0 } else { 0.3 };
    Some(-(point[0] - 0.3).powi(2) - (point[1] - 0.8).powi(2) - category)
}

#[test]
fn tpe_finds_an_optimum_in_fewer_trials_than_random_search() {
    let space = space(&[unit(), unit(), levels(5)]);
    let mut regrets = [0.0, 0.0];
    for seed in 0..20 {
        regrets[0] -= best(&sweep(tpe(), &space, seed, 40, hill));
        regrets[1] -= best(&sweep(Method::Random, &space, seed, 80, hill));
    }
    assert!(regrets[0] < regrets[1], "with half of the trials: {regrets:?}");
}

#[test]
fn tpe_avoids_settings_that_fail() {
    let space = space(&[unit(), unit()]);
    let failing = |point: &[f64]| (point[0] < 0.5).then_some(point[1]);
    let failures = |method| {
        let told: Vec<Told> = (0..10).flat_map(|seed| sweep(method, &space, seed, 40, failing).split_off(10)).collect();
        told.iter().filter(|told| told.score.is_none()).count()
    };
    let (tpe, random) = (failures(tpe()), failures(Method::Random));
    assert!(tpe * 2 < random, "{tpe} of 300 trials failed, and {random} of random ones");
    let never = sweep(Method::Tpe(TpeSettings { startup: 2, batch: 1 }), &space, 0, 6, |_| None);
    assert_eq!(never.len(), 6, "where all failed there is nothing to learn");
}

#[test]
fn proposals_are_stable() {
    let space = space(&[
        Range::Real { min: 1e-4, max: 1e-1, log: true },
        Range::Integer { min: 1, max: 100, log: false },
        levels(3),
    ]);
    let mut lines = String::new();
    for method in [Method::Random, Method::Sobol, Method::Tpe(TpeSettings { startup: 2, batch: 1 })] {
        for told in sweep(method, &space, 0, 5, |point| Some(point[0])) {
            lines += &format!("{} {}\n", method.name(), space.label(&space.texts(&told.point)));
        }
    }
    insta::assert_snapshot!(lines, @r"
    random k0=0.0001546 k1=95 k2=0
    random k0=0.002607 k1=67 k2=1
    random k0=0.001541 k1=52 k2=1
    random k0=0.001446 k1=37 k2=0
    random k0=0.01439 k1=24 k2=0
    sobol k0=0.002242 k1=67 k2=1
    sobol k0=0.04767 k1=13 k2=1
    sobol k0=0.0003252 k1=30 k2=2
    sobol k0=0.01373 k1=81 k2=0
    sobol k0=0.01802 k1=54 k2=2
    tpe k0=0.002242 k1=67 k2=1
    tpe k0=0.04767 k1=13 k2=1
    tpe k0=0.06114 k1=4 k2=0
    tpe k0=0.06888 k1=2 k2=0
    tpe k0=0.0001268 k1=40 k2=0
    ");
}

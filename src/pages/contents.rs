//! The contents of a report: all analyses and sections in order, the gallery last, so that it takes what the budget leaves.

use std::collections::{BTreeMap, BTreeSet};

use super::analysis::calibration::Calibration;
use super::analysis::clusters::{Clusters, clusters};
use super::analysis::comparison::{self, Flips};
use super::analysis::confusions::{self, ConfusedPair};
use super::analysis::gallery::{self, GalleryList};
use super::analysis::hubs::{self, Hubs};
use super::analysis::label_errors::{self, Suspect};
use super::analysis::leaks::{Leak, leaks};
use super::analysis::map::Map;
use super::analysis::nuisance_flips::{self, NuisanceFlips};
use super::analysis::rounds::Lift;
use super::analysis::shape::{Shape, shape};
use super::analysis::subspaces::{self, Masks, Subspaces};
use super::analysis::training::training;
use super::error::PagesError;
use super::evidence::{Catalogue, Embedded, Evidence, Subject};
use super::options::ReportOptions;
use super::page::Section;
use super::pictures::Pictures;
use super::sections;
use super::sections::confusions::Leaks;
use super::sections::reproduce::csv;
use super::sections::subspaces::Example;
use super::thumbnails::{self, Thumbnails};
use crate::report::answers::{self, Answer};
use crate::report::queries::NodeSplit;

/// Number of classes of the confusion matrix.
const CLASSES: usize = 60;
/// Number of images of a cluster that are shown.
const MONTAGE: usize = 24;
/// Number of queries that show what only one learner finds.
const EXAMPLES: usize = 4;
/// Bytes that are kept for the frame of the page.
const FRAME: usize = 80_000;
/// Queries above which their table is not in the page.
const MOST_ROWS: usize = 20_000;

/// The contents of a report.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) sections: Vec<Section>,
    /// Rules of the pictures.
    pub(super) style: String,
    /// What was left out, each with the option that shows it.
    pub(super) left_out: Vec<String>,
}

/// The contents of the report of groups of runs, each of which differs only by the seed. The details are those of the first run of
/// the last group; every other group is compared with the first.
///
/// # Errors
/// The store cannot be read or written, or a table is damaged.
pub(super) fn contents(groups: &[Vec<Evidence>], options: &ReportOptions) -> Result<Contents, PagesError> {
    let Some(run) = groups.last().and_then(|runs| runs.first()) else {
        return Ok(Contents::default());
    };
    let mut contents = Contents::default();
    let training = sections::training::section(&training(run)?);
    let rest = [sections::run::section(run)?];
    match &run.subject {
        Some(subject) => {
            let findings = Findings::new(groups, subject, options)?;
            findings.sections(groups, subject, options, training, rest, &mut contents)?;
        }
        None => {
            contents.sections.push(sections::summary::without_evaluation(run));
            contents.sections.push(training);
            contents.sections.extend(rest);
            contents.sections.push(sections::reproduce::section(run, &metrics_csv(run), None));
        }
    }
    Ok(contents)
}

/// Everything that is found out about the chosen round.
struct Findings {
    answers: Vec<Answer>,
    catalogue: Catalogue,
    calibration: Calibration,
    lifts: Vec<Lift>,
    lists: Vec<GalleryList>,
    pairs: Vec<ConfusedPair>,
    hubs: Hubs,
    suspects: Vec<Suspect>,
    /// `None` if the pixels are gone.
    leaks: Option<Vec<Leak>>,
    /// Whether near-duplicates were sought.
    leaks_sought: bool,
    masks: Option<Masks>,
    subspaces: Option<Subspaces>,
    /// For each answer that only one learner finds, by position, that learner.
    found_by_one: BTreeMap<usize, Vec<usize>>,
    examples: Vec<Example>,
    clusters: Option<Clusters>,
    shape: Option<Shape>,
    embedded: Option<Embedded>,
    map: Option<Map>,
    nuisances: BTreeMap<String, NuisanceFlips>,
    /// Answers of the chosen round in the first run of each group, if there are several groups.
    compared: Vec<Vec<Answer>>,
    /// From the first group to each other one.
    flips: Vec<Flips>,
}

impl Findings {
    fn new(groups: &[Vec<Evidence>], subject: &Subject, options: &ReportOptions) -> Result<Self, PagesError> {
        let runs = &groups[groups.len() - 1];
        let run = &runs[0];
        let place = |node: &str| NodeSplit { node: node.to_owned(), split: subject.split.clone() };
        let (chosen, single) = (place(&subject.chosen().node), subject.single().map(|single| place(&single.node)));
        let mut found = answers::read(&run.folder.path, |place| *place == chosen || Some(place) == single.as_ref())?;
        let answers = found.remove(&chosen).unwrap_or_default();
        let earlier = single.as_ref().and_then(|single| found.remove(single));
        let catalogue = Catalogue::read(run, &answers)?;
        let calibration = Calibration::new(&answers, &catalogue);
        let others = subject.nodes().filter(|node| **node != subject.chosen().node);
        let lifts = others.map(|node| Lift::over(runs, subject, node)).collect();
        let (compared, flips) = compared(groups, &subject.split)?;
        let name = subject.single().map(|single| format!("round {} (K = 1)", single.round));
        let earlier = match flips.last() {
            Some(_) => Some((groups[0][0].folder.id(), compared[0].clone())),
            None => name.zip(earlier),
        };
        let earlier = earlier.as_ref().map(|(name, answers)| (name.as_str(), answers.as_slice()));
        let most = options.queries.div_ceil(if earlier.is_some() { 7 } else { 5 });
        let lists = gallery::lists(&answers, earlier, most);
        let pairs = confusions::pairs(&answers, &catalogue);
        let hubs = hubs::hubs(&answers, |id| catalogue.label(id));
        let suspects = label_errors::suspects(&answers, &catalogue, &calibration);

        let leaks_sought = options.leaks || catalogue.entries().len() <= thumbnails::ALL;
        let leaks = if leaks_sought { leaks(run)? } else { None };
        let mut ids: Vec<u32> = answers.iter().map(|answer| answer.id).collect();
        ids.dedup();
        let embedded = Embedded::read(run, subject, &ids)?;
        let masks = subspaces::masks(run, subject)?;
        let subspaces = match (&embedded, &masks) {
            (Some(embedded), Some(masks)) => Subspaces::new(run, subject, embedded, masks.clone(), &catalogue)?,
            _ => None,
        };
        let (found_by_one, examples) = found_by_one(&answers, &catalogue, subspaces.as_ref());
        let rows = embedded.as_ref().map(|embedded| (embedded, embedded.sides(&subject.split).0));
        let shape =
            rows.filter(|(_, rows)| rows.len() > 1).map(|(embedded, rows)| shape(embedded, &rows)).transpose()?;
        let clusters = clusters(run, subject, MONTAGE)?;
        let map = embedded.as_ref().map(|embedded| Map::new(run, embedded)).transpose()?.flatten();
        let nuisances = nuisance_flips::flips(run, subject, &answers)?;
        Ok(Self {
            answers,
            catalogue,
            calibration,
            lifts,
            lists,
            pairs,
            hubs,
            suspects,
            leaks,
            leaks_sought,
            masks,
            subspaces,
            found_by_one,
            examples,
            clusters,
            shape,
            embedded,
            map,
            nuisances,
            compared,
            flips,
        })
    }

    /// The images that the report may show, sorted.
    fn shown(&self) -> Vec<u32> {
        let in_lists = self.lists.iter().flat_map(|list| list.queries.iter().copied());
        let in_pairs = self.pairs.iter().take(sections::confusions::PAIRS).map(|pair| pair.example);
        let in_suspects = self.suspects.iter().take(sections::confusions::SUSPECTS).map(|suspect| suspect.query);
        let shown = in_lists.chain(in_pairs).chain(in_suspects).map(|query| &self.answers[query]);
        let mut ids: BTreeSet<u32> =
            shown.flat_map(|answer| answer.neighbours.iter().take(10).copied().chain([answer.id])).collect();
        ids.extend(self.hubs.images.iter().take(sections::confusions::HUBS).map(|hub| hub.id));
        let leaks = self.leaks.iter().flatten().take(sections::confusions::LEAKS);
        ids.extend(leaks.flat_map(|leak| [leak.evaluated, leak.training]));
        ids.extend(self.clusters.iter().flat_map(|found| &found.clusters).flat_map(|cluster| &cluster.1));
        for (example, subspaces) in self.examples.iter().zip(self.subspaces.iter().cycle()) {
            ids.extend((0..subspaces.learners()).flat_map(|learner| subspaces.of(learner, example.query).0));
            ids.insert(self.answers[example.answer].id);
        }
        for flip in self.nuisances.values().flat_map(sections::nuisances::shown) {
            let answer = &self.answers[flip.query];
            ids.extend(answer.neighbours.first().copied().into_iter().chain([answer.id]));
        }
        let most = sections::comparison::FLIPS;
        for (flips, answers) in self.flips.iter().zip(self.compared.iter().skip(1)) {
            let positions = flips.gained.iter().take(most).chain(flips.lost.iter().take(most));
            let queries: BTreeSet<u32> = positions.map(|&position| answers[position].id).collect();
            let rows = self.compared.iter().flatten().filter(|answer| queries.contains(&answer.id));
            ids.extend(rows.flat_map(|answer| answer.neighbours.iter().take(10).copied().chain([answer.id])));
        }
        ids.into_iter().collect()
    }

    /// The comparison with the other groups, if there are any.
    fn comparison(&self, groups: &[Vec<Evidence>], pictures: &Pictures<'_>) -> Option<Section> {
        if groups.len() < 2 {
            return None;
        }
        let groups: Vec<&[Evidence]> = groups.iter().map(Vec::as_slice).collect();
        let manifests: Vec<&str> = groups.iter().map(|runs| runs[0].manifest.as_str()).collect();
        let data = sections::comparison::ComparisonData {
            names: &comparison::names(&groups),
            metrics: &comparison::metrics(&groups),
            parameters: &comparison::parameters(&manifests),
            answers: &self.compared,
            flips: &self.flips,
            catalogue: &self.catalogue,
        };
        Some(sections::comparison::section(&data, pictures))
    }

    fn sections(
        &self,
        groups: &[Vec<Evidence>],
        subject: &Subject,
        options: &ReportOptions,
        training: Section,
        rest: impl IntoIterator<Item = Section>,
        contents: &mut Contents,
    ) -> Result<(), PagesError> {
        let runs = &groups[groups.len() - 1];
        let run = &runs[0];
        let Self { answers, catalogue, calibration, lifts, lists, pairs, hubs, suspects, .. } = self;
        let thumbnails = Thumbnails::of(run, catalogue.entries().len(), &self.shown())?;
        let pictures = Pictures::new(thumbnails.as_ref(), catalogue);
        let matrix = confusions::matrix(answers, catalogue, pairs, CLASSES);
        let only = self.examples.first().map(|example| (example.answer, example.learner));
        let summary =
            sections::summary::Summary { runs, subject, answers, catalogue, lifts, lists, pairs, suspects, only };
        let summary = sections::summary::section(&summary, &pictures);
        let rounds = sections::rounds::section(runs, subject);
        let nuisances = sections::nuisances::NuisanceData { runs, subject, answers, catalogue, flips: &self.nuisances };
        let nuisances = sections::nuisances::section(&nuisances, &pictures)?;
        let data = sections::confusions::Confusions {
            answers,
            catalogue,
            calibration,
            pairs,
            matrix: &matrix,
            hubs,
            suspects,
            leaks: match &self.leaks {
                _ if !self.leaks_sought => Leaks::NotSought,
                Some(found) => Leaks::Found(found),
                None => Leaks::Lost,
            },
        };
        let confusions = sections::confusions::section(&data, &pictures);
        let data = sections::subspaces::SubspaceData {
            answers,
            catalogue,
            masks: self.masks.as_ref(),
            subspaces: self.subspaces.as_ref(),
            examples: &self.examples,
            found_by_one: self.found_by_one.len(),
            clusters: self.clusters.as_ref(),
        };
        let subspaces = sections::subspaces::section(&data, &pictures);
        let data =
            sections::shape::ShapeData { run, subject, answers, catalogue, calibration, shape: self.shape.as_ref() };
        let shape = sections::shape::section(&data);
        let queries = (answers.len() <= MOST_ROWS).then(|| queries_csv(answers, catalogue));
        if queries.is_none() {
            contents.left_out.push(format!(
                "The table of {} queries is left out; `{}` has it.",
                answers.len(),
                run.folder.path.join("queries.parquet").display()
            ));
        }
        let reproduce = sections::reproduce::section(run, &metrics_csv(run), queries.as_deref());
        let rest: Vec<Section> = rest.into_iter().collect();
        let comparison = self.comparison(groups, &pictures);

        let before = [&summary, &rounds, &training, &confusions, &subspaces, &nuisances, &shape, &reproduce];
        let text = before.into_iter().chain(&rest).chain(&comparison).map(|section| section.body.0.len());
        let text: usize = text.sum();
        let left = |more: usize| options.budget.0.saturating_sub(text + more + pictures.bytes() + FRAME);
        let data = sections::map::MapData {
            map: self.map.as_ref(),
            embedded: self.embedded.as_ref(),
            answers,
            catalogue,
            is_divided: subject.chosen().learners > 1,
            learners: &self.found_by_one,
            budget: left(0) / 2,
        };
        let (map, statement) = sections::map::section(&data);
        contents.left_out.extend(statement);
        let gallery = sections::gallery::Gallery {
            answers,
            catalogue,
            calibration,
            lists,
            learners: &self.found_by_one,
            budget: left(map.body.0.len()),
        };
        let (gallery, statement) = sections::gallery::section(&gallery, &pictures);
        contents.left_out.extend(statement);
        if let Some(embedded) = self.map.as_ref().and(self.embedded.as_ref()) {
            // Pictures on the map, as far as they fit in what is left.
            let room = left(map.body.0.len() + gallery.body.0.len()).min(options.budget.0 / 5 * 2);
            pictures.fill(&embedded.ids, room);
        }
        contents.sections.extend(comparison);
        contents.sections.extend([summary, rounds, training, gallery, confusions, subspaces, map, nuisances, shape]);
        contents.sections.extend(rest);
        contents.sections.push(reproduce);
        contents.style = pictures.style();
        Ok(())
    }
}

/// The answers of the chosen round in the first run of each group, and the flips from the first group to each other one. Empty for a
/// single group, and for runs that read different images, whose ids mean different things.
fn compared(groups: &[Vec<Evidence>], split: &str) -> Result<(Vec<Vec<Answer>>, Vec<Flips>), PagesError> {
    let images = |run: &Evidence| run.json.evaluated_images(run.chosen_node()?);
    let first: Vec<&Evidence> = groups.iter().filter_map(|runs| runs.first()).collect();
    if first.len() < 2 || first.iter().any(|run| images(run).is_none() || images(run) != images(first[0])) {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut answers = Vec::with_capacity(first.len());
    for run in first {
        let node = run.chosen_node().unwrap_or_default().to_owned();
        let place = NodeSplit { node, split: split.to_owned() };
        answers.push(answers::read(&run.folder.path, |other| *other == place)?.remove(&place).unwrap_or_default());
    }
    let flips = answers.iter().skip(1).map(|after| comparison::flips(&answers[0], after)).collect();
    Ok((answers, flips))
}

/// For each answer that only one learner finds, that learner; and some of these to show, of as many learners as possible.
fn found_by_one(
    answers: &[Answer],
    catalogue: &Catalogue,
    subspaces: Option<&Subspaces>,
) -> (BTreeMap<usize, Vec<usize>>, Vec<Example>) {
    let Some(subspaces) = subspaces else { return <_>::default() };
    let position: BTreeMap<u32, usize> = answers.iter().enumerate().rev().map(|(at, answer)| (answer.id, at)).collect();
    let found = subspaces.found_by_one(|id| catalogue.label(id));
    let mut examples: Vec<Example> = found
        .iter()
        .filter_map(|(&query, &learner)| {
            let answer = *position.get(&subspaces.queries[query])?;
            Some(Example { answer, query, learner })
        })
        .collect();
    let by_answer = examples.iter().map(|example| (example.answer, vec![example.learner])).collect();
    // What the whole embedding gets wrong first, then the nearest; one of each learner before the second of any.
    let nearest =
        |example: &Example| subspaces.of(example.learner, example.query).1.first().copied().unwrap_or(f32::MAX);
    examples.sort_by(|a, b| {
        let right = |example: &Example| answers[example.answer].is_right();
        right(a).cmp(&right(b)).then(nearest(a).total_cmp(&nearest(b))).then(a.answer.cmp(&b.answer))
    });
    let mut rank: BTreeMap<usize, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, Example)> = Vec::new();
    for example in examples {
        let rank = rank.entry(example.learner).or_default();
        ranked.push((*rank, example));
        *rank += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    (by_answer, ranked.into_iter().take(EXAMPLES).map(|(_, example)| example).collect())
}

fn metrics_csv(run: &Evidence) -> String {
    let headings = ["run", "node", "round", "learners", "split", "metric", "k", "value"];
    let row = |row: &crate::report::metrics::Metric| {
        let k = row.k.map_or_else(String::new, |k| k.to_string());
        let numbers = [row.round.to_string(), row.learners.to_string()];
        let [round, learners] = numbers;
        vec![
            row.run.clone(),
            row.node.clone(),
            round,
            learners,
            row.split.clone(),
            row.metric.clone(),
            k,
            row.value.to_string(),
        ]
    };
    csv(&headings, run.metrics.iter().map(row))
}

fn queries_csv(answers: &[Answer], catalogue: &Catalogue) -> String {
    let headings = ["id", "class", "first_hit", "average_precision", "nearest", "distance"];
    let row = |answer: &Answer| {
        let first_hit = answer.first_hit.map_or_else(String::new, |rank| rank.to_string());
        let nearest = answer.neighbours.first().map_or_else(String::new, ToString::to_string);
        let distance = answer.distances.first().map_or_else(String::new, ToString::to_string);
        let precision = answer.average_precision.to_string();
        vec![answer.id.to_string(), catalogue.class(answer.label), first_hit, precision, nearest, distance]
    };
    csv(&headings, answers.iter().map(row))
}

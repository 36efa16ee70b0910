//! What is found about a data set, as rows of the data summary: counts, what was left out, and what is suspicious.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dnc_tables::Split;
use dnc_tables::skipped::SkippedRow;
use dnc_tables::summary::{Subject, SummaryRow};

use super::entry::{Entry, ExpectedCount};
use super::image_table::WrittenImage;
use super::listing::{PassedOver, describe};

/// Files that a row names besides the first.
const MOST_NAMED: usize = 10;

/// The rows of a data summary, while it is being made.
pub(super) struct Findings<'a> {
    images: &'a [WrittenImage<'a>],
    classes: &'a [String],
    rows: Vec<SummaryRow>,
}

/// Side of a data set: what is learned from must not be evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Training,
    Validation,
    Evaluation,
}

impl Side {
    fn of(split: Split) -> Self {
        match split {
            Split::Train => Side::Training,
            Split::Validation => Side::Validation,
            Split::Test | Split::Query | Split::Gallery => Side::Evaluation,
        }
    }
}

/// The summary of these images, which the classes `classes` have.
pub(super) fn findings(
    images: &[WrittenImage<'_>],
    classes: &[String],
    skipped: &[SkippedRow],
    passed_over: &[PassedOver],
    published: Vec<SummaryRow>,
) -> Vec<SummaryRow> {
    let mut findings = Findings { images, classes, rows: Vec::new() };
    findings.count();
    findings.list_skipped(skipped);
    findings.list_passed_over(passed_over);
    findings.compare_pictures();
    findings.compare_classes();
    findings.look_for_matches();
    findings.check_cameras();
    findings.rows.extend(published);
    findings.rows
}

/// The splits whose numbers of images and classes are not those of a complete copy.
pub(super) fn compare_with_published(entries: &[Entry], expected: &[ExpectedCount]) -> Vec<SummaryRow> {
    let mut rows = Vec::new();
    for expected in expected {
        let of_split = || entries.iter().filter(|entry| entry.split == Some(expected.split));
        let classes = of_split().map(|entry| entry.class).collect::<BTreeSet<_>>().len();
        let images = of_split().count();
        if (images, classes) != (expected.images, expected.classes) {
            let message = format!(
                "{} has {images} images of {classes} classes, but a complete copy has {} images of {} classes",
                expected.split, expected.images, expected.classes
            );
            let row = SummaryRow::warning(Subject::Published, images, message);
            rows.push(SummaryRow { split: Some(expected.split), ..row });
        }
    }
    rows
}

impl Findings<'_> {
    fn split(image: &WrittenImage<'_>) -> Split {
        image.entry.split.expect("the split rule assigned one to every entry")
    }

    fn warn(&mut self, subject: Subject, count: usize, message: String) {
        self.rows.push(SummaryRow::warning(subject, count, message));
    }

    /// `a/1.png (train, class a)`.
    fn described(&self, image: &WrittenImage<'_>) -> String {
        format!("`{}` ({}, class `{}`)", image.entry.source, Self::split(image), self.classes[image.entry.class])
    }

    fn count(&mut self) {
        let mut counts: BTreeMap<Split, BTreeMap<usize, usize>> = BTreeMap::new();
        for image in self.images {
            *counts.entry(Self::split(image)).or_default().entry(image.entry.class).or_default() += 1;
        }
        for (&split, classes) in &counts {
            let of_split = |subject, count| SummaryRow { split: Some(split), ..SummaryRow::new(subject, count) };
            self.rows.push(of_split(Subject::Split, classes.values().sum()));
            self.rows.push(of_split(Subject::Classes, classes.len()));
        }
        for (&split, classes) in &counts {
            for (&class, &count) in classes {
                let class = Some(self.classes[class].clone());
                self.rows.push(SummaryRow { split: Some(split), class, ..SummaryRow::new(Subject::Class, count) });
            }
        }
        let classes_of = |split| counts.get(&split).map_or(0, BTreeMap::len);
        let searched = [(Split::Test, classes_of(Split::Test)), (Split::Query, classes_of(Split::Gallery))];
        for (split, classes) in searched {
            if classes == 1 && classes_of(split) > 0 {
                let message =
                    format!("{split} is searched among images of a single class, so that every model is always right");
                self.warn(Subject::Degenerate, 1, message);
            }
        }
        if classes_of(Split::Query) > 0 && classes_of(Split::Gallery) == 0 {
            let message = "there are images in the split query but none in the split gallery to search".to_owned();
            self.warn(Subject::Degenerate, 0, message);
        }
    }

    fn list_skipped(&mut self, skipped: &[SkippedRow]) {
        let Some(first) = skipped.first() else { return };
        let of = self.images.len() + skipped.len();
        let message = format!(
            "{} of {of} images were skipped; the first is `{}`, which {}",
            skipped.len(),
            first.source,
            first.reason
        );
        self.warn(Subject::Skipped, skipped.len(), message);
        for SkippedRow { source, reason } in skipped {
            let (source, message) = (Some(source.clone()), Some(reason.clone()));
            self.rows.push(SummaryRow { source, message, ..SummaryRow::new(Subject::Skipped, 1) });
        }
    }

    fn list_passed_over(&mut self, passed_over: &[PassedOver]) {
        if let Some(message) = describe(passed_over) {
            let count = passed_over.iter().filter(|stray| !stray.is_usual).count();
            self.warn(Subject::PassedOver, count, message);
        }
        for PassedOver { source, reason, .. } in passed_over {
            let (source, message) = (Some(source.clone()), Some((*reason).to_owned()));
            self.rows.push(SummaryRow { source, message, ..SummaryRow::new(Subject::PassedOver, 1) });
        }
    }

    /// Looks for pictures that occur more than once.
    fn compare_pictures(&mut self) {
        let mut positions: HashMap<_, Vec<usize>> = HashMap::new();
        for (position, image) in self.images.iter().enumerate() {
            positions.entry(image.pixels).or_default().push(position);
        }
        let mut groups: Vec<Vec<usize>> = positions.into_values().filter(|group| group.len() > 1).collect();
        groups.sort_unstable();
        let mut found: BTreeMap<Subject, Vec<Vec<usize>>> = BTreeMap::new();
        for group in groups {
            let images = || group.iter().map(|&position| &self.images[position]);
            let has_several_sides =
                images().map(|image| Side::of(Self::split(image))).collect::<BTreeSet<_>>().len() > 1;
            let has_several_classes = images().map(|image| image.entry.class).collect::<BTreeSet<_>>().len() > 1;
            let subjects = [(Subject::Leak, has_several_sides), (Subject::Conflict, has_several_classes)];
            for (subject, _) in subjects.into_iter().filter(|(_, applies)| *applies) {
                found.entry(subject).or_default().push(group.clone());
            }
            if !has_several_sides && !has_several_classes {
                found.entry(Subject::Duplicate).or_default().push(group);
            }
        }
        for (subject, groups) in found {
            self.report_pictures(subject, &groups);
        }
    }

    fn report_pictures(&mut self, subject: Subject, groups: &[Vec<usize>]) {
        let first = |group: &[usize]| self.images[group[0]];
        // The first image of the group that differs from its first in what the subject is about.
        let second = |group: &[usize]| {
            let first = first(group);
            let differs = |image: &WrittenImage<'_>| match subject {
                Subject::Leak => Side::of(Self::split(image)) != Side::of(Self::split(&first)),
                Subject::Conflict => image.entry.class != first.entry.class,
                _ => true,
            };
            group[1..].iter().map(|&position| self.images[position]).find(differs).unwrap_or(first)
        };
        let example = format!("{} and {}", self.described(&first(&groups[0])), self.described(&second(&groups[0])));
        let (count, pictures) = match groups.len() {
            1 => (1, "1 picture is".to_owned()),
            several => (several, format!("{several} pictures are")),
        };
        let message = match subject {
            Subject::Leak => format!(
                "{pictures} in training and in evaluation alike, as {example}: what is learned from must not be evaluated on"
            ),
            Subject::Conflict => format!("{pictures} in several classes, as {example}"),
            _ => format!("{pictures} there more than once, as {example}"),
        };
        let rows: Vec<SummaryRow> = groups
            .iter()
            .map(|group| {
                let others = group[1..].iter().map(|&position| self.described(&self.images[position]));
                let mut named = others.take(MOST_NAMED).collect::<Vec<_>>().join(", ");
                if group.len() > MOST_NAMED + 1 {
                    named += &format!(" and {} more", group.len() - MOST_NAMED - 1);
                }
                let first = first(group);
                let (source, message) = (Some(first.entry.source.clone()), Some(format!("the same as {named}")));
                let class = Some(self.classes[first.entry.class].clone());
                let split = Some(Self::split(&first));
                SummaryRow { split, class, source, message, ..SummaryRow::new(subject, group.len()) }
            })
            .collect();
        self.warn(subject, count, message);
        self.rows.extend(rows);
    }

    /// Looks for classes on several sides, and for classes that are probably one.
    fn compare_classes(&mut self) {
        let mut sides: BTreeMap<usize, BTreeMap<Side, usize>> = BTreeMap::new();
        for image in self.images {
            *sides.entry(image.entry.class).or_default().entry(Side::of(Self::split(image))).or_default() += 1;
        }
        let shared: Vec<(usize, usize)> = sides
            .iter()
            .filter(|(_, sides)| sides.len() > 1)
            .map(|(&class, sides)| (class, sides.values().sum()))
            .collect();
        if let Some((first, _)) = shared.first() {
            let message = format!(
                "{} of {} classes are in training and in evaluation alike, as `{}`: metrics on them do not measure how well the \
                 embedding serves new classes",
                shared.len(),
                sides.len(),
                self.classes[*first]
            );
            self.warn(Subject::SharedClass, shared.len(), message);
        }
        for (class, count) in shared {
            let class = Some(self.classes[class].clone());
            self.rows.push(SummaryRow { class, ..SummaryRow::new(Subject::SharedClass, count) });
        }
        let mut similar: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for &class in sides.keys() {
            let name = self.classes[class].as_str();
            similar.entry(name.trim().to_lowercase()).or_default().insert(name);
        }
        let similar: Vec<Vec<String>> = similar
            .into_values()
            .filter(|names| names.len() > 1)
            .map(|names| names.into_iter().map(|name| format!("`{name}`")).collect())
            .collect();
        if let Some(first) = similar.first() {
            let message = format!("the classes {} differ only in case or outer blanks", first.join(" and "));
            self.warn(Subject::SimilarClasses, similar.len(), message);
        }
        for names in similar {
            let message = Some(names.join(", "));
            self.rows.push(SummaryRow { message, ..SummaryRow::new(Subject::SimilarClasses, names.len()) });
        }
    }

    /// Counts the queries for which nothing of their class can be found.
    fn look_for_matches(&mut self) {
        for split in [Split::Validation, Split::Test, Split::Query] {
            let unmatched = unmatched(self.images, split);
            let queries = self.images.iter().filter(|image| Self::split(image) == split).count();
            let Some(&first) = unmatched.first() else { continue };
            let message = format!(
                "{} of {queries} queries in {split} have no image of their class to find, as {}; they are left out of the metrics",
                unmatched.len(),
                self.described(&first)
            );
            self.rows.push(SummaryRow {
                split: Some(split),
                ..SummaryRow::warning(Subject::Unmatched, unmatched.len(), message)
            });
            let mut classes: BTreeMap<usize, (usize, &str)> = BTreeMap::new();
            for image in &unmatched {
                classes.entry(image.entry.class).or_insert((0, image.entry.source.as_str())).0 += 1;
            }
            for (class, (count, source)) in classes {
                let (class, source) = (Some(self.classes[class].clone()), Some(source.to_owned()));
                let row = SummaryRow::new(Subject::Unmatched, count);
                self.rows.push(SummaryRow { split: Some(split), class, source, ..row });
            }
        }
    }

    fn check_cameras(&mut self) {
        let evaluated = || self.images.iter().filter(|image| Side::of(Self::split(image)) == Side::Evaluation);
        let without = || evaluated().filter(|image| image.entry.camera.is_none());
        let (count, all) = (without().count(), evaluated().count());
        let Some(&first) = without().next().filter(|_| count < all) else { return };
        let message = format!(
            "{count} of {all} images for evaluation have no camera, as {}; they count as seen by a camera of their own",
            self.described(&first)
        );
        self.warn(Subject::NoCamera, count, message);
    }
}

/// The images of a split for which there is no other image of their class to find: among the images of the split or, for queries,
/// in the gallery, and under another camera where images have cameras.
pub(super) fn unmatched<'a>(images: &[WrittenImage<'a>], split: Split) -> Vec<WrittenImage<'a>> {
    let of = |wanted: Split| images.iter().filter(move |image| image.entry.split == Some(wanted));
    let gallery = if split == Split::Query { Split::Gallery } else { split };
    let mut classes: HashMap<usize, usize> = HashMap::new();
    let mut cameras: HashMap<(usize, u16), usize> = HashMap::new();
    for WrittenImage { entry, .. } in of(gallery) {
        *classes.entry(entry.class).or_default() += 1;
        if let Some(camera) = entry.camera {
            *cameras.entry((entry.class, camera)).or_default() += 1;
        }
    }
    let matches = |entry: &Entry| {
        let all = classes.get(&entry.class).copied().unwrap_or(0);
        let ignored = match entry.camera {
            Some(camera) => cameras.get(&(entry.class, camera)).copied().unwrap_or(0),
            None => usize::from(gallery == split),
        };
        all - ignored
    };
    of(split).filter(|image| matches(image.entry) == 0).copied().collect()
}

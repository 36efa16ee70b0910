//! Checks that a stage that needs a metric, such as `choose`, reads it from a stage that may measure it, on images that may exist.

use dnc_stages::ArtifactKind;
use dnc_stages::api::{Job, Measure, Ports, WantedMetric};

use super::checked::Connection;
use super::diagnostic::{Diagnostic, Span};
use super::raw::RawStage;
use super::{params, suggest};

/// The metric that a stage needs, with the spans of the parameters that name it.
pub(super) struct Wanted {
    metric: WantedMetric,
    metric_span: Span,
    split_span: Span,
}

impl Wanted {
    /// The metric that `job`, the parsed `stage`, needs.
    pub(super) fn of(job: &dyn Job, stage: &RawStage<'_>) -> Option<Self> {
        let metric = job.wanted_metric()?;
        let [metric_span, split_span] = ["metric", "split"].map(|param| params::span_of(stage, param));
        Some(Self { metric, metric_span, split_span })
    }
}

/// A stage as one that may measure metrics, need one, or both.
pub(super) struct MetricUse<'a> {
    pub(super) job: &'a dyn Job,
    pub(super) ports: &'a Ports,
    /// What each port reads; empty if that is not known.
    pub(super) connections: &'a [Connection],
    pub(super) wanted: Option<&'a Wanted>,
}

impl MetricUse<'_> {
    /// The stages whose artifacts of `kind` it reads, as indices.
    fn read_stages(&self, kind: ArtifactKind) -> Vec<usize> {
        let tables = self.ports.inputs.iter().zip(self.connections);
        let tables = tables.filter(|(port, _)| port.kind == kind);
        let references = tables.flat_map(|(_, connection)| connection.feeds.iter().flatten());
        let mut stages: Vec<usize> = references.map(|reference| reference.stage).collect();
        stages.sort_unstable();
        stages.dedup();
        stages
    }
}

/// Checks each stage that needs a metric. Nothing is expected of stages whose metrics are known only with their results, such as
/// `command`.
pub(super) fn check(stages: &[RawStage<'_>], uses: &[Option<MetricUse<'_>>], problems: &mut Vec<Diagnostic>) {
    for (reader, used) in stages.iter().zip(uses) {
        let Some((used, wanted)) = used.as_ref().and_then(|used| Some((used, used.wanted?))) else { continue };
        for index in used.read_stages(ArtifactKind::Metrics) {
            let Some(writer) = &uses[index] else { continue };
            let Some(measures) = writer.job.measures(wanted.metric.split) else { continue };
            if !wanted.metric.is_among(&measures) {
                problems.push(not_measured(&stages[index], reader, wanted, &measures));
                continue;
            }
            let images = writer.read_stages(ArtifactKind::Images);
            let without = |index: &&usize| {
                uses[**index].as_ref().is_some_and(|images| !images.job.may_assign(wanted.metric.split))
            };
            if let Some(&images) = images.iter().find(without) {
                problems.push(not_assigned(&stages[images], reader, wanted));
            }
        }
    }
}

fn not_assigned(images: &RawStage<'_>, reader: &RawStage<'_>, wanted: &Wanted) -> Diagnostic {
    let (images, reader, split) = (images.name.get_ref(), reader.name.get_ref(), wanted.metric.split);
    let title = format!("`{images}` puts no image into the split `{split}`, on which `{reader}` compares models");
    let hint =
        format!("Add `split = {{ {split} = 0.1 }}` to `{images}`, which holds out a tenth of the training classes.");
    Diagnostic::at(wanted.split_span.clone(), title).hint(hint)
}

fn not_measured(writer: &RawStage<'_>, reader: &RawStage<'_>, wanted: &Wanted, measures: &[Measure]) -> Diagnostic {
    let (writer, reader) = (writer.name.get_ref(), reader.name.get_ref());
    let split = wanted.metric.split;
    if measures.is_empty() {
        let title = format!("`{writer}` does not evaluate the split `{split}`, on which `{reader}` compares models");
        let hint = format!("Add `{split}` to the `splits` of `{writer}`, or let `{reader}` compare on another split.");
        return Diagnostic::at(wanted.split_span.clone(), title).hint(hint);
    }
    let label = wanted.metric.label();
    let labels: Vec<String> = measures.iter().flat_map(Measure::labels).collect();
    let names = || labels.iter().map(String::as_str);
    let near = suggest::did_you_mean(&label, names()).map_or_else(String::new, |near| near + " ");
    let title = format!("`{writer}` does not measure `{label}`, by which `{reader}` compares models");
    let hint = format!("{near}It may measure {}. The number after `@` is `k`.", suggest::all_of(names()));
    Diagnostic::at(wanted.metric_span.clone(), title).hint(hint)
}

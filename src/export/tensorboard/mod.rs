//! A folder of logs for TensorBoard: metrics by round, training curves, precision-recall curves, and the projector.
//!
//! **Reading order** `scalars`, `curves` and `projector`, what is shown; `events`, the messages; `records`, the file format.

mod curves;
mod events;
mod projector;
mod records;
mod scalars;

use std::path::Path;

use super::error::ExportError;
use super::subject::Subject;
use super::{Written, files};
use crate::pages::evidence::Catalogue;
use events::Event;

/// Writes the folder.
pub(super) fn write(subject: &Subject, folder: &Path) -> Result<Written, ExportError> {
    let embedded = subject.embedded()?;
    let catalogue = Catalogue::read(&subject.evidence, &[])?;
    // The moments of a run are not known for each step, and the same run gives the same bytes.
    let moment = subject.evidence.json.started as f64;
    let values = scalars::scalars(&subject.evidence)?;
    let scalars = values.len();
    let mut events: Vec<Event> = vec![Event::version(moment)];
    events.extend(values.into_iter().map(|value| Event::scalar(moment, value.step, value.tag, value.value)));
    let step = subject.evidence.subject.as_ref().map_or(0, |subject| subject.chosen().round.max(0).into());
    for (split, curve) in curves::curves(&embedded) {
        events.push(Event::curve(moment, step, format!("pairs/{split}"), &curve));
    }
    let name = format!("events.out.tfevents.{}.dnc-run", subject.evidence.json.started);
    // TensorBoard would show the curves of both as one run.
    files::remove(folder, |name| name.starts_with("events.out.tfevents.") && name.ends_with(".dnc-run"))?;
    files::write(&folder.join(name), records::records(&events))?;
    let points = projector::write(subject, &embedded, &catalogue, folder)?;
    files::write(&folder.join("README.md"), README)?;
    let what = format!("{points} embeddings of `{}`", embedded.node);
    Ok(Written { what, details: format!("{scalars} scalars"), card: None })
}

const README: &str = "# Logs exported by `dnc-run`\n\n```sh\ntensorboard --logdir .\n```\n\n\
- **Scalars.** Metrics by round, and each term of the training by step; `train@1[2]` is learner 2 of round 1.\n\
- **PR curves.** Are two images of the same class? A pair counts as alike if `(1 + cosine) / 2` is at least the threshold.\n\
- **Projector.** Up to 10,000 embeddings with their classes and pictures.\n";

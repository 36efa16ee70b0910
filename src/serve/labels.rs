//! Corrected labels: `labels.csv` in the folder of the run, which the parameter `corrections` of `decode` reads.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use dnc_serve::Refusal;
use dnc_serve::answers::{Label, Labels};
use dnc_stages::decode::corrections::{self, Correction};

use crate::error_chain::error_chain;
use crate::report::run_folder::RunFolder;
use crate::search::Hit;
use crate::sync::lock;

/// The file in the folder of a run.
pub(super) const FILE: &str = "labels.csv";
/// Longest name of a class in bytes.
const LONGEST: usize = 200;

/// Corrects labels, one at a time.
#[derive(Default)]
pub(super) struct Corrector {
    writing: Mutex<()>,
}

impl Corrector {
    /// Corrects the label of one of the searched `images`; without a class, takes the correction back. Its source must name no other
    /// image, since corrections are read by source.
    pub(super) fn correct(
        &self,
        folder: &RunFolder,
        image: &Hit,
        images: &[Hit],
        class: Option<&str>,
    ) -> Result<Labels, Refusal> {
        let same = images.iter().filter(|other| other.source == image.source).count();
        if same > 1 {
            let message = format!(
                "{same} images have `{}` as their source, by which corrections name an image; give each image a source of its own \
                 to correct its label",
                image.source
            );
            return Err(Refusal::Invalid(message));
        }
        if class.is_some_and(|class| class.len() > LONGEST || class.chars().any(char::is_control)) {
            let message = format!("A class has at most {LONGEST} bytes and no control characters");
            return Err(Refusal::Invalid(message));
        }
        let writing = lock(&self.writing);
        let mut all = read(folder)?;
        all.retain(|known| known.source != image.source);
        // A label that is right is no correction.
        if let Some(class) = class.filter(|class| *class != image.class && class.trim() != image.class) {
            let (source, was) = (image.source.clone(), image.class.clone());
            all.push(Correction { source, class: class.trim().to_owned(), was, id: image.id });
        }
        let text = corrections::to_csv(&all);
        let written = folder.replace(FILE, |mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Refusal::Failed(format!("Cannot write `{FILE}` of the run: {error}")))?;
        drop(writing);
        Ok(answer(folder, all))
    }
}

/// The corrections of a run.
pub(super) fn labels(folder: &RunFolder) -> Result<Labels, Refusal> {
    Ok(answer(folder, read(folder)?))
}

fn read(folder: &RunFolder) -> Result<Vec<Correction>, Refusal> {
    let path: PathBuf = folder.path.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    corrections::read(&path).map_err(|error| Refusal::Failed(error_chain(&error)))
}

fn answer(folder: &RunFolder, all: Vec<Correction>) -> Labels {
    let label = |Correction { source, class, was, id }: Correction| Label { id, source, was, class };
    Labels { run: folder.id(), labels: all.into_iter().map(label).collect() }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    #[test]
    fn a_label_that_is_right_takes_a_correction_back_whatever_is_around_it() {
        let runs = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(runs.path(), "run").unwrap();
        let image =
            Hit { id: 3, class: "cat".to_owned(), distance: 0., share_right: None, source: "cats/3.png".to_owned() };
        let corrector = Corrector::default();
        let corrected =
            |class| corrector.correct(&folder, &image, slice::from_ref(&image), Some(class)).unwrap().labels;
        assert_eq!(corrected(" dog ").iter().map(|label| label.class.as_str()).collect::<Vec<_>>(), ["dog"]);
        assert!(corrected(" cat ").is_empty());
        assert_eq!(corrected(" ").iter().map(|label| label.class.as_str()).collect::<Vec<_>>(), [""]);
        assert!(corrected("cat").is_empty());
    }

    #[test]
    fn only_an_image_with_a_source_of_its_own_is_corrected() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder { name: "sop".to_owned(), number: 1, path: folder.path().to_owned() };
        let hit = |id, source: &str| Hit {
            id,
            class: "cat".to_owned(),
            distance: 0.0,
            share_right: None,
            source: source.to_owned(),
        };
        let images = [hit(1, "alone"), hit(2, "shared"), hit(3, "shared")];
        let corrector = Corrector::default();
        let correct = |at: usize| corrector.correct(&run, &images[at], &images, Some("dog"));
        assert!(correct(0).is_ok_and(|labels| labels.labels[0].class == "dog"));
        assert!(matches!(correct(1), Err(Refusal::Invalid(message)) if message.starts_with("2 images have `shared`")));
        assert_eq!(labels(&run).map(|found| found.labels.len()), Ok(1));
    }
}

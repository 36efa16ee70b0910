//! What nuisances look like: images, unchanged and changed as `evaluate` changed them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use dnc_learn::streams::Streams;
use dnc_stages::ArtifactKind;
use dnc_stages::api::Columns;
use dnc_stages::tables::images::Images;
use dnc_stages::tables::pictures::Square;
use dnc_stages::tables::pictures::nuisance::{Changes, Nuisance};
use dnc_stages::tables::pictures::resize;
use serde_json::{Value, json};

use crate::pages::derived::Derivation;
use crate::pages::error::PagesError;
use crate::pages::evidence::Evidence;
use crate::pages::thumbnails::encode;

const SIDE: usize = 96;
/// Name of the unchanged pictures.
pub const UNCHANGED: &str = "unchanged";

/// Pictures as JPEG, by name of the nuisance and image.
pub type Examples = BTreeMap<(String, u32), Vec<u8>>;

/// The `wanted` images under nuisances; empty if the pixels are no longer in the store.
///
/// # Errors
/// The store cannot be read or written, or a table is damaged.
pub fn examples(evidence: &Evidence, wanted: &BTreeSet<(String, u32)>) -> Result<Examples, PagesError> {
    let Some((node, output)) = evidence.images() else { return Ok(Examples::new()) };
    let artifact = evidence.artifact(&node, &output)?;
    let Some((store, artifact)) = evidence.store().zip(artifact) else { return Ok(Examples::new()) };
    if wanted.is_empty() {
        return Ok(Examples::new());
    }
    let names = ["id", "height", "width", "pixels"];
    let derivation = Derivation {
        name: "nuisance_examples",
        version: 2,
        params: json!({ "side": SIDE, "wanted": wanted, "seed": evidence.seed }),
        inputs: &[("images", &artifact, &names)],
        has_arithmetic: true,
    };
    let mut lost = false;
    let files = derivation.files(store, |folder| {
        let columns = Columns::Named(names.map(str::to_owned).to_vec());
        let Some(artifact) = evidence.open(&node, &output, ArtifactKind::Images, columns, |_| true)? else {
            lost = true;
            return Err(PagesError::deriving("nuisances")("the pixels are no longer in the store"));
        };
        let images = Images::open(&artifact)?;
        let pixels = images.pixels()?;
        // As in `evaluate`, so that each image is changed in the same way.
        let streams = Streams::new(evidence.seed as u64).named("evaluate");
        for (name, id) in wanted {
            let Some(row) = images.row(*id) else { continue };
            let mut square = vec![0; SIDE * SIDE * 3];
            resize::centre(pixels.of(row), SIDE, SIDE, &mut square);
            if let Ok(nuisance) = serde_json::from_value::<Nuisance>(Value::from(name.as_str())) {
                Changes::new(nuisance, &streams).apply(*id, &mut Square { side: SIDE, pixels: &mut square });
            }
            let picture = dnc_stages::tables::pictures::Picture { height: SIDE, width: SIDE, pixels: &square };
            let jpeg = encode(picture).map_err(PagesError::deriving("nuisances"))?;
            let path = folder.join(format!("{name}.{id}"));
            fs::write(&path, jpeg).map_err(|source| PagesError::Write { path, source })?;
        }
        Ok(())
    });
    let files = match files {
        Err(_) if lost => return Ok(Examples::new()),
        other => other?,
    };
    let mut examples = Examples::new();
    for file in files {
        let named = file.name.split_once('.').and_then(|(name, id)| Some((name.to_owned(), id.parse().ok()?)));
        let Some(named) = named else { continue };
        let jpeg = fs::read(&file.path).map_err(|source| PagesError::Read { path: file.path, source })?;
        examples.insert(named, jpeg);
    }
    Ok(examples)
}

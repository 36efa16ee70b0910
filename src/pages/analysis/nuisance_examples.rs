//! What nuisances look like: images, unchanged and changed as `evaluate` changed them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use dnc_learn::streams::Streams;
use dnc_stages::tables::pictures::Square;
use dnc_stages::tables::pictures::nuisance::{Changes, Nuisance};
use dnc_stages::tables::pictures::resize;
use serde_json::{Value, json};

use crate::pages::derived::OfImages;
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
    if wanted.is_empty() {
        return Ok(Examples::new());
    }
    let derivation = OfImages {
        name: "nuisance_examples",
        version: 2,
        params: json!({ "side": SIDE, "wanted": wanted, "seed": evidence.seed }),
        columns: &["id", "height", "width", "pixels"],
        has_arithmetic: true,
    };
    let files = derivation.files(evidence, |images, folder| {
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
    })?;
    let mut examples = Examples::new();
    for file in files.unwrap_or_default() {
        let named = file.name.split_once('.').and_then(|(name, id)| Some((name.to_owned(), id.parse().ok()?)));
        let Some(named) = named else { continue };
        let jpeg = fs::read(&file.path).map_err(|source| PagesError::Read { path: file.path, source })?;
        examples.insert(named, jpeg);
    }
    Ok(examples)
}

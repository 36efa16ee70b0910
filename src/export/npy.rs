//! Embeddings as NumPy arrays, for faiss and scikit-learn.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::error::ExportError;
use super::npy_file::npy;
use super::subject::Subject;
use super::{Written, files};
use crate::pages::evidence::Catalogue;

/// Writes the folder.
pub(super) fn write(subject: &Subject, folder: &Path) -> Result<Written, ExportError> {
    let embedded = subject.embedded()?;
    let catalogue = Catalogue::read(&subject.evidence, &[])?;
    let rows = embedded.ids.len();
    let wide = |numbers: &[u32]| numbers.iter().map(|&number| i64::from(number)).collect::<Vec<i64>>();
    files::write(&folder.join("embeddings.npy"), npy(&[rows, embedded.dim], &embedded.vectors))?;
    files::write(&folder.join("labels.npy"), npy(&[rows], &wide(&embedded.labels)))?;
    files::write(&folder.join("ids.npy"), npy(&[rows], &wide(&embedded.ids)))?;
    let classes: BTreeMap<u32, String> = embedded.labels.iter().map(|&label| (label, catalogue.class(label))).collect();
    let splits: Vec<&str> = embedded.splits.iter().map(|split| split.name()).collect();
    let sources: Vec<&str> = embedded.ids.iter().map(|&id| catalogue.source(id)).collect();
    for (name, value) in
        [("classes.json", json!(classes)), ("rows.json", json!({ "split": splits, "source": sources }))]
    {
        files::write(&folder.join(name), value.to_string() + "\n")?;
    }
    let what = format!("{rows} embeddings of `{}`", embedded.node);
    Ok(Written { what, details: format!("{} dimensions", embedded.dim), card: None })
}

//! Reading manifests, and the messages about invalid ones.

mod overrides;
mod params;
mod reading;
mod references;
mod round_trip;
mod rounds;
mod stages;
mod syntax;
mod wiring;

use std::fs;
use std::path::PathBuf;

pub(super) use stages::KINDS;

use super::overrides::Override;
use super::{Diagnostics, Manifest, ReadOptions};

/// A valid pipeline.
pub(super) const PIPELINE: &str = r#"
name = "emoji"

[rounds]
learners = [1, 2, 4, 4]

[stage.decode]
root = "images"

[stage.init]
dimension = 64

[stage.embed]
per = "round"
in = { images = "decode", model = "merge@previous or init" }

[stage.cluster]
per = "round"
in = { embeddings = "embed", previous = "cluster@previous" }

[stage.train]
per = "learner"
in = { images = "decode", clusters = "cluster", model = "merge@previous or init" }
loss = { kind = "margin", margin = 0.3 }

[stage.merge]
per = "round"
in = { learners = "train" }

[stage.evaluate]
in = { images = "decode", model = "merge" }
recall = [1, 10]
"#;

/// The inputs of `embed` in [`PIPELINE`].
const EMBED: &str = r#"in = { images = "decode", model = "merge@previous or init" }"#;
/// The inputs of `evaluate` in [`PIPELINE`].
const EVALUATE: &str = r#"in = { images = "decode", model = "merge" }"#;

fn options(overrides: &[Override]) -> ReadOptions<'_> {
    ReadOptions { stages: KINDS, check_sources: false, overrides }
}

fn read(text: &str, sets: &[&str]) -> Result<Manifest, Diagnostics> {
    let overrides: Vec<Override> = sets.iter().map(|set| Override::set(set)).collect::<Result<_, _>>()?;
    Manifest::parse("m.toml", text.to_owned(), PathBuf::new(), options(&overrides))
}

/// The complete message about an invalid manifest.
fn refused(text: &str) -> String {
    read(text, &[]).err().expect("the manifest is invalid").to_string()
}

/// The complete message about [`PIPELINE`] with `before` replaced by `after`.
fn changed(before: &str, after: &str) -> String {
    assert_eq!(PIPELINE.matches(before).count(), 1, "`{before}` occurs once in the pipeline");
    refused(&PIPELINE.replace(before, after))
}

/// The complete message about the file called `name` in a folder with a few manifests.
fn refused_file(name: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let decode = |root: &str| format!("name = \"x\"\n\n[stage.decode]\nroot = \"{root}\"\n");
    let write =
        |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("the folder can be written to");
    write("sop.toml", decode("images").as_bytes());
    write("near.toml", decode("image").as_bytes());
    write("far.toml", decode("/no/such/folder").as_bytes());
    write("latin-1.toml", b"name = \"caf\xe9\"\n");
    for empty in ["images", "empty"] {
        fs::create_dir(folder.path().join(empty)).expect("the folder can be written to");
    }
    let options = ReadOptions { check_sources: true, ..options(&[]) };
    let refused = Manifest::load(&folder.path().join(name), options).err().expect("the manifest is invalid");
    refused.to_string().replace(&folder.path().display().to_string(), "DIR")
}

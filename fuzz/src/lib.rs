//! What the fuzz targets share: a folder in memory for those readers that take a file, and the listing of a data set.
//!
//! A target must neither panic nor hang nor use much memory, whatever its input is. The reader's answer, an error included, does not
//! matter here: `scripts/campaigns/fuzz.py` and the tests check what the program says and does.

use std::fs;
use std::path::Path;

use dnc_stages::decode::data_folder::DataFolder;
use dnc_stages::decode::datasets::DatasetConfig;
use dnc_tables::pictures::Limits;
use tempfile::TempDir;

/// Limits of pictures, low enough that a small file cannot take long.
pub const LIMITS: Limits = Limits { pixels: 1 << 20, bytes: 1 << 20 };
/// Number of images of a data set whose bytes are fetched.
const FETCHED: usize = 64;

thread_local! {
    static FOLDER: TempDir = folder();
}

/// A new folder, in memory where the system has such a place.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("dnc-fuzz").tempdir_in(parent).expect("a folder can be made")
}

/// Calls `body` with the path of a file that holds `bytes`.
pub fn with_file(name: &str, bytes: &[u8], body: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("the folder can be written to");
        body(&path);
    });
}

/// Lists the data set in `root`, and fetches and decodes its first images.
pub fn list(dataset: &DatasetConfig, root: &Path) {
    let Ok(mut listing) = dataset.list(&DataFolder::new(root, &[])) else { return };
    listing.entries.truncate(FETCHED);
    for entry in &listing.entries {
        let _ = listing.reader.name(entry);
    }
    if let Ok(images) = listing.reader.fetch(&listing.entries) {
        for image in images {
            let _ = image.decode([255; 3], LIMITS, Vec::new());
        }
    }
}

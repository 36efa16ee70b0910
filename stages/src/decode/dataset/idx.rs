//! IDX: the four files of MNIST, Fashion-MNIST, KMNIST and their relatives, compressed with gzip or not.
//!
//! Source: the format's description on the page of MNIST: two zero bytes, the type (8 for bytes), the number of axes, the
//! length of each axis as big-endian `u32`, then the values.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Classes, Entry, Listing, Place};
use crate::decode::encoded::Encoded;
use crate::error::StageError;
use crate::tables::Split;

/// What the four files are called, images and labels.
const FILES: [(Split, &str, &str); 2] = [
    (Split::Train, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    (Split::Test, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
];

/// The most that a file may hold, so that a small compressed file cannot fill the memory.
const MOST_BYTES: u64 = 1 << 31;

/// The four files of MNIST and its relatives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Idx {
    /// Names of the classes by label; the numbers themselves where it is empty.
    pub classes: Vec<String>,
}

impl Idx {
    pub(super) fn list(&self, root: &Path) -> Result<Listing, StageError> {
        let mut classes = Classes::default();
        // Classes that have names are in the order of their labels, whichever comes first in the files.
        for name in &self.classes {
            classes.place(name);
        }
        let mut entries = Vec::new();
        let (mut pixels, mut size) = (Vec::new(), None);
        for (split, images, labels) in FILES {
            let images = Array::read(root, images, 3)?;
            let labels = Array::read(root, labels, 1)?;
            if images.lengths[0] != labels.lengths[0] {
                let (images, labels) = (images.lengths[0], labels.lengths[0]);
                let message = format!("`{}` has {images} images but {labels} labels for {split}", root.display());
                return Err(StageError::input(message));
            }
            let found = (images.lengths[1], images.lengths[2]);
            if *size.get_or_insert(found) != found {
                return Err(StageError::input(format!(
                    "The images for training and test in `{}` differ in size",
                    root.display()
                )));
            }
            for (number, &label) in labels.values.iter().enumerate() {
                let class = match self.classes.get(usize::from(label)) {
                    Some(name) => classes.place(name),
                    None if self.classes.is_empty() => classes.place(&label.to_string()),
                    None => {
                        let message = format!(
                            "Image {number} for {split} has the label {label}, for which `classes` has no name"
                        );
                        return Err(StageError::input(message));
                    }
                };
                let (source, place) = (format!("{split}/{number}"), Place::Row(entries.len()));
                entries.push(Entry { class, split: Some(split), camera: None, source, place });
            }
            pixels.extend(images.values);
        }
        let (height, width) = size.unwrap_or_default();
        let encoded = Encoded::Grey { height, width, pixels };
        Ok(Listing { entries, classes: classes.into_names(), encoded, expected: Vec::new() })
    }
}

/// An array of bytes.
struct Array {
    lengths: Vec<usize>,
    values: Vec<u8>,
}

impl Array {
    /// Reads `root/name` or `root/name.gz`, which must have `axes` axes.
    fn read(root: &Path, name: &str, axes: usize) -> Result<Self, StageError> {
        let (plain, packed) = (root.join(name), root.join(format!("{name}.gz")));
        let path = if packed.exists() && !plain.exists() { packed } else { plain };
        let raw = fs::read(&path).map_err(|source| StageError::file("read", &path, source))?;
        let mut bytes = Vec::new();
        if raw.starts_with(&[0x1f, 0x8b]) {
            let unpacked = GzDecoder::new(raw.as_slice()).take(MOST_BYTES).read_to_end(&mut bytes);
            unpacked.map_err(|source| StageError::file("unpack", &path, source))?;
        } else {
            bytes = raw;
        }
        parse(&bytes, axes).map_err(|problem| StageError::input(format!("`{}` {problem}", path.display())))
    }
}

fn parse(bytes: &[u8], axes: usize) -> Result<Array, String> {
    let (head, values) = bytes.split_at_checked(4 + 4 * axes).ok_or("is cut short")?;
    if head[..3] != [0, 0, 8] || usize::from(head[3]) != axes {
        return Err(format!("is not an IDX file of bytes with {axes} axes"));
    }
    let lengths: Vec<usize> = head[4..]
        .chunks_exact(4)
        .map(|length| u32::from_be_bytes(length.try_into().expect("chunks have four bytes")) as usize)
        .collect();
    let expected = lengths.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
    if expected != Some(values.len()) {
        let axes = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
        return Err(format!("claims {axes} bytes but holds {}", values.len()));
    }
    Ok(Array { lengths, values: values.to_vec() })
}

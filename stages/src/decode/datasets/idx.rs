//! IDX: the four files of MNIST, Fashion-MNIST, KMNIST and similar data sets, optionally compressed with gzip.
//!
//! Source: the description of the format on the page of MNIST: two zero bytes, the type (8 for bytes), the number of axes, the
//! length of each axis as big-endian `u32`, then the values.

use std::fs;
use std::io::Read;

use dnc_tables::Split;
use flate2::read::GzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use crate::decode::data_folder::DataFolder;
use crate::decode::distribution::Distribution;
use crate::decode::entry::{ClassNames, Entry};
use crate::decode::error::DecodeError;
use crate::decode::grey_images::GreyImages;
use crate::decode::listing::{Listing, Strays};

/// The names of the four files: images and labels of each split.
const FILES: [(Split, &str, &str); 2] = [
    (Split::Train, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    (Split::Test, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
];

const DISTRIBUTION: Distribution = Distribution {
    name: "Fashion-MNIST, for example,",
    page: "https://github.com/zalandoresearch/fashion-mnist",
    layout: "`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each also as `.gz`",
};

/// Maximum number of bytes after decompression, so that a small file cannot exhaust the memory.
const MOST_BYTES: u64 = 1 << 31;

/// The four files of MNIST and similar data sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Idx {
    /// Names of the classes by label. If empty, the labels themselves are the names.
    pub classes: Vec<String>,
}

impl Dataset for Idx {
    fn list(&self, root: &DataFolder) -> Result<Listing, DecodeError> {
        let mut classes = ClassNames::default();
        // Named classes are in the order of their labels, whichever comes first in the files.
        for name in &self.classes {
            classes.index(name);
        }
        let mut entries = Vec::new();
        let (mut pixels, mut size) = (Vec::new(), None);
        for (split, images, labels) in FILES {
            let images = Array::read(root, images, 3)?;
            let labels = Array::read(root, labels, 1)?;
            if images.lengths[0] != labels.lengths[0] {
                let (images, labels) = (images.lengths[0], labels.lengths[0]);
                let problem = format!("has {images} images but {labels} labels in the split {split}");
                return Err(DecodeError::format(root.path(), problem));
            }
            let found = (images.lengths[1], images.lengths[2]);
            if *size.get_or_insert(found) != found {
                return Err(DecodeError::format(root.path(), "has training and test images of different sizes"));
            }
            for (number, &label) in labels.values.iter().enumerate() {
                let class = match self.classes.get(usize::from(label)) {
                    Some(name) => classes.index(name),
                    None if self.classes.is_empty() => classes.index(&label.to_string()),
                    None => {
                        let names = self.classes.len();
                        return Err(DecodeError::UnnamedLabel { number, split, label, names });
                    }
                };
                let (source, position) = (format!("{split}/{number}"), entries.len());
                entries.push(Entry { class, split: Some(split), camera: None, source, position });
            }
            pixels.extend(images.values);
        }
        let (height, width) = size.unwrap_or_default();
        let reader = Box::new(GreyImages { height, width, pixels });
        let strays = Strays::default();
        Ok(Listing { entries, classes: classes.into_names(), reader, expected: Vec::new(), strays })
    }

    fn distribution(&self) -> Option<&'static Distribution> {
        Some(&DISTRIBUTION)
    }
}

/// An array of bytes.
struct Array {
    lengths: Vec<usize>,
    values: Vec<u8>,
}

impl Array {
    /// Reads `root/name` or `root/name.gz`, which must have this number of axes.
    fn read(root: &DataFolder, name: &str, axes: usize) -> Result<Self, DecodeError> {
        let (plain, packed) = (root.join(name), root.join(format!("{name}.gz")));
        let path = if packed.exists() && !plain.exists() { packed } else { plain };
        let raw = fs::read(&path).map_err(|source| DecodeError::file("read", &path, source))?;
        let mut bytes = Vec::new();
        if raw.starts_with(&[0x1f, 0x8b]) {
            let unpacked = GzDecoder::new(raw.as_slice()).take(MOST_BYTES).read_to_end(&mut bytes);
            unpacked.map_err(|source| DecodeError::file("decompress", &path, source))?;
        } else {
            bytes = raw;
        }
        parse(&bytes, axes).map_err(|problem| DecodeError::format(&path, problem))
    }
}

fn parse(bytes: &[u8], axes: usize) -> Result<Array, String> {
    let (head, values) = bytes.split_at_checked(4 + 4 * axes).ok_or("is truncated")?;
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
        return Err(format!("should contain {axes} bytes but contains {}", values.len()));
    }
    Ok(Array { lengths, values: values.to_vec() })
}

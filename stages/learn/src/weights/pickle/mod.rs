//! Just enough of Python's pickle to rebuild tensors, and nothing that could run code.
//!
//! A pickle is a program for a stack machine, and in Python one of its instructions calls any function by name. Here the
//! only calls that mean anything are those that rebuild a tensor or an ordered dictionary; whatever else a file wants
//! called becomes an inert [`Node::Opaque`]. Values live in one list and refer to each other by index, so that no nesting,
//! sharing or cycle in a hostile file can overflow the stack or multiply memory: each instruction adds at most one value,
//! instructions and names are bounded, and no length in the file is believed before that many bytes were seen.
//! Source: Python's `pickletools`; PyTorch's `torch/serialization.py` and `torch/_utils.py` for the calls.

mod machine;

use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::DType;

use machine::Machine;

/// Instructions that a pickle may have: a `state_dict` has about twenty a tensor.
const MOST_INSTRUCTIONS: usize = 1 << 22;

/// Bytes that a tensor's name, a storage's key or a class's name may have.
const LONGEST_NAME: usize = 256;

/// Index of a value in [`Pickle::nodes`].
pub(super) type Id = usize;

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(String),
    Storage(Rc<Storage>),
    Tensor(Rc<View>),
    None,
    /// Numbers without use here, and the results of calls that are not made.
    Opaque,
}

/// A buffer that lies beside the pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) dtype: DType,
    /// Number of elements.
    pub(super) count: usize,
    /// Bytes of an element in the file.
    pub(super) width: usize,
}

/// A tensor: a strided view of a storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) storage: Rc<Storage>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

/// Bytes that are read from the front.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    length: usize,
}

/// A problem, in words that end the sentence "Could not understand the weights file".
pub(super) type Outcome<T> = Result<T, String>;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, length: bytes.len() }
    }

    pub(super) fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (head, tail) = self
            .bytes
            .split_at_checked(count)
            .ok_or_else(|| format!("it ends within {count} bytes that begin at byte {}", self.position()))?;
        self.bytes = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take gives as many bytes as it is asked for"))
    }

    pub(super) fn position(&self) -> usize {
        self.length - self.bytes.len()
    }

    fn line(&mut self) -> Outcome<&'a str> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').ok_or("a line in it has no end")?;
        let line = self.take(end + 1)?;
        text(&line[..end])
    }
}

fn text(bytes: &[u8]) -> Outcome<&str> {
    std::str::from_utf8(bytes).map_err(|_| "a text in it is not UTF-8".to_owned())
}

impl Pickle {
    /// Runs the pickle at the front of `reader`, up to its STOP.
    pub(super) fn read(reader: &mut Reader<'_>) -> Outcome<Self> {
        let mut machine = Machine::default();
        let mut instructions = 0;
        while machine.step(reader)? {
            instructions += 1;
            if instructions > MOST_INSTRUCTIONS {
                return Err(format!("its pickle has more than {MOST_INSTRUCTIONS} instructions"));
            }
        }
        let root = machine.pop()?;
        Ok(Self { nodes: machine.nodes, root })
    }

    pub(super) fn root(&self) -> &Node {
        &self.nodes[self.root]
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// All storages that are named anywhere.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage.as_ref()),
            _ => None,
        })
    }

    /// All tensors in the dictionaries under the root, with the keys on the way joined by dots, in the file's order.
    ///
    /// A value that is reached twice is listed once: dictionaries that hold each other end that way too.
    pub(super) fn tensors(&self) -> Outcome<Vec<(String, &View)>> {
        let mut found = Vec::new();
        let mut seen = vec![false; self.nodes.len()];
        let mut open = vec![(String::new(), self.root)];
        while let Some((prefix, id)) = open.pop() {
            match self.node(id) {
                Node::Tensor(view) => found.push((prefix, view.as_ref())),
                Node::Dict(entries) if !std::mem::replace(&mut seen[id], true) => {
                    for (key, value) in entries.iter().rev() {
                        let Node::Text(key) = self.node(*key) else { continue };
                        if prefix.len() + key.len() > LONGEST_NAME {
                            return Err(format!("a name in it has more than {LONGEST_NAME} bytes"));
                        }
                        let dot = if prefix.is_empty() { "" } else { "." };
                        open.push((format!("{prefix}{dot}{key}"), *value));
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The element type of PyTorch's storage classes, and its width in the file.
fn storage_class(class: &str) -> Option<(DType, usize)> {
    Some(match class {
        "FloatStorage" => (DType::F32, 4),
        "DoubleStorage" => (DType::F64, 8),
        "HalfStorage" => (DType::F16, 2),
        "BFloat16Storage" => (DType::BF16, 2),
        "LongStorage" => (DType::I64, 8),
        "IntStorage" => (DType::I32, 4),
        "ShortStorage" => (DType::I16, 2),
        "ByteStorage" | "BoolStorage" => (DType::U8, 1),
        _ => return None,
    })
}

impl View {
    /// Number of elements.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Every element lies in the storage, and there are no more of them than it holds: a tensor that repeats elements is
    /// no weight, and its size would be bounded by nothing in the file.
    fn check(&self) -> Outcome<()> {
        let outside = || format!("a tensor of shape {:?} in it reaches beyond its storage", self.shape);
        if self.shape.len() != self.strides.len() {
            return Err(format!("a tensor in it has {} sizes and {} strides", self.shape.len(), self.strides.len()));
        }
        let count = self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if count.ok_or_else(outside)? == 0 {
            return Ok(());
        }
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?));
        if last.ok_or_else(outside)? >= self.storage.count || self.count() > self.storage.count {
            return Err(outside());
        }
        Ok(())
    }

    /// The elements in row-major order, out of the bytes of the storage.
    pub(super) fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let width = self.storage.width;
        let (count, rank) = (self.count(), self.shape.len());
        let mut bytes = Vec::with_capacity(count * width);
        let mut index = vec![0; rank];
        let mut place = self.offset;
        for _ in 0..count {
            bytes.extend_from_slice(&storage[place * width..][..width]);
            for axis in (0..rank).rev() {
                index[axis] += 1;
                place += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                place -= index[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
        bytes
    }
}

/// Puts tensors and their storages' bytes together. `total` bounds what comes out, so that thousands of views of one
/// storage cannot multiply it.
pub(super) fn assemble<B: AsRef<[u8]>>(
    pickle: &Pickle,
    storages: &BTreeMap<String, B>,
    total: usize,
) -> Outcome<Vec<super::NamedTensor>> {
    let mut left = total;
    let mut tensors = Vec::new();
    for (name, view) in pickle.tensors()? {
        let storage = storages.get(&view.storage.key).ok_or_else(|| format!("the storage of `{name}` is missing"))?;
        let storage = storage.as_ref();
        let needed = view.storage.count.checked_mul(view.storage.width);
        if needed.is_none_or(|needed| storage.len() < needed) {
            return Err(format!("the storage of `{name}` has {} bytes, too few", storage.len()));
        }
        left = left.checked_sub(view.count() * view.storage.width).ok_or_else(|| {
            format!("its tensors share storages so much that they would fill more than {total} bytes")
        })?;
        let (dtype, shape) = (view.storage.dtype, view.shape.clone());
        tensors.push(super::NamedTensor { name, dtype, shape, bytes: view.gather(storage) });
    }
    Ok(tensors)
}

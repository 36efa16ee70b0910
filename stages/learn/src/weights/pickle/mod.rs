//! Just enough of Python's pickle to rebuild tensors, and nothing that could run code.
//!
//! A pickle is a program for a stack machine, and one of Python's instructions calls any function by name. Here the only
//! calls with an effect are those that rebuild a tensor or an ordered dictionary; every other call gives an inert
//! [`Value::Opaque`]. Values live in one list and refer to each other by index, so that nesting, sharing or cycles in a
//! hostile file can neither overflow the stack nor multiply memory: each instruction adds at most one value, the number of
//! instructions and the length of names are bounded, and no length in the file is trusted before that many bytes have been
//! read.
//!
//! **Reading order** `reader`, `value`, `machine`, then [`Pickle`] and [`assemble`] here.
//! Source: Python's `pickletools`; for the calls, PyTorch's `torch/serialization.py` and `torch/_utils.py`.

mod machine;
mod reader;
mod value;

use std::collections::BTreeMap;

pub(super) use reader::Reader;
pub(super) use value::Value;

use super::named_tensor::NamedTensor;
use super::parse_result::ParseResult;
use machine::Machine;
use value::{Id, LONGEST_NAME, Storage, StridedView};

/// Maximum number of instructions of a pickle: a `state_dict` has about twenty per tensor.
const MOST_INSTRUCTIONS: usize = 1 << 22;

/// Upper bound on the bytes of all tensors, as a multiple of the file size. Tied weights share a storage, but a small file
/// whose tensors all view one storage could ask for any amount of memory.
pub(super) const MOST_SHARING: usize = 8;

/// All values that a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Runs the pickle at the front of `reader` up to its STOP instruction.
    pub(super) fn read(reader: &mut Reader<'_>) -> ParseResult<Self> {
        let mut machine = Machine::default();
        let mut instructions = 0;
        while machine.step(reader)? {
            instructions += 1;
            if instructions > MOST_INSTRUCTIONS {
                return Err(format!("its pickle has more than {MOST_INSTRUCTIONS} instructions"));
            }
        }
        let root = machine.pop()?;
        Ok(Self { values: machine.values, root })
    }

    pub(super) fn root(&self) -> &Value {
        &self.values[self.root]
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// All storages that the pickle refers to.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage.as_ref()),
            _ => None,
        })
    }

    /// All tensors in the dictionaries under the root, in the file's order, with the keys on the path joined by dots.
    ///
    /// A dictionary that is reached twice is listed once, which also ends cycles.
    pub(super) fn tensors(&self) -> ParseResult<Vec<(String, &StridedView)>> {
        let mut found = Vec::new();
        let mut seen = vec![false; self.values.len()];
        let mut open = vec![(String::new(), self.root)];
        while let Some((prefix, id)) = open.pop() {
            match self.value(id) {
                Value::Tensor(view) => found.push((prefix, view.as_ref())),
                Value::Dict(entries) if !std::mem::replace(&mut seen[id], true) => {
                    for (key, value) in entries.iter().rev() {
                        let Value::Text(key) = self.value(*key) else { continue };
                        if prefix.len() + key.len() > LONGEST_NAME {
                            return Err(format!("one of its names has more than {LONGEST_NAME} bytes"));
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

/// Fills the tensors of `pickle` from the bytes of their storages. `total` bounds the number of bytes returned, so that
/// thousands of views of one storage cannot multiply them.
pub(super) fn assemble<B: AsRef<[u8]>>(
    pickle: &Pickle,
    storages: &BTreeMap<String, B>,
    total: usize,
) -> ParseResult<Vec<NamedTensor>> {
    let mut left = total;
    let mut tensors = Vec::new();
    for (name, view) in pickle.tensors()? {
        let storage = storages.get(&view.storage.key).ok_or_else(|| format!("the storage of `{name}` is missing"))?;
        let storage = storage.as_ref();
        let needed = view.storage.count.checked_mul(view.storage.width);
        if needed.is_none_or(|needed| storage.len() < needed) {
            return Err(format!("the storage of `{name}` is too short: it has {} bytes", storage.len()));
        }
        left = left
            .checked_sub(view.count() * view.storage.width)
            .ok_or_else(|| format!("its tensors share storages and would fill more than {total} bytes"))?;
        let (dtype, shape) = (view.storage.dtype, view.shape.clone());
        tensors.push(NamedTensor { name, dtype, shape, bytes: view.gather(storage) });
    }
    Ok(tensors)
}

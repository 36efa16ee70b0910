//! Just enough of Python's pickle to rebuild tensors, and nothing that could run code.
//!
//! A pickle is a program for a stack machine, and in Python one of its instructions calls any function by name. Here the
//! only calls that mean anything are those that rebuild a tensor or an ordered dictionary; whatever else a file wants
//! called becomes an inert [`Node::Opaque`]. Values live in one list and refer to each other by index, so that no nesting,
//! sharing or cycle in a hostile file can overflow the stack or multiply memory: each instruction adds at most one value,
//! instructions and names are bounded, and no length in the file is believed before that many bytes were seen.
//! Source: Python's `pickletools`; PyTorch's `torch/serialization.py` and `torch/_utils.py` for the calls.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use candle_core::DType;

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
    /// None, numbers without use here, and the results of calls that are not made.
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

/// The stack machine.
#[derive(Default)]
struct Machine {
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at the open MARKs.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine {
    /// One instruction; false after STOP.
    fn step(&mut self, reader: &mut Reader<'_>) -> Outcome<bool> {
        let [code] = reader.array()?;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(reader.array::<1>()?), // PROTO
            0x95 => drop(reader.array::<8>()?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'N' | 0x88 | 0x89 => self.push(Node::Opaque), // None, True, False
            b'G' => {
                reader.array::<8>()?;
                self.push(Node::Opaque); // a float
            }
            b'K' => self.push(Node::Int(i64::from(u8::from_le_bytes(reader.array()?)))),
            b'M' => self.push(Node::Int(i64::from(u16::from_le_bytes(reader.array()?)))),
            b'J' => self.push(Node::Int(i64::from(i32::from_le_bytes(reader.array()?)))),
            0x8a => self.long(reader)?,
            b'X' => {
                let length = u32::from_le_bytes(reader.array()?);
                self.text(reader, length.into())?;
            }
            b'T' | b'B' => {
                let length = u32::from_le_bytes(reader.array()?);
                self.bytes(reader, length.into())?;
            }
            b'U' | b'C' => {
                let [length] = reader.array()?;
                self.bytes(reader, length.into())?;
            }
            0x8c => {
                let [length] = reader.array()?;
                self.text(reader, length.into())?;
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
                let items = self.stack.split_off(start.ok_or("its stack runs empty")?);
                self.push(Node::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items));
            }
            b']' => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.since_mark()?;
                self.push(Node::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.since_mark()?;
                self.push(Node::Dict(Vec::new()));
                self.set(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set(&items)?;
            }
            b'q' => {
                let [slot] = reader.array()?;
                self.put(slot.into())?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(reader.array()?);
                self.put(slot.into())?;
            }
            0x94 => self.put(self.memo.len() as u64)?, // MEMOIZE
            b'h' => {
                let [slot] = reader.array()?;
                self.get(slot.into())?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(reader.array()?);
                self.get(slot.into())?;
            }
            b'c' => {
                let name = format!("{}.{}", reader.line()?, reader.line()?);
                self.push(Node::Global(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = match (&self.nodes[module], &self.nodes[name]) {
                    (Node::Text(module), Node::Text(name)) if module.len() + name.len() < LONGEST_NAME => {
                        format!("{module}.{name}")
                    }
                    _ => return Err("it names a class by something that is no short text".to_owned()),
                };
                self.push(Node::Global(name));
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let result = self.call(callable, arguments)?;
                self.push(result);
            }
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Node::Storage(Rc::new(storage)));
            }
            other => return Err(format!("its pickle has the instruction {other:#04x}, which no tensor needs")),
        }
        Ok(true)
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    /// What is below the last MARK belongs to what comes after it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Outcome<Id> {
        if self.stack.len() <= self.floor() {
            return Err("its stack runs empty".to_owned());
        }
        self.stack.pop().ok_or_else(|| "its stack runs empty".to_owned())
    }

    fn top(&mut self) -> Outcome<&mut Node> {
        let id = *self.stack.last().ok_or("its stack runs empty")?;
        Ok(&mut self.nodes[id])
    }

    fn since_mark(&mut self) -> Outcome<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing in it")?;
        Ok(self.stack.split_off(mark))
    }

    fn long(&mut self, reader: &mut Reader<'_>) -> Outcome<()> {
        let [length] = reader.array()?;
        let digits = reader.take(length.into())?;
        if digits.len() > 8 {
            self.push(Node::Opaque); // larger than any size; PyTorch's magic number is
            return Ok(());
        }
        let negative = digits.last().is_some_and(|digit| *digit >= 0x80);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        bytes[..digits.len()].copy_from_slice(digits);
        self.push(Node::Int(i64::from_le_bytes(bytes)));
        Ok(())
    }

    fn text(&mut self, reader: &mut Reader<'_>, length: u64) -> Outcome<()> {
        let bytes = reader.take(usize::try_from(length).map_err(|_| "a text in it is too long")?)?;
        self.push(Node::Text(text(bytes)?.to_owned()));
        Ok(())
    }

    /// Python 2 wrote texts as bytes; bytes that are no text have no use here.
    fn bytes(&mut self, reader: &mut Reader<'_>, length: u64) -> Outcome<()> {
        let bytes = reader.take(usize::try_from(length).map_err(|_| "a text in it is too long")?)?;
        self.push(text(bytes).map_or(Node::Opaque, |text| Node::Text(text.to_owned())));
        Ok(())
    }

    fn extend(&mut self, items: Vec<Id>) -> Outcome<()> {
        match self.top()? {
            Node::List(list) => list.extend(items),
            Node::Opaque => {}
            _ => return Err("it appends to something that is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Outcome<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a key in it has no value".to_owned());
        }
        match self.top()? {
            Node::Dict(entries) => entries.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Node::Opaque => {}
            _ => return Err("it sets a key of something that is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn put(&mut self, slot: u64) -> Outcome<()> {
        let id = *self.stack.last().ok_or("its stack runs empty")?;
        self.memo.insert(slot, id);
        Ok(())
    }

    fn get(&mut self, slot: u64) -> Outcome<()> {
        let id = *self.memo.get(&slot).ok_or("it refers to a value that was never stored")?;
        self.stack.push(id);
        Ok(())
    }

    /// BUILD gives an object its attributes: of a dictionary (an ordered one has `_metadata`) and of an inert value they
    /// are dropped.
    fn build(&mut self) -> Outcome<()> {
        self.pop()?;
        match self.top()? {
            Node::Dict(_) | Node::Opaque | Node::Tensor(_) => Ok(()),
            _ => Err("it gives attributes to something that has none".to_owned()),
        }
    }

    /// The few calls that are understood; the result of any other is inert.
    fn call(&self, callable: Id, arguments: Id) -> Outcome<Node> {
        let (Node::Global(name), Node::Tuple(arguments)) = (&self.nodes[callable], &self.nodes[arguments]) else {
            return Ok(Node::Opaque);
        };
        match (name.as_str(), arguments.as_slice()) {
            ("collections.OrderedDict", []) => Ok(Node::Dict(Vec::new())),
            ("torch._utils._rebuild_parameter", [tensor, ..]) => match &self.nodes[*tensor] {
                Node::Tensor(view) => Ok(Node::Tensor(view.clone())),
                _ => Err("a parameter in it is no tensor".to_owned()),
            },
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
                [storage, offset, shape, strides, ..],
            ) => {
                let Node::Storage(storage) = &self.nodes[*storage] else {
                    return Err("a tensor in it has no storage".to_owned());
                };
                let view = View {
                    storage: storage.clone(),
                    offset: self.size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                };
                view.check()?;
                Ok(Node::Tensor(Rc::new(view)))
            }
            _ => Ok(Node::Opaque),
        }
    }

    /// A persistent id: `("storage", class, key, location, count, …)`.
    fn storage(&self, id: Id) -> Outcome<Storage> {
        const WANTED: &str = "it refers to something beside it that is no storage";
        let Node::Tuple(parts) = &self.nodes[id] else { return Err(WANTED.to_owned()) };
        let [_, class, key, _, count, ..] = parts.as_slice() else { return Err(WANTED.to_owned()) };
        let (Node::Global(class), Node::Text(key)) = (&self.nodes[*class], &self.nodes[*key]) else {
            return Err(WANTED.to_owned());
        };
        if key.len() > LONGEST_NAME {
            return Err(format!("a storage's key in it has more than {LONGEST_NAME} bytes"));
        }
        let class = class.rsplit('.').next().unwrap_or(class);
        let (dtype, width) = storage_class(class).ok_or_else(|| format!("a tensor in it has the type `{class}`"))?;
        Ok(Storage { key: key.clone(), dtype, count: self.size(*count)?, width })
    }

    fn size(&self, id: Id) -> Outcome<usize> {
        match &self.nodes[id] {
            Node::Int(size) => usize::try_from(*size).map_err(|_| format!("it has the size {size}")),
            _ => Err("a size in it is no number".to_owned()),
        }
    }

    fn sizes(&self, id: Id) -> Outcome<Vec<usize>> {
        match &self.nodes[id] {
            Node::Tuple(sizes) => sizes.iter().map(|size| self.size(*size)).collect(),
            _ => Err("a shape in it is no tuple".to_owned()),
        }
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
        "ByteStorage" | "BoolStorage" | "CharStorage" => (DType::U8, 1),
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

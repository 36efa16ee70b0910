//! The stack machine that a pickle is a program for.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Id, LONGEST_NAME, Node, Outcome, Reader, Storage, View, storage_class, text};

/// The stack machine.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at the open MARKs.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine {
    /// One instruction; false after STOP.
    pub(super) fn step(&mut self, reader: &mut Reader<'_>) -> Outcome<bool> {
        let [code] = reader.array()?;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(reader.array::<1>()?), // PROTO
            0x95 => drop(reader.array::<8>()?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'N' => self.push(Node::None),
            0x88 | 0x89 => self.push(Node::Opaque), // True, False
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

    pub(super) fn pop(&mut self) -> Outcome<Id> {
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
            ("collections.OrderedDict", [entries]) => self.entries(*entries).map(Node::Dict),
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

    /// The entries `[[key, value], …]` that Python 2 makes an ordered dictionary of.
    fn entries(&self, list: Id) -> Outcome<Vec<(Id, Id)>> {
        let Node::List(entries) = &self.nodes[list] else {
            return Err("it makes a dictionary of something that is no list".to_owned());
        };
        let pair = |entry: &Id| match &self.nodes[*entry] {
            Node::List(pair) | Node::Tuple(pair) => <[Id; 2]>::try_from(pair.as_slice()).ok(),
            _ => None,
        };
        let pairs = entries.iter().map(|entry| pair(entry).map(|[key, value]| (key, value)));
        pairs.collect::<Option<_>>().ok_or_else(|| "it makes a dictionary of something that is no pair".to_owned())
    }

    /// A persistent id: `("storage", class, key, location, count)`, behind which old files have None, or where the storage is a part of
    /// another which part. PyTorch wrote no such part since 0.4, and none is read.
    fn storage(&self, id: Id) -> Outcome<Storage> {
        const WANTED: &str = "it refers to something beside it that is no storage";
        let Node::Tuple(parts) = &self.nodes[id] else { return Err(WANTED.to_owned()) };
        let [_, class, key, _, count, rest @ ..] = parts.as_slice() else { return Err(WANTED.to_owned()) };
        if rest.iter().any(|part| !matches!(self.nodes[*part], Node::None)) {
            return Err("a storage in it is a part of another one".to_owned());
        }
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

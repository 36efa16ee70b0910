//! The stack machine that runs a pickle.

use std::collections::HashMap;
use std::rc::Rc;

use super::reader::{Reader, text};
use super::value::{Id, LONGEST_NAME, Storage, StridedView, Value, storage_class};
use crate::weights::parse_result::ParseResult;

/// The state of the stack machine.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at the MARKs that are still open.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine {
    /// Runs one instruction; returns false after STOP.
    pub(super) fn step(&mut self, reader: &mut Reader<'_>) -> ParseResult<bool> {
        let [code] = reader.array()?;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(reader.array::<1>()?), // PROTO
            0x95 => drop(reader.array::<8>()?), // FRAME
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Opaque), // True, False
            b'G' => {
                reader.array::<8>()?;
                self.push(Value::Opaque); // a float
            }
            b'K' => self.push(Value::Int(i64::from(u8::from_le_bytes(reader.array()?)))),
            b'M' => self.push(Value::Int(i64::from(u16::from_le_bytes(reader.array()?)))),
            b'J' => self.push(Value::Int(i64::from(i32::from_le_bytes(reader.array()?)))),
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
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
                let items = self.stack.split_off(start.ok_or("its stack is empty")?);
                self.push(Value::Tuple(items));
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items));
            }
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.extend(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.since_mark()?;
                self.push(Value::Dict(Vec::new()));
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
                self.push(Value::Global(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) if module.len() + name.len() < LONGEST_NAME => {
                        format!("{module}.{name}")
                    }
                    _ => return Err("one of its class names is not a short string".to_owned()),
                };
                self.push(Value::Global(name));
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
                self.push(Value::Storage(Rc::new(storage)));
            }
            other => return Err(format!("its pickle has the unsupported instruction {other:#04x}")),
        }
        Ok(true)
    }

    fn push(&mut self, value: Value) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    /// Height below which the stack belongs to an enclosing MARK.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn pop(&mut self) -> ParseResult<Id> {
        if self.stack.len() <= self.floor() {
            return Err("its stack is empty".to_owned());
        }
        self.stack.pop().ok_or_else(|| "its stack is empty".to_owned())
    }

    fn top(&mut self) -> ParseResult<&mut Value> {
        let id = *self.stack.last().ok_or("its stack is empty")?;
        Ok(&mut self.values[id])
    }

    fn since_mark(&mut self) -> ParseResult<Vec<Id>> {
        let mark = self.marks.pop().ok_or("one of its instructions lacks its mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn long(&mut self, reader: &mut Reader<'_>) -> ParseResult<()> {
        let [length] = reader.array()?;
        let digits = reader.take(length.into())?;
        if digits.len() > 8 {
            self.push(Value::Opaque); // larger than any size, like PyTorch's magic number
            return Ok(());
        }
        let negative = digits.last().is_some_and(|digit| *digit >= 0x80);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        bytes[..digits.len()].copy_from_slice(digits);
        self.push(Value::Int(i64::from_le_bytes(bytes)));
        Ok(())
    }

    fn text(&mut self, reader: &mut Reader<'_>, length: u64) -> ParseResult<()> {
        let bytes = reader.take(usize::try_from(length).map_err(|_| "one of its strings is too long")?)?;
        self.push(Value::Text(text(bytes)?.to_owned()));
        Ok(())
    }

    /// Python 2 wrote strings as bytes. Bytes that are not UTF-8 are of no use here.
    fn bytes(&mut self, reader: &mut Reader<'_>, length: u64) -> ParseResult<()> {
        let bytes = reader.take(usize::try_from(length).map_err(|_| "one of its strings is too long")?)?;
        self.push(text(bytes).map_or(Value::Opaque, |text| Value::Text(text.to_owned())));
        Ok(())
    }

    fn extend(&mut self, items: Vec<Id>) -> ParseResult<()> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            Value::Opaque => {}
            _ => return Err("it appends to a value that is not a list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> ParseResult<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("one of its keys has no value".to_owned());
        }
        match self.top()? {
            Value::Dict(entries) => entries.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Value::Opaque => {}
            _ => return Err("it sets a key of a value that is not a dictionary".to_owned()),
        }
        Ok(())
    }

    fn put(&mut self, slot: u64) -> ParseResult<()> {
        let id = *self.stack.last().ok_or("its stack is empty")?;
        self.memo.insert(slot, id);
        Ok(())
    }

    fn get(&mut self, slot: u64) -> ParseResult<()> {
        let id = *self.memo.get(&slot).ok_or("it refers to a value that was never stored")?;
        self.stack.push(id);
        Ok(())
    }

    /// BUILD sets the attributes of an object. Those of a dictionary (an ordered one has `_metadata`), of an inert value and of
    /// a tensor are dropped.
    fn build(&mut self) -> ParseResult<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) | Value::Opaque | Value::Tensor(_) => Ok(()),
            _ => Err("it sets attributes of a value that has none".to_owned()),
        }
    }

    /// The few supported calls; the result of any other call is inert.
    fn call(&self, callable: Id, arguments: Id) -> ParseResult<Value> {
        let (Value::Global(name), Value::Tuple(arguments)) = (&self.values[callable], &self.values[arguments]) else {
            return Ok(Value::Opaque);
        };
        match (name.as_str(), arguments.as_slice()) {
            ("collections.OrderedDict", []) => Ok(Value::Dict(Vec::new())),
            ("collections.OrderedDict", [entries]) => self.entries(*entries).map(Value::Dict),
            ("torch._utils._rebuild_parameter", [tensor, ..]) => match &self.values[*tensor] {
                Value::Tensor(view) => Ok(Value::Tensor(view.clone())),
                _ => Err("one of its parameters is not a tensor".to_owned()),
            },
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
                [storage, offset, shape, strides, ..],
            ) => {
                let Value::Storage(storage) = &self.values[*storage] else {
                    return Err("one of its tensors has no storage".to_owned());
                };
                let view = StridedView {
                    storage: storage.clone(),
                    offset: self.size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                };
                view.check()?;
                Ok(Value::Tensor(Rc::new(view)))
            }
            _ => Ok(Value::Opaque),
        }
    }

    /// The entries `[[key, value], …]` from which Python 2 builds an ordered dictionary.
    fn entries(&self, list: Id) -> ParseResult<Vec<(Id, Id)>> {
        let Value::List(entries) = &self.values[list] else {
            return Err("it builds a dictionary from a value that is not a list".to_owned());
        };
        let pair = |entry: &Id| match &self.values[*entry] {
            Value::List(pair) | Value::Tuple(pair) => <[Id; 2]>::try_from(pair.as_slice()).ok(),
            _ => None,
        };
        let pairs = entries.iter().map(|entry| pair(entry).map(|[key, value]| (key, value)));
        pairs.collect::<Option<_>>().ok_or_else(|| "it builds a dictionary from an entry that is not a pair".to_owned())
    }

    /// A persistent id: `("storage", class, key, location, count)`. Old files append None, or the part of another storage that
    /// this one is. PyTorch has not written such parts since 0.4, and they are not supported.
    fn storage(&self, id: Id) -> ParseResult<Storage> {
        const WANTED: &str = "one of its external references is not to a storage";
        let Value::Tuple(parts) = &self.values[id] else { return Err(WANTED.to_owned()) };
        let [_, class, key, _, count, rest @ ..] = parts.as_slice() else { return Err(WANTED.to_owned()) };
        if rest.iter().any(|part| !matches!(self.values[*part], Value::None)) {
            return Err("one of its storages is a part of another one, which is not supported".to_owned());
        }
        let (Value::Global(class), Value::Text(key)) = (&self.values[*class], &self.values[*key]) else {
            return Err(WANTED.to_owned());
        };
        if key.len() > LONGEST_NAME {
            return Err(format!("the key of one of its storages has more than {LONGEST_NAME} bytes"));
        }
        let class = class.rsplit('.').next().unwrap_or(class);
        let (dtype, width) =
            storage_class(class).ok_or_else(|| format!("one of its tensors has the unsupported type `{class}`"))?;
        Ok(Storage { key: key.clone(), dtype, count: self.size(*count)?, width })
    }

    fn size(&self, id: Id) -> ParseResult<usize> {
        match &self.values[id] {
            Value::Int(size) => usize::try_from(*size).map_err(|_| format!("one of its sizes is {size}")),
            _ => Err("one of its sizes is not a number".to_owned()),
        }
    }

    fn sizes(&self, id: Id) -> ParseResult<Vec<usize>> {
        match &self.values[id] {
            Value::Tuple(sizes) => sizes.iter().map(|size| self.size(*size)).collect(),
            _ => Err("one of its shapes is not a tuple".to_owned()),
        }
    }
}

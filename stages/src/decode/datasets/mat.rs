//! MATLAB level 5 files, as far as lists of images need them: structs, cells, text and numbers.
//!
//! Source: "MAT-File Format", MathWorks. A file is a header of 128 bytes followed by elements: a tag with type and length, and
//! data padded to eight bytes. A matrix is an element that contains elements; a compressed element contains another element.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::ZlibDecoder;

/// Maximum number of bytes after decompression of an element, so that a small file cannot exhaust the memory.
const MOST_BYTES: u64 = 1 << 28;
/// Maximum nesting of structs and cells.
const MOST_DEPTH: usize = 8;

/// The value of a variable.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// Numbers, column by column.
    Numbers(Vec<f64>),
    /// Values of any kind.
    Cells(Vec<Value>),
    /// Structs: the fields of each by name.
    Structs(Vec<BTreeMap<String, Value>>),
}

type Parsed<T> = Result<T, &'static str>;

/// The variables of a file.
pub(super) fn variables(bytes: &[u8]) -> Parsed<BTreeMap<String, Value>> {
    let body = bytes.get(128..).ok_or("is truncated")?;
    if &bytes[126..128] != b"IM" {
        return Err("is not a little-endian MATLAB level 5 file");
    }
    let mut variables = BTreeMap::new();
    let mut elements = Elements(body);
    while !elements.0.is_empty() {
        let (kind, data) = elements.next()?;
        let matrix = if kind == 15 { decompressed(data)? } else { (kind, data.to_vec()) };
        if let (14, data) = matrix
            && let Some((name, value)) = matrix_of(&data, 0)?
        {
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

fn decompressed(data: &[u8]) -> Parsed<(u32, Vec<u8>)> {
    let mut plain = Vec::new();
    ZlibDecoder::new(data).take(MOST_BYTES).read_to_end(&mut plain).map_err(|_| "has a damaged compressed element")?;
    let (kind, data) = Elements(&plain).next()?;
    Ok((kind, data.to_vec()))
}

/// Consecutive elements.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Parsed<(u32, &'a [u8])> {
        let word = |at: usize| -> Parsed<u32> {
            let bytes = self.0.get(at..at + 4).ok_or("is truncated")?;
            Ok(u32::from_le_bytes(bytes.try_into().expect("the slice has four bytes")))
        };
        let tag = word(0)?;
        // A small element has its length beside the type and its data in the second half of the tag.
        let (kind, start, length) =
            if tag >> 16 != 0 { (tag & 0xffff, 4, (tag >> 16) as usize) } else { (tag, 8, word(4)? as usize) };
        let data = self.0.get(start..start + length).ok_or("is truncated")?;
        let end = match kind {
            15 => start + length,
            _ => (start + length).next_multiple_of(8),
        };
        self.0 = self.0.get(end..).unwrap_or_default();
        Ok((kind, data))
    }
}

/// Name and value of a matrix; `None` for classes that are not needed here.
fn matrix_of(data: &[u8], depth: usize) -> Parsed<Option<(String, Value)>> {
    if depth > MOST_DEPTH {
        return Err("is nested too deeply");
    }
    let mut elements = Elements(data);
    if data.is_empty() {
        return Ok(Some((String::new(), Value::Numbers(Vec::new()))));
    }
    let (_, flags) = elements.next()?;
    let class = *flags.first().ok_or("is truncated")?;
    let (_, lengths) = elements.next()?;
    let count = lengths.chunks_exact(4).try_fold(1_usize, |product, length| {
        product.checked_mul(u32::from_le_bytes(length.try_into().expect("chunks have four bytes")) as usize)
    });
    let count = count.filter(|&count| count <= data.len()).ok_or("claims more elements than it contains")?;
    let (_, name) = elements.next()?;
    let name = String::from_utf8_lossy(name).into_owned();
    let inner = |elements: &mut Elements<'_>| {
        let (_, data) = elements.next()?;
        Ok(matrix_of(data, depth + 1)?.map_or(Value::Numbers(Vec::new()), |(_, value)| value))
    };
    let value = match class {
        1 => Value::Cells((0..count).map(|_| inner(&mut elements)).collect::<Parsed<_>>()?),
        2 => {
            let (_, width) = elements.next()?;
            let width = *width.first().ok_or("is truncated")? as usize;
            let (_, names) = elements.next()?;
            let names: Vec<String> = names
                .chunks(width.max(1))
                .map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
                .collect();
            let row = |_| names.iter().map(|name| Ok((name.clone(), inner(&mut elements)?))).collect::<Parsed<_>>();
            Value::Structs((0..count).map(row).collect::<Parsed<_>>()?)
        }
        4 => Value::Text(text(elements.next()?)),
        6..=15 => Value::Numbers(numbers(elements.next()?)?),
        _ => return Ok(None),
    };
    Ok(Some((name, value)))
}

fn text((kind, data): (u32, &[u8])) -> String {
    if kind == 4 || kind == 17 {
        let units: Vec<u16> = data.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(data).into_owned()
    }
}

fn numbers((kind, data): (u32, &[u8])) -> Parsed<Vec<f64>> {
    macro_rules! each {
        ($number:ty) => {
            data.chunks_exact(size_of::<$number>())
                .map(|bytes| <$number>::from_le_bytes(bytes.try_into().expect("chunks have that size")) as f64)
                .collect()
        };
    }
    Ok(match kind {
        1 => each!(i8),
        2 => each!(u8),
        3 => each!(i16),
        4 => each!(u16),
        5 => each!(i32),
        6 => each!(u32),
        7 => each!(f32),
        9 => each!(f64),
        12 => each!(i64),
        13 => each!(u64),
        _ => return Err("has numbers of an unknown type"),
    })
}

//! NumPy's file format of arrays, version 1.0: a header in Python's syntax, then the elements in row-major order.
//!
//! Source: `numpy.lib.format`.

/// A type of elements.
pub(super) trait Element: Copy {
    /// NumPy's name of the type.
    const NAME: &'static str;

    /// Appends the element, little-endian.
    fn append(self, bytes: &mut Vec<u8>);
}

impl Element for u8 {
    const NAME: &'static str = "|u1";

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.push(self);
    }
}

impl Element for f32 {
    const NAME: &'static str = "<f4";

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

impl Element for i64 {
    const NAME: &'static str = "<i8";

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

/// The bytes of a file with an array of this shape.
pub(super) fn npy<T: Element>(shape: &[usize], elements: &[T]) -> Vec<u8> {
    debug_assert_eq!(shape.iter().product::<usize>(), elements.len());
    let mut lengths: Vec<String> = shape.iter().map(ToString::to_string).collect();
    if let [_] = shape {
        // Python writes a tuple of one with a comma.
        lengths.push(String::new());
    }
    let mut header =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", T::NAME, lengths.join(", ").trim_end());
    // The elements begin at a multiple of 64 bytes, after a line break.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    elements.iter().for_each(|element| element.append(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that NumPy 2 writes.
    #[test]
    fn the_header_is_that_of_numpy() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[10..]).trim_end_matches('\0').trim_end().to_owned();
        let flat = npy(&[3], &[1u8, 2, 3]);
        assert_eq!(flat[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        assert!(text(&flat).starts_with("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"));
        assert_eq!((flat.len(), &flat[127..]), (131, &[b'\n', 1, 2, 3][..]));
        let table = npy(&[1, 2], &[0.5f32, -1.0]);
        assert!(text(&table).starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }"));
        assert_eq!(table[128..], [0.5f32.to_le_bytes(), (-1.0f32).to_le_bytes()].concat());
    }
}

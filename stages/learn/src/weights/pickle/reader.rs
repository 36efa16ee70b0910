//! Reads bytes from the front of a slice, with errors that name the position.

use crate::weights::parse_result::ParseResult;

/// A slice of bytes that is read from the front.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, length: bytes.len() }
    }

    pub(crate) fn take(&mut self, count: usize) -> ParseResult<&'a [u8]> {
        let (head, tail) = self
            .bytes
            .split_at_checked(count)
            .ok_or_else(|| format!("it ends within {count} bytes that start at byte {}", self.position()))?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> ParseResult<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("`take` returns as many bytes as it is asked for"))
    }

    pub(crate) fn position(&self) -> usize {
        self.length - self.bytes.len()
    }

    pub(crate) fn line(&mut self) -> ParseResult<&'a str> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n').ok_or("one of its lines has no end")?;
        let line = self.take(end + 1)?;
        text(&line[..end])
    }
}

pub(crate) fn text(bytes: &[u8]) -> ParseResult<&str> {
    std::str::from_utf8(bytes).map_err(|_| "one of its strings is not UTF-8".to_owned())
}

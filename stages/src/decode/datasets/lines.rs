//! Text files with words in columns, as most data sets list their images.

use std::fs;
use std::path::{Path, PathBuf};

use crate::decode::error::DecodeError;

/// A text file that is read line by line.
pub(super) struct Lines {
    path: PathBuf,
    text: String,
}

/// One line: its words, with file and number for messages.
pub(super) struct Line<'a> {
    file: &'a Path,
    number: usize,
    words: Vec<&'a str>,
}

impl Lines {
    pub(super) fn read(path: PathBuf) -> Result<Self, DecodeError> {
        let text = fs::read_to_string(&path).map_err(|source| DecodeError::file("read", &path, source))?;
        Ok(Self { path, text })
    }

    /// The lines after the first `headings`, without empty ones.
    pub(super) fn after(&self, headings: usize) -> impl Iterator<Item = Line<'_>> {
        self.text
            .lines()
            .enumerate()
            .skip(headings)
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| Line { file: &self.path, number: index + 1, words: line.split_whitespace().collect() })
    }
}

impl<'a> Line<'a> {
    /// The words of a line that must have exactly `N`.
    pub(super) fn words<const N: usize>(&self) -> Result<[&'a str; N], DecodeError> {
        self.words
            .as_slice()
            .try_into()
            .map_err(|_| self.error(format!("has {} words instead of {N}", self.words.len())))
    }

    /// An error about this line; `problem` is a predicate.
    pub(super) fn error(&self, problem: impl Into<String>) -> DecodeError {
        DecodeError::Row { unit: "Line", number: self.number, file: self.file.to_owned(), problem: problem.into() }
    }
}

//! Text files of words in columns, as most data sets list their images.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::StageError;

/// A text file that is being read line by line.
pub(super) struct Lines {
    path: PathBuf,
    text: String,
}

/// One line: its words and where it is, for messages.
pub(super) struct Line<'a> {
    file: &'a Path,
    number: usize,
    words: Vec<&'a str>,
}

impl Lines {
    pub(super) fn read(path: PathBuf) -> Result<Self, StageError> {
        let text = fs::read_to_string(&path).map_err(|source| StageError::file("read", &path, source))?;
        Ok(Self { path, text })
    }

    /// The lines behind the first `heads`, without empty ones.
    pub(super) fn after(&self, heads: usize) -> impl Iterator<Item = Line<'_>> {
        self.text
            .lines()
            .enumerate()
            .skip(heads)
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| Line { file: &self.path, number: index + 1, words: line.split_whitespace().collect() })
    }
}

impl<'a> Line<'a> {
    /// The words of a line that has exactly `N` of them.
    pub(super) fn words<const N: usize>(&self) -> Result<[&'a str; N], StageError> {
        self.words
            .as_slice()
            .try_into()
            .map_err(|_| self.wrong(format!("has {} words instead of {N}", self.words.len())))
    }

    /// An error that names this line; `problem` goes behind its number.
    pub(super) fn wrong(&self, problem: impl std::fmt::Display) -> StageError {
        StageError::input(format!("Line {} of `{}` {problem}", self.number, self.file.display()))
    }
}

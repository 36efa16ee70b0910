//! A program's output, cut into lines for the node's log.

use std::collections::VecDeque;
use std::mem;

use crate::api::Context;

/// Lines of a program's output that its error message repeats.
const LAST_LINES: usize = 10;

/// Output of a program, cut into lines.
#[derive(Default)]
pub(super) struct OutputLines {
    unfinished: Vec<u8>,
    last: VecDeque<String>,
}

impl OutputLines {
    /// Adds bytes and logs every line that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], context: &Context<'_>) {
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let last = lines.next_back().unwrap_or_default();
        for rest_of_line in lines {
            self.unfinished.extend_from_slice(rest_of_line);
            let line = mem::take(&mut self.unfinished);
            self.log(&line, context);
        }
        self.unfinished.extend_from_slice(last);
    }

    /// Logs a last line that has no line break.
    pub(super) fn finish(&mut self, context: &Context<'_>) {
        if !self.unfinished.is_empty() {
            let line = mem::take(&mut self.unfinished);
            self.log(&line, context);
        }
    }

    /// The last lines, oldest first.
    pub(super) fn into_last_lines(self) -> Vec<String> {
        self.last.into()
    }

    fn log(&mut self, line: &[u8], context: &Context<'_>) {
        let line = String::from_utf8_lossy(line);
        context.log(&line);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.into_owned());
    }
}

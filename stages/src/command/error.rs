//! Why a program failed.

use std::path::PathBuf;

use crate::api::StageError;

/// Why a program could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A placeholder has no value.
    #[error("The placeholder `{{{name}}}` has no value here")]
    UnknownPlaceholder {
        /// The placeholder without its braces.
        name: String,
    },
    /// A path in a shell line has characters that the shell would interpret.
    #[error(
        "The shell would not read `{path}` as one word; give `run` as a list, as in \
         `[\"sh\", \"-c\", 'cat \"$0\"', \"{{in.x}}\"]`, or work in a folder whose path has no spaces or special characters"
    )]
    UnsafeInShell {
        /// The path.
        path: String,
    },
    /// A program ended with an error.
    #[error("`{program}` {status}{}{}", in_brackets(*memory), quoted_output(last_lines))]
    ProgramFailed {
        /// The program, as in the manifest.
        program: String,
        /// How it ended: `exited with code 3`.
        status: String,
        /// Why it may have run out of memory, if there is a sign of that.
        memory: Option<&'static str>,
        /// The last lines of its output.
        last_lines: Vec<String>,
    },
    /// A program took longer than its time limit and was killed.
    #[error("`{program}` was killed after its `time_limit` of {seconds} s")]
    ProgramTimedOut {
        /// The program, as in the manifest.
        program: String,
        /// The limit in seconds.
        seconds: f64,
    },
    /// A program left a symbolic link that cannot be kept.
    #[error(
        "The link `{}` in its output `{output}` points to `{}`, {problem}; copy the file into `{{out.{output}}}`",
        link.display(),
        points_to.display()
    )]
    Link {
        /// The link, relative to the output's folder.
        link: PathBuf,
        /// What it points to, as written.
        points_to: PathBuf,
        /// The output's name.
        output: String,
        /// Why it cannot be kept.
        problem: &'static str,
    },
    /// A program left an output's folder empty.
    #[error("`{program}` wrote no file to its output `{output}`, the folder `{{out.{output}}}`")]
    MissingOutput {
        /// The program, as in the manifest.
        program: String,
        /// The output's name.
        output: String,
    },
}

impl From<CommandError> for StageError {
    fn from(error: CommandError) -> Self {
        StageError::Other(Box::new(error))
    }
}

/// Whether the error is that of a program that probably ran out of memory.
pub fn ran_out_of_memory(error: &StageError) -> bool {
    let StageError::Other(cause) = error else { return false };
    matches!(cause.downcast_ref(), Some(CommandError::ProgramFailed { memory: Some(_), .. }))
}

fn in_brackets(memory: Option<&str>) -> String {
    memory.map(|memory| format!(" ({memory})")).unwrap_or_default()
}

/// The most characters of a line of a program's output in a message.
const LONGEST_LINE: usize = 400;

fn quoted_output(last_lines: &[String]) -> String {
    let cut = |line: &String| match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.clone(),
    };
    let last_lines: Vec<String> = last_lines.iter().map(cut).collect();
    match last_lines.as_slice() {
        [] => " and wrote no output".to_owned(),
        [line] => format!(": {line}"),
        lines => lines.iter().fold("; the last lines of its output:".to_owned(), |text, line| text + "\n    " + line),
    }
}

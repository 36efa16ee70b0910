//! `command`: runs any program that reads and writes files.
//!
//! The program runs in an empty folder of its own, with its inputs and outputs given by placeholders ([`placeholders`]
//! lists them; the description of the parameter `run` explains them). What enters the cache key: the arguments, the
//! environment in `env`, the values of the placeholders that are used, and the contents of the program, of all `files`, and
//! of scripts that an interpreter gets by their absolute paths, also in a shell line. What else a shell line names is not searched
//! for files, since the program may write to it: list what it reads under `files` and write `{file.N}`.
//!
//! **Reading order** [`placeholders`], [`inputs`], [`links`], [`output_lines`], [`process`], [`memory`], [`error`].

mod error;
mod inputs;
mod links;
mod memory;
mod output_lines;
mod placeholders;
mod process;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    Ambient, ArtifactKind, Context, DeviceChoice, Input, LONGEST_NAME, Output, ParamError, Ports, Source, Stage,
    StageError, Usage, is_name,
};

pub use error::{CommandError, ran_out_of_memory};
pub use process::kill_all;

use placeholders::Values;

/// Runs a program on files.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Program and its arguments, as a list of strings; a single string is run by `sh -c`. The program runs in an empty
    /// folder of its own; whatever it leaves running in the background is killed when it ends. Its output goes to the node's
    /// log. Placeholders are replaced in the arguments and in the values of `env`, and what they stand for enters the cache
    /// key:
    ///
    /// - `{in.NAME}`: path of the input `NAME`, which is a file, or a folder if the input has several files. An input of
    ///   several artifacts is a folder with the subfolders `0`, `1`, …
    /// - `{out.NAME}`: path of the folder to write the output `NAME` to
    /// - `{file.N}`: path of entry N of `files`, counted from 0
    /// - `{seed}`: seed of the manifest
    /// - `{round}`: number of the round, from 0 (needs `per = "round"` or `per = "learner"`)
    /// - `{learners}`: number of learners in the round (needs `per = "round"` or `per = "learner"`)
    /// - `{learner}`: number of this node's learner, from 0 (needs `per = "learner"`)
    ///
    /// Other text in braces is left as it is, and so is a brace after `$`. Example: `in = { vectors = "embed" }`,
    /// `run = ["python3", "{file.0}", "{in.vectors}", "{out.plot}/plot.png"]`, `files = ["scripts/plot.py"]`,
    /// `outputs = { plot = "files" }`.
    pub run: CommandLine,
    /// Outputs by name, with the kind of artifact that each holds; `files` stands for any files. The program must write at
    /// least one file to each output's folder. A symbolic link to something in the same output is kept as a file. A table's file is named after its kind, as in `metrics.parquet` or
    /// `metrics.arrow`, and is checked against the columns of that kind.
    #[serde(default)]
    pub outputs: BTreeMap<String, ArtifactKind>,
    /// Scripts and other files or folders that the program reads, relative to the manifest's folder. Their contents enter the
    /// cache key.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// Environment variables. Apart from these, the program sees only PATH, HOME and TMPDIR, `LANG=C.UTF-8`, and, if the node
    /// was given a GPU, CUDA_VISIBLE_DEVICES.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Time limit in seconds. A program that exceeds it is killed and its node fails. Without it, there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<f64>,
}

/// Program with its arguments, or a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "`run` must be a list of strings (a program and its arguments) or one string for the shell"
)]
pub enum CommandLine {
    /// A line for `sh -c`.
    Shell(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

/// Variables that programs cannot do without and that do not affect what they compute.
const INHERITED: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// The locale decides how programs sort, so it is the same on every machine unless `env` sets another.
const LOCALE: (&str, &str) = ("LANG", "C.UTF-8");

/// Programs whose first argument is a script, without the digits of their version.
const INTERPRETERS: [&str; 11] =
    ["bash", "dash", "julia", "ksh", "node", "perl", "python", "Rscript", "ruby", "sh", "zsh"];

/// Words with which a shell runs a script itself.
const SOURCING: [&str; 2] = [".", "source"];

impl Stage for Command {
    const NAME: &'static str = "command";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "Run any program that reads and writes files or tables";
    const NOT_IN_KEY: &'static [&'static str] = &["time_limit"];

    fn ports(&self) -> Ports {
        let outputs = self.outputs.iter().map(|(name, &kind)| Output::new(name, kind)).collect();
        Ports { inputs: vec![Input::rest()], outputs }
    }

    fn ambient(&self) -> Ambient {
        let mut ambient = Ambient::default();
        for name in self.texts().flat_map(placeholders::names_in) {
            match name {
                "seed" => ambient.seed = true,
                "round" => ambient.round = true,
                "learners" => ambient.learners = true,
                "learner" => ambient.learner = true,
                _ => {}
            }
        }
        ambient
    }

    fn check(&self) -> Result<(), ParamError> {
        let words = self.words();
        if words.first().is_none_or(|program| program.is_empty()) {
            return Err(ParamError::new("run", "`run` names no program"));
        }
        if let Some(name) = placeholders::names_in(words[0]).next() {
            return Err(ParamError::new("run", format!("The program cannot be given by a placeholder, `{{{name}}}`"))
                .hint("write its path, relative to the manifest's folder; its contents enter the cache key"));
        }
        if self.outputs.is_empty() {
            return Err(ParamError::new("", "A `command` stage needs at least one output")
                .hint("declare one, as in `outputs = { result = \"files\" }`"));
        }
        check_names("outputs", self.outputs.keys().map(String::as_str))?;
        let is_limit = |&seconds: &f64| Duration::try_from_secs_f64(seconds).is_ok_and(|limit| !limit.is_zero());
        if !self.time_limit.iter().all(is_limit) {
            return Err(ParamError::new("time_limit", "`time_limit` must be a number of seconds above 0"));
        }
        let is_known = |name: &str| {
            let is_file = |index: &str| index.parse().is_ok_and(|index: usize| index < self.files.len());
            let is_output = |name: &str| self.outputs.contains_key(name);
            placeholders::is_ambient(name)
                || name.starts_with("in.")
                || name.strip_prefix("file.").is_some_and(is_file)
                || name.strip_prefix("out.").is_some_and(is_output)
        };
        match self.placeholders().find(|(_, name)| !is_known(name)) {
            Some((key, unknown)) => {
                Err(ParamError::new(key, format!("Unknown placeholder `{{{unknown}}}`")).hint(self.known(unknown)))
            }
            None => Ok(()),
        }
    }

    fn check_use(&self, Usage { inputs, available: there }: &Usage<'_>) -> Result<(), ParamError> {
        check_names("in", inputs.iter().copied())?;
        for (key, name) in self.placeholders() {
            let hint = match name {
                "round" | "learners" if !there.round => "`per = \"round\"` runs the stage once per round".to_owned(),
                "learner" if !there.learner => "`per = \"learner\"` runs the stage once per learner".to_owned(),
                _ => match name.strip_prefix("in.") {
                    Some(port) if !inputs.contains(&port) && inputs.is_empty() => {
                        format!("the stage has no inputs; declare one, as in `in = {{ {port} = \"STAGE\" }}`")
                    }
                    Some(port) if !inputs.contains(&port) => {
                        let names: Vec<String> = inputs.iter().map(|port| format!("`{{in.{port}}}`")).collect();
                        format!("the stage's inputs are {}", names.join(", "))
                    }
                    _ => continue,
                },
            };
            return Err(ParamError::new(key, format!("The placeholder `{{{name}}}` has no value here")).hint(hint));
        }
        Ok(())
    }

    fn sources(&self) -> Vec<Source> {
        let program = self.words().first().map(|program| Source::program(self.program(), program));
        let files = self.files.iter().enumerate().map(|(index, path)| Source::file(format!("files.{index}"), path));
        program.into_iter().chain(files).chain(self.script()).chain(self.shell_scripts()).collect()
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let values = self.values(context)?;
        if let CommandLine::Shell(line) = &self.run {
            placeholders::check_shell_safe(line, &values)?;
        }
        let words: Vec<String> =
            self.words().into_iter().map(|word| placeholders::fill(word, &values)).collect::<Result<_, _>>()?;
        let mut command = std::process::Command::new(context.source(self.program())?);
        command.args(&words[1..]).current_dir(context.folder()?);
        command.env_clear().stdin(Stdio::null());
        command.envs(INHERITED.iter().filter_map(|name| Some((*name, env::var_os(name)?)))).envs([LOCALE]);
        if let DeviceChoice::Cuda(ordinal) = context.device_choice() {
            command.env("CUDA_VISIBLE_DEVICES", ordinal.to_string());
        }
        for (name, value) in &self.env {
            command.env(name, placeholders::fill(value, &values)?);
        }
        let limits = process::Limits { program: self.words()[0], seconds: self.time_limit };
        let kills = memory::Kills::start();
        let (status, output) = process::run(command, &limits, context)?;
        let program = || words[0].clone();
        if !status.success() {
            let (ended, memory) = (describe(status), kills.explain(status));
            let last_lines = output.into_last_lines();
            return Err(CommandError::ProgramFailed { program: program(), status: ended, memory, last_lines }.into());
        }
        for (name, &kind) in &self.outputs {
            links::resolve(&context.output(name)?.folder, name)?;
            if !dnc_tables::add_facets(context.output(name)?, kind)? {
                return Err(CommandError::MissingOutput { program: program(), output: name.clone() }.into());
            }
        }
        Ok(())
    }
}

impl Command {
    /// The program and its arguments.
    fn words(&self) -> Vec<&str> {
        match &self.run {
            CommandLine::Shell(line) => vec!["sh", "-c", line],
            CommandLine::Words(words) => words.iter().map(String::as_str).collect(),
        }
    }

    /// Every argument and every value of a variable.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let words = match &self.run {
            CommandLine::Shell(line) => std::slice::from_ref(line),
            CommandLine::Words(words) => words,
        };
        words.iter().chain(self.env.values()).map(String::as_str)
    }

    /// Every placeholder that is used, with the parameter that holds it.
    fn placeholders(&self) -> impl Iterator<Item = (String, &str)> {
        let key = |index| match self.run {
            CommandLine::Shell(_) => "run".to_owned(),
            CommandLine::Words(_) => format!("run.{index}"),
        };
        let words = self.words().into_iter().enumerate();
        let in_words =
            words.flat_map(move |(index, word)| placeholders::names_in(word).map(move |name| (key(index), name)));
        let in_values = self.env.iter().flat_map(|(variable, value)| {
            placeholders::names_in(value).map(move |name| (format!("env.{variable}"), name))
        });
        in_words.chain(in_values)
    }

    /// The placeholders of the same form as an unknown one, for a hint.
    fn known(&self, unknown: &str) -> String {
        if unknown.starts_with("out.") {
            let names: Vec<String> = self.outputs.keys().map(|name| format!("`{{out.{name}}}`")).collect();
            return format!("the stage's outputs are {}", names.join(", "));
        }
        if !unknown.starts_with("file.") {
            return "the placeholders are `{in.NAME}`, `{out.NAME}`, `{file.N}`, `{seed}`, `{round}`, `{learners}` and `{learner}`"
                .to_owned();
        }
        match self.files.len() {
            0 => "the stage has no `files`".to_owned(),
            1 => "`files` has one entry, `{file.0}`".to_owned(),
            count => format!("`files` has {count} entries, `{{file.0}}` to `{{file.{}}}`", count - 1),
        }
    }

    /// The script of an interpreter, if it is given by its absolute path. A relative path means nothing, since the program
    /// runs in a folder of its own.
    fn script(&self) -> Option<Source> {
        let CommandLine::Words(words) = &self.run else { return None };
        let (program, arguments) = words.split_first()?;
        let (index, script) = (1..).zip(arguments).find(|(_, argument)| !argument.starts_with('-'))?;
        (is_interpreter(program) && is_script(script)).then(|| Source::file(format!("run.{index}"), script))
    }

    /// The scripts that interpreters get by their absolute paths in a shell line, as far as splitting it into words without a shell
    /// finds them.
    fn shell_scripts(&self) -> Vec<Source> {
        let CommandLine::Shell(line) = &self.run else { return Vec::new() };
        let is_between = |c: char| c.is_whitespace() || "\"'`();|&<>".contains(c);
        let words: Vec<&str> = line.split(is_between).filter(|word| !word.is_empty()).collect();
        let mut scripts: Vec<&str> = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let script = words[index + 1..].iter().find(|word| !word.starts_with('-'));
            if let Some(script) = script
                && (is_interpreter(word) || SOURCING.contains(word))
                && is_script(script)
                && !scripts.contains(script)
            {
                scripts.push(script);
            }
        }
        // No parameter has this name: the line stays in the key, paths included.
        (0..).zip(scripts).map(|(index, script)| Source::file(format!("script.{index}"), script)).collect()
    }

    /// The parameter that names the program.
    fn program(&self) -> &'static str {
        match self.run {
            CommandLine::Shell(_) => "shell",
            CommandLine::Words(_) => "run.0",
        }
    }

    /// The values of the placeholders. An input is laid out only if a placeholder refers to it.
    fn values(&self, context: &mut Context<'_>) -> Result<Values, StageError> {
        let mut values = Values::new();
        for (port, artifacts) in context.ports() {
            let name = format!("in.{port}");
            if self.texts().flat_map(placeholders::names_in).any(|used| used == name) {
                let path = inputs::link(&context.folder()?, artifacts)?;
                values.insert(name, path.display().to_string());
            }
        }
        for name in self.outputs.keys() {
            values.insert(format!("out.{name}"), context.output(name)?.folder.display().to_string());
        }
        for index in 0..self.files.len() {
            values.insert(format!("file.{index}"), context.source(&format!("files.{index}"))?.display().to_string());
        }
        let ambient = context.ambient();
        let numbers = [
            ("seed", ambient.seed),
            ("round", ambient.round.map(u64::from)),
            ("learners", ambient.learners.map(u64::from)),
            ("learner", ambient.learner.map(u64::from)),
        ];
        values.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?.to_string()))));
        Ok(values)
    }
}

fn is_interpreter(program: &str) -> bool {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

fn is_script(path: &str) -> bool {
    path.starts_with('/') && Path::new(path).is_file()
}

/// Checks the names of inputs or outputs, of which folders are made.
fn check_names<'n>(key: &str, names: impl Iterator<Item = &'n str>) -> Result<(), ParamError> {
    for name in names {
        if !is_name(name) {
            return Err(ParamError::new(key, format!("Invalid name `{name}`"))
                .hint("use only letters, digits, `-` and `_`: a folder is named after it"));
        }
        if name.len() > LONGEST_NAME {
            return Err(ParamError::new(key, format!("Name of {} bytes, more than {LONGEST_NAME}", name.len()))
                .hint("shorten it: a folder is named after it"));
        }
    }
    Ok(())
}

/// How a program ended: `exited with code 3`.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}

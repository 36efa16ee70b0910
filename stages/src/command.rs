//! `command`: any program that reads and writes files.
//!
//! It runs in an empty folder of its own and is told by placeholders where its inputs lie and its outputs go. Whatever it
//! started and left running is stopped when it ends. Words and environment may hold these, and what they mention enters the key:
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{in.PORT}` | the file that feeds the port; a folder where there are several files |
//! | `{out.NAME}` | the folder of that output |
//! | `{file.N}` | the path of entry N of `files` |
//! | `{seed}` `{round}` `{learners}` `{learner}` | the manifest's seed, the round, how many learners it has, this node's learner |
//!
//! The program itself, all `files`, and the script that an interpreter is given by its whole path are part of the key by what
//! they contain. What a line for the shell names is not looked for: list it in `files`, and write `{file.N}`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, mem};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::{Context, InputArtifact};
use crate::device::DeviceChoice;
use crate::error::StageError;
use crate::kind::Kind;
use crate::stage::{Ambient, Input, Output, ParamError, Ports, Source, Stage, Usage};
use crate::tables;

/// Runs a program on files.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments; a single string is given to the shell.
    pub run: Words,
    /// The outputs that it writes, and what they hold.
    #[serde(default)]
    pub outputs: BTreeMap<String, Kind>,
    /// Scripts and other files that it reads, relative to the manifest.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// Environment variables, besides PATH, HOME and TMPDIR, which it always has, and LANG, which is `C.UTF-8`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Seconds after which it is stopped and has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<f64>,
}

/// A program and its arguments, or a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "`run` is a list of words, or a line for the shell")]
pub enum Words {
    /// For `sh -c`.
    Line(String),
    /// As they are.
    List(Vec<String>),
}

/// Variables that a program cannot do without and that say nothing about what it computes.
const INHERITED: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// The language decides how programs sort, so it is the same everywhere, unless the manifest's `env` says otherwise.
const LANGUAGE: (&str, &str) = ("LANG", "C.UTF-8");

/// Programs whose first argument is what they run, without the digits of their version.
const INTERPRETERS: [&str; 11] =
    ["bash", "dash", "julia", "ksh", "node", "perl", "python", "Rscript", "ruby", "sh", "zsh"];

/// How often a silent program is looked at: whether it ended, took too long, or shall be stopped.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The first pause of waiting for a program that closed its output, which mostly means that it is just ending.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);

/// Bytes of a program's output that are read at once.
const READ_AT_ONCE: usize = 8192;

/// Reads after the program has ended: a pipe holds no more of what it wrote.
const READS_AFTER_END: usize = (64 << 10) / READ_AT_ONCE + 1;

impl Stage for Command {
    const NAME: &'static str = "command";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "Runs any program on Arrow, Parquet or other files";
    const NOT_IN_KEY: &'static [&'static str] = &["time_limit"];

    fn ports(&self) -> Ports {
        let outputs = self.outputs.iter().map(|(name, &kind)| Output::new(name, kind)).collect();
        Ports { inputs: vec![Input::rest()], outputs }
    }

    fn ambient(&self) -> Ambient {
        let mut ambient = Ambient::default();
        for name in self.texts().flat_map(placeholders) {
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
            return Err(ParamError::new("run", "There is no program to run"));
        }
        if let Some(name) = placeholders(words[0]).next() {
            return Err(ParamError::new("run", format!("The program itself cannot be a placeholder, `{{{name}}}`"))
                .hint("write its path, from the manifest's folder; it is part of the key"));
        }
        if self.outputs.is_empty() {
            return Err(ParamError::new("", "A command without outputs leaves nothing that could be kept")
                .hint("name them, as in `outputs = { result = \"files\" }`"));
        }
        let is_limit = |&seconds: &f64| Duration::try_from_secs_f64(seconds).is_ok_and(|limit| !limit.is_zero());
        if !self.time_limit.iter().all(is_limit) {
            return Err(ParamError::new("time_limit", "A time limit is a number of seconds above 0"));
        }
        let known = |name: &str| {
            let file = |index: &str| index.parse().is_ok_and(|index: usize| index < self.files.len());
            let output = |name: &str| self.outputs.contains_key(name);
            matches!(name, "seed" | "round" | "learners" | "learner")
                || name.starts_with("in.")
                || name.strip_prefix("file.").is_some_and(file)
                || name.strip_prefix("out.").is_some_and(output)
        };
        match self.placeholders().find(|(_, name)| !known(name)) {
            Some((key, unknown)) => Err(ParamError::new(key, format!("`{{{unknown}}}` stands for nothing"))),
            None => Ok(()),
        }
    }

    fn check_use(&self, Usage { inputs, there }: &Usage<'_>) -> Result<(), ParamError> {
        for (key, name) in self.placeholders() {
            let hint = match name {
                "round" | "learners" if !there.round => "`per = \"round\"` runs the stage in every round".to_owned(),
                "learner" if !there.learner => "`per = \"learner\"` runs the stage for every learner".to_owned(),
                _ => match name.strip_prefix("in.") {
                    Some(port) if !inputs.contains(&port) && inputs.is_empty() => {
                        format!("the stage has no inputs; name them, as in `in = {{ {port} = \"STAGE\" }}`")
                    }
                    Some(port) if !inputs.contains(&port) => {
                        let names: Vec<String> = inputs.iter().map(|port| format!("`{{in.{port}}}`")).collect();
                        format!("its inputs are {}", names.join(", "))
                    }
                    _ => continue,
                },
            };
            return Err(ParamError::new(key, format!("`{{{name}}}` stands for nothing here")).hint(hint));
        }
        Ok(())
    }

    fn sources(&self) -> Vec<Source> {
        let program = self.words().first().map(|program| Source::program(self.program(), program));
        let files = self.files.iter().enumerate().map(|(index, path)| Source::file(format!("files.{index}"), path));
        program.into_iter().chain(files).chain(self.script()).collect()
    }

    fn run(&self, context: &mut Context<'_>) -> Result<(), StageError> {
        let places = self.places(context)?;
        if let Words::Line(line) = &self.run {
            check_plain(line, &places)?;
        }
        let words: Vec<String> =
            self.words().into_iter().map(|word| filled(word, &places)).collect::<Result<_, _>>()?;
        let mut command = std::process::Command::new(context.source(self.program())?);
        command.args(&words[1..]).current_dir(context.folder()?);
        command.env_clear().stdin(Stdio::null());
        command.envs(INHERITED.iter().filter_map(|name| Some((*name, env::var_os(name)?)))).envs([LANGUAGE]);
        if let DeviceChoice::Cuda(ordinal) = context.device_choice() {
            command.env("CUDA_VISIBLE_DEVICES", ordinal.to_string());
        }
        for (name, value) in &self.env {
            command.env(name, filled(value, &places)?);
        }
        let (status, output) = self.watch(command, context)?;
        if !status.success() {
            return Err(StageError::input(format!("{}{}", failure(&words[0], status), output.told_last())));
        }
        for (name, &kind) in &self.outputs {
            if !tables::note_facets(context, name, kind)? {
                return Err(StageError::input(format!("`{}` wrote nothing to its output `{name}`", words[0])));
            }
        }
        Ok(())
    }
}

impl Command {
    fn words(&self) -> Vec<&str> {
        match &self.run {
            Words::Line(line) => vec!["sh", "-c", line],
            Words::List(words) => words.iter().map(String::as_str).collect(),
        }
    }

    /// Every placeholder, with the parameter that holds it.
    fn placeholders(&self) -> impl Iterator<Item = (String, &str)> {
        let key = |index| match self.run {
            Words::Line(_) => "run".to_owned(),
            Words::List(_) => format!("run.{index}"),
        };
        let words = self.words().into_iter().enumerate();
        let in_words = words.flat_map(move |(index, word)| placeholders(word).map(move |name| (key(index), name)));
        let in_values = self
            .env
            .iter()
            .flat_map(|(variable, value)| placeholders(value).map(move |name| (format!("env.{variable}"), name)));
        in_words.chain(in_values)
    }

    /// The script behind an interpreter, where it is named by its whole path: the program works in a folder of its own.
    fn script(&self) -> Option<Source> {
        let Words::List(words) = &self.run else { return None };
        let (program, arguments) = words.split_first()?;
        let name = Path::new(program).file_name()?.to_str()?.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let (index, script) = (1..).zip(arguments).find(|(_, argument)| !argument.starts_with('-'))?;
        let is_script = INTERPRETERS.contains(&name) && script.starts_with('/') && Path::new(script).is_file();
        is_script.then(|| Source::file(format!("run.{index}"), script))
    }

    /// Every word and every value of a variable.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let words = match &self.run {
            Words::Line(line) => std::slice::from_ref(line),
            Words::List(words) => words,
        };
        words.iter().chain(self.env.values()).map(String::as_str)
    }

    /// The parameter that names the program.
    fn program(&self) -> &'static str {
        match self.run {
            Words::Line(_) => "shell",
            Words::List(_) => "run.0",
        }
    }

    /// What the placeholders stand for.
    fn places(&self, context: &mut Context<'_>) -> Result<BTreeMap<String, String>, StageError> {
        let mut places = BTreeMap::new();
        for (port, artifacts) in context.ports() {
            let name = format!("in.{port}");
            if self.texts().flat_map(placeholders).any(|mentioned| mentioned == name) {
                let place = laid_out(&context.folder()?, artifacts)?;
                places.insert(name, place.display().to_string());
            }
        }
        for name in self.outputs.keys() {
            places.insert(format!("out.{name}"), context.output(name)?.display().to_string());
        }
        for index in 0..self.files.len() {
            places.insert(format!("file.{index}"), context.source(&format!("files.{index}"))?.display().to_string());
        }
        let ambient = context.ambient();
        let numbers = [
            ("seed", ambient.seed),
            ("round", ambient.round.map(u64::from)),
            ("learners", ambient.learners.map(u64::from)),
            ("learner", ambient.learner.map(u64::from)),
        ];
        places.extend(numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), number?.to_string()))));
        Ok(places)
    }

    /// Runs the program to its end, its output going to the node's log.
    fn watch(
        &self,
        mut command: std::process::Command,
        context: &Context<'_>,
    ) -> Result<(ExitStatus, Lines), StageError> {
        let program = PathBuf::from(command.get_program());
        let failed = |source: io::Error| StageError::file("run", &program, source);
        let (mut reader, writer) = io::pipe().map_err(failed)?;
        command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        let mut running = Running::start(&mut command).map_err(failed)?;
        // The command holds the pipe's other end, which must close when the program's own copies do.
        drop(command);
        let limit = self.time_limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut output = Lines::default();
        let (mut ended, mut rest) = (false, READS_AFTER_END);
        // What a program leaves running may hold its output, and write to it for ever.
        while rest > 0 {
            ended = ended || running.child.try_wait().map_err(failed)?.is_some();
            if is_readable(&reader).map_err(failed)? {
                let mut bytes = [0; READ_AT_ONCE];
                let count = reader.read(&mut bytes).map_err(failed)?;
                if count == 0 {
                    break;
                }
                output.take(&bytes[..count], context);
                rest -= usize::from(ended);
            } else if ended {
                break;
            }
            self.check_wanted(&mut running, deadline, context).inspect_err(|_| output.end(context))?;
        }
        output.end(context);
        // A program may close its output long before it ends.
        let mut pause = SHORTEST_PAUSE;
        loop {
            if let Some(status) = running.child.try_wait().map_err(failed)? {
                running.kill_group().map_err(|source| StageError::file("stop", self.words()[0], source))?;
                return Ok((status, output));
            }
            self.check_wanted(&mut running, deadline, context)?;
            std::thread::sleep(pause);
            pause = (2 * pause).min(LOOK_EVERY);
        }
    }

    /// Stops the program if it took too long or the user wants to stop.
    fn check_wanted(
        &self,
        running: &mut Running,
        deadline: Option<Instant>,
        context: &Context<'_>,
    ) -> Result<(), StageError> {
        let late = deadline.is_some_and(|deadline| Instant::now() > deadline);
        if !late && context.check_cancelled().is_ok() {
            return Ok(());
        }
        running.stop().map_err(|source| StageError::file("stop", self.words()[0], source))?;
        context.check_cancelled()?;
        Err(StageError::input(format!("It was stopped at its time limit of {} s", self.time_limit.unwrap_or_default())))
    }
}

/// The process groups of the programs that run.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Kills all programs that run, with what they started, for a process that is about to end.
pub fn kill_all() {
    for &group in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // One that cannot be killed has ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A program that runs, as the leader of a process group.
struct Running {
    child: Child,
    group: Pid,
}

impl Running {
    fn start(command: &mut std::process::Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_child(&child);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        Ok(Self { child, group })
    }

    /// Kills all of the group, as far as there is anything left of it.
    fn kill_group(&self) -> io::Result<()> {
        match kill_process_group(self.group, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the program and all that it started.
    fn stop(&mut self) -> io::Result<()> {
        self.kill_group()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|group| *group != self.group);
    }
}

/// Whether there is something to read, or the end, waiting a little for it.
fn is_readable(reader: &impl AsFd) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
    match poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn failure(program: &str, status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("`{program}` ended with exit code {code}"),
        (None, Some(signal)) => format!("`{program}` was killed by signal {signal}"),
        (None, None) => format!("`{program}` ended with {status}"),
    }
}

/// How many of a program's last lines are told where it fails.
const LAST_LINES: usize = 10;

/// Cuts a program's output into the log's lines.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
    last: VecDeque<String>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], context: &Context<'_>) {
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let last = lines.next_back().unwrap_or_default();
        for rest_of_line in lines {
            self.open.extend_from_slice(rest_of_line);
            let line = mem::take(&mut self.open);
            self.log(&line, context);
        }
        self.open.extend_from_slice(last);
    }

    fn end(&mut self, context: &Context<'_>) {
        if !self.open.is_empty() {
            let line = mem::take(&mut self.open);
            self.log(&line, context);
        }
    }

    fn log(&mut self, line: &[u8], context: &Context<'_>) {
        let line = String::from_utf8_lossy(line);
        context.log(&line);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.into_owned());
    }

    /// What follows the message of a failure.
    fn told_last(&self) -> String {
        match self.last.len() {
            0 => " and said nothing".to_owned(),
            1 => format!(": {}", self.last[0]),
            _ => self.last.iter().fold("; it said last:".to_owned(), |told, line| told + "\n    " + line),
        }
    }
}

/// Links an input's files under their own names, and returns the file where there is one, the folder where there are
/// more. Of several artifacts each gets a folder named by its place.
fn laid_out(folder: &Path, artifacts: &[InputArtifact]) -> Result<PathBuf, StageError> {
    let mut last = folder.to_path_buf();
    for (index, artifact) in artifacts.iter().enumerate() {
        let own = if artifacts.len() > 1 { folder.join(index.to_string()) } else { folder.to_path_buf() };
        for file in &artifact.files {
            last = own.join(&file.name);
            let parent = last.parent().unwrap_or(&own);
            // Removing a folder costs some file systems milliseconds, so none is made that need not be.
            if parent != folder {
                fs::create_dir_all(parent).map_err(|source| StageError::file("create", parent, source))?;
            }
            // A symbolic link is a file that comes and goes, which ext4 is slow at; some file systems have nothing else.
            fs::hard_link(&file.path, &last)
                .or_else(|_| std::os::unix::fs::symlink(&file.path, &last))
                .map_err(|source| StageError::file("link", &last, source))?;
        }
    }
    let one = artifacts.len() == 1 && artifacts[0].files.len() == 1;
    Ok(if one { last } else { folder.to_path_buf() })
}

/// The placeholders in a text: what stands in braces, as in `{seed}`, if it means to be one.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).filter(|name| is_placeholder(name))
}

/// Whether a word in braces means to be a placeholder: braces are common in shells and JSON, too.
fn is_placeholder(name: &str) -> bool {
    matches!(name, "seed" | "round" | "learners" | "learner")
        || ["in.", "out.", "file."].iter().any(|prefix| name.starts_with(prefix))
}

/// Refuses what a shell would read as more than a word where the line's placeholders stand: it would write elsewhere.
fn check_plain(line: &str, places: &BTreeMap<String, String>) -> Result<(), StageError> {
    let plain = |place: &str| place.chars().all(|c| c.is_alphanumeric() || "/._-+=,:@%".contains(c));
    match placeholders(line).filter_map(|name| places.get(name)).find(|place| !plain(place)) {
        None => Ok(()),
        Some(place) => Err(StageError::input(format!(
            "A shell would not take `{place}` for one word; give `run` as a list, as in `[\"sh\", \"-c\", 'cat \"$0\"', \"{{in.x}}\"]`, \
             or work in a folder whose path has neither spaces nor signs of the shell's"
        ))),
    }
}

fn filled(text: &str, places: &BTreeMap<String, String>) -> Result<String, StageError> {
    let mut filled = text.to_owned();
    for name in placeholders(text) {
        let Some(place) = places.get(name) else {
            return Err(StageError::input(format!(
                "`{{{name}}}` stands for nothing here: there is no such input or value"
            )));
        };
        filled = filled.replace(&format!("{{{name}}}"), place);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<Box<dyn crate::stage::Job>, ParamError> {
        let kind = crate::stage::StageKind::of::<Command>();
        kind.parse(serde_json::from_str(text).expect("the test writes JSON"))
    }

    #[test]
    fn what_it_mentions_enters_its_key() {
        let job = command(r#"{ "run": "echo {seed} > {out.x}/x", "outputs": { "x": "files" } }"#).expect("it is right");
        assert_eq!(job.ambient(), Ambient { seed: true, ..Ambient::default() });
        assert_eq!(job.ports().outputs, [Output::new("x", Kind::Files)]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (params, key, told) in [
            (r#"{ "run": [], "outputs": { "x": "files" } }"#, "run", "no program"),
            (r#"{ "run": ["{file.0}"], "outputs": { "x": "files" } }"#, "run", "cannot be a placeholder"),
            (r#"{ "run": "true" }"#, "", "without outputs"),
            (r#"{ "run": "cp {out.y}", "outputs": { "x": "files" } }"#, "run", "{out.y}"),
            (r#"{ "run": "cp {file.0}", "outputs": { "x": "files" } }"#, "run", "{file.0}"),
            (r#"{ "run": "true", "outputs": { "x": "files" }, "time_limit": 0 }"#, "time_limit", "above 0"),
            (r#"{ "run": "true", "outputs": { "x": "files" }, "time_limit": 1e30 }"#, "time_limit", "above 0"),
            (r#"{ "run": "true", "outputs": { "x": "pictures" } }"#, "outputs.x", "unknown variant"),
        ] {
            let error = command(params).err().expect("it is refused");
            assert_eq!(error.key, key, "{params}");
            assert!(error.message.contains(told), "{params}: {}", error.message);
        }
    }

    #[test]
    fn what_a_shell_would_split_is_refused() {
        let check = |line: &str, place: &str| {
            check_plain(line, &BTreeMap::from([("out.x".to_owned(), place.to_owned())])).is_ok()
        };
        assert!(check("echo > {out.x}/x", "/home/müller/a-b_1.2/x"));
        assert!(!check("echo > {out.x}/x", "/home/a b/x") && !check("echo > {out.x}/x", "/a;b"));
        assert!(check("echo {seed}", "/home/a b/x"), "it does not stand in the line");
    }

    #[test]
    fn braces_of_other_languages_stay() {
        let places = BTreeMap::from([("seed".to_owned(), "7".to_owned())]);
        let filled = filled(r#"awk '{print $1}' {seed} ${HOME}"#, &places).expect("the seed is known");
        assert_eq!(filled, r#"awk '{print $1}' 7 ${HOME}"#);
    }
}

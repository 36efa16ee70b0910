//! The book in `docs/`: command output in it is what the program prints, and generated tables are what the code says.
//! `doc_links` checks its links.
//!
//! A marker, which readers of the book do not see, says where a block comes from:
//!
//! | marker | what follows it |
//! |---|---|
//! | `<!-- output: LINE -->` | a fenced block: the standard output of this line for the shell |
//! | `<!-- shape of output: LINE -->` | the same, but numbers and verdicts may differ: the book shows a full run, the test a small one |
//! | `<!-- hidden run: LINE -->` | nothing: the line is run because later output depends on it |
//! | `<!-- file: NAME -->` | a fenced block, which is written to the file NAME |
//! | `<!-- columns: KIND -->` … `<!-- end -->` | the columns of the tables of a kind of artifact |
//! | `<!-- keys: POINTER NAME … -->` … `<!-- end -->` | the keys at this JSON pointer in the manifest schema; all of them if none is named |
//! | `<!-- measurements: FILE -->` … `<!-- end -->` | the measurements on a GPU in this file below `docs` |
//!
//! All lines of a page run one after the other in one temporary project, which holds `pipelines/quickstart.toml`, reduced so
//! that it takes seconds, and a folder `photos` with a subfolder per class.
//!
//! `UPDATE_TEXTS=1` rewrites the pages. With `DOCS_FULL=1` as well, the quickstart is not reduced and the blocks marked
//! `shape of output` are rewritten, too.

mod measurements;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use arrow::datatypes::{DataType, Field};
use dnc_stages::ArtifactKind;
use serde_json::Value;

use crate::project::{Called, Project};

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const END: &str = "<!-- end -->";

/// What makes the quickstart small.
const REDUCED: [(&str, &str); 7] = [
    ("split = { validation = 0.1 }", "per_class = 2\nsplit = { validation = 0.1 }"),
    ("views = 16", "views = 4"),
    ("backbone = \"plain\"", "backbone = \"small\""),
    ("crop = 48", "crop = 32"),
    ("resize = 48", "resize = 32"),
    ("epochs = 10", "epochs = 1"),
    ("batch = 80, per_class = 4", "batch = 80, per_class = 2"),
];

/// Whether an environment variable asks for something.
fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| value != "0")
}

/// Every Markdown file below `folder`, sorted.
fn markdown_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            files.extend(markdown_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    files.sort();
    files
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn pages() -> Vec<PathBuf> {
    markdown_below(&Path::new(ROOT).join("docs/src"))
}

#[test]
fn command_output_in_the_book_is_what_the_program_prints() {
    let (update, full) = (is_set("UPDATE_TEXTS"), is_set("DOCS_FULL"));
    let mut problems = Vec::new();
    for path in pages() {
        let text = read(&path);
        if !text.lines().any(|line| Marker::parse(line).is_some()) {
            continue;
        }
        let mut page = Page { project: project(full), path: &path, update, full, problems: Vec::new() };
        let updated = page.updated(&text);
        problems.append(&mut page.problems);
        if update && updated != text {
            fs::write(&path, updated).expect("the page can be written");
        }
    }
    assert!(problems.is_empty(), "{}\n`UPDATE_TEXTS=1 make test` rewrites the pages", problems.join("\n"));
}

/// A project with what the pages refer to.
fn project(full: bool) -> Project {
    let project = Project::new();
    let pipelines = Path::new(ROOT).join("pipelines");
    let data = fs::read(pipelines.join("data/open-emoji-mini.parquet")).expect("it is in the repository");
    project.write("pipelines/data/open-emoji-mini.parquet", data);
    let mut manifest = read(&pipelines.join("quickstart.toml"));
    for (before, after) in REDUCED.iter().filter(|_| !full) {
        assert_eq!(manifest.matches(before).count(), 1, "`{before}` occurs once in the quickstart");
        manifest = manifest.replace(before, after);
    }
    project.write("pipelines/quickstart.toml", manifest);
    for class in 0..8_u8 {
        for number in 0..6_u8 {
            // A colour per class and a pattern per image.
            let image = image::RgbImage::from_fn(96, 80, |x, y| {
                let pattern = (x as u8 ^ y as u8).wrapping_mul(number + 1) % 64;
                image::Rgb([37, 91, 151].map(|factor: u8| factor.wrapping_mul(class).saturating_add(pattern)))
            });
            let path = project.write(&format!("photos/class-{class}/{number}.png"), "");
            image.save(path).expect("the folder exists");
        }
    }
    project
}

/// Where a block comes from.
enum Marker<'a> {
    Output { line: &'a str, exact: bool },
    HiddenRun(&'a str),
    File(&'a str),
    Columns(&'a str),
    Keys { pointer: &'a str, names: Vec<&'a str> },
    Measurements(&'a str),
}

impl<'a> Marker<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.split_once(": ")?;
        match name {
            "output" => Some(Self::Output { line: rest, exact: true }),
            "shape of output" => Some(Self::Output { line: rest, exact: false }),
            "hidden run" => Some(Self::HiddenRun(rest)),
            "file" => Some(Self::File(rest)),
            "columns" => Some(Self::Columns(rest)),
            "measurements" => Some(Self::Measurements(rest)),
            "keys" => {
                let mut words = rest.split_whitespace();
                Some(Self::Keys { pointer: words.next()?, names: words.collect() })
            }
            _ => None,
        }
    }
}

/// A page that is checked.
struct Page<'a> {
    project: Project,
    path: &'a Path,
    update: bool,
    full: bool,
    problems: Vec<String>,
}

impl Page<'_> {
    /// The page with every marked block as it should be.
    fn updated(&mut self, text: &str) -> String {
        let mut updated: Vec<String> = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            updated.push(line.to_owned());
            let Some(marker) = Marker::parse(line) else { continue };
            match marker {
                Marker::HiddenRun(line) => drop(self.shell(line)),
                Marker::File(name) => {
                    let (opening, block) = self.fenced(line, &mut lines);
                    self.project.write(name, &block);
                    push_fenced(&mut updated, opening, &block);
                }
                Marker::Output { line: command, exact } => {
                    let (opening, block) = self.fenced(line, &mut lines);
                    let printed = self.shell(command);
                    let block = self.chosen(line, block, printed, exact);
                    push_fenced(&mut updated, opening, &block);
                }
                Marker::Columns(kind) => {
                    let table = columns_of(kind);
                    self.push_table(line, &mut lines, &mut updated, table);
                }
                Marker::Keys { pointer, names } => {
                    let table = self.keys_at(pointer, &names);
                    self.push_table(line, &mut lines, &mut updated, table);
                }
                Marker::Measurements(file) => {
                    let table = measurements::tables_of(file);
                    self.push_table(line, &mut lines, &mut updated, table);
                }
            }
        }
        updated.join("\n") + "\n"
    }

    /// Runs a line for the shell in the page's project; its standard output without white space at the ends of lines.
    fn shell(&self, line: &str) -> String {
        let binary = Path::new(env!("CARGO_BIN_EXE_dnc-run"));
        let folder = binary.parent().expect("the binary lies in a folder").to_path_buf();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([folder].into_iter().chain(env::split_paths(&path)));
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.project.path()).stdin(Stdio::null());
        command.env("PATH", path.expect("the folder's name has no colon"));
        for name in ["DNC_STORE", "DNC_RUNS", "DNC_REMOTE", "NO_COLOR"] {
            command.env_remove(name);
        }
        let called = Called::of(command.output().expect("there is a shell"));
        let page = self.path.display();
        assert_eq!(called.code, Some(0), "{page}: `{line}`:\n{}{}", called.stdout, called.stderr);
        let lines: Vec<&str> = called.stdout.lines().map(str::trim_end).collect();
        let text = lines.join("\n");
        format!("{}\n", text.trim_end())
    }

    /// The opening line and the contents of the fenced block behind a marker.
    fn fenced<'t>(&self, marker: &str, lines: &mut std::str::Lines<'t>) -> (&'t str, String) {
        let opening = lines.next().unwrap_or_default();
        assert!(opening.starts_with("```"), "{}: no fenced block follows {marker}", self.path.display());
        let block: String = lines.by_ref().take_while(|&line| line != "```").map(|line| format!("{line}\n")).collect();
        (opening, block)
    }

    /// The block as written where that is right, otherwise as printed.
    fn chosen(&mut self, marker: &str, written: String, printed: String, exact: bool) -> String {
        let is_right = if exact { written == printed } else { shape(&written) == shape(&printed) };
        if is_right && (exact || !(self.update && self.full)) {
            return written;
        }
        if !self.update || !(exact || self.full) {
            let page = self.path.display();
            let hint = if self.update { " (this one needs DOCS_FULL=1 as well)" } else { "" };
            self.problems
                .push(format!("{page}: {marker}{hint}\nthe page has\n{written}\nthe program prints\n{printed}"));
            return written;
        }
        printed
    }

    /// Takes the lines up to [`END`] and pushes the table in their place.
    fn push_table(&mut self, marker: &str, lines: &mut std::str::Lines<'_>, updated: &mut Vec<String>, table: String) {
        let written: String = lines.by_ref().take_while(|&line| line != END).map(|line| format!("{line}\n")).collect();
        let table = self.chosen(marker, written, format!("\n{}\n\n", table.trim_end()), true);
        updated.extend(table.lines().map(str::to_owned));
        updated.push(END.to_owned());
    }

    /// The keys in the manifest schema at a JSON pointer, as a table.
    fn keys_at(&self, pointer: &str, names: &[&str]) -> String {
        let schema: Value = serde_json::from_str(&self.shell("dnc-run schema")).expect("the schema is JSON");
        let keys = schema.pointer(pointer).and_then(Value::as_object);
        let keys = keys.unwrap_or_else(|| panic!("{}: no keys at {pointer}", self.path.display()));
        let mut table = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
        let names = if names.is_empty() { keys.keys().map(String::as_str).collect() } else { names.to_vec() };
        for name in names {
            let key = keys.get(name).unwrap_or_else(|| panic!("no key `{name}` at {pointer}"));
            let default = key.get("default").map_or_else(String::new, |default| format!("`{default}`"));
            let meaning = key["description"].as_str().unwrap_or_default();
            table += &format!("| `{name}` | {} | {default} | {} |\n", value_of(key), meaning.replace('|', "\\|"));
        }
        table
    }
}

fn push_fenced(updated: &mut Vec<String>, opening: &str, block: &str) {
    updated.push(opening.to_owned());
    updated.extend(block.lines().map(str::to_owned));
    updated.push("```".to_owned());
}

/// What a key takes, in a word or two.
fn value_of(key: &Value) -> String {
    if let Some(values) = key["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    }
    let name = |name: &str| match name {
        "object" => "table".to_owned(),
        "array" => "list".to_owned(),
        other => other.to_owned(),
    };
    match &key["type"] {
        Value::String(one) => name(one),
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(name).collect::<Vec<_>>().join(" or "),
        _ if key["anyOf"].is_array() => {
            let any = key["anyOf"].as_array().into_iter().flatten();
            any.map(value_of).collect::<Vec<_>>().join(" or ")
        }
        _ if key.get("const").is_some() => "the name of a kind of stage".to_owned(),
        _ => String::new(),
    }
}

/// The columns of the tables of a kind of artifact.
fn columns_of(kind: &str) -> String {
    let kind = ArtifactKind::ALL.into_iter().find(|known| known.name() == kind);
    let kind = kind.expect("the page names a kind of artifact");
    let mut text = Vec::new();
    for schema in kind.tables() {
        let mut table = String::new();
        if !schema.is_main() {
            table += &format!("Beside it, `{}`:\n\n", schema.name);
        }
        table += "| column | type | unit | meaning |\n|---|---|---|---|\n";
        for field in schema.columns.fields() {
            let told = |key: &str| field.metadata().get(key).map_or("", String::as_str).replace('|', "\\|");
            let unit = told("unit");
            let unit = if unit == "none" { String::new() } else { unit };
            table += &format!("| `{}` | {} | {unit} | {} |\n", field.name(), type_of(field), told("meaning"));
        }
        text.push(table);
    }
    text.join("\n").trim_end().to_owned()
}

fn type_of(field: &Field) -> String {
    let optional = if field.is_nullable() { ", may be null" } else { "" };
    format!("{}{optional}", type_name(field.data_type()))
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "text".to_owned(),
        DataType::Dictionary(_, values) => format!("{}, dictionary-encoded", type_name(values)),
        DataType::List(item) => format!("list of {}", type_name(item.data_type())),
        DataType::FixedSizeList(item, _) => format!("vector of {}", type_name(item.data_type())),
        DataType::Binary | DataType::LargeBinary => "bytes".to_owned(),
        DataType::FixedSizeBinary(count) => format!("{count} bytes"),
        DataType::Boolean => "bool".to_owned(),
        DataType::UInt8 => "u8".to_owned(),
        DataType::UInt16 => "u16".to_owned(),
        DataType::UInt32 => "u32".to_owned(),
        DataType::UInt64 => "u64".to_owned(),
        DataType::Int32 => "i32".to_owned(),
        DataType::Float32 => "f32".to_owned(),
        DataType::Float64 => "f64".to_owned(),
        other => other.to_string(),
    }
}

/// The words of a text, with each number, digest and verdict replaced by `#`.
fn shape(text: &str) -> String {
    let mut text = text.to_owned();
    for verdict in ["not distinguishable", "better model", "worse model", "better", "worse"] {
        text = text.replace(verdict, "#");
    }
    text.split_whitespace().map(shape_of_word).collect::<Vec<_>>().join(" ")
}

fn shape_of_word(word: &str) -> String {
    let mut shape = String::new();
    let mut rest = word;
    while let Some(start) = rest.find(|symbol: char| symbol.is_ascii_alphanumeric()) {
        let (before, run) = rest.split_at(start);
        let end = run.find(|symbol: char| !(symbol.is_ascii_alphanumeric() || symbol == '.')).unwrap_or(run.len());
        let (run, after) = run.split_at(end);
        let is_digest = run.len() >= 8 && run.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest || run.trim_end_matches('.').parse::<f64>().is_ok() {
            shape += before.trim_end_matches(['+', '-', '−']);
            shape.push('#');
        } else {
            shape += before;
            shape += run;
        }
        rest = after;
    }
    shape + rest
}

#[test]
fn the_shape_of_a_text_ignores_numbers_and_verdicts() {
    let before = "node  difference  verdict\na@1   +0.0114  better, over queries";
    let after = "node difference verdict\na@1  -0.2   not distinguishable, over queries";
    assert_eq!(shape(before), shape(after));
    assert_eq!(shape("worse model, over queries"), shape("not distinguishable, over queries"));
    assert_ne!(shape(before), shape(&before.replace("difference", "interval")));
    assert_eq!(shape("key 3f9a01bc22 of `train@2[3]`"), "key # of `train@#[#]`");
}

#[test]
fn the_reference_has_every_stage_and_every_command() {
    let project = Project::new();
    let reference = |page: &str| read(&Path::new(ROOT).join("docs/src/reference").join(page));
    let stages = reference("stages.md");
    for line in project.run(&["stages"]).stdout.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        assert!(
            stages.contains(&format!("<!-- output: dnc-run stages {name} -->")),
            "reference/stages.md lacks `{name}`"
        );
    }
    let commands = reference("command-line.md");
    for command in subcommands(&project, "") {
        for call in [vec![command.clone()], subcommands(&project, &command)].concat() {
            let marker = format!("<!-- output: dnc-run {call} --help -->");
            assert!(commands.contains(&marker), "reference/command-line.md lacks `{call}`");
        }
    }
}

/// The subcommands of a command, with its name before theirs.
fn subcommands(project: &Project, command: &str) -> Vec<String> {
    let call: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
    let help = project.run(&call).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(|name| format!("{command} {name}").trim().to_owned()).collect()
}

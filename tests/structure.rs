//! The structure of the source: no import circles between the files of a crate, and data that flows one way through `src/`.
//!
//! The test reads `use` declarations and paths that start with `crate::`, `super::` or `self::`, outside of test code, and
//! resolves each to the file that defines the item. Re-exports (`pub use`) are followed, and are no use of their own: a
//! `mod.rs` may hold the trait that its children implement and name the children for others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates, by the folder of their sources.
const CRATES: [&str; 9] = [
    "bench/src",
    "cache/src",
    "python/src",
    "serve/src",
    "stages/kernels/src",
    "stages/learn/src",
    "stages/tables/src",
    "stages/src",
    "src",
];

/// The top-level modules of `src/`, each of which may use only those before it.
const LAYERS: [&str; 21] = [
    "sync",
    "error_chain",
    "shell",
    "machine",
    "manifest",
    "fingerprint",
    "plan",
    "schedule",
    "graph",
    "execute",
    "report",
    "project",
    "project_file",
    "session",
    "sweep",
    "pages",
    "search",
    "export",
    "serve",
    "commands",
    "main",
];

/// Lines of code, tests not counted, above which a file must give a reason in its header.
const LONG: usize = 400;

/// A module path within a crate, such as `["execute", "driver"]`; empty for the crate root.
type Module = Vec<String>;

/// The files of a crate and what each uses.
struct Crate {
    files: BTreeMap<Module, PathBuf>,
    /// Per module, the names that it re-exports or imports, with the path that each stands for.
    imports: BTreeMap<Module, Vec<Import>>,
}

/// One name in scope: `use path as name`.
#[derive(Clone, Debug)]
struct Import {
    name: String,
    path: Module,
    is_reexport: bool,
}

#[test]
fn no_crate_has_an_import_circle() {
    let mut circles = Vec::new();
    for folder in CRATES {
        let edges = Crate::read(&root().join(folder)).edges();
        for circle in strongly_connected(&edges) {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            circles.push(format!("{folder}: {}", names.join(", ")));
        }
    }
    assert!(circles.is_empty(), "These files import each other in a circle:\n{}", circles.join("\n"));
}

#[test]
fn data_flows_one_way() {
    let mut wrong = Vec::new();
    let layer = |module: &Module| {
        let name = module.first().map_or("main", String::as_str);
        LAYERS.iter().position(|&layer| layer == name).unwrap_or_else(|| panic!("`{name}` is not in LAYERS"))
    };
    for (from, uses) in Crate::read(&root().join("src")).edges() {
        // The crate root declares every module.
        for to in uses.iter().filter(|_| !from.is_empty()) {
            if layer(to) > layer(&from) {
                wrong.push(format!("{} uses {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "These files use a layer above their own:\n{}", wrong.join("\n"));
}

#[test]
fn long_files_give_a_reason() {
    let mut long = Vec::new();
    for folder in CRATES {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
            let lines = without_tests(&text).lines().filter(is_code).count();
            let header = text.lines().take_while(|line| line.starts_with("//!"));
            if lines > LONG && !header.into_iter().any(|line| line.contains("Length:")) {
                long.push(format!("{}: {lines} lines of code", path.display()));
            }
        }
    }
    assert!(
        long.is_empty(),
        "Split these files, or give the reason in their header as `//! Length: …`:\n{}",
        long.join("\n")
    );
}

#[test]
fn circles_are_found() {
    let module = |name: &str| vec![name.to_owned()];
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, to) in pairs {
            edges.entry(module(from)).or_default().insert(module(to));
            edges.entry(module(to)).or_default();
        }
        strongly_connected(&edges)
    };
    assert!(edges(&[("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
    assert_eq!(edges(&[("a", "b"), ("b", "c"), ("c", "b")]), [vec![module("b"), module("c")]]);
}

#[test]
fn use_trees_are_expanded() {
    let paths = |text: &str| {
        let mut imports = Vec::new();
        expand(text, &[], &mut imports);
        imports.into_iter().map(|import| format!("{}={}", import.name, import.path.join("::"))).collect::<Vec<_>>()
    };
    assert_eq!(
        paths("crate::a::{self, B as C, d::{E, *}}"),
        ["a=crate::a", "C=crate::a::B", "E=crate::a::d::E", "*=crate::a::d"]
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                open.push(path);
            } else if name.ends_with(".rs") && !["tests.rs", "testing.rs"].contains(&name) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The text before the file's own tests, which come last.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |at| &text[..at])
}

/// The code without comments, strings left alone: paths inside of strings do not begin with a module of the crate.
fn code(text: &str) -> String {
    let lines = without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut imports = BTreeMap::new();
        for path in sources(folder) {
            let relative = path.strip_prefix(folder).unwrap().with_extension("");
            let mut module: Module = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if ["mod", "lib"].contains(&module.last().unwrap().as_str()) {
                module.pop();
            }
            let text = code(&fs::read_to_string(&path).unwrap());
            let found =
                uses(&text).into_iter().map(|import| Import { path: absolute(&import.path, &module), ..import });
            imports.insert(module.clone(), found.filter(|import| !import.path.is_empty()).collect());
            files.insert(module, path);
        }
        Self { files, imports }
    }

    /// For each file, the files that it uses.
    fn edges(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut edges = BTreeMap::new();
        for (module, imports) in &self.imports {
            let used = imports.iter().filter(|import| !import.is_reexport);
            let used = used.filter_map(|import| self.resolve(&import.path, 0));
            edges.insert(module.clone(), used.filter(|used| used != module).collect());
        }
        edges
    }

    /// The file that defines the item at `path`, which begins with `crate`.
    fn resolve(&self, path: &[String], depth: usize) -> Option<Module> {
        let path = path.strip_prefix(&["crate".to_owned()][..])?;
        let length = (0..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]))?;
        let (module, rest) = path.split_at(length);
        // Follow a re-export to the file that defines the item.
        if let Some(name) = rest.first()
            && depth < 8
            && let Some(import) = self.imports[module].iter().find(|import| import.name == *name)
            && let Some(found) = self.resolve(&import.path, depth + 1)
        {
            return Some(found);
        }
        Some(module.to_vec())
    }
}

/// Everything that a file uses from its own crate: `use` declarations and paths in the code.
fn uses(code: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut rest = code;
    let mut outside = String::new();
    while let Some(at) = find_use(rest) {
        let (before, from) = rest.split_at(at);
        outside.push_str(before);
        let end = from.find(';').unwrap_or(from.len());
        let is_reexport = from.starts_with("pub");
        let tree = from[..end].trim_start_matches("pub").trim_start();
        let tree = tree.strip_prefix('(').map_or(tree, |tree| tree.split_once(')').map_or(tree, |(_, tree)| tree));
        let first = imports.len();
        expand(tree.trim_start().trim_start_matches("use").trim(), &[], &mut imports);
        imports[first..].iter_mut().for_each(|import| import.is_reexport = is_reexport);
        rest = &from[end..];
    }
    outside.push_str(rest);
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in outside.match_indices(start) {
            let before = &outside[..at];
            let is_inside = before.ends_with(|before: char| before.is_alphanumeric() || "_:$\"`".contains(before));
            // `pub(in path)` names a visibility and uses nothing.
            if is_inside || before.ends_with("(in ") {
                continue;
            }
            let is_part = |character: char| character.is_alphanumeric() || character == '_' || character == ':';
            let path: String = outside[at..].chars().take_while(|&character| is_part(character)).collect();
            let path: Module = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            imports.push(Import { name: String::new(), path, is_reexport: false });
        }
    }
    imports
}

/// Position of the next `use` declaration, with its visibility.
fn find_use(code: &str) -> Option<usize> {
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let bare = match trimmed.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or(rest, |(_, rest)| rest),
            Some(rest) => rest,
            None => trimmed,
        };
        if bare.trim_start().starts_with("use ") {
            return Some(at + line.len() - trimmed.len());
        }
        at += line.len();
    }
    None
}

/// Expands a use tree: `a::{b, c as d}` into `a::b` and `a::c`.
fn expand(tree: &str, prefix: &[String], imports: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut prefix = prefix.to_vec();
        prefix.extend(tree[..open].split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned));
        let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
        let (mut depth, mut begin) = (0, 0);
        for (at, character) in inner.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&inner[begin..at], &prefix, imports);
                    begin = at + 1;
                }
                _ => {}
            }
        }
        return expand(&inner[begin..], &prefix, imports);
    }
    if tree.is_empty() {
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path: Module = prefix.iter().cloned().chain(path.split("::").map(|part| part.trim().to_owned())).collect();
    let is_self = path.last().is_some_and(|last| last == "self") && path.len() > 1;
    let is_glob = path.last().is_some_and(|last| last == "*");
    if is_self || is_glob {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    let name = if is_glob { "*".to_owned() } else { alias.map_or(last, str::to_owned) };
    imports.push(Import { name, path, is_reexport: false });
}

/// A path from the crate root, given the module that it stands in; empty for paths into other crates.
fn absolute(path: &[String], module: &[String]) -> Module {
    let mut base: Module = module.to_vec();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => return path.to_vec(),
        Some("self") => rest = &path[1..],
        Some("super") => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        _ => {}
    }
    std::iter::once("crate".to_owned()).chain(base).chain(rest.iter().cloned()).collect()
}

/// The circles of a graph: its strongly connected components of more than one node.
fn strongly_connected(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reach = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for next in edges.get(module).into_iter().flatten() {
                if reached.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = edges.keys().map(|module| (module, reach(module))).collect();
    let mut circles = BTreeSet::new();
    for (&module, forward) in &reached {
        let circle: Vec<Module> = forward
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(module)))
            .cloned()
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

//! Data and weights that manifests name: whether they are there, and how to get those that are not.

use std::fs;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::manifest::{Manifest, ReadOptions};
use crate::project::Project;

const TOPIC: &str = "inputs";
/// How deep below the project's root manifests are looked for.
const DEPTH: usize = 3;
/// Folders that hold no manifests of the project.
const SKIPPED: [&str; 4] = ["target", "node_modules", "runs", "tests"];
/// Largest file that is looked at.
const MOST_BYTES: u64 = 1 << 20;

/// Looks for the files that the named manifests read, or without any, those of all manifests of the project.
pub(super) fn check(project: &Project, named: &[PathBuf]) -> Vec<Finding> {
    let is_named = !named.is_empty();
    let manifests = if is_named { named.to_vec() } else { manifests_below(project) };
    let mut findings = Vec::new();
    for path in &manifests {
        findings.extend(of_manifest(path, &shown(path, &project.root), is_named));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(TOPIC, "manifests", "none in this project; `dnc-run init` writes one"));
    }
    findings
}

/// What one manifest lacks. A missing file hinders only those who want to run that manifest.
fn of_manifest(path: &Path, name: &str, is_named: bool) -> Vec<Finding> {
    let reading = ReadOptions { check_sources: false, ..ReadOptions::default() };
    let manifest = match Manifest::load(path, reading) {
        Ok(manifest) => manifest,
        Err(problems) => {
            let title = problems.problems().first().map_or_else(String::new, |problem| problem.title.clone());
            let advice = format!("`dnc-run plan {name}` shows all problems with their lines.");
            return vec![match is_named {
                true => Finding::problem(TOPIC, name, title, advice),
                false => Finding::note(TOPIC, name, title).advise(advice),
            }];
        }
    };
    let mut missing = Vec::new();
    for stage in &manifest.stages {
        for source in stage.job.sources() {
            if source.find(&manifest.folder).is_some_and(|path| path.exists()) {
                continue;
            }
            let value = format!("`{}` of `{}` is missing: {}", source.param, stage.name, source.path.display());
            let advice = source.advice.clone().unwrap_or_else(|| match source.is_on_path() {
                true => "Install the program, or write its path.".to_owned(),
                false => format!("Put it there, or correct `{}` in the manifest.", source.param),
            });
            let finding = match is_named {
                true => Finding::problem(TOPIC, name, value, advice),
                false => Finding::note(TOPIC, name, value).advise(advice),
            };
            if !missing.contains(&finding) {
                missing.push(finding);
            }
        }
    }
    if missing.is_empty() {
        missing.push(Finding::ok(TOPIC, name, "all files are there"));
    }
    missing
}

/// The manifests of a project: TOML files with a stage.
fn manifests_below(project: &Project) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(project.root.clone(), 0)];
    while let Some((folder, depth)) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                let is_skipped = name.starts_with('.') || SKIPPED.contains(&&*name) || path == project.runs;
                if depth + 1 < DEPTH && !is_skipped {
                    open.push((path, depth + 1));
                }
            } else if kind.is_file() && name.ends_with(".toml") && is_manifest(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_manifest(path: &Path) -> bool {
    let is_small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= MOST_BYTES);
    let text = if is_small { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    text.lines().any(|line| line.trim_start().starts_with("[stage."))
}

/// The path as a user would write it in the project's root.
fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;
    use crate::project::Folders;

    #[test]
    fn missing_files_hinder_only_named_manifests() {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("it is below the folder")).expect("the folder is writable");
            fs::write(&path, text).expect("the folder is writable");
            path
        };
        write(".dnc/x", "");
        write("Cargo.toml", "[package]\nname = \"x\"\n");
        write("runs/a/1/manifest.toml", "[stage.decode]\n");
        let manifest = write("some/a.toml", "name = \"a\"\n[stage.decode]\ndataset = \"folder\"\nroot = \"absent\"\n");
        let wrong = write("wrong.toml", "name = \"b\"\n[stage.decode]\ndatset = \"folder\"\n");
        let project = Project::containing(folder.path(), &Folders::default()).expect("the folder exists");

        let all = check(&project, &[]);
        assert_eq!(all.iter().map(|finding| finding.name.as_str()).collect::<Vec<_>>(), ["some/a.toml", "wrong.toml"]);
        assert!(all.iter().all(|finding| finding.status == Status::Note && finding.advice.is_some()), "{all:?}");
        assert_eq!(all[0].value, "`root` of `decode` is missing: absent");

        let status = |path: &PathBuf| check(&project, std::slice::from_ref(path))[0].status;
        assert_eq!((status(&manifest), status(&wrong)), (Status::Problem, Status::Problem));
        write("some/absent/class/x.png", "");
        assert_eq!(status(&manifest), Status::Ok);
    }
}

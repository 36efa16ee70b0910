//! Links in the documentation lead to files and headings that exist, and the table of contents has every page.

use std::collections::BTreeSet;
use std::path::Path;

use crate::docs::{ROOT, pages, read};

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let root = Path::new(ROOT);
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "pipelines/data/README.md"];
    let mut problems = Vec::new();
    for path in pages().into_iter().chain(others.map(|other| root.join(other))) {
        let text = without_code(&read(&path));
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = path.parent().expect("a file lies in a folder");
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            let exists = target.exists();
            let is_heading = || anchors(&read(&target)).contains(anchor);
            if !exists || (!anchor.is_empty() && !is_heading()) {
                problems.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "These links lead nowhere:\n{}", problems.join("\n"));
}

#[test]
fn the_table_of_contents_has_every_page() {
    let folder = Path::new(ROOT).join("docs/src");
    let contents = links(&read(&folder.join("SUMMARY.md")));
    for path in pages().iter().filter(|path| !path.ends_with("SUMMARY.md")) {
        let name = path.strip_prefix(&folder).expect("it lies below").display().to_string();
        assert!(contents.contains(&name), "SUMMARY.md does not link to {name}");
    }
}

/// The text without fenced blocks and without code between backticks.
fn without_code(text: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// The targets of all links, `[text](target)`.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.trim().to_owned()).collect()
}

/// The anchors of all headings, as mdBook and GitHub form them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|symbol| symbol.is_alphanumeric() || matches!(symbol, ' ' | '-' | '_'));
            anchors.insert(kept.map(|symbol| if symbol == ' ' { '-' } else { symbol }).collect());
        }
    }
    anchors
}

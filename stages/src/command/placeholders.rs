//! Placeholders of a `command` stage: `{in.NAME}`, `{out.NAME}`, `{file.N}`, `{seed}`, `{round}`, `{learners}`, `{learner}`.
//!
//! Other text in braces is left alone, since shells, awk and JSON use braces too. A brace after `$` belongs to the shell. What
//! other pipeline tools call their placeholders, such as `{input.NAME}`, counts as one, so that it is refused with a hint.

use std::collections::BTreeMap;

use super::error::CommandError;

/// Text that replaces each placeholder, by the placeholder's name: `in.images`, `seed`.
pub(super) type Values = BTreeMap<String, String>;

/// First parts of placeholders in other tools, and slips of our own.
const FOREIGN: [&str; 14] = [
    "in",
    "out",
    "file",
    "input",
    "inputs",
    "output",
    "outputs",
    "files",
    "param",
    "params",
    "wildcards",
    "threads",
    "rounds",
    "seeds",
];

/// The names of the placeholders in `text`.
pub(super) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    placeholders_in(text).map(|(_, name)| name)
}

/// The names of the placeholders in `text`, each with the position of its opening brace.
fn placeholders_in(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices('{').filter_map(|(at, _)| {
        let (name, _) = text[at + 1..].split_once('}')?;
        (!text[..at].ends_with('$') && is_placeholder(name)).then_some((at, name))
    })
}

/// Whether text in braces is a placeholder, known or not.
fn is_placeholder(name: &str) -> bool {
    let first = name.split(['.', '[']).next().unwrap_or(name);
    is_ambient(name) || FOREIGN.contains(&first)
}

/// Whether a placeholder stands for a value of the run rather than for a path.
pub(super) fn is_ambient(name: &str) -> bool {
    matches!(name, "seed" | "round" | "learners" | "learner")
}

/// `text` with every placeholder replaced by its value.
pub(super) fn fill(text: &str, values: &Values) -> Result<String, CommandError> {
    let (mut filled, mut end) = (String::new(), 0);
    for (at, name) in placeholders_in(text) {
        let value = values.get(name).ok_or_else(|| CommandError::UnknownPlaceholder { name: name.to_owned() })?;
        filled += &text[end..at];
        filled += value;
        end = at + name.len() + "{}".len();
    }
    Ok(filled + &text[end..])
}

/// Refuses values in a shell line that the shell would not read as part of one word: the program would then read or write
/// another path.
pub(super) fn check_shell_safe(line: &str, values: &Values) -> Result<(), CommandError> {
    let is_safe = |value: &str| value.chars().all(|c| c.is_alphanumeric() || "/._-+=,:@%".contains(c));
    match names_in(line).filter_map(|name| values.get(name)).find(|value| !is_safe(value)) {
        None => Ok(()),
        Some(path) => Err(CommandError::UnsafeInShell { path: path.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_a_shell_would_split_are_refused() {
        let check =
            |line: &str, value: &str| check_shell_safe(line, &Values::from([("out.x".into(), value.into())])).is_ok();
        assert!(check("echo > {out.x}/x", "/home/müller/a-b_1.2/x"));
        assert!(!check("echo > {out.x}/x", "/home/a b/x") && !check("echo > {out.x}/x", "/a;b"));
        assert!(check("echo {seed}", "/home/a b/x"), "the line does not use the value");
    }

    #[test]
    fn braces_of_other_languages_stay() {
        let values = Values::from([("seed".to_owned(), "7".to_owned())]);
        let filled = fill(r#"awk '{print $1}' {seed} ${HOME} ${seed}"#, &values).expect("the seed is known");
        assert_eq!(filled, r#"awk '{print $1}' 7 ${HOME} ${seed}"#);
        let names = |text| names_in(text).collect::<Vec<_>>();
        assert_eq!(names("{a.b} {print} {\"in\": 1} ${input}"), Vec::<&str>::new());
        assert_eq!(names("{input.images} {output} {in.x}{seed}"), ["input.images", "output", "in.x", "seed"]);
    }
}

//! Placeholders of a `command` stage: `{in.NAME}`, `{out.NAME}`, `{file.N}`, `{seed}`, `{round}`, `{learners}`, `{learner}`.
//!
//! Other text in braces is left alone, since shells, awk and JSON use braces too.

use std::collections::BTreeMap;

use super::error::CommandError;

/// Text that replaces each placeholder, by the placeholder's name: `in.images`, `seed`.
pub(super) type Values = BTreeMap<String, String>;

/// The names of the placeholders in `text`.
pub(super) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).filter(|name| is_placeholder(name))
}

/// Whether text in braces is a placeholder.
fn is_placeholder(name: &str) -> bool {
    is_ambient(name) || ["in.", "out.", "file."].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a placeholder stands for a value of the run rather than for a path.
pub(super) fn is_ambient(name: &str) -> bool {
    matches!(name, "seed" | "round" | "learners" | "learner")
}

/// `text` with every placeholder replaced by its value.
pub(super) fn fill(text: &str, values: &Values) -> Result<String, CommandError> {
    let mut filled = text.to_owned();
    for name in names_in(text) {
        let value = values.get(name).ok_or_else(|| CommandError::UnknownPlaceholder { name: name.to_owned() })?;
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    Ok(filled)
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
        let filled = fill(r#"awk '{print $1}' {seed} ${HOME}"#, &values).expect("the seed is known");
        assert_eq!(filled, r#"awk '{print $1}' 7 ${HOME}"#);
    }
}

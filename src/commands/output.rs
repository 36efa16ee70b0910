//! Standard output, and files that a command writes.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::failure::Failure;

/// Prints a line to standard output, like `println!`, but returns from the function with an error if that fails, as on a full
/// disk, where `println!` panics.
macro_rules! print_line {
    ($($arguments:tt)*) => {
        $crate::commands::output::write(format_args!("{}\n", format_args!($($arguments)*)))?
    };
}

/// Writes to standard output.
pub(super) fn write(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    io::stdout().write_fmt(text).context("Cannot write to standard output")
}

/// Shows on a terminal how many images are embedded, unless all of them are at once.
pub(super) fn embedding_progress() -> impl Fn(usize, usize) {
    let has_told = Cell::new(false);
    move |done: usize, all: usize| {
        if io::stderr().is_terminal() && (all > done || has_told.get()) {
            eprint!("\rEmbedding images: {done} of {all}{}", if done == all { "\n" } else { "" });
            has_told.set(true);
        }
    }
}

/// Refuses a URL as the place to write to, which would be taken for a folder of that name.
pub(super) fn check_local(path: &Path) -> Result<(), Failure> {
    if path.to_str().is_some_and(|text| text.contains("://")) {
        let message = format!("`{}` is a URL; write to a local folder, and copy from there", path.display());
        return Err(Failure::Call(message));
    }
    Ok(())
}

/// Refuses a folder to write to that is a URL or a file, or would lie in a file.
pub(super) fn check_folder(path: &Path) -> Result<(), Failure> {
    check_local(path)?;
    match path.ancestors().find(|above| above.is_file()) {
        Some(file) => Err(Failure::Call(format!(
            "`{}` is a file, and files are written to a folder; name another",
            file.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses to write a file where something is.
pub(super) fn check_free(path: &Path) -> Result<(), Failure> {
    check_folder(path.parent().unwrap_or(Path::new("")))?;
    if path.symlink_metadata().is_ok() {
        let message =
            format!("`{}` exists and is not replaced; remove it, or name another place to write to", path.display());
        return Err(Failure::Call(message));
    }
    Ok(())
}

/// Refuses to write to a URL, and to replace a file that a command of this program reads, such as the manifest, by one that it
/// writes. An older output, which has one of these `extensions`, may be replaced.
pub(super) fn check_replaceable(path: &Path, extensions: &[&str]) -> Result<(), Failure> {
    check_local(path)?;
    let has_extension = |extension: &&str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    if !fs::exists(path).unwrap_or(false) || extensions.iter().any(has_extension) {
        return Ok(());
    }
    let extensions = extensions.iter().map(|extension| format!("`.{extension}`")).collect::<Vec<_>>().join(" or ");
    Err(Failure::Call(format!(
        "`{}` exists, and its name does not end in {extensions}; it is not replaced. Choose another name",
        path.display()
    )))
}

/// Writes a value as JSON to standard output, for `--json`.
pub(super) fn write_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("Cannot write JSON")?;
    write(format_args!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_no_place_to_write_to() {
        for url in ["s3://bucket/metrics.csv", "gs://bucket/report.html", "file:///tmp/sheet.png"] {
            let checked = [check_local(Path::new(url)), check_replaceable(Path::new(url), &["csv", "html", "png"])];
            for refused in checked {
                let Err(Failure::Call(message)) = refused else { panic!("`{url}` is accepted") };
                assert_eq!(message, format!("`{url}` is a URL; write to a local folder, and copy from there"));
            }
        }
        assert!(check_local(Path::new("out/metrics.csv")).is_ok());
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.toml");
        fs::write(&file, "").unwrap();
        let refused = |checked: Result<(), Failure>| match checked {
            Err(Failure::Call(message)) => message.replace(&folder.path().display().to_string(), "HERE"),
            other => panic!("{other:?}"),
        };
        let expected = "`HERE/m.toml` exists and is not replaced; remove it, or name another place to write to";
        assert_eq!(refused(check_free(&file)), expected);
        let expected = "`HERE/m.toml` is a file, and files are written to a folder; name another";
        assert_eq!(refused(check_free(&file.join("history.parquet"))), expected);
        assert_eq!(refused(check_folder(&file)), expected);
        assert_eq!(refused(check_folder(&file.join("deep/er"))), expected);
        assert!(check_folder(folder.path()).is_ok() && check_free(&folder.path().join("new/history.csv")).is_ok());
        assert!(check_free(Path::new("surely-no-such-file.csv")).is_ok());
    }
}

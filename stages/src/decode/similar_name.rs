//! Names that mean a file which is called slightly differently: a Mac stores `é` as two characters where most programs write one,
//! and lists have blanks after commas.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;

/// The file or folder that `path` means, which differs from it only in how accents are encoded or in outer blanks.
pub(super) fn same_name(path: &Path) -> Option<PathBuf> {
    if path.exists() {
        return Some(path.to_owned());
    }
    let (parent, name) = (path.parent()?, path.file_name()?.to_str()?);
    if path.to_str()?.is_ascii() && !path.iter().any(has_outer_blanks) {
        return None;
    }
    let parent = same_name(parent)?;
    let exact = parent.join(name);
    if exact.exists() {
        return Some(exact);
    }
    let wanted = normal(name);
    let mut found: Vec<_> = names_in(&parent).into_iter().filter(|other| normal(other) == wanted).collect();
    found.sort_unstable();
    found.first().map(|name| parent.join(name))
}

/// Advice for a file that does not exist: the name in its folder that is most like it, or the first folder that is missing.
pub(super) fn advice(path: &Path) -> String {
    let is_scheme =
        |part: &OsStr| part.to_str().is_some_and(|part| ["http:", "https:", "s3:", "gs:", "file:"].contains(&part));
    if path.iter().any(is_scheme) {
        return ": it is a URL; download the images, and write paths of files".to_owned();
    }
    let missing = path.ancestors().take_while(|path| !path.exists()).last().unwrap_or(path);
    let (Some(parent), Some(name)) = (missing.parent(), missing.file_name().and_then(OsStr::to_str)) else {
        return String::new();
    };
    let lower = name.to_lowercase();
    let likeness = |other: &String| {
        let other = other.to_lowercase();
        // A name that differs only in case or in its extension is more alike than any other.
        let is_same = other == lower || Path::new(&other).file_stem() == Path::new(&lower).file_stem();
        if is_same { 2.0 } else { strsim::jaro_winkler(&other, &lower) }
    };
    let mut names = names_in(parent);
    names.sort_unstable();
    let nearest = names.into_iter().map(|name| (likeness(&name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, nearest)) if likeness > 0.9 => {
            format!(": `{}` has no `{name}`, but `{nearest}`", parent.display())
        }
        _ if name.contains('\\') => ": write `/` instead of `\\` between folders".to_owned(),
        _ => format!(": `{}` has no `{name}`", parent.display()),
    }
}

fn has_outer_blanks(part: &OsStr) -> bool {
    part.to_str().is_some_and(|part| part.trim() != part)
}

fn normal(name: &str) -> String {
    name.trim().nfc().collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_and_outer_blanks_do_not_hide_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (nfc, nfd) = ("caf\u{e9}", "cafe\u{301}");
        fs::create_dir(folder.path().join(nfd)).unwrap();
        for name in [nfd, " b"] {
            fs::write(folder.path().join(nfd).join(name), "").unwrap();
        }
        let check = |written: &str, expected: Option<String>| {
            let expected = expected.map(|expected| folder.path().join(expected));
            assert_eq!(same_name(&folder.path().join(written)), expected, "{written}");
        };
        check(&format!("{nfc}/{nfc}"), Some(format!("{nfd}/{nfd}")));
        check(&format!("{nfd}/{nfc} "), Some(format!("{nfd}/{nfd}")));
        check(&format!("{nfc}/ b"), Some(format!("{nfd}/ b")));
        check(&format!("{nfc}/b"), Some(format!("{nfd}/ b")));
        check(&format!("{nfc}/c"), None);
        check("c", None);
    }

    #[test]
    fn a_missing_file_is_compared_with_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cats")).unwrap();
        fs::write(folder.path().join("cats/1.JPG"), "").unwrap();
        let advice = |path: &str| advice(&folder.path().join(path)).replace(folder.path().to_str().unwrap(), "HERE");
        insta::assert_snapshot!(advice("cats/1.jpg"), @": `HERE/cats` has no `1.jpg`, but `1.JPG`");
        insta::assert_snapshot!(advice("cats/2.jpg"), @": `HERE/cats` has no `2.jpg`");
        insta::assert_snapshot!(advice("Cats/1.JPG"), @": `HERE` has no `Cats`, but `cats`");
        insta::assert_snapshot!(advice("https://x.org/1.JPG"), @": it is a URL; download the images, and write paths of files");
        insta::assert_snapshot!(advice("cats\\1.JPG"), @r": write `/` instead of `\` between folders");
    }
}

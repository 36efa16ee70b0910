//! GPUs, their driver, and the libraries that a build with CUDA loads. Nothing here needs any of them.

use std::path::{Path, PathBuf};
use std::{env, fs, panic};

use super::finding::Finding;

const TOPIC: &str = "gpu";
/// The library of the driver.
const DRIVER: &str = "libcuda.so.1";
/// Libraries of the CUDA toolkit, by the beginning of their file names.
const TOOLKIT: [&str; 5] = ["libcublas.so", "libcublasLt.so", "libcurand.so", "libnvrtc.so", "libcudnn.so"];
/// Folders of libraries besides those in `LD_LIBRARY_PATH`.
const FOLDERS: [&str; 12] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];

/// What the machine has.
#[derive(Default)]
struct Found {
    /// Names of the cards.
    cards: Vec<String>,
    /// Version of the kernel module.
    driver: Option<String>,
    /// The library of the driver.
    driver_library: Option<PathBuf>,
    /// Each library of the toolkit with the file that was found.
    libraries: Vec<(&'static str, Option<PathBuf>)>,
    /// Number of GPUs that this program can open.
    usable: usize,
}

/// Looks for GPUs and their libraries.
pub(super) fn check() -> Vec<Finding> {
    let has_cuda = cfg!(feature = "cuda");
    let folders = folders(env::var_os("LD_LIBRARY_PATH").as_deref());
    let mut found = Found {
        cards: cards(Path::new("/proc/driver/nvidia/gpus")),
        driver: fs::read_to_string("/proc/driver/nvidia/version").ok().and_then(|text| version(&text)),
        driver_library: library(&folders, DRIVER),
        libraries: TOOLKIT.map(|name| (name, library(&folders, name))).to_vec(),
        usable: 0,
    };
    if has_cuda && found.driver_library.is_some() {
        // The bindings panic if a library of the driver has another version than they expect.
        found.usable = panic::catch_unwind(dnc_kernels::gpu_count).unwrap_or(0);
    }
    findings(has_cuda, &found)
}

/// What there is to say of a program that was built with or without CUDA, on a machine that has what was `found`.
fn findings(has_cuda: bool, found: &Found) -> Vec<Finding> {
    let built = if has_cuda { "with CUDA" } else { "without CUDA" };
    let has_card = !found.cards.is_empty() || found.driver.is_some();
    let mut findings = Vec::new();
    findings.push(match (has_cuda, has_card) {
        (false, true) => Finding::note(TOPIC, "build", built)
            .advise("To use the GPU, build with `cargo build --release --locked --features cuda`."),
        _ => Finding::ok(TOPIC, "build", built),
    });
    let cards = if found.cards.is_empty() { "none found".to_owned() } else { found.cards.join(", ") };
    findings.push(Finding::ok(TOPIC, "cards", cards));
    let library = found.driver_library.as_ref().map(|path| path.display().to_string());
    let driver = match (&found.driver, library) {
        (Some(version), Some(library)) => format!("{version}, {library}"),
        (Some(version), None) => format!("{version}, but {DRIVER} was not found"),
        (None, Some(library)) => library,
        (None, None) => "none".to_owned(),
    };
    findings.push(match (has_cuda, has_card, &found.driver_library) {
        (true, true, None) => Finding::problem(
            TOPIC,
            "driver",
            driver,
            format!("Install the driver's libraries, or add the folder of {DRIVER} to LD_LIBRARY_PATH; `--device cpu` needs neither."),
        ),
        _ => Finding::ok(TOPIC, "driver", driver),
    });
    if !has_cuda {
        return findings;
    }
    for (name, path) in &found.libraries {
        findings.push(match path {
            Some(path) => Finding::ok(TOPIC, *name, path.display().to_string()),
            None if has_card => Finding::problem(
                TOPIC,
                *name,
                "not found",
                "Install the CUDA toolkit, or add its folder `lib64` to LD_LIBRARY_PATH; `--device cpu` does not need it.",
            ),
            None => Finding::note(TOPIC, *name, "not found"),
        });
    }
    let usable = found.usable.to_string();
    findings.push(match found.usable {
        0 if has_card => Finding::problem(
            TOPIC,
            "usable GPUs",
            usable,
            "Check `nvidia-smi` and CUDA_VISIBLE_DEVICES; `--device cpu` runs on the processor.",
        ),
        _ => Finding::ok(TOPIC, "usable GPUs", usable),
    });
    findings
}

/// The models of the cards, as the kernel module lists them.
fn cards(folder: &Path) -> Vec<String> {
    let mut models = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path().join("information")).unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
        models.push(model.map_or_else(|| "unknown model".to_owned(), |model| model.trim().to_owned()));
    }
    models.sort();
    models
}

/// The version in the first line of `/proc/driver/nvidia/version`.
fn version(text: &str) -> Option<String> {
    let is_version = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.lines().next()?.split_whitespace().find(is_version).map(str::to_owned)
}

fn folders(library_path: Option<&std::ffi::OsStr>) -> Vec<PathBuf> {
    let first = library_path.into_iter().flat_map(env::split_paths).filter(|folder| folder.is_absolute());
    first.chain(FOLDERS.map(PathBuf::from)).collect()
}

/// The first file in one of `folders` whose name begins with `name`.
fn library(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
        let mut found: Vec<_> = names.filter(|found| found.as_encoded_bytes().starts_with(name.as_bytes())).collect();
        found.sort();
        found.first().map(|found| folder.join(found))
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn worst(has_cuda: bool, found: &Found) -> (Status, Vec<String>) {
        let findings = findings(has_cuda, found);
        let of = |status| findings.iter().filter(move |finding| finding.status == status);
        assert!(of(Status::Problem).all(|finding| finding.advice.is_some()));
        let worst = [Status::Problem, Status::Note].into_iter().find(|status| of(*status).next().is_some());
        let worst = worst.unwrap_or(Status::Ok);
        (worst, of(worst).map(|finding| finding.name.clone()).collect())
    }

    #[test]
    fn only_a_card_that_this_build_cannot_use_is_a_problem() {
        let (without, with) = (false, true);
        let libraries = || TOOLKIT.map(|name| (name, Some(PathBuf::from(name)))).to_vec();
        let card = || Found { cards: vec!["NVIDIA H100".into()], driver: Some("1.2".into()), ..Found::default() };
        assert_eq!(worst(without, &Found::default()).0, Status::Ok);
        assert_eq!(worst(without, &card()), (Status::Note, vec!["build".into()]));
        assert_eq!(worst(with, &card()).1, ["driver", "usable GPUs"]);
        let ready = Found { driver_library: Some("/x".into()), libraries: libraries(), usable: 1, ..card() };
        assert_eq!(worst(with, &ready).0, Status::Ok);
        let mut lacking = Found { driver_library: Some("/x".into()), libraries: libraries(), usable: 1, ..card() };
        lacking.libraries[0].1 = None;
        assert_eq!(worst(with, &lacking), (Status::Problem, vec!["libcublas.so".into()]));
        lacking.libraries[4].1 = None;
        assert_eq!(worst(with, &lacking).1, ["libcublas.so", "libcudnn.so"]);
    }

    #[test]
    fn files_of_the_driver_are_read() {
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n";
        assert_eq!(version(text).as_deref(), Some("550.54.15"));
        assert_eq!(version("nothing"), None);
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let card = folder.path().join("0000:01:00.0");
        fs::create_dir(&card).expect("the folder is writable");
        fs::write(card.join("information"), "Model: \t\t NVIDIA H100\nIRQ: 3\n").expect("the folder is writable");
        assert_eq!(cards(folder.path()), ["NVIDIA H100"]);
        assert!(cards(&folder.path().join("absent")).is_empty());
    }

    #[test]
    fn libraries_are_found_by_the_beginning_of_their_names() {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let path = folder.path().join("libcublas.so.12");
        fs::write(&path, "").expect("the folder is writable");
        let folders = folders(Some(folder.path().as_os_str()));
        assert_eq!(library(&folders[..1], "libcublas.so"), Some(path));
        assert_eq!(library(&folders[..1], "libcublasLt.so"), None);
    }
}

//! Where published files lie on this machine: our own folder, torch hub's cache (which timm used as well, before it moved to
//! Hugging Face) and Hugging Face's cache.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::table::Published;

/// Variable with our own folder of weights.
pub const OWN: &str = "DNC_WEIGHTS";

/// The folders in which published files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caches {
    /// Our own folder, where `dnc-run weights fetch` puts files.
    pub own: PathBuf,
    /// Folders of torch hub.
    pub torch: Vec<PathBuf>,
    /// Folders of Hugging Face's hub.
    pub hub: Vec<PathBuf>,
}

impl Caches {
    /// The caches of this user, as the environment names them.
    pub fn of_this_user() -> Self {
        Self::of(|name| env::var_os(name))
    }

    /// The caches for these values of environment variables; empty ones count as not set.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").unwrap_or_default();
        let cache = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let torch = path("TORCH_HOME").unwrap_or_else(|| cache.join("torch"));
        let hub = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| path("HF_HOME").map(|home| home.join("hub")))
            .unwrap_or_else(|| cache.join("huggingface").join("hub"));
        Self {
            own: path(OWN).unwrap_or_else(|| cache.join("dnc-run").join("weights")),
            torch: vec![
                torch.join("hub").join("checkpoints"),
                // Before torch 1.1 and 0.4.
                torch.join("checkpoints"),
                home.join(".torch").join("models"),
            ],
            hub: vec![hub],
        }
    }

    /// Where the file may be, in the order in which it is looked for.
    pub fn places(&self, published: &Published) -> Vec<PathBuf> {
        let mut places = vec![self.own.join(published.file)];
        places.extend(self.torch.iter().map(|folder| folder.join(published.file)));
        if let Some(repository) = published.repository {
            places.extend(self.hub.iter().flat_map(|hub| snapshots(hub, repository)));
        }
        places
    }

    /// Where the file is, if it is on this machine.
    pub fn find(&self, published: &Published) -> Option<PathBuf> {
        self.places(published).into_iter().find(|place| place.is_file())
    }
}

/// The files of a model in Hugging Face's cache: those of the branch `main` first, then those of other revisions.
fn snapshots(hub: &Path, repository: &str) -> Vec<PathBuf> {
    let folder = hub.join(format!("models--{}", repository.replace('/', "--")));
    let main = fs::read_to_string(folder.join("refs").join("main")).ok();
    let snapshots = folder.join("snapshots");
    let names = fs::read_dir(&snapshots).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut revisions: Vec<OsString> = names.collect();
    revisions.sort();
    revisions.sort_by_key(|revision| main.as_deref().map(str::trim) != revision.to_str());
    let files = |revision: OsString| Published::repository_files().map(|file| snapshots.join(&revision).join(file));
    revisions.into_iter().flat_map(files).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrained::of_backbone;

    fn caches(variables: &[(&str, &str)]) -> Caches {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        Caches::of(|name| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn the_environment_names_the_caches() {
        let plain = caches(&[("HOME", "/h"), ("TORCH_HOME", "")]);
        assert_eq!(plain.own, Path::new("/h/.cache/dnc-run/weights"));
        assert_eq!(plain.torch[0], Path::new("/h/.cache/torch/hub/checkpoints"));
        assert_eq!(plain.hub, [Path::new("/h/.cache/huggingface/hub")]);
        let moved =
            caches(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("TORCH_HOME", "/t"), ("HF_HOME", "/f"), (OWN, "/o")]);
        assert_eq!((moved.own.as_path(), moved.torch[0].as_path()), (Path::new("/o"), Path::new("/t/hub/checkpoints")));
        assert_eq!(moved.hub, [Path::new("/f/hub")]);
        assert_eq!(caches(&[("HF_HUB_CACHE", "/x"), ("HF_HOME", "/f")]).hub, [Path::new("/x")]);
    }

    #[test]
    fn files_are_found_in_each_cache_and_the_main_revision_comes_first() {
        let home = tempfile::tempdir().unwrap();
        let caches = caches(&[("HOME", home.path().to_str().unwrap())]);
        let write = |path: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "x").unwrap();
            path
        };
        let torchvision = of_backbone("resnet50", "imagenet").unwrap();
        assert_eq!(caches.find(torchvision), None);
        let file = write(".cache/torch/hub/checkpoints/resnet50-0676ba61.pth");
        assert_eq!(caches.find(torchvision), Some(file));
        let own = write(".cache/dnc-run/weights/resnet50-0676ba61.pth");
        assert_eq!(caches.find(torchvision), Some(own));

        let timm = of_backbone("resnet50", "resnet50.a1_in1k").unwrap();
        let model = ".cache/huggingface/hub/models--timm--resnet50.a1_in1k";
        let first = write(&format!("{model}/snapshots/0abc/model.safetensors"));
        assert_eq!(caches.find(timm), Some(first));
        let main = write(&format!("{model}/snapshots/9def/pytorch_model.bin"));
        fs::write(write(&format!("{model}/refs/main")), "9def\n").unwrap();
        assert_eq!(caches.find(timm), Some(main));
    }
}

//! Pretrained weights by their published names: `weights = "imagenet"`.
//!
//! **Reading order** [`table`]: names, files, digests and licences. [`caches`]: where files of these names lie on this machine.
//! [`mod@checksum`]: whether a downloaded file is complete. Nothing is downloaded here. The digest of the file is part of the key,
//! as for any other file; its name and its place are not.

pub mod caches;
pub mod checksum;
pub mod table;

use std::path::Path;

pub use caches::Caches;
pub use checksum::checksum;
pub use table::{Download, PUBLISHED, Published};

use crate::api::{ParamError, Source};

/// The weights file that a parameter names: published weights of the backbone, or a file relative to the manifest.
pub fn source(param: &str, backbone: &str, path: &Path) -> Source {
    let Some(name) = name(path) else { return Source::file(param, path) };
    if let Some(published) = of_backbone(backbone, name) {
        let places = Caches::of_this_user().places(published);
        return Source::published(param, path, places).advise(published.advice());
    }
    let known: Vec<String> = names_of(backbone).map(|name| format!("`{name}`")).collect();
    let advice = (!known.is_empty() && path.extension().is_none()).then(|| {
        format!(
            "It is neither a file nor the name of published weights; those of `{backbone}` are {}.",
            known.join(", ")
        )
    });
    Source::file(param, path).advise(advice)
}

/// Refuses the names of weights that are published for another backbone.
///
/// # Errors
/// Names the weights and the backbones that have them.
pub fn check(param: &str, backbone: &str, path: &Path) -> Result<(), ParamError> {
    let Some(name) = name(path).filter(|name| of_backbone(backbone, name).is_none()) else { return Ok(()) };
    let mut others: Vec<&str> =
        PUBLISHED.iter().filter(|entry| entry.is_called(name)).map(|entry| entry.backbone).collect();
    others.dedup();
    if others.is_empty() {
        return Ok(());
    }
    let others: Vec<String> = others.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("`{backbone}` has no published weights `{name}`; they exist for {}", others.join(", "));
    Err(ParamError::new(param, message).hint(format!("to name a file of that name, write `./{name}`")))
}

/// The published weights of a backbone under one of their names.
pub fn of_backbone(backbone: &str, name: &str) -> Option<&'static Published> {
    PUBLISHED.iter().find(|entry| entry.backbone == backbone && entry.is_called(name))
}

/// The names of all published weights of a backbone, short ones first.
pub fn names_of(backbone: &str) -> impl Iterator<Item = &'static str> {
    let of_backbone = move |entry: &&Published| entry.backbone == backbone;
    let short = PUBLISHED.iter().filter(of_backbone).flat_map(|entry| entry.short_names);
    short.copied().chain(PUBLISHED.iter().filter(of_backbone).map(|entry| entry.name))
}

/// The text of a path without folders, which may be a published name.
fn name(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains('/'))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::api::Lookup;

    #[test]
    fn a_name_means_the_weights_of_the_backbone() {
        let of = |backbone: &str, name: &str| of_backbone(backbone, name).map(|entry| entry.name);
        assert_eq!(of("resnet50", "imagenet"), Some("ResNet50_Weights.IMAGENET1K_V1"));
        assert_eq!(of("resnet50", "ImageNet"), of("resnet50", "imagenet"));
        assert_eq!(of("resnet50", "dino"), Some("dino_resnet50"));
        assert_eq!(of("vit_small_patch16", "dino"), Some("dino_vits16"));
        assert_eq!((of("small", "imagenet"), of("resnet50", "dinov2")), (None, None));
        assert_eq!(
            names_of("vit_small_patch14_dinov2").collect::<Vec<_>>(),
            ["dinov2", "dinov2_vits14", "vit_small_patch14_dinov2.lvd142m"]
        );
    }

    #[test]
    fn other_paths_are_files() {
        let lookup = |path: &str| source("weights", "resnet50", Path::new(path)).lookup;
        assert!(matches!(lookup("imagenet"), Lookup::Among(places) if places.len() > 2));
        assert_eq!(
            [lookup("./imagenet"), lookup("weights/x.pth"), lookup("x.pth")],
            [Lookup::Folder, Lookup::Folder, Lookup::Folder]
        );
        let misspelt = source("weights", "resnet50", Path::new("imagnet"));
        assert_eq!((misspelt.path, misspelt.lookup), (PathBuf::from("imagnet"), Lookup::Folder));
        assert!(misspelt.advice.is_some_and(|advice| advice.contains("`imagenet`")));
    }

    #[test]
    fn weights_of_another_backbone_are_refused() {
        let check = |backbone: &str, name: &str| {
            super::check("weights", backbone, Path::new(name)).map_err(|error| error.to_string())
        };
        let message = "`resnet50` has no published weights `dinov2_vits14`; they exist for `vit_small_patch14_dinov2`";
        assert_eq!(check("resnet50", "dinov2_vits14"), Err(message.to_owned()));
        assert!(check("small", "imagenet").is_err_and(|message| message.contains("`resnet18`, `resnet34`")));
        assert_eq!(
            (check("resnet50", "imagenet"), check("small", "w.pth"), check("small", "./imagenet")),
            (Ok(()), Ok(()), Ok(()))
        );
    }
}

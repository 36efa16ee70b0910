//! `dnc-run weights fetch NAME`: downloads published weights.

use std::fs;

use anyhow::Context as _;
use clap::Args;
use dnc_stages::pretrained::{Caches, PUBLISHED, Published};

use super::download::download;
use crate::commands::failure::Failure;
use crate::commands::units::format_bytes;
use crate::manifest::suggest;

/// Arguments of `weights fetch`.
#[derive(Args)]
pub(super) struct FetchArgs {
    /// Name as in `dnc-run weights ls`, or a backbone for its first weights
    name: String,
    /// Backbone, to tell apart weights with the same short name
    #[arg(long, value_name = "NAME")]
    backbone: Option<String>,
}

impl FetchArgs {
    /// Downloads the file unless it is on this machine, and prints its path.
    pub(super) fn run(self) -> Result<(), Failure> {
        let published = find(&self.name, self.backbone.as_deref()).map_err(Failure::Call)?;
        let caches = Caches::of_this_user();
        if let Some(path) = caches.find(published) {
            eprintln!("`{}` is already on this machine", published.name);
            print_line!("{}", path.display());
            return Ok(());
        }
        fs::create_dir_all(&caches.own).with_context(|| {
            format!("Cannot create the folder `{}`; set DNC_WEIGHTS to another", caches.own.display())
        })?;
        let path = caches.own.join(published.file);
        eprintln!("Downloading `{}` from {} (licence: {})", published.name, published.host(), published.licence);
        let sha256 = download(published, &path)?;
        let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let checked = match published.sha256 {
            Some(digits) if digits.len() < sha256.len() => "its first digits are as published",
            Some(_) => "as published",
            None => "its publisher states none",
        };
        eprintln!("{}, SHA-256 {sha256}: {checked}", format_bytes(size));
        print_line!("{}", path.display());
        Ok(())
    }
}

/// The weights called `name`: by their name, by a short name with a backbone, or by the backbone alone.
fn find(name: &str, backbone: Option<&str>) -> Result<&'static Published, String> {
    let fits = |entry: &&Published| backbone.is_none_or(|backbone| backbone == entry.backbone);
    let called: Vec<&Published> = PUBLISHED.iter().filter(fits).filter(|entry| entry.is_called(name)).collect();
    match called.as_slice() {
        [only] => return Ok(only),
        [] => {}
        several => {
            let backbones = suggest::one_of(several.iter().map(|entry| entry.backbone));
            return Err(format!("`{name}` is published for several backbones; add `--backbone` with {backbones}"));
        }
    }
    if let Some(first) = PUBLISHED.iter().filter(fits).find(|entry| entry.backbone == name) {
        return Ok(first);
    }
    let known =
        PUBLISHED.iter().filter(fits).flat_map(|entry| entry.short_names.iter().chain([&entry.name, &entry.backbone]));
    let hint = suggest::did_you_mean(name, known.copied());
    let of = backbone.map_or_else(String::new, |backbone| format!(" of `{backbone}`"));
    Err(format!(
        "There are no published weights `{name}`{of}. {}",
        hint.unwrap_or_else(|| "`dnc-run weights ls` lists all.".to_owned())
    ))
}

#[cfg(test)]
mod tests {

    #[test]
    fn weights_are_found_by_name_by_short_name_and_by_backbone() {
        let find = |name, backbone| super::find(name, backbone).map(|entry| entry.name);
        assert_eq!(find("dinov2", None), Ok("dinov2_vits14"));
        assert_eq!(find("resnet50", None), Ok("ResNet50_Weights.IMAGENET1K_V1"));
        assert_eq!(find("imagenet", Some("resnet18")), Ok("ResNet18_Weights.IMAGENET1K_V1"));
        let several =
            "`dino` is published for several backbones; add `--backbone` with `resnet50` or `vit_small_patch16`";
        assert_eq!(find("dino", None), Err(several.to_owned()));
        let unknown = "There are no published weights `dinov2_vits41`. Did you mean `dinov2_vits14`?";
        assert_eq!(find("dinov2_vits41", None), Err(unknown.to_owned()));
        let misspelt = "There are no published weights `resnet5`. Did you mean `resnet50`?";
        assert_eq!(find("resnet5", None), Err(misspelt.to_owned()));
        assert!(find("imagenet", Some("small")).is_err_and(|message| message.contains("of `small`")));
    }
}

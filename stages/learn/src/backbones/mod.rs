//! Backbones: networks that turn images into features.
//!
//! **Reading order** `backbone`, the trait; `preprocessing`; `conv_norm`, the layer of the convolutional backbones; `conv_net`, a
//! chain of blocks of it, and the files that describe one (`resnet`, `efficientnet_lite`, `small`, `plain`); then `bn_inception`
//! and `vit`, which have their own structure.
//!
//! To add a backbone, write its file and add a line to [`BACKBONES`].

mod backbone;
mod bn_inception;
mod conv_net;
mod conv_norm;
mod efficientnet_lite;
mod plain;
mod pooling;
mod preprocessing;
mod resnet;
mod small;
mod stochastic_depth;
mod vit;

use crate::error::{LearnError, Result};
pub use backbone::{Backbone, InPython};
pub use pooling::Pooling;
pub use preprocessing::{ChannelOrder, Preprocessing};
pub use stochastic_depth::StochasticDepth;

/// A function that builds a backbone.
type Build = fn() -> Box<dyn Backbone>;

/// All backbones, by their names in a manifest.
pub const BACKBONES: [(&str, Build); 9] = [
    ("bn_inception", || Box::new(bn_inception::bn_inception())),
    ("efficientnet_lite0", || Box::new(efficientnet_lite::efficientnet_lite0())),
    ("plain", || Box::new(plain::plain())),
    ("resnet18", || Box::new(resnet::resnet18())),
    ("resnet34", || Box::new(resnet::resnet34())),
    ("resnet50", || Box::new(resnet::resnet50())),
    ("small", || Box::new(small::small())),
    ("vit_small_patch14_dinov2", || Box::new(vit::vit_small_patch14_dinov2())),
    ("vit_small_patch16", || Box::new(vit::vit_small_patch16())),
];

/// The backbone called `name`.
///
/// # Errors
/// If there is no such backbone; the error suggests the nearest name.
pub fn backbone(name: &str) -> Result<Box<dyn Backbone>> {
    if let Some((_, build)) = BACKBONES.iter().find(|(known, _)| *known == name) {
        return Ok(build());
    }
    let known = BACKBONES.map(|(known, _)| known);
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    let near_enough = nearest.filter(|nearest| strsim::jaro_winkler(name, nearest) > 0.7);
    Err(LearnError::UnknownBackbone {
        name: name.to_owned(),
        known: known.map(|known| format!("`{known}`")).join(", "),
        hint: near_enough.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default(),
    })
}

//! timm's tensor names of EfficientNet-Lite0, whose own names here are those of `efficientnet_lite_pytorch`. timm's names of the other
//! networks are the same as here.
//!
//! Source: timm 1.0, `timm/models/efficientnet.py`. Its `tf_efficientnet_lite0` is the published network; its `efficientnet_lite0` has the
//! same names but pads in another way.

/// Number of blocks of each of timm's stages.
const DEPTHS: [usize; 7] = [1, 2, 2, 3, 3, 4, 1];
/// The layers outside of the blocks: timm's name, and the own one.
const OUTSIDE: [[&str; 2]; 4] =
    [["conv_stem", "_conv_stem"], ["bn1", "_bn0"], ["conv_head", "_conv_head"], ["bn2", "_bn1"]];
/// The layers of the first block, which does not expand its input.
const FIRST: [[&str; 2]; 4] =
    [["conv_dw", "_depthwise_conv"], ["bn1", "_bn1"], ["conv_pw", "_project_conv"], ["bn2", "_bn2"]];
/// The layers of the other blocks.
const OTHERS: [[&str; 2]; 6] = [
    ["conv_pw", "_expand_conv"],
    ["bn1", "_bn0"],
    ["conv_dw", "_depthwise_conv"],
    ["bn2", "_bn1"],
    ["conv_pwl", "_project_conv"],
    ["bn3", "_bn2"],
];

/// The layers of timm's network with their own names.
fn layers() -> impl Iterator<Item = [String; 2]> {
    let places = DEPTHS.iter().enumerate().flat_map(|(stage, &depth)| (0..depth).map(move |index| (stage, index)));
    let blocks = places.enumerate().flat_map(|(number, (stage, index))| {
        let layers = if number == 0 { &FIRST[..] } else { &OTHERS };
        layers
            .iter()
            .map(move |[timm, own]| [format!("blocks.{stage}.{index}.{timm}"), format!("_blocks.{number}.{own}")])
    });
    OUTSIDE.iter().map(|pair| pair.map(str::to_owned)).chain(blocks)
}

/// The own name of a tensor with a name of timm's.
pub(super) fn own(timm: &str) -> Option<String> {
    renamed(timm, layers())
}

/// timm's name of a tensor of EfficientNet-Lite0.
pub fn timm(own: &str) -> Option<String> {
    renamed(own, layers().map(|[timm, own]| [own, timm]))
}

fn renamed(name: &str, mut layers: impl Iterator<Item = [String; 2]>) -> Option<String> {
    let (layer, tensor) = name.rsplit_once('.')?;
    layers.find(|[from, _]| from == layer).map(|[_, to]| format!("{to}.{tensor}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::backbone;

    #[test]
    fn every_tensor_has_a_name_in_timm_and_back() {
        for spec in backbone("efficientnet_lite0").unwrap().specs() {
            let name = timm(&spec.name).unwrap_or_else(|| panic!("`{}` has no name in timm", spec.name));
            assert_eq!(own(&name).as_ref(), Some(&spec.name));
        }
        assert_eq!(own("blocks.3.2.conv_pwl.weight").as_deref(), Some("_blocks.7._project_conv.weight"));
        assert_eq!(own("bn2.running_var").as_deref(), Some("_bn1.running_var"));
        assert_eq!(own("classifier.weight"), None);
    }
}

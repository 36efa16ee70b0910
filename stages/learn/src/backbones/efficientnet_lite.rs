//! EfficientNet-Lite0, with the tensor names of `efficientnet_lite_pytorch`.
//!
//! An EfficientNet without squeeze-and-excitation and with ReLU6 instead of Swish, which is fast on small processors.
//! Shapes: images `[batch, height, width, 3]` to features `[batch, 1280]`.
//! Source: Tan and Le, "EfficientNet", ICML 2019, arXiv 1905.11946, table 1; inverted residual blocks from Sandler et al.,
//! "MobileNetV2", CVPR 2018, table 1; the Lite variant as released with TensorFlow's TPU models (2020).

use dnc_kernels::Activation;

use super::backbone::InPython;
use super::conv_net::{Block, ConvNet, Shortcut};
use super::conv_norm::{Border, ConvNorm, Norm};
use super::preprocessing::Preprocessing;

/// TensorFlow's ε, a hundred times PyTorch's.
const EPSILON: f64 = 1e-3;

/// The Python network computes its padding from `image_size`.
const IN_PYTHON: InPython = InPython {
    source: None,
    build: "efficientnet_lite_pytorch.EfficientNet.from_name('efficientnet-lite0', num_classes={dimension}, image_size={crop})",
    pool: Some("_avg_pooling"),
    linear: "_fc",
};

/// A sequence of blocks of the same shape.
struct BlockGroup {
    /// Number of blocks.
    depth: usize,
    kernel: usize,
    /// Stride of the first block.
    stride: usize,
    expansion: usize,
    /// Output channels.
    outputs: usize,
}

const GROUPS: [BlockGroup; 7] = [
    BlockGroup { depth: 1, kernel: 3, stride: 1, expansion: 1, outputs: 16 },
    BlockGroup { depth: 2, kernel: 3, stride: 2, expansion: 6, outputs: 24 },
    BlockGroup { depth: 2, kernel: 5, stride: 2, expansion: 6, outputs: 40 },
    BlockGroup { depth: 3, kernel: 3, stride: 2, expansion: 6, outputs: 80 },
    BlockGroup { depth: 3, kernel: 5, stride: 1, expansion: 6, outputs: 112 },
    BlockGroup { depth: 4, kernel: 5, stride: 2, expansion: 6, outputs: 192 },
    BlockGroup { depth: 1, kernel: 3, stride: 1, expansion: 6, outputs: 320 },
];

/// Sixteen inverted residual blocks.
pub(super) fn efficientnet_lite0() -> ConvNet {
    let mut blocks = Vec::new();
    let mut inputs = 32;
    for group in &GROUPS {
        for index in 0..group.depth {
            let stride = if index == 0 { group.stride } else { 1 };
            blocks.push(block(&format!("_blocks.{}", blocks.len()), group, inputs, stride));
            inputs = group.outputs;
        }
    }
    ConvNet {
        stem: ConvNorm { stride: 2, ..layer("_conv_stem", "_bn0", 3, [3, 32]) },
        stem_pool: false,
        blocks,
        head: Some(layer("_conv_head", "_bn1", 1, [inputs, 1280])),
        smallest: 1,
        preprocessing: Preprocessing::TENSORFLOW_LITE,
        stochastic_depth: 0.2,
        in_python: IN_PYTHON,
    }
}

fn block(name: &str, group: &BlockGroup, inputs: usize, stride: usize) -> Block {
    let width = inputs * group.expansion;
    let layer = |conv: &str, norm: &str, kernel, channels| {
        layer(&format!("{name}.{conv}"), &format!("{name}.{norm}"), kernel, channels)
    };
    let mut layers = Vec::with_capacity(3);
    if group.expansion > 1 {
        layers.push(layer("_expand_conv", "_bn0", 1, [inputs, width]));
    }
    let depthwise = layer("_depthwise_conv", "_bn1", group.kernel, [width, width]);
    layers.push(ConvNorm { stride, groups: width, ..depthwise });
    let project = layer("_project_conv", "_bn2", 1, [width, group.outputs]);
    layers.push(ConvNorm { activation: Activation::None, ..project });
    let shortcut = if stride == 1 && inputs == group.outputs { Shortcut::Identity } else { Shortcut::None };
    Block { layers, shortcut }
}

fn layer(conv: &str, norm: &str, kernel: usize, channels: [usize; 2]) -> ConvNorm {
    ConvNorm {
        border: Border::TensorflowSame,
        normalisation: Norm::Frozen { epsilon: EPSILON },
        activation: Activation::Relu6,
        ..ConvNorm::new(conv, norm, kernel, channels)
    }
}

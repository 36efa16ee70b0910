//! EfficientNet-Lite0 under the names of `efficientnet_lite_pytorch`.
//!
//! An EfficientNet without squeeze-and-excitation and with ReLU6 for Swish, so that it is fast on small processors.
//! Shapes: images `[batch, height, width, 3]` to features `[batch, 1280]`.
//! Source: Tan and Le, "EfficientNet", ICML 2019, arXiv 1905.11946, table 1; inverted residual blocks from Sandler et al.,
//! "MobileNetV2", CVPR 2018, table 1; the Lite variant as released with TensorFlow's TPU models (2020).

use dnc_kernels::Activation;

use super::conv_net::{Block, ConvNet, Shortcut};
use super::conv_norm::{Border, ConvNorm, Norm};
use super::{InPython, Preprocessing};

/// TensorFlow's ε, a hundred times PyTorch's.
const EPSILON: f64 = 1e-3;

/// Its padding is fixed for the size that it is told.
const IN_PYTHON: InPython = InPython {
    build: Some(
        "efficientnet_lite_pytorch.EfficientNet.from_name('efficientnet-lite0', num_classes={dimension}, image_size={crop})",
    ),
    pool: Some("_avg_pooling"),
    linear: "_fc",
};

/// A stage: how many blocks, kernel size, stride of the first block, expansion, output channels.
struct Stage {
    depth: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    outputs: usize,
}

const STAGES: [Stage; 7] = [
    Stage { depth: 1, kernel: 3, stride: 1, expansion: 1, outputs: 16 },
    Stage { depth: 2, kernel: 3, stride: 2, expansion: 6, outputs: 24 },
    Stage { depth: 2, kernel: 5, stride: 2, expansion: 6, outputs: 40 },
    Stage { depth: 3, kernel: 3, stride: 2, expansion: 6, outputs: 80 },
    Stage { depth: 3, kernel: 5, stride: 1, expansion: 6, outputs: 112 },
    Stage { depth: 4, kernel: 5, stride: 2, expansion: 6, outputs: 192 },
    Stage { depth: 1, kernel: 3, stride: 1, expansion: 6, outputs: 320 },
];

/// Sixteen inverted residual blocks.
pub(super) fn efficientnet_lite0() -> ConvNet {
    let mut blocks = Vec::new();
    let mut inputs = 32;
    for stage in &STAGES {
        for index in 0..stage.depth {
            let stride = if index == 0 { stage.stride } else { 1 };
            blocks.push(block(&format!("_blocks.{}", blocks.len()), stage, inputs, stride));
            inputs = stage.outputs;
        }
    }
    ConvNet {
        stem: ConvNorm { stride: 2, ..layer("_conv_stem", "_bn0", 3, [3, 32]) },
        stem_pool: false,
        blocks,
        head: Some(layer("_conv_head", "_bn1", 1, [inputs, 1280])),
        preprocessing: Preprocessing::TENSORFLOW_LITE,
        stochastic_depth: 0.2,
        in_python: IN_PYTHON,
    }
}

fn block(name: &str, stage: &Stage, inputs: usize, stride: usize) -> Block {
    let width = inputs * stage.expansion;
    let layer = |conv: &str, norm: &str, kernel, channels| {
        layer(&format!("{name}.{conv}"), &format!("{name}.{norm}"), kernel, channels)
    };
    let mut layers = Vec::with_capacity(3);
    if stage.expansion > 1 {
        layers.push(layer("_expand_conv", "_bn0", 1, [inputs, width]));
    }
    let depthwise = layer("_depthwise_conv", "_bn1", stage.kernel, [width, width]);
    layers.push(ConvNorm { stride, groups: width, ..depthwise });
    let project = layer("_project_conv", "_bn2", 1, [width, stage.outputs]);
    layers.push(ConvNorm { activation: Activation::None, ..project });
    let shortcut = if stride == 1 && inputs == stage.outputs { Shortcut::Identity } else { Shortcut::None };
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

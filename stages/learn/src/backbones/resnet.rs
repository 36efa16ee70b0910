//! ResNet-18, -34 and -50, with torchvision's tensor names.
//!
//! Shapes: images `[batch, height, width, 3]` to features `[batch, 512]` (18, 34) or `[batch, 2048]` (50).
//! Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1 and figure 5.
//! Deviation: as in torchvision, ResNet-50 has the stride of a stage in the 3×3 convolution instead of the first 1×1
//! convolution ("ResNet v1.5"), because the published weights were trained that way.

use dnc_kernels::Activation;

use super::backbone::InPython;
use super::conv_net::{Block, ConvNet, Shortcut};
use super::conv_norm::ConvNorm;
use super::preprocessing::Preprocessing;

/// Structure of a residual block.
#[derive(Clone, Copy, PartialEq)]
enum BlockShape {
    /// Two 3×3 convolutions.
    Basic,
    /// A 1×1 convolution that reduces the channels, a 3×3, and a 1×1 that expands them to four times the width.
    Bottleneck,
}

/// ResNet-18: stages of 2, 2, 2 and 2 basic blocks.
pub(super) fn resnet18() -> ConvNet {
    resnet(BlockShape::Basic, [2, 2, 2, 2], "torchvision.models.resnet18(num_classes={dimension})")
}

/// ResNet-34: stages of 3, 4, 6 and 3 basic blocks.
pub(super) fn resnet34() -> ConvNet {
    resnet(BlockShape::Basic, [3, 4, 6, 3], "torchvision.models.resnet34(num_classes={dimension})")
}

/// ResNet-50: stages of 3, 4, 6 and 3 bottleneck blocks.
pub(super) fn resnet50() -> ConvNet {
    resnet(BlockShape::Bottleneck, [3, 4, 6, 3], "torchvision.models.resnet50(num_classes={dimension})")
}

fn resnet(shape: BlockShape, depths: [usize; 4], python: &'static str) -> ConvNet {
    let mut blocks = Vec::new();
    let mut inputs = 64;
    for (stage, depth) in depths.into_iter().enumerate() {
        let width = 64 << stage;
        for index in 0..depth {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let block = block(shape, &format!("layer{}.{index}", stage + 1), inputs, width, stride);
            inputs = block.layers.last().expect("a block has layers").outputs;
            blocks.push(block);
        }
    }
    ConvNet {
        stem: ConvNorm { stride: 2, ..ConvNorm::new("conv1", "bn1", 7, [3, 64]) },
        stem_pool: true,
        blocks,
        head: None,
        smallest: 1,
        preprocessing: Preprocessing::IMAGENET,
        stochastic_depth: 0.0,
        in_python: InPython { source: None, build: python, pool: Some("avgpool"), linear: "fc" },
    }
}

fn block(shape: BlockShape, name: &str, inputs: usize, width: usize, stride: usize) -> Block {
    let layer = |index: usize, kernel: usize, channels: [usize; 2], stride: usize| ConvNorm {
        stride,
        ..ConvNorm::new(format!("{name}.conv{index}"), format!("{name}.bn{index}"), kernel, channels)
    };
    let (outputs, layers) = match shape {
        BlockShape::Basic => (width, vec![layer(1, 3, [inputs, width], stride), layer(2, 3, [width, width], 1)]),
        BlockShape::Bottleneck => (
            4 * width,
            vec![
                layer(1, 1, [inputs, width], 1),
                layer(2, 3, [width, width], stride),
                layer(3, 1, [width, 4 * width], 1),
            ],
        ),
    };
    let shortcut = if stride == 1 && inputs == outputs {
        Shortcut::Identity
    } else {
        let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
        let activation = Activation::None;
        Shortcut::Projection(ConvNorm { stride, activation, ..ConvNorm::new(conv, norm, 1, [inputs, outputs]) })
    };
    Block { layers, shortcut }
}

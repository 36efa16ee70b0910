//! ResNet-18, -34 and -50 under torchvision's names.
//!
//! Shapes: images `[batch, height, width, 3]` to features `[batch, 512]` (18, 34) or `[batch, 2048]` (50).
//! Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1 and figure 5.
//! Deviation: as torchvision does, ResNet-50 has the stride of a stage in the 3×3 convolution, not in the first 1×1
//! ("ResNet v1.5"), because that is what published weights were trained with.

use dnc_kernels::Activation;

use super::conv_net::{Block, ConvNet, Shortcut};
use super::conv_norm::ConvNorm;
use super::{InPython, Preprocessing};

/// How a residual block is built.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1 down, 3×3, 1×1 up to four times the width.
    Bottleneck,
}

/// Two, two, two and two basic blocks.
pub(super) fn resnet18() -> ConvNet {
    resnet(Kind::Basic, [2, 2, 2, 2], "torchvision.models.resnet18(num_classes={dimension})")
}

/// Three, four, six and three basic blocks.
pub(super) fn resnet34() -> ConvNet {
    resnet(Kind::Basic, [3, 4, 6, 3], "torchvision.models.resnet34(num_classes={dimension})")
}

/// Three, four, six and three bottlenecks.
pub(super) fn resnet50() -> ConvNet {
    resnet(Kind::Bottleneck, [3, 4, 6, 3], "torchvision.models.resnet50(num_classes={dimension})")
}

fn resnet(kind: Kind, depths: [usize; 4], python: &'static str) -> ConvNet {
    let mut blocks = Vec::new();
    let mut inputs = 64;
    for (stage, depth) in depths.into_iter().enumerate() {
        let width = 64 << stage;
        for index in 0..depth {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let block = block(kind, &format!("layer{}.{index}", stage + 1), inputs, width, stride);
            inputs = block.layers.last().expect("a block has layers").outputs;
            blocks.push(block);
        }
    }
    ConvNet {
        stem: ConvNorm { stride: 2, ..ConvNorm::new("conv1", "bn1", 7, [3, 64]) },
        stem_pool: true,
        blocks,
        head: None,
        preprocessing: Preprocessing::IMAGENET,
        stochastic_depth: 0.0,
        in_python: InPython { build: Some(python), pool: Some("avgpool"), linear: "fc" },
    }
}

fn block(kind: Kind, name: &str, inputs: usize, width: usize, stride: usize) -> Block {
    let layer = |index: usize, kernel: usize, channels: [usize; 2], stride: usize| ConvNorm {
        stride,
        ..ConvNorm::new(format!("{name}.conv{index}"), format!("{name}.bn{index}"), kernel, channels)
    };
    let (outputs, layers) = match kind {
        Kind::Basic => (width, vec![layer(1, 3, [inputs, width], stride), layer(2, 3, [width, width], 1)]),
        Kind::Bottleneck => (
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

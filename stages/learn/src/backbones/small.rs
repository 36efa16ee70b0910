//! A small convolutional network for training from scratch.
//!
//! Four stages of one residual block of two 3×3 convolutions. There is no batch-norm, because frozen statistics would normalise
//! nothing when training from scratch. Instead, each convolution has one scale and one shift per channel, and the last scale of
//! a block starts at zero, so that a new network is the identity along its shortcuts and gradients reach the stem.
//! Shapes: images `[batch, height, width, 3]` to features `[batch, 256]`.
//! Source: residual blocks from He et al., CVPR 2016; scale, shift and the initial zero from Zhang, Dauphin and Ma, "Fixup
//! Initialization", ICLR 2019, arXiv 1901.09321, and Goyal et al., arXiv 1706.02677, section 5.1.

use dnc_kernels::Activation;

use super::backbone::InPython;
use super::conv_net::{Block, ConvNet, Shortcut};
use super::conv_norm::{ConvNorm, Norm};
use super::preprocessing::Preprocessing;

/// Channels of each stage; every stage except the first halves the feature map.
const WIDTHS: [usize; 4] = [32, 64, 128, 256];

/// One block per stage.
pub(super) fn small() -> ConvNet {
    let mut inputs = WIDTHS[0];
    let mut blocks = Vec::with_capacity(WIDTHS.len());
    for (stage, outputs) in WIDTHS.into_iter().enumerate() {
        let stride = if stage == 0 { 1 } else { 2 };
        blocks.push(block(&format!("blocks.{stage}"), inputs, outputs, stride));
        inputs = outputs;
    }
    ConvNet {
        stem: ConvNorm { stride: 2, ..layer("stem.conv", "stem.norm", 3, [3, WIDTHS[0]], 1.0) },
        stem_pool: false,
        blocks,
        head: None,
        smallest: 1,
        preprocessing: Preprocessing::TENSORFLOW_LITE,
        stochastic_depth: 0.0,
        in_python: InPython {
            source: Some(include_str!("python/small.py")),
            build: "Small(dimension={dimension}, pooling='{pooling}')",
            pool: None,
            linear: "fc",
        },
    }
}

fn block(name: &str, inputs: usize, outputs: usize, stride: usize) -> Block {
    let layer = |part: &str, kernel, channels, scale| {
        layer(&format!("{name}.{part}.conv"), &format!("{name}.{part}.norm"), kernel, channels, scale)
    };
    let first = ConvNorm { stride, ..layer("first", 3, [inputs, outputs], 1.0) };
    let second = layer("second", 3, [outputs, outputs], 0.0);
    let shortcut = if stride == 1 && inputs == outputs {
        Shortcut::Identity
    } else {
        let activation = Activation::None;
        Shortcut::Projection(ConvNorm { stride, activation, ..layer("shortcut", 1, [inputs, outputs], 1.0) })
    };
    Block { layers: vec![first, second], shortcut }
}

fn layer(conv: &str, norm: &str, kernel: usize, channels: [usize; 2], scale: f32) -> ConvNorm {
    ConvNorm { normalisation: Norm::Plain { scale }, ..ConvNorm::new(conv, norm, kernel, channels) }
}

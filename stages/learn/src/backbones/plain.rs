//! A plain chain of five convolutions for small images, which the quickstart trains from scratch in a minute.
//!
//! Like [`small`](super::small) it has one scale and one shift per channel instead of batch-norm, whose frozen statistics would
//! normalise nothing, but no shortcuts. The last convolution is not padded: for an image of 48 × 48 pixels it covers the whole
//! 3 × 3 feature map and keeps the position of features, which carries information in drawings.
//! Shapes: images `[batch, height, width, 3]`, at least 33 × 33, to features `[batch, 384]`.
//! Source: chosen by experiments on the emoji in `pipelines/data`.

use super::backbone::InPython;
use super::conv_net::{Block, ConvNet, Shortcut};
use super::conv_norm::{Border, ConvNorm, Norm};
use super::preprocessing::Preprocessing;

/// Five convolutions.
pub(super) fn plain() -> ConvNet {
    let layer = |number: usize, kernel, stride, channels| ConvNorm {
        stride,
        normalisation: Norm::Plain { scale: 1.0 },
        ..ConvNorm::new(format!("conv{number}"), format!("norm{number}"), kernel, channels)
    };
    let last = ConvNorm { border: Border::Zeros(0), ..layer(5, 3, 1, [192, 384]) };
    let chain = [layer(2, 3, 2, [48, 96]), layer(3, 3, 2, [96, 192]), layer(4, 3, 2, [192, 192]), last];
    ConvNet {
        stem: layer(1, 5, 2, [3, 48]),
        stem_pool: false,
        blocks: chain.map(|layer| Block { layers: vec![layer], shortcut: Shortcut::None }).into(),
        head: None,
        smallest: 33,
        preprocessing: Preprocessing::TENSORFLOW_LITE,
        stochastic_depth: 0.0,
        in_python: InPython {
            source: Some(include_str!("python/plain.py")),
            build: "Plain(dimension={dimension}, pooling='{pooling}')",
            pool: None,
            linear: "fc",
        },
    }
}

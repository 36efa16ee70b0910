//! Convolutional backbones that are a chain of blocks: a stem, blocks with shortcuts, and optionally a head.
//!
//! The families differ in the layers of their blocks, not in how they are computed, so each file describes a [`ConvNet`] and
//! this one computes it.

use candle_core::{DType, Tensor};
use dnc_kernels::{Activation, Padding, affine, max_pool2d};

use super::backbone::{Backbone, InPython};
use super::conv_norm::ConvNorm;
use super::pooling::{Pooling, pool};
use super::preprocessing::Preprocessing;
use super::stochastic_depth::StochasticDepth;
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};
use crate::parameters::Parameters;
use crate::spec::Spec;

/// Parallel path of a block, which is added before the activation of its last layer.
#[derive(Clone, Debug)]
pub(super) enum Shortcut {
    /// No shortcut.
    None,
    /// The block's input.
    Identity,
    /// The block's input after a layer that gives it the right shape.
    Projection(ConvNorm),
}

/// A sequence of layers with a shortcut past all of them.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) layers: Vec<ConvNorm>,
    pub(super) shortcut: Shortcut,
}

/// A whole backbone.
#[derive(Clone, Debug)]
pub(super) struct ConvNet {
    pub(super) stem: ConvNorm,
    /// Whether 3×3 max pooling with stride 2 and padding 1 follows the stem.
    pub(super) stem_pool: bool,
    pub(super) blocks: Vec<Block>,
    pub(super) head: Option<ConvNorm>,
    /// Side in pixels of the smallest images that it takes.
    pub(super) smallest: usize,
    pub(super) preprocessing: Preprocessing,
    /// Rate of stochastic depth of the published network.
    pub(super) stochastic_depth: f64,
    pub(super) in_python: InPython,
}

impl Block {
    /// `thin`, if any, is stochastic depth: it is applied to the residual, which the block adds to its input.
    fn forward(
        &self,
        parameters: &Parameters,
        x: &Tensor,
        thin: Option<&dyn Fn(&Tensor) -> Result<Tensor>>,
    ) -> Result<Tensor> {
        let shortcut = match &self.shortcut {
            Shortcut::None => None,
            Shortcut::Identity => Some(x.clone()),
            Shortcut::Projection(layer) => Some(layer.forward(parameters, x, None)?),
        };
        let (last, inner) = self.layers.split_last().expect("a block is built with at least one layer");
        let mut y = x.clone();
        for layer in inner {
            y = layer.forward(parameters, &y, None)?;
        }
        match (thin, &self.shortcut) {
            (Some(thin), Shortcut::Identity) => {
                let linear = ConvNorm { activation: Activation::None, ..last.clone() };
                let residual = thin(&linear.forward(parameters, &y, None)?)?;
                let one = Tensor::ones(last.outputs, DType::F32, x.device())?;
                Ok(affine(&residual, &one, &one.zeros_like()?, Some(x), last.activation)?)
            }
            _ => last.forward(parameters, &y, shortcut.as_ref()),
        }
    }

    fn trace(&self, parameters: &Parameters, graph: &mut Graph, x: &Value) -> Result<Value> {
        let shortcut = match &self.shortcut {
            Shortcut::None => None,
            Shortcut::Identity => Some(x.clone()),
            Shortcut::Projection(layer) => Some(layer.trace(parameters, graph, x, None)?),
        };
        let (last, inner) = self.layers.split_last().expect("a block is built with at least one layer");
        let mut y = x.clone();
        for layer in inner {
            y = layer.trace(parameters, graph, &y, None)?;
        }
        last.trace(parameters, graph, &y, shortcut.as_ref())
    }

    fn layers(&self) -> impl Iterator<Item = &ConvNorm> {
        let projection = match &self.shortcut {
            Shortcut::Projection(layer) => Some(layer),
            Shortcut::None | Shortcut::Identity => None,
        };
        self.layers.iter().chain(projection)
    }
}

impl ConvNet {
    fn layers(&self) -> impl Iterator<Item = &ConvNorm> {
        std::iter::once(&self.stem).chain(self.blocks.iter().flat_map(Block::layers)).chain(&self.head)
    }

    /// The last layer before the pooling.
    fn last(&self) -> &ConvNorm {
        let block = || self.blocks.last().and_then(|block| block.layers.last());
        self.head.as_ref().or_else(block).unwrap_or(&self.stem)
    }
}

impl Backbone for ConvNet {
    fn feature_dim(&self) -> usize {
        self.last().outputs
    }

    fn refuses(&self, crop: usize) -> Option<String> {
        (crop < self.smallest).then(|| format!("it must be at least {}", self.smallest))
    }

    fn preprocessing(&self) -> Preprocessing {
        self.preprocessing
    }

    fn stochastic_depth(&self) -> Option<f64> {
        Some(self.stochastic_depth)
    }

    fn in_python(&self) -> InPython {
        self.in_python
    }

    fn specs(&self) -> Vec<Spec> {
        self.layers().flat_map(ConvNorm::specs).collect()
    }

    fn forward(
        &self,
        parameters: &Parameters,
        images: &Tensor,
        pooling: Pooling,
        depth: Option<StochasticDepth<'_>>,
    ) -> Result<Tensor> {
        let mut x = self.stem.forward(parameters, images, None)?;
        if self.stem_pool {
            x = max_pool2d(&x, 3, 2, Padding::same(1))?;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let thin = depth.map(|depth| move |residual: &Tensor| depth.thin(residual, index, self.blocks.len()));
            x = block.forward(parameters, &x, thin.as_ref().map(|thin| thin as &dyn Fn(&Tensor) -> _))?;
        }
        if let Some(head) = &self.head {
            x = head.forward(parameters, &x, None)?;
        }
        pool(&x, pooling)
    }

    fn trace(&self, parameters: &Parameters, graph: &mut Graph, images: &Value, pooling: Pooling) -> Result<Value> {
        let mut x = self.stem.trace(parameters, graph, images, None)?;
        if self.stem_pool {
            x = graph.max_pool(&x, 3, 2, Padding::same(1))?;
        }
        for block in &self.blocks {
            x = block.trace(parameters, graph, &x)?;
        }
        if let Some(head) = &self.head {
            x = head.trace(parameters, graph, &x, None)?;
        }
        graph.pool(&x, pooling)
    }

    fn fold(&self, parameters: &Parameters) -> Result<Parameters> {
        let mut folded = Parameters::empty(parameters.device());
        for layer in self.layers() {
            layer.fold(parameters, &mut folded)?;
        }
        Ok(folded)
    }
}

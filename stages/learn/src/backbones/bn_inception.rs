//! BN-Inception, with the tensor names of Cadène's `pretrainedmodels`, whose weights come from Caffe.
//!
//! Shapes: images `[batch, height, width, 3]` in BGR order, to features `[batch, 1024]`.
//! Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015, arXiv 1502.03167, appendix (figure 5).

use candle_core::Tensor;
use dnc_kernels::{Padding, avg_pool2d, max_pool2d};

use super::backbone::{Backbone, InPython};
use super::conv_norm::ConvNorm;
use super::pooling::{Pooling, pool};
use super::preprocessing::Preprocessing;
use super::stochastic_depth::StochasticDepth;
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};
use crate::parameters::Parameters;
use crate::spec::Spec;

/// Pooling in the fourth tower of a module.
#[derive(Clone, Copy, PartialEq)]
enum PoolKind {
    Average,
    Max,
}

/// Channels of an inception module's towers: 1×1; 1×1 and 3×3; 1×1 and twice 3×3; pooling and 1×1.
struct Channels {
    name: &'static str,
    single: usize,
    triple: [usize; 2],
    double: [usize; 2],
    pool: PoolKind,
    pooled: usize,
}

/// The ten modules. One with `single` and `pooled` at zero halves the feature map: its 3×3 convolutions and its pooling have stride 2,
/// and no convolution follows the pooling.
const MODULES: [Channels; 10] = {
    use PoolKind::{Average, Max};
    const fn module(
        name: &'static str,
        single: usize,
        triple: [usize; 2],
        double: [usize; 2],
        pool: PoolKind,
        pooled: usize,
    ) -> Channels {
        Channels { name, single, triple, double, pool, pooled }
    }
    [
        module("inception_3a", 64, [64, 64], [64, 96], Average, 32),
        module("inception_3b", 64, [64, 96], [64, 96], Average, 64),
        module("inception_3c", 0, [128, 160], [64, 96], Max, 0),
        module("inception_4a", 224, [64, 96], [96, 128], Average, 128),
        module("inception_4b", 192, [96, 128], [96, 128], Average, 128),
        module("inception_4c", 160, [128, 160], [128, 160], Average, 128),
        module("inception_4d", 96, [128, 192], [160, 192], Average, 128),
        module("inception_4e", 0, [128, 192], [192, 256], Max, 0),
        module("inception_5a", 352, [192, 320], [160, 224], Average, 128),
        module("inception_5b", 352, [192, 320], [192, 224], Max, 128),
    ]
};

/// The network: three convolutions with two poolings between them, and ten modules.
pub(super) struct BnInception {
    stem: [ConvNorm; 3],
    modules: Vec<Module>,
}

/// Four parallel towers whose output channels are concatenated.
struct Module {
    /// The layers of each convolutional tower.
    towers: Vec<Vec<ConvNorm>>,
    /// The layer after the pooling, if any.
    projection: Option<ConvNorm>,
    pool: PoolKind,
    stride: usize,
}

pub(super) fn bn_inception() -> BnInception {
    let stem = [
        ConvNorm { stride: 2, ..layer("conv1_7x7_s2", 7, [3, 64]) },
        layer("conv2_3x3_reduce", 1, [64, 64]),
        layer("conv2_3x3", 3, [64, 192]),
    ];
    let mut inputs = 192;
    let modules = MODULES.iter().map(|channels| {
        let module = Module::new(channels, inputs);
        let pooled = if module.stride == 2 { inputs } else { channels.pooled };
        inputs = channels.single + channels.triple[1] + channels.double[1] + pooled;
        module
    });
    BnInception { modules: modules.collect(), stem }
}

impl Module {
    fn new(channels: &Channels, inputs: usize) -> Self {
        let &Channels { name, single, triple, double, pool, pooled } = channels;
        let stride = if pooled == 0 { 2 } else { 1 };
        let named = |part: &str, kernel, channels| layer(&format!("{name}_{part}"), kernel, channels);
        let mut towers = Vec::with_capacity(3);
        if single > 0 {
            towers.push(vec![named("1x1", 1, [inputs, single])]);
        }
        towers.push(vec![named("3x3_reduce", 1, [inputs, triple[0]]), ConvNorm { stride, ..named("3x3", 3, triple) }]);
        towers.push(vec![
            named("double_3x3_reduce", 1, [inputs, double[0]]),
            named("double_3x3_1", 3, double),
            ConvNorm { stride, ..named("double_3x3_2", 3, [double[1], double[1]]) },
        ]);
        let projection = (pooled > 0).then(|| named("pool_proj", 1, [inputs, pooled]));
        Self { towers, projection, pool, stride }
    }

    fn layers(&self) -> impl Iterator<Item = &ConvNorm> {
        self.towers.iter().flatten().chain(&self.projection)
    }

    fn forward(&self, parameters: &Parameters, x: &Tensor) -> Result<Tensor> {
        let mut outputs = Vec::with_capacity(4);
        for tower in &self.towers {
            let mut y = x.clone();
            for layer in tower {
                y = layer.forward(parameters, &y, None)?;
            }
            outputs.push(y);
        }
        let pooled = match self.pool {
            PoolKind::Average => avg_pool2d(x, 3, 1, Padding::same(1))?,
            PoolKind::Max if self.stride == 1 => max_pool2d(x, 3, 1, Padding::same(1))?,
            PoolKind::Max => halving_max_pool(x)?,
        };
        outputs.push(match &self.projection {
            Some(projection) => projection.forward(parameters, &pooled, None)?,
            None => pooled,
        });
        Ok(Tensor::cat(&outputs, 3)?) // [batch, height, width, single + triple + double + pooled]
    }

    fn trace(&self, parameters: &Parameters, graph: &mut Graph, x: &Value) -> Result<Value> {
        let mut outputs = Vec::with_capacity(4);
        for tower in &self.towers {
            let mut y = x.clone();
            for layer in tower {
                y = layer.trace(parameters, graph, &y, None)?;
            }
            outputs.push(y);
        }
        let pooled = match self.pool {
            PoolKind::Average => graph.avg_pool(x, 3, 1, Padding::same(1))?,
            PoolKind::Max if self.stride == 1 => graph.max_pool(x, 3, 1, Padding::same(1))?,
            PoolKind::Max => graph.max_pool(x, 3, 2, halving_padding(x.shape[1], x.shape[2]))?,
        };
        outputs.push(match &self.projection {
            Some(projection) => projection.trace(parameters, graph, &pooled, None)?,
            None => pooled,
        });
        Ok(graph.concat(&outputs))
    }
}

impl BnInception {
    fn layers(&self) -> impl Iterator<Item = &ConvNorm> {
        self.stem.iter().chain(self.modules.iter().flat_map(Module::layers))
    }
}

impl Backbone for BnInception {
    fn feature_dim(&self) -> usize {
        1024
    }

    /// The two blocks that halve the image pool one branch with rounding up and stride over the others, which agree only on even
    /// sizes: the map before them, an eighth of the image, must be divisible by four.
    fn refuses(&self, crop: usize) -> Option<String> {
        let map = crop.div_ceil(2) / 4;
        let is_halved_twice = map > 0 && map.is_multiple_of(4);
        (!is_halved_twice).then(|| "it must be a multiple of 32, from 1 less to 6 more".to_owned())
    }

    fn preprocessing(&self) -> Preprocessing {
        Preprocessing::CAFFE
    }

    fn in_python(&self) -> InPython {
        let build = "pretrainedmodels.bninception(num_classes={dimension}, pretrained=None)";
        InPython { source: None, build, pool: Some("global_pool"), linear: "last_linear" }
    }

    fn specs(&self) -> Vec<Spec> {
        self.layers().flat_map(ConvNorm::specs).collect()
    }

    fn forward(
        &self,
        parameters: &Parameters,
        images: &Tensor,
        pooling: Pooling,
        _: Option<StochasticDepth<'_>>,
    ) -> Result<Tensor> {
        let [first, reduce, second] = &self.stem;
        let x = halving_max_pool(&first.forward(parameters, images, None)?)?;
        let x = second.forward(parameters, &reduce.forward(parameters, &x, None)?, None)?;
        let mut x = halving_max_pool(&x)?;
        for module in &self.modules {
            x = module.forward(parameters, &x)?;
        }
        pool(&x, pooling)
    }

    fn trace(&self, parameters: &Parameters, graph: &mut Graph, images: &Value, pooling: Pooling) -> Result<Value> {
        let [first, reduce, second] = &self.stem;
        let halved = |graph: &mut Graph, x: &Value| graph.max_pool(x, 3, 2, halving_padding(x.shape[1], x.shape[2]));
        let mut x = first.trace(parameters, graph, images, None)?;
        x = halved(graph, &x)?;
        x = reduce.trace(parameters, graph, &x, None)?;
        x = second.trace(parameters, graph, &x, None)?;
        x = halved(graph, &x)?;
        for module in &self.modules {
            x = module.trace(parameters, graph, &x)?;
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

/// A layer with a bias, which Caffe's convolutions have although a batch-norm follows.
fn layer(name: &str, kernel: usize, channels: [usize; 2]) -> ConvNorm {
    ConvNorm { bias: true, ..ConvNorm::new(name, format!("{name}_bn"), kernel, channels) }
}

/// 3×3 max pooling with stride 2.
fn halving_max_pool(x: &Tensor) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    Ok(max_pool2d(x, 3, 2, halving_padding(height, width))?)
}

/// Caffe rounds the output size up, so an even side is padded by one row at its end.
fn halving_padding(height: usize, width: usize) -> Padding {
    Padding { top: 0, left: 0, bottom: (height + 1) % 2, right: (width + 1) % 2 }
}

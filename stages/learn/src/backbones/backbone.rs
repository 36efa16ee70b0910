//! The backbone trait, and what a backbone is called in Python.

use candle_core::Tensor;

use super::pooling::Pooling;
use super::preprocessing::Preprocessing;
use super::stochastic_depth::StochasticDepth;
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};
use crate::parameters::Parameters;
use crate::spec::Spec;
use crate::weights::NamedTensor;

/// A network that turns images into features.
pub trait Backbone: Send + Sync {
    /// Number F of features of an image.
    fn feature_dim(&self) -> usize;

    /// The preprocessing of images that the published weights expect.
    fn preprocessing(&self) -> Preprocessing;

    /// The pooling of the published network.
    fn pooling(&self) -> Pooling {
        Pooling::Average
    }

    /// The [`StochasticDepth::rate`] of the published network; `None` if it has no blocks to skip.
    fn stochastic_depth(&self) -> Option<f64> {
        None
    }

    /// The same network in Python.
    fn in_python(&self) -> InPython;

    /// Converts one of the network's tensors for its Python code, if that depends on the image size.
    ///
    /// # Errors
    /// If the tensor does not have the network's shape.
    fn for_python(&self, tensor: NamedTensor, _crop: usize) -> Result<NamedTensor> {
        Ok(tensor)
    }

    /// All tensors of the network for images of the published size.
    fn specs(&self) -> Vec<Spec>;

    /// All tensors of the network for images of `crop` × `crop` pixels, of which `given` are to be used: a tensor that may have
    /// several shapes has that of the given one.
    fn specs_for(&self, _crop: usize, _given: &[NamedTensor]) -> Vec<Spec> {
        self.specs()
    }

    /// Converts tensors that were made for images of another size, as the network's published code does when it loads them.
    ///
    /// # Errors
    /// If a tensor does not have the network's shape.
    fn for_crop(&self, given: Vec<NamedTensor>, _crop: usize) -> Result<Vec<NamedTensor>> {
        Ok(given)
    }

    /// Why the network does not take images of `crop` × `crop` pixels; `None` if it does.
    fn refuses(&self, _crop: usize) -> Option<String> {
        None
    }

    /// Features of `images`: `[batch, height, width, 3]` to `[batch, F]`. A network without blocks to skip ignores `depth`.
    ///
    /// # Errors
    /// If `parameters` lack a tensor, the images are too small for the network, or it does not support the pooling.
    fn forward(
        &self,
        parameters: &Parameters,
        images: &Tensor,
        pooling: Pooling,
        depth: Option<StochasticDepth<'_>>,
    ) -> Result<Tensor>;

    /// Adds the same computation to an ONNX graph: `images` `[batch, 3, height, width]` to features `[batch, F]`. The parameters are
    /// those that [`fold`](Self::fold) returns.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    fn trace(&self, parameters: &Parameters, graph: &mut Graph, images: &Value, pooling: Pooling) -> Result<Value>;

    /// Parameters for inference, with every batch-norm folded into the convolution before it. They are only for
    /// [`forward`](Self::forward): they are not trained, and their names are not for files.
    ///
    /// # Errors
    /// If `parameters` lack a tensor.
    fn fold(&self, parameters: &Parameters) -> Result<Parameters>;
}

/// The Python code of a network, for exporting a model to PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InPython {
    /// The code that defines the network, where it is this project's own; `None` if it is published.
    pub source: Option<&'static str>,
    /// Expression that builds the network, with placeholders `{dimension}`, `{crop}` and `{pooling}` (`avg`, `max` or
    /// `token`) for the properties of the model.
    pub build: &'static str,
    /// Attribute of the module that pools the feature map; `None` if the expression sets the pooling.
    pub pool: Option<&'static str>,
    /// Attribute of the linear layer after the features, which the embedding layer replaces.
    pub linear: &'static str,
}

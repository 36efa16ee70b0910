//! The last part of the backward pass of convolutions and linear layers: from the gradients of folded weights and sums over chunks to the
//! gradients of parameters. Those of variables wait until the end of the walk, and all layers are finished by one launch.

use std::cell::RefCell;

use candle_core::{DType, Result, Tensor};

use super::channels::Partial;
use super::launch::{Argument, FINISH, Grid, NormPointers, launch, small};
use super::memory::{NULL, Output, device, output_or_null, pointer, pointer_or_null};
use super::weights::{Layout, Scaling, sizes};
use crate::tape::walk::{AtEnd, Slot, add, at_end};

/// The gradient of a folded weight.
pub(super) enum OfFolded {
    /// `[out, tap, depth]` in the type of the activations or in `f32`.
    Taps(Tensor),
    /// `[chunk, tap · out]`, to be summed over the chunks.
    Depthwise(Partial),
}

/// The nodes of a layer's parameters: with a normalisation, scale and shift are γ and β.
pub(super) struct Nodes {
    pub(super) weight: Slot,
    pub(super) scale: Slot,
    pub(super) shift: Slot,
    pub(super) bias: Slot,
}

impl Nodes {
    pub(super) fn all(&self) -> [&Slot; 4] {
        [&self.weight, &self.scale, &self.shift, &self.bias]
    }
}

/// A layer whose parameters wait for their gradients.
pub(super) struct Layer {
    /// `None` if neither the weight nor the scale is tracked.
    pub(super) gradient: Option<OfFolded>,
    pub(super) weight: Tensor,
    pub(super) scaling: Scaling,
    pub(super) layout: Layout,
    /// Sums of the output's gradient, `[chunk, out]`; `None` if neither scale nor shift is tracked.
    pub(super) sums: Option<Partial>,
    pub(super) nodes: Nodes,
}

thread_local! {
    /// The layers that wait, while a backward pass runs on this thread.
    static WAITING: RefCell<Vec<Layer>> = const { RefCell::new(Vec::new()) };
}

/// Finishes a layer: at the end of the walk if only variables wait for it, and else at once.
pub(super) fn later(layer: Layer) -> Result<()> {
    if layer.nodes.all().into_iter().flatten().all(|node| node.is_variable()) {
        let count = WAITING.with_borrow_mut(|waiting| {
            waiting.push(layer);
            waiting.len()
        });
        if count == 1 {
            at_end(AtEnd { finish: finish_waiting, forget: forget_waiting });
        }
        return Ok(());
    }
    finish(vec![layer])
}

/// Finishes the layers that wait on this thread.
fn finish_waiting() -> Result<()> {
    finish(WAITING.take())
}

/// Forgets the layers that wait, after a backward pass that failed.
fn forget_waiting() {
    WAITING.take();
}

/// Gradients that the kernel writes.
struct Outputs {
    weight: Option<Output>,
    scale: Option<Output>,
    shift: Option<Output>,
    bias: Option<Output>,
}

/// Outputs of a block, as in `finish.cu`.
const OUTPUTS: usize = 8;

fn finish(layers: Vec<Layer>) -> Result<()> {
    let Some(first) = layers.first() else { return Ok(()) };
    let (device, candle_device) = (device(&first.weight)?, first.weight.device().clone());
    let (mut words, mut blocks, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    for (index, layer) in layers.iter().enumerate() {
        let out = layer.weight.dims()[0];
        outputs.push(layer.describe(&mut words)?);
        blocks.extend((0..out).step_by(OUTPUTS).flat_map(|first| [index as u32, first as u32]));
    }
    let (grid, count) = (blocks.len() / 2, words.len());
    let words = Tensor::from_vec(words, count, &candle_device)?;
    let blocks = Tensor::from_vec(blocks, 2 * grid, &candle_device)?;
    let arguments = [pointer(&words)?, pointer(&blocks)?].map(Argument::Pointer);
    let grid = Grid { blocks: [grid, 1, 1], threads: [32, OUTPUTS as u32] };
    // SAFETY: the arguments are those of the kernel; each block has its layer and its first output in the tables, and the layers their
    // addresses and sizes.
    unsafe { launch(&device, FINISH, "finish_layers", grid, &arguments)? };
    for (layer, outputs) in layers.into_iter().zip(outputs) {
        let Layer { gradient, weight, nodes, .. } = layer;
        let of_weight = match (outputs.weight, gradient) {
            (Some(output), _) => Some(output.into_tensor()),
            // It is that of the weight already.
            (None, Some(OfFolded::Taps(gradient))) => Some(gradient.reshape(weight.shape())?),
            (None, _) => None,
        };
        let [scale, shift, bias] =
            [outputs.scale, outputs.shift, outputs.bias].map(|output| output.map(Output::into_tensor));
        for (node, gradient) in
            [(nodes.weight, of_weight), (nodes.scale, scale), (nodes.shift, shift), (nodes.bias, bias)]
        {
            add(node, gradient)?;
        }
    }
    Ok(())
}

impl Layer {
    /// Appends the layer to the kernel's table, and makes room for the gradients.
    fn describe(&self, words: &mut Vec<u32>) -> Result<Outputs> {
        let (out, depth, taps) = sizes(&self.weight)?;
        let device = device(&self.weight)?;
        let vector = |wanted: bool| wanted.then(|| Output::new(out, DType::F32, &device)).transpose();
        let (padded, row) = self.layout.padded_and_row(depth, taps);
        let (kind, gradient, chunks) = match &self.gradient {
            None => (0, NULL, 0),
            // Nothing is to be changed.
            Some(OfFolded::Taps(gradient))
                if !self.scaling.has_scale() && taps == 1 && row == depth && gradient.dtype() == DType::F32 =>
            {
                (0, NULL, 0)
            }
            Some(OfFolded::Taps(gradient)) if gradient.dtype() == DType::F32 => (1, pointer(gradient)?, 1),
            Some(OfFolded::Taps(gradient)) => (2, pointer(gradient)?, 1),
            Some(OfFolded::Depthwise(partial)) => (3, pointer(&partial.values)?, partial.chunks),
        };
        let is_norm = matches!(self.scaling, Scaling::Norm(_));
        // The gradients of γ and of the bias take those of weight and shift.
        let has_both = kind != 0 && (!is_norm || self.sums.is_some());
        let outputs = Outputs {
            weight: (kind != 0).then(|| Output::new(self.weight.shape(), DType::F32, &device)).transpose()?,
            scale: vector(self.nodes.scale.is_some() && has_both && self.scaling.has_scale())?,
            shift: vector(self.nodes.shift.is_some() && self.sums.is_some())?,
            bias: vector(self.nodes.bias.is_some() && is_norm && self.sums.is_some())?,
        };
        let NormPointers { pointers: [gamma, _, mean, variance, bias], epsilon } = self.scaling.norm_pointers()?;
        let pointers = [
            gradient,
            pointer(&self.weight)?,
            gamma,
            mean,
            variance,
            bias,
            pointer_or_null(self.scaling.scale())?,
            pointer_or_null(self.sums.as_ref().map(|sums| &sums.values))?,
            output_or_null(outputs.weight.as_ref())?,
            output_or_null(outputs.scale.as_ref())?,
            output_or_null(outputs.shift.as_ref())?,
            output_or_null(outputs.bias.as_ref())?,
        ];
        words.extend(pointers.into_iter().flat_map(|word| [word as u32, (word >> 32) as u32]));
        let sum_chunks = self.sums.as_ref().map_or(0, |sums| sums.chunks);
        for size in [kind, out, depth, padded, row, taps, chunks, sum_chunks] {
            words.push(small(size)?.cast_unsigned());
        }
        // The second word fills the structure up to a multiple of eight bytes.
        words.extend([epsilon.to_bits(), 0]);
        Ok(outputs)
    }
}

//! Copies of queries, keys, values and results between token by token and head by head.

use candle_core::{Result, Tensor};

use super::launch::{Argument, Grid, HEADS, int, launch, packing, small};
use super::memory::{Output, device, pointer};

/// Heads of the tokens of a batch. The number of tokens is padded with zeros to a multiple of eight, with which matrix products are
/// fastest; the zeros take part in them, but change no result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) batch: usize,
    pub(super) tokens: usize,
    pub(super) heads: usize,
    /// Channels of one head.
    pub(super) channels: usize,
}

impl Heads {
    /// Tokens of an image with the padding.
    pub(super) fn padded(self) -> usize {
        self.tokens.next_multiple_of(8)
    }

    /// Elements of one part.
    pub(super) fn elements(self) -> usize {
        self.batch * self.heads * self.padded() * self.channels
    }

    /// From `[batch, tokens, parts · heads · channels]` to `[parts, batch · heads, padded, channels]`.
    pub(super) fn apart(self, x: &Tensor, parts: usize) -> Result<Tensor> {
        let output =
            Output::new((parts, self.batch * self.heads, self.padded(), self.channels), x.dtype(), &device(x)?)?;
        self.copy("heads_apart", x, &output, parts)?;
        Ok(output.into_tensor())
    }

    /// From `[parts, batch · heads, padded, channels]` to `[batch, tokens, parts · heads · channels]`.
    pub(super) fn together(self, x: &Tensor, parts: usize) -> Result<Output> {
        let width = parts * self.heads * self.channels;
        let output = Output::new((self.batch, self.tokens, width), x.dtype(), &device(x)?)?;
        self.copy("heads_together", x, &output, parts)?;
        Ok(output)
    }

    fn copy(self, kernel: &str, x: &Tensor, output: &Output, parts: usize) -> Result<()> {
        let Self { batch, tokens, heads, channels } = self;
        let pointers = [pointer(x)?, output.pointer()?];
        let (pack, name) = packing(x.dtype(), channels, &pointers)?;
        let (packs, count) = (channels / pack, output.elements() / pack);
        // The kernels number packs by C's `int`, and the padded tensor has most of them.
        small(parts * self.elements() / pack)?;
        let [from, to] = pointers.map(Argument::Pointer);
        let [a, b, c, d, e, f, g] =
            [int(batch)?, int(parts)?, int(heads)?, int(tokens)?, int(self.padded())?, int(packs)?, int(count)?];
        let name = format!("{kernel}_{name}");
        // SAFETY: the arguments are those of the kernel, and the sizes those of the tensors.
        unsafe { launch(&device(x)?, HEADS, &name, Grid::over(count), &[from, to, a, b, c, d, e, f, g]) }
    }
}

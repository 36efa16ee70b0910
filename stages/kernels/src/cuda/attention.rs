//! Multi-head attention over queries, keys and values that lie in one tensor, token by token.
//!
//! Formula: in each head, `p = softmax(q kᵀ / √d)`, `y = p v`. Backward: `dv = pᵀ dy`, `dp = dy vᵀ`, `ds = softmax'(dp)`, `dq = ds k`,
//! `dk = dsᵀ q`, with the factor `1 / √d` in `ds`. The backward pass computes `p` again: to keep that of every block
//! takes memory that grows with the square of the number of tokens.
//! Shapes: qkv `[batch, tokens, 3 · width]`, y `[batch, tokens, width]`. The products are of copies head by head, q, k, v and y
//! `[batch · heads, padded, channels]`, p `[batch · heads, padded, padded]`: `padded` is the number of tokens with zeros added. Columns
//! of p and ds that stand for padding are zero, and so are rows of q, k, v and dy; hence so are those of dq, dk and dv.

use candle_core::{DType, Result, Tensor};

use super::fused_attention;
use super::heads::Heads;
use super::memory::{Output, device, pointer};
use super::products::{Matrices, Product};
use super::tokens::{softmax_backward, softmax_forward};
use crate::precision::Precision;
use crate::tape::Backward;
use crate::tape::walk::{Slot, record, watch};

/// Parts of the input: queries, keys and values.
const PARTS: usize = 3;

/// Attention of `heads` heads.
pub(crate) fn attention(qkv: &Tensor, heads: usize, precision: Precision) -> Result<Tensor> {
    let (batch, tokens, all) = qkv.dims3()?;
    let width = all / PARTS;
    let sizes = Sizes { heads: Heads { batch, tokens, heads, channels: width / heads }, dtype: qkv.dtype(), precision };
    if !qkv.track_op()
        && let Some(output) = fused_attention::forward(qkv, heads, sizes.factor())?
    {
        return Ok(output.into_tensor());
    }
    let (heads, device) = (sizes.heads, device(qkv)?);
    let parts = heads.apart(qkv, PARTS)?;
    let [_, _, value] = sizes.parts(pointer(&parts)?);
    let shares = sizes.shares(&parts)?;
    let results = Output::new(sizes.results_shape(), sizes.dtype, &device)?;
    // SAFETY: the matrices lie in the shares, the parts and the results.
    unsafe {
        sizes.values().enqueue(&device, sizes.score(pointer(&shares)?), value, sizes.result(results.pointer()?))?;
    }
    let output = heads.together(&results.into_tensor(), 1)?;
    let inputs = [watch(qkv)];
    record(&inputs, output.into_storage(), (batch, tokens, width), qkv.device(), |_| {
        Box::new(AttentionBackward { sizes, parts, node: inputs[0].clone() })
    })
}

struct AttentionBackward {
    sizes: Sizes,
    /// Queries, keys and values, head by head.
    parts: Tensor,
    node: Slot,
}

impl Backward<Tensor> for AttentionBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { sizes, parts, node: Some(node) } = *self else { return Ok(()) };
        let Sizes { heads, dtype, .. } = sizes;
        let device = device(&parts)?;
        let shares = sizes.shares(&parts)?;
        let dy = heads.apart(&dy.contiguous()?, 1)?;
        let gradient = Output::new(parts.shape(), dtype, &device)?;
        let of_shares = Output::new(sizes.scores_shape(), dtype, &device)?;
        let [query, key, value] = sizes.parts(pointer(&parts)?);
        let [of_query, of_key, of_value] = sizes.parts(gradient.pointer()?);
        let (result, share) = (sizes.result(pointer(&dy)?), sizes.score(pointer(&shares)?));
        // SAFETY: the matrices lie in the parts, dy, the shares, and the gradients of the parts and of the shares.
        unsafe {
            sizes.scores().enqueue(&device, result, value.transposed(), sizes.score(of_shares.pointer()?))?;
            sizes.values().enqueue(&device, share.transposed(), result, of_value)?;
        }
        let of_scores =
            softmax_backward(&of_shares.into_tensor(), &shares, heads.tokens, sizes.factor())?.into_tensor();
        let score = sizes.score(pointer(&of_scores)?);
        // SAFETY: as above.
        unsafe {
            sizes.values().enqueue(&device, score, key, of_query)?;
            sizes.values().enqueue(&device, score.transposed(), query, of_key)?;
        }
        node.add(heads.together(&gradient.into_tensor(), PARTS)?.into_tensor())
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    heads: Heads,
    dtype: DType,
    precision: Precision,
}

impl Sizes {
    fn factor(self) -> f64 {
        (self.heads.channels as f64).powf(-0.5)
    }

    /// Matrices of a batch: one for each head of each image.
    fn matrices(self) -> usize {
        self.heads.batch * self.heads.heads
    }

    fn scores_shape(self) -> (usize, usize, usize) {
        (self.matrices(), self.heads.padded(), self.heads.padded())
    }

    fn results_shape(self) -> (usize, usize, usize) {
        (self.matrices(), self.heads.padded(), self.heads.channels)
    }

    /// Queries, keys and values, each `[padded, channels]` for each head.
    fn parts(self, base: u64) -> [Matrices; PARTS] {
        let bytes = (self.heads.elements() * self.dtype.size_in_bytes()) as u64;
        [0, 1, 2].map(|part| self.result(base + part * bytes))
    }

    /// `[padded, padded]` for each head.
    fn score(self, base: u64) -> Matrices {
        let tokens = self.heads.padded();
        Matrices::strided(base, tokens, tokens * tokens)
    }

    /// `[padded, channels]` for each head.
    fn result(self, base: u64) -> Matrices {
        Matrices::strided(base, self.heads.channels, self.heads.padded() * self.heads.channels)
    }

    /// `softmax(q kᵀ / √d)` of queries and keys.
    fn shares(self, parts: &Tensor) -> Result<Tensor> {
        let device = device(parts)?;
        let [query, key, _] = self.parts(pointer(parts)?);
        let scores = Output::new(self.scores_shape(), self.dtype, &device)?;
        // SAFETY: the matrices lie in the parts and in the scores.
        unsafe { self.scores().enqueue(&device, query, key.transposed(), self.score(scores.pointer()?))? };
        Ok(softmax_forward(&scores.into_tensor(), self.heads.tokens, self.factor())?.into_tensor())
    }

    /// Products with as many rows and columns as tokens.
    fn scores(self) -> Product {
        self.product(self.heads.padded(), self.heads.channels)
    }

    /// Products with a row per token and a column per channel.
    fn values(self) -> Product {
        self.product(self.heads.channels, self.heads.padded())
    }

    fn product(self, n: usize, k: usize) -> Product {
        let Self { heads, dtype, precision } = self;
        Product { m: heads.padded(), n, k, batch: self.matrices(), factors: dtype, result: dtype, precision }
    }
}

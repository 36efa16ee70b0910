//! Multi-head attention over queries, keys and values that lie interleaved in one tensor, without copying them apart.
//!
//! Formula: in each head, `p = softmax(q kᵀ / √d)`, `y = p v`. Backward: `dv = pᵀ dy`, `dp = dy vᵀ`, `ds = softmax'(dp)`, `dq = ds k`,
//! `dk = dsᵀ q`, with the factor `1 / √d` in `ds`.
//! Shapes: qkv `[batch, tokens, 3 · width]`, y `[batch, tokens, width]`, p `[batch, heads, tokens, tokens]`.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::memory::{Output, device, pointer};
use super::products::{Matrices, Product};
use super::tokens::{softmax_backward, softmax_forward};
use crate::precision::Precision;
use crate::tape::Backward;
use crate::tape::walk::{Node, record, watch};

/// Attention of `heads` heads.
pub(crate) fn attention(qkv: &Tensor, heads: usize, precision: Precision) -> Result<Tensor> {
    let (batch, tokens, width) = qkv.dims3()?;
    let sizes = Sizes { batch, tokens, heads, width: width / 3, dtype: qkv.dtype(), precision };
    let device = device(qkv)?;
    let scores = Output::new((batch, heads, tokens, tokens), sizes.dtype, &device)?;
    let base = pointer(qkv)?;
    for head in 0..heads {
        let [query, key, _] = sizes.parts(base, head);
        // SAFETY: the matrices lie in qkv and in the scores.
        unsafe { sizes.scores().enqueue(&device, query, key.transposed(), sizes.score(scores.pointer()?, head))? };
    }
    let shares = softmax_forward(&scores.into_tensor(), sizes.factor())?.into_tensor();
    let output = Output::new((batch, tokens, sizes.width), sizes.dtype, &device)?;
    for head in 0..heads {
        let [_, _, value] = sizes.parts(base, head);
        let share = sizes.score(pointer(&shares)?, head);
        // SAFETY: as above, and the result lies in the output.
        unsafe { sizes.values().enqueue(&device, share, value, sizes.row(output.pointer()?, head))? };
    }
    let inputs = [watch(qkv)];
    record(&inputs, output.into_storage(), (batch, tokens, sizes.width), qkv.device(), |_| {
        Box::new(AttentionBackward { sizes, qkv: qkv.detach(), shares, node: inputs[0].clone() })
    })
}

struct AttentionBackward {
    sizes: Sizes,
    qkv: Tensor,
    shares: Tensor,
    node: Option<Arc<Node>>,
}

impl Backward<Tensor> for AttentionBackward {
    fn backward(self: Box<Self>, dy: Tensor) -> Result<()> {
        let Self { sizes, qkv, shares, node: Some(node) } = *self else { return Ok(()) };
        let Sizes { batch, tokens, heads, dtype, .. } = sizes;
        let (device, dy) = (device(&qkv)?, dy.contiguous()?);
        let gradient = Output::new(qkv.shape(), dtype, &device)?;
        let of_shares = Output::new((batch, heads, tokens, tokens), dtype, &device)?;
        let (base, share, to) = (pointer(&qkv)?, pointer(&shares)?, gradient.pointer()?);
        for head in 0..heads {
            let [_, _, value] = sizes.parts(base, head);
            let [_, _, of_value] = sizes.parts(to, head);
            let row = sizes.row(pointer(&dy)?, head);
            // SAFETY: the matrices lie in qkv, dy, the shares, and the gradients of qkv and of the shares.
            unsafe {
                sizes.scores().enqueue(&device, row, value.transposed(), sizes.score(of_shares.pointer()?, head))?;
                sizes.values().enqueue(&device, sizes.score(share, head).transposed(), row, of_value)?;
            }
        }
        let of_scores = softmax_backward(&of_shares.into_tensor(), &shares, sizes.factor())?.into_tensor();
        let of_scores_base = pointer(&of_scores)?;
        for head in 0..heads {
            let [query, key, _] = sizes.parts(base, head);
            let [of_query, of_key, _] = sizes.parts(to, head);
            let score = sizes.score(of_scores_base, head);
            // SAFETY: as above.
            unsafe {
                sizes.values().enqueue(&device, score, key, of_query)?;
                sizes.values().enqueue(&device, score.transposed(), query, of_key)?;
            }
        }
        node.add(gradient.into_tensor())
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    tokens: usize,
    heads: usize,
    /// Channels of all heads together.
    width: usize,
    dtype: DType,
    precision: Precision,
}

impl Sizes {
    /// Channels of one head.
    fn channels(self) -> usize {
        self.width / self.heads
    }

    fn factor(self) -> f64 {
        (self.channels() as f64).powf(-0.5)
    }

    fn bytes(self, elements: usize) -> u64 {
        (elements * self.dtype.size_in_bytes()) as u64
    }

    /// Queries, keys and values of one head, each `[tokens, channels]` for each image.
    fn parts(self, base: u64, head: usize) -> [Matrices; 3] {
        let (row, matrix) = (3 * self.width, 3 * self.width * self.tokens);
        [0, 1, 2].map(|part| {
            let first = part * self.width + head * self.channels();
            Matrices::strided(base + self.bytes(first), row, matrix)
        })
    }

    /// Scores of one head, `[tokens, tokens]` for each image.
    fn score(self, base: u64, head: usize) -> Matrices {
        let area = self.tokens * self.tokens;
        Matrices::strided(base + self.bytes(head * area), self.tokens, self.heads * area)
    }

    /// Results of one head, `[tokens, channels]` for each image.
    fn row(self, base: u64, head: usize) -> Matrices {
        Matrices::strided(base + self.bytes(head * self.channels()), self.width, self.width * self.tokens)
    }

    /// Products with as many rows and columns as tokens.
    fn scores(self) -> Product {
        self.product(self.tokens, self.channels())
    }

    /// Products with a row per token and a column per channel.
    fn values(self) -> Product {
        self.product(self.channels(), self.tokens)
    }

    fn product(self, n: usize, k: usize) -> Product {
        let Self { batch, tokens: m, dtype, precision, .. } = self;
        Product { m, n, k, batch, factors: dtype, result: dtype, precision }
    }
}

//! Loss functions for metric learning.
//!
//! A loss takes L2-normalised embeddings, labels and the pairs or triplets that a miner selected. It sums its terms on the
//! host together with their derivatives (see [`pairwise`](crate::pairwise) for the reason) and returns a scalar with a
//! gradient. Losses do not own miners.
//!
//! **Reading order** `loss`, the trait; [`margin`], the loss of DC19 and DC21; then its siblings.
//!
//! To add a loss, write its file, and add a line to [`LossConfig`] and one to [`LossConfig::as_loss`].

mod contrastive;
mod loss;
mod margin;
mod multi_similarity;
mod n_pairs;
mod proxy_anchor;
mod triplet;
mod xbm;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use contrastive::Contrastive;
pub use loss::{Batch, EmbeddedBatch, Learned, Loss, LossOutput, LossState, References, drop_state};
pub(crate) use loss::{is_state, state_prefix};
pub use margin::{Beta, Margin};
pub use multi_similarity::MultiSimilarity;
pub use n_pairs::NPairs;
pub use proxy_anchor::ProxyAnchor;
pub use triplet::Triplet;
pub use xbm::{PairLoss, Xbm};

/// Loss function and its hyper-parameters, as in `{ kind = "margin", beta = 1.2, margin = 0.2 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LossConfig {
    /// Margin loss: positives closer and negatives farther than a boundary β, which may be learned, each by a margin.
    Margin(Margin),
    /// Triplet loss: each positive closer to its anchor than the negative, by a margin.
    Triplet(Triplet),
    /// N-pairs loss: the similarity of one positive against those of one positive of every other class.
    NPairs(NPairs),
    /// Contrastive loss: positives closer than one distance, negatives farther than another.
    Contrastive(Contrastive),
    /// Multi-similarity loss: pairs weighted by their similarity relative to the anchor's other pairs.
    MultiSimilarity(MultiSimilarity),
    /// Proxy-Anchor loss: one learned proxy per class, compared with all images of the batch.
    ProxyAnchor(ProxyAnchor),
    /// Cross-batch memory: a pair loss between the batch and the embeddings of earlier batches.
    Xbm(Xbm),
}

impl LossConfig {
    /// The configured loss.
    pub fn as_loss(&self) -> &dyn Loss {
        match self {
            LossConfig::Margin(loss) => loss,
            LossConfig::Triplet(loss) => loss,
            LossConfig::NPairs(loss) => loss,
            LossConfig::Contrastive(loss) => loss,
            LossConfig::MultiSimilarity(loss) => loss,
            LossConfig::ProxyAnchor(loss) => loss,
            LossConfig::Xbm(loss) => loss,
        }
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        LossConfig::Margin(Margin::default())
    }
}

//! Proxy-Anchor loss: one learned proxy per class, which is the anchor for all images of the batch.
//!
//! Formula: `1/|P₊| Σ_{p ∈ P₊} ln(1 + Σ_{x of p's class} e^{−α(s_xp − δ)}) + 1/|P| Σ_{p ∈ P} ln(1 + Σ_{x of others} e^{α(s_xp + δ)})`,
//! with P all proxies, P₊ those of the classes in the batch, and s the cosine. An image and a proxy count as an informative pair
//! if their cosine is below δ for the proxy of the image's class, or above −δ for another proxy.
//! Shapes: embeddings `[batch, dim]`, proxies `[classes, dim]`.
//! Source: Kim et al. 2020, arXiv 2003.13911, equation 4.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Batch, Learned, Loss, LossOutput, log_one_plus_sum_exp};
use crate::checks::{check_range, check_scale};
use crate::error::Result;
use crate::miners::Selection;
use crate::pairwise::{PairwiseMatrix, scalar};
use crate::spec::{Initialisation, Spec};

/// Proxy-Anchor loss: one learned proxy per class, compared with all images of the batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyAnchor {
    /// α: scale; the larger, the more the hardest images dominate.
    pub alpha: f64,
    /// δ: margin in cosine similarity.
    pub margin: f64,
}

impl Default for ProxyAnchor {
    fn default() -> Self {
        Self { alpha: 32.0, margin: 0.1 }
    }
}

impl Loss for ProxyAnchor {
    fn learned(&self, classes: usize, dimension: usize) -> Option<Learned> {
        // Kaiming normal initialisation by outputs, as in the authors' code; only the directions matter.
        let init = Initialisation::Normal { std: (2.0 / classes.max(1) as f64).sqrt() };
        Some(Learned::Points(Spec::weight("loss.proxies", [classes, dimension], init)))
    }

    fn uses_miner(&self) -> bool {
        false
    }

    fn forward(&self, batch: &Batch<'_>, _: &Selection) -> Result<LossOutput> {
        let proxies = batch.learned("loss.proxies")?;
        let similarities = PairwiseMatrix::similarities(batch.embeddings, proxies)?; // [batch, classes]
        similarities.check_row_labels(batch.labels)?;
        let classes = similarities.columns();
        let mut images_of = vec![Vec::new(); classes];
        batch.labels.iter().enumerate().for_each(|(image, &label)| images_of[label as usize].push(image));
        let present = images_of.iter().filter(|images| !images.is_empty()).count();

        let mut derivatives = similarities.zero_derivatives();
        let (mut value, mut informative) = (0.0, 0);
        let mut add = |proxy: usize, images: &[usize], scale: f64, shift: f64, proxies: usize| {
            let exponents: Vec<f64> =
                images.iter().map(|&image| scale * (similarities.at(image, proxy) + shift)).collect();
            informative += exponents.iter().filter(|&&exponent| exponent > 0.0).count();
            let (term, weights) = log_one_plus_sum_exp(&exponents);
            value += term / proxies as f64;
            for (&image, weight) in images.iter().zip(weights) {
                derivatives.add(image, proxy, scale * weight / proxies as f64);
            }
        };
        let mut others = Vec::with_capacity(batch.labels.len());
        for (proxy, images) in images_of.iter().enumerate() {
            others.clear();
            others.extend((0..batch.labels.len()).filter(|&image| batch.labels[image] as usize != proxy));
            add(proxy, &others, self.alpha, self.margin, classes);
            if !images.is_empty() {
                add(proxy, images, -self.alpha, -self.margin, present);
            }
        }
        let objective = scalar(value, &[similarities.with(&derivatives)])?;
        Ok(LossOutput { objective, value, terms: batch.labels.len() * classes, informative })
    }

    fn check(&self) -> Result<()> {
        check_scale("alpha", self.alpha)?;
        check_range("margin", self.margin, 0.0..=2.0)
    }
}

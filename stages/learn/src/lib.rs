//! The method: backbones, losses, miners, samplers, subspaces, division, metrics.

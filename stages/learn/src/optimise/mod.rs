//! Optimisers: Adam and AdamW as defined by PyTorch, with a learning rate and weight decay for each parameter group.
//!
//! **Reading order** `settings`; `optimiser`; `update`, which applies one step to one tensor in place; `named_moments`, which
//! saves and restores the optimiser's state.

mod named_moments;
mod optimiser;
mod settings;
mod update;

pub use optimiser::Optimiser;
pub use settings::{Algorithm, Rate, Settings};

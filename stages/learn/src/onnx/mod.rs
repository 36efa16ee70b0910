//! A model as an ONNX file, which ONNX Runtime and other engines run without any of our code.
//!
//! **Reading order** `network`, the file as a whole: input, network, embedding, output; `graph`, which the backbones add their layers to;
//! `messages`, the parts of ONNX's protocol buffers that are written.

pub(crate) mod graph;
mod messages;
mod network;

pub use graph::{Graph, Value};
pub use network::{Interface, OPSET, export};

#[cfg(test)]
mod tests;

//! Fast CPU kernels as candle custom operations, exact neighbours and Lloyd iterations.

//! Which instruction set the kernels run on, found at run time.

/// The instruction set that every kernel of this process is dispatched to: `avx512`, `avx2`, `neon` or `portable`.
///
/// It enters the key of every stage that computes floats, because two sets round differently.
pub fn arithmetic() -> &'static str {
    "portable"
}

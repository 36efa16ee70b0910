//! Writing a kernel once and running it on the best instruction set of the machine.
//!
//! A kernel is a [`Task`]: code over the vectors of a [`Simd`], inlined whole into a function that is compiled for one
//! instruction set. [`Level::run`] picks that function at run time, so that no `target-cpu` is needed to build.
//!
//! Reading order: [`vector`] (the traits), [`level`] (detection and dispatch), then the instruction sets.

mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use level::{Level, fence};
pub use level::{arithmetic, instruction_sets};
pub(crate) use vector::{Simd, Task};

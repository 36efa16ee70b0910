//! Detection of the machine's instruction sets and dispatch to the best.

use std::sync::LazyLock;

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;
use super::vector::{Simd, Task};
#[cfg(target_arch = "x86_64")]
use super::x86;

/// The name of the instruction set that all kernels of this process run on: `avx512`, `avx2`, `neon` or `portable`.
///
/// It enters the key of every stage that computes floats, because instruction sets round differently.
pub fn arithmetic() -> &'static str {
    Level::detected().name()
}

/// The names of all instruction sets of this machine that kernels can run on, best first. [`arithmetic`] is the first one.
pub fn instruction_sets() -> Vec<&'static str> {
    Level::supported().into_iter().map(Level::name).collect()
}

/// An instruction set that this machine has; only [`Level::supported`] creates one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level(InstructionSet);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstructionSet {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Level {
    /// The best instruction set of this machine.
    pub(crate) fn detected() -> Self {
        static BEST: LazyLock<Level> = LazyLock::new(|| Level::supported()[0]);
        *BEST
    }

    /// All instruction sets that this machine can run, best first; tests compare them with each other.
    pub(crate) fn supported() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx512() {
                sets.push(Self(InstructionSet::Avx512));
            }
            if x86::has_avx2() {
                sets.push(Self(InstructionSet::Avx2));
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Self(InstructionSet::Neon));
        sets.push(Self(InstructionSet::Portable));
        sets
    }

    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => "neon",
            InstructionSet::Portable => "portable",
        }
    }

    /// Number of `f32` in a vector.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => x86::Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => x86::Avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => neon::Neon::LANES,
            InstructionSet::Portable => portable::Portable::LANES,
        }
    }

    /// Widest register tile in vectors; with the rows of a tile it fills the registers.
    pub(crate) fn tile_vectors(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => 4,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => 2,
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => 4,
            InstructionSet::Portable => 2,
        }
    }

    /// Runs `task` compiled for this instruction set.
    #[inline(always)]
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            // SAFETY: a `Level` exists only for instruction sets that were detected.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { x86::run_avx512(task) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { x86::run_avx2(task) },
            // SAFETY: every aarch64 machine has NEON.
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => unsafe { task.run::<neon::Neon>() },
            // SAFETY: the portable vectors need no instructions beyond the target's.
            InstructionSet::Portable => unsafe { portable::run(task) },
        }
    }
}

/// Makes what this thread stored past the cache visible to other threads before its later stores.
#[inline(always)]
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 machine has the instruction.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

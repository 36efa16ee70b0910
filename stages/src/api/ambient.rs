//! Ambient values: what enters the key of a node besides parameters and inputs.

/// The ambient values that a stage declares. It cannot see the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ambient {
    /// The manifest's seed.
    pub seed: bool,
    /// The number of the round.
    pub round: bool,
    /// The number of learners of this round and of the previous one.
    pub learners: bool,
    /// The number of the learner that this node trains.
    pub learner: bool,
    /// Where the stage computes floats, whose bits differ between instruction sets and GPUs.
    pub arithmetic: Arithmetic,
}

/// Where a stage computes floating-point numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// Nowhere, or only in ways whose bits are the same on every machine.
    #[default]
    None,
    /// On the CPU, whatever the device of the run: the key names the instruction set.
    Cpu,
    /// On the device of the run: the key names the instruction set or the GPU.
    Device,
    /// On the device of the run and on the CPU: the key names both.
    Both,
}

/// The values of what a stage declared in [`Ambient`]; the rest is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AmbientValues {
    /// The manifest's seed.
    pub seed: Option<u64>,
    /// The round, from 0.
    pub round: Option<u32>,
    /// Number of learners of this round.
    pub learners: Option<u32>,
    /// Number of learners of the previous round; `None` in the first.
    pub previous_learners: Option<u32>,
    /// The learner that this node trains; `None` if the node trains all of them.
    pub learner: Option<u32>,
}

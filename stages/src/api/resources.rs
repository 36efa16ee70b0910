//! The resources that a node needs.

/// The resources that a node needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Number of threads that it can use.
    pub threads: Threads,
    /// Bytes of memory that it may need, if known.
    pub memory: Option<u64>,
    /// Whether it computes on the device of the run. If that is a GPU, one is reserved for the node.
    pub device: bool,
    /// Whether it can reuse its outputs of an earlier run that differs only in the contents of its sources.
    pub earlier: bool,
}

/// The number of threads that a stage can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// One; many such nodes run in parallel.
    #[default]
    One,
    /// As many as it is given.
    Many,
}

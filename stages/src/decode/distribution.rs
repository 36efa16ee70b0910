//! Where a published data set comes from, for messages.

use std::fmt;

/// Where a published data set comes from, and the layout in which it is expected.
#[derive(Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Its name.
    pub name: &'static str,
    /// The page that distributes it.
    pub page: &'static str,
    /// What the root contains.
    pub layout: &'static str,
}

impl fmt::Display for Distribution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, page, layout } = self;
        write!(formatter, "{name} is distributed at {page}; `root` is the folder that contains {layout}")
    }
}

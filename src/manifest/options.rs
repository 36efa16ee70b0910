//! How a manifest is read.

use dnc_stages::STAGES;
use dnc_stages::api::StageKind;

use super::overrides::Override;

/// How a manifest is read.
#[derive(Clone, Copy)]
pub struct ReadOptions<'a> {
    /// The kinds of stage that a manifest may use.
    pub stages: &'a [StageKind],
    /// Whether the files and folders that stages read must exist.
    pub check_sources: bool,
    /// The values of `--set` and `--vary` that replace values of the manifest; later ones win.
    pub overrides: &'a [Override],
}

impl Default for ReadOptions<'_> {
    fn default() -> Self {
        Self { stages: STAGES, check_sources: true, overrides: &[] }
    }
}

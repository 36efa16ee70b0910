//! The remote of a project: named in the call, or in `dnc.toml`.

use super::error::SessionError;
use crate::execute::remote::RemotePlace;
use crate::project::Project;
use crate::project_file::{ProjectFile, Push};

/// The remote of a project, and when runs send to it.
#[derive(Clone, Debug, Default)]
pub struct ProjectRemote {
    /// Where it is, if there is one.
    pub place: Option<RemotePlace>,
    /// When runs send their results.
    pub push: Push,
}

impl ProjectRemote {
    /// The remote at `url`, else the one that `dnc.toml` names. An empty `url` means none.
    ///
    /// # Errors
    /// `dnc.toml` cannot be read or is wrong.
    pub fn of(project: &Project, url: Option<&str>) -> Result<Self, SessionError> {
        let settings = ProjectFile::read(&project.root)?.remote;
        let options = settings.options();
        let url = url.map(str::to_owned).or(settings.url).filter(|url| !url.is_empty());
        Ok(Self { place: url.map(|url| RemotePlace { url, options }), push: settings.push })
    }
}

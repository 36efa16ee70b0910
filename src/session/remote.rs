//! The remote of a project, named in the call or in `dnc.toml`, and what is still to be sent there.

use std::collections::HashSet;
use std::io;

use dnc_cache::{Key, Store};

use super::error::SessionError;
use crate::execute::remote::{RemotePlace, RunRemote};
use crate::execute::{NodeResult, Outcome};
use crate::project::Project;
use crate::project_file::{ProjectFile, Push};
use crate::report::run_folder::RunFolder;

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

/// Runs whose results are not all in their remote: one that sends, until it has, and those before it that were killed or whose remote
/// failed. Their nodes are hits for it, which it would not send.
pub(super) struct Unsent<'run> {
    run: &'run RunFolder,
    earlier: Vec<RunFolder>,
}

impl<'run> Unsent<'run> {
    /// Marks `run`, which is about to start, and finds the marked ones before it.
    pub(super) fn start(run: &'run RunFolder) -> io::Result<Self> {
        let earlier = run.before().into_iter().filter(|run| run.is_unsent() && !run.is_running()).collect();
        run.set_unsent(true)?;
        Ok(Self { run, earlier })
    }

    /// Once the run has sent what it computed: sends what earlier ones did not, and removes the marks.
    pub(super) fn finish(self, remote: &RunRemote, store: &Store, results: &[NodeResult]) {
        if !self.earlier.is_empty() {
            // A run that was killed has not noted its last nodes, but this one has found them.
            let found = results.iter().filter(|result| result.outcome == Outcome::Hit);
            let mut keys: HashSet<Key> = found.filter_map(|result| result.key).collect();
            for run in &self.earlier {
                let nodes = run.read().map(|json| json.nodes).unwrap_or_default();
                let ran = nodes.into_iter().filter(|node| node.outcome == Outcome::Ran);
                keys.extend(ran.filter_map(|node| node.key));
            }
            // What was removed since is nobody's loss.
            keys.retain(|key| matches!(store.outputs(key), Ok(Some(_))));
            remote.push(store, &Vec::from_iter(keys));
        }
        if !remote.has_failed() {
            for run in self.earlier.iter().chain([self.run]) {
                // With a mark that stays, the next run sends once more what is there already.
                let _ = run.set_unsent(false);
            }
        }
    }
}

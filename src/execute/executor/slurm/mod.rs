//! Nodes as jobs of a Slurm cluster.
//!
//! The driver writes the work of ready nodes to a folder that all machines share, and submits them as arrays of jobs. Each job
//! runs `dnc-run task FILE`, which records the node in the store and leaves an answer in the folder. The answer is what the
//! driver waits for. It asks Slurm for the queue only every half a minute, to find jobs that will not answer.
//!
//! Reading order: [`settings`] (`[executor.slurm]`), [`request`] (what a job asks for), [`folder`] (the shared folder), [`arrays`]
//! (which nodes share a job), [`submission`] (`sbatch`), [`queue`] (`squeue`, `sacct`, `scancel`), [`take_over`] (jobs of a driver
//! that was killed), this file (the executor), [`outgoing`] (from ready nodes to jobs), [`missing`] and [`verdict`] (jobs that ended
//! without an answer), [`driver_job`] (the driver itself as a job).

mod arrays;
mod call;
mod driver_job;
mod flight;
mod folder;
mod missing;
mod outgoing;
mod queue;
mod request;
mod settings;
mod submission;
mod take_over;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{io, mem};

use dnc_cache::Key;

pub use call::CallError;
use call::FailingPrograms;
pub use driver_job::{DriverJob, SubmittedDriver};
use flight::{Flight, Member, Prepared, Submitted};
use folder::{JobFolder, Position};
use queue::{JobId, Listed};
use request::Request;
pub use settings::{SlurmSettings, StageSettings};

use super::{Executor, Threads};
use crate::execute::budget::Limits;
use crate::execute::event::Event;
use crate::execute::host::Host;
use crate::execute::usage::Usage;
use crate::execute::work::{Answer, Attempt, Work};
use crate::plan::{Needs, NodeIndex};

/// How often the folder is listed. A listing is one request to a file server.
const LIST_EVERY: Duration = Duration::from_millis(200);

/// Number of tasks whose events are read per listing.
const READ_AT_ONCE: usize = 16;

/// Where the executor finds and leaves things.
pub struct SlurmPlaces {
    /// Name of the run.
    pub run: String,
    /// The folder for task files, which must be new and on a file system that all machines share.
    pub folder: PathBuf,
    /// Such folders of earlier runs of the same name, the latest first.
    pub earlier: Vec<PathBuf>,
    /// This version of `dnc-run`.
    pub program: PathBuf,
    /// The store.
    pub store: PathBuf,
}

/// Why the executor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// Slurm cannot be used.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The folder of task files cannot be used.
    #[error("Cannot use the folder of jobs `{}`", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs nodes as jobs of a Slurm cluster, and those of some stages on this machine.
pub struct Slurm {
    settings: SlurmSettings,
    places: SlurmPlaces,
    /// The folder of this run and those that were taken over.
    folders: Vec<JobFolder>,
    host: Host,
    local: Threads,
    /// Work that was handed in since the last submission.
    waiting: Vec<Member>,
    prepared: VecDeque<Prepared>,
    flights: BTreeMap<String, Flight>,
    /// Number of unanswered tasks per job in the queue.
    jobs: HashMap<JobId, usize>,
    /// Tasks in the queue that an earlier driver submitted and that this run has not needed yet.
    orphans: HashMap<Key, Submitted>,
    answers: VecDeque<Answer>,
    last_listing: Instant,
    last_check: Instant,
    submit_at: Instant,
    /// The task whose events were read last.
    last_read: String,
    /// Jobs that Slurm holds back and that were reported.
    held: HashSet<JobId>,
    /// Programs of Slurm whose failure was reported.
    failing: FailingPrograms,
    /// Whether the logs of a failed job are in the folder.
    has_failures: bool,
}

impl Slurm {
    /// An executor that takes over the jobs of earlier drivers of the same run.
    ///
    /// # Errors
    /// Slurm's programs cannot be used, or the folder of task files cannot be written.
    pub fn new(
        settings: SlurmSettings,
        mut places: SlurmPlaces,
        limits: Limits,
        host: Host,
    ) -> Result<Self, SlurmError> {
        let cannot = |folder: &Path| {
            let folder = folder.to_owned();
            |source| SlurmError::Folder { folder, source }
        };
        for path in [&mut places.store, &mut places.folder].into_iter().chain(&mut places.earlier) {
            *path = std::path::absolute(&*path).map_err(cannot(path))?;
        }
        let listed = take_over::first_look(|error| {
            let message = format!("{error}; the run waits a minute or more for Slurm");
            host.listener.event(&Event::Notice { node: None, message });
        })?;
        let mut folders = vec![JobFolder::create(&places.folder).map_err(cannot(&places.folder))?];
        let orphans = take_over::take_over(&places.earlier, &listed, &mut folders)?;
        let now = Instant::now();
        Ok(Self {
            settings,
            places,
            folders,
            local: Threads::new(limits, host.clone()),
            host,
            waiting: Vec::new(),
            prepared: VecDeque::new(),
            flights: BTreeMap::new(),
            jobs: HashMap::new(),
            orphans,
            answers: VecDeque::new(),
            last_listing: now,
            last_check: now,
            submit_at: now,
            last_read: String::new(),
            held: HashSet::new(),
            failing: FailingPrograms::default(),
            has_failures: false,
        })
    }

    fn is_local(&self, stage: &str) -> bool {
        self.settings.local.iter().any(|local| local == stage)
    }

    fn has_place(&self) -> bool {
        let prepared: usize = self.prepared.iter().map(|prepared| prepared.jobs.len()).sum();
        self.jobs.len() + prepared + self.waiting.len() < self.settings.jobs
    }

    fn notice(&self, node: Option<&str>, message: String) {
        self.host.listener.event(&Event::Notice { node: node.map(str::to_owned), message });
    }

    /// The work of the same key that waits or was submitted, if there is any.
    fn same_key(&mut self, key: Key) -> Option<&mut Member> {
        let prepared = self.prepared.iter_mut().flat_map(|prepared| prepared.jobs.iter_mut().flatten());
        let members = self.waiting.iter_mut().chain(prepared.map(|(_, member)| member));
        members.chain(self.flights.values_mut().map(|flight| &mut flight.member)).find(|one| one.work.task.key == key)
    }

    /// Waits for the answer to a task whose job is in the queue.
    fn wait_for(&mut self, Submitted { folder, task, job, name }: Submitted, member: Member) {
        let node = member.work.node.clone();
        self.host.listener.event(&Event::NodeWaits { node, holder: format!("Slurm job {job}") });
        *self.jobs.entry(job.clone()).or_default() += 1;
        let flight = Flight { member, folder, job, name, position: Position::default(), is_missed: false };
        self.flights.insert(task, flight);
    }

    /// Stops waiting for a task.
    fn remove(&mut self, task: &str) -> Option<Flight> {
        let flight = self.flights.remove(task)?;
        if let Some(open) = self.jobs.get_mut(&flight.job) {
            *open -= 1;
            if *open == 0 {
                self.jobs.remove(&flight.job);
            }
        }
        Some(flight)
    }

    fn answer(&mut self, member: Member, attempt: Attempt) {
        let index = member.work.index;
        self.settle(&member, Answer { index, attempt, usage: Usage::default(), warnings: Vec::new() });
    }

    /// Passes an answer on, for every node with the key.
    fn settle(&mut self, member: &Member, answer: Answer) {
        for &index in &member.also {
            let attempt = match &answer.attempt {
                Attempt::Ran { outputs, .. } => Attempt::Found { outputs: outputs.clone() },
                other => other.clone(),
            };
            self.answers.push_back(Answer { index, attempt, usage: Usage::default(), warnings: Vec::new() });
        }
        self.answers.push_back(Answer { index: member.work.index, ..answer });
    }

    /// Takes the answers that have arrived, and passes on events.
    fn list_folders(&mut self) {
        self.last_listing = Instant::now();
        let used: BTreeSet<usize> = self.flights.values().map(|flight| flight.folder).collect();
        for folder in used {
            // The file server may be out of reach for a while.
            let Ok(names) = self.folders[folder].names() else { continue };
            let is_answered = |(task, flight): &(&String, &Flight)| {
                flight.folder == folder && names.contains(&format!("{task}.answer.json"))
            };
            let answered: Vec<String> = self.flights.iter().filter(is_answered).map(|(task, _)| task.clone()).collect();
            for task in answered {
                // It may not be complete on this machine yet.
                let Some(answer) = self.folders[folder].answer(&task) else { continue };
                self.take_answer(&task, answer);
            }
        }
        // Each in turn, so that many running nodes cost no more than a few.
        let after = self
            .flights
            .range::<String, _>((std::ops::Bound::Excluded(self.last_read.clone()), std::ops::Bound::Unbounded));
        let mut turn: Vec<String> = after.map(|(task, _)| task.clone()).take(READ_AT_ONCE).collect();
        let left = (READ_AT_ONCE - turn.len()).min(self.flights.len() - turn.len());
        turn.extend(self.flights.keys().take(left).cloned());
        turn.iter().for_each(|task| self.pass_events(task));
        self.last_read = turn.pop().unwrap_or_default();
    }

    fn pass_events(&mut self, task: &str) {
        let Some(flight) = self.flights.get_mut(task) else { return };
        for event in self.folders[flight.folder].events(task, &mut flight.position) {
            self.host.listener.event(&event);
        }
    }

    fn take_answer(&mut self, task: &str, answer: Answer) {
        self.pass_events(task);
        let Some(flight) = self.remove(task) else { return };
        let folder = &self.folders[flight.folder];
        for line in folder.log(task).lines() {
            let (node, line) = (flight.member.work.node.clone(), line.to_owned());
            self.host.listener.event(&Event::NodeLog { node, line });
        }
        folder.remove_task(task);
        self.settle(&flight.member, answer);
    }

    fn report(&mut self, error: &CallError) {
        if self.failing.add(error) {
            self.notice(None, format!("{error}; the run goes on and tries again"));
        }
    }
}

impl Executor for Slurm {
    fn is_full(&self) -> bool {
        !self.has_place() && (self.settings.local.is_empty() || self.local.is_full())
    }

    fn has_room(&self, stage: &str, needs: &Needs) -> bool {
        match self.is_local(stage) {
            true => self.local.has_room(stage, needs),
            false => self.has_place(),
        }
    }

    fn submit(&mut self, work: Work, ready: usize) {
        if self.is_local(&work.stage) {
            return self.local.submit(work, ready);
        }
        let (key, is_plain) = (work.task.key, !work.forced && !work.verify);
        let (index, request) = (work.index, Request::of(&work, &self.settings));
        if let Some(member) = self.same_key(key) {
            return member.also.push(index);
        }
        let member = Member { work, request, also: Vec::<NodeIndex>::new(), lost: 0, saved: None };
        match self.orphans.remove(&key).filter(|_| is_plain) {
            Some(orphan) => self.wait_for(orphan, member),
            None => self.waiting.push(member),
        }
    }

    fn poll(&mut self, timeout: Duration) -> Option<Answer> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        self.submit_waiting();
        if !self.flights.is_empty() {
            if self.last_check.elapsed() >= Duration::from_secs(self.settings.check) {
                self.check_queue();
            } else if self.last_listing.elapsed() >= LIST_EVERY {
                self.list_folders();
            }
        }
        self.answers.pop_front().or_else(|| self.local.poll(timeout))
    }

    fn cancel(&mut self) {
        self.local.cancel();
        let waiting = mem::take(&mut self.waiting);
        let prepared = mem::take(&mut self.prepared);
        let flights = mem::take(&mut self.flights);
        let orphans = mem::take(&mut self.orphans);
        self.jobs.clear();
        let mut ids: BTreeSet<JobId> = flights.values().map(|flight| flight.job.clone()).collect();
        ids.extend(orphans.into_values().map(|orphan| orphan.job));
        if prepared.iter().any(|prepared| prepared.is_unsure) {
            // Slurm may have taken some of them.
            let is_ours = |listed: &Listed| prepared.iter().any(|prepared| prepared.name == listed.name);
            let listed = queue::list().unwrap_or_default();
            ids.extend(listed.into_iter().filter(|(_, listed)| is_ours(listed)).map(|(id, _)| id));
        }
        let ids: Vec<JobId> = ids.into_iter().collect();
        if !ids.is_empty()
            && let Err(error) = queue::cancel(&ids)
        {
            let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
            self.notice(None, format!("{error}; cancel the jobs with `scancel {}`", list.join(" ")));
        }
        let prepared = prepared.into_iter().flat_map(|prepared| prepared.jobs.into_iter().flatten());
        let members = waiting.into_iter().chain(prepared.map(|(_, member)| member));
        for member in members.chain(flights.into_values().map(|flight| flight.member)) {
            self.answer(member, Attempt::Cancelled);
        }
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        if !self.flights.is_empty() || !self.prepared.is_empty() {
            self.cancel();
        }
        let still_used: BTreeSet<usize> = self.orphans.values().map(|orphan| orphan.folder).collect();
        for (index, folder) in self.folders.iter().enumerate() {
            match (still_used.contains(&index), self.has_failures) {
                // Jobs that this run did not need go on, and a later run takes them over.
                (true, _) => {}
                (false, true) => folder.retire(),
                (false, false) => folder.remove(),
            }
        }
    }
}

//! From work that waits to arrays of jobs.

use std::mem;
use std::time::{Duration, Instant};

use dnc_stages::api::DeviceChoice;

use super::Slurm;
use super::arrays::arrays;
use super::call::CallError;
use super::flight::{Member, Prepared, Submitted};
use super::folder::TaskEntry;
use super::queue::{self, JobId};
use super::submission::Submission;
use crate::execute::work::{Attempt, Work};

/// Pause before a submission is tried again.
const SUBMIT_AGAIN: Duration = Duration::from_secs(10);

impl Slurm {
    /// Writes what is waiting to the folder, and submits it.
    pub(super) fn submit_waiting(&mut self) {
        for jobs in arrays(mem::take(&mut self.waiting), |member: &Member| &member.request) {
            self.prepare(jobs);
        }
        while Instant::now() >= self.submit_at
            && let Some(prepared) = self.prepared.pop_front()
        {
            match self.submit_array(&prepared) {
                Ok(id) => self.launch(prepared, &id),
                Err(error @ CallError::Unavailable { .. }) => {
                    self.report(&error);
                    self.submit_at = Instant::now() + SUBMIT_AGAIN;
                    self.prepared.push_front(Prepared { is_unsure: true, ..prepared });
                }
                Err(error) => {
                    for (_, member) in prepared.jobs.into_iter().flatten() {
                        let message = format!("Cannot submit it to Slurm: {error}; see `[executor.slurm]` in dnc.toml");
                        self.answer(member, Attempt::Failed { message });
                    }
                }
            }
        }
    }

    fn prepare(&mut self, jobs: Vec<Vec<Member>>) {
        let mut named: Vec<Vec<(String, Member)>> = Vec::with_capacity(jobs.len());
        let mut failed = Vec::new();
        for job in jobs {
            let mut tasks = Vec::with_capacity(job.len());
            for member in job {
                let mut work = member.work.clone();
                work.memory_remedy = Some(member.request.remedy("memory", &work.stage));
                if matches!(work.device, DeviceChoice::Cuda(_)) {
                    // Slurm shows a job only the GPUs that it was given.
                    work.device = DeviceChoice::Cuda(0);
                }
                match self.folders[0].write_task(&self.places.store, member.request.cpus, work) {
                    Ok(task) => tasks.push((task, member)),
                    Err(error) => failed.push((member, error)),
                }
            }
            named.extend((!tasks.is_empty()).then_some(tasks));
        }
        let entry = |(task, member): &(String, Member)| TaskEntry { task: task.clone(), key: member.work.task.key };
        let entries = named.iter().map(|job| job.iter().map(entry).collect()).collect();
        let first = named.first().and_then(|job| job.first());
        let label = first.map(|(_, member)| format!("dnc:{}:{}", self.places.run, label_of(&member.work)));
        if let Some(label) = label {
            match self.folders[0].write_array(&label, entries) {
                Ok((array, file)) => {
                    let prepared = Prepared { array, name: file.name, jobs: named, is_unsure: false };
                    self.prepared.push_back(prepared);
                }
                Err(error) => {
                    let message = format!("Cannot write `{}`: {error}", self.folders[0].path().display());
                    for (_, member) in named.into_iter().flatten() {
                        self.answer(member, Attempt::Failed { message: message.clone() });
                    }
                }
            }
        }
        for (member, error) in failed {
            let message = format!("Cannot write its task file to `{}`: {error}", self.folders[0].path().display());
            self.answer(member, Attempt::Failed { message });
        }
    }

    fn submit_array(&mut self, prepared: &Prepared) -> Result<String, CallError> {
        if prepared.is_unsure {
            // Slurm may have taken it although `sbatch` failed.
            let listed = queue::list()?;
            if let Some((id, _)) = listed.iter().find(|(_, listed)| listed.name == prepared.name) {
                return Ok(id.array.clone());
            }
        }
        let first = prepared.jobs.first().and_then(|job| job.first()).expect("an array has tasks");
        let submission = Submission {
            name: &prepared.name,
            array: &prepared.array,
            jobs: prepared.jobs.len(),
            request: &first.1.request,
            folder: self.folders[0].path(),
            program: &self.places.program,
        };
        submission.submit()
    }

    fn launch(&mut self, prepared: Prepared, id: &str) {
        let Prepared { name, jobs, .. } = prepared;
        self.failing.remove("sbatch");
        for (element, tasks) in jobs.into_iter().enumerate() {
            for (task, member) in tasks {
                let job = JobId { array: id.to_owned(), element };
                self.wait_for(Submitted { folder: 0, task, job, name: name.clone() }, member);
            }
        }
    }
}

/// The name of a node, in the characters that Slurm's lists show well.
fn label_of(work: &Work) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '.' };
    let node: String = work.node.chars().map(plain).collect();
    format!("{}-{}", node.trim_end_matches('.'), &work.task.key.to_string()[..8])
}

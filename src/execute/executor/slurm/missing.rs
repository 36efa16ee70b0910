//! Jobs that will not answer: a look at the queue, and what becomes of their tasks.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Instant, SystemTime};
use std::{fs, mem};

use dnc_cache::Key;

use super::Slurm;
use super::flight::Flight;
use super::queue::{self, Ending, JobId, Listed, State};
use super::verdict::{Death, Verdict};
use crate::execute::work::Attempt;

/// Lines at the end of a log that a failure quotes, and the number of their characters.
const LAST_LINES: usize = 3;
const LAST_CHARACTERS: usize = 400;

impl Slurm {
    /// Looks for jobs that will not answer.
    pub(super) fn check_queue(&mut self) {
        self.last_check = Instant::now();
        let listed = match queue::list() {
            Ok(listed) => listed,
            Err(error) => return self.report(&error),
        };
        self.failing.remove("squeue");
        // What was answered before the queue was listed is visible now.
        self.list_folders();
        let mut accounted = HashMap::new();
        let gone: BTreeSet<JobId> = self
            .flights
            .values()
            .filter(|flight| !is_alive(flight, &listed))
            .map(|flight| flight.job.clone())
            .collect();
        if !gone.is_empty() {
            accounted = queue::accounting(&gone.into_iter().collect::<Vec<_>>());
        }
        let tasks: Vec<String> = self.flights.keys().cloned().collect();
        for task in tasks {
            let flight = &self.flights[&task];
            let entry = listed.get(&flight.job).filter(|listed| listed.name == flight.name);
            if let Some(Listed { state: State::Alive { reason }, .. }) = entry {
                self.look_at_living(&task, &reason.clone());
                continue;
            }
            let account = accounted.get(&flight.job).filter(|account| account.name == flight.name);
            let ending = match (entry.map(|listed| &listed.state), account.map(|account| &account.state)) {
                (Some(State::Ended(ending)), _) | (None, Some(State::Ended(ending))) => Some(*ending),
                _ => None,
            };
            // Its answer may be on the way through the file system.
            let may_answer = matches!(ending, None | Some(Ending::Completed));
            if may_answer && !mem::replace(&mut self.flights.get_mut(&task).expect("it was listed").is_missed, true) {
                continue;
            }
            let exit = account.map(|account| account.exit.clone());
            self.end(&task, ending, exit.as_deref());
        }
    }

    /// Looks at a task whose job waits or runs.
    fn look_at_living(&mut self, task: &str, reason: &str) {
        let flight = self.flights.get_mut(task).expect("it was listed");
        flight.is_missed = false;
        if is_refused(reason) {
            // If the call fails and somebody releases the job, it finds that its tasks are gone, and does nothing.
            let _ = queue::cancel(std::slice::from_ref(&flight.job));
            return self.end(task, Some(Ending::Lost), None);
        }
        if is_held(reason) && self.held.insert(flight.job.clone()) {
            let (node, job) = (flight.member.work.node.clone(), flight.job.clone());
            let message = format!(
                "Slurm job {job} is held back ({reason}); see `scontrol show job {job}`, release it with \
                 `scontrol release {job}` or cancel it with `scancel {job}`"
            );
            self.notice(Some(&node), message);
            return;
        }
        // Its process died, while the job goes on with the next of its group.
        if self.folders[flight.folder].exit_code(task).is_some() {
            self.end(task, None, None);
        }
    }

    /// Decides what becomes of a task whose job has ended without an answer.
    fn end(&mut self, task: &str, ending: Option<Ending>, accounted: Option<&str>) {
        self.pass_events(task);
        let Some(flight) = self.remove(task) else { return };
        let array = flight.array().to_owned();
        let Flight { mut member, folder, job, position, .. } = flight;
        let has_begun = !position.is_at_start();
        // A node is done when its record is in the store, whatever Slurm says.
        let recorded = self.host.store.outputs(&member.work.task.key).ok().flatten();
        if let Some(outputs) = recorded.filter(|_| !member.work.forced && !member.work.verify) {
            self.folders[folder].remove_task(task);
            let attempt = match has_begun {
                true => Attempt::Ran { outputs, differs: None },
                // Another run computed it while the job waited.
                false => Attempt::Found { outputs },
            };
            return self.answer(member, attempt);
        }
        let folder = &self.folders[folder];
        let saved = self.saved(&member.work.task.key);
        let (log, output) = (folder.log_path(task), folder.output_path(&array, job.element));
        let death = Death {
            job: &job.to_string(),
            stage: &member.work.stage,
            ending,
            exit: folder.exit_code(task),
            accounted,
            is_stopped: folder.is_stopped(task),
            has_begun,
            has_progressed: saved > member.saved,
            lost: member.lost,
            request: &member.request,
            log: &log,
            output: &output,
            last_lines: &last_lines(&[&output, &log]),
        };
        match death.verdict() {
            Verdict::Failed(message) => {
                self.has_failures = true;
                self.answer(member, Attempt::Failed { message });
            }
            verdict => {
                let why = match verdict {
                    Verdict::Retry => {
                        member.lost += 1;
                        "was lost"
                    }
                    _ => "was stopped",
                };
                folder.remove_task(task);
                member.saved = saved;
                self.notice(Some(&member.work.node), format!("Slurm job {job} {why}; the node is submitted again"));
                self.waiting.push(member);
            }
        }
    }

    /// When the node last saved work that a further attempt will use.
    fn saved(&self, key: &Key) -> Option<SystemTime> {
        let scratch = self.host.store.scratch(key).ok()?;
        let entries = fs::read_dir(scratch).ok()?;
        entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok()).max()
    }
}

fn is_alive(flight: &Flight, listed: &HashMap<JobId, Listed>) -> bool {
    listed
        .get(&flight.job)
        .is_some_and(|listed| listed.name == flight.name && matches!(listed.state, State::Alive { .. }))
}

/// Whether a job with this reason waits for a person.
fn is_held(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["held", "neversatisfied", "badconstraints", "partitiondown", "invalid"].iter().any(|word| reason.contains(word))
}

/// Whether a machine did not start the job, after which Slurm holds it back for good. Besides a broken machine, that happens after a
/// crash of the controller, which then gives ids away that the machine has seen already.
fn is_refused(reason: &str) -> bool {
    reason.to_lowercase().replace('_', " ").contains("launch failed requeued held")
}

/// The last lines of the first of the files that has any.
fn last_lines(paths: &[&Path]) -> String {
    let last = |path: &&Path| {
        let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
        let skipped = last.chars().count().saturating_sub(LAST_CHARACTERS);
        (!last.is_empty()).then(|| last.chars().skip(skipped).collect::<String>())
    };
    paths.iter().find_map(last).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_no_machine_started_is_told_from_one_that_a_person_holds() {
        // Versions of Slurm differ in how they write it.
        assert!(is_refused("launch failed requeued held") && is_refused("launch_failed_requeued_held"));
        let of_a_person = ["JobHeldUser", "JobHeldAdmin", "job requeued in held state"];
        assert!(of_a_person.iter().all(|reason| !is_refused(reason) && is_held(reason)));
        assert!(["None", "Priority", "Resources"].iter().all(|reason| !is_refused(reason) && !is_held(reason)));
    }
}

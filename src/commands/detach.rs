//! `dnc-run MANIFEST --executor slurm --detach`: submits the same call without `--detach` as a job.

use std::env;
use std::ffi::OsString;

use super::failure::Failure;
use crate::execute::executor::slurm::SubmittedDriver;
use crate::plan::Plan;
use crate::session::Session;

/// Submits this call, which runs `plan` first, and prints the id of the job. `is_named` says whether the call names a manifest.
pub(super) fn detach(session: &Session, plan: &Plan, is_named: bool) -> Result<SubmittedDriver, Failure> {
    // Another run may be the last one by the time the job begins.
    let mut arguments = if is_named { Vec::new() } else { session.arguments() };
    arguments.extend(without_detach(env::args_os().skip(1)));
    let driver = session.detach(plan, arguments)?;
    print_line!("{}", driver.job);
    Ok(driver)
}

/// Says how the run called `name` is followed.
pub(super) fn explain(driver: &SubmittedDriver, name: &str) {
    let job = &driver.job;
    eprintln!("Submitted the driver as Slurm job {job}");
    let calls = [
        ("dnc-run runs".to_owned(), "lists the run as soon as the job has begun"),
        (format!("dnc-run logs {name} --follow"), "shows what it does"),
        (format!("scancel {job}"), "stops it and its jobs"),
    ];
    let width = calls.iter().map(|(call, _)| call.len()).max().unwrap_or_default();
    calls.iter().for_each(|(call, what)| eprintln!("  {call:width$}  {what}"));
    eprintln!("Its output goes to {}", driver.log.display());
}

/// The arguments of a call without the option `--detach`.
fn without_detach(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut are_options = true;
    let keep = |argument: &OsString| {
        are_options &= argument != "--";
        !(are_options && argument == "--detach")
    };
    arguments.filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_option_is_removed() {
        let words = ["a b.toml", "--detach", "--set", "x='y'", "--", "--detach"].map(OsString::from);
        let kept = ["a b.toml", "--set", "x='y'", "--", "--detach"].map(OsString::from);
        assert_eq!(without_detach(words.into_iter()), kept);
    }
}

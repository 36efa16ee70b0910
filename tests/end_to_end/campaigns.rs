//! A few cases of the campaigns in `scripts/campaigns`. `make corrupt` and its siblings run many.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// The exit code of a campaign that this machine does not allow.
const SKIPPED: i32 = 77;

/// Runs so many cases of a campaign.
fn campaign(name: &str, cases: u32) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/campaigns").join(name);
    let mut command = Command::new("python3");
    command.arg(script).args(["--cases", &cases.to_string(), "--dnc", env!("CARGO_BIN_EXE_dnc-run")]);
    for variable in ["DNC_STORE", "DNC_RUNS", "DNC_REMOTE"] {
        command.env_remove(variable);
    }
    let output = match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: {name}: python3 is not installed");
            return;
        }
        output => output.expect("python3 can be started"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) {
        eprintln!("skipped: {said}");
        return;
    }
    let counts = format!(": {cases} cases, 0 violations");
    assert!(output.status.success() && said.contains(&counts), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_flipped_byte_in_the_store_changes_no_result() {
    campaign("corrupt.py", 3);
}

#[test]
fn a_full_disk_leaves_nothing_wrong_behind() {
    campaign("full_disk.py", 3);
}

#[test]
fn what_changes_a_store_can_be_killed() {
    campaign("kill.py", 4);
}

#[test]
fn mutated_files_are_refused_or_read() {
    campaign("fuzz.py", 80);
}

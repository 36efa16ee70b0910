//! Models of rounds that are done are dropped where a manifest says so, and made again when somebody needs them.

use crate::project::Project;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.toml");

fn run(project: &Project, more: &[&str]) {
    let changed = [
        "stage.decode.per_class=2",
        "rounds.learners=[1, 2, 2]",
        "stage.train.epochs=1",
        "stage.train.sampler.per_class=2",
        "stage.train.retain=last",
        "stage.merge.retain=last",
        "stage.embed.retain=last",
        "stage.choose.retain=last",
    ];
    let mut arguments = vec![MANIFEST, "--store", "store", "--runs", "runs"];
    arguments.extend(changed.iter().flat_map(|value| ["--set", *value]));
    arguments.extend(more);
    project.run(&arguments);
}

/// How many files of the store are of a model's size.
fn models(project: &Project) -> usize {
    let large = |path: &std::path::PathBuf| std::fs::metadata(path).is_ok_and(|file| file.len() > 500_000);
    project.files_in("store/blobs").iter().filter(|path| large(path)).count()
}

#[test]
fn only_the_last_model_stays_and_the_others_come_back_when_they_are_needed() {
    let project = Project::new();
    run(&project, &[]);
    let (first, kept) = (project.digests("quickstart"), models(&project));
    assert!(!project.files_in("store/dropped").is_empty());
    assert_eq!(project.run(&["cache", "verify", "--store", "store"]).code, Some(0));

    run(&project, &[]);
    assert_eq!(project.nodes("quickstart", "ran"), [""; 0], "what was dropped is still a hit");

    run(&project, &["--from", "train@2"]);
    assert_eq!(project.digests("quickstart"), first);
    let ran = project.nodes("quickstart", "ran");
    assert!(
        ["train@0[0]", "train@1[0]", "train@1[1]", "train@2[1]"].iter().all(|node| ran.iter().any(|ran| ran == node)),
        "{ran:?}"
    );
    assert_eq!(models(&project), kept, "and are dropped again");
}

#[test]
fn a_part_of_the_plan_drops_too_and_what_a_longer_run_dropped_is_told() {
    let project = Project::new();
    run(&project, &["--until", "evaluate@1"]);
    let dropped = || project.files_in("store/dropped").len();
    let by_first = dropped();
    assert!(by_first > 0, "all that was asked for and reads the first round's model is done");
    project.run(&["export", "quickstart/1", "first"]);

    run(&project, &["--until", "evaluate@2"]);
    assert!(dropped() > by_first);
    let missed = project.call(&["export", "quickstart/1", "second"]);
    assert_eq!(missed.code, Some(1), "{}", missed.stderr);
    let (_, again) = missed.stderr.split_once("; `dnc-run ").expect("it says what to do");
    let (again, _) = again.split_once('`').expect("a call ends");
    project.run(&again.split(' ').collect::<Vec<_>>());
    project.run(&["export", "quickstart/1", "second"]);
    assert_eq!(project.read("first/README.md"), project.read("second/README.md"));

    run(&project, &["--set", "seed=1", "--set", "stage.train.retain=all", "--set", "stage.merge.retain=all"]);
    let before = dropped();
    run(&project, &["--set", "seed=1", "--until", "evaluate@1"]);
    assert_eq!(dropped(), before, "a look at a part of what is there drops nothing that the rest may need");
}

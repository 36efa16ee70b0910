//! The quickstart's pipeline on two images a class: the same bytes however it is run, and metrics that can be compared.

use crate::project::Project;

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.toml");

fn run(project: &Project, store: &str, more: &[&str]) {
    let small = [
        "stage.decode.per_class=2",
        "rounds.learners=[1, 2]",
        "stage.train.epochs=1",
        "stage.train.sampler.per_class=2",
    ];
    let mut arguments = vec![MANIFEST, "--store", store, "--runs", "runs"];
    arguments.extend(small.iter().flat_map(|value| ["--set", *value]));
    arguments.extend(more);
    let called = project.run(&arguments);
    assert!(called.stdout.contains("recall@1"), "{}", called.stdout);
}

#[test]
fn threads_jobs_stores_and_executors_do_not_change_a_byte() {
    let project = Project::new();
    run(&project, "one", &["--threads", "1", "--jobs", "1"]);
    let alone = project.digests("quickstart");
    assert!(alone.len() > 15 && alone.contains_key("train@1[1].model"), "{alone:?}");
    run(&project, "two", &["--threads", "3", "--jobs", "4"]);
    assert_eq!(project.digests("quickstart"), alone);

    run(&project, "three", &["--executor", "process"]);
    assert_eq!(project.digests("quickstart"), alone, "every node ran in a process of its own");

    run(&project, "two", &[]);
    assert_eq!(project.nodes("quickstart", "ran"), [""; 0]);

    let told = project.run(&["diff", "quickstart/1", "quickstart/2", "--runs", "runs", "--all"]).stdout;
    assert!(told.contains("+0.0000") && !told.contains("+0.1"), "{told}");
    let json = project.run(&["diff", "quickstart/1", "quickstart", "--runs", "runs", "--format", "json"]).stdout;
    let lines: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(lines[0]["groups"][1]["comparison"]["verdict"], "not distinguishable", "{json}");
    assert_eq!(project.call(&["diff", "quickstart/9", "--runs", "runs"]).code, Some(2));

    let get = |arguments: &[&str]| project.call(&[&["get", "quickstart", "--runs", "runs"], arguments].concat());
    let written = get(&["train@1[1].history", "history.csv"]);
    assert_eq!(written.stdout, "history.csv\n", "{}", written.stderr);
    assert!(
        project.read("history.csv").starts_with("step,epoch,learner,term,value\n0,0,1,"),
        "{}",
        project.read("history.csv")
    );
    let again = get(&["train@1[1].history", "history.csv"]).stderr;
    assert!(again.contains("`history.csv` exists and is not replaced; remove it"), "{again}");
    let written = get(&["evaluate@1", "--format", "json"]).stdout;
    assert!(written.contains("evaluate@1.embeddings/embeddings.json") && written.contains("queries.json"), "{written}");
    let first: serde_json::Value =
        serde_json::from_str(project.read("evaluate@1.embeddings/embeddings.json").lines().next().unwrap())
            .expect("each line is JSON");
    assert_eq!(first["vector"].as_array().map(Vec::len), Some(128));
    let unknown = get(&["evaluate@1.embedding"]).stderr;
    assert!(
        unknown.contains("has no output `embedding`; its outputs: `embeddings`, `metrics` and `queries`"),
        "{unknown}"
    );
    assert!(get(&["evaluat@1"]).stderr.contains("did you mean `evaluate@1`?"));

    let search = |arguments: &[&str]| project.call(&[&["search", "quickstart", "--runs", "runs"], arguments].concat());
    let embeddings = project.read("evaluate@1.embeddings/embeddings.json");
    let id = serde_json::from_str::<serde_json::Value>(embeddings.lines().last().unwrap()).unwrap()["id"].to_string();
    let found = search(&[&format!("id:{id}"), "--format", "json", "-k", "3", "--sheet", "found.png"]);
    let json: serde_json::Value = serde_json::from_str(&found.stdout).unwrap_or_else(|_| panic!("{}", found.stderr));
    let neighbours = json[0]["neighbours"].as_array().unwrap();
    assert_eq!((neighbours.len(), neighbours[0]["id"].to_string()), (3, id.clone()), "{json}");
    assert!(neighbours[0]["distance"].as_f64().unwrap() < 1e-3, "an image finds itself: {json}");
    assert!(project.path().join("found.png").exists());
    let in_subspace = search(&[&format!("id:{id}"), "--learner", "0", "--in", "all", "--format", "paths", "-k", "2"]);
    assert_eq!(in_subspace.stdout.lines().count(), 2, "{}", in_subspace.stderr);
    for (arguments, expected) in [
        (&["id:999999"][..], "no image with the id 999999"),
        (&["nowhere.png"], "There is no file or folder `nowhere.png`"),
        (&["found.png", "--in", "tests"], "`--in tests` must be a split"),
        (&["found.png", "--learner", "9"], "no such learner"),
        (&["found.png", "--crop", "0,0,9999,1"], "is not within `found.png`"),
    ] {
        let refused = search(arguments);
        assert!(refused.code != Some(0) && refused.stderr.contains(expected), "{}", refused.stderr);
    }

    let told = project.run(&["export", "quickstart", "model", "--runs", "runs"]).stderr;
    assert!(told.contains("the model of `choose@1`") && told.contains("plain"), "{told}");
    let readme = project.read("model/README.md");
    assert!(readme.contains("learners.safetensors") && readme.contains("makes `images` of a file"), "{readme}");
    project.run(&["import-weights", "model/model.safetensors", "plain.safetensors", "--backbone", "plain"]);
    let misfit =
        project.call(&["import-weights", "model/model.safetensors", "x.safetensors", "--backbone", "resnet18"]);
    assert_eq!(misfit.code, Some(2), "{}", misfit.stderr);
    assert!(misfit.stdout.contains("missing      bn1.weight") && !project.path().join("x.safetensors").exists());
    assert_eq!(project.call(&["export", "quickstart", "m", "--runs", "runs", "--node", "embed@0"]).code, Some(2));
}

#[test]
fn a_training_that_diverges_fails_and_says_where() {
    for loss in ["margin", "triplet", "contrastive"] {
        let project = Project::new();
        let loss = format!("stage.train.loss={{ kind = \"{loss}\" }}");
        let sets = [
            "stage.decode.per_class=2",
            "rounds.learners=[1]",
            "stage.train.epochs=2",
            "stage.train.sampler.per_class=2",
            "stage.train.optimiser.lr=1e10",
            "stage.init.backbone=small",
            &loss,
        ];
        let mut arguments = vec![MANIFEST, "--store", "store", "--runs", "runs"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
        let called = project.call(&arguments);
        assert_eq!(called.code, Some(1), "{loss}: {}", called.stderr);
        assert_eq!(project.nodes("quickstart", "failed"), ["train@0[0]"], "{loss}");
        assert!(called.stderr.contains("Cannot train the model in epoch 0, step"), "{loss}: {}", called.stderr);
        assert!(called.stderr.contains("try a lower learning rate"), "{loss}: {}", called.stderr);
    }
}

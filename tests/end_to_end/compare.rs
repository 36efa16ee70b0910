//! Runs compared by `dnc-run diff`: nodes of one run over their queries, groups of seeds over the seeds, in every form.

use std::fs::File;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::project::Project;

const MANIFEST: &str = r#"
name = "compared"

[stage.decode]
dataset = "parquet"
root = "HERE/pipelines/data/open-emoji-mini.parquet"
per_class = 2

[stage.init]
backbone = "small"
dimension = 64
crop = 32
resize = 32

[stage.pixels]
kind = "evaluate"
in = { images = "decode" }

[stage.untrained]
kind = "evaluate"
in = { images = "decode", model = "init" }
"#;

/// Two seeds of a network of 64 coordinates, then two of one with 2.
fn project() -> Project {
    let project = Project::new();
    project.write("compared.toml", MANIFEST.replace("HERE", env!("CARGO_MANIFEST_DIR")));
    project.run(&["compared.toml", "--vary", "seed=1,2"]);
    project.run(&["compared.toml", "--vary", "seed=1,2", "--set", "stage.init.dimension=2"]);
    project
}

/// The comparison of a node's Recall@1 in the second group with that in the first, and the whole line.
fn recall(project: &Project, arguments: &[&str], node: &str) -> (Value, Value) {
    let json = project.run(&[&["diff", "--format", "json"], arguments].concat()).stdout;
    let lines: Value = serde_json::from_str(&json).expect("it is JSON");
    let is_it = |line: &&Value| line["node"] == node && line["metric"] == "recall" && line["k"] == 1;
    let line = lines.as_array().expect("a list").iter().find(is_it).expect("Recall@1 was measured").clone();
    (line["groups"][1]["comparison"].clone(), line)
}

#[test]
fn runs_are_compared_over_seeds_or_queries_and_told_in_every_form() {
    let project = project();

    let (seeds, line) = recall(&project, &["compared/1-2", "compared/3-4"], "untrained");
    assert_eq!((&seeds["over"], &seeds["verdict"]), (&"paired seeds".into(), &"worse".into()), "{line}");
    assert_eq!(line["groups"][0]["values"].as_array().map(Vec::len), Some(2), "{line}");
    assert_eq!(line["groups"][0]["seeds"], serde_json::json!([1, 2]), "{line}");
    assert!(line["groups"][0]["half_width"].as_f64().is_some_and(|half| half > 0.0), "{line}");
    let (same, line) = recall(&project, &["compared/1-2", "compared/3-4"], "pixels");
    assert_eq!((&same["difference"], &same["verdict"]), (&0.0.into(), &"not distinguishable".into()), "{line}");

    let (queries, line) = recall(&project, &["compared/1", "compared/3"], "untrained");
    assert_eq!((&queries["over"], &queries["verdict"]), (&"queries".into(), &"worse".into()), "{line}");
    assert!(queries["p"].as_f64().is_some_and(|p| p < 0.01), "{line}");
    assert!(queries["p_sign_flip"].as_f64().is_some_and(|p| p < 0.01), "{line}");
    let (nodes, line) = recall(&project, &["compared/3:untrained", "compared/3:pixels"], "");
    assert_eq!((&nodes["over"], &nodes["verdict"]), (&"queries".into(), &"better".into()), "{line}");

    let table = ["diff", "compared/1", "compared/3"];
    let told = project.run(&table).stdout;
    assert!(told.contains("95 % interval") && told.contains("not distinguishable"), "{told}");
    assert_eq!(project.run(&table).stdout, told, "draws are seeded");
    assert!(project.run(&["diff", "compared/1-2"]).stdout.contains(" ± "));
    let markdown = project.run(&["diff", "compared/1-2", "compared/3-4", "--format", "md"]).stdout;
    assert!(markdown.starts_with("| node | split | metric | compared/1-2 | compared/3-4 | difference |"), "{markdown}");

    project.run(&[&table[..], &["--format", "parquet", "--output", "diff.parquet"]].concat());
    let file = File::open(project.path().join("diff.parquet")).expect("it was written");
    let reader = SerializedFileReader::new(file).expect("it is Parquet");
    let metadata = reader.metadata().file_metadata();
    // Two nodes, four metrics each, two runs.
    assert_eq!(metadata.num_rows(), 2 * 4 * 2);
    assert!(metadata.schema_descr().columns().iter().any(|column| column.name() == "verdict"));

    let unknown = project.call(&["diff", "compared/1:nothing"]);
    assert!(unknown.stderr.contains("The run `compared/1` has no metrics of a node `nothing`"), "{}", unknown.stderr);
}

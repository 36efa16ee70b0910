//! `dnc-run diff`: comparisons over seeds and over queries, in every output format.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use parquet::arrow::ArrowWriter;
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

/// Runs 1 and 2 have 64 dimensions and the seeds 1 and 2; runs 3 and 4 have 2 dimensions and the same seeds.
fn project() -> Project {
    let project = Project::new();
    project.write("compared.toml", MANIFEST.replace("HERE", env!("CARGO_MANIFEST_DIR")));
    project.run(&["compared.toml", "--vary", "seed=1,2"]);
    project.run(&["compared.toml", "--vary", "seed=1,2", "--set", "stage.init.dimension=2"]);
    project
}

/// The comparison of a node's Recall@1 in the second group with that in the first, and the whole JSON object of the metric.
fn recall(project: &Project, arguments: &[&str], node: &str) -> (Value, Value) {
    let json = project.run(&[&["diff", "--format", "json"], arguments].concat()).stdout;
    let metrics: Value = serde_json::from_str(&json).expect("the output is JSON");
    let is_it = |metric: &&Value| metric["node"] == node && metric["metric"] == "recall" && metric["k"] == 1;
    let metric = metrics.as_array().expect("a list").iter().find(is_it).expect("Recall@1 was measured").clone();
    (metric["groups"][1]["comparison"].clone(), metric)
}

#[test]
fn runs_are_compared_over_seeds_or_queries_in_every_format() {
    let project = project();

    let (seeds, metric) = recall(&project, &["compared/1-2", "compared/3-4"], "untrained");
    assert_eq!((&seeds["over"], &seeds["verdict"]), (&"paired seeds".into(), &"worse".into()), "{metric}");
    assert_eq!(metric["groups"][0]["values"].as_array().map(Vec::len), Some(2), "{metric}");
    assert_eq!(metric["groups"][0]["seeds"], serde_json::json!([1, 2]), "{metric}");
    assert!(metric["groups"][0]["half_width"].as_f64().is_some_and(|half| half > 0.0), "{metric}");
    let (same, metric) = recall(&project, &["compared/1-2", "compared/3-4"], "pixels");
    assert_eq!((&same["difference"], &same["verdict"]), (&0.0.into(), &"not distinguishable".into()), "{metric}");

    let (queries, metric) = recall(&project, &["compared/1", "compared/3"], "untrained");
    assert_eq!((&queries["over"], &queries["verdict"]), (&"queries".into(), &"worse".into()), "{metric}");
    assert!(queries["p"].as_f64().is_some_and(|p| p < 0.01), "{metric}");
    assert!(queries["p_sign_flip"].as_f64().is_some_and(|p| p < 0.01), "{metric}");
    let (nodes, metric) = recall(&project, &["compared/3:untrained", "compared/3:pixels"], "");
    assert_eq!((&nodes["over"], &nodes["verdict"]), (&"queries".into(), &"better".into()), "{metric}");

    let table = ["diff", "compared/1", "compared/3"];
    let told = project.call(&table);
    assert!(!told.stdout.contains("pixels") && told.stdout.contains("worse model, over queries"), "{}", told.stdout);
    assert!(
        told.stderr.contains("4 more metrics are the same") && told.stderr.contains("one seed on a side"),
        "{}",
        told.stderr
    );
    let table = ["diff", "compared/1", "compared/3", "--all"];
    let text = project.run(&table).stdout;
    assert!(text.contains("95 % interval") && text.contains("not distinguishable"), "{text}");
    assert!(text.contains(" compared/3 − compared/1 "), "{text}");
    assert_eq!(project.run(&table).stdout, text, "draws are seeded");
    assert!(project.run(&["diff", "compared/1-2"]).stdout.contains(" ± "));
    let markdown = project.run(&["diff", "compared/1-2", "compared/3-4", "--format", "md"]).stdout;
    let headings =
        "| node | split | metric | compared/1-2 | compared/3-4 | compared/3-4 − compared/1-2 | 95 % interval |";
    assert!(markdown.starts_with(headings), "{markdown}");

    project.run(&[&table[..], &["--format", "parquet", "--output", "diff.parquet"]].concat());
    let file = File::open(project.path().join("diff.parquet")).expect("the file was written");
    let reader = SerializedFileReader::new(file).expect("the file is Parquet");
    let metadata = reader.metadata().file_metadata();
    // Two nodes, four metrics each, two runs.
    assert_eq!(metadata.num_rows(), 2 * 4 * 2);
    assert!(metadata.schema_descr().columns().iter().any(|column| column.name() == "verdict"));

    let unknown = project.call(&["diff", "compared/1:nothing"]);
    assert!(unknown.stderr.contains("Run `compared/1` has no metrics of node `nothing`"), "{}", unknown.stderr);
}

#[test]
fn queries_of_nodes_that_evaluated_other_images_are_not_paired() {
    let manifest = r#"
name = "two"

[stage.few]
kind = "decode"
dataset = "parquet"
root = "HERE/pipelines/data/open-emoji-mini.parquet"
per_class = 2

[stage.more]
kind = "decode"
dataset = "parquet"
root = "HERE/pipelines/data/open-emoji-mini.parquet"
per_class = 3

[stage.of_few]
kind = "evaluate"
in = { images = "few" }

[stage.of_more]
kind = "evaluate"
in = { images = "more" }
"#;
    let project = Project::new();
    project.write("two.toml", manifest.replace("HERE", env!("CARGO_MANIFEST_DIR")));
    project.run(&["two.toml"]);
    let nodes = ["two/1:of_few", "two/1:of_more"];
    let (comparison, metric) = recall(&project, &nodes, "");
    assert_eq!(comparison, Value::Null, "{metric}");
    let told = project.call(&[&["diff"], &nodes[..]].concat()).stderr;
    assert!(told.contains("did not evaluate the same images, so their queries cannot be paired"), "{told}");
}

#[test]
fn values_and_differences_are_listed_by_seed() {
    let project = project();
    let arguments = ["diff", "compared/1-2:untrained", "compared/3-4:untrained", "--by-seed"];
    let call = |more: &[&str]| project.call(&[&arguments[..], more].concat());

    let markdown = call(&["--format", "md"]).stdout;
    let headings = "| split | metric | seed | compared/1-2 | compared/3-4 | compared/3-4 − compared/1-2 |\n";
    assert!(markdown.starts_with(headings), "{markdown}");
    let labels: Vec<String> = markdown
        .lines()
        .skip(2)
        .map(|row| row.split(" | ").skip(1).take(2).collect::<Vec<_>>().join(" "))
        .filter(|label| label.starts_with("recall@1 "))
        .collect();
    let expected = ["1", "2", "mean", "95 % interval", "p", "verdict"].map(|row| format!("recall@1 {row}"));
    assert_eq!(labels, expected, "{markdown}");
    assert!(markdown.contains("| map_at_r | 1 |") && !markdown.contains("r_precision"), "{markdown}");
    assert!(markdown.contains("worse, paired over seeds") && markdown.contains("| **-0."), "{markdown}");
    assert!(!markdown.contains("images per second"), "no node was trained: {markdown}");

    let json: Value = serde_json::from_str(&call(&["--format", "json", "--metric", "r_precision"]).stdout)
        .expect("the output is JSON");
    assert_eq!(json["metrics"].as_array().map(Vec::len), Some(1), "{json}");
    let row = &json["metrics"][0]["by_seed"][1];
    let number = |value: &Value| value.as_f64().expect("a number");
    assert_eq!(row["seed"], 2, "{json}");
    assert!(
        (number(&row["differences"][1]) - (number(&row["values"][1]) - number(&row["values"][0]))).abs() < 1e-12,
        "{json}"
    );

    let check_refused = |more: &[&str], expected: &str| {
        let refused = call(more);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    };
    check_refused(&["--metric", "recall@1,ami"], "None of the runs has metric `ami`; they have ");
    check_refused(&["--format", "parquet"], "`--by-seed` cannot be written as Parquet");
}

/// Tables of programs may be Arrow or Parquet, with other columns beside those of the kind, in any order.
#[test]
fn metrics_that_programs_write_are_reported_whatever_form_they_have() {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let whole = |number: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![number])) };
    let value = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
    let table = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).expect("one row each");
    let first = table(vec![
        ("value", value(0.25)),
        ("metric", text("recall")),
        ("split", text("test")),
        ("k", whole(1)),
        ("learners", whole(1)),
        ("round", whole(0)),
    ]);
    let second = table(vec![
        ("note", text("by hand")),
        ("round", whole(0)),
        ("learners", whole(1)),
        ("split", text("test")),
        ("metric", text("recall")),
        ("k", whole(1)),
        ("value", value(0.75)),
    ]);

    let project = Project::new();
    let create = |name: &str| File::create(project.path().join(name)).expect("the folder is writable");
    let mut writer = FileWriter::try_new(create("first.arrow"), first.schema_ref()).expect("the file can be written");
    writer.write(&first).and_then(|()| writer.finish()).expect("the file can be written");
    let mut writer = ArrowWriter::try_new(create("second.parquet"), second.schema(), None).expect("it can be written");
    writer.write(&second).expect("the file can be written");
    writer.close().expect("the file can be written");
    let stage = |name: &str, file: &str, form: &str| {
        format!(
            "[stage.{name}]\nkind = \"command\"\nrun = \"cp {{file.0}} {{out.metrics}}/metrics.{form}\"\n\
             files = [\"{file}\"]\noutputs = {{ metrics = \"metrics\" }}\n"
        )
    };
    let stages = [stage("first", "first.arrow", "arrow"), stage("second", "second.parquet", "parquet")];
    project.write("measured.toml", format!("name = \"measured\"\n{}", stages.concat()));
    let told = project.run(&["measured.toml"]).stdout;
    assert!(told.contains("0.2500") && told.contains("0.7500"), "{told}");
    let told = project.run(&["diff", "measured:first", "measured:second"]).stdout;
    assert!(told.contains("+0.5000"), "{told}");
}

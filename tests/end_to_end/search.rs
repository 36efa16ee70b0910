//! `dnc-run search` with an index. `serve` compares other searches with those over HTTP.

use std::fs;

use serde_json::Value;

use crate::report::reported;

const INDEX: &str = r#"
[stage.index]
per = "round"
in = { embeddings = "evaluate.embeddings" }
lists = 4
recall = 1
"#;

#[test]
fn an_index_is_built_and_searched() {
    let (project, _) = reported();
    let refused = project.call(&["search", "shapes", "id:40", "--approximate"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("has no index"), "{}", refused.stderr);

    let manifest = fs::read_to_string(project.path().join("shapes.toml")).expect("it was written");
    project.write("shapes.toml", manifest + INDEX);
    project.run(&["shapes.toml", "--quiet"]);
    let search = |arguments: &[&str]| {
        let called = project.run(&[&["search", "shapes", "id:40", "-k", "6", "--format", "json"], arguments].concat());
        serde_json::from_str::<Value>(&called.stdout).expect("it is JSON")[0].clone()
    };
    let (exact, approximate) = (search(&[]), search(&["--approximate"]));
    assert_eq!(exact["neighbours"], approximate["neighbours"], "everything is found");
    assert_eq!(exact["neighbours"].as_array().map(Vec::len), Some(6));
    assert_eq!((&exact["index_recall"], &approximate["index_recall"]), (&Value::Null, &Value::from(1.0)));
}

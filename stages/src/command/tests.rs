//! Tests of the `command` stage's parameters. Programs are run in the end-to-end tests.

use super::*;

fn command(text: &str) -> Result<Box<dyn crate::api::Job>, ParamError> {
    let kind = crate::api::StageKind::of::<Command>();
    kind.parse(serde_json::from_str(text).expect("the test writes JSON"))
}

#[test]
fn placeholders_that_are_used_enter_the_key() {
    let job = command(r#"{ "run": "echo {seed} > {out.x}/x", "outputs": { "x": "files" } }"#).expect("it is valid");
    assert_eq!(job.ambient(), Ambient { seed: true, ..Ambient::default() });
    assert_eq!(job.ports().outputs, [Output::new("x", ArtifactKind::Files)]);
}

#[test]
fn invalid_values_are_refused() {
    for (params, key, message, hint) in [
        (r#"{ "run": [], "outputs": { "x": "files" } }"#, "run", "no program", ""),
        (r#"{ "run": ["{file.0}"], "outputs": { "x": "files" } }"#, "run", "by a placeholder, `{file.0}`", "its path"),
        (r#"{ "run": "true" }"#, "", "at least one output", "outputs = "),
        (r#"{ "run": "cp {out.y}", "outputs": { "x": "files" } }"#, "run", "{out.y}", "outputs are `{out.x}`"),
        (r#"{ "run": "cp {file.0}", "outputs": { "x": "files" } }"#, "run", "{file.0}", "has no `files`"),
        (
            r#"{ "run": "cp {file.1}", "files": ["a"], "outputs": { "x": "files" } }"#,
            "run",
            "{file.1}",
            "has one entry",
        ),
        (r#"{ "run": "true", "outputs": { "x": "files" }, "time_limit": 0 }"#, "time_limit", "above 0", ""),
        (r#"{ "run": "true", "outputs": { "x": "files" }, "time_limit": 1e30 }"#, "time_limit", "above 0", ""),
        (r#"{ "run": "true", "outputs": { "../x": "files" } }"#, "outputs", "Invalid name `../x`", "letters"),
        (r#"{ "run": "true", "outputs": { "x": "pictures" } }"#, "outputs.x", "unknown variant", ""),
    ] {
        let error = command(params).err().expect("it is refused");
        assert_eq!(error.key, key, "{params}");
        assert!(error.message.contains(message), "{params}: {}", error.message);
        assert!(error.hint.unwrap_or_default().contains(hint), "{params}");
    }
}

#[test]
fn a_script_in_a_shell_line_is_a_source() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let script = folder.path().join("plot.py");
    std::fs::write(&script, "").expect("the folder can be written to");
    let shown = script.display();
    let check = |run: String, is_source: bool| {
        let text = serde_json::json!({ "run": run, "outputs": { "x": "files" } }).to_string();
        let sources = command(&text).expect("it is valid").sources();
        let paths: Vec<&Path> = sources.iter().map(|source| source.path.as_path()).skip(1).collect();
        assert_eq!(paths, if is_source { vec![script.as_path()] } else { Vec::new() }, "{run}");
    };
    check(format!("cd /tmp && python3 -u '{shown}' {{out.x}}"), true);
    check(format!("python3 {shown} > {{out.x}}/a; /usr/bin/python3.12 {shown} b"), true);
    check(format!(". {shown} && echo > {{out.x}}/a"), true);
    check(format!("x=$(bash {shown}); echo $x > {{out.x}}/a"), true);
    check(format!("echo >> {shown}"), false);
    check("python3 /no/such/script.py > {out.x}/a".to_owned(), false);
    check("python3 -c 'print(1)' > {out.x}/a".to_owned(), false);
}

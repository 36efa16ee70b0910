//! Large generated graphs, drawings of a plan, and progress output.

use crate::project::Project;

#[expect(dead_code, reason = "the ninja file is only for the benchmark of the executor")]
#[path = "../../examples/graph/mod.rs"]
mod generated;

use generated::{BELOW, CHANGING, Graph};

/// The nodes that ran, by number.
fn ran(project: &Project) -> Vec<usize> {
    let number = |node: String| node.strip_prefix("node-").and_then(|number| number.parse().ok());
    let mut ran: Vec<usize> = project.nodes("graph", "ran").into_iter().filter_map(number).collect();
    ran.sort_unstable();
    ran
}

#[test]
fn after_a_change_exactly_the_downstream_nodes_run() {
    let project = Project::new();
    let run = |graph: Graph| {
        project.write("graph.toml", graph.manifest());
        project.run(&["graph.toml", "--quiet", "--jobs", "3"]);
        ran(&project)
    };
    let graph = Graph { nodes: 120, version: 0 };
    assert_eq!(run(graph), (0..120).collect::<Vec<_>>());
    assert!(run(graph).is_empty());
    assert_eq!(run(Graph { version: 1, ..graph }), (CHANGING..CHANGING + BELOW).collect::<Vec<_>>());
    assert!(run(graph).is_empty(), "the old results are still in the store");
}

const SMALL: &str = r#"
name = "small"

[rounds]
learners = [1, 2]

[stage.left]
kind = "command"
run = "echo one > {out.text}/a; echo two > {out.text}/b"
outputs = { text = "files" }

[stage.right]
kind = "command"
per = "round"
in = { text = "left", before = "right@previous or left" }
run = "echo {round} > {out.number}/number"
outputs = { number = "files" }
"#;

#[test]
fn graphs_are_drawn_in_three_formats() {
    let project = Project::new();
    project.write("small.toml", SMALL);
    let drawn = |format| project.run(&["graph", "small.toml", "--format", format]).stdout;
    insta::assert_snapshot!(drawn("dot"), @r#"
    digraph plan {
      rankdir=LR;
      node [shape=box, style=rounded];
      n0 [label="left"];
      subgraph cluster_0 {
        label="round 0, K = 1";
        n1 [label="right@0"];
      }
      subgraph cluster_1 {
        label="round 1, K = 2";
        n2 [label="right@1"];
      }
      n0 -> n1 [label="before"];
      n0 -> n1 [label="text"];
      n1 -> n2 [label="before"];
      n0 -> n2 [label="text"];
    }
    "#);
    insta::assert_snapshot!(drawn("mermaid"), @r#"
    flowchart LR
      n0["left"]
      subgraph round0["round 0, K = 1"]
        n1["right@0"]
      end
      subgraph round1["round 1, K = 2"]
        n2["right@1"]
      end
      n0 -->|before| n1
      n0 -->|text| n1
      n1 -->|before| n2
      n0 -->|text| n2
    "#);
    let svg = drawn("svg");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for name in ["left", "right@0", "right@1"] {
        assert!(svg.contains(&format!(">{name}</text>")), "{name} in {svg}");
    }
    // The first round stands beside what runs once; the second names it instead of a long line.
    assert_eq!((svg.matches("<path").count(), svg.matches(">reads left<").count()), (2, 1), "{svg}");
}

#[test]
fn progress_can_be_printed_as_json_events() {
    let project = Project::new();
    project.write("small.toml", SMALL);
    let events_of = |arguments: &[&str]| {
        let stderr = project.call(arguments).stderr;
        let events =
            stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON"));
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        events.map(|event| [&event["event"], &event["node"], &event["outcome"]].map(text).join(" ")).collect::<Vec<_>>()
    };
    let one_by_one = ["small.toml", "--progress", "json", "--jobs", "1"];
    insta::assert_debug_snapshot!(events_of(&one_by_one), @r#"
    [
        "run_started  ",
        "node_started left ",
        "node_finished left ran",
        "node_started right@0 ",
        "node_finished right@0 ran",
        "node_started right@1 ",
        "node_finished right@1 ran",
        "run_finished  ",
    ]
    "#);
    let again = events_of(&one_by_one);
    assert_eq!(again.iter().filter(|event| event.ends_with(" hit")).count(), 3, "{again:?}");
}

#[test]
fn progress_bars_leave_the_summary_behind() {
    let project = Project::new();
    project.write("small.toml", SMALL.replace("echo {round}", "echo no >&2; exit 3; echo {round}"));
    let called = project.call(&["small.toml", "--progress", "bar"]);
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.contains("1 ran, 1 failed, 1 skipped in "), "{}", called.stderr);
}

#[test]
fn the_last_lines_of_a_failed_program_are_shown() {
    let project = Project::new();
    project.write("small.toml", SMALL.replace("echo one", "seq 20; exit 3; echo one"));
    let stderr = project.call(&["small.toml"]).stderr;
    assert!(stderr.contains("`sh` exited with code 3; the last lines of its output:\n    11\n    12\n"), "{stderr}");
    assert_eq!(project.read("runs/small/1/logs/left.log").lines().next(), Some("1"));
}

#[test]
fn a_list_of_gpus_needs_a_gpu_device() {
    let project = Project::new();
    project.write("small.toml", SMALL);
    let refused = project.call(&["small.toml", "--device", "cpu", "--gpus", "0,1"]);
    assert_eq!(refused.code, Some(2));
    insta::assert_snapshot!(refused.stderr, @"error: `--gpus` needs a GPU, but the device is the CPU; add `--device cuda`");
}

//! Graphs of more nodes than a person would write.

use crate::project::Project;

#[expect(dead_code, reason = "what is written for ninja is for the benchmark of the executor")]
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
fn after_a_change_exactly_the_nodes_below_it_run() {
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
    assert!(run(graph).is_empty(), "the old results are still there");
}

//! Training speed of groups of runs, from the measurements in `run.json`.

use std::collections::HashMap;
use std::path::Path;

use dnc_cache::Key;

use super::group::ComparedRun;
use crate::report::run_folder::{NodeJson, RunFolder};

/// The stage whose speed is reported.
const TRAINING: &str = "train";
/// Name of the measurement.
const MEASUREMENT: &str = "images per second";

/// Images per second of each group: per run, the median over its training nodes; of these, the median over the runs.
///
/// A cached node was not measured in the run itself. Its speed is that of the run in the folder `runs` that computed it, found
/// by its key. A node that no run in the folder has measured does not count.
pub fn images_per_second(groups: &[Vec<ComparedRun>], runs: &Path) -> Vec<Option<f64>> {
    let training = |run: &ComparedRun| run.run.read().map(|json| training_nodes(json.nodes)).unwrap_or_default();
    let groups: Vec<Vec<Vec<NodeJson>>> = groups.iter().map(|members| members.iter().map(training).collect()).collect();
    let is_measured = |node: &NodeJson| node.measured.contains_key(MEASUREMENT);
    let by_key = if groups.iter().flatten().flatten().all(is_measured) { HashMap::new() } else { speeds_by_key(runs) };
    let of_node =
        |node: &NodeJson| node.measured.get(MEASUREMENT).copied().or_else(|| by_key.get(node.key.as_ref()?).copied());
    let of_run = |nodes: &Vec<NodeJson>| median(nodes.iter().filter_map(of_node).collect());
    groups.iter().map(|runs| median(runs.iter().filter_map(of_run).collect())).collect()
}

fn training_nodes(mut nodes: Vec<NodeJson>) -> Vec<NodeJson> {
    nodes.retain(|node| node.stage == TRAINING);
    nodes
}

/// The speed of every training node that a run in this folder has measured; of several measurements, the last in the order of
/// the runs.
fn speeds_by_key(runs: &Path) -> HashMap<Key, f64> {
    let runs = RunFolder::all(runs).unwrap_or_default().into_iter().filter_map(|run| run.read().ok());
    let nodes = runs.flat_map(|json| training_nodes(json.nodes));
    nodes.filter_map(|node| Some((node.key?, *node.measured.get(MEASUREMENT)?))).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_speed_of_a_group_is_that_of_its_own_runs() {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let key = |digit: u8| digit.to_string().repeat(64);
        // A training node with this key, and its speed if it ran.
        let node = |digit: u8, speed: Option<u32>| {
            let measured = speed.map(|speed| format!(r#","measured":{{"images per second":{speed}}}"#));
            let (key, measured) = (key(digit), measured.unwrap_or_default());
            format!(r#"{{"node":"train@{digit}","stage":"train","outcome":"ran","key":"{key}"{measured}}}"#)
        };
        let embedding = r#"{"node":"embed","stage":"embed","outcome":"ran","measured":{"images per second":9000}}"#;
        let run = |name: &str, nodes: &[String]| {
            let run = RunFolder::create(folder.path(), name).expect("the folder is writable");
            let json = format!(
                concat!(
                    r#"{{"run":"{name}","manifest":"m","store":"s","started":0,"seconds":0.0,"version":"0","device":"cpu","#,
                    r#""arithmetic":"cpu","threads":1,"jobs":1,"overrides":[],"nodes":[{embedding},{nodes}]}}"#,
                ),
                name = name,
                embedding = embedding,
                nodes = nodes.join(","),
            );
            fs::write(run.path.join("run.json"), json).expect("the folder is writable");
            ComparedRun { run, node: None }
        };
        let early = vec![
            run("a", &[node(1, Some(100)), node(2, Some(200)), node(3, Some(300))]),
            run("a", &[node(4, Some(400))]),
        ];
        let late = vec![run("a", &[node(5, Some(500))]), run("a", &[node(6, Some(700))])];
        let cached = vec![run("b", &[node(4, None), node(5, None)])];
        let unknown = vec![run("b", &[node(7, None)])];
        assert_eq!(
            images_per_second(&[early, late, cached, unknown], folder.path()),
            [Some(300.0), Some(600.0), Some(450.0), None]
        );
    }
}

//! Section 11: what it takes to make this run again.

use maud::{Markup, html};

use crate::pages::evidence::Evidence;
use crate::pages::page::Section;
use crate::report::text_rows::csv_cell;
use crate::shell::quoted;

/// How to cite the program, as its repository says.
const CITATION: &str = include_str!("../../../CITATION.cff");

/// The section.
pub(in crate::pages) fn section(run: &Evidence, metrics_csv: &str, queries_csv: Option<&str>) -> Section {
    let json = &run.json;
    let sets: String = json.overrides.iter().map(|one| format!(" --set {}", quoted(one))).collect();
    let body = html! {
        pre { "dnc-run " (quoted(&json.manifest.display().to_string())) (sets) }
        p { "Or with the resolved manifest below, which has every default written out:" }
        pre { "dnc-run manifest.toml" }
        table {
            tbody {
                tr { th { "version" } td { "dnc-run " (json.version) } }
                tr { th { "device" } td { (json.device) } }
                tr { th { "arithmetic" } td { (json.arithmetic) ". On the same arithmetic, every artifact has the same bytes for any number of threads." } }
                tr { th { "seed" } td { (run.seed) } }
                (digests(run))
            }
        }
        p {
            button data-save="manifest.toml" data-from="#manifest" { "Save manifest" } " "
            button data-save="metrics.csv" data-from="#metrics-csv" { "Save metrics" } " "
            @if queries_csv.is_some() { button data-save="queries.csv" data-from="#queries-csv" { "Save queries" } }
        }
        details { summary { "Manifest, resolved" } pre #manifest { (run.manifest) } }
        details { summary { "Metrics" } pre #metrics-csv { (metrics_csv) } }
        @if let Some(queries) = queries_csv { pre #queries-csv hidden { (queries) } }
        details { summary { "Citation" } pre { (CITATION) } }
    };
    let lead = html! { "The same command on the same arithmetic gives the same bytes." };
    Section { id: "reproduce", title: "Reproduce", lead, body }
}

/// Digests of data and weights: what the nodes that read nothing have written.
fn digests(run: &Evidence) -> Markup {
    let sources = run.json.nodes.iter().filter(|node| ["decode", "init"].contains(&node.stage.as_str()));
    html! {
        @for node in sources {
            @for (output, digest) in &node.outputs {
                tr { th { (output) " of " code { (node.node) } } td { code { (digest) } } }
            }
        }
    }
}

/// A table as CSV.
pub(in crate::pages) fn csv(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| cells.iter().map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(",") + "\n";
    let headings = line(headings.iter().map(|&heading| heading.to_owned()).collect());
    std::iter::once(headings).chain(rows.into_iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_are_quoted() {
        assert_eq!(csv(&["a", "b"], [vec!["1,5".to_owned(), "x\"y".to_owned()]]), "a,b\n\"1,5\",\"x\"\"y\"\n");
        assert_eq!(csv(&["a"], [vec!["x\ry".to_owned()]]), "a\n\"x\ry\"\n");
    }
}

//! Tables of the measurements that `scripts/gpu_check.sh` took on a GPU, from the file that it wrote.

use std::path::Path;

use serde_json::Value;

use super::{ROOT, read};

const NONE: &str = "–";
const HEADING: &str = "\
| Row | ours, ms | PyTorch, ms | its setting | ratio | ratio to any precision | memory in MiB, ours / PyTorch |
|---|---|---|---|---|---|---|
";

/// The tables of a file below `docs`.
pub(super) fn tables_of(name: &str) -> String {
    let rows: Value = serde_json::from_str(&read(&Path::new(ROOT).join("docs").join(name))).expect("the file is JSON");
    tables(rows.as_array().expect("the file is a list of rows"))
}

/// A table for each card and its libraries.
fn tables(rows: &[Value]) -> String {
    let mut tables: Vec<(String, String)> = Vec::new();
    for row in rows {
        let text = |key: &str| row[key].as_str().expect("each row names it");
        let title = format!("{}: {}.", text("card"), text("libraries"));
        let place = tables.iter().position(|(known, _)| *known == title).unwrap_or_else(|| {
            tables.push((title, HEADING.to_owned()));
            tables.len() - 1
        });
        tables[place].1 += &row_of(row);
    }
    let texts: Vec<String> = tables.iter().map(|(title, table)| format!("{title}\n\n{table}")).collect();
    texts.join("\n")
}

fn row_of(row: &Value) -> String {
    let number = |key: &str| row[key].as_f64().map_or_else(|| NONE.to_owned(), |value| format!("{value:.2}"));
    let text = |key: &str| row[key].as_str().unwrap_or(NONE);
    let memory = |key: &str| row[key].as_u64().map_or_else(|| NONE.to_owned(), grouped);
    // That of the whole process, which the page explains.
    let mark = if row["ours_peak_of"] == "process" { "\\*" } else { "" };
    format!(
        "| {} | {} | {} | {} | {} | {} | {}{mark} / {} |\n",
        text("name"),
        number("ours_ms"),
        number("peer_ms"),
        text("peer"),
        number("ratio"),
        number("fastest_ratio"),
        memory("ours_peak_mib"),
        memory("peer_peak_mib")
    )
}

/// With a comma before each three digits.
fn grouped(number: u64) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", grouped(number / 1000), number % 1000) }
}

#[test]
fn measurements_become_a_table_for_each_card() {
    let rows = r#"[
        { "name": "embed/a", "card": "One", "libraries": "CUDA 13.0", "ours_ms": 2.0, "peer": "bf16", "peer_ms": 3.456, "ratio": 1.728,
          "fastest_ratio": 1.5, "ours_peak_mib": 1024, "ours_peak_of": "process", "peer_peak_mib": 999 },
        { "name": "embed/a", "card": "Two", "libraries": "CUDA 13.0", "ours_ms": 1, "peer": null, "peer_ms": null, "ratio": null },
        { "name": "embed/b", "card": "One", "libraries": "CUDA 13.0", "ours_ms": 10.5, "ours_peak_mib": 1001000, "ours_peak_of": "tensors" }
    ]"#;
    let rows: Vec<Value> = serde_json::from_str(rows).expect("it is JSON");
    insta::assert_snapshot!(tables(&rows), @r"
    One: CUDA 13.0.

    | Row | ours, ms | PyTorch, ms | its setting | ratio | ratio to any precision | memory in MiB, ours / PyTorch |
    |---|---|---|---|---|---|---|
    | embed/a | 2.00 | 3.46 | bf16 | 1.73 | 1.50 | 1,024\* / 999 |
    | embed/b | 10.50 | – | – | – | – | 1,001,000 / – |

    Two: CUDA 13.0.

    | Row | ours, ms | PyTorch, ms | its setting | ratio | ratio to any precision | memory in MiB, ours / PyTorch |
    |---|---|---|---|---|---|---|
    | embed/a | 1.00 | – | – | – | – | – / – |
    ");
}

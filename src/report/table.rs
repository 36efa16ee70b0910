//! Tables of text.

/// A table for a terminal: headings, then rows, columns separated by spaces, numbers aligned to the right.
pub fn text_table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(headings);
    let is_number = |text: &str| text.is_empty() || text.parse::<f64>().is_ok();
    for column in 0..headings.len() {
        if rows.iter().all(|row| row.get(column).is_none_or(|cell| is_number(cell)))
            && let Some(column) = table.column_mut(column)
        {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    table.trim_fmt()
}

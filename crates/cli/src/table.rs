//! Tables for people: aligned columns, no lines.

use chrono::{DateTime, Utc};
use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// Rows below a heading, each column as wide as its widest cell.
pub(super) fn aligned(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(heading.to_vec());
    table.add_rows(rows);
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A time as tables show it, to the second.
pub(super) fn second(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

//! What of the rows found is not what was expected.

use wardwatch_store::Value;

use super::cell::{Wanted, is_like};
use super::pipe::render;
use super::views::Found;

/// Rows that are missing, and rows that are too many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Difference {
    missing: Vec<usize>,
    extra: Vec<usize>,
}

impl Difference {
    pub(super) fn is_none(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty()
    }
}

/// Holds `found` against `wanted`, whose cells are those of `columns`; as sets unless `ordered`.
pub(super) fn differ(columns: &[String], wanted: &[Vec<Wanted>], found: &Found, ordered: bool) -> Difference {
    let places: Vec<Option<usize>> = columns.iter().map(|column| found.index_of(column)).collect();
    let is_met = |wanted: &[Wanted], row: &[Value]| {
        wanted.iter().zip(&places).all(|(wanted, place)| place.is_some_and(|place| wanted.is_met_by(&row[place])))
    };
    pair(wanted.len(), found.rows.len(), ordered, |a, b| is_met(&wanted[a], &found.rows[b]))
}

/// Holds what two runs of one test found against each other.
pub(super) fn differ_between(first: &Found, second: &Found, tolerance: f64) -> Difference {
    let are_like = |a: &[Value], b: &[Value]| a.iter().zip(b).all(|(a, b)| is_like(a, b, tolerance));
    pair(first.rows.len(), second.rows.len(), false, |a, b| are_like(&first.rows[a], &second.rows[b]))
}

/// Pairs each of `left` rows with one of `right` that is like it; what stays alone is the difference.
fn pair(left: usize, right: usize, ordered: bool, is_like: impl Fn(usize, usize) -> bool) -> Difference {
    let mut extra: Vec<usize> = (0..right).collect();
    let mut missing = Vec::new();
    for row in 0..left {
        // Mostly rows come in the same order.
        let like = match ordered {
            true => extra.iter().position(|&other| other == row && is_like(row, other)),
            false => extra.iter().position(|&other| is_like(row, other)),
        };
        match like {
            Some(at) => {
                extra.remove(at);
            }
            None => missing.push(row),
        }
    }
    Difference { missing, extra }
}

/// The rows that differ, those expected behind `-`, those found behind `+`, below their heading.
pub(super) fn show(difference: &Difference, columns: &[String], expected: &[Vec<String>], found: &Found) -> String {
    let wanted = difference.missing.iter().map(|&row| ("-", expected[row].clone()));
    let extra = difference.extra.iter().map(|&row| ("+", found.shown(row, columns)));
    let (marks, rows): (Vec<&str>, Vec<Vec<String>>) = wanted.chain(extra).unzip();
    let lines = render(columns, &rows);
    let marks = std::iter::once(" ").chain(marks);
    marks.zip(lines.lines()).map(|(mark, line)| format!("  {mark} {line}\n")).collect()
}

/// The rows as a pipe table's cells.
pub(super) fn shown_rows(columns: &[String], found: &Found) -> Vec<Vec<String>> {
    (0..found.rows.len()).map(|row| found.shown(row, columns)).collect()
}

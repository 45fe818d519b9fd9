//! Rows and columns of text, numbers to the right.

use super::super::canvas::{Align, Canvas, Font, fit};
use super::super::theme::Theme;
use super::frame::{LEFT, RIGHT};
use crate::canvas::ChartError;

const ROW: f64 = 20.0;
const MOST_ROWS: usize = 40;

/// Rows and columns of text.
#[derive(Debug, Clone)]
pub struct Table {
    /// The names of the columns, and whether they hold numbers.
    pub columns: Vec<(String, bool)>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn height(&self) -> f64 {
        (self.rows.len().min(MOST_ROWS) + 1 + usize::from(self.rows.len() > MOST_ROWS)) as f64 * ROW
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, theme: Theme, top: f64) -> Result<(), ChartError> {
        let widths = self.widths();
        let mut left = LEFT;
        for (column, (name, is_number)) in self.columns.iter().enumerate() {
            let width = widths[column];
            let (x, align) = if *is_number { (left + width - 8.0, Align::Right) } else { (left, Align::Left) };
            let at = |row: usize| (x, top + (row as f64 + 0.5) * ROW);
            canvas.text(&fit(name, 12.0, width - 8.0), at(0), align, Font::Bold(12.0), theme.quiet())?;
            for (index, row) in self.rows.iter().take(MOST_ROWS).enumerate() {
                let text = fit(row.get(column).map_or("", String::as_str), 12.0, width - 8.0);
                canvas.text(&text, at(index + 1), align, Font::Plain(12.0), theme.text())?;
            }
            left += width;
        }
        for row in 1..=self.rows.len().min(MOST_ROWS) {
            let y = top + row as f64 * ROW;
            canvas.line(&[(LEFT, y), (RIGHT, y)], theme.rule(), 1.0)?;
        }
        if self.rows.len() > MOST_ROWS {
            let text = format!("and {} more rows", self.rows.len() - MOST_ROWS);
            let at = (LEFT, top + (MOST_ROWS as f64 + 1.5) * ROW);
            canvas.text(&text, at, Align::Left, Font::Plain(12.0), theme.quiet())?;
        }
        Ok(())
    }

    /// As wide as each column's longest text, and all together as wide as the panel.
    fn widths(&self) -> Vec<f64> {
        let longest = |column: usize| {
            let texts =
                self.rows.iter().take(MOST_ROWS).filter_map(|row| row.get(column)).chain([&self.columns[column].0]);
            texts.map(|text| text.chars().count().clamp(3, 48)).max().unwrap_or(3) as f64 + 2.0
        };
        let wanted: Vec<f64> = (0..self.columns.len()).map(longest).collect();
        let all: f64 = wanted.iter().sum::<f64>().max(1.0);
        wanted.iter().map(|width| width / all * (RIGHT - LEFT)).collect()
    }
}

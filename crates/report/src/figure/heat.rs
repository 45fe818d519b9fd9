//! Rows of coloured cells over time, a name each: patients and their scores, the worst on top.

use super::super::canvas::{Align, Canvas, Font, fit};
use super::frame::{Frame, LEFT, RIGHT};
use super::strip::{Cell, cells};
use crate::canvas::ChartError;

const ROW: f64 = 18.0;

/// More rows than this are no picture any more; the rest is counted.
const MOST_ROWS: usize = 60;

/// A patient × time map.
#[derive(Debug, Clone)]
pub struct Heat {
    /// Names, each with its cells.
    pub rows: Vec<(String, Vec<Cell>)>,
    /// From these values on, the next colour is taken.
    pub steps: Vec<f64>,
}

impl Heat {
    pub(super) fn height(&self) -> f64 {
        (self.rows.len().min(MOST_ROWS) + usize::from(self.rows.len() > MOST_ROWS)) as f64 * ROW
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, top: f64) -> Result<(), ChartError> {
        let theme = frame.theme;
        for (index, (name, row)) in self.rows.iter().take(MOST_ROWS).enumerate() {
            let top = top + index as f64 * ROW;
            let name = fit(name, 12.0, LEFT - 12.0);
            canvas.text(&name, (LEFT - 8.0, top + ROW / 2.0), Align::Right, Font::Plain(12.0), theme.text())?;
            canvas.line(&[(LEFT, top + ROW - 1.0), (RIGHT, top + ROW - 1.0)], theme.rule(), 1.0)?;
            cells(canvas, frame, row, &self.steps, (top, top + ROW - 2.0))?;
            if let Some(last) = row.iter().max_by_key(|cell| cell.until) {
                let at = (RIGHT + 8.0, top + ROW / 2.0);
                canvas.text(&last.text(), at, Align::Left, Font::Bold(12.0), theme.text())?;
            }
        }
        if self.rows.len() > MOST_ROWS {
            let text = format!("and {} more", self.rows.len() - MOST_ROWS);
            let at = (LEFT + 8.0, top + (MOST_ROWS as f64 + 0.5) * ROW);
            canvas.text(&text, at, Align::Left, Font::Plain(12.0), theme.quiet())?;
        }
        Ok(())
    }
}

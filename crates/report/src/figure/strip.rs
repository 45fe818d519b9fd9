//! A strip of states over time: each a coloured cell with its number, for colour alone says nothing to many.

use chrono::{DateTime, Utc};

use super::super::canvas::{Align, Canvas, Font, text_width};
use super::frame::{Frame, shown};
use crate::canvas::ChartError;

/// States that follow each other.
#[derive(Debug, Clone)]
pub struct Strip {
    /// The states.
    pub cells: Vec<Cell>,
    /// From these values on, the next colour is taken.
    pub steps: Vec<f64>,
}

/// One state.
#[derive(Debug, Clone)]
pub struct Cell {
    /// When it began.
    pub from: DateTime<Utc>,
    /// When it was over.
    pub until: DateTime<Utc>,
    /// Its value, which gives its colour.
    pub value: f64,
    /// What is written in it; the value where it is empty.
    pub label: String,
}

impl Cell {
    pub(super) fn text(&self) -> String {
        if self.label.is_empty() { shown(self.value) } else { self.label.clone() }
    }
}

impl Strip {
    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, plot: (f64, f64)) -> Result<(), ChartError> {
        cells(canvas, frame, &self.cells, &self.steps, (plot.0, plot.0 + 22.0))
    }
}

/// Draws cells between two heights. Neighbours of one text are one cell; of those that share a pixel the worst is seen.
pub(super) fn cells(
    canvas: &Canvas<'_>,
    frame: &Frame,
    cells: &[Cell],
    steps: &[f64],
    (top, bottom): (f64, f64),
) -> Result<(), ChartError> {
    let mut joined: Vec<Cell> = Vec::new();
    for cell in cells.iter().filter(|cell| cell.until > frame.from && cell.from < frame.until) {
        match joined.last_mut() {
            Some(before) if before.text() == cell.text() && cell.from <= before.until => {
                before.until = before.until.max(cell.until);
            }
            _ => joined.push(cell.clone()),
        }
    }
    // The worst is drawn last.
    joined.sort_by(|a, b| a.value.total_cmp(&b.value));
    for cell in &joined {
        let (left, right) = (frame.x(cell.from), frame.x(cell.until));
        let right = right.max(left + 1.0);
        let (fill, ink) = frame.theme.score(cell.value, steps);
        canvas.rectangle((left, top), (right, bottom), fill)?;
        let text = cell.text();
        if text_width(&text, 12.0) + 4.0 <= right - left {
            let at = ((left + right) / 2.0, (top + bottom) / 2.0);
            canvas.text(&text, at, Align::Center, Font::Bold(12.0), ink)?;
        }
    }
    Ok(())
}

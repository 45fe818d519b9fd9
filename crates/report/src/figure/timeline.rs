//! Episodes over time: a bar each, in its severity's colour, with sign, text and length.

use chrono::{DateTime, Utc};

use wardwatch_model::terms::Severity;

use super::super::canvas::{Align, Canvas, Font, text_width};
use super::frame::{Frame, LEFT, RIGHT, WIDTH, span};
use crate::canvas::ChartError;

const LANE: f64 = 24.0;

/// More lanes than this would push the vitals off the page; what has no room is counted.
const MOST_LANES: usize = 12;

/// Episodes.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// The episodes, by their start.
    pub entries: Vec<Entry>,
}

/// One episode.
#[derive(Debug, Clone)]
pub struct Entry {
    /// How severe it is.
    pub severity: Severity,
    /// When it began.
    pub from: DateTime<Utc>,
    /// When it was over; `None` while it is not.
    pub until: Option<DateTime<Utc>>,
    /// What it says.
    pub text: String,
}

impl Timeline {
    pub(super) fn height(&self, frame: &Frame) -> f64 {
        let (placed, hidden) = self.lanes(frame);
        let lanes = placed.iter().map(|(lane, _)| lane + 1).max().unwrap_or(1);
        lanes as f64 * LANE + if hidden > 0 { LANE } else { 0.0 }
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, top: f64) -> Result<(), ChartError> {
        let (placed, hidden) = self.lanes(frame);
        let lanes = placed.iter().map(|(lane, _)| lane + 1).max().unwrap_or(0);
        for (lane, entry) in placed {
            entry.draw(canvas, frame, top + lane as f64 * LANE)?;
        }
        if hidden > 0 {
            let at = (LEFT + 8.0, top + lanes as f64 * LANE + LANE / 2.0);
            let text = format!("and {hidden} more that have no room here");
            canvas.text(&text, at, Align::Left, Font::Plain(12.0), frame.theme.quiet())?;
        }
        Ok(())
    }

    /// The episodes, each in the first lane whose texts and bars leave room for it, and how many have none.
    fn lanes(&self, frame: &Frame) -> (Vec<(usize, &Entry)>, usize) {
        let mut free_from: Vec<f64> = Vec::new();
        let mut placed = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let (left, right) = entry.edges(frame);
            let text = text_width(&entry.text(frame), 12.0) + 16.0;
            let (left, right) = match entry.place(frame) {
                Place::Inside => (left, right),
                Place::Right => (left, right + text),
                Place::Left => (left - text, right),
            };
            let lane = free_from.iter().position(|free| *free <= left).unwrap_or_else(|| {
                free_from.push(0.0);
                free_from.len() - 1
            });
            free_from[lane] = right + 8.0;
            placed.push((lane, entry));
        }
        let all = placed.len();
        placed.retain(|(lane, _)| *lane < MOST_LANES);
        let hidden = all - placed.len();
        (placed, hidden)
    }
}

/// Where the text of an episode stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Inside,
    Right,
    Left,
}

impl Entry {
    fn edges(&self, frame: &Frame) -> (f64, f64) {
        let left = frame.x(self.from);
        (left, frame.x(self.until.unwrap_or(frame.until)).max(left + 3.0))
    }

    fn text(&self, frame: &Frame) -> String {
        let length = span(self.until.unwrap_or(frame.until) - self.from);
        let standing = if self.until.is_none() { ", standing" } else { "" };
        format!("{}{} · {length}{standing}", frame.theme.severity(self.severity).sign, self.text)
    }

    fn place(&self, frame: &Frame) -> Place {
        let (left, right) = self.edges(frame);
        let width = text_width(&self.text(frame), 12.0) + 12.0;
        if width <= right - left {
            Place::Inside
        } else if right + width <= WIDTH || right <= (LEFT + RIGHT) / 2.0 {
            Place::Right
        } else {
            Place::Left
        }
    }

    fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, top: f64) -> Result<(), ChartError> {
        let (left, right) = self.edges(frame);
        let bottom = top + LANE - 6.0;
        let look = frame.theme.severity(self.severity);
        canvas.rectangle((left, top), (right, bottom), look.fill)?;
        if look.is_outlined {
            canvas.outline((left, top), (right, bottom), look.ink)?;
        }
        let (text, middle) = (self.text(frame), (top + bottom) / 2.0);
        let (at, align, font, ink) = match self.place(frame) {
            Place::Inside => ((left + 6.0, middle), Align::Left, Font::Bold(12.0), look.ink),
            Place::Right => ((right + 6.0, middle), Align::Left, Font::Plain(12.0), frame.theme.text()),
            Place::Left => ((left - 6.0, middle), Align::Right, Font::Plain(12.0), frame.theme.text()),
        };
        canvas.text(&text, at, align, font, ink)
    }
}

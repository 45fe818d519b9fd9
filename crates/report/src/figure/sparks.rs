//! Small multiples: a name, a small line over time and the last value in each row, all on one scale.

use super::super::canvas::{Align, Canvas, Font, fit};
use super::super::resample::by_pixel;
use super::super::scale::Scale;
use super::frame::{Frame, LEFT, RIGHT, shown};
use crate::canvas::ChartError;

const ROW: f64 = 34.0;
const NAMES: f64 = 160.0;
const MOST_ROWS: usize = 30;

/// A small line for each name.
#[derive(Debug, Clone)]
pub struct Sparks {
    /// The column that the values are of.
    pub name: String,
    /// The rows.
    pub rows: Vec<Spark>,
}

/// One small line.
#[derive(Debug, Clone)]
pub struct Spark {
    /// Its name.
    pub label: String,
    /// The times in microseconds, ascending.
    pub times: Vec<i64>,
    /// The values.
    pub values: Vec<Option<f64>>,
}

impl Sparks {
    pub(super) fn height(&self) -> f64 {
        self.rows.len().min(MOST_ROWS) as f64 * ROW + if self.rows.len() > MOST_ROWS { ROW } else { 0.0 }
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, top: f64) -> Result<(), ChartError> {
        let theme = frame.theme;
        let edges = (frame.from.timestamp_micros() as f64, frame.until.timestamp_micros() as f64);
        let time = Scale::new(edges, (LEFT + NAMES, RIGHT));
        let values = self.rows.iter().flat_map(|row| row.values.iter().flatten()).filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        let ink = theme.series(&self.name, 0);
        for (index, row) in self.rows.iter().take(MOST_ROWS).enumerate() {
            let (top, bottom) = (top + index as f64 * ROW + 4.0, top + (index as f64 + 1.0) * ROW - 4.0);
            let middle = (top + bottom) / 2.0;
            let y = Scale::new((low.min(high), high.max(low)), (bottom, top));
            let label = fit(&row.label, 12.0, NAMES);
            canvas.text(&label, (LEFT + NAMES - 8.0, middle), Align::Right, Font::Plain(12.0), theme.text())?;
            canvas.line(&[(LEFT + NAMES, bottom + 3.0), (RIGHT, bottom + 3.0)], theme.rule(), 1.0)?;
            #[allow(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
            let pixel = |micros: i64| time.at(micros as f64).floor() as i64;
            let values: Vec<Option<f64>> =
                row.times.iter().zip(&row.values).map(|(at, value)| value.filter(|_| frame.holds(*at))).collect();
            let runs = by_pixel(&row.times, &values, None, pixel);
            for run in runs.map_err(|error| ChartError(error.to_string()))? {
                let points = run.iter().flat_map(|column| {
                    let at = |micros: i64, value: f64| (time.at(micros as f64), y.at(value));
                    let middle = i64::midpoint(column.times.0, column.times.1);
                    [
                        at(column.times.0, column.ends.0),
                        at(middle, column.range.0),
                        at(middle, column.range.1),
                        at(column.times.1, column.ends.1),
                    ]
                });
                let points: Vec<(f64, f64)> = points.collect();
                let (x, y) = points[0];
                match run.len() {
                    1 => canvas.rectangle((x - 1.2, y - 1.2), (x + 1.2, y + 1.2), ink)?,
                    _ => canvas.line(&points, ink, 1.6)?,
                }
            }
            if let Some(last) = row.values.iter().rev().flatten().next() {
                canvas.text(&shown(*last), (RIGHT + 8.0, middle), Align::Left, Font::Bold(14.0), theme.text())?;
            }
        }
        if self.rows.len() > MOST_ROWS {
            let text = format!("and {} more", self.rows.len() - MOST_ROWS);
            let at = (LEFT + NAMES, top + (MOST_ROWS as f64 + 0.5) * ROW);
            canvas.text(&text, at, Align::Left, Font::Plain(12.0), theme.quiet())?;
        }
        Ok(())
    }
}

/// What a value does in one step of time, for a small line that is drawn again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SparkPoint {
    /// The step; one follows the other.
    pub step: i64,
    /// The least value.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

/// A small line of `points` over `steps` as the path of an SVG, `size` pixels large; empty where there is nothing to draw.
///
/// Each step shows its least and greatest value, and the line is broken where a step has none. Points are in order. The
/// height is at least `range` of the values, so that noise does not look like news.
#[must_use]
pub fn spark_path(points: &[SparkPoint], steps: std::ops::RangeInclusive<i64>, range: f64, size: (u32, u32)) -> String {
    use std::fmt::Write as _;

    let shown: Vec<&SparkPoint> = points.iter().filter(|point| steps.contains(&point.step)).collect();
    let (low, high) =
        shown.iter().fold((f64::MAX, f64::MIN), |(low, high), point| (low.min(point.low), high.max(point.high)));
    let x = Scale::new((*steps.start() as f64, *steps.end() as f64), (1.0, f64::from(size.0) - 1.0));
    let air = ((range - (high - low)) / 2.0).max(0.0);
    let y = Scale::new((low - air, high + air), (f64::from(size.1) - 1.0, 1.0));
    let mut path = String::new();
    let mut before: Option<&SparkPoint> = None;
    for point in shown {
        let (left, lowest, highest) = (x.at(point.step as f64), y.at(point.low), y.at(point.high));
        let follows = before.is_some_and(|before| before.step + 1 == point.step);
        let pen = if follows { 'L' } else { 'M' };
        // Writing to a String cannot fail.
        let _ = write!(path, "{pen}{left:.1} {lowest:.1}");
        if (lowest - highest).abs() >= 0.1 {
            let _ = write!(path, "V{highest:.1}");
        } else if !follows {
            // A single point is drawn as a dot.
            let _ = write!(path, "h.1");
        }
        before = Some(point);
    }
    path
}

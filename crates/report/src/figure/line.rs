//! Lines, steps and ranges over time.

use std::collections::BTreeMap;

use super::super::canvas::{Align, Canvas, Font, Ink, text_width};
use super::super::resample::{by_pixel, sampling_interval};
use super::super::scale::Scale;
use super::frame::{Frame, LEFT, RIGHT, shown};
use crate::canvas::ChartError;

/// Lines over one axis of time and one of values.
#[derive(Debug, Clone)]
pub struct Lines {
    /// The times in microseconds, ascending.
    pub times: Vec<i64>,
    /// The lines.
    pub lines: Vec<Line>,
    /// How values are joined.
    pub trace: Trace,
    /// The normal range and limits.
    pub limits: Vec<Limit>,
    /// Microseconds without a value after which a line breaks; three intervals of sampling where it is `None`.
    pub gap: Option<i64>,
}

/// How values are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// By straight lines.
    Straight,
    /// Each holds until the next.
    Step,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// The column that it is of; vitals have their own colours.
    pub name: String,
    /// What it is called, where there are several.
    pub label: String,
    /// Its values.
    pub values: Vec<Option<f64>>,
    /// The least and the greatest around each value, drawn as a pale band.
    pub band: Option<Band>,
}

/// The least and the greatest around each value of a line.
#[derive(Debug, Clone)]
pub struct Band {
    /// The least.
    pub low: Vec<Option<f64>>,
    /// The greatest.
    pub high: Vec<Option<f64>>,
}

/// A range that is normal for somebody.
#[derive(Debug, Clone)]
pub struct Limit {
    /// The lower limit.
    pub low: Option<f64>,
    /// The upper limit.
    pub high: Option<f64>,
    /// Whose it is: the patient's, the ward's, a default.
    pub whose: String,
}

/// Bars from low to high, such as diastolic to systolic pressure.
#[derive(Debug, Clone)]
pub struct Ranges {
    /// The column that the upper ends are of.
    pub name: String,
    /// The times in microseconds, ascending.
    pub times: Vec<i64>,
    /// The lower ends.
    pub low: Vec<Option<f64>>,
    /// The upper ends.
    pub high: Vec<Option<f64>>,
    /// The normal range and limits of the upper ends.
    pub limits: Vec<Limit>,
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.values.iter().all(Option::is_none))
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, plot: (f64, f64)) -> Result<(), ChartError> {
        let bands = self.lines.iter().filter_map(|line| line.band.as_ref()).flat_map(|band| [&band.low, &band.high]);
        let values = self.lines.iter().map(|line| &line.values).chain(bands);
        let values = values.flat_map(|values| within(frame, &self.times, values));
        let y = axis(canvas, frame, plot, values, &self.limits)?;
        for (index, line) in self.lines.iter().enumerate() {
            let ink = frame.theme.series(&line.name, index);
            if let Some(band) = &line.band {
                self.band(canvas, frame, y, band, ink)?;
            }
            self.trace(canvas, frame, y, line, ink)?;
        }
        match self.lines.as_slice() {
            [only] => {
                let at = (RIGHT + 8.0, plot.0 - 18.0);
                canvas.text(&last(&only.values), at, Align::Left, Font::Bold(20.0), frame.theme.text())
            }
            _ => self.legend(canvas, frame, plot.0),
        }
    }

    /// What each line is and its last value, beside the heading, where there are no data to cover.
    fn legend(&self, canvas: &Canvas<'_>, frame: &Frame, top: f64) -> Result<(), ChartError> {
        let mut right = RIGHT - 8.0;
        for (index, line) in self.lines.iter().enumerate().rev() {
            let label = format!("{} {}", line.label, last(&line.values));
            canvas.text(&label, (right, top - 18.0), Align::Right, Font::Plain(12.0), frame.theme.text())?;
            right -= text_width(&label, 12.0) + 4.0;
            let ink = frame.theme.series(&line.name, index);
            canvas.line(&[(right - 16.0, top - 18.0), (right, top - 18.0)], ink, 3.0)?;
            right -= 32.0;
        }
        Ok(())
    }

    fn trace(&self, canvas: &Canvas<'_>, frame: &Frame, y: Scale, line: &Line, ink: Ink) -> Result<(), ChartError> {
        let time = frame.time;
        #[allow(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
        let pixel = |micros: i64| (time.at(micros as f64) * 2.0).floor() as i64;
        let values: Vec<Option<f64>> =
            (0..self.times.len()).map(|row| line.values[row].filter(|_| frame.holds(self.times[row]))).collect();
        let runs = by_pixel(&self.times, &values, self.gap, pixel);
        for run in runs.map_err(|error| ChartError(error.to_string()))? {
            let mut points: Vec<(f64, f64)> = Vec::with_capacity(run.len() * 2);
            for column in &run {
                let x = |micros: i64| time.at(micros as f64);
                if column.range.0 < column.range.1 {
                    let middle = (x(column.times.0) + x(column.times.1)) / 2.0;
                    canvas.line(&[(middle, y.at(column.range.0)), (middle, y.at(column.range.1))], ink, 1.0)?;
                }
                if let (Trace::Step, Some((_, before))) = (self.trace, points.last().copied()) {
                    points.push((x(column.times.0), before));
                }
                points.push((x(column.times.0), y.at(column.ends.0)));
                if column.times.1 > column.times.0 {
                    points.push((x(column.times.1), y.at(column.ends.1)));
                }
            }
            match points[..] {
                [(x, y)] => canvas.rectangle((x - 1.2, y - 1.2), (x + 1.2, y + 1.2), ink)?,
                _ => canvas.line(&points, ink, 1.6)?,
            }
        }
        Ok(())
    }

    fn band(
        &self,
        canvas: &Canvas<'_>,
        frame: &Frame,
        y: Scale,
        band: &Band,
        Ink(colour, _): Ink,
    ) -> Result<(), ChartError> {
        let gap = self.gap.unwrap_or(3 * sampling_interval(&self.times));
        let known = self
            .times
            .iter()
            .zip(&band.low)
            .zip(&band.high)
            .filter_map(|((at, low), high)| Some((*at, (*low)?, (*high)?)));
        let known: Vec<(i64, f64, f64)> = known.filter(|(at, ..)| frame.holds(*at)).collect();
        for run in known.chunk_by(|before, after| after.0 - before.0 < gap) {
            let x = |at: i64| frame.time.at(at as f64);
            let upper = run.iter().map(|(at, _, high)| (x(*at), y.at(*high)));
            let lower = run.iter().rev().map(|(at, low, _)| (x(*at), y.at(*low)));
            canvas.area(&upper.chain(lower).collect::<Vec<_>>(), Ink(colour, 0.18))?;
        }
        Ok(())
    }
}

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.low.iter().chain(&self.high).all(Option::is_none)
    }

    /// A bar for each pair, and in each slot of some pixels at most one: from the lowest to the highest.
    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, plot: (f64, f64)) -> Result<(), ChartError> {
        let values = [&self.low, &self.high].into_iter().flat_map(|values| within(frame, &self.times, values));
        let y = axis(canvas, frame, plot, values, &self.limits)?;
        let ink = frame.theme.series(&self.name, 0);
        let spacing = frame.time.at(sampling_interval(&self.times) as f64) - frame.time.at(0.0);
        let slot = spacing.clamp(4.0, 12.0);
        let mut bars: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for ((at, low), high) in
            self.times.iter().zip(&self.low).zip(&self.high).filter(|((at, _), _)| frame.holds(**at))
        {
            let (Some(low), Some(high)) = (low.or(*high), high.or(*low)) else { continue };
            #[allow(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
            let bar = bars.entry(((frame.time.at(*at as f64) - LEFT) / slot) as i64).or_insert((low, high));
            *bar = (bar.0.min(low), bar.1.max(high));
        }
        for (place, (low, high)) in bars {
            let x = (LEFT + (place as f64 + 0.5) * slot).min(RIGHT);
            // A range of nothing is a point, not nothing.
            canvas.line(&[(x, y.at(low) + 0.6), (x, y.at(high) - 0.6)], ink, 2.0)?;
        }
        let whole =
            |values: &[Option<f64>]| last(&values.iter().map(|value| value.map(f64::round)).collect::<Vec<_>>());
        let last = format!("{}/{}", whole(&self.high), whole(&self.low));
        canvas.text(&last, (RIGHT + 8.0, plot.0 - 18.0), Align::Left, Font::Bold(20.0), frame.theme.text())
    }
}

/// The values whose times the picture shows.
fn within<'a>(frame: &'a Frame, times: &'a [i64], values: &'a [Option<f64>]) -> impl Iterator<Item = f64> + 'a {
    times.iter().zip(values).filter(|(at, _)| frame.holds(**at)).filter_map(|(_, value)| *value)
}

fn last(values: &[Option<f64>]) -> String {
    values.iter().rev().flatten().next().map_or_else(|| "–".to_owned(), |value| shown(*value))
}

/// Draws grid and limits, and returns the scale: from the data and the limits, with 8 % of air above and below.
fn axis(
    canvas: &Canvas<'_>,
    frame: &Frame,
    (top, bottom): (f64, f64),
    values: impl Iterator<Item = f64>,
    limits: &[Limit],
) -> Result<Scale, ChartError> {
    let edges = limits.iter().flat_map(|limit| [limit.low, limit.high]).flatten();
    let finite = values.chain(edges).filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let air = ((high - low) * 0.08).max(0.5);
    let y = Scale::new((low - air, high + air), (bottom, top));

    let (ticks, decimals) = y.ticks(4);
    for tick in ticks {
        canvas.line(&[(LEFT, y.at(tick)), (RIGHT, y.at(tick))], frame.theme.rule(), 1.0)?;
        let label = format!("{tick:.decimals$}");
        canvas.text(&label, (LEFT - 8.0, y.at(tick)), Align::Right, Font::Plain(12.0), frame.theme.quiet())?;
    }
    let mut labels: Vec<f64> = Vec::new();
    for limit in limits {
        let (from, to) = (limit.low.unwrap_or(low - air), limit.high.unwrap_or(high + air));
        canvas.rectangle((LEFT, y.at(to)), (RIGHT, y.at(from)), frame.theme.normal())?;
        for edge in [limit.low, limit.high].into_iter().flatten() {
            let at = y.at(edge);
            canvas.line(&[(LEFT, at), (RIGHT, at)], frame.theme.limit(), 1.0)?;
            // Two labels need room for both.
            if labels.iter().all(|other| (other - at).abs() >= 12.0) {
                let label = format!("{} {}", shown(edge), limit.whose);
                canvas.text(&label, (RIGHT + 8.0, at), Align::Left, Font::Plain(12.0), frame.theme.quiet())?;
                labels.push(at);
            }
        }
    }
    Ok(y)
}

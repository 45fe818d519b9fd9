//! Bars: one for each name, or one for each range of values.

use super::super::canvas::{Align, Canvas, Font, fit};
use super::super::scale::Scale;
use super::super::theme::Theme;
use super::frame::{LEFT, RIGHT, shown};
use crate::canvas::ChartError;

const ROW: f64 = 22.0;
const NAMES: f64 = 220.0;
const MOST_ROWS: usize = 40;

/// A bar for each name.
#[derive(Debug, Clone)]
pub struct Bars {
    /// The column that the values are of.
    pub name: String,
    /// Names and their values.
    pub bars: Vec<(String, f64)>,
}

/// How often values are how large.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// The column that the values are of.
    pub name: String,
    /// The values.
    pub values: Vec<f64>,
    /// The unit of the values; the bars count them.
    pub unit: String,
    /// Values to mark, each with what it means.
    pub marks: Vec<(f64, String)>,
    /// About how many bars.
    pub bins: usize,
}

impl Bars {
    pub(super) fn height(&self) -> f64 {
        self.bars.len().min(MOST_ROWS) as f64 * ROW + if self.bars.len() > MOST_ROWS { ROW } else { 0.0 }
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, theme: Theme, top: f64) -> Result<(), ChartError> {
        let finite = self.bars.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
        let (low, high) = finite.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        // Lengths are compared, so bars do start at zero.
        let x = Scale::new((low, high), (LEFT + NAMES, RIGHT - 60.0));
        let ink = theme.series(&self.name, 0);
        for (index, (name, value)) in self.bars.iter().take(MOST_ROWS).enumerate() {
            let middle = top + (index as f64 + 0.5) * ROW;
            let name = fit(name, 12.0, NAMES);
            canvas.text(&name, (LEFT + NAMES - 8.0, middle), Align::Right, Font::Plain(12.0), theme.text())?;
            let (from, to) = (x.at(0.0).min(x.at(*value)), x.at(0.0).max(x.at(*value)));
            canvas.rectangle((from, middle - 7.0), (to.max(from + 1.0), middle + 7.0), ink)?;
            canvas.text(&shown(*value), (to + 6.0, middle), Align::Left, Font::Bold(12.0), theme.text())?;
        }
        if self.bars.len() > MOST_ROWS {
            let text = format!("and {} more", self.bars.len() - MOST_ROWS);
            let at = (LEFT + NAMES, top + (MOST_ROWS as f64 + 0.5) * ROW);
            canvas.text(&text, at, Align::Left, Font::Plain(12.0), theme.quiet())?;
        }
        Ok(())
    }
}

impl Histogram {
    pub(super) fn draw(&self, canvas: &Canvas<'_>, theme: Theme, (top, bottom): (f64, f64)) -> Result<(), ChartError> {
        let finite = || self.values.iter().copied().filter(|value| value.is_finite());
        let marks = self.marks.iter().map(|(value, _)| *value);
        let (low, high) =
            finite().chain(marks).fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let x = Scale::new((low.min(high), high.max(low)), (LEFT, RIGHT));
        let bottom = bottom - 24.0;
        let bins = self.bins.clamp(1, 200);
        let mut counts = vec![0_usize; bins];
        for value in finite() {
            let share = ((x.at(value) - LEFT) / (RIGHT - LEFT)).clamp(0.0, 1.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the bins")]
            let bin = ((share * bins as f64) as usize).min(bins - 1);
            counts[bin] += 1;
        }
        let most = counts.iter().max().copied().unwrap_or(0);
        let y = Scale::new((0.0, most as f64), (bottom, top + 14.0));
        let (ticks, decimals) = y.ticks(3);
        for tick in ticks {
            canvas.line(&[(LEFT, y.at(tick)), (RIGHT, y.at(tick))], theme.rule(), 1.0)?;
            let label = format!("{tick:.decimals$}");
            canvas.text(&label, (LEFT - 8.0, y.at(tick)), Align::Right, Font::Plain(12.0), theme.quiet())?;
        }
        let (width, ink) = ((RIGHT - LEFT) / bins as f64, theme.series(&self.name, 0));
        for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let left = LEFT + bin as f64 * width;
            canvas.rectangle((left, y.at(*count as f64)), (left + width - 1.0, bottom), ink)?;
        }
        let (ticks, decimals) = x.ticks(10);
        for tick in ticks {
            let label = format!("{tick:.decimals$} {}", self.unit);
            canvas.text(label.trim(), (x.at(tick), bottom + 14.0), Align::Center, Font::Plain(12.0), theme.quiet())?;
        }
        for (value, meaning) in &self.marks {
            let at = x.at(*value);
            canvas.line(&[(at, top), (at, bottom)], theme.limit(), 1.5)?;
            canvas.text(meaning, (at + 4.0, top + 6.0), Align::Left, Font::Plain(12.0), theme.quiet())?;
        }
        Ok(())
    }
}

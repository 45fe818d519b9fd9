//! Where the parts of a figure stand, and how its values are written.

use chrono::{DateTime, TimeDelta, Utc};

use crate::scale::Scale;
use crate::theme::Theme;

/// Where panels begin and end, in pixels of a picture that is 1,200 wide.
pub(crate) const WIDTH: f64 = 1200.0;

pub(crate) const LEFT: f64 = 64.0;

pub(crate) const RIGHT: f64 = 1104.0;

pub(crate) const MARGIN: f64 = 24.0;

pub(crate) const HEAD: f64 = 72.0;

pub(crate) const FOOT: f64 = 32.0;

pub(crate) const PANEL_HEAD: f64 = 34.0;

pub(crate) const AXIS: f64 = 32.0;

/// What panels need to know of the picture that they stand in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(super) time: Scale,
    pub(super) from: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
    pub(super) theme: Theme,
}

impl Frame {
    /// Whether a time in microseconds lies within the picture.
    pub(super) fn holds(&self, micros: i64) -> bool {
        (self.from.timestamp_micros()..=self.until.timestamp_micros()).contains(&micros)
    }

    /// The x of a time, within the panel.
    pub(super) fn x(&self, at: DateTime<Utc>) -> f64 {
        self.time.at(at.clamp(self.from, self.until).timestamp_micros() as f64)
    }
}

/// The value as it is shown: whole, or with one decimal.
#[must_use]
pub fn shown(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// A length of time in its two largest units.
pub(crate) fn span(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")];
    let shown: Vec<String> = parts
        .into_iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if shown.is_empty() { "0 s".to_owned() } else { shown.join(" ") }
}

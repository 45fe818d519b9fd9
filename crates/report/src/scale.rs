//! From values to pixels, and which values to mark.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

/// A linear scale from a range of values to a range of pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    values: (f64, f64),
    pixels: (f64, f64),
}

impl Scale {
    /// A range without width is given one, so that a constant lies in the middle.
    pub(super) fn new(values: (f64, f64), pixels: (f64, f64)) -> Self {
        let (low, high) = values;
        let values = if high > low { values } else { (low - 1.0, high + 1.0) };
        Self { values, pixels }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = (value - self.values.0) / (self.values.1 - self.values.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// Round values within the range, at most `most` of them, with the decimals that they need.
    pub(super) fn ticks(&self, most: usize) -> (Vec<f64>, usize) {
        let span = self.values.1 - self.values.0;
        let rough = span / most.max(1) as f64;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.values.0 / step).ceil();
        let count = ((self.values.1 / step).floor() - first).max(0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few ticks")]
        let (count, decimals) = (count as usize + 1, (-step.log10().floor()).max(0.0) as usize);
        ((0..count).map(|index| (first + index as f64) * step).collect(), decimals)
    }
}

/// The steps of a time axis in seconds, and the form of its labels.
const STEPS: [(i64, &str); 18] = [
    (1, "%H:%M:%S"),
    (5, "%H:%M:%S"),
    (10, "%H:%M:%S"),
    (15, "%H:%M:%S"),
    (30, "%H:%M:%S"),
    (60, "%H:%M"),
    (120, "%H:%M"),
    (300, "%H:%M"),
    (600, "%H:%M"),
    (900, "%H:%M"),
    (1_800, "%H:%M"),
    (3_600, "%H:%M"),
    (7_200, "%H:%M"),
    (10_800, "%H:%M"),
    (21_600, "%d %b %H:%M"),
    (43_200, "%d %b %H:%M"),
    (86_400, "%d %b"),
    (604_800, "%d %b"),
];

/// Round times between `from` and `until` by the clock of `zone`, at most `most`, with their labels.
pub(super) fn time_ticks(
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    zone: Tz,
    most: i64,
) -> Vec<(DateTime<Utc>, String)> {
    let span = (until - from).num_seconds().max(1);
    let (step, form) = STEPS.into_iter().find(|(step, _)| span / step <= most).unwrap_or((span / most, "%d %b %Y"));
    // Seconds by which a time lies behind a round one on the clock of the ward.
    let behind = |at: i64| {
        let time = DateTime::from_timestamp(at, 0).unwrap_or(from);
        let offset = time.with_timezone(&zone).naive_local().and_utc().timestamp() - time.timestamp();
        (at + offset).rem_euclid(step)
    };
    let mut at = from.timestamp() - behind(from.timestamp());
    let mut ticks = Vec::new();
    while let Some(time) = DateTime::from_timestamp(at, 0).filter(|time| *time <= until + TimeDelta::milliseconds(1)) {
        if time >= from {
            ticks.push((time, time.with_timezone(&zone).format(form).to_string()));
        }
        // Where the clocks are changed in between, the next round time is nearer or further away.
        let next = at + step;
        let behind = behind(next);
        at = if behind * 2 < step { next - behind } else { next - behind + step };
        if at <= time.timestamp() {
            at += step;
        }
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from: &str, hours: i64) -> Vec<String> {
        let from: DateTime<Utc> = from.parse().expect("a time");
        let ticks = time_ticks(from, from + TimeDelta::hours(hours), chrono_tz::Europe::Berlin, 9);
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn times_on_the_axis_are_round_by_the_clock_of_the_ward_also_in_the_nights_in_which_it_is_changed() {
        assert_eq!(
            labels("2026-01-01T11:10:00Z", 2),
            ["12:15", "12:30", "12:45", "13:00", "13:15", "13:30", "13:45", "14:00"]
        );
        // 29 March, 02:00 becomes 03:00; 25 October, 03:00 becomes 02:00.
        assert_eq!(labels("2026-03-28T22:00:00Z", 6), ["23:00", "00:00", "01:00", "03:00", "04:00", "05:00", "06:00"]);
        assert_eq!(
            labels("2026-10-24T20:00:00Z", 8),
            ["22:00", "23:00", "00:00", "01:00", "02:00", "02:00", "03:00", "04:00", "05:00"]
        );
        assert_eq!(
            labels("2026-10-24T20:00:00Z", 16),
            ["22:00", "00:00", "02:00", "04:00", "06:00", "08:00", "10:00", "12:00"]
        );
    }
}

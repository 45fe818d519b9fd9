//! A patient's chart: panels of one vital each over a shared time axis, newest at the right.
//!
//! The rules are those of the NHS Common User Interface, "Displaying Graphs and Tables": time runs to the right on an
//! even axis, lines are straight and break where data are missing, normal ranges are pale labelled areas, units are
//! always there, and the y axis need not start at 0.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::store::PatientEpisode;
use crate::terms::Severity;

use super::canvas::{Align, Canvas, Font, Ink, draw, text_width};
use super::resample::{by_pixel, sampling_interval};
use super::scale::{Scale, time_ticks};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 1104.0;
const HEAD: f64 = 72.0;
const LANE: f64 = 24.0;
const PANEL: f64 = 148.0;
const PANEL_HEAD: f64 = 34.0;
const FOOT: f64 = 64.0;

const TEXT: Ink = Ink(0x1B2430, 1.0);
const QUIET: Ink = Ink(0x5B6775, 1.0);
const RULE: Ink = Ink(0xD9DEE5, 1.0);
const WHITE: Ink = Ink(0xFFFFFF, 1.0);
const NORMAL: Ink = Ink(0x2E7D32, 0.08);
const LIMIT: Ink = Ink(0xC62828, 0.55);

/// A patient's vitals over some time.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The left edge.
    pub from: DateTime<Utc>,
    /// The right edge.
    pub until: DateTime<Utc>,
    /// The zone of the times shown.
    pub zone: Tz,
    /// The panels from top to bottom.
    pub panels: Vec<Panel>,
    /// The event times of the readings in microseconds, ascending.
    pub times: Vec<i64>,
    /// The episodes to mark.
    pub episodes: Vec<PatientEpisode>,
    /// When it is made.
    pub made: DateTime<Utc>,
    /// The last batch in the store.
    pub batch: u64,
}

/// One vital.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Its name.
    pub label: String,
    /// Its unit.
    pub unit: String,
    /// What is drawn.
    pub traces: Traces,
}

/// What a panel draws.
#[derive(Debug, Clone)]
pub enum Traces {
    /// A line.
    Line(Series),
    /// Bars from the second to the first: blood pressure.
    Bars(Series, Series),
}

/// The values of one column, one for each of the chart's times.
#[derive(Debug, Clone)]
pub struct Series {
    /// The column.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Its unit.
    pub unit: String,
    /// Its default limits.
    pub limits: Option<[f64; 2]>,
    /// What its sensor can mean; a limit at the end of it limits nothing and is not drawn.
    pub plausible: Option<[f64; 2]>,
    /// Its values.
    pub values: Vec<Option<f64>>,
}

/// A chart that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the chart cannot be drawn: {0}")]
pub struct ChartError(pub(super) String);

/// The panels of those series that have data; the two blood pressures share one.
pub(super) fn panels(series: Vec<Series>) -> Vec<Panel> {
    let diastolic = series.iter().find(|series| series.name == "diastolic_bp").cloned();
    let has_data = |series: &Series| series.values.iter().any(Option::is_some);
    let panel = |series: Series| {
        let (label, unit) = (series.label.clone(), series.unit.clone());
        match (&diastolic, series.name.as_str()) {
            (Some(_), "diastolic_bp") => None,
            (Some(lower), "systolic_bp") => {
                Some(Panel { label: "Blood pressure".to_owned(), unit, traces: Traces::Bars(series, lower.clone()) })
            }
            _ => Some(Panel { label, unit, traces: Traces::Line(series) }),
        }
    };
    series.into_iter().filter(has_data).filter_map(panel).collect()
}

impl Chart {
    /// The chart as SVG, 1,200 pixels wide and as high as its panels need.
    ///
    /// # Errors
    /// plotters or Polars fail, which no data should make them do.
    pub fn svg(&self) -> Result<String, ChartError> {
        let lanes = lanes(&self.episodes, self.from, self.until);
        let lane_count = lanes.iter().map(|(lane, _)| lane + 1).max().unwrap_or(0);
        let top = HEAD + lane_count as f64 * LANE + if lane_count > 0 { 12.0 } else { 0.0 };
        let bottom = top + self.panels.len() as f64 * PANEL;
        let edges = (self.from.timestamp_micros() as f64, self.until.timestamp_micros() as f64);
        let time = Scale::new(edges, (LEFT, RIGHT));
        draw(WIDTH, bottom + FOOT, |canvas| {
            canvas.fill(WHITE)?;
            self.head(canvas)?;
            for (lane, episode) in &lanes {
                self.episode(canvas, time, HEAD + *lane as f64 * LANE, episode)?;
            }
            for (index, panel) in self.panels.iter().enumerate() {
                self.panel(canvas, time, top + index as f64 * PANEL, panel)?;
            }
            self.time_axis(canvas, time, bottom)?;
            canvas.text(&self.footer(), (24.0, bottom + 48.0), Align::Left, Font::Plain(12.0), QUIET)
        })
    }

    fn head(&self, canvas: &Canvas<'_>) -> Result<(), ChartError> {
        canvas.text(&self.title, (24.0, 28.0), Align::Left, Font::Bold(20.0), TEXT)?;
        let (from, until) = (self.from.with_timezone(&self.zone), self.until.with_timezone(&self.zone));
        let day = if from.date_naive() == until.date_naive() { "%H:%M:%S" } else { "%-d %b %H:%M:%S" };
        let range = format!(
            "{}, {} to {} · pale areas and dashed lines: default limits",
            span(until - from),
            from.format(day),
            until.format("%-d %b %Y %H:%M:%S %Z"),
        );
        canvas.text(&range, (24.0, 53.0), Align::Left, Font::Plain(13.0), QUIET)
    }

    fn episode(&self, canvas: &Canvas<'_>, time: Scale, top: f64, episode: &PatientEpisode) -> Result<(), ChartError> {
        let x = |at: DateTime<Utc>| time.at(at.clamp(self.from, self.until).timestamp_micros() as f64);
        let left = x(episode.from);
        let right = x(episode.until.unwrap_or(self.until)).max(left + 3.0);
        let (top, bottom) = (top, top + LANE - 6.0);
        let (fill, ink, sign) = match episode.severity {
            Severity::High => (Ink(0xC62828, 1.0), WHITE, "*** "),
            Severity::Medium => (Ink(0xF9C20A, 1.0), Ink(0, 1.0), "** "),
            Severity::Low => (Ink(0x0097A7, 1.0), WHITE, "* "),
            Severity::Technical => (WHITE, Ink(0x006B76, 1.0), "sensor: "),
        };
        canvas.rectangle((left, top), (right, bottom), fill)?;
        if episode.severity == Severity::Technical {
            canvas.outline((left, top), (right, bottom), ink)?;
        }
        let length = span(episode.until.unwrap_or(self.until) - episode.from);
        let standing = if episode.until.is_none() { ", standing" } else { "" };
        let text = format!("{sign}{} · {length}{standing}", episode.text);
        let middle = (top + bottom) / 2.0;
        let width = text_width(&text, 12.0) + 12.0;
        if width <= right - left {
            canvas.text(&text, (left + 6.0, middle), Align::Left, Font::Bold(12.0), ink)
        } else if right + width <= WIDTH {
            canvas.text(&text, (right + 6.0, middle), Align::Left, Font::Plain(12.0), TEXT)
        } else {
            canvas.text(&text, (left - 6.0, middle), Align::Right, Font::Plain(12.0), TEXT)
        }
    }

    fn panel(&self, canvas: &Canvas<'_>, time: Scale, top: f64, panel: &Panel) -> Result<(), ChartError> {
        let (plot_top, plot_bottom) = (top + PANEL_HEAD, top + PANEL - 10.0);
        let series: Vec<&Series> = match &panel.traces {
            Traces::Line(series) => vec![series],
            Traces::Bars(upper, lower) => vec![upper, lower],
        };
        let (low, high) = y_range(&series);
        let y = Scale::new((low, high), (plot_bottom, plot_top));

        let heading =
            if panel.unit.is_empty() { panel.label.clone() } else { format!("{} ({})", panel.label, panel.unit) };
        canvas.text(&heading, (LEFT + 8.0, top + 16.0), Align::Left, Font::Bold(14.0), TEXT)?;
        let (ticks, decimals) = y.ticks(4);
        for tick in ticks {
            canvas.line(&[(LEFT, y.at(tick)), (RIGHT, y.at(tick))], RULE, 1.0)?;
            let label = format!("{tick:.decimals$}");
            canvas.text(&label, (LEFT - 8.0, y.at(tick)), Align::Right, Font::Plain(12.0), QUIET)?;
        }
        for series in &series {
            limits(canvas, series, y)?;
        }
        match &panel.traces {
            Traces::Line(series) => self.trace(canvas, series, time, y)?,
            Traces::Bars(upper, lower) => self.bars(canvas, upper, lower, time, y)?,
        }
        let last: Vec<String> = series.iter().map(|series| last_value(series)).collect();
        canvas.text(&last.join("/"), (RIGHT + 8.0, top + 16.0), Align::Left, Font::Bold(20.0), TEXT)
    }

    fn trace(&self, canvas: &Canvas<'_>, series: &Series, time: Scale, y: Scale) -> Result<(), ChartError> {
        let ink = colour(&series.name);
        #[allow(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
        let pixel = |micros: i64| (time.at(micros as f64) * 2.0).floor() as i64;
        let runs = by_pixel(&self.times, &series.values, pixel).map_err(|error| ChartError(error.to_string()))?;
        for run in runs {
            let mut line = Vec::with_capacity(run.len() * 2);
            for column in &run {
                let x = |micros: i64| time.at(micros as f64);
                if column.range.0 < column.range.1 {
                    let middle = (x(column.times.0) + x(column.times.1)) / 2.0;
                    canvas.line(&[(middle, y.at(column.range.0)), (middle, y.at(column.range.1))], ink, 1.0)?;
                }
                line.push((x(column.times.0), y.at(column.ends.0)));
                if column.times.1 > column.times.0 {
                    line.push((x(column.times.1), y.at(column.ends.1)));
                }
            }
            match line[..] {
                [(x, y)] => canvas.rectangle((x - 1.2, y - 1.2), (x + 1.2, y + 1.2), ink)?,
                _ => canvas.line(&line, ink, 1.6)?,
            }
        }
        Ok(())
    }

    /// A bar for each pair, and for each column of pixels at most one: from the lowest to the highest.
    fn bars(
        &self,
        canvas: &Canvas<'_>,
        upper: &Series,
        lower: &Series,
        time: Scale,
        y: Scale,
    ) -> Result<(), ChartError> {
        let ink = colour(&upper.name);
        let width = (time.at(sampling_interval(&self.times) as f64) - time.at(0.0)).clamp(1.5, 4.0);
        let mut bars: std::collections::BTreeMap<i64, (f64, f64, f64)> = std::collections::BTreeMap::new();
        for ((at, high), low) in self.times.iter().zip(&upper.values).zip(&lower.values) {
            let x = time.at(*at as f64);
            let ends = (high.or(*low), low.or(*high));
            let (Some(high), Some(low)) = ends else { continue };
            #[allow(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
            let bar = bars.entry((x / width.max(2.0)) as i64).or_insert((x, low, high));
            *bar = (bar.0, bar.1.min(low), bar.2.max(high));
        }
        for (x, low, high) in bars.into_values() {
            canvas.line(&[(x, y.at(low)), (x, y.at(high))], ink, width.min(2.0))?;
        }
        Ok(())
    }

    fn time_axis(&self, canvas: &Canvas<'_>, time: Scale, bottom: f64) -> Result<(), ChartError> {
        for (at, label) in time_ticks(self.from, self.until, self.zone, 9) {
            let x = time.at(at.timestamp_micros() as f64);
            canvas.line(&[(x, bottom - 6.0), (x, bottom)], RULE, 1.0)?;
            canvas.text(&label, (x, bottom + 12.0), Align::Center, Font::Plain(12.0), QUIET)?;
        }
        Ok(())
    }

    fn footer(&self) -> String {
        format!(
            "Made {} from batch {} · {} readings · newest at the right · lines break where data are missing · not a medical device",
            self.made.with_timezone(&self.zone).format("%-d %b %Y %H:%M:%S %Z"),
            self.batch,
            self.times.len(),
        )
    }
}

fn limits(canvas: &Canvas<'_>, series: &Series, y: Scale) -> Result<(), ChartError> {
    let Some([low, high]) = series.limits else { return Ok(()) };
    canvas.rectangle((LEFT, y.at(high)), (RIGHT, y.at(low)), NORMAL)?;
    let at_the_end = |limit: &f64| series.plausible.is_some_and(|plausible| plausible.contains(limit));
    for limit in [low, high].into_iter().filter(|limit| !at_the_end(limit)) {
        canvas.dashes(LEFT, RIGHT, y.at(limit), LIMIT)?;
        canvas.text(&format!("{limit} default"), (RIGHT + 8.0, y.at(limit)), Align::Left, Font::Plain(12.0), QUIET)?;
    }
    Ok(())
}

/// From the data and the limits, with 8 % of air above and below.
fn y_range(series: &[&Series]) -> (f64, f64) {
    let values = series.iter().flat_map(|series| series.values.iter().flatten().copied());
    let limits = series.iter().filter_map(|series| series.limits).flatten();
    let (low, high) = values.chain(limits).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let air = ((high - low) * 0.08).max(0.5);
    (low - air, high + air)
}

fn last_value(series: &Series) -> String {
    let last = series.values.iter().rev().flatten().next();
    last.map_or_else(
        || "–".to_owned(),
        |value| if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") },
    )
}

/// Okabe and Ito's colours, which colour-blind readers can tell apart.
fn colour(column: &str) -> Ink {
    let rgb = match column {
        "heart_rate" => 0x009E73,
        "spo2" => 0x0072B2,
        "respiratory_rate" => 0xB8860B,
        "systolic_bp" | "diastolic_bp" => 0xD55E00,
        "temperature" => 0xCC79A7,
        "pulse" => 0x56B4E9,
        _ => 0x5B6775,
    };
    Ink(rgb, 1.0)
}

/// The episodes, each in the first lane whose texts and bars leave room for it.
fn lanes(episodes: &[PatientEpisode], from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<(usize, PatientEpisode)> {
    let span = (until - from).num_milliseconds().max(1) as f64;
    let mut free_from: Vec<f64> = Vec::new();
    let mut placed = Vec::with_capacity(episodes.len());
    for episode in episodes {
        let x = |at: DateTime<Utc>| (at - from).num_milliseconds() as f64 / span * (RIGHT - LEFT) + LEFT;
        let (left, right) = (x(episode.from), x(episode.until.unwrap_or(until)));
        let text = text_width(&episode.text, 12.0) + 150.0;
        let (left, right) = match right + text <= WIDTH || right - left >= text {
            true => (left, right.max(left + text)),
            false => (left - text, right),
        };
        let lane = free_from.iter().position(|free| *free <= left).unwrap_or_else(|| {
            free_from.push(0.0);
            free_from.len() - 1
        });
        free_from[lane] = right + 8.0;
        placed.push((lane, episode.clone()));
    }
    placed
}

/// A length of time in its two largest units.
fn span(length: chrono::TimeDelta) -> String {
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

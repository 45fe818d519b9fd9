//! A picture of stacked panels, one drawing code for paper and page.
//!
//! Panels over time share one axis, the newest at the right, on an even scale; the rules are those of the NHS Common User
//! Interface, "Displaying Graphs and Tables": straight lines that break where data are missing, normal ranges as pale
//! labelled areas, units always visible, a y axis that need not start at 0. Values in, SVG out.

mod bars;
pub(crate) mod frame;
mod heat;
mod line;
mod sparks;
mod strip;
mod table;
mod timeline;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::canvas::{Align, Canvas, ChartError, Font, draw, fit};
use super::resample::{by_pixel, sampling_interval};
use super::scale::{Scale, time_ticks};
use super::theme::Theme;
use frame::{AXIS, FOOT, Frame, HEAD, LEFT, MARGIN, PANEL_HEAD, RIGHT, WIDTH};

pub use bars::{Bars, Histogram};
pub use frame::shown;
pub use heat::Heat;
pub use line::{Band, Limit, Line, Lines, Ranges, Trace};
pub use sparks::{Spark, SparkPoint, Sparks, spark_path};
pub use strip::{Cell, Strip};
pub use table::Table;
pub use timeline::{Entry, Timeline};

/// A picture.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// What else is to be known.
    pub note: String,
    /// The edges of panels over time.
    pub from: DateTime<Utc>,
    /// The right edge.
    pub until: DateTime<Utc>,
    /// The zone of the times shown.
    pub zone: Tz,
    /// Its colours.
    pub theme: Theme,
    /// The panels from top to bottom.
    pub panels: Vec<Panel>,
    /// When it was made, from what, and how much there was.
    pub footer: String,
}

/// What a line shows, pixel by pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct Readout {
    /// The line.
    pub label: String,
    /// The unit of its values.
    pub unit: String,
    /// The last time of a pixel in microseconds, and the least and the greatest value within it; in order.
    pub points: Vec<(i64, f64, f64)>,
}

/// Where time begins and ends in a picture, and how wide the picture is, in pixels.
pub const TIME_AXIS: (f64, f64, f64) = (LEFT, RIGHT, WIDTH);

/// One panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// The unit of its values; may be empty.
    pub unit: String,
    /// What is drawn.
    pub body: Body,
}

/// What a panel shows.
#[derive(Debug, Clone)]
pub enum Body {
    /// Lines, or steps, over time.
    Lines(Lines),
    /// Bars from low to high over time.
    Ranges(Ranges),
    /// States over time, each with its number.
    Strip(Strip),
    /// Episodes.
    Timeline(Timeline),
    /// Rows of cells over time.
    Heat(Heat),
    /// How often values are how large.
    Histogram(Histogram),
    /// A bar for each name.
    Bars(Bars),
    /// A small line for each name.
    Sparks(Sparks),
    /// Rows and columns of text.
    Table(Table),
}

impl Body {
    /// Whether it shares the axis of time.
    fn is_over_time(&self) -> bool {
        !matches!(self, Self::Histogram(_) | Self::Bars(_) | Self::Sparks(_) | Self::Table(_))
    }

    /// Whether there is nothing to draw.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Lines(lines) => lines.is_empty(),
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Strip(strip) => strip.cells.is_empty(),
            Self::Timeline(timeline) => timeline.entries.is_empty(),
            Self::Heat(heat) => heat.rows.is_empty(),
            Self::Histogram(histogram) => histogram.values.is_empty(),
            Self::Bars(bars) => bars.bars.is_empty(),
            Self::Sparks(sparks) => sparks.rows.is_empty(),
            Self::Table(table) => table.rows.is_empty(),
        }
    }

    /// For which share of the time between the edges there are values, where it has values over time.
    pub(super) fn covered(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<f64> {
        let (times, gap) = match self {
            Self::Lines(lines) => (&lines.times, lines.gap),
            Self::Ranges(ranges) => (&ranges.times, None),
            _ => return None,
        };
        let usual = sampling_interval(times);
        let gap = gap.unwrap_or(3 * usual);
        let (from, until) = (from.timestamp_micros(), until.timestamp_micros());
        let times: Vec<i64> = times.iter().copied().filter(|at| (from..=until).contains(at)).collect();
        // What a value stands for reaches to the next, or as far as values usually do.
        let lasts = times.windows(2).map(|pair| if pair[1] - pair[0] < gap { pair[1] - pair[0] } else { usual });
        let last = times.last().map_or(0, |last| usual.min(until - last));
        Some(((lasts.sum::<i64>() + last) as f64 / (until - from).max(1) as f64).clamp(0.0, 1.0))
    }

    /// How high it is, without its heading.
    fn height(&self, frame: &Frame) -> f64 {
        match self {
            Self::Lines(_) | Self::Ranges(_) | Self::Histogram(_) if self.is_empty() => 24.0,
            Self::Lines(_) | Self::Ranges(_) => 104.0,
            Self::Strip(_) => 26.0,
            Self::Timeline(timeline) => timeline.height(frame),
            Self::Heat(heat) => heat.height(),
            Self::Histogram(_) => 150.0,
            Self::Bars(bars) => bars.height(),
            Self::Sparks(sparks) => sparks.height(),
            Self::Table(table) => table.height(),
        }
    }
}

impl Figure {
    /// The picture as SVG, 1,200 pixels wide and as high as its panels need.
    ///
    /// # Errors
    /// plotters or Polars fail, which no data should make them do.
    pub fn svg(&self) -> Result<String, ChartError> {
        let edges = (self.from.timestamp_micros() as f64, self.until.timestamp_micros() as f64);
        let time = Scale::new(edges, (LEFT, RIGHT));
        let frame = Frame { time, from: self.from, until: self.until, theme: self.theme };
        let mut top = HEAD;
        let mut places = Vec::with_capacity(self.panels.len());
        for (index, panel) in self.panels.iter().enumerate() {
            let bottom = top + PANEL_HEAD + panel.body.height(&frame);
            let next_is_over_time = self.panels.get(index + 1).is_some_and(|next| next.body.is_over_time());
            let ends_axis = panel.body.is_over_time() && !next_is_over_time;
            places.push((top, bottom, ends_axis));
            top = bottom + if ends_axis { AXIS } else { 10.0 };
        }
        draw(WIDTH, top + FOOT, |canvas| {
            canvas.fill(self.theme.background())?;
            self.head(canvas)?;
            for (panel, (top, bottom, ends_axis)) in self.panels.iter().zip(&places) {
                panel.draw(canvas, &frame, *top, *bottom)?;
                if *ends_axis {
                    self.time_axis(canvas, &frame, *bottom)?;
                }
            }
            let footer = fit(&self.footer, 12.0, WIDTH - 2.0 * MARGIN);
            canvas.text(&footer, (MARGIN, top + 10.0), Align::Left, Font::Plain(12.0), self.theme.quiet())
        })
    }

    /// What the picture shows at each of its pixels of time, for whoever points at it.
    ///
    /// # Errors
    /// Polars fails, which no data should make it do.
    pub fn readouts(&self) -> Result<Vec<Readout>, ChartError> {
        let time =
            Scale::new((self.from.timestamp_micros() as f64, self.until.timestamp_micros() as f64), (LEFT, RIGHT));
        #[allow(clippy::cast_possible_truncation, reason = "a pixel of a picture")]
        let pixel = |micros: i64| time.at(micros as f64).floor() as i64;
        let points = |times: &[i64], values: &[Option<f64>]| -> Result<Vec<(i64, f64, f64)>, ChartError> {
            let runs = by_pixel(times, values, None, pixel).map_err(|error| ChartError(error.to_string()))?;
            Ok(runs.into_iter().flatten().map(|column| (column.times.1, column.range.0, column.range.1)).collect())
        };
        let mut readouts = Vec::new();
        for panel in &self.panels {
            let mut tell = |label: &str, points: Vec<(i64, f64, f64)>| {
                readouts.push(Readout { label: label.to_owned(), unit: panel.unit.clone(), points });
            };
            match &panel.body {
                Body::Lines(lines) => {
                    for line in &lines.lines {
                        tell(&line.label, points(&lines.times, &line.values)?);
                    }
                }
                Body::Ranges(ranges) => {
                    tell(&panel.title, points(&ranges.times, &ranges.high)?);
                    tell("diastolic", points(&ranges.times, &ranges.low)?);
                }
                _ => {}
            }
        }
        Ok(readouts)
    }

    fn head(&self, canvas: &Canvas<'_>) -> Result<(), ChartError> {
        let (room, theme) = (WIDTH - 2.0 * MARGIN, self.theme);
        canvas.text(&fit(&self.title, 20.0, room), (MARGIN, 28.0), Align::Left, Font::Bold(20.0), theme.text())?;
        canvas.text(&fit(&self.note, 13.0, room), (MARGIN, 53.0), Align::Left, Font::Plain(13.0), theme.quiet())
    }

    fn time_axis(&self, canvas: &Canvas<'_>, frame: &Frame, bottom: f64) -> Result<(), ChartError> {
        for (at, label) in time_ticks(self.from, self.until, self.zone, 9) {
            let x = frame.x(at);
            canvas.line(&[(x, bottom), (x, bottom + 6.0)], self.theme.rule(), 1.0)?;
            canvas.text(&label, (x, bottom + 16.0), Align::Center, Font::Plain(12.0), self.theme.quiet())?;
        }
        Ok(())
    }
}

impl Panel {
    fn draw(&self, canvas: &Canvas<'_>, frame: &Frame, top: f64, bottom: f64) -> Result<(), ChartError> {
        let theme = frame.theme;
        let heading = if self.unit.is_empty() { self.title.clone() } else { format!("{} ({})", self.title, self.unit) };
        let heading = fit(&heading, 14.0, RIGHT - LEFT);
        canvas.text(&heading, (LEFT, top + 16.0), Align::Left, Font::Bold(14.0), theme.text())?;
        let plot = (top + PANEL_HEAD, bottom);
        if self.body.is_empty() {
            let at = (LEFT, (plot.0 + plot.1) / 2.0);
            return canvas.text("nothing in this time", at, Align::Left, Font::Plain(12.0), theme.quiet());
        }
        match &self.body {
            Body::Lines(lines) => lines.draw(canvas, frame, plot),
            Body::Ranges(ranges) => ranges.draw(canvas, frame, plot),
            Body::Strip(strip) => strip.draw(canvas, frame, plot),
            Body::Timeline(timeline) => timeline.draw(canvas, frame, plot.0),
            Body::Heat(heat) => heat.draw(canvas, frame, plot.0),
            Body::Histogram(histogram) => histogram.draw(canvas, theme, plot),
            Body::Bars(bars) => bars.draw(canvas, theme, plot.0),
            Body::Sparks(sparks) => sparks.draw(canvas, frame, plot.0),
            Body::Table(table) => table.draw(canvas, theme, plot.0),
        }
    }
}

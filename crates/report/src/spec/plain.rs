//! A report as it was written, in which all is known to be right.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};

use wardwatch_sql::StoredSql;

use crate::theme::Theme;

/// From which scores on a colour is another, by NEWS2: low, low with a parameter at 3, medium, high.
pub(crate) const NEWS2: [f64; 4] = [1.0, 3.0, 5.0, 7.0];

/// One report.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name: the file's.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Its title, with `{column}` of the row that it is made for.
    pub title: String,
    /// The rows of which each gets a report of its own; without it there is one.
    pub for_each: Option<StoredSql>,
    /// Which time it shows.
    pub range: Range,
    /// When it is made.
    pub schedule: Option<Schedule>,
    /// How long it is kept.
    pub keep: Option<Duration>,
    /// The outlets that it is mailed to when it was due.
    pub mail: Vec<String>,
    /// Its colours.
    pub theme: Theme,
    /// How large its PNG is.
    pub size: PictureSize,
    /// What charts draw from, read once each.
    pub data: BTreeMap<String, StoredSql>,
    /// Its charts from top to bottom.
    pub charts: Vec<ChartSpec>,
}

/// How large a PNG is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PictureSize {
    /// Its width in dots; the height follows from what is in it.
    pub width: u32,
    /// How many dots are an inch, for those who print it.
    pub dpi: u32,
}

/// 12.5 inches, a little more than the shorter side of A4 without its margins.
impl Default for PictureSize {
    fn default() -> Self {
        Self { width: 2_400, dpi: 192 }
    }
}

/// Which time a report shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// So much, up to the newest batch.
    Last(Duration),
    /// From one time to another.
    Fixed(DateTime<Utc>, DateTime<Utc>),
}

/// When a report is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// At every multiple of a length of time.
    Every(Duration),
    /// Once a day by the clock of the ward.
    Daily(NaiveTime),
}

/// One chart.
#[derive(Debug, Clone)]
pub struct ChartSpec {
    /// Its heading.
    pub title: String,
    /// The unit of its values.
    pub unit: String,
    /// What is drawn, from which columns.
    pub kind: Kind,
    /// The name of its data.
    pub data: String,
    /// The vital whose limits it shows, or limits of its own.
    pub limits: Limits,
    /// Without a value for so long, a line breaks.
    pub gap: Option<Duration>,
    /// Where it begins in the file.
    pub line: usize,
}

/// Where a chart's limits come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Limits {
    /// There are none.
    #[default]
    None,
    /// The rows of the data `limits` with this vital.
    Of(String),
    /// These.
    Fixed(f64, f64),
}

/// What is drawn, from which columns.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Lines over time.
    Line {
        /// The column with the time.
        time: String,
        /// The columns with values.
        values: Vec<String>,
        /// The columns with the least and the greatest around each value.
        band: Option<(String, String)>,
        /// Whether each value holds until the next.
        is_step: bool,
    },
    /// Bars from low to high over time.
    Range {
        /// The column with the time.
        time: String,
        /// The column with the lower ends.
        low: String,
        /// The column with the upper ends.
        high: String,
    },
    /// States over time.
    Strip {
        /// The column with their beginnings.
        time: String,
        /// The column with their ends; without one, each ends where the next begins.
        until: Option<String>,
        /// The column with what gives the colour.
        value: String,
        /// The column with what is written.
        text: Option<String>,
        /// From these values on, the next colour is taken.
        steps: Vec<f64>,
    },
    /// Episodes over time.
    Timeline {
        /// The column with their beginnings.
        time: String,
        /// The column with their ends; NULL stands.
        until: String,
        /// The column with their severities.
        severity: String,
        /// The column with what they say.
        text: String,
    },
    /// A row of states for each name.
    Heat {
        /// The column with the names.
        row: String,
        /// The column with the states' beginnings.
        time: String,
        /// The column with their ends.
        until: Option<String>,
        /// The column with what gives the colour.
        value: String,
        /// From these values on, the next colour is taken.
        steps: Vec<f64>,
    },
    /// How often values are how large.
    Histogram {
        /// The column with the values.
        value: String,
        /// Values to mark, each with what it means.
        marks: Vec<(f64, String)>,
        /// How many bars.
        bins: usize,
    },
    /// A bar for each name.
    Bars {
        /// The column with the names.
        row: String,
        /// The column with the values.
        value: String,
    },
    /// A small line for each name.
    Sparkline {
        /// The column with the names.
        row: String,
        /// The column with the time.
        time: String,
        /// The column with the values.
        value: String,
    },
    /// All columns, as text.
    Table,
}

/// The kinds of charts by name, each with the keys that it takes beside `kind`, `title`, `unit`, `data` and `sql`.
pub const KINDS: [(&str, &[&str]); 10] = [
    ("line", &["time", "values", "low", "high", "limits", "gap"]),
    ("step", &["time", "values", "limits", "gap"]),
    ("range", &["time", "low", "high", "limits"]),
    ("strip", &["time", "until", "value", "text", "steps"]),
    ("timeline", &["time", "until", "severity", "text"]),
    ("heatmap", &["row", "time", "until", "value", "steps"]),
    ("histogram", &["value", "marks", "bins"]),
    ("bars", &["row", "value"]),
    ("sparkline", &["row", "time", "value"]),
    ("table", &[]),
];

/// The data whose rows are limits.
pub(crate) const LIMITS: &str = "limits";

impl Kind {
    /// The columns that it draws, each with whether it must be a time, a number or anything.
    pub(crate) fn columns(&self) -> Vec<(&str, Wanted)> {
        use Wanted::{Any, Number, Time};
        match self {
            Self::Line { time, values, band, .. } => {
                let band = band.iter().flat_map(|(low, high)| [low, high]);
                let values = values.iter().chain(band).map(|value| (value.as_str(), Number));
                std::iter::once((time.as_str(), Time)).chain(values).collect()
            }
            Self::Range { time, low, high } => vec![(time, Time), (low, Number), (high, Number)],
            Self::Strip { time, until, value, text, .. } => {
                let until = until.iter().map(|until| (until.as_str(), Time));
                let text = text.iter().map(|text| (text.as_str(), Any));
                [(time.as_str(), Time), (value, Number)].into_iter().chain(until).chain(text).collect()
            }
            Self::Timeline { time, until, severity, text } => {
                vec![(time, Time), (until, Time), (severity, Any), (text, Any)]
            }
            Self::Heat { row, time, until, value, .. } => {
                let until = until.iter().map(|until| (until.as_str(), Time));
                [(row.as_str(), Any), (time, Time), (value, Number)].into_iter().chain(until).collect()
            }
            Self::Histogram { value, .. } => vec![(value, Number)],
            Self::Bars { row, value } => vec![(row, Any), (value, Number)],
            Self::Sparkline { row, time, value } => vec![(row, Any), (time, Time), (value, Number)],
            Self::Table => Vec::new(),
        }
    }
}

/// What a column must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Time,
    Number,
    Any,
}

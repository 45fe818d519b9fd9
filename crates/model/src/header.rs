//! What the header of a file says of its query.

use std::time::Duration;

use crate::terms::Severity;

/// What the header of a table query says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableHeader {
    /// The columns that identify a row; they become the table's primary key.
    pub key: Vec<String>,
    /// When a window's rows are written; only of use to a query with one.
    pub emit: Emit,
    /// Where a query that is new to a running job begins; only of use to one with a window.
    pub start: Begin,
}

/// When the rows of a window are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// Once, when the watermark has passed its end.
    Close,
    /// With every batch that changes it.
    Change,
}

/// Where a windowed query that is new to a running job begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the windows that are open.
    Now,
    /// With the oldest record that the job has read and Kafka still holds.
    Earliest,
}

/// What the header of a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleHeader {
    /// How soon somebody must act.
    pub severity: Severity,
    /// How long the condition must hold, in event time, before the alert fires.
    pub hold: Duration,
    /// The line and column of that.
    pub hold_at: (usize, usize),
    /// How long it must be gone, in event time, before the alert ends.
    pub clear_after: Duration,
    /// The text of the alert, with `{column}` and `{column:.1}` in it, and where it stands.
    pub message: Option<Placed<String>>,
    /// An SQL condition: only where it is true has the alert's condition gone. Without it, where that is false.
    pub clear_when: Option<Placed<String>>,
    /// Whether an alert that nobody has acknowledged outlasts its condition; without it, one of high severity does.
    pub latch: Option<bool>,
    /// How long after an acknowledgement people are reminded while the condition persists.
    pub repeat: Option<Duration>,
    /// After how long without a value an alert is stale; without it, the job's.
    pub stale_after: Option<Duration>,
    /// Of a technical rule: the rules that cannot be judged while it fires; `*` is all that are not technical.
    pub suppresses: Vec<Placed<String>>,
    /// The column by which the worst sample is told, and which end of it is bad.
    pub peak: Option<Placed<PeakOf>>,
}

impl RuleHeader {
    /// A header that says nothing but this.
    #[must_use]
    pub fn new(severity: Severity) -> Self {
        Self {
            severity,
            hold: Duration::ZERO,
            hold_at: (1, 1),
            clear_after: Duration::ZERO,
            message: None,
            clear_when: None,
            latch: None,
            repeat: None,
            stale_after: None,
            suppresses: Vec::new(),
            peak: None,
        }
    }
}

/// `max(heart_rate)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeakOf {
    /// Which end is bad.
    pub extreme: Extreme,
    /// A column of the rule's result.
    pub column: String,
}

/// The bad end of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extreme {
    /// The lowest is the worst.
    Min,
    /// The highest is the worst.
    Max,
}

/// A value and where it stands in its file, both counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Its line.
    pub line: usize,
    /// Its column in characters.
    pub column: usize,
}

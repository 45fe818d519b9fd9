//! A rule as its alerts need it, and the columns that tell samples apart.

use std::time::Duration;

use arrow::datatypes::Schema;
use chrono::TimeDelta;

use wardwatch_model::header::{Extreme, RuleHeader};
use wardwatch_model::terms::Severity;

use super::message::Message;
use super::streams::shape::{SetId, Shape};

/// What is valid for no longer than this comes all the time, such as a saturation; a cuff or a thermometer is another matter.
pub(crate) const CONTINUOUS: TimeDelta = TimeDelta::seconds(60);

/// A rule as its alerts need it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its header.
    pub header: RuleHeader,
    /// The text of its alerts; without one, the rule's name.
    pub message: Option<Message>,
    /// Whether it is judged at every sample, or once per batch.
    pub judged: Judged,
    /// Whether it reads rows of batches before the one that it is judged on.
    pub looks_back: bool,
    /// The columns of the source that its condition depends on: where one has no value, nothing is known.
    pub vitals: Vec<String>,
    /// Of which of the job's sources its samples are, by its place.
    pub source: usize,
    /// Where the job has several sources: the column that every record of its own has.
    pub marker: Option<String>,
    /// Where it is judged on values of several streams: how long one of each of `vitals` counts.
    pub composed: Option<Vec<Duration>>,
    /// After how long without a known sample its episodes are stale.
    pub stale_after: Duration,
    /// Whether an episode that nobody has acknowledged outlasts its condition.
    pub latches: bool,
    /// The technical rules that say that its condition cannot be judged.
    pub suppressed_by: Vec<String>,
    /// What an episode's peak is a peak of.
    pub measure: Measure,
}

/// The columns of a rule's rows that tell how bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// The value.
    pub value: Option<usize>,
    /// The limit that it breaks.
    pub limit: Option<usize>,
    /// Which way is worse.
    pub worse: Extreme,
}

impl Measure {
    /// What `header` and `message` say of rows of `schema`: the column of `@peak`, else the first number of the message;
    /// the limit is the message's other number.
    ///
    /// # Errors
    /// The column of `@peak` that the rule does not return.
    pub fn of(header: &RuleHeader, message: Option<&Message>, schema: &Schema) -> Result<Self, String> {
        let (value, limit, worse) =
            message.map_or((None, None, Extreme::Max), |message| message.value_and_limit(schema));
        match &header.peak {
            None => Ok(Self { value, limit, worse }),
            Some(peak) => match schema.index_of(&peak.value.column) {
                Ok(index) if schema.field(index).data_type().is_numeric() => {
                    let limit = [value, limit].into_iter().flatten().find(|other| *other != index);
                    Ok(Self { value: Some(index), limit, worse: peak.value.extreme })
                }
                Ok(_) => Err(format!("@peak: column \"{}\" is no number", peak.value.column)),
                Err(_) => {
                    let names = schema.fields().iter().map(|field| field.name().as_str());
                    Err(format!("@peak: {}", wardwatch_model::diagnostic::unknown("column", &peak.value.column, names)))
                }
            },
        }
    }
}

impl Rule {
    /// Whether `value` is further from what is allowed than `than`.
    pub(crate) fn is_further(&self, value: Option<f64>, than: Option<f64>) -> bool {
        match (value, than) {
            (Some(value), Some(than)) => match self.measure.worse {
                Extreme::Max => value > than,
                Extreme::Min => value < than,
            },
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// The columns that make a record a sample of it: those that its condition depends on. To a technical rule, which tells
    /// of the signal, every record is one.
    #[must_use]
    pub fn depends_on(&self) -> &[String] {
        if self.is_technical() { &[] } else { &self.vitals }
    }

    /// The columns of which a record must have a value to be a sample of it; empty where every record is one.
    #[must_use]
    pub fn samples_have(&self) -> &[String] {
        match self.depends_on() {
            [] => self.marker.as_slice(),
            columns => columns,
        }
    }

    pub(crate) fn set(&self, shape: &Shape) -> Option<SetId> {
        shape.set(self.samples_have())
    }

    /// Whether its values come all the time, so that a record without one tells that a sensor is off.
    pub(crate) fn is_continuous(&self) -> bool {
        self.valid_for() <= CONTINUOUS
    }

    /// How long a sample counts without a newer one.
    pub(crate) fn valid_for(&self) -> TimeDelta {
        TimeDelta::from_std(self.stale_after).unwrap_or(TimeDelta::MAX)
    }

    /// Whether it tells of the signal and not of the patient.
    #[must_use]
    pub fn is_technical(&self) -> bool {
        self.header.severity == Severity::Technical
    }
}

/// Which columns tell a sample apart.
#[derive(Debug, Clone)]
pub struct SampleColumns {
    /// The patient.
    pub key: String,
    /// The event time.
    pub event_time: String,
    /// The partition.
    pub partition: String,
    /// Kafka's stamp.
    pub stamp: String,
}

/// When a rule is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// At each sample of a patient: its rows come from rows of the batch.
    BySample,
    /// Once per batch: its rows tell what is known of patients at a time.
    ByBatch,
}

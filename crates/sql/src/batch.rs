//! One micro-batch as queries see it, and what a query gives on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, Int64Array, RecordBatch};
use chrono::{DateTime, Utc};

use wardwatch_model::terms::{BatchId, Partition, Watermark};

use super::execute::QueryFailure;
use super::keyed::Replaced;

/// One micro-batch as queries see it.
#[derive(Debug)]
pub struct Input<'a> {
    /// The batch.
    pub batch: BatchId,
    /// Every row of it.
    pub rows: &'a RecordBatch,
    /// Rows that were rejects, which only tables see.
    pub again: Option<&'a RecordBatch>,
    /// What rules see of it that are judged at its samples; a batch that is repeated is not judged again.
    pub judged: Option<Judged<'a>>,
    /// The periods into which changes of what rules look up cut the batch; none where nothing changed.
    pub periods: &'a [Period],
    /// Those that were on time: what windows count.
    pub on_time: &'a RecordBatch,
    /// How long ago what was known came, where that is known better than by event times.
    pub ages: Option<&'a dyn Ages>,
    /// The rows of the last while, those of this batch included.
    pub history: &'a [RecordBatch],
    /// The alerts that stood after the batch before, as [`open_alerts_schema`](super::open_alerts_schema) has them.
    pub open_alerts: Option<&'a RecordBatch>,
    /// Its values that cannot be read or true, as [`artefacts_schema`](super::artefacts_schema) has them.
    pub artefacts: Option<&'a RecordBatch>,
    /// Who is here, as [`encounters_now_schema`](super::encounters_now_schema) has it.
    pub encounters_now: Option<&'a RecordBatch>,
    /// The patients who are let go of: their last values are kept no longer.
    pub leaving: &'a BTreeMap<Arc<str>, DateTime<Utc>>,
    /// Its frozen time.
    pub now: DateTime<Utc>,
    /// Its frozen time by the devices' clocks.
    pub event_now: DateTime<Utc>,
    /// The same for each partition; one that is read behind others has not got so far.
    pub partition_nows: &'a BTreeMap<Partition, DateTime<Utc>>,
    /// How far each source has got, the first one first.
    pub reached: &'a [Progress],
}

/// How far a source has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its windows that end by it close.
    pub watermark: Option<Watermark>,
    /// Whether its windows that have not closed are to be given out as they stand, because nothing more may come.
    pub show_open: bool,
}

/// How long ago what is known of patients came.
pub trait Ages: std::fmt::Debug {
    /// What tells the ages of a patient: of the last record of a source, and of the last value of each of `columns`, which are called as
    /// in the batch.
    fn of_columns<'a>(&'a self, source: usize, columns: &[&str]) -> AgesOf<'a>;
    /// The newest event time at which a column had a value of this patient.
    fn last_value(&self, patient: &str, column: &str) -> Option<DateTime<Utc>>;
}

/// Tells the ages of a patient; `None` where event times tell as well.
pub type AgesOf<'a> = Box<dyn Fn(&str) -> Option<PatientAges> + 'a>;

/// How long ago, in seconds, what is known of a patient came.
#[derive(Debug, Clone, PartialEq)]
pub struct PatientAges {
    /// The last record.
    pub record: f64,
    /// The last value of each column, where that is known.
    pub columns: Vec<Option<f64>>,
}

/// The rows of a batch as rules see them that are judged sample by sample.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Every row.
    pub rows: &'a RecordBatch,
    /// For rules of several vitals: rows with what they lack filled in, by the rule's name.
    pub composed: &'a BTreeMap<String, RecordBatch>,
}

/// What became of the windows of a query that end with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// None ended, or the query has no windows.
    NoneDue,
    /// Each was computed.
    Computed,
    /// Some could not be computed: their rows never come.
    Failed,
}

/// What one query gave on one batch.
#[derive(Debug)]
pub struct Outcome {
    /// The query's name.
    pub query: String,
    /// Its rows; those of a table query are in the order of their key.
    pub rows: Result<RecordBatch, QueryFailure>,
    /// Of a table query: rows of which others have taken the place.
    pub replaced: Option<Replaced>,
    /// Of a rule that is judged sample by sample: of which row of [`Judged`] each of its rows is, where each is of one.
    pub samples: Option<Int64Array>,
    /// Of a rule with `@clear_when`: the rows at which that is true, and of which samples they are.
    pub clear: Option<(RecordBatch, Option<Int64Array>)>,
    /// Whether the batch's rows are in its windows; `true` for a query without windows.
    pub counted: bool,
    /// What became of the windows that end with the batch.
    pub closing: Closing,
    /// What went wrong beside, though there are rows: the batch was not counted, or some window not computed.
    pub trouble: Option<QueryFailure>,
    /// How long it took.
    pub took: Duration,
}

/// A stretch of time in which nothing changes that rules look up, and the samples of a batch that lie in it.
#[derive(Debug, Clone)]
pub struct Period {
    /// What `event_now()` is in it: `_now` views go by that.
    pub event_now: DateTime<Utc>,
    /// Who was here, as [`encounters_now_schema`](super::encounters_now_schema) has it; `None` where no query reads it.
    pub encounters_now: Option<RecordBatch>,
    /// Which rows of the batch lie in it.
    pub rows: BooleanArray,
    /// For rules of several vitals, which of their rows do; by the rule's name.
    pub composed: BTreeMap<String, BooleanArray>,
}

impl Input<'_> {
    /// Whether the windows of a source that have not closed are to be given out.
    pub(super) fn shows_open(&self, source: usize) -> bool {
        self.reached.get(source).is_some_and(|reached| reached.show_open)
    }
}

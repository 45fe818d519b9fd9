//! What the planner has to know of the job.

use std::time::Duration;

use arrow::datatypes::SchemaRef;

/// What the planner needs to know of the job: the source's table and the columns that name patient and time.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// The name under which queries read the batch.
    pub table: &'a str,
    /// The tables of the job's other sources: the columns of each stand in the batch as `table.column`, and `_of.table` says which
    /// rows are its own. Empty where there is one source.
    pub others: Vec<&'a str>,
    /// The schema of the batch, which has the columns of all sources.
    pub schema: SchemaRef,
    /// The column that a rule must return.
    pub key: &'a str,
    /// The column by which a rule tells samples apart, if it returns it, and by which windows go.
    pub event_time: &'a str,
    /// The columns with doubtful values of another, each with that other: either tells how it stands with the patient.
    pub doubtful: Vec<(String, String)>,
    /// How long a value of each column counts, the doubtful ones included; what is computed from others has no time of its own.
    pub valid_for: Vec<(String, Duration)>,
}

impl<'a> Source<'a> {
    /// The tables of all sources, the first one's first.
    pub(super) fn tables(&self) -> Vec<&'a str> {
        std::iter::once(self.table).chain(self.others.iter().copied()).collect()
    }
}

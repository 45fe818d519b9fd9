//! The query of `source.sql` between decoding and everything else.

use std::sync::Arc;

use arrow::array::RecordBatch;

use wardwatch_config::Job;
use wardwatch_ingest::decode::{Decoder, Reshape, Reshaped, Reshaping, frame_schema};
use wardwatch_model::diagnostic::Diagnostics;
use wardwatch_model::topics::Topics;
use wardwatch_sql::{Limits, Made, SourceQuery};

/// A query that reshapes rows.
#[derive(Debug)]
struct BySql(SourceQuery);

impl Reshape for BySql {
    fn reshape(&mut self, rows: &RecordBatch) -> Reshaped {
        let Made { columns, of, failed } = self.0.run(rows);
        Reshaped { columns, of, failed }
    }

    fn multiplies(&self) -> bool {
        self.0.multiplies()
    }
}

/// The query of a set that reshapes rows, as it was when it was read.
#[derive(Clone)]
pub(super) struct SourceSql {
    pub(super) text: String,
    pub(super) reshaping: Reshaping,
}

impl SourceSql {
    /// The one of the job's set; `None` where it has none.
    ///
    /// Errors: every fault of it.
    pub(super) fn of(job: &Job) -> Result<Option<Self>, Diagnostics> {
        let Some(file) = SourceQuery::read(&job.sql.dir)? else { return Ok(None) };
        let text = file.text.clone();
        let columns = job.source.columns.clone();
        let limits = Limits { time: job.sql.time_limit, memory: job.sql.memory_limit, groups: job.sql.max_groups };
        let make = move || {
            let needed = [columns.key().name.as_str(), columns.event_time().name.as_str()];
            SourceQuery::plan(file.clone(), &frame_schema(&columns), &needed, limits)
        };
        make()?;
        // Each decoder has one of its own, also while the file is edited.
        let reshaping: Reshaping = Arc::new(move || match make() {
            Ok(query) => Box::new(BySql(query)),
            Err(faults) => panic!("it was planned before:\n{faults}"),
        });
        Ok(Some(Self { text, reshaping }))
    }
}

impl std::fmt::Debug for SourceSql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceSql").field("text", &self.text).finish_non_exhaustive()
    }
}

/// A decoder as the job has it.
///
/// # Errors
/// Every fault of the set's `source.sql`.
pub fn decoder(job: &Job, topics: &Topics) -> Result<Decoder, Diagnostics> {
    Ok(Decoder::reading(&job.source, topics)
        .reshaped_by(&job.source, SourceSql::of(job)?.map(|sql| sql.reshaping).as_ref()))
}

//! Rules on what stands: on the last values of patients, which came in batches before.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use wardwatch_model::terms::Partition;

use super::batch::{Ages, Input, Outcome};
use super::engine::Engine;
use super::execute::QueryFailure;
use super::file::QueryKind;
use super::run::{Giving, Run};
use super::window::Open;

/// The last value of a column, and the ending of the name of the column with its age.
const AGE: &str = "_age_seconds";

impl Engine {
    /// The last values of each patient of a source: as the table of last values has them, but with 0 less the time of each value, in
    /// seconds, as its age, and with its columns called as in a batch. `None` where no rule needs them.
    ///
    /// # Errors
    /// They cannot be computed.
    pub fn last_values(
        &mut self,
        source: usize,
        partitions: impl Iterator<Item = Partition>,
    ) -> Result<Option<RecordBatch>, QueryFailure> {
        let Some(latest) = self.latest.iter_mut().find(|latest| latest.source == source) else { return Ok(None) };
        self.times.partitions().set(partitions.map(|partition| (partition.0, 0)));
        let rows = latest.windowed.open(&self.runner, None, Open::All)?;
        let own = &self.slots.streams[source].own;
        let fields = rows.schema_ref().fields().iter().map(|field| {
            let name = match field.name().strip_suffix(AGE) {
                Some(column) if own.schema().index_of(column).is_ok() => Self::age_of(&own.in_batch(column)),
                _ if own.schema().index_of(field.name()).is_ok() => own.in_batch(field.name()),
                _ => field.name().clone(),
            };
            field.as_ref().clone().with_name(name)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, rows.columns().to_vec()).map(Some).map_err(|error| QueryFailure(error.to_string()))
    }

    /// The name of the column with the age of a column's last value.
    #[must_use]
    pub fn age_of(column: &str) -> String {
        format!("{column}{AGE}")
    }

    /// Runs one rule on rows that are no batch, as it runs on a batch's; what it looks up is as it was after the last batch.
    /// `None` where there is no such rule, or it has nothing to say on rows.
    pub fn run_rule(&mut self, rule: &str, input: &Input<'_>) -> Option<Outcome> {
        self.fill(input);
        self.fill_history(input.history);
        let mut run = Run::new(Giving::Rows, &self.slots);
        run.unreadable = self.show_latest(input.ages);
        let wanted = self.views_below(rule);
        for query in &mut self.queries {
            let (name, is_view) = (&query.planned.file.name, query.planned.file.kind == QueryKind::View);
            match name == rule || (is_view && wanted.contains(name)) {
                true => run.query(query, &self.runner, input, &|_| false),
                // Windows say nothing of rows that they have counted already.
                false => run.note_silent(name.clone()),
            }
        }
        self.clear();
        run.outcomes.into_iter().find(|outcome| outcome.query == rule)
    }

    /// The views that a query reads, directly or through others.
    fn views_below(&self, query: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![query.to_owned()];
        while let Some(name) = waiting.pop() {
            let reads = self.queries.iter().find(|query| query.planned.file.name == name);
            for read in reads.iter().flat_map(|query| &query.planned.reads) {
                if found.insert(read.clone()) {
                    waiting.push(read.clone());
                }
            }
        }
        found
    }

    fn show_latest(&mut self, ages: Option<&dyn Ages>) -> Vec<(String, QueryFailure)> {
        let mut failed = Vec::new();
        for latest in &mut self.latest {
            match latest.windowed.open(&self.runner, None, Open::All) {
                Ok(rows) => latest.show(&rows, ages),
                Err(failure) => failed.push((latest.name.clone(), failure)),
            }
        }
        failed
    }
}

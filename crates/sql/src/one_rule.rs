//! Rules on what stands: on the last values of patients, which came in batches before.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;

use wardwatch_model::terms::Partition;

use super::batch::{Ages, Input, Outcome};
use super::engine::Engine;
use super::execute::QueryFailure;
use super::file::QueryKind;
use super::latest::Latest;
use super::run::{Giving, Run};
use super::window::Open;

/// The last value of a column, and the ending of the name of the column with its age.
const AGE: &str = "_age_seconds";

impl Engine {
    /// The last values of each patient: as the table of last values has them, but with 0 less the time of each value, in seconds,
    /// as its age. `None` where no rule needs them.
    ///
    /// # Errors
    /// They cannot be computed.
    pub fn last_values(
        &mut self,
        partitions: impl Iterator<Item = Partition>,
    ) -> Result<Option<RecordBatch>, QueryFailure> {
        let Some(Latest { windowed, .. }) = &mut self.latest else { return Ok(None) };
        self.times.partitions().set(partitions.map(|partition| (partition.0, 0)));
        windowed.open(&self.runner, None, Open::All).map(Some)
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
        self.slots.history.fill_all(input.history);
        let mut run = Run::new(Giving::Rows);
        run.unreadable = self.show_latest(input.ages).err();
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

    fn show_latest(&mut self, ages: Option<&dyn Ages>) -> Result<(), (String, QueryFailure)> {
        let Some(latest) = &mut self.latest else { return Ok(()) };
        let rows = latest.windowed.open(&self.runner, None, Open::All);
        let rows = rows.map_err(|failure| (latest.name.clone(), failure))?;
        latest.show(&rows, ages);
        Ok(())
    }
}

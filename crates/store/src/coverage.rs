//! Which rules do not judge which patients, as it stood after the last batch.

use std::sync::Arc;

use wardwatch_alert::{Unjudged, Why};
use wardwatch_model::terms::BatchId;

use super::Value;
use super::bad_rows::BadRowsOfBatch;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, batch_value, insert_own};
use super::quote::quoted;
use super::row::Row;
use super::system::COVERAGE;

/// What became of coverage with a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoverageChanges {
    /// The patients and rules that are judged again.
    pub judged_again: Vec<(Arc<str>, String)>,
    /// Those that are not judged, or for another reason than before.
    pub unjudged: Vec<Unjudged>,
}

impl CoverageChanges {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.judged_again.is_empty() && self.unjudged.is_empty()
    }
}

const COLUMNS: &str = "`patient_id`, `rule`, `judged_until`, `since_at`, `cause`, `detail`, `patients`";

impl Store {
    pub(super) fn write_coverage(
        &mut self,
        batch: BatchId,
        changes: &CoverageChanges,
        bad: &mut BadRowsOfBatch,
    ) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE `job`=? AND `patient_id`=? AND `rule`=?", quoted(COVERAGE));
        for (patient, rule) in &changes.judged_again {
            let values = [Value::text(&self.job), Value::text(patient), Value::text(rule)];
            self.database.execute(&sql, &values)?;
        }
        let mut rows = changes.unjudged.iter().map(|unjudged| {
            vec![
                Value::text(&self.job),
                Value::text(&unjudged.patient),
                Value::text(&unjudged.rule),
                Value::time(unjudged.judged_until),
                Value::Time(unjudged.since),
                Value::text(unjudged.cause.name()),
                Value::text(&unjudged.detail),
                Value::count(unjudged.patients),
                batch_value(batch),
            ]
        });
        insert_own(self.database.as_mut(), COVERAGE, Duplicates::Replaced, &mut rows, bad)
    }

    /// Which rules do not judge which patients, by patient and rule.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn unjudged(&mut self) -> Result<Vec<Unjudged>, StoreError> {
        self.unjudged_where("", &[])
    }

    /// Which rules do not judge a patient, and which judge nobody.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn unjudged_of(&mut self, patient: &str) -> Result<Vec<Unjudged>, StoreError> {
        self.unjudged_where(" AND (`patient_id`=? OR `patient_id`='')", &[Value::text(patient)])
    }

    fn unjudged_where(&mut self, condition: &str, values: &[Value]) -> Result<Vec<Unjudged>, StoreError> {
        let order = "ORDER BY `patient_id`, `rule`";
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE `job`=?{condition} {order}", quoted(COVERAGE));
        let values: Vec<Value> = std::iter::once(Value::text(&self.job)).chain(values.iter().cloned()).collect();
        let rows = self.database.query(&sql, &values)?;
        let read = |row: &Vec<Value>| -> Result<Unjudged, StoreError> {
            let mut row = Row::of(COVERAGE, COLUMNS, row);
            Ok(Unjudged {
                patient: row.text()?.into(),
                rule: row.text()?,
                judged_until: row.optional_time(),
                since: row.time()?,
                cause: row.named(Why::from_name)?,
                detail: row.text()?,
                // A version before did not count them.
                patients: usize::try_from(row.optional_count()).unwrap_or(usize::MAX).max(1),
                told_by: None,
            })
        };
        rows.iter().map(read).collect()
    }
}

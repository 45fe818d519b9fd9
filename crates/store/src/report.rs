//! Which reports were made, and what became of them.

use chrono::{DateTime, Utc};

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, insert_system};
use super::quote::quoted;
use super::system::{BATCHES, REPORT_RUNS};

/// One making of a report that was due.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportRun {
    /// The report.
    pub report: String,
    /// For when it was due.
    pub due_at: DateTime<Utc>,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// How many pages.
    pub pages: usize,
    /// How many could not be made.
    pub failed: usize,
    /// How long it took.
    pub seconds: f64,
    /// Why the first that failed did; empty where none did.
    pub error: String,
    /// Whether it is still to be mailed.
    pub mail_open: bool,
}

/// How a report fares, by its newest making.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportState {
    /// The report.
    pub report: String,
    /// For when it was due last.
    pub due_at: DateTime<Utc>,
    /// How many could not be made then.
    pub failed: i64,
    /// How long it took.
    pub seconds: f64,
}

impl Store {
    /// The newest time for which a report was made, or found impossible to make.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn last_report(&mut self, report: &str) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = format!("SELECT MAX(`due_at`) FROM {} WHERE `job`=? AND `report`=?", quoted(REPORT_RUNS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(report)])?;
        Ok(rows.first().and_then(|row| row.first()?.as_time()))
    }

    /// The frozen time of the job's first batch.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn first_batch_at(&mut self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = format!("SELECT MIN(`now_at`) FROM {} WHERE `job`=?", quoted(BATCHES));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(rows.first().and_then(|row| row.first()?.as_time()))
    }

    /// Notes what became of a report.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn note_report(&mut self, run: &ReportRun) -> Result<(), StoreError> {
        let mut rows = std::iter::once(vec![
            Value::text(&self.job),
            Value::text(&run.report),
            Value::Time(run.due_at),
            Value::Time(run.made_at),
            Value::count(run.pages),
            Value::count(run.failed),
            Value::Float(run.seconds),
            Value::text(&run.error),
            Value::Int(run.mail_open.into()),
            Value::text(""),
        ]);
        insert_system(self.database.as_mut(), REPORT_RUNS, Duplicates::Replaced, &mut rows)
    }

    /// The reports that are still to be mailed: name and time for which each was due, oldest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn unmailed_reports(&mut self) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
        let sql = format!(
            "SELECT `report`, `due_at` FROM {} WHERE `job`=? AND `mail_open`=1 ORDER BY `due_at`, `report`",
            quoted(REPORT_RUNS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(rows.iter().filter_map(|row| Some((row.first()?.as_text()?.to_owned(), row.get(1)?.as_time()?))).collect())
    }

    /// A report was mailed, or will not be, for the reason given.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn close_mail(&mut self, report: &str, due: DateTime<Utc>, error: &str) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE {} SET `mail_open`=0, `mail_error`=? WHERE `job`=? AND `report`=? AND `due_at`=?",
            quoted(REPORT_RUNS)
        );
        let values = [Value::text(error), Value::text(&self.job), Value::text(report), Value::Time(due)];
        self.database.execute(&sql, &values)?;
        Ok(())
    }

    /// How each report fares.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn report_states(&mut self) -> Result<Vec<ReportState>, StoreError> {
        let runs = quoted(REPORT_RUNS);
        let sql = format!(
            "SELECT r.`report`, r.`due_at`, r.`failed`, r.`seconds` FROM {runs} r JOIN (SELECT `report` AS n, MAX(`due_at`) AS d \
             FROM {runs} WHERE `job`=? GROUP BY `report`) l ON l.n = r.`report` AND l.d = r.`due_at` WHERE r.`job`=? ORDER BY 1"
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(&self.job)])?;
        let state = |row: &Vec<Value>| {
            Some(ReportState {
                report: row.first()?.as_text()?.to_owned(),
                due_at: row.get(1)?.as_time()?,
                failed: row.get(2)?.as_int()?,
                seconds: row.get(3)?.as_float()?,
            })
        };
        Ok(rows.iter().filter_map(state).collect())
    }
}

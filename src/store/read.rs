//! What is read back: where a job goes on, what `status` shows, what charts are drawn from.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::alert::{Episode, Silence, Unjudged};
use crate::frame::{EventTime, Watermarks};
use crate::terms::{BatchId, Offset, OffsetRange, Partition, Positions, Ranges, Watermark};

use super::commit::{QueryState, batch_value};
use super::pending::{Incomplete, TableFault};
use super::row::{Row, readable};
use super::statement::quoted;
use super::system::{BATCH_RANGES, BATCHES, EDITS, OFFSETS, QUERIES, QUERY_FAILURES};
use super::{Store, StoreError, Value};

/// Where a job goes on.
#[derive(Debug, Default)]
pub struct Resume {
    /// The last batch that was committed; 0 before the first.
    pub last_batch: BatchId,
    /// Its frozen time.
    pub last_now: Option<DateTime<Utc>>,
    /// Event time after it.
    pub event_time: EventTime,
    /// The episodes that have not ended.
    pub episodes: Vec<Episode>,
    /// The silences and pauses that hold.
    pub silences: Vec<Silence>,
    /// The queries that fail.
    pub queries: Vec<QueryState>,
    /// The tables that do not take their rows, and those that have rows waiting.
    pub tables: Vec<TableFault>,
    /// Which rules do not judge which patients.
    pub unjudged: Vec<Unjudged>,
}

/// What `status` shows.
#[derive(Debug, Default)]
pub struct Status {
    /// The last batch, if there is one.
    pub last: Option<BatchSummary>,
    /// Where each partition goes on.
    pub positions: Positions,
    /// The watermark of each partition that has one.
    pub watermarks: BTreeMap<Partition, Watermark>,
    /// The open episodes, most severe and oldest first.
    pub episodes: Vec<Episode>,
    /// The queries that fail.
    pub queries: Vec<QueryState>,
    /// The tables that do not take their rows, and those that have rows waiting.
    pub tables: Vec<TableFault>,
    /// The tables that lack rows for good, the newest first.
    pub incomplete: Vec<Incomplete>,
    /// Why the newest edit of the set was refused, and when; `None` where it was taken over, or there was none.
    pub refused_edit: Option<(DateTime<Utc>, String)>,
    /// What is wrong with rows that count for nothing because of it.
    pub odd_rows: Vec<String>,
    /// All records so far.
    pub records: i64,
    /// All rejects so far.
    pub rejects: i64,
    /// All artefacts so far.
    pub artefacts: i64,
    /// All rows that came too late for windows.
    pub late: i64,
    /// All rows that had come before.
    pub duplicates: i64,
    /// All rows that no table took.
    pub bad_rows: i64,
}

/// A row of the batch log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchSummary {
    /// The batch.
    pub batch: BatchId,
    /// Its frozen time.
    pub now: DateTime<Utc>,
    /// How many records it had.
    pub records: i64,
    /// Windows that end by it have closed.
    pub watermark: Option<Watermark>,
    /// Its frozen time by the devices' clocks.
    pub event_now: Option<DateTime<Utc>>,
}

/// What a replay needs to repeat a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedBatch {
    /// The batch.
    pub batch: BatchId,
    /// What it covers.
    pub ranges: Ranges,
    /// Its frozen time.
    pub now: DateTime<Utc>,
    /// Its frozen time by the devices' clocks.
    pub event_now: DateTime<Utc>,
    /// Windows that end by it have closed.
    pub watermark: Option<Watermark>,
}

impl Store {
    /// Reads where the job goes on.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn resume(&mut self, topic: &str) -> Result<Resume, StoreError> {
        let last = self.last_batch()?;
        let event_time = EventTime {
            watermarks: self.watermarks(topic)?,
            active: self.active(topic)?,
            watermark: last.as_ref().and_then(|last| last.watermark),
            now: last.as_ref().and_then(|last| last.event_now),
        };
        Ok(Resume {
            last_batch: last.as_ref().map_or(BatchId(0), |last| last.batch),
            last_now: last.map(|last| last.now),
            event_time,
            episodes: self.open_episodes()?,
            silences: self.silences()?,
            queries: self.failing_queries()?,
            tables: self.table_faults()?,
            unjudged: self.unjudged()?,
        })
    }

    /// The first batch with a row of at least this event time, as far back as one follows the other closely.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn first_batch_since(&mut self, topic: &str, time: DateTime<Utc>) -> Result<Option<BatchId>, StoreError> {
        const PAGE: usize = 5_000;
        let sql = format!(
            "SELECT `batch`, `newest_at` FROM {} WHERE `job`=? AND `topic`=? AND `batch`<=? ORDER BY `batch` DESC LIMIT {PAGE}",
            quoted(BATCH_RANGES)
        );
        let mut first = None;
        let mut below = i64::MAX;
        loop {
            let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(topic), Value::Int(below)])?;
            let batches = rows.iter().filter_map(|row| Some((row.first()?.as_int()?, row.get(1)?.as_time())));
            let hit = batches.filter(|(_, newest)| newest.is_some_and(|newest| newest >= time)).map(|(batch, _)| batch);
            let hit = hit.min();
            first = hit.or(first);
            let last = rows.last().and_then(|row| row.first()?.as_int());
            match (hit, last) {
                // Times are roughly in the order of batches, so a whole page without one is the end.
                (Some(_), Some(last)) if rows.len() == PAGE => below = last - 1,
                _ => return Ok(first.and_then(|batch| u64::try_from(batch).ok()).map(BatchId)),
            }
        }
    }

    /// The logged batches from `from` on, oldest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn logged_batches(&mut self, topic: &str, from: BatchId) -> Result<Vec<LoggedBatch>, StoreError> {
        let sql = format!(
            "SELECT `batch`, `now_at`, `event_now_at`, `watermark` FROM {} WHERE `job`=? AND `batch`>=? ORDER BY `batch`",
            quoted(BATCHES)
        );
        let key = [Value::text(&self.job), batch_value(from)];
        let mut batches: BTreeMap<BatchId, LoggedBatch> = BTreeMap::new();
        for row in &self.database.query(&sql, &key)? {
            let mut row = Row::new(BATCHES, row);
            let (batch, now) = (row.batch()?, row.time()?);
            let event_now = row.optional_time().unwrap_or(now);
            let watermark = row.optional_time().map(Watermark);
            batches.insert(batch, LoggedBatch { batch, ranges: Ranges::new(), now, event_now, watermark });
        }
        let sql = format!(
            "SELECT `batch`, `partition`, `start_offset`, `end_offset` FROM {} WHERE `job`=? AND `batch`>=? AND `topic`=?",
            quoted(BATCH_RANGES)
        );
        let key = [Value::text(&self.job), batch_value(from), Value::text(topic)];
        for row in &self.database.query(&sql, &key)? {
            let mut row = Row::new(BATCH_RANGES, row);
            let (batch, partition) = (row.batch()?, Partition(i32::try_from(row.int()?).unwrap_or(-1)));
            let range = OffsetRange { start: Offset(row.int()?), end: Offset(row.int()?) };
            if let Some(logged) = batches.get_mut(&batch) {
                logged.ranges.insert(partition, range);
            }
        }
        Ok(batches.into_values().collect())
    }

    /// The watermarks as they were before `batch`: of each partition, and the job's.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn watermarks_before(
        &mut self,
        topic: &str,
        batch: BatchId,
    ) -> Result<(Watermarks, Option<Watermark>), StoreError> {
        let ranges = quoted(BATCH_RANGES);
        let sql = format!(
            "SELECT r.`partition`, r.`watermark` FROM {ranges} r JOIN (SELECT `partition` AS p, MAX(`batch`) AS b FROM {ranges} \
             WHERE `job`=? AND `topic`=? AND `batch`<? GROUP BY `partition`) l ON l.p = r.`partition` AND l.b = r.`batch` \
             WHERE r.`job`=? AND r.`topic`=?"
        );
        let (job, topic) = (Value::text(&self.job), Value::text(topic));
        let values = [job.clone(), topic.clone(), batch_value(batch), job.clone(), topic];
        let rows = self.database.query(&sql, &values)?;
        let watermarks = rows.iter().filter_map(|row| watermark_of(row)).collect();
        let sql = format!("SELECT `watermark` FROM {} WHERE `job`=? AND `batch`=?", quoted(BATCHES));
        let before = BatchId(batch.0.saturating_sub(1));
        let rows = self.database.query(&sql, &[job, batch_value(before)])?;
        Ok((watermarks, rows.first().and_then(|row| row.first()?.as_time()).map(Watermark)))
    }

    /// The queries that did not count a batch, from batch `from` on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn uncounted(&mut self, from: BatchId) -> Result<BTreeSet<(String, BatchId)>, StoreError> {
        self.failures(from, false)
    }

    /// The queries that counted a batch but whose rows of it were not all written, from batch `from` on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn unwritten(&mut self, from: BatchId) -> Result<BTreeSet<(String, BatchId)>, StoreError> {
        self.failures(from, true)
    }

    fn failures(&mut self, from: BatchId, counted: bool) -> Result<BTreeSet<(String, BatchId)>, StoreError> {
        let sql = format!(
            "SELECT `query`, `batch` FROM {} WHERE `job`=? AND `batch`>=? AND `counted`=?",
            quoted(QUERY_FAILURES)
        );
        let values = [Value::text(&self.job), batch_value(from), Value::Int(counted.into())];
        let rows = self.database.query(&sql, &values)?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(QUERY_FAILURES, row);
                Ok((row.text()?, row.batch()?))
            })
            .collect()
    }

    /// Whether any job has made its tables here.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn has_tables(&mut self) -> Result<bool, StoreError> {
        Ok(!self.database.columns(BATCHES)?.is_empty())
    }

    /// Reads what `status` shows.
    ///
    /// # Errors
    /// The database does not answer, or has no tables of this job yet.
    pub fn status(&mut self, topic: &str) -> Result<Status, StoreError> {
        let sql = format!(
            "SELECT SUM(`records`), SUM(`rejects`), SUM(`artefacts`), SUM(`late_rows`), SUM(`duplicates`), \
             SUM(`bad_rows`) FROM {} WHERE `job`=?",
            quoted(BATCHES)
        );
        let sums = self.database.query(&sql, &[Value::text(&self.job)])?;
        let sum = |column: usize| sums.first().and_then(|row| row.get(column)?.as_int()).unwrap_or(0);
        let mut episodes = self.open_episodes()?;
        episodes.sort_by_key(|episode| (std::cmp::Reverse(episode.severity), episode.started_at));
        Ok(Status {
            last: self.last_batch()?,
            positions: self.positions(topic)?,
            watermarks: self.watermarks(topic)?,
            episodes,
            queries: self.failing_queries()?,
            tables: self.table_faults()?,
            incomplete: self.incomplete()?,
            refused_edit: self.refused_edit()?,
            odd_rows: self.odd_rows()?,
            records: sum(0),
            rejects: sum(1),
            artefacts: sum(2),
            late: sum(3),
            duplicates: sum(4),
            bad_rows: sum(5),
        })
    }

    pub(super) fn last_batch(&mut self) -> Result<Option<BatchSummary>, StoreError> {
        const COLUMNS: &str = "`batch`, `now_at`, `records`, `watermark`, `event_now_at`";
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE `job`=? ORDER BY `batch` DESC LIMIT 1", quoted(BATCHES));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        rows.first()
            .map(|row| {
                let mut row = Row::of(BATCHES, COLUMNS, row);
                Ok(BatchSummary {
                    batch: row.batch()?,
                    now: row.time()?,
                    records: row.int()?,
                    watermark: row.optional_time().map(Watermark),
                    event_now: row.optional_time(),
                })
            })
            .transpose()
    }

    fn watermarks(&mut self, topic: &str) -> Result<BTreeMap<Partition, Watermark>, StoreError> {
        let sql = format!("SELECT `partition`, `watermark` FROM {} WHERE `job`=? AND `topic`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(topic)])?;
        Ok(rows.iter().filter_map(|row| watermark_of(row)).collect())
    }

    fn refused_edit(&mut self) -> Result<Option<(DateTime<Utc>, String)>, StoreError> {
        let sql = format!(
            "SELECT `edited_at`, `error` FROM {} WHERE `job`=? ORDER BY `edited_at` DESC LIMIT 1",
            quoted(EDITS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let newest = rows.first().and_then(|row| Some((row.first()?.as_time()?, row.get(1)?.as_text()?.to_owned())));
        Ok(newest.filter(|(_, error)| !error.is_empty()))
    }

    /// When each partition had a record last.
    fn active(&mut self, topic: &str) -> Result<BTreeMap<Partition, DateTime<Utc>>, StoreError> {
        let sql = format!("SELECT `partition`, `active_at` FROM {} WHERE `job`=? AND `topic`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(topic)])?;
        let times = rows.iter().filter_map(|row| watermark_of(row)).map(|(partition, time)| (partition, time.0));
        Ok(times.collect())
    }

    /// The queries that fail, by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn failing_queries(&mut self) -> Result<Vec<QueryState>, StoreError> {
        let sql =
            format!("SELECT {QUERY_COLUMNS} FROM {} WHERE `job`=? AND `failures`>0 ORDER BY `query`", quoted(QUERIES));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        // A query of which nobody can say how it failed is tried like one that is well.
        Ok(self.odd.leave_out(&rows, query_state))
    }

    pub(super) fn odd_query_states(&mut self) -> Result<Vec<String>, StoreError> {
        let sql = format!("SELECT {QUERY_COLUMNS} FROM {} WHERE `job`=? AND `failures`>0", quoted(QUERIES));
        Ok(readable(&self.database.query(&sql, &[Value::text(&self.job)])?, query_state).1)
    }

    /// The newest event time that a table has of a patient.
    ///
    /// # Errors
    /// The database does not answer, or there is no such table or column.
    pub fn newest(
        &mut self,
        table: &str,
        key: &str,
        event_time: &str,
        patient: &str,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let (table, key, event_time) = (quoted(table), quoted(key), quoted(event_time));
        let sql = format!("SELECT MAX({event_time}) FROM {table} WHERE {key}=?");
        let rows = self.database.query(&sql, &[Value::text(patient)])?;
        Ok(rows.first().and_then(|row| row.first()?.as_time()))
    }

    /// The columns that a table has.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn column_names(&mut self, table: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.database.columns(table)?.into_iter().map(|column| column.name).collect())
    }

    /// The rows of a patient from `from` up to `until`, both included, in the order of time: the event time, then the
    /// values of `columns`.
    ///
    /// # Errors
    /// The database does not answer, or there is no such table or column.
    pub fn readings(&mut self, wanted: &Readings<'_>) -> Result<Vec<Vec<Value>>, StoreError> {
        self.first_readings(wanted, usize::MAX)
    }

    /// The first of these rows, at most `most`.
    ///
    /// # Errors
    /// The database does not answer, or there is no such table or column.
    pub fn first_readings(&mut self, wanted: &Readings<'_>, most: usize) -> Result<Vec<Vec<Value>>, StoreError> {
        let columns: Vec<String> = wanted.columns.iter().map(|name| quoted(name)).collect();
        let (table, key, event_time) = (quoted(wanted.table), quoted(wanted.key), quoted(wanted.event_time));
        let sql = format!(
            "SELECT {event_time}, {} FROM {table} WHERE {key}=? AND {event_time}>=? AND {event_time}<=? \
             ORDER BY {event_time} LIMIT ?",
            columns.join(", ")
        );
        let values =
            [Value::text(wanted.patient), Value::Time(wanted.from), Value::Time(wanted.until), Value::count(most)];
        Ok(self.database.query(&sql, &values)?)
    }
}

const QUERY_COLUMNS: &str = "`query`, `failures`, `retry_batch`, `error`";

fn query_state(row: &[Value]) -> Result<QueryState, StoreError> {
    let mut row = Row::of(QUERIES, QUERY_COLUMNS, row);
    Ok(QueryState {
        query: row.text()?,
        failures: u32::try_from(row.int()?).unwrap_or(u32::MAX),
        retry: row.batch()?,
        error: row.optional_text().unwrap_or_default(),
    })
}

/// Which readings are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Readings<'a> {
    /// The table with a row per record.
    pub table: &'a str,
    /// Its column with the patient.
    pub key: &'a str,
    /// Its column with the event time.
    pub event_time: &'a str,
    /// The columns to read.
    pub columns: &'a [String],
    /// The patient.
    pub patient: &'a str,
    /// The first event time.
    pub from: DateTime<Utc>,
    /// The last event time.
    pub until: DateTime<Utc>,
}

/// A partition and its time, where it has one.
fn watermark_of(row: &[Value]) -> Option<(Partition, Watermark)> {
    let partition = i32::try_from(row.first()?.as_int()?).ok()?;
    Some((Partition(partition), Watermark(row.get(1)?.as_time()?)))
}

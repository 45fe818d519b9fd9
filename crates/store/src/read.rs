//! What is read back: where a job goes on, what `status` shows, what charts are drawn from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{Episode, HOST_CLOCK_TOLERANCE, Silence, Unjudged};
use wardwatch_model::encounter::{Request, Version};
use wardwatch_model::event_time::{EventTime, SourceWatermarks};
use wardwatch_model::terms::{BatchId, Offset, OffsetRange, Partition, Positions, Ranges, Watermark};
use wardwatch_model::topics::{ShownPartition, Topics};

use super::Value;
use super::batch::QueryState;
use super::connection::Store;
use super::error::StoreError;
use super::insert::batch_value;
use super::lease::LeaseRow;
use super::quote::quoted;
use super::row::{Row, readable};
use super::scan::public;
use super::system::{self, BATCH_RANGES, BATCHES, EDITS, LEASES, OFFSETS, QUERIES, QUERY_FAILURES};
use super::table_rows::{Incomplete, TableFault};
use super::topics::{partition_of, partition_values};
use super::watermarks::{by_table_of, watermark_of};

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
    /// The requests about encounters that were applied.
    pub encounters: Vec<(Version, Request)>,
}

/// What `status` shows.
#[derive(Debug, Default)]
pub struct Status {
    /// The topics that it is about.
    pub topics: Topics,
    /// The last batch, if there is one.
    pub last: Option<BatchSummary>,
    /// Where each partition goes on.
    pub positions: Positions,
    /// The watermark of each partition that has one.
    pub watermarks: BTreeMap<Partition, Watermark>,
    /// When each partition had a record last, by the job's clock.
    pub active: BTreeMap<Partition, DateTime<Utc>>,
    /// Who writes for the job; `None` where nobody does.
    pub lease: Option<LeaseRow>,
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
    /// All rows that were nobody's.
    pub unattached: i64,
    /// Those of them that became somebody's later.
    pub attached_later: i64,
    /// All records, and items of them, that are no rows on purpose.
    pub ignored: i64,
}

/// A partition of which records wait and none is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalledPartition {
    /// The partition, as people know it.
    pub partition: ShownPartition,
    /// How many records wait.
    pub waiting: i64,
    /// When it had a record last; `None` where it never had one.
    pub since: Option<DateTime<Utc>>,
}

impl Status {
    /// The partitions of which records wait by `ends`, the next offsets that Kafka will give, and none was read for `patience`
    /// before `now`.
    #[must_use]
    pub fn stalled(&self, ends: &Positions, patience: Duration, now: DateTime<Utc>) -> Vec<StalledPartition> {
        let patience = TimeDelta::from_std(patience).unwrap_or(TimeDelta::MAX);
        let of = |(partition, position): (&Partition, &Offset)| {
            let waiting = ends.get(partition)?.0 - position.0;
            let since = self.active.get(partition).copied();
            let is_stalled = waiting > 0 && since.is_none_or(|since| now - since > patience);
            is_stalled.then_some(StalledPartition { partition: self.topics.show(*partition), waiting, since })
        };
        self.positions.iter().filter_map(of).collect()
    }

    /// By how much this machine's clock, which shows `now`, is behind the last batch, if that is worth telling.
    #[must_use]
    pub fn clock_behind(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        self.last.as_ref().map(|last| last.now - now).filter(|behind| *behind > HOST_CLOCK_TOLERANCE)
    }
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
    /// The same of each source, by its table.
    pub by_table: SourceWatermarks,
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
    /// The same before it.
    pub watermark_before: Option<Watermark>,
    /// The same of each source, by its table.
    pub by_table: SourceWatermarks,
    /// Those before it.
    pub by_table_before: SourceWatermarks,
    /// As of which version of the encounters its rows were attached.
    pub encounters: Version,
}

impl Store {
    /// Reads where the job goes on.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn resume(&mut self, topics: &Topics) -> Result<Resume, StoreError> {
        let last = self.last_batch()?;
        let event_time = EventTime {
            watermarks: self.watermarks(topics)?,
            active: self.active(topics)?,
            with_rows: BTreeMap::new(),
            watermark: last.as_ref().and_then(|last| last.watermark),
            by_table: last.as_ref().map(|last| last.by_table.clone()).unwrap_or_default(),
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
            encounters: self.applied_encounters()?,
        })
    }

    /// The first batch with a row of at least this event time, partition by partition, as far back as one of a partition follows the
    /// other closely. Partitions without such a row are left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn first_batches_since(
        &mut self,
        topics: &Topics,
        times: &BTreeMap<Partition, DateTime<Utc>>,
    ) -> Result<BTreeMap<Partition, BatchId>, StoreError> {
        let mut firsts = BTreeMap::new();
        for (partition, time) in times {
            if let Some(first) = self.first_batch_since(topics, *partition, *time)? {
                firsts.insert(*partition, first);
            }
        }
        Ok(firsts)
    }

    fn first_batch_since(
        &mut self,
        topics: &Topics,
        partition: Partition,
        time: DateTime<Utc>,
    ) -> Result<Option<BatchId>, StoreError> {
        // The first page is short: mostly there is nothing in it.
        const PAGES: [usize; 2] = [500, 5_000];
        let mut first = None;
        let mut below = i64::MAX;
        for page in PAGES.into_iter().chain(std::iter::repeat(PAGES[1])) {
            let sql = format!(
                "SELECT `batch`, `newest_at` FROM {} WHERE `job`=? AND `topic`=? AND `partition`=? AND `batch`<=? \
                 ORDER BY `batch` DESC LIMIT {page}",
                quoted(BATCH_RANGES)
            );
            let [topic, number] = partition_values(topics, partition);
            let key = [Value::text(&self.job), topic, number, Value::Int(below)];
            let rows = self.database.query(&sql, &key)?;
            let batches = rows.iter().filter_map(|row| Some((row.first()?.as_int()?, row.get(1)?.as_time())));
            let hit = batches.filter(|(_, newest)| newest.is_some_and(|newest| newest >= time)).map(|(batch, _)| batch);
            let hit = hit.min();
            first = hit.or(first);
            let last = rows.last().and_then(|row| row.first()?.as_int());
            match (hit, last) {
                // Times are roughly in the order of batches, so a whole page without one is the end.
                (Some(_), Some(last)) if rows.len() == page => below = last - 1,
                _ => break,
            }
        }
        Ok(first.and_then(|batch| u64::try_from(batch).ok()).map(BatchId))
    }

    /// The logged batches from `from` up to `to`, both included, and those before with the ranges of partitions in `also` from the
    /// batch that stands there on; oldest first. Of a batch before `from`, only those ranges are told.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn logged_batches(
        &mut self,
        topics: &Topics,
        also: &BTreeMap<Partition, BatchId>,
        from: BatchId,
        to: BatchId,
    ) -> Result<Vec<LoggedBatch>, StoreError> {
        let mut ranges: BTreeMap<BatchId, Ranges> = BTreeMap::new();
        for (partition, first) in also.iter().filter(|(_, first)| **first < from) {
            let last = BatchId(from.0 - 1).min(to);
            self.read_ranges(topics, Some(*partition), (*first, last), &mut ranges)?;
        }
        self.read_ranges(topics, None, (from, to), &mut ranges)?;
        let mut batches = Vec::new();
        // What stands closely together is read in one pass; a batch's watermark is the next one's before it.
        for (first, last) in runs(ranges.keys().copied().filter(|batch| *batch < from), (from, to)) {
            let sql = format!(
                "SELECT `batch`, `now_at`, `event_now_at`, `watermark`, `encounters`, `watermarks` FROM {} \
                 WHERE `job`=? AND `batch`>=? AND `batch`<=? \
                 ORDER BY `batch`",
                quoted(BATCHES)
            );
            let before = BatchId(first.0.saturating_sub(1));
            let key = [Value::text(&self.job), batch_value(before), batch_value(last.min(to))];
            let (mut watermark_before, mut by_table_before) = (None, SourceWatermarks::new());
            for row in &self.database.query(&sql, &key)? {
                let mut row = Row::new(BATCHES, row);
                let (batch, now) = (row.batch()?, row.time()?);
                let event_now = row.optional_time().unwrap_or(now);
                let watermark = row.optional_time().map(Watermark);
                let encounters = Version(row.optional_count());
                let by_table = by_table_of(row.optional_text().as_deref());
                let ranges = ranges.remove(&batch);
                if batch >= first && (batch >= from || ranges.is_some()) {
                    let ranges = ranges.unwrap_or_default();
                    let (by_table, by_table_before) = (by_table.clone(), by_table_before);
                    batches.push(LoggedBatch {
                        batch,
                        ranges,
                        now,
                        event_now,
                        watermark,
                        watermark_before,
                        by_table,
                        by_table_before,
                        encounters,
                    });
                }
                (watermark_before, by_table_before) = (watermark, by_table);
            }
        }
        Ok(batches)
    }

    /// Adds the ranges of batches within `(first, last)`, both included: of one partition, or of all.
    fn read_ranges(
        &mut self,
        topics: &Topics,
        partition: Option<Partition>,
        (first, last): (BatchId, BatchId),
        ranges: &mut BTreeMap<BatchId, Ranges>,
    ) -> Result<(), StoreError> {
        let mut sql = format!(
            "SELECT `topic`, `partition`, `batch`, `start_offset`, `end_offset` FROM {} \
             WHERE `job`=? AND `batch`>=? AND `batch`<=?",
            quoted(BATCH_RANGES)
        );
        let mut key = vec![Value::text(&self.job), batch_value(first), batch_value(last)];
        if let Some(partition) = partition {
            sql.push_str(" AND `topic`=? AND `partition`=?");
            key.extend(partition_values(topics, partition));
        }
        for row in &self.database.query(&sql, &key)? {
            let Some(partition) = partition_of(topics, row) else { continue };
            let mut row = Row::new(BATCH_RANGES, &row[2..]);
            let batch = row.batch()?;
            let range = OffsetRange { start: Offset(row.int()?), end: Offset(row.int()?) };
            ranges.entry(batch).or_default().insert(partition, range);
        }
        Ok(())
    }

    /// The last of the batches from `from` up to `to`, both included, that had records of topics which are not read any more.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn last_of_other_topics(
        &mut self,
        topics: &Topics,
        (from, to): (BatchId, BatchId),
    ) -> Result<Option<BatchId>, StoreError> {
        let sql = format!(
            "SELECT `topic`, MAX(`batch`) FROM {} WHERE `job`=? AND `batch`>=? AND `batch`<=? GROUP BY `topic`",
            quoted(BATCH_RANGES)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), batch_value(from), batch_value(to)])?;
        // Topics that were parted with are told of by themselves.
        let is_other = |topic: &str| !topic.contains('@') && topics.partition(topic, 0).is_none();
        let by_table = rows.iter().filter(|row| row.first().and_then(Value::as_text).is_some_and(is_other));
        let last = by_table.filter_map(|row| row.get(1)?.as_int()).max();
        Ok(last.and_then(|batch| u64::try_from(batch).ok()).map(BatchId))
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
    /// The database does not answer, or has the tables of an earlier version, which this one cannot read yet.
    pub fn has_tables(&mut self) -> Result<bool, StoreError> {
        if self.database.columns(BATCHES)?.is_empty() {
            return Ok(false);
        }
        for table in system::tables() {
            let stored = self.database.columns(&table.name)?;
            // A table that is not there may be about to be made by a job that starts for the first time.
            let is_missing = |name: &&str| !stored.is_empty() && stored.iter().all(|known| known.name != *name);
            let missing = table.columns().map(|(name, _)| name).find(is_missing);
            if let Some(column) = missing {
                return Err(StoreError::Refused(format!(
                    "the store is of an earlier version: it has no column \"{column}\" of \"{}\"; the job adds what is \
                     missing when this version of it starts",
                    table.name
                )));
            }
        }
        Ok(true)
    }

    /// Reads what `status` shows.
    ///
    /// # Errors
    /// The database does not answer, or has no tables of this job yet.
    pub fn status(&mut self, topics: &Topics) -> Result<Status, StoreError> {
        let sql = format!(
            "SELECT SUM(`records`), SUM(`rejects`), SUM(`artefacts`), SUM(`late_rows`), SUM(`duplicates`), \
             SUM(`bad_rows`), SUM(`unattached`), SUM(`attached_later`), SUM(`ignored`) FROM {} WHERE `job`=?",
            quoted(BATCHES)
        );
        let sums = self.database.query(&sql, &[Value::text(&self.job)])?;
        let sum = |column: usize| sums.first().and_then(|row| row.get(column)?.as_int()).unwrap_or(0);
        let mut episodes = self.open_episodes()?;
        episodes.sort_by_key(|episode| (std::cmp::Reverse(episode.severity), episode.started_at));
        Ok(Status {
            topics: topics.clone(),
            last: self.last_batch()?,
            positions: self.positions(topics)?,
            watermarks: self.watermarks(topics)?,
            active: self.active(topics)?,
            lease: if self.database.columns(LEASES)?.is_empty() { None } else { self.lease()? },
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
            unattached: sum(6),
            attached_later: sum(7),
            ignored: sum(8),
        })
    }

    /// The last batch that was committed.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn last_batch(&mut self) -> Result<Option<BatchSummary>, StoreError> {
        const COLUMNS: &str = "`batch`, `now_at`, `records`, `watermark`, `event_now_at`, `watermarks`";
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
                    by_table: by_table_of(row.optional_text().as_deref()),
                })
            })
            .transpose()
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
    fn active(&mut self, topics: &Topics) -> Result<BTreeMap<Partition, DateTime<Utc>>, StoreError> {
        let sql = format!("SELECT `topic`, `partition`, `active_at` FROM {} WHERE `job`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let times =
            rows.iter().filter_map(|row| watermark_of(topics, row)).map(|(partition, time)| (partition, time.0));
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
        let (table, key, event_time) = (public(table)?, quoted(key), quoted(event_time));
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
        let (table, key, event_time) = (public(wanted.table)?, quoted(wanted.key), quoted(wanted.event_time));
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

const QUERY_COLUMNS: &str = "`query`, `failures`, `retry_batch`, `error`, `since_at`, `window_failed_at`";

fn query_state(row: &[Value]) -> Result<QueryState, StoreError> {
    let mut row = Row::of(QUERIES, QUERY_COLUMNS, row);
    Ok(QueryState {
        query: row.text()?,
        failures: u32::try_from(row.int()?).unwrap_or(u32::MAX),
        retry: row.batch()?,
        error: row.optional_text().unwrap_or_default(),
        since: row.optional_time(),
        window_failed_at: row.optional_time(),
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

/// Batches in ascending order, and a run behind them, as runs of what stands closely together: the first of each and its last.
fn runs(batches: impl Iterator<Item = BatchId>, behind: (BatchId, BatchId)) -> Vec<(BatchId, BatchId)> {
    const CLOSELY: u64 = 100;
    let mut runs: Vec<(BatchId, BatchId)> = Vec::new();
    let singles = batches.map(|batch| (batch, batch));
    for (first, last) in singles.chain(Some(behind).filter(|(first, last)| first <= last)) {
        match runs.last_mut() {
            Some((_, end)) if first.0.saturating_sub(end.0) <= CLOSELY => *end = last,
            _ => runs.push((first, last)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_stalled_when_records_wait_and_none_was_read_for_half_a_minute() {
        let second = |second| DateTime::from_timestamp(second, 0).expect("a time");
        let at = |offsets: [i64; 4]| -> Positions { (0..).map(Partition).zip(offsets.map(Offset)).collect() };
        let active = [(0, 100), (1, 100), (2, 80)].map(|(partition, at)| (Partition(partition), second(at)));
        let status = Status { positions: at([5, 5, 5, 0]), active: active.into(), ..Status::default() };
        let found = status.stalled(&at([9, 5, 7, 1]), Duration::from_secs(30), second(115));
        assert_eq!(
            found.iter().map(|stalled| (stalled.partition.to_string(), stalled.waiting)).collect::<Vec<_>>(),
            [("2".to_owned(), 2), ("3".to_owned(), 1)]
        );
        assert_eq!(status.stalled(&at([9, 5, 7, 1]), Duration::from_secs(30), second(131)).len(), 3);
    }

    #[test]
    fn what_stands_closely_together_is_one_run() {
        let found = |batches: &[u64], behind: (u64, u64)| {
            let behind = (BatchId(behind.0), BatchId(behind.1));
            runs(batches.iter().copied().map(BatchId), behind).iter().map(|run| (run.0.0, run.1.0)).collect::<Vec<_>>()
        };
        assert_eq!(found(&[1, 3, 90, 500], (10_000, 20_000)), [(1, 90), (500, 500), (10_000, 20_000)]);
        assert_eq!(found(&[500], (501, 20_000)), [(500, 20_000)]);
        assert_eq!(found(&[500], (502, 501)), [(500, 500)], "nothing behind");
    }
}

//! The one transaction of a micro-batch.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use wardwatch_model::encounter::Version;
use wardwatch_model::event_time::EventTime;
use wardwatch_model::record::{Artefact, Reject};
use wardwatch_model::record::{LateRecord, Span, Unattached};
use wardwatch_model::terms::{BatchId, Offset, Partition, Positions, Ranges, Watermark};

use super::alerting::Alerting;
use super::bad_rows::{BadRowsOfBatch, clipped};
use super::cost::QueryCost;
use super::coverage::CoverageChanges;
use super::database::{BEGIN, Database};
use super::encounters::{AttachedLater, EncounterAnswer};
use super::own::OwnRow;
use super::pending::{Pending, TableFault, TableRows, Way};
use super::reference::ReferenceChange;
use super::row::Row;
use super::schema::{Kind, TableSpec};
use super::snapshot::Snapshot;
use super::statement::{OnDuplicate, Target, insert, insert_good, quoted};
use super::system::{
    ARTEFACTS, BATCH_RANGES, BATCHES, EDITS, LATE_ROWS, OFFSETS, QUERIES, QUERY_FAILURES, REFERENCE_CHANGES, REJECTS,
    UNATTACHED,
};
use super::{Store, StoreError, Value, fenced, system};

/// Everything that a micro-batch leaves in the store.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The batch.
    pub batch: BatchId,
    /// The batch's frozen time.
    pub now: DateTime<Utc>,
    /// The topic.
    pub topic: &'a str,
    /// What it covers; empty where only time has passed.
    pub ranges: &'a Ranges,
    /// Event time after it.
    pub event_time: &'a EventTime,
    /// The event times of its rows.
    pub spans: &'a BTreeMap<Partition, Span>,
    /// How many records it had.
    pub records: usize,
    /// How many rows its frame had.
    pub frame_rows: usize,
    /// The records that are no rows.
    pub rejects: &'a [Reject],
    /// The values that cannot be read or true.
    pub artefacts: &'a [Artefact],
    /// The rows that came too late for windows.
    pub late: &'a [LateRecord],
    /// How many rows had come before.
    pub duplicates: usize,
    /// The rows of table queries.
    pub tables: Vec<TableRows<'a>>,
    /// The tables that take their rows no longer, or do again.
    pub table_faults: &'a [TableFault],
    /// The most bytes that may wait for one table.
    pub most_pending: i64,
    /// Rows that are nobody's.
    pub unattached: &'a [Unattached],
    /// Rows that waited in `unattached` and are somebody's with this batch.
    pub attached_later: &'a [AttachedLater],
    /// What became of requests about encounters.
    pub encounters: &'a [EncounterAnswer],
    /// As of which version rows were attached.
    pub encounters_version: Version,
    /// What became of alerts.
    pub alerting: Alerting<'a>,
    /// The queries that gave nothing for this batch, or did not count it.
    pub failures: &'a [Failed],
    /// The queries whose state changed.
    pub queries: &'a [QueryState],
    /// Edits of the set that were looked at since the batch before.
    pub edits: &'a [Edited],
    /// The rows of reference tables that this batch is the first to see.
    pub reference_changes: &'a [ReferenceChange],
    /// What queries have cost, where that is to be told.
    pub costs: &'a [QueryCost],
    /// Which rules do not judge which patients any more, and which do again.
    pub coverage: Option<&'a CoverageChanges>,
    /// What windowed queries keep after it, where that is due.
    pub snapshots: &'a [Snapshot],
    /// From the closing of the batch to the start of the commit.
    pub prepared_ms: f64,
}

/// An edit of the set of queries while the job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// The files that differ from those of before, without their folder.
    pub files: Vec<String>,
    /// Why it was refused; empty where it was taken over.
    pub error: String,
}

/// A query that something went wrong with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The query.
    pub query: String,
    /// What went wrong.
    pub error: String,
    /// Whether its windows count the batch's rows all the same.
    pub counted: bool,
}

/// What a commit left, beside what it was given.
#[derive(Debug, Default)]
pub struct CommitOutcome {
    /// What waits for each table of the batch.
    pub pending: BTreeMap<String, Pending>,
    /// How many rows no table takes.
    pub bad_rows: usize,
}

/// How a query fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryState {
    /// The query.
    pub query: String,
    /// How often it has failed in a row; 0 is well.
    pub failures: u32,
    /// The batch with which a failing query is tried again.
    pub retry: BatchId,
    /// Its last error; empty is well.
    pub error: String,
    /// Since when it has failed; `None` is well, or a version before did not keep it.
    pub since: Option<DateTime<Utc>>,
    /// When a window of it could last not be computed, since one was; such a query fails until one is, not until a batch goes well.
    pub window_failed_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Writes the batch, whole or not at all.
    ///
    /// After an error of any kind the store is as before, with one exception that is looked into: where the reply
    /// to COMMIT is lost, the offsets tell whether it took place, and if so this returns `Ok`.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Fenced`] where the offsets are not where this batch starts.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<CommitOutcome, StoreError> {
        self.database.execute(BEGIN, &[])?;
        let outcome = match self.write(commit) {
            Ok(outcome) => outcome,
            Err(error) => {
                // A failed rollback means a broken connection, and the server rolls back by itself.
                if let Err(failure) = self.database.execute("ROLLBACK", &[]) {
                    tracing::debug!(error = failure.message, "rollback");
                }
                return Err(error);
            }
        };
        match self.database.execute("COMMIT", &[]) {
            Ok(_) => Ok(outcome),
            Err(failure) => self.settle(commit, failure.into()).map(|()| outcome),
        }
    }

    /// Finds out whether a COMMIT whose reply was lost took place.
    fn settle(&mut self, commit: &Commit<'_>, lost: StoreError) -> Result<(), StoreError> {
        if let Err(failure) = self.database.execute("ROLLBACK", &[]) {
            tracing::debug!(error = failure.message, "rollback");
        }
        if self.last_batch()?.is_some_and(|last| last.batch == commit.batch) {
            tracing::warn!(batch = %commit.batch, "the reply to COMMIT was lost, but it took place");
            return Ok(());
        }
        let stored = self.positions(commit.topic)?;
        let stands_at = |edge: fn(&wardwatch_model::terms::OffsetRange) -> Offset| {
            commit.ranges.iter().all(|(partition, range)| stored.get(partition) == Some(&edge(range)))
        };
        if stands_at(|range| range.start) {
            Err(lost)
        } else {
            Err(commit.ranges.keys().next().map_or(lost, |partition| fenced(*partition)))
        }
    }

    fn write(&mut self, commit: &Commit<'_>) -> Result<CommitOutcome, StoreError> {
        let mut outcome = CommitOutcome::default();
        let mut bad = BadRowsOfBatch::default();
        self.advance_offsets(commit)?;
        for table in &commit.tables {
            let pending = self.write_table(commit, table, &mut bad)?;
            outcome.pending.insert(table.spec.name.clone(), pending);
        }
        self.write_table_faults(commit.batch, commit.table_faults)?;
        self.write_alerting(commit.batch, commit.now, &commit.alerting, &mut bad)?;
        self.write_encounters(commit.batch, commit.encounters)?;
        self.write_attached_later(commit.batch, commit.topic, commit.attached_later)?;
        self.write_costs(commit.costs)?;
        if let Some(coverage) = commit.coverage {
            self.write_coverage(commit.batch, coverage, &mut bad)?;
        }
        for snapshot in commit.snapshots {
            self.write_snapshot(commit.batch, snapshot)?;
        }
        self.write_refused(commit, &mut bad)?;
        self.write_queries(commit, &mut bad)?;
        self.write_bad_rows(commit.batch, commit.now, &bad)?;
        outcome.bad_rows = bad.count();
        for (table, rows, reason) in bad.by_table() {
            match system::NAMES.contains(&table) {
                // The job goes by these tables after a restart.
                true => tracing::error!(table, batch = %commit.batch, rows, reason, "rows of ours cannot be written"),
                false => tracing::warn!(table, batch = %commit.batch, rows, reason, "rows stand in bad_rows"),
            }
        }
        self.write_log(commit, outcome.bad_rows)?;
        Ok(outcome)
    }

    /// Moves each partition's offset from the start of its range to the end, or is fenced.
    fn advance_offsets(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE {} SET `next_offset`=?, `watermark`=?, `active_at`=? \
             WHERE `job`=? AND `topic`=? AND `partition`=? AND `next_offset`=? AND `writer`=?",
            quoted(OFFSETS)
        );
        if commit.ranges.is_empty() {
            self.hold_fence(commit.topic)?;
            // No offset tells whether somebody else was here, so the batch log does.
            let last = self.last_batch()?.map_or(BatchId(0), |last| last.batch);
            if last.next() != commit.batch {
                return Err(StoreError::Fenced(format!(
                    "another process has committed batch {last} of this job; it goes on, this one stops"
                )));
            }
        }
        for (partition, range) in commit.ranges {
            let values = [
                Value::Int(range.end.0),
                Value::time(commit.event_time.watermarks.get(partition).map(|watermark| watermark.0)),
                Value::time(commit.event_time.active.get(partition).copied()),
                Value::text(&self.job),
                Value::text(commit.topic),
                Value::Int(partition.0.into()),
                Value::Int(range.start.0),
                Value::text(&self.writer),
            ];
            if self.database.execute(&sql, &values)? != 1 {
                return Err(fenced(*partition));
            }
        }
        Ok(())
    }

    /// Rejects, artefacts and late rows.
    fn write_refused(&mut self, commit: &Commit<'_>, bad: &mut BadRowsOfBatch) -> Result<(), StoreError> {
        let row = |row: OwnRow<'_>| row.values(&self.job, commit.topic, commit.batch);
        let database = self.database.as_mut();
        let (most_bytes, _) = database.statement_limits();

        let mut rejects = commit.rejects.iter().map(|reject| {
            // Only a server with a packet smaller than a record makes this necessary; the reason says so.
            let (raw, key) = (most_bytes / 2, most_bytes / 4);
            let all = reject.raw.len();
            if all <= raw && reject.key.as_ref().is_none_or(|bytes| bytes.len() <= key) {
                return row(OwnRow::Reject(reject));
            }
            let first = |bytes: &[u8], most: usize| bytes[..bytes.len().min(most)].to_vec();
            row(OwnRow::Reject(&Reject {
                raw: first(&reject.raw, raw),
                key: reject.key.as_ref().map(|bytes| first(bytes, key)),
                patient: reject.patient.clone(),
                reason: format!(
                    "{} (only the first {} of {all} bytes fit max_allowed_packet)",
                    reject.reason,
                    all.min(raw)
                ),
                ..*reject
            }))
        });
        insert_own(database, REJECTS, Duplicates::Refused, &mut rejects, bad)?;
        let mut artefacts = commit.artefacts.iter().map(|artefact| row(OwnRow::Artefact(artefact)));
        insert_own(database, ARTEFACTS, Duplicates::Refused, &mut artefacts, bad)?;
        let mut late = commit.late.iter().map(|late| row(OwnRow::Late(late)));
        insert_own(database, LATE_ROWS, Duplicates::Refused, &mut late, bad)?;
        let mut unattached = commit.unattached.iter().map(|nobodys| row(OwnRow::Unattached(nobodys)));
        insert_own(database, UNATTACHED, Duplicates::Refused, &mut unattached, bad)?;
        // Once in a while is enough: what a batch adds is bounded too.
        if commit.batch.0.is_multiple_of(64) {
            self.bound_unattached()?;
        }
        Ok(())
    }

    /// How queries fared, and what people changed.
    fn write_queries(&mut self, commit: &Commit<'_>, bad: &mut BadRowsOfBatch) -> Result<(), StoreError> {
        let job = || Value::text(&self.job);
        let batch = || batch_value(commit.batch);
        let database = self.database.as_mut();

        let mut failures = commit.failures.iter().map(|failed| {
            let counted = Value::Int(failed.counted.into());
            vec![job(), Value::text(&failed.query), batch(), Value::text(&failed.error), counted]
        });
        insert_own(database, QUERY_FAILURES, Duplicates::Refused, &mut failures, bad)?;

        let mut edits = commit.edits.iter().map(|edit| {
            vec![
                job(),
                Value::Time(edit.at),
                Value::text(if edit.error.is_empty() { "taken" } else { "refused" }),
                Value::text(&edit.files.join(", ")),
                Value::text(&edit.error),
                batch(),
            ]
        });
        insert_own(database, EDITS, Duplicates::Replaced, &mut edits, bad)?;

        let mut changes = (1_usize..).zip(commit.reference_changes).map(|(number, change)| {
            vec![
                job(),
                batch(),
                Value::count(number),
                Value::Time(commit.now),
                Value::text(&change.table),
                Value::text(&change.before),
                Value::text(&change.after),
            ]
        });
        insert_own(database, REFERENCE_CHANGES, Duplicates::Refused, &mut changes, bad)?;

        let waits = |table: &str| {
            commit.tables.iter().any(|rows| rows.spec.name == table && matches!(rows.way, Way::Wait { .. }))
        };
        let fault = |table: &str| commit.table_faults.iter().find(|fault| fault.table == table);
        let mut queries = commit.queries.iter().map(|state| {
            let (word, error) = match () {
                () if state.failures > 0 => ("quarantined", state.error.as_str()),
                () if waits(&state.query) => {
                    ("table at fault", fault(&state.query).map_or("", |fault| fault.reason.as_str()))
                }
                () => ("running", state.error.as_str()),
            };
            vec![
                job(),
                Value::text(&state.query),
                Value::text(word),
                Value::Int(state.failures.into()),
                batch_value(state.retry),
                Value::text(error),
                Value::time(state.since),
                Value::time(state.window_failed_at),
                batch(),
            ]
        });
        insert_own(database, QUERIES, Duplicates::Replaced, &mut queries, bad)
    }

    /// The batch log.
    fn write_log(&mut self, commit: &Commit<'_>, bad_rows: usize) -> Result<(), StoreError> {
        let job = || Value::text(&self.job);
        let topic = || Value::text(commit.topic);
        let batch = || batch_value(commit.batch);
        let database = self.database.as_mut();

        let mut ranges = commit.ranges.iter().map(|(partition, range)| {
            vec![
                job(),
                batch(),
                topic(),
                Value::Int(partition.0.into()),
                Value::Int(range.start.0),
                Value::Int(range.end.0),
                Value::time(commit.event_time.watermarks.get(partition).map(|watermark| watermark.0)),
                Value::time(commit.spans.get(partition).map(|span| span.oldest)),
                Value::time(commit.spans.get(partition).map(|span| span.newest)),
            ]
        });
        insert_system(database, BATCH_RANGES, Duplicates::Refused, &mut ranges)?;

        let mut log = std::iter::once(vec![
            job(),
            batch(),
            Value::Time(commit.now),
            Value::count(commit.records),
            Value::count(commit.frame_rows),
            Value::count(commit.rejects.len()),
            Value::count(commit.artefacts.len()),
            Value::count(commit.late.len()),
            Value::count(commit.duplicates),
            Value::count(commit.failures.len()),
            Value::time(commit.event_time.watermark.map(|watermark| watermark.0)),
            Value::time(commit.event_time.now),
            Value::Float(commit.prepared_ms),
            Value::count(bad_rows),
            Value::Int(i64::try_from(commit.encounters_version.0).unwrap_or(i64::MAX)),
            Value::count(commit.unattached.len()),
            Value::count(commit.attached_later.len()),
        ]);
        insert_system(database, BATCHES, Duplicates::Refused, &mut log)
    }

    /// Where each partition of the topic goes on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn positions(&mut self, topic: &str) -> Result<Positions, StoreError> {
        let sql = format!("SELECT `partition`, `next_offset` FROM {} WHERE `job`=? AND `topic`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(topic)])?;
        let position = |row: &Vec<Value>| {
            let mut row = Row::of(OFFSETS, "`partition`, `next_offset`", row);
            let partition = i32::try_from(row.int()?).unwrap_or(-1);
            // Where a partition goes on is never guessed: to start it over would count its records twice.
            let offset =
                row.int().map_err(|fault| StoreError::Refused(format!("{fault}, of partition {partition}")))?;
            Ok((Partition(partition), Offset(offset)))
        };
        rows.iter().map(position).collect()
    }

    /// Kafka's id of the topic whose offsets are kept; `None` where none is known.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn topic_id(&mut self, topic: &str) -> Result<Option<String>, StoreError> {
        let sql = format!("SELECT `topic_id` FROM {} WHERE `job`=? AND `topic`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(topic)])?;
        let mut ids = rows.iter().filter_map(|row| row.first()?.as_text()).filter(|id| !id.is_empty());
        Ok(ids.next().map(str::to_owned))
    }

    /// Writes down the id of a topic whose offsets an earlier version has kept without.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn note_topic_id(&mut self, topic: &str, id: &str) -> Result<(), StoreError> {
        let sql = format!("UPDATE {} SET `topic_id`=? WHERE `job`=? AND `topic`=?", quoted(OFFSETS));
        self.database.execute(&sql, &[Value::text(id), Value::text(&self.job), Value::text(topic)])?;
        Ok(())
    }

    /// Parts with a topic that is gone: what is kept of it by its offsets is from now on that of `topic@…`, so that another topic of
    /// its name may have the same offsets, and nothing of it is read again. What windows kept stays where it is as of the last
    /// batch; what lacks batches since is forgotten.
    ///
    /// # Errors
    /// The database does not answer; nothing is changed then.
    pub fn part_with_topic(&mut self, topic: &str) -> Result<(), StoreError> {
        let last = self.last_batch()?.map_or(BatchId(0), |last| last.batch);
        let id = self.topic_id(topic)?.unwrap_or_else(|| format!("batch-{last}"));
        let former = former_name(topic, &id);
        self.database.execute(BEGIN, &[])?;
        let written = self.rename_topic(topic, &former).and_then(|()| self.forget_snapshots_before(last));
        self.database.execute(if written.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[])?;
        written
    }

    fn rename_topic(&mut self, topic: &str, former: &str) -> Result<(), StoreError> {
        for table in [OFFSETS, BATCH_RANGES, REJECTS, ARTEFACTS, LATE_ROWS, UNATTACHED] {
            let sql = format!("UPDATE {} SET `topic`=? WHERE `job`=? AND `topic`=?", quoted(table));
            self.database.execute(&sql, &[Value::text(former), Value::text(&self.job), Value::text(topic)])?;
        }
        Ok(())
    }

    /// How far the topics of this name that were parted with had got: the greatest of their watermarks.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn parted_at(&mut self, topic: &str) -> Result<Option<Watermark>, StoreError> {
        let sql = format!("SELECT `topic`, `watermark` FROM {} WHERE `job`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let prefix = former_name(topic, "");
        let former = rows.iter().filter(|row| row[0].as_text().is_some_and(|name| name.starts_with(&prefix)));
        Ok(former.filter_map(|row| row.get(1)?.as_time()).max().map(Watermark))
    }

    /// Writes down where the partitions of which nothing is known start, once and for all, and returns where all
    /// partitions go on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn claim(&mut self, topic: &str, topic_id: &str, starts: &Positions) -> Result<Positions, StoreError> {
        let stored = self.positions(topic)?;
        if starts.keys().all(|partition| stored.contains_key(partition)) {
            return Ok(stored);
        }
        let mut new =
            starts.iter().filter(|(partition, _)| !stored.contains_key(partition)).map(|(partition, start)| {
                vec![
                    Value::text(&self.job),
                    Value::text(topic),
                    Value::Int(partition.0.into()),
                    Value::Int(start.0),
                    Value::Null,
                    Value::Null,
                    Value::text(&self.writer),
                    Value::text(topic_id),
                ]
            });
        // All of them or none: those that are missing afterwards count as added since.
        self.database.execute(BEGIN, &[])?;
        let written = insert_system(self.database.as_mut(), OFFSETS, Duplicates::Refused, &mut new);
        self.database.execute(if written.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[])?;
        written?;
        self.positions(topic)
    }
}

/// The name under which a topic that is gone is kept: no topic of Kafka's has an `@` in its name. It is cut to what a key takes.
fn former_name(topic: &str, id: &str) -> String {
    const LONGEST: usize = 100;
    let cut = topic.char_indices().nth(LONGEST).map_or(topic.len(), |(place, _)| place);
    format!("{}@{id}", &topic[..cut])
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of lateness are few")]
pub(super) fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Duplicates {
    Replaced,
    Refused,
}

/// Writes rows of a table of ours, all of them.
pub(super) fn insert_system(
    database: &mut dyn Database,
    name: &str,
    duplicates: Duplicates,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
) -> Result<(), StoreError> {
    let spec = system::table(name);
    insert(database, target(spec, &spec.column_names(), duplicates), rows)
}

/// Writes rows of a table of ours that come from records, rules and people: one that cannot be written costs itself, not
/// its batch.
pub(super) fn insert_own(
    database: &mut dyn Database,
    name: &str,
    duplicates: Duplicates,
    rows: &mut dyn Iterator<Item = Vec<Value>>,
    bad: &mut BadRowsOfBatch,
) -> Result<(), StoreError> {
    let spec = system::table(name);
    let columns = spec.column_names();
    let most = most_text(database);
    let kinds: Vec<(Kind, bool)> =
        spec.columns().map(|(column, kind)| (kind, spec.key.iter().any(|key| key == column))).collect();
    let mut fitting = rows.map(|mut row| {
        for (value, (kind, in_key)) in row.iter_mut().zip(&kinds) {
            match value {
                Value::Text(text) if *kind == Kind::Text && !in_key && text.len() > most => *text = clipped(text, most),
                Value::Float(number) if !number.is_finite() => *value = Value::Null,
                _ => {}
            }
        }
        row
    });
    let refused = insert_good(database, target(spec, &columns, duplicates), &mut fitting)?;
    bad.add(name, &columns, refused);
    match bad.raised_by_all(name) {
        Some(failure) => Err(failure.of_table(name)),
        None => Ok(()),
    }
}

/// The longest text of a row of ours, in bytes: several of them fit a packet, and each its column.
pub(super) fn most_text(database: &dyn Database) -> usize {
    (database.statement_limits().0 / 16).min(1 << 20)
}

fn target<'a>(spec: &'a TableSpec, columns: &'a [String], duplicates: Duplicates) -> Target<'a> {
    let on_duplicate = match duplicates {
        Duplicates::Replaced => OnDuplicate::Replace(&spec.key),
        Duplicates::Refused => OnDuplicate::Fail,
    };
    Target { table: &spec.name, columns, on_duplicate }
}

pub(super) fn batch_value(batch: BatchId) -> Value {
    Value::Int(i64::try_from(batch.0).unwrap_or(i64::MAX))
}

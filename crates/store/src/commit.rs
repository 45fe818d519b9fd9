//! The one transaction of a micro-batch.

use chrono::{DateTime, Utc};

use wardwatch_model::record::Reject;
use wardwatch_model::terms::{BatchId, Offset, Positions, Watermark};
use wardwatch_model::topics::Topics;

use super::Value;
use super::bad_rows::BadRowsOfBatch;
use super::batch::Commit;
use super::connection::Store;
use super::database::BEGIN;
use super::error::{StoreError, fenced};
use super::insert::{Duplicates, batch_value, insert_own, insert_system};
use super::outcome::CommitOutcome;
use super::own::OwnRow;
use super::quote::quoted;
use super::row::Row;
use super::system::{
    self, ARTEFACTS, BAD_ROWS, BATCH_RANGES, BATCHES, EDITS, LATE_ROWS, OFFSETS, QUERIES, QUERY_FAILURES,
    REFERENCE_CHANGES, REJECTS, UNATTACHED,
};
use super::table_rows::Way;
use super::topics::{partition_of, partition_values};
use super::watermarks::by_table_value;

impl Store {
    /// Writes the batch, whole or not at all.
    ///
    /// After an error of any kind the store is as before, with one exception that is looked into: where the reply
    /// to COMMIT is lost, the batch log tells whether it took place, and if so this returns `Ok`. While the store does not
    /// tell, that is in doubt ([`is_in_doubt`](Self::is_in_doubt)), and the next call for the batch finds it out first.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Fenced`] where the offsets are not where this batch starts.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<CommitOutcome, StoreError> {
        if let Some(outcome) = self.settled(commit)? {
            return Ok(outcome);
        }
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
            Err(failure) => {
                self.in_doubt = Some((commit.batch, outcome));
                if let Err(failure) = self.database.execute("ROLLBACK", &[]) {
                    tracing::debug!(error = failure.message, "rollback");
                }
                self.settled(commit)?.ok_or_else(|| failure.into())
            }
        }
    }

    /// Whether it is not known whether the last batch was written: the reply to its COMMIT was lost, and the store has not
    /// answered since.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.is_some()
    }

    /// Finds out whether a COMMIT of the batch whose reply was lost took place, and what came of it if it did.
    fn settled(&mut self, commit: &Commit<'_>) -> Result<Option<CommitOutcome>, StoreError> {
        if self.in_doubt.as_ref().is_none_or(|(batch, _)| *batch != commit.batch) {
            return Ok(None);
        }
        if self.last_batch()?.is_some_and(|last| last.batch == commit.batch) {
            // Whoever has taken over meanwhile may have written a batch of that number.
            self.hold_fence()?;
            tracing::warn!(batch = %commit.batch, "the reply to COMMIT was lost, but it took place");
            return Ok(self.in_doubt.take().map(|(_, outcome)| outcome));
        }
        let stored = self.positions(commit.topics)?;
        let moved = commit.ranges.iter().find(|(partition, range)| stored.get(*partition) != Some(&range.start));
        self.in_doubt = None;
        match moved {
            Some((partition, _)) => Err(fenced(&commit.topics.show(*partition))),
            None => Ok(None),
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
        self.write_attached_later(commit.batch, commit.topics, commit.attached_later)?;
        self.write_replays(commit.batch, commit.topics, commit.replays)?;
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
            self.hold_fence()?;
            // No offset tells whether somebody else was here, so the batch log does.
            let last = self.last_batch()?.map_or(BatchId(0), |last| last.batch);
            if last.next() != commit.batch {
                return Err(StoreError::Fenced(format!(
                    "another process has committed batch {last} of this job; it goes on, this one stops"
                )));
            }
        }
        for (partition, range) in commit.ranges {
            let [topic, number] = partition_values(commit.topics, *partition);
            let values = [
                Value::Int(range.end.0),
                Value::time(commit.event_time.watermarks.get(partition).map(|watermark| watermark.0)),
                Value::time(commit.event_time.active.get(partition).copied()),
                Value::text(&self.job),
                topic,
                number,
                Value::Int(range.start.0),
                Value::text(&self.writer),
            ];
            if self.database.execute(&sql, &values)? != 1 {
                return Err(fenced(&commit.topics.show(*partition)));
            }
        }
        Ok(())
    }

    /// Rejects, artefacts and late rows.
    fn write_refused(&mut self, commit: &Commit<'_>, bad: &mut BadRowsOfBatch) -> Result<(), StoreError> {
        let row = |row: OwnRow<'_>| row.values(&self.job, commit.topics, commit.batch);
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
                headers: reject.headers.clone(),
                reason: format!(
                    "{} (only the first {} of {all} bytes fit max_allowed_packet)",
                    reject.reason,
                    all.min(raw)
                ),
                ..*reject
            }))
        });
        insert_own(database, REJECTS, Duplicates::Refused, &mut rejects, bad)?;
        let mut artefacts = commit.artefacts.into_iter().flatten().map(|artefact| row(OwnRow::Artefact(artefact)));
        insert_own(database, ARTEFACTS, Duplicates::Refused, &mut artefacts, bad)?;
        let mut late = commit.late.iter().map(|late| row(OwnRow::Late(late)));
        insert_own(database, LATE_ROWS, Duplicates::Refused, &mut late, bad)?;
        let mut unattached = commit.unattached.iter().map(|nobodys| row(OwnRow::Unattached(nobodys)));
        insert_own(database, UNATTACHED, Duplicates::Refused, &mut unattached, bad)?;
        // Once in a while is enough: what a batch adds is bounded too.
        if commit.batch.0.is_multiple_of(64) {
            self.bound_unattached()?;
            if let Some(before) = commit.forget_rejects {
                self.forget_rejects(before)?;
            }
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
        let batch = || batch_value(commit.batch);
        let database = self.database.as_mut();

        let mut ranges = commit.ranges.iter().map(|(partition, range)| {
            let [topic, number] = partition_values(commit.topics, *partition);
            vec![
                job(),
                batch(),
                topic,
                number,
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
            Value::count(commit.artefacts.iter().map(|found| found.len()).sum()),
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
            Value::count(commit.ignored),
            by_table_value(&commit.event_time.by_table),
        ]);
        insert_system(database, BATCHES, Duplicates::Refused, &mut log)
    }

    /// Where each partition of the topics goes on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn positions(&mut self, topics: &Topics) -> Result<Positions, StoreError> {
        let sql = format!("SELECT `topic`, `partition`, `next_offset` FROM {} WHERE `job`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let position = |row: &Vec<Value>| {
            let partition = partition_of(topics, row)?;
            // Where a partition goes on is never guessed: to start it over would count its records twice.
            let offset = Row::of(OFFSETS, "`next_offset`", &row[2..])
                .int()
                .map_err(|fault| StoreError::Refused(format!("{fault}, of partition {}", topics.show(partition))));
            Some(offset.map(|offset| (partition, Offset(offset))))
        };
        rows.iter().filter_map(position).collect()
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

    /// How far the topics of these names that were parted with had got: the greatest of their watermarks.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn parted_at(&mut self, topics: &Topics) -> Result<Option<Watermark>, StoreError> {
        let sql = format!("SELECT `topic`, `watermark` FROM {} WHERE `job`=?", quoted(OFFSETS));
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let prefixes: Vec<String> = topics.names().iter().map(|(_, topic)| former_name(topic, "")).collect();
        let is_former = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let former = rows.iter().filter(|row| row[0].as_text().is_some_and(is_former));
        Ok(former.filter_map(|row| row.get(1)?.as_time()).max().map(Watermark))
    }

    /// Writes down where the partitions of which nothing is known start, once and for all, with the numbers of their topics, and returns
    /// where all partitions go on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn claim(&mut self, topics: &Topics, starts: &Positions) -> Result<Positions, StoreError> {
        let stored = self.positions(topics)?;
        let numbers = self.unnumbered(topics)?;
        if starts.keys().all(|partition| stored.contains_key(partition)) && numbers.is_empty() {
            return Ok(stored);
        }
        let mut new =
            starts.iter().filter(|(partition, _)| !stored.contains_key(partition)).map(|(partition, start)| {
                let [topic, number] = partition_values(topics, *partition);
                let id = topics.id_of(&topics.name_of(*partition)).unwrap_or_default();
                vec![
                    Value::text(&self.job),
                    topic,
                    number,
                    Value::Int(start.0),
                    Value::Null,
                    Value::Null,
                    Value::text(&self.writer),
                    Value::text(&id),
                ]
            });
        // All of them or none: those that are missing afterwards count as added since.
        self.database.execute(BEGIN, &[])?;
        let written = insert_system(self.database.as_mut(), OFFSETS, Duplicates::Refused, &mut new);
        let written = written.and_then(|()| self.write_topic_numbers(numbers));
        self.database.execute(if written.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[])?;
        written?;
        self.positions(topics)
    }
}

/// The name under which a topic that is gone is kept: no topic of Kafka's has an `@` in its name. It is cut to what a key takes.
fn former_name(topic: &str, id: &str) -> String {
    const LONGEST: usize = 100;
    let cut = topic.char_indices().nth(LONGEST).map_or(topic.len(), |(place, _)| place);
    format!("{}@{id}", &topic[..cut])
}

impl Store {
    /// Writes what of a batch no table takes.
    pub(super) fn write_bad_rows(
        &mut self,
        batch: BatchId,
        now: DateTime<Utc>,
        bad: &BadRowsOfBatch,
    ) -> Result<(), StoreError> {
        let job = &self.job;
        let mut rows = bad.0.iter().flat_map(|(table, rows)| {
            let more = rows.count - rows.first.len();
            let others = (more > 0).then(|| (format!("so many more rows of this batch cannot be written: {more}"), ""));
            let all = rows.first.iter().map(|(reason, values)| (reason.clone(), values.as_str())).chain(others);
            all.enumerate().map(move |(number, (reason, values))| {
                vec![
                    Value::text(job),
                    Value::text(table),
                    batch_value(batch),
                    Value::count(number),
                    Value::Time(now),
                    Value::Text(reason),
                    Value::text(values),
                ]
            })
        });
        insert_system(self.database.as_mut(), BAD_ROWS, Duplicates::Refused, &mut rows)
    }
}

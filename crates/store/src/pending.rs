//! Rows that their table did not take: they wait in `pending_rows`, written in their batch's own transaction, until it does.
//!
//! So nothing of them is computed again, however long it takes and whatever is restarted meanwhile. They are written in the
//! order of their batches, and a batch's own rows behind all that wait, so that no older row replaces a newer one. Which
//! tables are tried when is for the job to say ([`Way`]).

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use chrono::{DateTime, Utc};

use wardwatch_model::terms::BatchId;

use super::bad_rows::{BadRows, BadRowsOfBatch};
use super::batch::Commit;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, batch_value, insert_system};
use super::quote::quoted;
use super::row::Row;
use super::snapshot::PART;
use super::statement::{OnDuplicate, Target, insert_good};
use super::system::{INCOMPLETE_TABLES, PENDING_ROWS, TABLE_FAULTS};
use super::table_rows::{Incomplete, Pending, TableFault, TableRows, Way};
use super::{TableSpec, Value};

/// About so many waiting rows are written with one batch: the batch itself must not be late for them.
const MOST_AT_ONCE: i64 = 20_000;

/// So many waiting batches are looked at in one pass.
const PAGE: usize = 256;

/// A waiting batch of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    batch: BatchId,
    at: DateTime<Utc>,
    pub(crate) rows: i64,
    pub(crate) size: i64,
}

impl Store {
    /// Writes a table's rows, or has them wait. Returns what waits afterwards.
    pub(super) fn write_table(
        &mut self,
        commit: &Commit<'_>,
        table: &TableRows<'_>,
        bad: &mut BadRowsOfBatch,
    ) -> Result<Pending, StoreError> {
        let mut pending = table.pending;
        if table.way == Way::CatchUp {
            self.catch_up(commit, table.spec, &mut pending, bad)?;
        }
        let waits = matches!(table.way, Way::Wait { .. }) || pending.batches > 0;
        if !waits {
            for rows in &table.rows {
                self.write_rows(table.spec, rows, bad)?;
            }
        } else {
            self.keep(commit, table, &mut pending)?;
        }
        if let Some(rows) = &table.replaced {
            bad.add(&table.spec.name, &columns_of(rows), put_aside(rows));
        }
        match bad.raised_by_all(&table.spec.name) {
            Some(failure) => Err(failure.of_table(&table.spec.name)),
            None => Ok(pending),
        }
    }

    fn write_rows(&mut self, spec: &TableSpec, rows: &RecordBatch, bad: &mut BadRowsOfBatch) -> Result<(), StoreError> {
        // Rows that have waited may be older than an edit of their query, so they bring their own columns.
        let columns = columns_of(rows);
        let target = Target { table: &spec.name, columns: &columns, on_duplicate: OnDuplicate::Replace(&spec.key) };
        let mut values =
            (0..rows.num_rows()).map(|row| rows.columns().iter().map(|column| Value::of(column, row)).collect());
        let refused = insert_good(self.database.as_mut(), target, &mut values)?;
        bad.add(&spec.name, &columns, refused);
        Ok(())
    }

    /// Writes the oldest of the rows that wait for a table.
    fn catch_up(
        &mut self,
        commit: &Commit<'_>,
        spec: &TableSpec,
        pending: &mut Pending,
        bad: &mut BadRowsOfBatch,
    ) -> Result<(), StoreError> {
        let mut written = 0;
        let mut last = None;
        for head in self.heads(&spec.name)? {
            if written > 0 && written + head.rows > MOST_AT_ONCE {
                break;
            }
            match self.kept(&spec.name, head.batch)? {
                Some(rows) => self.write_rows(spec, &rows, bad)?,
                None => {
                    self.mark_incomplete(commit.now, head.at, &spec.name, &[head], "the rows that waited are damaged")?
                }
            }
            written += head.rows;
            pending.remove(head);
            last = Some(head.batch);
        }
        match last {
            Some(last) => self.forget(&spec.name, last),
            None => {
                *pending = Pending::default(); // somebody has emptied it by hand
                Ok(())
            }
        }
    }

    /// Has the batch's rows wait, and gives up the oldest ones where there would be too many.
    fn keep(&mut self, commit: &Commit<'_>, table: &TableRows<'_>, pending: &mut Pending) -> Result<(), StoreError> {
        let rows = table.rows.iter().map(RecordBatch::num_rows).sum::<usize>();
        if rows == 0 {
            return Ok(());
        }
        let damaged =
            |error: ArrowError| StoreError::Table { table: PENDING_ROWS.to_owned(), reason: error.to_string() };
        let bytes = to_bytes(&table.rows).map_err(damaged)?;
        let as_int = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let head = Head { batch: commit.batch, at: commit.now, rows: as_int(rows), size: as_int(bytes.len()) };
        let since = match table.way {
            Way::Wait { since } => since,
            Way::Write | Way::CatchUp => commit.now,
        };
        self.make_room(commit, since, &table.spec.name, pending, head.size)?;

        let checksum = crc32fast::hash(&bytes);
        let parts: Vec<&[u8]> = bytes.chunks(PART).collect();
        let mut values = parts.iter().enumerate().map(|(part, bytes)| {
            vec![
                Value::text(&self.job),
                Value::text(&table.spec.name),
                batch_value(head.batch),
                Value::count(part),
                Value::count(parts.len()),
                Value::Time(head.at),
                Value::Int(head.rows),
                Value::Int(head.size),
                Value::Int(checksum.into()),
                Value::Bytes(bytes.to_vec()),
            ]
        });
        insert_system(self.database.as_mut(), PENDING_ROWS, Duplicates::Refused, &mut values)?;
        pending.add(head);
        Ok(())
    }

    fn make_room(
        &mut self,
        commit: &Commit<'_>,
        since: DateTime<Utc>,
        table: &str,
        pending: &mut Pending,
        size: i64,
    ) -> Result<(), StoreError> {
        while pending.batches > 0 && pending.bytes + size > commit.most_pending {
            let mut gone = Vec::new();
            for head in self.heads(table)? {
                if pending.bytes + size <= commit.most_pending {
                    break;
                }
                pending.remove(head);
                gone.push(head);
            }
            let Some(last) = gone.last() else {
                *pending = Pending::default(); // somebody has emptied it by hand
                return Ok(());
            };
            self.forget(table, last.batch)?;
            let reason = format!("more rows would have waited than the {} MiB that may", commit.most_pending >> 20);
            self.mark_incomplete(commit.now, since, table, &gone, &reason)?;
        }
        Ok(())
    }

    /// Writes down that a table lacks these batches' rows for good: one row of `incomplete_tables` for all of
    /// one fault, which began at `since`.
    fn mark_incomplete(
        &mut self,
        now: DateTime<Utc>,
        since: DateTime<Utc>,
        table: &str,
        gone: &[Head],
        reason: &str,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (gone.first(), gone.last()) else { return Ok(()) };
        tracing::error!(table, from = %first.batch, until = %last.batch, reason, "rows are given up; the table is incomplete");
        let sql = format!(
            "SELECT `from_batch`, `from_at`, `batches`, `row_count` FROM {} WHERE `job`=? AND `table_name`=? AND `reason`=? \
             AND `until_at`>=? ORDER BY `from_batch` DESC LIMIT 1",
            quoted(INCOMPLETE_TABLES)
        );
        let (job, name) = (Value::text(&self.job), Value::text(table));
        let key = [job.clone(), name.clone(), Value::text(reason), Value::Time(since)];
        let known = self.database.query(&sql, &key)?;
        let (from, at, batches, rows) = match known.first() {
            Some(row) => {
                let mut row = Row::new(INCOMPLETE_TABLES, row);
                (row.batch()?, row.time()?, row.int()?, row.int()?)
            }
            None => (first.batch, first.at, 0, 0),
        };
        let count = i64::try_from(gone.len()).unwrap_or(i64::MAX);
        let mut row = std::iter::once(vec![
            job,
            name,
            batch_value(from),
            batch_value(last.batch),
            Value::Time(at),
            Value::Time(last.at),
            Value::Int(batches + count),
            Value::Int(rows + gone.iter().map(|head| head.rows).sum::<i64>()),
            Value::text(reason),
            Value::Time(now),
        ]);
        insert_system(self.database.as_mut(), INCOMPLETE_TABLES, Duplicates::Replaced, &mut row)
    }

    /// The oldest batches that wait for a table.
    fn heads(&mut self, table: &str) -> Result<Vec<Head>, StoreError> {
        let sql = format!(
            "SELECT `batch`, `batch_at`, `row_count`, `size` FROM {} WHERE `job`=? AND `table_name`=? AND `part`=0 \
             ORDER BY `batch` LIMIT {PAGE}",
            quoted(PENDING_ROWS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(table)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(PENDING_ROWS, row);
                Ok(Head { batch: row.batch()?, at: row.time()?, rows: row.int()?, size: row.int()? })
            })
            .collect()
    }

    /// A batch's rows as they wait; `None` where they are not what was written.
    fn kept(&mut self, table: &str, batch: BatchId) -> Result<Option<RecordBatch>, StoreError> {
        let sql = format!(
            "SELECT `checksum`, `bytes` FROM {} WHERE `job`=? AND `table_name`=? AND `batch`=? ORDER BY `part`",
            quoted(PENDING_ROWS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(table), batch_value(batch)])?;
        let checksum = rows.first().and_then(|row| row.first()?.as_int());
        let bytes: Vec<u8> = rows.iter().filter_map(|row| row.get(1)?.as_bytes()).flatten().copied().collect();
        let is_whole = checksum == Some(crc32fast::hash(&bytes).into());
        Ok(if is_whole { from_bytes(&bytes) } else { None })
    }

    fn forget(&mut self, table: &str, up_to: BatchId) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE `job`=? AND `table_name`=? AND `batch`<=?", quoted(PENDING_ROWS));
        self.database.execute(&sql, &[Value::text(&self.job), Value::text(table), batch_value(up_to)])?;
        Ok(())
    }

    pub(super) fn write_table_faults(&mut self, batch: BatchId, faults: &[TableFault]) -> Result<(), StoreError> {
        let mut rows = faults.iter().map(|fault| {
            vec![
                Value::text(&self.job),
                Value::text(&fault.table),
                Value::Int(fault.since.is_some().into()),
                Value::time(fault.since),
                Value::text(&fault.reason),
                batch_value(batch),
            ]
        });
        insert_system(self.database.as_mut(), TABLE_FAULTS, Duplicates::Replaced, &mut rows)
    }

    /// The tables that do not take their rows, and those that have rows waiting.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn table_faults(&mut self) -> Result<Vec<TableFault>, StoreError> {
        let job = [Value::text(&self.job)];
        let sql = format!(
            "SELECT `table_name`, COUNT(*), SUM(`row_count`), SUM(`size`) FROM {} WHERE `job`=? AND `part`=0 \
             GROUP BY `table_name`",
            quoted(PENDING_ROWS)
        );
        let mut found: BTreeMap<String, TableFault> = BTreeMap::new();
        let fault =
            |table: String| TableFault { table, since: None, reason: String::new(), pending: Pending::default() };
        for row in &self.database.query(&sql, &job)? {
            let mut row = Row::new(PENDING_ROWS, row);
            let table = row.text()?;
            let pending = Pending { batches: row.int()?, rows: row.int()?, bytes: row.int()? };
            found.insert(table.clone(), TableFault { pending, ..fault(table) });
        }
        let sql = format!(
            "SELECT `table_name`, `since_at`, `reason` FROM {} WHERE `job`=? AND `is_at_fault`=1",
            quoted(TABLE_FAULTS)
        );
        let rows = self.database.query(&sql, &job)?;
        let read = self.odd.leave_out(&rows, |row| {
            let mut row = Row::of(TABLE_FAULTS, "`table_name`, `since_at`, `reason`", row);
            Ok((row.text()?, row.time()?, row.text()?))
        });
        for (table, since, reason) in read {
            let known = found.entry(table.clone()).or_insert_with(|| fault(table));
            (known.since, known.reason) = (Some(since), reason);
        }
        Ok(found.into_values().collect())
    }

    /// The tables that lack rows for good, the newest first.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn incomplete(&mut self) -> Result<Vec<Incomplete>, StoreError> {
        let sql = format!(
            "SELECT `table_name`, `from_batch`, `until_batch`, `batches`, `row_count`, `reason`, `given_up_at` \
             FROM {} WHERE `job`=? ORDER BY `until_batch` DESC, `table_name`",
            quoted(INCOMPLETE_TABLES)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        rows.iter()
            .map(|row| {
                let mut row = Row::new(INCOMPLETE_TABLES, row);
                Ok(Incomplete {
                    table: row.text()?,
                    from: row.batch()?,
                    until: row.batch()?,
                    batches: row.int()?,
                    rows: row.int()?,
                    reason: row.text()?,
                    since: row.optional_time(),
                })
            })
            .collect()
    }
}

/// Rows as Arrow's IPC stream format, compressed with zstd.
fn to_bytes(rows: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let schema = rows.first().map(RecordBatch::schema).unwrap_or_else(|| arrow::datatypes::Schema::empty().into());
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD))?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
    for rows in rows {
        writer.write(rows)?;
    }
    writer.finish()?;
    writer.into_inner()
}

fn from_bytes(bytes: &[u8]) -> Option<RecordBatch> {
    let reader = StreamReader::try_new(bytes, None).ok()?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().ok()?;
    arrow::compute::concat_batches(batches.first()?.schema_ref(), &batches).ok()
}

impl Pending {
    pub(crate) fn add(&mut self, head: Head) {
        self.batches += 1;
        self.rows += head.rows;
        self.bytes += head.size;
    }

    pub(crate) fn remove(&mut self, head: Head) {
        self.batches -= 1;
        self.rows -= head.rows;
        self.bytes -= head.size;
    }
}

fn columns_of(rows: &RecordBatch) -> Vec<String> {
    rows.schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// Rows that the table is not given.
fn put_aside(rows: &RecordBatch) -> BadRows {
    let mut bad = BadRows::default();
    for row in 0..rows.num_rows() {
        let values: Vec<Value> = rows.columns().iter().map(|column| Value::of(column, row)).collect();
        bad.add(&values, "another row of its batch has the same key, and took its place".to_owned());
    }
    bad
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

    use crate::Alerting;
    use wardwatch_config::StoreUrl;
    use wardwatch_model::encounter::Version;
    use wardwatch_model::event_time::EventTime;
    use wardwatch_model::terms::Ranges;

    use super::*;

    fn schema() -> SchemaRef {
        let column = |name: &str, kind| Field::new(name, kind, true);
        Arc::new(Schema::new(vec![column("patient_id", DataType::Utf8), column("heart_rate", DataType::Float64)]))
    }

    fn row(patient: &str, rate: f64) -> RecordBatch {
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(StringArray::from(vec![patient])), Arc::new(Float64Array::from(vec![rate]))];
        RecordBatch::try_new(schema(), columns).unwrap()
    }

    /// A store of its own with the table `status`.
    struct Trial {
        store: Store,
        spec: TableSpec,
        pending: Pending,
        batch: u64,
        most: i64,
        _folder: tempfile::TempDir,
    }

    impl Trial {
        fn new(most: i64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut store = Store::connect(&StoreUrl::Sqlite(folder.path().join("x.db")), "job").unwrap();
            let spec = TableSpec::new("status", &schema(), &["patient_id".to_owned()]).unwrap();
            store.migrate(std::slice::from_ref(&spec)).unwrap();
            Self { store, spec, pending: Pending::default(), batch: 0, most, _folder: folder }
        }

        /// Commits a batch with these rows.
        fn commit(&mut self, rows: Vec<RecordBatch>, way: Way) {
            self.batch += 1;
            let (ranges, event_time, spans) = (Ranges::new(), EventTime::default(), BTreeMap::new());
            let commit = Commit {
                batch: BatchId(self.batch),
                now: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(self.batch.try_into().unwrap()),
                topics: &wardwatch_model::topics::Topics::one("topic"),
                ranges: &ranges,
                event_time: &event_time,
                spans: &spans,
                records: 0,
                frame_rows: 0,
                rejects: &[],
                artefacts: [&[], &[]],
                ignored: 0,
                late: &[],
                duplicates: 0,
                tables: vec![TableRows { spec: &self.spec, rows, replaced: None, way, pending: self.pending }],
                table_faults: &[],
                most_pending: self.most,
                unattached: &[],
                attached_later: &[],
                replays: &[],
                forget_rejects: None,
                encounters: &[],
                encounters_version: Version::default(),
                alerting: Alerting { changes: &[], answers: &[], notifications: &[] },
                coverage: None,
                failures: &[],
                queries: &[],
                edits: &[],
                reference_changes: &[],
                costs: &[],
                snapshots: &[],
                prepared_ms: 0.0,
            };
            let outcome = self.store.commit(&commit).unwrap();
            self.pending = outcome.pending["status"];
        }

        fn waits(&mut self) -> i64 {
            self.store.table_faults().unwrap().first().map_or(0, |fault| fault.pending.batches)
        }

        fn rates(&mut self) -> Vec<Option<f64>> {
            let rows = self.store.database.query("SELECT heart_rate FROM status ORDER BY patient_id", &[]).unwrap();
            rows.iter().map(|row| row[0].as_float()).collect()
        }
    }

    const WAIT: Way = Way::Wait { since: DateTime::UNIX_EPOCH };

    #[test]
    fn rows_that_wait_are_written_in_the_order_of_their_batches_and_a_batchs_own_behind_them() {
        let mut trial = Trial::new(i64::MAX);
        for rate in [60.0, 61.0, 62.0] {
            trial.commit(vec![row("P1", rate)], WAIT);
        }
        trial.commit(vec![row("P2", 70.0)], WAIT);
        assert_eq!((trial.pending.batches, trial.pending.rows, trial.waits()), (4, 4, 4));
        assert_eq!(trial.rates(), []);
        trial.commit(vec![row("P2", 71.0)], Way::CatchUp);
        assert_eq!(trial.rates(), [Some(62.0), Some(71.0)]);
        assert_eq!((trial.pending, trial.waits()), (Pending::default(), 0));
    }

    #[test]
    fn a_batch_waits_behind_what_does_not_go_with_it() {
        let mut trial = Trial::new(i64::MAX);
        let many: Vec<RecordBatch> = (0..MOST_AT_ONCE).map(|n| row(&format!("P{n}"), 60.0)).collect();
        let many = arrow::compute::concat_batches(&schema(), &many).unwrap();
        trial.commit(vec![many], WAIT);
        trial.commit(vec![row("P0", 61.0)], WAIT);
        trial.commit(vec![row("P0", 62.0)], Way::CatchUp);
        assert_eq!(trial.rates()[0], Some(60.0), "the first one was all that went");
        assert_eq!(trial.pending.batches, 2);
        trial.commit(vec![], Way::CatchUp);
        assert_eq!((trial.rates()[0], trial.pending), (Some(62.0), Pending::default()));
    }

    #[test]
    fn beyond_the_bound_the_oldest_rows_are_given_up_and_the_table_is_marked_incomplete() {
        let one = i64::try_from(to_bytes(&[row("P1", 60.0)]).unwrap().len()).unwrap();
        let mut trial = Trial::new(3 * one + one / 2);
        for batch in 1..=10 {
            trial.commit(vec![row(&format!("P{batch:02}"), 60.0)], WAIT);
        }
        assert!((2..=3).contains(&trial.pending.batches), "{:?}", trial.pending);
        let lost = trial.store.incomplete().unwrap();
        assert_eq!(lost.len(), 1, "one row for one fault: {lost:?}");
        assert_eq!((lost[0].from, lost[0].batches), (BatchId(1), 10 - trial.pending.batches));
        assert_eq!((lost[0].until.0, lost[0].rows), (lost[0].batches.try_into().unwrap(), lost[0].batches));
        let left = trial.pending.batches;
        trial.commit(vec![], Way::CatchUp);
        assert_eq!(trial.rates().len(), usize::try_from(left).unwrap(), "the newest ones are there");
    }

    #[test]
    fn rows_that_are_damaged_while_they_wait_cost_themselves() {
        let mut trial = Trial::new(i64::MAX);
        for rate in [60.0, 61.0] {
            trial.commit(vec![row(&format!("P{rate}"), rate)], WAIT);
        }
        trial.store.database.execute("UPDATE pending_rows SET checksum = 1 WHERE batch = 1", &[]).unwrap();
        trial.commit(vec![], Way::CatchUp);
        assert_eq!(trial.rates(), [Some(61.0)]);
        assert_eq!(trial.store.incomplete().unwrap()[0].reason, "the rows that waited are damaged");
    }
}

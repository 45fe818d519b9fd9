//! What windowed queries keep, in the store: written with a batch, read once at the start.

use std::collections::BTreeMap;

use wardwatch_model::terms::BatchId;

use super::Value;
use super::connection::Store;
use super::database::BEGIN;
use super::error::StoreError;
use super::insert::{Duplicates, batch_value, insert_system};
use super::quote::quoted;
use super::system::{WINDOW_PANES, WINDOW_SNAPSHOTS};

/// The most bytes of one row; every server's packet takes so much.
pub(super) const PART: usize = 512 << 10;

/// Stands in place of a fingerprint while a query that begins with the earliest record has not written a snapshot.
const BEGINS_EARLIEST: &str = "begins with the earliest record";

/// What one query keeps after a batch, as far as it differs from its snapshot before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The query.
    pub query: String,
    /// What must be the same for the panes to be of use.
    pub fingerprint: String,
    /// Windows that end by it have closed, in microseconds since 1970.
    pub closed_to: Option<i64>,
    /// Windows that start before it lack rows that can no longer be read.
    pub incomplete_before: Option<i64>,
    /// The panes that have changed, by their start.
    pub changed: Vec<(i64, Vec<u8>)>,
    /// The starts of all panes that there are; the store forgets the others.
    pub panes: Vec<i64>,
}

/// A snapshot as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// The batch after which it was taken.
    pub batch: BatchId,
    /// What must be the same for the panes to be of use.
    pub fingerprint: String,
    /// Windows that end by it have closed.
    pub closed_to: Option<i64>,
    /// Windows that start before it lack rows that can no longer be read.
    pub incomplete_before: Option<i64>,
    /// The panes by their start; `None` where the bytes are not those that were written.
    pub panes: Option<BTreeMap<i64, Vec<u8>>>,
}

impl StoredSnapshot {
    /// Whether it is no snapshot but says that the query is still to give out its windows from the earliest record on.
    #[must_use]
    pub fn begins_earliest(&self) -> bool {
        self.fingerprint == BEGINS_EARLIEST
    }
}

impl Store {
    /// Writes down that these queries are to give out their windows from the earliest record on, until they have written a
    /// snapshot. So a stop on the way there is made up for.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn begin_earliest(&mut self, queries: &[String]) -> Result<(), StoreError> {
        let mut heads = queries.iter().map(|query| {
            let (job, fingerprint) = (Value::text(&self.job), Value::text(BEGINS_EARLIEST));
            vec![job, Value::text(query), Value::Int(0), fingerprint, Value::Null, Value::Null]
        });
        insert_system(self.database.as_mut(), WINDOW_SNAPSHOTS, Duplicates::Replaced, &mut heads)
    }

    /// Whether a query is still to give out its windows from the earliest record on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn has_earliest(&mut self) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM {} WHERE `job`=? AND `fingerprint`=? LIMIT 1", quoted(WINDOW_SNAPSHOTS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(BEGINS_EARLIEST)])?;
        Ok(!rows.is_empty())
    }

    pub(super) fn write_snapshot(&mut self, batch: BatchId, snapshot: &Snapshot) -> Result<(), StoreError> {
        let kept: Vec<i64> = self.pane_starts(&snapshot.query)?;
        let changed = |start: &i64| snapshot.changed.iter().any(|(pane, _)| pane == start);
        let sql = format!("DELETE FROM {} WHERE `job`=? AND `query`=? AND `pane`=?", quoted(WINDOW_PANES));
        for start in kept.iter().filter(|start| changed(start) || !snapshot.panes.contains(start)) {
            let key = [Value::text(&self.job), Value::text(&snapshot.query), Value::Int(*start)];
            self.database.execute(&sql, &key)?;
        }
        let mut rows = snapshot
            .changed
            .iter()
            .flat_map(|(start, bytes)| {
                let checksum = crc32fast::hash(bytes);
                let parts: Vec<&[u8]> = bytes.chunks(PART).collect();
                let count = parts.len();
                parts.into_iter().enumerate().map(move |(part, bytes)| (*start, part, count, checksum, bytes))
            })
            .map(|(start, part, count, checksum, bytes)| {
                vec![
                    Value::text(&self.job),
                    Value::text(&snapshot.query),
                    Value::Int(start),
                    Value::count(part),
                    Value::count(count),
                    Value::Int(checksum.into()),
                    Value::Bytes(bytes.to_vec()),
                ]
            });
        insert_system(self.database.as_mut(), WINDOW_PANES, Duplicates::Refused, &mut rows)?;
        let mut head = std::iter::once(vec![
            Value::text(&self.job),
            Value::text(&snapshot.query),
            batch_value(batch),
            Value::text(&snapshot.fingerprint),
            snapshot.closed_to.map_or(Value::Null, Value::Int),
            snapshot.incomplete_before.map_or(Value::Null, Value::Int),
        ]);
        insert_system(self.database.as_mut(), WINDOW_SNAPSHOTS, Duplicates::Replaced, &mut head)
    }

    /// Writes snapshots by themselves, after the last batch.
    ///
    /// # Errors
    /// The database does not answer, or another process writes for the job now; nothing is written then.
    pub fn save_snapshots(&mut self, batch: BatchId, snapshots: &[Snapshot]) -> Result<(), StoreError> {
        self.database.execute(BEGIN, &[])?;
        let written = self
            .hold_fence()
            .and_then(|()| snapshots.iter().try_for_each(|snapshot| self.write_snapshot(batch, snapshot)));
        let end = if written.is_ok() { "COMMIT" } else { "ROLLBACK" };
        self.database.execute(end, &[])?;
        written
    }

    /// Forgets the snapshots that were taken before `batch`.
    pub(super) fn forget_snapshots_before(&mut self, batch: BatchId) -> Result<(), StoreError> {
        let sql = format!("SELECT `query` FROM {} WHERE `job`=? AND `batch`<?", quoted(WINDOW_SNAPSHOTS));
        let rows = self.database.query(&sql, &[Value::text(&self.job), batch_value(batch)])?;
        for query in rows.iter().filter_map(|row| row.first()?.as_text()) {
            for table in [WINDOW_PANES, WINDOW_SNAPSHOTS] {
                let sql = format!("DELETE FROM {} WHERE `job`=? AND `query`=?", quoted(table));
                self.database.execute(&sql, &[Value::text(&self.job), Value::text(query)])?;
            }
        }
        Ok(())
    }

    /// Forgets the snapshots of all other queries: one that came back after a long while would have to repeat all of it.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn keep_snapshots_of(&mut self, queries: &[String]) -> Result<(), StoreError> {
        let unlike = vec!["?"; queries.len()].join(",");
        let unlike = if queries.is_empty() { String::new() } else { format!(" AND `query` NOT IN ({unlike})") };
        let values: Vec<Value> = std::iter::once(&self.job).chain(queries).map(|name| Value::text(name)).collect();
        for table in [WINDOW_PANES, WINDOW_SNAPSHOTS] {
            self.database.execute(&format!("DELETE FROM {} WHERE `job`=?{unlike}", quoted(table)), &values)?;
        }
        Ok(())
    }

    /// Reads the snapshot of `query`, if there is one.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn snapshot(&mut self, query: &str) -> Result<Option<StoredSnapshot>, StoreError> {
        let sql = format!(
            "SELECT `batch`, `fingerprint`, `closed_to`, `incomplete_before` FROM {} WHERE `job`=? AND `query`=?",
            quoted(WINDOW_SNAPSHOTS)
        );
        let heads = self.database.query(&sql, &[Value::text(&self.job), Value::text(query)])?;
        let Some([batch, fingerprint, closed_to, incomplete_before]) = heads.first().and_then(|row| row.first_chunk())
        else {
            return Ok(None);
        };
        let (Some(batch), Some(fingerprint)) = (batch.as_int(), fingerprint.as_text()) else { return Ok(None) };
        Ok(Some(StoredSnapshot {
            batch: BatchId(u64::try_from(batch).unwrap_or(0)),
            fingerprint: fingerprint.to_owned(),
            closed_to: closed_to.as_int(),
            incomplete_before: incomplete_before.as_int(),
            panes: self.panes(query)?,
        }))
    }

    fn pane_starts(&mut self, query: &str) -> Result<Vec<i64>, StoreError> {
        let sql = format!("SELECT DISTINCT `pane` FROM {} WHERE `job`=? AND `query`=?", quoted(WINDOW_PANES));
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(query)])?;
        Ok(rows.iter().filter_map(|row| row.first()?.as_int()).collect())
    }

    /// The panes put together from their parts; `None` where a part is missing or not what was written.
    fn panes(&mut self, query: &str) -> Result<Option<BTreeMap<i64, Vec<u8>>>, StoreError> {
        let sql = format!(
            "SELECT `pane`, `part`, `parts`, `checksum`, `bytes` FROM {} WHERE `job`=? AND `query`=? ORDER BY `pane`, `part`",
            quoted(WINDOW_PANES)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(query)])?;
        let mut panes: BTreeMap<i64, (i64, i64, i64, Vec<u8>)> = BTreeMap::new();
        for row in &rows {
            let [pane, part, parts, checksum, bytes] = row.as_slice() else { return Ok(None) };
            let numbers = [pane, part, parts, checksum].map(Value::as_int);
            let ([Some(pane), Some(part), Some(parts), Some(checksum)], Some(bytes)) = (numbers, bytes.as_bytes())
            else {
                return Ok(None);
            };
            let (found, expected, sum, whole) = panes.entry(pane).or_insert((0, parts, checksum, Vec::new()));
            if *found != part || *expected != parts || *sum != checksum {
                return Ok(None);
            }
            *found += 1;
            whole.extend_from_slice(bytes);
        }
        let is_whole = |(found, parts, sum, bytes): &(i64, i64, i64, Vec<u8>)| {
            found == parts && i64::from(crc32fast::hash(bytes)) == *sum
        };
        if !panes.values().all(is_whole) {
            return Ok(None);
        }
        Ok(Some(panes.into_iter().map(|(start, (.., bytes))| (start, bytes)).collect()))
    }
}

//! Rejects that are read again because people have asked for it, and what became of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use wardwatch_model::record::Place;
use wardwatch_model::terms::{BatchId, Offset, Partition};
use wardwatch_model::topics::Topics;

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::batch_value;
use super::quote::quoted;
use super::rejected::{AskedReplay, RejectRow, RejectedPlaces, ReplayAnswer, ReplayState};
use super::row::Row;
use super::system::{BATCHES, REJECT_REPLAYS, REJECTS};
use super::topics::partition_values;

impl Store {
    /// Asks for rejects to be read again; what has been, and became rows, is not read twice. Returns how many will be.
    ///
    /// # Errors
    /// The database does not answer, or has no such table: the job has not run since it was updated.
    pub fn ask_replays(
        &mut self,
        topics: &Topics,
        places: &[Place],
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let known = self.replay_states(topics)?;
        let mut asked = 0;
        for place in places {
            let [topic, number] = partition_values(topics, place.partition);
            let key =
                [Value::text(&self.job), topic, number, Value::Int(place.offset.0), Value::Int(place.item.0.into())];
            let sql = match known.get(place) {
                Some(ReplayState::Asked | ReplayState::Rows(..)) => continue,
                Some(ReplayState::Again(..)) => format!(
                    "UPDATE {} SET `asked_at`=?, `author`=?, `batch`=NULL, `row_count`=NULL \
                     WHERE `job`=? AND `topic`=? AND `partition`=? AND `offset`=? AND `item`=? AND `row_count`=0",
                    quoted(REJECT_REPLAYS)
                ),
                None => format!(
                    "INSERT INTO {} (`asked_at`, `author`, `job`, `topic`, `partition`, `offset`, `item`) \
                     VALUES (?, ?, ?, ?, ?, ?, ?)",
                    quoted(REJECT_REPLAYS)
                ),
            };
            let values: Vec<Value> = [Value::Time(at), Value::text(by)].into_iter().chain(key).collect();
            asked += match self.database.execute(&sql, &values) {
                Ok(rows) => usize::try_from(rows).unwrap_or(0),
                // Somebody else has asked for it at the same time.
                Err(_) if self.replay_states(topics)?.contains_key(place) => 0,
                Err(failure) => return Err(failure.into()),
            };
        }
        Ok(asked)
    }

    /// What is known of the rejects that were asked for.
    ///
    /// # Errors
    /// The database does not answer, or has no such table.
    pub fn replay_states(&mut self, topics: &Topics) -> Result<BTreeMap<Place, ReplayState>, StoreError> {
        let sql = format!(
            "SELECT `topic`, `partition`, `offset`, `item`, `batch`, `row_count`, `reason` FROM {} WHERE `job`=?",
            quoted(REJECT_REPLAYS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let read = self.odd.leave_out(&rows, |row| {
            let mut row = Row::new(REJECT_REPLAYS, row);
            let place = row.place(topics)?;
            let (batch, count) = (row.optional_count(), row.optional_count());
            let reason = row.optional_text().unwrap_or_default();
            let state = match (batch, count) {
                (0, _) => ReplayState::Asked,
                (batch, 0) => ReplayState::Again(BatchId(batch), reason),
                (batch, count) => ReplayState::Rows(BatchId(batch), i64::try_from(count).unwrap_or(i64::MAX)),
            };
            Ok(place.map(|place| (place, state)))
        });
        Ok(read.into_iter().flatten().collect())
    }

    /// The rejects that are to be read again, at most `most`, those first that were asked for first.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn asked_replays(&mut self, topics: &Topics, most: usize) -> Result<Vec<AskedReplay>, StoreError> {
        let sql = format!(
            "SELECT `topic`, `partition`, `offset`, `item` FROM {} WHERE `job`=? AND `batch` IS NULL \
             ORDER BY `asked_at`, `topic`, `partition`, `offset`, `item` LIMIT ?",
            quoted(REJECT_REPLAYS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::count(most)])?;
        let mut asked = Vec::new();
        let mut last: Option<((Partition, Offset), Vec<RejectRow>)> = None;
        for row in &rows {
            let Some(place) = Row::new(REJECT_REPLAYS, row).place(topics)? else { continue };
            let record = (place.partition, place.offset);
            if last.as_ref().is_none_or(|(known, _)| *known != record) {
                last = Some((record, self.rejects_of(topics, record.0, record.1)?));
            }
            let of_record = last.as_ref().map_or(&[][..], |(_, of_record)| of_record);
            let raw = of_record.iter().find(|reject| !reject.raw.is_empty()).map(|reject| reject.raw.clone());
            if let Some(reject) = of_record.iter().find(|reject| reject.item == i64::from(place.item.0)) {
                asked.push(AskedReplay { place, reject: RejectRow { raw: raw.unwrap_or_default(), ..reject.clone() } });
            }
        }
        Ok(asked)
    }

    /// What batches from `from` up to `to`, both included, had rejected.
    ///
    /// # Errors
    /// The database does not answer. A row that somebody has made unreadable is left out and told.
    pub fn rejected_places(
        &mut self,
        topics: &Topics,
        (from, to): (BatchId, BatchId),
    ) -> Result<BTreeMap<BatchId, RejectedPlaces>, StoreError> {
        let sql = format!(
            "SELECT `topic`, `partition`, `offset`, `item`, `batch`, `whole` FROM {} \
             WHERE `job`=? AND `batch`>=? AND `batch`<=?",
            quoted(REJECTS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), batch_value(from), batch_value(to)])?;
        let read = self.odd.leave_out(&rows, |row| {
            let mut row = Row::new(REJECTS, row);
            let place = row.place(topics)?;
            let (batch, is_whole) = (row.batch()?, row.optional_count() > 0);
            Ok(place.map(|place| (batch, place, is_whole)))
        });
        let mut batches: BTreeMap<BatchId, RejectedPlaces> = BTreeMap::new();
        for (batch, place, is_whole) in read.into_iter().flatten() {
            let places = batches.entry(batch).or_default();
            if is_whole {
                places.records.insert((place.partition, place.offset));
            } else {
                places.items.insert(place);
            }
        }
        Ok(batches)
    }

    /// Writes down what became of rejects that were read again.
    pub(super) fn write_replays(
        &mut self,
        batch: BatchId,
        topics: &Topics,
        answers: &[ReplayAnswer],
    ) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE {} SET `batch`=?, `row_count`=?, `reason`=? \
             WHERE `job`=? AND `topic`=? AND `partition`=? AND `offset`=? AND `item`=? AND `batch` IS NULL",
            quoted(REJECT_REPLAYS)
        );
        for ReplayAnswer { place, rows, reason } in answers {
            let [topic, number] = partition_values(topics, place.partition);
            let values = [
                batch_value(batch),
                Value::count(*rows),
                Value::text(reason),
                Value::text(&self.job),
                topic,
                number,
                Value::Int(place.offset.0),
                Value::Int(place.item.0.into()),
            ];
            self.database.execute(&sql, &values)?;
        }
        Ok(())
    }

    /// Lets go of the rejects of batches that were before `before`, of the oldest first and of some batches at a time; but for those that
    /// are to be read again.
    pub(super) fn forget_rejects(&mut self, before: DateTime<Utc>) -> Result<(), StoreError> {
        const BATCHES_AT_ONCE: usize = 256;
        let (rejects, replays) = (quoted(REJECTS), quoted(REJECT_REPLAYS));
        let oldest = format!("SELECT MIN(`batch`) FROM {rejects} WHERE `job`=? AND `batch`>?");
        let time = format!("SELECT `now_at` FROM {} WHERE `job`=? AND `batch`=?", quoted(BATCHES));
        let forget = format!(
            "DELETE FROM {rejects} WHERE `job`=? AND `batch`=? AND NOT EXISTS (SELECT 1 FROM {replays} WHERE \
             {replays}.`job`={rejects}.`job` AND {replays}.`topic`={rejects}.`topic` AND \
             {replays}.`partition`={rejects}.`partition` AND {replays}.`offset`={rejects}.`offset` AND \
             {replays}.`batch` IS NULL)"
        );
        let (mut last, mut gone) = (Value::Int(0), 0);
        for _ in 0..BATCHES_AT_ONCE {
            let found = self.database.query(&oldest, &[Value::text(&self.job), last])?;
            let Some(batch) = found.first().and_then(|row| row.first()?.as_int()).map(Value::Int) else { break };
            let key = [Value::text(&self.job), batch.clone()];
            let at = self.database.query(&time, &key)?.first().and_then(|row| row.first()?.as_time());
            if at.is_some_and(|at| at >= before) {
                break;
            }
            gone += self.database.execute(&forget, &key)?;
            last = batch;
        }
        if gone > 0 {
            tracing::info!(rejects = gone, before = %before.to_rfc3339(), "the oldest rejects are let go of");
        }
        Ok(())
    }
}

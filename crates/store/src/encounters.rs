//! Who comes, moves and goes: requests as people and systems write them down, and what the job made of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use wardwatch_model::diagnostic::unknown;
use wardwatch_model::encounter::{Given, Kind, Origin, Request, RequestId, Version};
use wardwatch_model::record::{Item, Place};
use wardwatch_model::terms::{BatchId, Offset, Partition};
use wardwatch_model::topics::Topics;

use super::Value;
use super::connection::Store;
use super::error::StoreError;
use super::insert::{Duplicates, batch_value, insert_system};
use super::quote::quoted;
use super::row::Row;
use super::system::{ENCOUNTERS, UNATTACHED};
use super::topics::{partition_of, partition_values};

/// As many rows of nobody are kept; then the oldest go. So are those that were attached later, of which a replay may have need.
const MOST_UNATTACHED: i64 = 100_000;

/// So many names or offsets are asked for by one statement.
const AT_ONCE: usize = 500;

const COLUMNS: &str = "`id`, `kind`, `patient_id`, `device`, `from_at`, `until_at`, `ward`, `place`, `name`, `born`, \
    `age_band`, `merged_id`, `stay`, `source`, `author`, `note`";

/// A request that the job has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedEncounter {
    /// What it is called.
    pub id: RequestId,
    /// What is asked for, or why nothing can be done with how it was written down.
    pub request: Result<Request, String>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncounterAnswer {
    /// The request.
    pub id: RequestId,
    /// Since when it holds.
    pub at: Option<DateTime<Utc>>,
    /// Its version and what people should know beside, or why it was refused.
    pub outcome: Result<(Version, String), String>,
    /// The request, where it came by the topic and stands nowhere yet, and when.
    pub new: Option<(Request, DateTime<Utc>)>,
}

/// A row that waits in `unattached`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// Where it was read.
    pub place: Place,
    /// The device or, where records name the patient, the patient who had left.
    pub device: String,
    /// When the device measured.
    pub event_time: DateTime<Utc>,
}

/// A row that waited in `unattached` and is somebody's with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedLater {
    /// The row.
    pub row: WaitingRow,
    /// Whose it is.
    pub patient: String,
}

/// A row of the table as people look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncounterRow {
    /// What is asked for.
    pub request: AskedEncounter,
    /// When it was asked.
    pub asked_at: Option<DateTime<Utc>>,
    /// What became of it; `None` while the job has not answered.
    pub outcome: Option<EncounterOutcome>,
}

/// What became of a request, as the store tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncounterOutcome {
    /// It was applied, with what people should know beside.
    Applied(Version, String),
    /// It was refused.
    Refused(String),
}

impl Store {
    /// Puts a request down; the job answers it with its next batch. It holds from `at` on or, without that, from the job's devices'
    /// time when it is answered.
    ///
    /// # Errors
    /// The database does not answer, or has a request of this id.
    pub fn ask_encounter(
        &mut self,
        request: &Request,
        at: Option<DateTime<Utc>>,
        asked_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let values = self.encounter_values(request, at, asked_at);
        insert_system(self.database.as_mut(), ENCOUNTERS, Duplicates::Refused, &mut std::iter::once(values))
    }

    /// A row of a request that has not been answered.
    fn encounter_values(&self, request: &Request, at: Option<DateTime<Utc>>, asked_at: DateTime<Utc>) -> Vec<Value> {
        let given = &request.given;
        vec![
            Value::text(&self.job),
            Value::text(&request.id.0),
            Value::Int(1),
            Value::text(request.kind.name()),
            Value::text(&request.patient),
            Value::text(&given.device),
            Value::time(at),
            Value::time(request.until),
            Value::text(&given.ward),
            Value::text(&given.place),
            Value::text(&given.name),
            Value::text(&given.born),
            Value::text(&given.age_band),
            Value::text(&request.stay),
            Value::text(request.origin.name()),
            Value::text(&request.by),
            Value::text(&request.note),
            Value::Time(asked_at),
            Value::Null,
            Value::text(""),
            Value::text(""),
            Value::Null,
            Value::text(&request.merged),
        ]
    }

    /// The requests that the job has not answered, in the order in which they were asked. One that names no time holds from
    /// `now` on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn open_encounters(&mut self, now: DateTime<Utc>) -> Result<Vec<AskedEncounter>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE `job`=? AND (`is_open`=1 OR `is_open` IS NULL) ORDER BY `asked_at`, `from_at`, `id`",
            quoted(ENCOUNTERS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(rows.iter().map(|row| asked(row, Some(now))).collect())
    }

    /// Whether there is a table of encounters: a store of the version before has none until the job has started.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn has_encounters(&mut self) -> Result<bool, StoreError> {
        Ok(!self.database.columns(ENCOUNTERS)?.is_empty())
    }

    /// The requests that were applied, in the order of their versions.
    ///
    /// # Errors
    /// The database does not answer. A row that somebody has made unreadable is left out and told.
    pub fn applied_encounters(&mut self) -> Result<Vec<(Version, Request)>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, `version` FROM {} WHERE `job`=? AND `is_open`=0 AND `version` IS NOT NULL ORDER BY `version`",
            quoted(ENCOUNTERS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        Ok(self.odd.leave_out(&rows, |row| {
            let request = asked(row, None).request.map_err(StoreError::Refused)?;
            Ok((version(row.last()).unwrap_or_default(), request))
        }))
    }

    /// All requests, those of one patient where one is named, the newest first.
    ///
    /// # Errors
    /// The database does not answer, or has no such table yet.
    pub fn encounter_rows(&mut self, patient: Option<&str>) -> Result<Vec<EncounterRow>, StoreError> {
        let of_patient = if patient.is_some() { " AND `patient_id`=?" } else { "" };
        let sql = format!(
            "SELECT {COLUMNS}, `asked_at`, `is_open`, `version`, `refusal`, `remark` FROM {} WHERE `job`=?{of_patient} \
             ORDER BY `asked_at` DESC, `from_at` DESC, `id`",
            quoted(ENCOUNTERS)
        );
        let values: Vec<Value> = std::iter::once(&*self.job).chain(patient).map(Value::text).collect();
        let rows = self.database.query(&sql, &values)?;
        let row = |row: &Vec<Value>| {
            let behind = row.len().saturating_sub(5);
            let text = |at: usize| row.get(behind + at).and_then(Value::as_text).unwrap_or_default().to_owned();
            let is_open = row.get(behind + 1).and_then(Value::as_int) != Some(0);
            let outcome = match version(row.get(behind + 2)) {
                _ if is_open => None,
                Some(version) => Some(EncounterOutcome::Applied(version, text(4))),
                None => Some(EncounterOutcome::Refused(text(3))),
            };
            EncounterRow { request: asked(row, None), asked_at: row.get(behind).and_then(Value::as_time), outcome }
        };
        Ok(rows.iter().map(row).collect())
    }

    /// What became of a request; `None` while the job has not answered.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn encounter_answer(&mut self, id: &RequestId) -> Result<Option<EncounterOutcome>, StoreError> {
        let sql = format!(
            "SELECT `version`, `refusal`, `remark` FROM {} WHERE `job`=? AND `id`=? AND `is_open`=0",
            quoted(ENCOUNTERS)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job), Value::text(&id.0)])?;
        Ok(rows.first().map(|row| {
            let text = |at: usize| row.get(at).and_then(Value::as_text).unwrap_or_default().to_owned();
            match version(row.first()) {
                Some(version) => EncounterOutcome::Applied(version, text(2)),
                None => EncounterOutcome::Refused(text(1)),
            }
        }))
    }

    /// Writes down what became of requests.
    pub(super) fn write_encounters(&mut self, batch: BatchId, answers: &[EncounterAnswer]) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE {} SET `is_open`=0, `version`=?, `from_at`=COALESCE(`from_at`, ?), `refusal`=?, `remark`=?, `batch`=? \
             WHERE `job`=? AND `id`=?",
            quoted(ENCOUNTERS)
        );
        let new = answers.iter().filter_map(|answer| answer.new.as_ref());
        let rows: Vec<Vec<Value>> =
            new.map(|(request, asked_at)| self.encounter_values(request, Some(request.at), *asked_at)).collect();
        insert_system(self.database.as_mut(), ENCOUNTERS, Duplicates::Replaced, &mut rows.into_iter())?;
        for EncounterAnswer { id, at, outcome, .. } in answers {
            let (version, refusal, remark) = match outcome {
                Ok((version, remark)) => {
                    (Value::Int(i64::try_from(version.0).unwrap_or(i64::MAX)), "", remark.as_str())
                }
                Err(refusal) => (Value::Null, refusal.as_str(), ""),
            };
            let said = [version, Value::time(*at), Value::text(refusal), Value::text(remark), batch_value(batch)];
            let values: Vec<Value> = said.into_iter().chain([Value::text(&self.job), Value::text(&id.0)]).collect();
            self.database.execute(&sql, &values)?;
        }
        Ok(())
    }

    /// The devices of which rows wait in `unattached`.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn waiting_devices(&mut self, topics: &Topics) -> Result<BTreeSet<String>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT `topic`, `partition`, `device` FROM {} WHERE `job`=? AND `attached_batch` IS NULL",
            quoted(UNATTACHED)
        );
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        let read = rows.iter().filter(|row| partition_of(topics, row).is_some());
        Ok(read.filter_map(|row| row.get(2)?.as_text().map(str::to_owned)).collect())
    }

    /// The rows of these devices that wait in `unattached`, by partition in the order in which they came.
    ///
    /// # Errors
    /// The database does not answer. A row that somebody has made unreadable is left out and told.
    pub fn waiting_rows(&mut self, topics: &Topics, devices: &BTreeSet<String>) -> Result<Vec<WaitingRow>, StoreError> {
        let mut waiting = Vec::new();
        let devices: Vec<&String> = devices.iter().collect();
        for devices in devices.chunks(AT_ONCE) {
            let sql = format!(
                "SELECT `topic`, `partition`, `offset`, `item`, `device`, `event_time` FROM {} \
                 WHERE `job`=? AND `attached_batch` IS NULL AND `device` IN ({})",
                quoted(UNATTACHED),
                places(devices.len())
            );
            let head = [Value::text(&self.job)];
            let values: Vec<Value> = head.into_iter().chain(devices.iter().map(|device| Value::text(device))).collect();
            let rows = self.database.query(&sql, &values)?;
            let read = self.odd.leave_out(&rows, |row| {
                let mut row = Row::new(UNATTACHED, row);
                let place = row.place(topics)?;
                let (device, event_time) = (row.text()?, row.time()?);
                Ok(place.map(|place| WaitingRow { place, device, event_time }))
            });
            waiting.extend(read.into_iter().flatten());
        }
        waiting.sort_by_key(|row| row.place);
        Ok(waiting)
    }

    /// What stands in these rows of `unattached`, one JSON object each, in their order. One that is gone is left out.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn waiting_values(
        &mut self,
        topics: &Topics,
        rows: &[WaitingRow],
    ) -> Result<Vec<(WaitingRow, String)>, StoreError> {
        let mut offsets: BTreeMap<Partition, Vec<Offset>> = BTreeMap::new();
        rows.iter().for_each(|row| offsets.entry(row.place.partition).or_default().push(row.place.offset));
        let mut values: BTreeMap<Place, String> = BTreeMap::new();
        for (partition, mut offsets) in offsets {
            offsets.dedup(); // of rows of one record
            for offsets in offsets.chunks(AT_ONCE) {
                let sql = format!(
                    "SELECT `topic`, `partition`, `offset`, `item`, `row_values` FROM {} \
                     WHERE `job`=? AND `topic`=? AND `partition`=? AND `offset` IN ({})",
                    quoted(UNATTACHED),
                    places(offsets.len())
                );
                let found = self.database.query(&sql, &self.key_of(topics, partition, offsets))?;
                let read = self.odd.leave_out(&found, |row| {
                    let mut row = Row::new(UNATTACHED, row);
                    let place = row.place(topics)?;
                    let values = row.text()?;
                    Ok(place.map(|place| (place, values)))
                });
                values.extend(read.into_iter().flatten());
            }
        }
        let of = |row: &WaitingRow| Some((row.clone(), values.remove(&row.place)?));
        Ok(rows.iter().filter_map(of).collect())
    }

    fn key_of(&self, topics: &Topics, partition: Partition, offsets: &[Offset]) -> Vec<Value> {
        let head = std::iter::once(Value::text(&self.job)).chain(partition_values(topics, partition));
        head.chain(offsets.iter().map(|offset| Value::Int(offset.0))).collect()
    }

    /// What stands in the rows that were attached later with batches from `from` up to `to`, both included: by batch, in the
    /// order in which they stood in it.
    ///
    /// # Errors
    /// The database does not answer. A row that somebody has made unreadable is left out and told.
    pub fn attached_later(
        &mut self,
        topics: &Topics,
        (from, to): (BatchId, BatchId),
    ) -> Result<BTreeMap<BatchId, Vec<String>>, StoreError> {
        let sql = format!(
            "SELECT `topic`, `partition`, `offset`, `item`, `attached_batch`, `row_values` FROM {} \
             WHERE `job`=? AND `attached_batch`>=? AND `attached_batch`<=?",
            quoted(UNATTACHED)
        );
        let key = [Value::text(&self.job), batch_value(from), batch_value(to)];
        let rows = self.database.query(&sql, &key)?;
        let rows = self.odd.leave_out(&rows, |row| {
            let mut row = Row::new(UNATTACHED, row);
            let place = row.place(topics)?;
            let (batch, values) = (row.batch()?, row.text()?);
            Ok(place.map(|place| (batch, place, values)))
        });
        let mut rows: Vec<(BatchId, Place, String)> = rows.into_iter().flatten().collect();
        rows.sort_by_key(|(batch, place, _)| (*batch, *place));
        let mut batches: BTreeMap<BatchId, Vec<String>> = BTreeMap::new();
        rows.into_iter().for_each(|(batch, _, values)| batches.entry(batch).or_default().push(values));
        Ok(batches)
    }

    /// The first batch from `from` on with which rows were attached later.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn first_attached_later(&mut self, from: BatchId) -> Result<Option<BatchId>, StoreError> {
        let sql =
            format!("SELECT MIN(`attached_batch`) FROM {} WHERE `job`=? AND `attached_batch`>=?", quoted(UNATTACHED));
        let rows = self.database.query(&sql, &[Value::text(&self.job), batch_value(from)])?;
        let first = rows.first().and_then(|row| row.first()?.as_int()).and_then(|batch| u64::try_from(batch).ok());
        Ok(first.map(BatchId))
    }

    /// Writes down whose rows are that waited.
    pub(super) fn write_attached_later(
        &mut self,
        batch: BatchId,
        topics: &Topics,
        attached: &[AttachedLater],
    ) -> Result<(), StoreError> {
        let mut by_patient: BTreeMap<(&str, Partition, Item), Vec<Offset>> = BTreeMap::new();
        for AttachedLater { row, patient } in attached {
            by_patient.entry((patient, row.place.partition, row.place.item)).or_default().push(row.place.offset);
        }
        for ((patient, partition, item), offsets) in by_patient {
            for offsets in offsets.chunks(AT_ONCE) {
                let sql = format!(
                    "UPDATE {} SET `patient_id`=?, `attached_batch`=? \
                     WHERE `item`=? AND `job`=? AND `topic`=? AND `partition`=? AND `offset` IN ({})",
                    quoted(UNATTACHED),
                    places(offsets.len())
                );
                let said = [Value::text(patient), batch_value(batch), Value::Int(item.0.into())];
                let values: Vec<Value> = said.into_iter().chain(self.key_of(topics, partition, offsets)).collect();
                self.database.execute(&sql, &values)?;
            }
        }
        Ok(())
    }

    /// Lets the oldest rows of nobody go where there are more than are kept, and the oldest of those that were attached later.
    pub(super) fn bound_unattached(&mut self) -> Result<(), StoreError> {
        let table = quoted(UNATTACHED);
        for (batch, kept) in [("batch", "`attached_batch` IS NULL"), ("attached_batch", "`attached_batch` IS NOT NULL")]
        {
            let sql = format!(
                "SELECT `{batch}` FROM {table} WHERE `job`=? AND {kept} ORDER BY `{batch}` DESC LIMIT 1 OFFSET {MOST_UNATTACHED}"
            );
            let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
            if let Some(last) = rows.first().and_then(|row| row.first()?.as_int()) {
                let sql = format!("DELETE FROM {table} WHERE `job`=? AND {kept} AND `{batch}`<=?");
                let gone = self.database.execute(&sql, &[Value::text(&self.job), Value::Int(last)])?;
                tracing::warn!(
                    rows = gone,
                    most = MOST_UNATTACHED,
                    kept,
                    "the oldest rows of unattached are let go of"
                );
            }
        }
        Ok(())
    }
}

fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn version(value: Option<&Value>) -> Option<Version> {
    value.and_then(Value::as_int).and_then(|version| u64::try_from(version).ok()).map(Version)
}

/// A row as a request. One without a time holds from `now` on, where that is given.
fn asked(row: &[Value], now: Option<DateTime<Utc>>) -> AskedEncounter {
    let mut row = Row::of(ENCOUNTERS, COLUMNS, row);
    let mut text = || row.optional_text().unwrap_or_default();
    let (id, kind, patient, device) = (RequestId(text()), text(), text(), text());
    let (at, until) = (row.optional_time(), row.optional_time());
    let mut text = || row.optional_text().unwrap_or_default();
    let (ward, place, name, born, age_band, merged) = (text(), text(), text(), text(), text(), text());
    let (stay, origin, by, note) = (text(), text(), text(), text());
    let request = || {
        let kind = match kind.as_str() {
            "" => Kind::Admit,
            name => Kind::from_name(name)
                .ok_or_else(|| unknown("kind of request", name, Kind::ALL.iter().map(|kind| kind.name())))?,
        };
        if patient.is_empty() {
            return Err("it names no patient".to_owned());
        }
        Ok(Request {
            id: id.clone(),
            kind,
            patient,
            at: at.or(now).ok_or_else(|| "it names no time".to_owned())?,
            until,
            given: Given { device, ward, place, name, born, age_band },
            merged,
            stay,
            origin: Origin::from_name(&origin).unwrap_or(Origin::Manual),
            by,
            note,
        })
    };
    let request = request();
    AskedEncounter { id, request }
}

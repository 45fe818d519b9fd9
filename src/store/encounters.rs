//! Who comes, moves and goes: requests as people and systems write them down, and what the job made of them.

use chrono::{DateTime, Utc};

use crate::diagnostic::unknown;
use crate::encounter::{Given, Kind, Origin, Request, RequestId, Version};
use crate::terms::BatchId;

use super::commit::{Duplicates, batch_value, insert_system};
use super::row::Row;
use super::statement::quoted;
use super::system::{ENCOUNTERS, UNATTACHED};
use super::{Store, StoreError, Value};

/// As many rows of nobody are kept; then the oldest go.
const MOST_UNATTACHED: i64 = 100_000;

const COLUMNS: &str = "`id`, `kind`, `patient_id`, `device`, `from_at`, `until_at`, `ward`, `place`, `name`, `born`, \
    `age_band`, `stay`, `source`, `author`, `note`";

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
        let given = &request.given;
        let values = vec![
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
        ];
        insert_system(self.database.as_mut(), ENCOUNTERS, Duplicates::Refused, &mut std::iter::once(values))
    }

    /// The requests that the job has not answered, in the order in which they were asked. One that names no time holds from
    /// `now` on.
    ///
    /// # Errors
    /// The database does not answer.
    pub fn open_encounters(&mut self, now: DateTime<Utc>) -> Result<Vec<AskedEncounter>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE `job`=? AND `is_open`=1 ORDER BY `asked_at`, `from_at`, `id`",
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
        for EncounterAnswer { id, at, outcome } in answers {
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

    /// Lets the oldest rows of nobody go where there are more than are kept.
    pub(super) fn bound_unattached(&mut self) -> Result<(), StoreError> {
        let table = quoted(UNATTACHED);
        let sql =
            format!("SELECT `batch` FROM {table} WHERE `job`=? ORDER BY `batch` DESC LIMIT 1 OFFSET {MOST_UNATTACHED}");
        let rows = self.database.query(&sql, &[Value::text(&self.job)])?;
        if let Some(last) = rows.first().and_then(|row| row.first()?.as_int()) {
            let sql = format!("DELETE FROM {table} WHERE `job`=? AND `batch`<=?");
            self.database.execute(&sql, &[Value::text(&self.job), Value::Int(last)])?;
        }
        Ok(())
    }
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
    let (ward, place, name, born, age_band) = (text(), text(), text(), text(), text());
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
            stay,
            origin: Origin::from_name(&origin).unwrap_or(Origin::Manual),
            by,
            note,
        })
    };
    let request = request();
    AskedEncounter { id, request }
}

//! That no batch is committed, and whom nobody judges meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use wardwatch_alert::{EVERY_RULE, Unjudged, Why};
use wardwatch_config::Job;
use wardwatch_model::encounter::{Encounters, Journal};
use wardwatch_store::{LeaseRow, Store, StoreError};

use super::patience::{is_older, patience};

/// No batch is committed, and so nobody is judged: a job commits one every few seconds, though nothing comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why, as far as that is known: `the store is read-only`.
    pub why: String,
}

impl Halt {
    /// That no batch has been committed for `patience`, as far as the store tells; `None` where one has, or never was.
    ///
    /// # Errors
    /// The database does not answer, or holds what this version did not write.
    pub fn of_store(store: &mut Store, patience: Duration, now: DateTime<Utc>) -> Result<Option<Self>, StoreError> {
        let last = store.newest_batch()?;
        let Some(last) = last.filter(|last| is_older(last.now, patience, now)) else { return Ok(None) };
        let why = why_halted(store.lease()?.as_ref(), store.leases_expire());
        Ok(Some(Self { since: last.now, why }))
    }

    /// That every rule judges nobody of these.
    #[must_use]
    pub fn unjudged(&self, patients: usize, judged_until: Option<DateTime<Utc>>) -> Unjudged {
        Unjudged {
            patient: "".into(),
            patients,
            rule: EVERY_RULE.to_owned(),
            judged_until,
            since: self.since,
            cause: Why::NoBatch,
            detail: self.why.clone(),
            told_by: None,
        }
    }
}

/// Why a job may commit nothing, by what is known of who writes for it.
pub(super) fn why_halted(lease: Option<&LeaseRow>, leases_expire: bool) -> String {
    match lease {
        // Where a file is locked, the row says nothing of whether its holder lives.
        Some(lease) if leases_expire && !lease.is_expired => {
            format!("the job, {}, runs, but the store does not take its batch", lease.holder)
        }
        Some(lease) => {
            format!("the job, {}, is not running any more, or the store takes nothing of it", lease.holder)
        }
        None => "the job is not running".to_owned(),
    }
}

/// Which rules do not judge which patients at `now`: as the job has written it down; and everybody, while no batch is committed.
///
/// `halted` is what the process of the job knows itself, which is more than the store tells.
///
/// # Errors
/// The database does not answer, or holds what this version did not write.
pub fn unjudged(
    store: &mut Store,
    job: &Job,
    patience: Duration,
    halted: Option<Halt>,
    now: DateTime<Utc>,
) -> Result<Vec<Unjudged>, StoreError> {
    let rows = store.unjudged()?;
    let Some(halted) = halted_now(store, patience, halted, now)? else { return Ok(rows) };
    let until = judged_until(store)?;
    let patients = patients_here(store, job, until.unwrap_or(now))?.len();
    Ok(with_halt(&halted, patients, until, rows))
}

/// Which rules do not judge a patient, and which judge nobody, in the same way.
///
/// # Errors
/// The database does not answer, or holds what this version did not write.
pub fn unjudged_of(
    store: &mut Store,
    job: &Job,
    patient: &str,
    halted: Option<Halt>,
    now: DateTime<Utc>,
) -> Result<Vec<Unjudged>, StoreError> {
    let rows = store.unjudged_of(patient)?;
    let Some(halted) = halted_now(store, patience(job), halted, now)? else { return Ok(rows) };
    Ok(with_halt(&halted, 1, judged_until(store)?, rows))
}

fn halted_now(
    store: &mut Store,
    patience: Duration,
    known: Option<Halt>,
    now: DateTime<Utc>,
) -> Result<Option<Halt>, StoreError> {
    match known {
        Some(known) => Ok(Some(known)),
        None => Halt::of_store(store, patience, now),
    }
}

/// The devices' time of the last batch.
fn judged_until(store: &mut Store) -> Result<Option<DateTime<Utc>>, StoreError> {
    Ok(store.newest_batch()?.map(|last| last.event_now.unwrap_or(last.now)))
}

fn with_halt(halted: &Halt, patients: usize, until: Option<DateTime<Utc>>, rows: Vec<Unjudged>) -> Vec<Unjudged> {
    let everybody = halted.unjudged(patients, until);
    std::iter::once(everybody).chain(rows.into_iter().filter(|row| !is_of_kafka(row.cause))).collect()
}

/// Whether it is about Kafka, which nobody has asked since the last batch.
pub(super) fn is_of_kafka(cause: Why) -> bool {
    matches!(cause, Why::KafkaAway | Why::PartitionStalled)
}

/// Who is here at a time, by readings and encounters.
pub(super) fn patients_here(store: &mut Store, job: &Job, at: DateTime<Utc>) -> Result<BTreeSet<String>, StoreError> {
    let mut encounters = Encounters::default();
    if store.has_encounters()? {
        let journal = Journal::new(store.applied_encounters()?);
        journal.bring(&mut encounters, journal.last());
    }
    let mut here: BTreeSet<String> =
        encounters.present(at).into_iter().map(|present| present.patient.to_string()).collect();
    let (table, columns) = (&job.reports.table, &job.source.columns);
    let (key, event_time) = (&columns.key().name, &columns.event_time().name);
    let stored = store.column_names(table)?;
    if stored.contains(key) && stored.contains(event_time) {
        let read = store.patients(table, key, event_time)?.into_iter();
        let is_here = |(patient, newest): &(String, DateTime<Utc>)| {
            encounters.is_here(patient, *newest, job.source.forget_after, at)
        };
        here.extend(read.filter(is_here).map(|(patient, _)| patient));
    }
    Ok(here)
}

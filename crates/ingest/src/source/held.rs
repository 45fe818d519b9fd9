//! A record whose schema the registry has not given yet: it waits, and whatever comes behind it. Nobody can say what it is before.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};

use wardwatch_model::clock::Stopwatch;
use wardwatch_model::terms::Partition;

use super::contact::Standstill;
use super::owned::OwnedRecord;
use crate::schemas::{Schemas, id_and_rest};

/// How long to wait before the registry is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What waits for a registry.
#[derive(Debug)]
pub(super) struct Held {
    registries: Vec<Schemas>,
    record: Option<OwnedRecord>,
    reason: String,
    since: Stopwatch,
    asked: Stopwatch,
}

impl Held {
    pub(super) fn new(registries: impl Iterator<Item = Schemas>) -> Self {
        let (since, asked) = (Stopwatch::start(), Stopwatch::start());
        Self { registries: registries.collect(), record: None, reason: String::new(), since, asked }
    }

    /// Whether what a record says of itself is known, so that it can be read. Asks for it, if nobody has.
    pub(super) fn is_readable(&mut self, payload: Option<&[u8]>) -> bool {
        let Some((id, _)) = payload.filter(|_| !self.registries.is_empty()).and_then(id_and_rest) else { return true };
        for schemas in &self.registries {
            if let Err(away) = schemas.look_up(id) {
                self.reason = away.to_string();
                self.asked = Stopwatch::start();
                return false;
            }
        }
        true
    }

    /// Has a record wait, which is not readable.
    pub(super) fn hold(&mut self, record: OwnedRecord) {
        warn!(partition = %record.partition, offset = %record.offset, reason = self.reason, "a record waits for its schema");
        self.since = Stopwatch::start();
        self.record = Some(record);
    }

    /// Whether a record waits.
    pub(super) fn is_holding(&self) -> bool {
        self.record.is_some()
    }

    /// The record that waited, once it can be read.
    pub(super) fn release(&mut self) -> Option<OwnedRecord> {
        if self.asked.elapsed() < ASK_AGAIN {
            return None;
        }
        let record = self.record.take()?;
        if self.is_readable(record.payload.as_deref()) {
            info!(partition = %record.partition, waited_seconds = self.since.elapsed().as_secs(), "its schema is there");
            return Some(record);
        }
        self.record = Some(record);
        None
    }

    /// Why a record has waited for longer than `patience`, if one has.
    pub(super) fn waits_longer_than(&self, patience: Duration) -> Option<&str> {
        (self.record.is_some() && self.since.elapsed() > patience).then_some(self.reason.as_str())
    }

    /// Forgets what waits: it comes again.
    pub(super) fn clear(&mut self) {
        self.record = None;
    }

    /// The partition that stands still because of it.
    pub(super) fn standing(&self) -> BTreeMap<Partition, Standstill> {
        let standing = self
            .record
            .iter()
            .map(|record| (record.partition, Standstill { lasts: self.since.elapsed(), reason: self.reason.clone() }));
        standing.collect()
    }
}

//! Episodes: from conditions that are true at samples to alerts that begin and end. Values in, values out.
//!
//! A rule is judged at every sample of a patient, in event time: the rows that it returned name the samples at which
//! it is true, the patient's other samples in the batch are those at which it is false. So a backlog of an hour gives
//! the same episodes as an hour live. Nothing here reads a clock, a database or SQL, and nothing notifies anybody.

mod lifecycle;
mod message;
mod samples;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

pub use lifecycle::{Condition, Episode, State};
pub use message::{Message, MessageFault};
use samples::{Truth, samples_of};

use crate::query::RuleHeader;

/// A rule as its alerts need it.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Its header.
    pub header: RuleHeader,
    /// The text of its alerts; without one, the rule's name.
    pub message: Option<Message>,
}

/// Which columns tell a sample apart.
#[derive(Debug, Clone)]
pub struct SampleColumns {
    /// The patient.
    pub key: String,
    /// The event time.
    pub event_time: String,
}

/// The episodes that have not ended, at most one for each rule and patient.
#[derive(Debug, Clone, Default)]
pub struct OpenEpisodes(BTreeMap<(String, String), Episode>);

impl OpenEpisodes {
    /// The episodes as the store had them.
    pub fn new(episodes: impl IntoIterator<Item = Episode>) -> Self {
        let keyed = episodes.into_iter().map(|episode| ((episode.rule.clone(), episode.patient.clone()), episode));
        Self(keyed.collect())
    }

    /// The episodes by rule and patient.
    pub fn iter(&self) -> impl Iterator<Item = &Episode> {
        self.0.values()
    }

    /// Judges one rule at every sample of `frame` and returns what changed.
    ///
    /// `conditions` are the rule's rows; where they lack the event time, the rule holds for every sample of the
    /// patients that it names.
    pub fn judge(
        &mut self,
        rule: &Rule,
        conditions: &RecordBatch,
        frame: &RecordBatch,
        columns: &SampleColumns,
    ) -> Vec<Change> {
        let truth = Truth::of(conditions, columns);
        let open: Vec<&str> =
            self.0.keys().filter(|(name, _)| *name == rule.name).map(|(_, patient)| patient.as_str()).collect();
        let concerned: BTreeSet<&str> = truth.patients().chain(open).collect();
        if concerned.is_empty() {
            return Vec::new();
        }
        let mut changes = Changes::default();
        let concerned = samples_of(frame, &concerned, columns);
        for (patient, times) in concerned {
            for at in times {
                let row = truth.row(&patient, at);
                let condition = Condition {
                    at,
                    text: row.map(|row| {
                        rule.message.as_ref().map_or_else(|| rule.name.clone(), |m| m.render(conditions, row))
                    }),
                };
                let key = (rule.name.clone(), patient.clone());
                let before = self.0.remove(&key);
                let (after, change) = lifecycle::step(rule, &patient, before, condition);
                changes.note(change);
                if let Some(episode) = after {
                    self.0.insert(key, episode);
                }
            }
        }
        changes.into_latest()
    }
}

/// A change of one episode, to be written to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The episode as it is now.
    Is(Episode),
    /// A pending episode that never fired is no more.
    Gone(Episode),
}

/// The changes of a batch, the last one of each episode.
#[derive(Debug, Default)]
struct Changes(BTreeMap<(String, DateTime<Utc>), Change>);

impl Changes {
    fn note(&mut self, change: Option<Change>) {
        if let Some(change) = change {
            let (Change::Is(episode) | Change::Gone(episode)) = &change;
            self.0.insert((episode.patient.clone(), episode.started_at), change);
        }
    }

    fn into_latest(self) -> Vec<Change> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests;

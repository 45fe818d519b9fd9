//! Episodes: from conditions that are true at samples to alerts that begin and end. Values in, values out.
//!
//! A rule is judged at every sample of a patient, in event time: the rows that it returned name the samples at which
//! it is true, the patient's other samples in the batch are those at which it is false. So a backlog of an hour gives
//! the same episodes as an hour live. A rule that looks at no row of the batch, but at windows or at the last values of
//! patients, is judged once per batch, by the devices' time. Nothing here reads a clock, a database or SQL, and nothing notifies anybody.

mod lifecycle;
mod message;
mod samples;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};

pub use lifecycle::{Condition, Episode, State};
pub use message::{Message, MessageFault};
pub use samples::NewestSamples;
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
    /// Whether it is judged at every sample, or once per batch.
    pub judged: Judged,
}

/// When a rule is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// At each sample of a patient: its rows come from rows of the batch.
    BySample,
    /// Once per batch: its rows tell what is known of patients at a time.
    ByBatch,
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
    /// patients that it names. `newest` are the newest samples before the frame.
    pub fn judge(
        &mut self,
        rule: &Rule,
        conditions: &RecordBatch,
        frame: &RecordBatch,
        newest: &NewestSamples,
        columns: &SampleColumns,
    ) -> Vec<Change> {
        let truth = Truth::of(conditions, columns);
        let concerned = self.concerned(rule, &truth);
        if concerned.is_empty() {
            return Vec::new();
        }
        let concerned = concerned.iter().map(String::as_str).collect();
        let samples = samples_of(frame, &concerned, columns, newest);
        self.step_through(rule, conditions, &truth, samples)
    }

    /// Judges one rule at one time, for the patients that its rows name and those with an open episode.
    pub fn judge_at(
        &mut self,
        rule: &Rule,
        conditions: &RecordBatch,
        at: DateTime<Utc>,
        columns: &SampleColumns,
    ) -> Vec<Change> {
        let truth = Truth::now(conditions, columns);
        let samples = self.concerned(rule, &truth).into_iter().map(|patient| (patient, vec![at])).collect();
        self.step_through(rule, conditions, &truth, samples)
    }

    /// Ends the episodes of rules that are gone, and returns what changed.
    pub fn end_rules(&mut self, is_gone: &dyn Fn(&str) -> bool, at: DateTime<Utc>) -> Vec<Change> {
        let gone: Vec<(String, String)> = self.0.keys().filter(|(rule, _)| is_gone(rule)).cloned().collect();
        gone.iter().filter_map(|key| self.0.remove(key)).map(|episode| lifecycle::end(episode, at)).collect()
    }

    /// The patients of whom the rule has something to say.
    fn concerned(&self, rule: &Rule, truth: &Truth) -> BTreeSet<String> {
        let open = self.0.keys().filter(|(name, _)| *name == rule.name).map(|(_, patient)| patient.clone());
        truth.patients().map(str::to_owned).chain(open).collect()
    }

    fn step_through(
        &mut self,
        rule: &Rule,
        conditions: &RecordBatch,
        truth: &Truth,
        samples: BTreeMap<String, Vec<DateTime<Utc>>>,
    ) -> Vec<Change> {
        let mut changes = Changes::default();
        for (patient, times) in samples {
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

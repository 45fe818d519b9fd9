//! The episodes that a batch has begun, and another start for those that the store knows by theirs already.
//!
//! An episode is called by its rule, its patient and its start. Readings that contradict each other at one time, or that are sent
//! again after the episode that they began is over, begin one with the name of another. Which of them is meant nobody can tell
//! from here, so what was is left as it was, and the new one is an alert of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::episode::{Episode, EpisodeId, State};
use super::standing::{Change, OpenEpisodes};

/// What an episode is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpisodeKey {
    /// The rule.
    pub rule: Arc<str>,
    /// The patient.
    pub patient: Arc<str>,
    /// The first sample at which the condition was true.
    pub started_at: DateTime<Utc>,
}

impl EpisodeKey {
    fn of(episode: &Episode) -> Self {
        Self { rule: Arc::clone(&episode.rule), patient: Arc::clone(&episode.patient), started_at: episode.started_at }
    }

    /// The key of an episode that begins as shortly before as anything can: never later, or `@for` would pass later too.
    fn just_before(&self) -> Self {
        Self { started_at: self.started_at - TimeDelta::microseconds(1), ..self.clone() }
    }

    fn id(&self) -> EpisodeId {
        EpisodeId::of(&self.rule, &self.patient, self.started_at)
    }
}

impl OpenEpisodes {
    /// What the episodes that this batch has begun are known by, those that it has ended again included.
    #[must_use]
    pub fn begun(&self) -> Vec<EpisodeKey> {
        let is_new = |events: &[super::Event]| events.first().is_some_and(|event| event.number == 1);
        let begun = self.changes.values().filter(|change| is_new(&change.events));
        begun.map(|change| EpisodeKey::of(&change.episode)).collect()
    }

    /// The episodes that this batch has begun and ended again of patients who have left.
    #[must_use]
    pub fn begun_of(&self, left: &BTreeMap<Arc<str>, DateTime<Utc>>) -> Vec<Arc<Episode>> {
        let is_new = |change: &&Change| change.events.first().is_some_and(|event| event.number == 1);
        let begun = self.changes.values().filter(is_new).map(|change| &change.episode);
        let of_left = |episode: &&Arc<Episode>| episode.state == State::Ended && left.contains_key(&episode.patient);
        let mut found: Vec<Arc<Episode>> = begun.filter(of_left).cloned().collect();
        found.sort_by_key(|episode| episode.id.rank());
        found
    }

    /// Has an episode that this batch has begun and ended never have been.
    pub fn take_back(&mut self, id: &EpisodeId) {
        self.changes.remove(id);
    }

    /// Has an episode that this batch has begun begin a microsecond earlier, under the name that follows from that. Returns what
    /// it is known by now.
    pub fn begin_just_before(&mut self, key: &EpisodeKey) -> EpisodeKey {
        let (old, earlier) = (key.id(), key.just_before());
        let renamed = |episode: &Episode| {
            Arc::new(Episode { id: earlier.id(), started_at: earlier.started_at, ..episode.clone() })
        };
        let standing = self.rules.get_mut(&*key.rule).and_then(|patients| patients.get_mut(&key.patient));
        if let Some(standing) = standing {
            let places = [&mut standing.live, &mut standing.latched].into_iter().flatten();
            places.filter(|episode| episode.id == old).for_each(|episode| *episode = renamed(episode));
        }
        if let Some(mut change) = self.changes.remove(&old) {
            change.episode = renamed(&change.episode);
            self.changes.insert(earlier.id(), change);
        }
        earlier
    }
}

//! The episodes that stand, all rules and patients together.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::episode::{End, Episode, EpisodeId, Event, State};
use super::lifecycle;
use super::map::HashMap;
use super::rule::Rule;
use super::silence::Silence;
use super::system_rules::UNATTACHED;

/// What became of one episode with a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The episode as it is now; a dropped one is no more.
    pub episode: Arc<Episode>,
    /// What happened to it, in order.
    pub events: Vec<Event>,
}

/// The episodes that are not over: for each rule and patient at most one whose samples still count, and one that is
/// latched. Together with what people have asked to be quiet about.
#[derive(Debug, Clone, Default)]
pub struct OpenEpisodes {
    pub(super) rules: BTreeMap<String, HashMap<Arc<str>, Standing>>,
    pub(super) silences: Vec<Silence>,
    pub(super) changes: HashMap<EpisodeId, Change>,
    /// During a batch: when which patients' samples mean nothing, by technical rule.
    pub(crate) spans: HashMap<String, HashMap<Arc<str>, Vec<Span>>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(super) live: Option<Arc<Episode>>,
    pub(super) latched: Option<Arc<Episode>>,
}

/// While a technical alert fires: from, and until if it is over.
pub(crate) type Span = (DateTime<Utc>, Option<DateTime<Utc>>);

impl OpenEpisodes {
    /// The episodes and silences as the store had them.
    pub fn new(episodes: impl IntoIterator<Item = Episode>, silences: Vec<Silence>) -> Self {
        let mut open = Self { silences, ..Self::default() };
        for episode in episodes {
            open.put(Arc::new(episode));
        }
        open
    }

    /// The episodes, rule by rule.
    pub fn iter(&self) -> impl Iterator<Item = &Episode> {
        let standing = self.rules.values().flat_map(HashMap::values);
        standing.flat_map(|standing| standing.latched.iter().chain(&standing.live)).map(AsRef::as_ref)
    }

    /// What changed since this was asked last, episode by episode, in the order of their ids.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.spans.clear();
        let mut changes: Vec<Change> = std::mem::take(&mut self.changes).into_values().collect();
        changes.sort_by_cached_key(|change| change.episode.id.rank());
        changes
    }

    /// The episodes that this batch has ended.
    pub(super) fn changes_of_ended(&self) -> Vec<Arc<Episode>> {
        let changed = self.changes.values().map(|change| &change.episode);
        changed.filter(|episode| episode.state == State::Ended).cloned().collect()
    }

    /// Has the episode stand as it is now, and its change told.
    pub(super) fn record(&mut self, episode: Arc<Episode>, events: Vec<Event>) {
        if let Some(fired) = events.iter().find(|event| event.kind == super::EventKind::Firing) {
            self.end_latched(&episode, fired.at);
        }
        self.put(Arc::clone(&episode));
        let change = self.changes.entry(episode.id.clone());
        let change = change.or_insert_with(|| Change { episode: Arc::clone(&episode), events: Vec::new() });
        change.episode = episode;
        change.events.extend(events);
    }

    /// One that fires takes the place of the one before it that nobody has acknowledged.
    fn end_latched(&mut self, next: &Episode, at: DateTime<Utc>) {
        let standing = self.rules.get_mut(&*next.rule).and_then(|patients| patients.get_mut(&next.patient));
        if let Some(latched) = standing.and_then(|standing| standing.latched.take_if(|latched| latched.id != next.id)) {
            let mut latched = Arc::unwrap_or_clone(latched);
            let mut events = Vec::new();
            lifecycle::end(&mut latched, End::Followed, at, &mut events);
            self.record(Arc::new(latched), events);
        }
    }

    pub(super) fn put(&mut self, episode: Arc<Episode>) {
        let (rule, patient) = (&episode.rule, &episode.patient);
        if !self.rules.contains_key(&**rule) {
            self.rules.insert(rule.to_string(), HashMap::default());
        }
        let Some(patients) = self.rules.get_mut(&**rule) else { return };
        let standing = patients.entry(Arc::clone(patient)).or_default();
        standing.live.take_if(|known| known.id == episode.id);
        standing.latched.take_if(|known| known.id == episode.id);
        match episode.state {
            state if state.is_live() => standing.live = Some(episode),
            State::Latched => standing.latched = Some(episode),
            _ if standing.live.is_none() && standing.latched.is_none() => drop(patients.remove(&episode.patient)),
            _ => {}
        }
    }

    /// Ends the episodes of rules that are gone.
    pub fn end_rules(&mut self, is_gone: &dyn Fn(&str) -> bool, at: DateTime<Utc>) {
        let gone: Vec<String> = self.rules.keys().filter(|rule| is_gone(rule)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter_map(|rule| self.rules.remove(rule)).collect();
        for standing in gone.into_iter().flat_map(HashMap::into_values) {
            for episode in standing.latched.into_iter().chain(standing.live) {
                let mut episode = Arc::unwrap_or_clone(episode);
                let mut events = Vec::new();
                lifecycle::end(&mut episode, End::RuleRemoved, at, &mut events);
                self.record(Arc::new(episode), events);
            }
        }
    }

    /// Ends the episodes of patients who have left, or are let go of, at the time given for each; but for what is told of those of whom
    /// records still come.
    pub fn leave(&mut self, left: &BTreeMap<Arc<str>, DateTime<Utc>>) {
        if left.is_empty() {
            return;
        }
        let rules: Vec<String> = self.rules.keys().cloned().collect();
        rules.iter().filter(|rule| *rule != UNATTACHED).for_each(|rule| self.leave_rule(rule, left));
    }

    /// The same for the episodes of one rule.
    pub fn leave_rule(&mut self, rule: &str, left: &BTreeMap<Arc<str>, DateTime<Utc>>) {
        let Some(patients) = self.rules.get_mut(rule).filter(|_| !left.is_empty()) else { return };
        let standing: Vec<Standing> = left.keys().filter_map(|patient| patients.remove(patient)).collect();
        for episode in standing.into_iter().flat_map(|standing| standing.latched.into_iter().chain(standing.live)) {
            let at = left.get(&episode.patient).copied().unwrap_or(episode.last_at);
            let mut episode = Arc::unwrap_or_clone(episode);
            let mut events = Vec::new();
            lifecycle::end(&mut episode, End::Left, at, &mut events);
            self.record(Arc::new(episode), events);
        }
    }

    /// The technical rule that fires for the patient now and says that `rule` cannot be judged.
    /// Since when it has fired, too.
    pub(super) fn standing_suppressor(&self, rule: &Rule, patient: &str) -> Option<(String, DateTime<Utc>)> {
        rule.suppressed_by.iter().find_map(|technical| {
            let standing = self.rules.get(technical).and_then(|patients| patients.get(patient));
            let fired_at = standing.and_then(|standing| standing.live.as_ref()?.firing_at)?;
            Some((technical.clone(), fired_at))
        })
    }

    /// Whether a patient has a live episode of a rule.
    pub(super) fn has_live(&self, rule: &Rule, patient: &str) -> bool {
        let standing = self.rules.get(&rule.name).and_then(|patients| patients.get(patient));
        standing.is_some_and(|standing| standing.live.is_some())
    }

    /// Whether a rule fires for a patient by values that count and were measured after a time.
    pub(super) fn is_told_of(&self, rule: &Rule, patient: &str, after: Option<DateTime<Utc>>) -> bool {
        let live = self.rules.get(&rule.name).and_then(|patients| patients.get(patient)?.live.as_ref());
        live.is_some_and(|episode| {
            let is_newer = after.is_none_or(|after| episode.known_at > after);
            episode.state == State::Firing && episode.stale_at.is_none() && is_newer
        })
    }

    /// The technical rule by which a sample means nothing to `rule`, and since when.
    pub(super) fn suppressor(&self, rule: &Rule, patient: &str, at: DateTime<Utc>) -> Option<(String, DateTime<Utc>)> {
        rule.suppressed_by.iter().find_map(|technical| {
            let spans = self.spans.get(technical).and_then(|patients| patients.get(patient));
            let covers = |(from, until): &&Span| *from <= at && until.is_none_or(|until| at < until);
            spans.into_iter().flatten().find(covers).map(|(from, _)| (technical.clone(), *from))
        })
    }
}

/// Whether an episode waits for time to pass.
pub(crate) fn is_waiting(episode: &Episode) -> bool {
    matches!(episode.state, State::Pending | State::Recovering)
}

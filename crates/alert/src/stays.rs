//! Alerts of patients who have left and come again: an episode belongs to one stay.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::episode::{End, Episode};
use super::life::Life;
use super::lifecycle::{self, Edge, Passed};
use super::moment::Moment;
use super::rule::Rule;
use super::standing::OpenEpisodes;
use super::streams::id::MOMENT;

impl Moment<'_> {
    /// When the patient of an episode left, after all that it was told of and by `until`.
    fn departure(&self, patient: &str, episode: &Episode, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let told = episode.known_at.max(episode.last_at);
        self.departures.get(patient)?.iter().copied().find(|left| told < *left && *left <= until)
    }
}

impl Life<'_> {
    /// Ends the episode in hand where its patient has left before `at` and come again; what had held for long enough by then has
    /// fired.
    pub(super) fn end_stay(&mut self, open: &mut OpenEpisodes, at: DateTime<Utc>) {
        let moment = self.moment;
        open.end_latched_stay(self.rule, &self.patient, (moment, at));
        let departure =
            |life: &Self| life.episode.as_ref().and_then(|episode| moment.departure(&life.patient, episode, at));
        let Some(left) = departure(self) else { return };
        self.pass_until(open, left);
        let Some(mut episode) = self.episode.take() else { return };
        lifecycle::end(&mut episode, End::Left, left, &mut self.events);
        open.record(Arc::new(episode), std::mem::take(&mut self.events));
    }

    /// Lets time pass in each stream of the episode in hand.
    pub(super) fn pass_until(&mut self, open: &mut OpenEpisodes, until: DateTime<Utc>) {
        let streams: Vec<_> =
            self.episode.iter().flat_map(|episode| &episode.tracks).map(|track| track.stream.clone()).collect();
        for stream in streams.iter().filter(|stream| stream.as_ref() != Some(&MOMENT)) {
            self.pass_in(open, stream.as_ref(), Passed { until, edge: Edge::Closed });
        }
    }
}

impl OpenEpisodes {
    /// Ends the episodes of stays that are over, of patients who have come again. After all samples of the batch.
    pub fn end_stays(&mut self, rules: &[Rule], moment: &Moment<'_>) {
        for patient in moment.departures.keys() {
            for rule in rules {
                let Some(set) = rule.set(moment.streams.shape()) else { continue };
                let mut life = self.life(rule, patient, set, moment);
                life.end_stay(self, moment.event_now);
                life.end(self);
                self.end_latched_stay(rule, patient, (moment, moment.event_now));
            }
        }
    }

    /// Ends the latched episode of a patient who has left by `at` and come again.
    fn end_latched_stay(&mut self, rule: &Rule, patient: &str, (moment, at): (&Moment<'_>, DateTime<Utc>)) {
        if !moment.departures.contains_key(patient) {
            return;
        }
        let standing = self.rules.get_mut(&rule.name).and_then(|patients| patients.get_mut(patient));
        let Some(standing) = standing else { return };
        let left = standing.latched.as_ref().and_then(|latched| moment.departure(patient, latched, at));
        if let Some((left, latched)) = left.zip(standing.latched.take_if(|_| left.is_some())) {
            let mut latched = Arc::unwrap_or_clone(latched);
            let mut events = Vec::new();
            lifecycle::end(&mut latched, End::Left, left, &mut events);
            self.record(Arc::new(latched), events);
        }
    }
}

//! The episodes that stand, all rules and patients together, and one batch's judgement of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::composed::Composer;
use super::conditions::{Conditions, Place};
use super::episode::Episode;
use super::life::{Found, Life, Verdict};
use super::lifecycle;
use super::map::HashMap;
use super::moment::{Findings, Moment, Rows};
use super::rule::{Judged, Rule};
use super::standing::{OpenEpisodes, Span, is_waiting};
use super::streams::id::MOMENT;
use super::streams::state::Streams;
use super::streams::{SetId, texts};
use super::track::{Holds, Track};

impl OpenEpisodes {
    /// Judges one rule on a batch. Rules that suppress others come before them.
    pub fn judge(&mut self, rule: &Rule, rows: &Rows<'_>, moment: &Moment<'_>) {
        let is_firing = self.firing(rule);
        match rule.judged {
            Judged::BySample => self.judge_by_sample(rule, rows, moment),
            Judged::ByBatch => self.judge_by_batch(rule, rows, moment),
        }
        if rule.is_technical() {
            self.note_spans(rule, is_firing);
        }
    }

    fn judge_by_sample(&mut self, rule: &Rule, rows: &Rows<'_>, moment: &Moment<'_>) {
        self.judge_samples(rule, rows, moment, &|open, conditions| open.concerned(rule, conditions));
    }

    /// Judges a rule that begins, or has failed, on what stands: on the last values of patients who have no live episode of it.
    /// `moment` is of these values, noted apart; `streams` and `composer` are of records. `put_together`: of whom values are put together from now
    /// on that were not; what comes goes on in the same streams.
    pub fn judge_begun(
        &mut self,
        rule: &Rule,
        rows: &Rows<'_>,
        moment: &Moment<'_>,
        (streams, composer): (&Streams, &Composer),
        put_together: &BTreeSet<Arc<str>>,
    ) {
        let begun = self.judge_samples(rule, rows, moment, &|open, conditions| {
            let found: BTreeSet<&str> = conditions.patients().collect();
            found.into_iter().filter(|patient| !open.has_live(rule, patient)).map(Arc::from).collect()
        });
        // Which streams these are of is found out by the records'; where that fails, any next sample goes on with them.
        for patient in begun.iter().filter(|patient| !put_together.contains(*patient)) {
            let standing = self.rules.get_mut(&rule.name).and_then(|patients| patients.get_mut(patient));
            if let Some(episode) = standing.and_then(|standing| standing.live.as_mut()) {
                Arc::make_mut(episode).tracks.iter_mut().for_each(|track| track.stream = None);
            }
        }
        self.find_streams(std::slice::from_ref(rule), streams, composer);
    }

    /// Judges a rule at the samples of the patients whom `chosen` picks, and returns these.
    fn judge_samples(
        &mut self,
        rule: &Rule,
        rows: &Rows<'_>,
        moment: &Moment<'_>,
        chosen: &dyn Fn(&Self, &Conditions<'_>) -> Vec<Arc<str>>,
    ) -> Vec<Arc<str>> {
        let names = |found: Findings<'_>| texts(found.rows, &moment.columns.key);
        let (patients, cleared) = (names(rows.conditions), rows.clear.and_then(names));
        let conditions = Conditions::of(rows.conditions, patients.as_ref(), moment.columns);
        let clear = rows.clear.map(|clear| Conditions::of(clear, cleared.as_ref(), moment.columns));
        let Some(set) = rule.set(moment.streams.shape()) else { return Vec::new() };
        let composed = moment.samples.composed(rule);
        let (found, elsewhere) = (rows.conditions.rows, rows.elsewhere);
        let found = Found { rows: found, conditions: &conditions, clear: clear.as_ref(), elsewhere };
        let chosen = chosen(self, &conditions);
        self.changes.reserve(chosen.len());
        for patient in &chosen {
            let mut life = self.life(rule, patient, set, moment);
            match composed {
                Some(composed) => life.composed_samples(self, composed.of_patient(patient), &found),
                None => life.samples(self, &found),
            }
            life.end(self);
        }
        chosen
    }

    fn judge_by_batch(&mut self, rule: &Rule, rows: &Rows<'_>, moment: &Moment<'_>) {
        let names = |found: Findings<'_>| texts(found.rows, &moment.columns.key);
        let (patients, cleared) = (names(rows.conditions), rows.clear.and_then(names));
        let conditions = Conditions::now(patients.as_ref());
        let clear = rows.clear.map(|_| Conditions::now(cleared.as_ref()));
        let Some(set) = rule.set(moment.streams.shape()) else { return };
        let (found, elsewhere) = (rows.conditions.rows, rows.elsewhere);
        let found = Found { rows: found, conditions: &conditions, clear: clear.as_ref(), elsewhere };
        for patient in self.concerned(rule, &conditions) {
            let is_known =
                || rule.is_technical() || moment.streams.are_known(&patient, set, moment.arrivals, rule.valid_for());
            let at = Place { patient: &patient, at: moment.event_now, row: None };
            let verdict = match conditions.row(&at) {
                Some(row) => Verdict::True(row),
                None if !is_known() => Verdict::Unknown,
                None => found.elsewhere(&at),
            };
            let mut life = self.life(rule, &patient, set, moment);
            life.moment(self, rows.conditions.rows, verdict);
            life.end(self);
        }
    }

    /// Takes the rule's live episode of a patient in hand.
    pub(super) fn life<'m>(
        &mut self,
        rule: &'m Rule,
        patient: &Arc<str>,
        set: SetId,
        moment: &'m Moment<'m>,
    ) -> Life<'m> {
        let standing = self.rules.get_mut(&rule.name).and_then(|patients| patients.get_mut(patient));
        let live = standing.and_then(|standing| standing.live.take());
        let episode = live.map(Arc::unwrap_or_clone);
        Life { rule, patient: Arc::clone(patient), set, moment, episode, events: Vec::new(), is_told: false }
    }

    /// The patients of whom the rule has something to say.
    fn concerned(&self, rule: &Rule, conditions: &Conditions<'_>) -> Vec<Arc<str>> {
        let standing = self.rules.get(&rule.name);
        let live = standing.into_iter().flatten().filter(|(_, standing)| standing.live.is_some());
        let others = live.map(|(patient, _)| patient).filter(|patient| !conditions.has(patient)).cloned();
        let known = |patient: &str| standing?.get_key_value(patient).map(|(patient, _)| Arc::clone(patient));
        let found = conditions.patients().map(|patient| known(patient).unwrap_or_else(|| patient.into()));
        found.chain(others).collect()
    }

    /// Lets time pass in the streams of patients who have left until they did: what had held for long enough by then has fired.
    pub fn let_time_pass_until(
        &mut self,
        rules: &[Rule],
        left: &BTreeMap<Arc<str>, DateTime<Utc>>,
        moment: &Moment<'_>,
    ) {
        for rule in rules.iter().filter(|_| !left.is_empty()) {
            let Some(set) = rule.set(moment.streams.shape()) else { continue };
            for (patient, at) in left {
                let mut life = self.life(rule, patient, set, moment);
                life.pass_until(self, *at);
                life.end(self);
            }
        }
    }

    /// While a rule is not judged, no alert of it ends by the time that passes: what has come since may say that it is true again. Its
    /// next sample goes on with it.
    pub fn hold_ends(&mut self, rule: &str) {
        let standing = self.rules.get_mut(rule).into_iter().flat_map(HashMap::values_mut);
        for live in standing.filter_map(|standing| standing.live.as_mut()) {
            let ends = |track: &Track| track.holds == Holds::No && track.holds_until > track.at;
            if live.tracks.iter().any(ends) {
                let tracks = Arc::make_mut(live).tracks.iter_mut();
                tracks.filter(|track| ends(track)).for_each(|track| track.holds_until = track.at);
            }
        }
    }

    /// Brings up to date what no sample tells: conditions that time has made true for long enough, or gone; who has fallen
    /// silent; and which conditions a technical alert keeps from being judged. After all rules of the batch.
    pub fn let_time_pass(&mut self, rules: &[Rule], moment: &Moment<'_>) {
        for rule in rules {
            let Some(set) = rule.set(moment.streams.shape()) else { continue };
            let live: Vec<Arc<Episode>> = self
                .rules
                .get(&rule.name)
                .into_iter()
                .flat_map(HashMap::values)
                .filter_map(|standing| standing.live.clone())
                .collect();
            for episode in live {
                let standing = self.standing_suppressor(rule, &episode.patient);
                let suppressor = standing.as_ref().map(|(technical, _)| technical.clone());
                let mut life = Life {
                    rule,
                    patient: Arc::clone(&episode.patient),
                    set,
                    moment,
                    is_told: false,
                    events: Vec::new(),
                    episode: None,
                };
                if !life.is_moved_by_time(&episode, suppressor.as_deref()) {
                    continue;
                }
                life.episode = Some(Arc::unwrap_or_clone(episode));
                if let (Some(episode), Some((_, from))) = (&mut life.episode, standing) {
                    life.is_told |= lifecycle::freeze(episode, from, &|_| true);
                }
                life.let_time_pass(self);
                if let Some(episode) = life.episode.as_mut().filter(|_| !rule.is_technical()) {
                    let waits = is_waiting(episode);
                    lifecycle::mark_stale(episode, &|track| moment.stale_clock(track, waits), &mut life.events);
                    lifecycle::mark_suppressed(episode, suppressor.as_deref(), moment.event_now, &mut life.events);
                }
                life.end(self);
            }
        }
    }

    /// Finds again which streams, or combinations of some, episodes were told of: those that had the very sample which told last. What
    /// is known of streams was put together again, so that they may have other numbers. Of those that cannot be found, the next sample
    /// of the patient goes on, or time.
    pub fn find_streams_again(&mut self, rules: &[Rule], streams: &Streams, composer: &Composer) {
        self.find_where(rules, streams, composer, &|track| track.stream.as_ref() != Some(&MOMENT));
    }

    /// The same for those that are not known.
    pub fn find_streams(&mut self, rules: &[Rule], streams: &Streams, composer: &Composer) {
        self.find_where(rules, streams, composer, &|track| track.stream.is_none());
    }

    fn find_where(
        &mut self,
        rules: &[Rule],
        streams: &Streams,
        composer: &Composer,
        is_sought: &dyn Fn(&Track) -> bool,
    ) {
        for rule in rules {
            let Some(set) = rule.set(streams.shape()) else { continue };
            let standing = self.rules.get_mut(&rule.name).into_iter().flat_map(HashMap::values_mut);
            for live in standing.filter_map(|standing| standing.live.as_mut()) {
                if !live.tracks.iter().any(is_sought) {
                    continue;
                }
                let episode = Arc::make_mut(live);
                for track in episode.tracks.iter_mut().filter(|track| is_sought(track)) {
                    let found = match rule.composed {
                        Some(_) => composer.found_at(rule, &episode.patient, track.at),
                        None => streams.found_at(&episode.patient, set, track.at),
                    };
                    // Where several tell the same times, it is the one that was called so.
                    let same = found.iter().find(|(stream, _)| Some(stream) == track.stream.as_ref());
                    let Some((stream, delay)) = same.or(found.first()).cloned() else {
                        track.stream = None;
                        continue;
                    };
                    if track.valid_until == track.at {
                        // A version that knew of no streams did not know how long values count either.
                        track.valid_until = track.at.checked_add_signed(rule.valid_for()).unwrap_or(track.at);
                        track.holds_until = track.valid_until;
                    }
                    (track.stream, track.delay) = (Some(stream), delay);
                }
            }
        }
    }

    /// Since when a technical rule fires, patient by patient.
    fn firing(&self, rule: &Rule) -> HashMap<Arc<str>, DateTime<Utc>> {
        if !rule.is_technical() {
            return HashMap::default();
        }
        let standing = self.rules.get(&rule.name).into_iter().flatten();
        let live =
            standing.filter_map(|(patient, standing)| Some((Arc::clone(patient), standing.live.as_ref()?.firing_at?)));
        live.collect()
    }

    /// Takes note of when the samples of which patients mean nothing, by what a technical rule has just said.
    fn note_spans(&mut self, rule: &Rule, before: HashMap<Arc<str>, DateTime<Utc>>) {
        let mut spans: HashMap<Arc<str>, Vec<Span>> = HashMap::default();
        let after = self.firing(rule);
        match rule.judged {
            // It is judged at the batch's end: samples that came meanwhile are data, unless it goes on all the same.
            Judged::ByBatch => {
                for (patient, from) in before.into_iter().filter(|(patient, _)| after.contains_key(patient)) {
                    spans.insert(patient, vec![(from, None)]);
                }
            }
            Judged::BySample => {
                let over = self.changes.values().map(|change| &change.episode);
                let over = over.filter(|episode| *episode.rule == *rule.name).filter_map(|episode| {
                    Some((Arc::clone(&episode.patient), (episode.firing_at?, episode.cleared_at)))
                });
                let standing = before.into_iter().chain(after).map(|(patient, from)| (patient, (from, None)));
                for (patient, span) in standing.chain(over.collect::<Vec<_>>()) {
                    let known = spans.entry(patient).or_default();
                    known.retain(|(from, _)| *from != span.0); // what is over replaces what stood before
                    known.push(span);
                }
            }
        }
        self.spans.insert(rule.name.clone(), spans);
    }
}

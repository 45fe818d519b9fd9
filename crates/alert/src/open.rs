//! The episodes that stand, all rules and patients together, and one batch's judgement of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use chrono::{DateTime, TimeDelta, Utc};

use super::action::Silence;
use super::episode::{End, Episode, EpisodeId, Event, State};
use super::life::{Found, Life, Verdict, verdict_of_false};
use super::lifecycle;
use super::map::HashMap;
use super::samples::{Conditions, Place};
use super::stays::Departures;
use super::streams::{Arrivals, Samples, SetId, StreamId, Streams, texts};
use super::system::UNATTACHED;
use super::track::Track;
use super::{Rule, SampleColumns};

/// When a rule is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// At each sample of a patient: its rows come from rows of the batch.
    BySample,
    /// Once per batch: its rows tell what is known of patients at a time.
    ByBatch,
}

/// The batch that rules are judged on.
#[derive(Debug)]
pub struct Moment<'a> {
    /// Its samples.
    pub samples: &'a Samples,
    /// What is known of streams at its end.
    pub streams: &'a Streams,
    /// How far each partition has got, by stamps.
    pub arrivals: &'a Arrivals,
    /// How late a sample may come that is on its way.
    pub lateness: TimeDelta,
    /// Which columns tell samples apart.
    pub columns: &'a SampleColumns,
    /// Its frozen time.
    pub now: DateTime<Utc>,
    /// Its frozen time by the devices' clocks.
    pub event_now: DateTime<Utc>,
    /// When patients left who have come again.
    pub departures: &'a Departures,
}

/// What a rule gave on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The rows at which it is true.
    pub conditions: Findings<'a>,
    /// Those at which `@clear_when` is true, where the rule has one.
    pub clear: Option<Findings<'a>>,
}

/// Rows of a rule, and of which samples they are.
#[derive(Debug, Clone, Copy)]
pub struct Findings<'a> {
    /// The rows.
    pub rows: &'a RecordBatch,
    /// For each, of which row of the batch it is, or of which one of [`Composed`](super::Composed). Without, rows are of the
    /// samples with their patient and event time; where they lack the time, too, of every sample of their patient.
    pub samples: Option<&'a Int64Array>,
}

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
    spans: HashMap<String, HashMap<Arc<str>, Vec<Span>>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) live: Option<Arc<Episode>>,
    pub(super) latched: Option<Arc<Episode>>,
}

/// While a technical alert fires: from, and until if it is over.
type Span = (DateTime<Utc>, Option<DateTime<Utc>>);

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
        let names = |found: Findings<'_>| texts(found.rows, &moment.columns.key);
        let (patients, cleared) = (names(rows.conditions), rows.clear.and_then(names));
        let conditions = Conditions::of(rows.conditions, patients.as_ref(), moment.columns);
        let clear = rows.clear.map(|clear| Conditions::of(clear, cleared.as_ref(), moment.columns));
        let Some(set) = rule.set(moment.streams) else { return };
        let composed = moment.samples.composed(rule);
        let concerned = self.concerned(rule, &conditions);
        self.changes.reserve(concerned.len());
        for patient in concerned {
            let mut life = self.life(rule, &patient, set, moment);
            let found = Found { rows: rows.conditions.rows, conditions: &conditions, clear: clear.as_ref() };
            match composed {
                Some(composed) => life.composed_samples(self, composed.of_patient(&patient), &found),
                None => life.samples(self, &found),
            }
            life.end(self);
        }
    }

    fn judge_by_batch(&mut self, rule: &Rule, rows: &Rows<'_>, moment: &Moment<'_>) {
        let names = |found: Findings<'_>| texts(found.rows, &moment.columns.key);
        let (patients, cleared) = (names(rows.conditions), rows.clear.and_then(names));
        let conditions = Conditions::now(patients.as_ref());
        let clear = rows.clear.map(|_| Conditions::now(cleared.as_ref()));
        let Some(set) = rule.set(moment.streams) else { return };
        for patient in self.concerned(rule, &conditions) {
            let is_known =
                || rule.is_technical() || moment.streams.are_known(&patient, set, moment.arrivals, rule.valid_for());
            let at = Place { patient: &patient, at: moment.event_now, row: None };
            let verdict = match conditions.row(&at) {
                Some(row) => Verdict::True(row),
                None if !is_known() => Verdict::Unknown,
                None => verdict_of_false(clear.as_ref(), &at),
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

    /// Lets time pass in the streams of patients who have left until they did: what had held for long enough by then has fired.
    pub fn let_time_pass_until(
        &mut self,
        rules: &[Rule],
        left: &BTreeMap<Arc<str>, DateTime<Utc>>,
        moment: &Moment<'_>,
    ) {
        for rule in rules.iter().filter(|_| !left.is_empty()) {
            let Some(set) = rule.set(moment.streams) else { continue };
            for (patient, at) in left {
                let mut life = self.life(rule, patient, set, moment);
                life.pass_until(self, *at);
                life.end(self);
            }
        }
    }

    /// Brings up to date what no sample tells: conditions that time has made true for long enough, or gone; who has fallen
    /// silent; and which conditions a technical alert keeps from being judged. After all rules of the batch.
    pub fn let_time_pass(&mut self, rules: &[Rule], moment: &Moment<'_>) {
        for rule in rules {
            let Some(set) = rule.set(moment.streams) else { continue };
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

    /// Of which streams episodes were told is not known any more: the next samples go on with them.
    pub fn forget_streams(&mut self) {
        for standing in self.rules.values_mut().flat_map(HashMap::values_mut) {
            if let Some(episode) = &mut standing.live {
                let tracks = Arc::make_mut(episode).tracks.iter_mut();
                tracks.filter(|track| track.stream.as_ref() != Some(&MOMENT)).for_each(|track| track.stream = None);
            }
        }
    }

    /// Finds again which streams episodes were told of that are not known any more: those that had the very sample which told last. So
    /// time goes on to pass in them, also where no sample comes. What is judged on values put together has streams of its own: it waits
    /// for the next sample.
    pub fn find_streams(&mut self, rules: &[Rule], streams: &Streams) {
        for rule in rules.iter().filter(|rule| rule.composed.is_none()) {
            let Some(set) = rule.set(streams) else { continue };
            let standing = self.rules.get_mut(&rule.name).into_iter().flat_map(HashMap::values_mut);
            for live in standing.filter_map(|standing| standing.live.as_mut()) {
                if live.tracks.iter().all(|track| track.stream.is_some()) {
                    continue;
                }
                let episode = Arc::make_mut(live);
                for track in episode.tracks.iter_mut().filter(|track| track.stream.is_none()) {
                    let Some((stream, delay)) = streams.found_at(&episode.patient, set, track.at) else { continue };
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

    /// The technical rule that fires for the patient now and says that `rule` cannot be judged.
    /// Since when it has fired, too.
    pub(super) fn standing_suppressor(&self, rule: &Rule, patient: &str) -> Option<(String, DateTime<Utc>)> {
        rule.suppressed_by.iter().find_map(|technical| {
            let standing = self.rules.get(technical).and_then(|patients| patients.get(patient));
            let fired_at = standing.and_then(|standing| standing.live.as_ref()?.firing_at)?;
            Some((technical.clone(), fired_at))
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

/// The stream of rules that are judged once per batch.
pub(super) static MOMENT: std::sync::LazyLock<StreamId> = std::sync::LazyLock::new(|| StreamId {
    partition: wardwatch_model::terms::Partition(-1),
    device: "".into(),
    lane: 0,
});

impl Moment<'_> {
    /// What time it is by a track's clock.
    pub(super) fn clock(&self, track: &Track) -> Option<DateTime<Utc>> {
        match &track.stream {
            Some(stream) if *stream != *MOMENT => track.clock(self.arrivals.of(stream.partition.0)?),
            Some(_) => Some(self.event_now),
            None => track.clock(self.arrivals.newest()?),
        }
    }

    /// By what time a track's value may be found to count no longer. Where time may still fire or end the episode, that comes
    /// first, and waits for samples that are on their way.
    fn stale_clock(&self, track: &Track, waits: bool) -> Option<DateTime<Utc>> {
        let now = self.clock(track)?;
        let is_of_moment = track.stream.as_ref() == Some(&*MOMENT);
        if waits && !is_of_moment { now.checked_sub_signed(self.lateness) } else { Some(now) }
    }
}

/// Whether an episode waits for time to pass.
pub(super) fn is_waiting(episode: &Episode) -> bool {
    matches!(episode.state, State::Pending | State::Recovering)
}

//! The episodes that stand, all rules and patients together, and one batch's judgement of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};

use super::action::Silence;
use super::episode::{End, Episode, EpisodeId, Event, State};
use super::lifecycle::{self, Evidence, Sample, Truth};
use super::message::number;
use super::samples::{Conditions, Gaps, NewestSamples, SampleRow, Samples};
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
    /// Its rows.
    pub frame: &'a RecordBatch,
    /// Its samples.
    pub samples: &'a Samples,
    /// The samples up to its end.
    pub newest: &'a NewestSamples,
    /// Which columns tell samples apart.
    pub columns: &'a SampleColumns,
    /// Its frozen time.
    pub now: DateTime<Utc>,
    /// Its frozen time by the devices' clocks.
    pub event_now: DateTime<Utc>,
}

/// What a rule gave on a batch.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The rows at which it is true. Where they lack the event time, it holds for every sample of the patients that
    /// they name.
    pub conditions: &'a RecordBatch,
    /// Those at which `@clear_when` is true, where the rule has one.
    pub clear: Option<&'a RecordBatch>,
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
    spans: HashMap<String, HashMap<String, Vec<Span>>>,
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
        let conditions = Conditions::of(rows.conditions, moment.columns);
        let clear = rows.clear.map(|clear| Conditions::of(clear, moment.columns));
        let gaps = Gaps::of(moment.frame, if rule.is_technical() { &[] } else { &rule.vitals });
        for patient in self.concerned(rule, &conditions) {
            let samples = moment.samples.of_patient(&patient);
            let truths = samples.iter().map(|sample| {
                let row = conditions.row(&patient, sample.at);
                let verdict = match row {
                    Some(row) if !gaps.is_anothers(*sample, samples) => Verdict::True(row),
                    _ if gaps.has(*sample) => Verdict::Unknown,
                    _ => verdict_of_false(clear.as_ref(), &patient, sample.at),
                };
                (*sample, verdict)
            });
            self.step_through(rule, rows.conditions, &patient, truths, moment.now);
        }
    }

    fn judge_by_batch(&mut self, rule: &Rule, rows: &Rows<'_>, moment: &Moment<'_>) {
        let conditions = Conditions::now(rows.conditions, moment.columns);
        let clear = rows.clear.map(|clear| Conditions::now(clear, moment.columns));
        let within = TimeDelta::from_std(rule.stale_after).unwrap_or(TimeDelta::MAX);
        for patient in self.concerned(rule, &conditions) {
            let is_known =
                || rule.is_technical() || moment.newest.are_known(&patient, &rule.vitals, moment.event_now, within);
            let verdict = match conditions.row(&patient, moment.event_now) {
                Some(row) => Verdict::True(row),
                None if !is_known() => Verdict::Unknown,
                None => verdict_of_false(clear.as_ref(), &patient, moment.event_now),
            };
            let sample = SampleRow { at: moment.event_now, row: 0 };
            let truths = std::iter::once((sample, verdict));
            self.step_through(rule, rows.conditions, &patient, truths, moment.now);
        }
    }

    /// The patients of whom the rule has something to say.
    fn concerned(&self, rule: &Rule, conditions: &Conditions) -> Vec<String> {
        let standing = self.rules.get(&rule.name).into_iter().flatten();
        let live = standing.filter(|(_, standing)| standing.live.is_some()).map(|(patient, _)| &**patient);
        let others = live.filter(|patient| !conditions.has(patient));
        conditions.patients().chain(others).map(str::to_owned).collect()
    }

    fn step_through(
        &mut self,
        rule: &Rule,
        conditions: &RecordBatch,
        patient: &str,
        samples: impl Iterator<Item = (SampleRow, Verdict)>,
        now: DateTime<Utc>,
    ) {
        let standing = self.rules.get_mut(&rule.name).and_then(|patients| patients.get_mut(patient));
        let live = standing.and_then(|standing| standing.live.take());
        let mut known_at = live.as_ref().map(|episode| episode.known_at);
        let mut episode = live.map(Arc::unwrap_or_clone);
        let mut events = Vec::new();
        for (sample, verdict) in samples {
            let row = if let Verdict::True(row) = verdict { row } else { 0 };
            let text = || rule.message.as_ref().map_or_else(|| rule.name.clone(), |m| m.render(conditions, row));
            let value = |column: Option<usize>| column.and_then(|column| number(conditions.column(column), row));
            let truth = match verdict {
                Verdict::True(_) => Truth::True(Evidence {
                    value: value(rule.measure.value),
                    limit: value(rule.measure.limit),
                    text: &text,
                }),
                Verdict::Between => Truth::Between,
                Verdict::False => Truth::False,
                Verdict::Unknown => Truth::Unknown,
            };
            let suppressed_by = self.suppressor(rule, patient, sample.at);
            let sample = Sample { at: sample.at, truth, suppressed_by: suppressed_by.as_deref() };
            let after = lifecycle::step(rule, patient, episode.take(), &sample, &mut events);
            if let Some(mut after) = after {
                if after.firing_at.is_some() {
                    after.handling.fired_now.get_or_insert(now);
                }
                if after.state.is_live() {
                    episode = Some(after);
                } else {
                    self.record(Arc::new(after), std::mem::take(&mut events));
                    known_at = None;
                }
            }
        }
        if let Some(episode) = episode {
            let is_changed = known_at != Some(episode.known_at) || !events.is_empty();
            let episode = Arc::new(episode);
            match is_changed {
                true => self.record(episode, events),
                false => self.put(episode),
            }
        }
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

    fn put(&mut self, episode: Arc<Episode>) {
        let (rule, patient) = (&episode.rule, &episode.patient);
        if !self.rules.contains_key(&**rule) {
            self.rules.insert(rule.to_string(), HashMap::new());
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

    /// Brings up to date what no sample tells: who has fallen silent, and which conditions a technical alert keeps from
    /// being judged. After all rules of the batch.
    pub fn look_around(&mut self, rules: &[Rule], moment: &Moment<'_>) {
        for rule in rules.iter().filter(|rule| !rule.is_technical()) {
            let live: Vec<Arc<Episode>> = self
                .rules
                .get(&rule.name)
                .into_iter()
                .flat_map(HashMap::values)
                .filter_map(|standing| standing.live.clone())
                .collect();
            for episode in live {
                let suppressor = self.standing_suppressor(rule, &episode.patient);
                let stale_at = episode
                    .known_at
                    .checked_add_signed(TimeDelta::from_std(rule.stale_after).unwrap_or(TimeDelta::MAX));
                let falls_silent =
                    episode.stale_at.is_none() && stale_at.is_some_and(|stale_at| moment.event_now >= stale_at);
                if !falls_silent && episode.suppressed_by == suppressor {
                    continue;
                }
                let mut episode = Arc::unwrap_or_clone(episode);
                let mut events = Vec::new();
                lifecycle::note_silence(&mut episode, rule, moment.event_now, &mut events);
                lifecycle::mark_suppressed(&mut episode, suppressor.as_deref(), moment.event_now, &mut events);
                self.record(Arc::new(episode), events);
            }
        }
    }

    /// The technical rule that fires for the patient now and says that `rule` cannot be judged.
    fn standing_suppressor(&self, rule: &Rule, patient: &str) -> Option<String> {
        let fires = |technical: &&String| {
            let standing = self.rules.get(*technical).and_then(|patients| patients.get(patient));
            let live = standing.and_then(|standing| standing.live.as_ref());
            live.is_some_and(|episode| episode.state != State::Pending)
        };
        rule.suppressed_by.iter().find(fires).cloned()
    }

    /// The technical rule by which a sample means nothing to `rule`.
    fn suppressor(&self, rule: &Rule, patient: &str, at: DateTime<Utc>) -> Option<String> {
        let covers = |technical: &&String| {
            let spans = self.spans.get(*technical).and_then(|patients| patients.get(patient));
            spans.into_iter().flatten().any(|(from, until)| *from <= at && until.is_none_or(|until| at < until))
        };
        rule.suppressed_by.iter().find(covers).cloned()
    }

    /// Since when a technical rule fires, patient by patient.
    fn firing(&self, rule: &Rule) -> HashMap<String, DateTime<Utc>> {
        if !rule.is_technical() {
            return HashMap::new();
        }
        let standing = self.rules.get(&rule.name).into_iter().flatten();
        let live =
            standing.filter_map(|(patient, standing)| Some((patient.to_string(), standing.live.as_ref()?.firing_at?)));
        live.collect()
    }

    /// Takes note of when the samples of which patients mean nothing, by what a technical rule has just said.
    fn note_spans(&mut self, rule: &Rule, before: HashMap<String, DateTime<Utc>>) {
        let mut spans: HashMap<String, Vec<Span>> = HashMap::new();
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
                    Some((episode.patient.to_string(), (episode.firing_at?, episode.cleared_at)))
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

/// What a rule says of a sample.
enum Verdict {
    /// It is true, by this row.
    True(usize),
    Between,
    False,
    Unknown,
}

fn verdict_of_false(clear: Option<&Conditions>, patient: &str, at: DateTime<Utc>) -> Verdict {
    match clear {
        Some(clear) if clear.row(patient, at).is_none() => Verdict::Between,
        _ => Verdict::False,
    }
}

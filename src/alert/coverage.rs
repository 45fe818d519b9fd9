//! Coverage: until when each rule has judged each patient, and why not further; and the technical alerts of the job's own
//! that follow from what is known of streams.
//!
//! A rule judges a patient while each vital that it depends on has a value that is valid. A vital that the patient never
//! had is not missed: nobody attaches every sensor to everybody. What a technical alert says already is not said twice.
//!
//! Values in, values out: what is known of streams, alerts and queries becomes a list.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::open::{Moment, OpenEpisodes};
use super::streams::{CLOCK_TOLERANCE, Clock};
use super::system::{
    CLOCK_AHEAD, CLOCK_DIFFERS, CLOCK_STEP, DEVICES_DISAGREE, DOUBTFUL, REJECTED, TABLE_AT_FAULT, UNJUDGED,
};
use super::{Episode, Holds, Judged, Rule, State};

/// An event time further ahead of Kafka's stamp, or of the job's clock, than this is told of.
const AHEAD: TimeDelta = TimeDelta::seconds(30);

/// A clock that was set is told of for so long.
const STEP_IS_TOLD: TimeDelta = TimeDelta::minutes(10);

/// Devices that say different things for longer than this are told of.
const DISAGREE_AFTER: TimeDelta = TimeDelta::seconds(30);

/// A rule that does not judge a patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// The patient; empty where it is nobody in the ward.
    pub patient: Arc<str>,
    /// The rule.
    pub rule: String,
    /// The last event time that it has judged, where there is one.
    pub judged_until: Option<DateTime<Utc>>,
    /// Since when it has not, by the job's clock.
    pub since: DateTime<Utc>,
    /// Why.
    pub cause: Why,
    /// More about it, without values.
    pub detail: String,
}

/// Why a rule does not judge a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A vital has had no value for longer than one is valid.
    NoValue,
    /// What comes for it cannot be read, or cannot be true.
    BadValue,
    /// A technical alert says that its values mean nothing.
    Suppressed,
    /// The query fails.
    QueryFailing,
}

impl Why {
    const ALL: [Self; 4] = [Self::NoValue, Self::BadValue, Self::Suppressed, Self::QueryFailing];

    /// The name used in the store and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoValue => "no value",
            Self::BadValue => "bad value",
            Self::Suppressed => "suppressed",
            Self::QueryFailing => "query failing",
        }
    }

    /// The cause called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }
}

/// What comes for the vitals of patients and is no value.
pub type BadValues = HashMap<(Arc<str>, String), BadValue>;

/// What comes for a vital and is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// When the first came of those that are remembered.
    pub first: DateTime<Utc>,
    /// When the last came.
    pub last: DateTime<Utc>,
    /// Why that is none.
    pub reason: String,
}

/// What coverage is found out from.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// The rules.
    pub rules: &'a [Rule],
    /// The batch.
    pub moment: &'a Moment<'a>,
    /// How long a value of each column is valid.
    pub valid_for: &'a dyn ValidFor,
    /// What people call a column.
    pub bad_values: &'a BadValues,
    /// The queries that fail, with their errors.
    pub failing: &'a BTreeMap<String, String>,
}

/// What a job says of columns.
pub trait ValidFor: std::fmt::Debug {
    /// How long a value of a column counts.
    fn valid_for(&self, column: &str) -> Duration;
    /// What people call it.
    fn label<'a>(&'a self, column: &'a str) -> &'a str;
}

impl Watch<'_> {
    /// The rules that do not judge a patient, by patient and rule.
    #[must_use]
    pub fn unjudged(&self, open: &OpenEpisodes) -> Vec<Unjudged> {
        let streams = self.moment.streams;
        let mut found = Vec::new();
        let sets: Vec<(_, Vec<&Rule>)> = streams
            .shape()
            .sets()
            .map(|set| {
                (set, self.watched().filter(|rule| streams.shape().set(rule.depends_on()) == Some(set)).collect())
            })
            .collect();
        for known in streams.known(&|column| self.valid_for.valid_for(column)) {
            let Some((_, rules)) = sets.iter().find(|(set, _)| *set == known.set) else { continue };
            let Some(arrived) = self.moment.arrivals.of(known.partition.0) else { continue };
            let expired_at = known.stamped.saturating_add(known.valid_for);
            if arrived < expired_at {
                continue;
            }
            let column = known.column;
            let since = self.moment.now - TimeDelta::microseconds(arrived.saturating_sub(expired_at));
            let bad = self.bad_values.get(&(Arc::clone(known.patient), column.to_owned()));
            let bad = bad.filter(|bad| bad.last >= since - TimeDelta::microseconds(known.valid_for));
            for rule in rules {
                let (cause, detail) = match (open.standing_suppressor(rule, known.patient), bad) {
                    (Some((technical, _)), _) => (Why::Suppressed, technical),
                    (None, Some(bad)) => (Why::BadValue, self.bad_text(column, bad)),
                    (None, None) => (Why::NoValue, self.valid_for.label(column).to_owned()),
                };
                let (patient, rule) = (Arc::clone(known.patient), rule.name.clone());
                found.push(Unjudged { patient, rule, judged_until: Some(known.at), since, cause, detail });
            }
        }
        found.extend(self.never_read(open));
        for rule in self.rules {
            if let Some(error) = self.failing.get(&rule.name) {
                found.push(Unjudged {
                    patient: "".into(),
                    rule: rule.name.clone(),
                    judged_until: None,
                    since: self.moment.now,
                    cause: Why::QueryFailing,
                    detail: error.clone(),
                });
            }
        }
        found.sort_by(|one, other| {
            (&one.patient, &one.rule, one.since).cmp(&(&other.patient, &other.rule, other.since))
        });
        found.dedup_by(|next, one| (&next.patient, &next.rule) == (&one.patient, &one.rule));
        found
    }

    /// Of vitals that come, but never as a value that can be read: they are not missing, nobody knows them.
    fn never_read(&self, open: &OpenEpisodes) -> Vec<Unjudged> {
        let mut found = Vec::new();
        for ((patient, column), bad) in self.bad_values {
            let patience = TimeDelta::from_std(self.valid_for.valid_for(column)).unwrap_or(TimeDelta::MAX);
            let lasts = self.moment.now - bad.first >= patience && self.moment.now - bad.last < patience;
            if !lasts || self.moment.streams.last_value(patient, column).is_some() {
                continue;
            }
            for rule in self.watched().filter(|rule| rule.depends_on().contains(column)) {
                let (cause, detail) = match open.standing_suppressor(rule, patient) {
                    Some((technical, _)) => (Why::Suppressed, technical),
                    None => (Why::BadValue, self.bad_text(column, bad)),
                };
                let (patient, rule, since) = (Arc::clone(patient), rule.name.clone(), bad.first);
                found.push(Unjudged { patient, rule, judged_until: None, since, cause, detail });
            }
        }
        found
    }

    fn bad_text(&self, column: &str, bad: &BadValue) -> String {
        format!("{}: {}", self.valid_for.label(column), bad.reason)
    }

    /// The rules about patients that are judged sample by sample: of others, what they read says whether it is complete.
    fn watched(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| rule.judged == Judged::BySample && !rule.is_technical())
    }

    /// Has the technical alerts of the job's own stand that follow from streams and from `unjudged`.
    pub fn judge(&self, open: &mut OpenEpisodes, unjudged: &[Unjudged]) {
        let times = (self.moment.now, self.moment.event_now);
        let mut stand = |rule: &str, texts: BTreeMap<Arc<str>, String>| {
            let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
            open.stand(rule, &patients, &|patient| texts.get(patient).cloned().unwrap_or_default(), times);
        };
        stand(UNJUDGED, self.unjudged_texts(unjudged));
        let ClockTexts { step, ahead, differs } = self.clock_texts();
        stand(CLOCK_STEP, step);
        stand(CLOCK_AHEAD, ahead);
        stand(CLOCK_DIFFERS, differs);
        let disagree = self.disagreeing(open);
        let mut stand = |rule: &str, texts: BTreeMap<Arc<str>, String>| {
            let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
            open.stand(rule, &patients, &|patient| texts.get(patient).cloned().unwrap_or_default(), times);
        };
        stand(DEVICES_DISAGREE, disagree);
    }

    fn unjudged_texts(&self, unjudged: &[Unjudged]) -> BTreeMap<Arc<str>, String> {
        let mut texts: BTreeMap<Arc<str>, String> = BTreeMap::new();
        for of_patient in unjudged.chunk_by(|one, next| one.patient == next.patient) {
            let untold: Vec<&Unjudged> =
                of_patient.iter().filter(|unjudged| unjudged.cause != Why::Suppressed).collect();
            let Some(first) = untold.iter().min_by_key(|unjudged| unjudged.since) else { continue };
            let rules: Vec<&str> = untold.iter().map(|unjudged| unjudged.rule.as_str()).collect();
            let what = match first.cause {
                Why::QueryFailing => format!("fails: {}", first.detail),
                Why::BadValue => first.detail.clone(),
                Why::NoValue | Why::Suppressed => format!("no valid {}", first.detail),
            };
            let last =
                first.judged_until.map(|at| format!(", last at {}", at.to_rfc3339_opts(SecondsFormat::Secs, true)));
            let text = format!("not judged by {}: {what}{}", rules.join(", "), last.unwrap_or_default());
            texts.insert(Arc::clone(&first.patient), text);
        }
        texts
    }

    /// Clocks that were set, that are ahead, and that differ between the devices of a patient.
    fn clock_texts(&self) -> ClockTexts {
        let (mut step, mut ahead) = (BTreeMap::new(), BTreeMap::new());
        let mut delays: BTreeMap<&Arc<str>, [i64; 2]> = BTreeMap::new();
        for clock in self.moment.streams.clocks() {
            let Some(arrived) = self.moment.arrivals.of(clock.partition.0) else { continue };
            if let Some(set) = clock.stepped.filter(|set| within(arrived, set.stamped, STEP_IS_TOLD)) {
                let way = if set.by < 0 { "back" } else { "ahead" };
                let text = format!("the clock of {} was set {way} by {}", device(&clock), length(set.by));
                step.insert(Arc::clone(clock.patient), text);
            }
            if !within(arrived, clock.stamped, DISAGREE_AFTER) {
                continue;
            }
            let [least, most] = clock.delays;
            if least < -AHEAD.num_microseconds().unwrap_or(i64::MAX) {
                let text = format!("the clock of {} is {} ahead", device(&clock), length(least));
                ahead.insert(Arc::clone(clock.patient), text);
            }
            let range = delays.entry(clock.patient).or_insert([least, most]);
            *range = [range[0].min(least), range[1].max(most)];
        }
        let differs = delays.into_iter().filter(|(_, [least, most])| most.saturating_sub(*least) > CLOCK_TOLERANCE);
        let differs = differs.map(|(patient, [least, most])| {
            let apart = length(most.saturating_sub(least));
            (Arc::clone(patient), format!("the clocks of the patient's devices are {apart} apart"))
        });
        ClockTexts { step, ahead, differs: differs.collect() }
    }

    /// The patients of whom two streams have said different things for too long.
    fn disagreeing(&self, open: &OpenEpisodes) -> BTreeMap<Arc<str>, String> {
        let standing = open.iter().filter(|episode| episode.state == State::Firing && episode.tracks.len() > 1);
        let told = standing.filter_map(|episode| Some((Arc::clone(&episode.patient), self.disagreement(episode)?)));
        told.collect()
    }

    fn disagreement(&self, episode: &Episode) -> Option<String> {
        let lasts = |holds: Holds| {
            episode.tracks.iter().find(|track| {
                let now = self.moment.clock(track);
                let is_live = now.is_some_and(|now| now < track.valid_until && now - track.since >= DISAGREE_AFTER);
                track.holds == holds && track.stream.is_some() && is_live
            })
        };
        let (says, denies) = (lasts(Holds::Yes)?, lasts(Holds::No)?);
        let name = |track: &super::Track| match &track.stream {
            Some(stream) if !stream.device.is_empty() => format!("device \"{}\"", stream.device),
            Some(stream) => format!("a device of partition {}", stream.partition),
            None => "a device".to_owned(),
        };
        Some(format!("{} says {}, {} does not", name(says), episode.rule, name(denies)))
    }
}

/// What to tell of clocks, by patient.
struct ClockTexts {
    step: BTreeMap<Arc<str>, String>,
    ahead: BTreeMap<Arc<str>, String>,
    differs: BTreeMap<Arc<str>, String>,
}

impl OpenEpisodes {
    /// Has a technical alert stand for the patients of whom no record can be read, each with what to tell.
    pub fn judge_rejected(&mut self, texts: &BTreeMap<Arc<str>, String>, moment: &Moment<'_>) {
        let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
        let text = |patient: &str| texts.get(patient).cloned().unwrap_or_default();
        self.stand(REJECTED, &patients, &text, (moment.now, moment.event_now));
    }

    /// Has a technical alert stand for the patients with a doubtful value that no rule reads, each with what to tell.
    pub fn judge_doubtful(&mut self, texts: &BTreeMap<Arc<str>, String>, moment: &Moment<'_>) {
        let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
        let text = |patient: &str| texts.get(patient).cloned().unwrap_or_default();
        self.stand(DOUBTFUL, &patients, &text, (moment.now, moment.event_now));
    }

    /// Has a technical alert of the ward stand while tables do not take their rows: they with the reasons.
    pub fn judge_tables<'a>(&mut self, at_fault: impl Iterator<Item = (&'a str, &'a str)>, moment: &Moment<'_>) {
        let told: Vec<String> = at_fault.map(|(table, reason)| format!("{table}: {reason}")).collect();
        let ward = if told.is_empty() { BTreeSet::new() } else { BTreeSet::from([""]) };
        let text = |_: &str| format!("tables do not take their rows, which wait: {}", told.join("; "));
        self.stand(TABLE_AT_FAULT, &ward, &text, (moment.now, moment.event_now));
    }
}

/// Whether `at` is no longer than `length` before `now`, both stamps in microseconds.
fn within(now: i64, at: i64, length: TimeDelta) -> bool {
    now.saturating_sub(at) < length.num_microseconds().unwrap_or(i64::MAX)
}

fn device(clock: &Clock<'_>) -> String {
    if clock.device.is_empty() { "the device".to_owned() } else { format!("device \"{}\"", clock.device) }
}

/// A length of time in words, whichever way it goes.
fn length(micros: i64) -> String {
    let seconds = (micros.unsigned_abs() + 500_000) / 1_000_000;
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

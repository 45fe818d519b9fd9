//! Coverage: until when each rule has judged each patient, and why not further; and the technical alerts of the job's own
//! that follow from what is known of streams.
//!
//! A rule judges a patient while each vital that it depends on has a value that is valid; one that is judged once per batch,
//! and so is made of many values, while any has. A vital that the patient never had is not missed: nobody attaches every
//! sensor to everybody. What a technical alert says already is not said twice.
//!
//! Values in, values out: what is known of streams, alerts and queries becomes a list.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_model::terms::{Partition, Severity};

use super::moment::Moment;
use super::rule::Rule;
use super::standing::OpenEpisodes;
use super::streams::{CLOCK_TOLERANCE, Clock, Known, Needs};
use super::system::{Unread, written};
use super::system_rules::{
    CLOCK_AHEAD, CLOCK_DIFFERS, CLOCK_STEP, DEVICES_DISAGREE, DOUBTFUL, REJECTED, TABLE_AT_FAULT, UNJUDGED,
};
use super::wards::Wards;
use super::{Episode, Holds, Judged, State};

/// An event time further ahead of Kafka's stamp, or of the job's clock, than this is told of.
const AHEAD: TimeDelta = TimeDelta::seconds(30);

/// Whose records come so long after their times, but not by so much that they are of the past, is told of.
const BEHIND: (TimeDelta, TimeDelta) = (TimeDelta::seconds(30), TimeDelta::hours(24));

/// A clock that stands still for longer than this is told of: one may tell whole minutes only.
const STANDS_STILL: TimeDelta = TimeDelta::seconds(90);

/// A clock that was set is told of for so long.
const STEP_IS_TOLD: TimeDelta = TimeDelta::minutes(10);

/// Devices that say different things for longer than this are told of.
const DISAGREE_AFTER: TimeDelta = TimeDelta::seconds(30);

/// That a vital has no value is left for so long to technical rules, which see it with the next batch.
const MAY_YET_BE_TOLD: TimeDelta = TimeDelta::seconds(2);

/// In the place of a rule: every rule about patients.
pub const EVERY_RULE: &str = "*";

/// A rule that does not judge a patient, or whose alarms nobody is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// The patient; empty where no patient is named: it is everybody, or somebody whom nobody knows.
    pub patient: Arc<str>,
    /// How many patients it is about: one where one is named.
    pub patients: usize,
    /// The rule, or [`EVERY_RULE`].
    pub rule: String,
    /// The last event time that it has judged, where there is one.
    pub judged_until: Option<DateTime<Utc>>,
    /// Since when it has not, by the job's clock.
    pub since: DateTime<Utc>,
    /// Why.
    pub cause: Why,
    /// More about it, without values.
    pub detail: String,
    /// The technical rule whose alert says so already. It is known where coverage is found out, and not stored.
    pub told_by: Option<String>,
}

/// Why a rule does not judge a patient. Where there are several reasons, the first of these is to be mended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// No batch is committed. Nobody can write that down: whoever reads the store finds it out.
    NoBatch,
    /// Kafka does not answer.
    KafkaAway,
    /// The partition of the patient's records is not read.
    PartitionStalled,
    /// The query fails.
    QueryFailing,
    /// Its records are rejected because a clock is wrong.
    Clock,
    /// Its records are rejected.
    Rejected,
    /// Its records are nobody's, or nobody is attached to a device.
    NotAttached,
    /// A technical alert says that its values mean nothing.
    Suppressed,
    /// What comes is too late for the windows that it reads, or these wait for a partition that is behind.
    Late,
    /// What comes for it cannot be read, or cannot be true.
    BadValue,
    /// A vital has had no value for longer than one is valid.
    NoValue,
    /// It is judged, but somebody has asked that nobody be told.
    Paused,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoBatch,
        Self::KafkaAway,
        Self::PartitionStalled,
        Self::QueryFailing,
        Self::Clock,
        Self::Rejected,
        Self::NotAttached,
        Self::Suppressed,
        Self::Late,
        Self::BadValue,
        Self::NoValue,
        Self::Paused,
    ];

    /// The name used in the store, in metrics and by programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoBatch => "no batch",
            Self::KafkaAway => "kafka away",
            Self::PartitionStalled => "partition stalled",
            Self::QueryFailing => "query failing",
            Self::Clock => "clock",
            Self::Rejected => "records rejected",
            Self::NotAttached => "not attached",
            Self::Suppressed => "suppressed",
            Self::Late => "late",
            Self::BadValue => "bad value",
            Self::NoValue => "no value",
            Self::Paused => "paused",
        }
    }

    /// The cause called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }

    /// Whether another alert of the job's own, or a technical rule's, or a person, says so already.
    fn is_told_elsewhere(self) -> bool {
        !matches!(self, Self::QueryFailing | Self::Late | Self::BadValue | Self::NoValue)
    }
}

impl Unjudged {
    /// The cause in words: `no valid SpO₂`.
    #[must_use]
    pub fn why(&self) -> String {
        let detail = &self.detail;
        match self.cause {
            Why::NoBatch => format!("no batch is committed: {detail}"),
            Why::KafkaAway if detail.is_empty() => "Kafka does not answer, so no new value comes".to_owned(),
            Why::KafkaAway => format!("nothing is read of Kafka: {detail}"),
            Why::PartitionStalled => format!("records wait that cannot be read: {detail}"),
            Why::Clock | Why::Rejected => format!("no record can be read: {detail}"),
            Why::QueryFailing | Why::NotAttached | Why::Late | Why::BadValue | Why::Paused => detail.clone(),
            Why::Suppressed => format!("the alert {detail} says that its values mean nothing"),
            Why::NoValue if self.rule == EVERY_RULE => detail.clone(),
            Why::NoValue => format!("no valid {detail}"),
        }
    }
}

/// How many patients some rule does not judge.
#[must_use]
pub fn unjudged_patients(unjudged: &[Unjudged]) -> usize {
    let named: BTreeSet<&str> =
        unjudged.iter().filter(|one| !one.patient.is_empty()).map(|one| &*one.patient).collect();
    let unnamed = || unjudged.iter().filter(|one| one.patient.is_empty());
    let everybody = unnamed().filter(|one| one.cause != Why::NotAttached).map(|one| one.patients).max();
    let strangers = unnamed().filter(|one| one.cause == Why::NotAttached).map(|one| one.patients).max();
    named.len().max(everybody.unwrap_or(0)) + strangers.unwrap_or(0)
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
    /// How long a value of each column is valid, and what people call it.
    pub valid_for: &'a dyn ValidFor,
    /// What comes for vitals and is no value.
    pub bad_values: &'a BadValues,
    /// The patients of whom no record can be read, each with the cause and the reason.
    pub rejected: &'a BTreeMap<Arc<str>, (Why, String)>,
    /// The rules whose query fails, or one that it reads, each with that in words and since when.
    pub failing: &'a BTreeMap<String, (String, DateTime<Utc>)>,
    /// What cannot be read of the topics.
    pub unread: &'a Unread,
    /// In which ward each patient lies.
    pub wards: &'a Wards,
    /// Whom else nobody judges: of what never became a row, streams know nothing.
    pub others: &'a [Unjudged],
}

/// What a job says of columns.
pub trait ValidFor: std::fmt::Debug {
    /// How long a value of a column counts.
    fn valid_for(&self, column: &str) -> Duration;
    /// What people call it.
    fn label<'a>(&'a self, column: &'a str) -> &'a str;
}

impl Watch<'_> {
    /// The rules that do not judge a patient, by patient and rule, each with what is to be mended first.
    #[must_use]
    pub fn unjudged(&self, open: &OpenEpisodes) -> Vec<Unjudged> {
        let mut found = self.others.to_vec();
        found.extend(self.not_read());
        found.extend(self.failing());
        found.extend(self.expired(open));
        found.extend(self.never_read(open));
        found.extend(self.suppressed(open));
        found.extend(self.paused(open));
        found.sort_by(|one, other| {
            let key = |unjudged: &Unjudged| (unjudged.cause, unjudged.since);
            (&one.patient, &one.rule, key(one)).cmp(&(&other.patient, &other.rule, key(other)))
        });
        found.dedup_by(|next, one| (&next.patient, &next.rule) == (&one.patient, &one.rule));
        // Where no rule judges a patient, each need not be named.
        let of_none: HashMap<Arc<str>, Why> = found
            .iter()
            .filter(|one| one.rule == EVERY_RULE && !one.patient.is_empty())
            .map(|one| (Arc::clone(&one.patient), one.cause))
            .collect();
        found.retain(|one| one.rule == EVERY_RULE || of_none.get(&one.patient).is_none_or(|cause| *cause > one.cause));
        found
    }

    /// Of vitals that were known, and are not any more.
    fn expired(&self, open: &OpenEpisodes) -> Vec<Unjudged> {
        let streams = self.moment.streams;
        let shape = streams.shape();
        let mut found = Vec::new();
        // A rule by sample needs all of its vitals; what is made of many goes on with those that are left.
        for needs in [Needs::All, Needs::Any] {
            let judged = if needs == Needs::All { Judged::BySample } else { Judged::ByBatch };
            let rules = || self.watched().filter(|rule| rule.judged == judged);
            for set in shape.sets() {
                let rules: Vec<&Rule> = rules().filter(|rule| shape.set(rule.depends_on()) == Some(set)).collect();
                if rules.is_empty() {
                    continue;
                }
                for known in streams.known(set, needs, &|column| self.valid_for.valid_for(column)) {
                    let Some(arrived) = self.moment.arrivals.of(known.partition.0) else { continue };
                    let expired_at = known.stamped.saturating_add(known.valid_for);
                    if arrived >= expired_at {
                        let since = self.moment.now - TimeDelta::microseconds(arrived.saturating_sub(expired_at));
                        self.tell_expired(&known, since, &rules, open, &mut found);
                    }
                }
            }
        }
        found
    }

    /// Tells of one patient and set, whose values expired `since` then.
    fn tell_expired(
        &self,
        known: &Known<'_>,
        since: DateTime<Utc>,
        rules: &[&Rule],
        open: &OpenEpisodes,
        found: &mut Vec<Unjudged>,
    ) {
        if self.is_unread(known.partition, since) {
            return;
        }
        let column = known.column;
        let rejected = self.rejected.get(known.patient);
        let bad = self.bad_values.get(&(Arc::clone(known.patient), column.to_owned()));
        let bad = bad.filter(|bad| bad.last >= since - TimeDelta::microseconds(known.valid_for));
        for rule in rules {
            // A doubtful value may have it fire, which is to be judged.
            if open.is_told_of(rule, known.patient, Some(known.at)) {
                continue;
            }
            let (cause, detail) = match (open.standing_suppressor(rule, known.patient), bad) {
                _ if let Some((cause, reason)) = rejected => (*cause, reason.clone()),
                (Some((technical, _)), _) => (Why::Suppressed, technical),
                (None, Some(bad)) => (Why::BadValue, self.bad_text(column, bad)),
                (None, None) => (Why::NoValue, self.valid_for.label(column).to_owned()),
            };
            let (patient, rule) = (Arc::clone(known.patient), rule.name.clone());
            let (judged_until, told_by) = (Some(known.at), self.told_by(open, &patient, column));
            found.push(Unjudged { patient, patients: 1, rule, judged_until, since, cause, detail, told_by });
        }
    }

    /// Whether nothing of a partition could be read when its values expired `since` then: that is why they did.
    fn is_unread(&self, partition: Partition, since: DateTime<Utc>) -> bool {
        let away = self.unread.kafka_away.as_ref().map(|(since, _)| *since);
        let stalled = self.unread.stalled.get(&partition).map(|stalled| stalled.since);
        [away, stalled].into_iter().flatten().any(|unread| since >= unread)
    }

    /// Of records that wait with Kafka.
    fn not_read(&self) -> Vec<Unjudged> {
        let streams = self.moment.streams;
        let unjudged = |patient: &Arc<str>, patients, cause, since: DateTime<Utc>, detail| Unjudged {
            patient: Arc::clone(patient),
            patients,
            rule: EVERY_RULE.to_owned(),
            judged_until: streams.newest(patient),
            since,
            cause,
            detail,
            told_by: None,
        };
        if let Some((since, says)) = &self.unread.kafka_away {
            return vec![unjudged(&"".into(), streams.patients(), Why::KafkaAway, *since, says.clone())];
        }
        if self.unread.stalled.is_empty() {
            return Vec::new();
        }
        let stalled = streams.partitions().filter_map(|(patient, partition)| {
            let stalled = self.unread.stalled.get(&partition)?;
            let detail = format!("partition {}, {}", stalled.shown, stalled.reason);
            Some(unjudged(patient, 1, Why::PartitionStalled, stalled.since, detail))
        });
        stalled.collect()
    }

    /// Of rules that fail, for everybody.
    fn failing(&self) -> impl Iterator<Item = Unjudged> {
        let failing = self.rules.iter().filter_map(|rule| Some((rule, self.failing.get(&rule.name)?)));
        failing.map(|(rule, (why, since))| Unjudged {
            patient: "".into(),
            patients: self.moment.streams.patients(),
            rule: rule.name.clone(),
            judged_until: None,
            since: *since,
            cause: Why::QueryFailing,
            detail: why.clone(),
            told_by: None,
        })
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
            let rules = self.watched().filter(|rule| rule.judged == Judged::BySample);
            let rules =
                rules.filter(|rule| rule.depends_on().contains(column) && !open.is_told_of(rule, patient, None));
            for rule in rules {
                let (cause, detail) = match open.standing_suppressor(rule, patient) {
                    Some((technical, _)) => (Why::Suppressed, technical),
                    None => (Why::BadValue, self.bad_text(column, bad)),
                };
                let (patient, rule, since) = (Arc::clone(patient), rule.name.clone(), bad.first);
                let told_by = self.told_by(open, &patient, column);
                found.push(Unjudged { patient, patients: 1, rule, judged_until: None, since, cause, detail, told_by });
            }
        }
        found
    }

    /// Of rules that wait because a technical alert says that values mean nothing.
    fn suppressed(&self, open: &OpenEpisodes) -> Vec<Unjudged> {
        let mut found = Vec::new();
        for rule in self.watched() {
            for technical in &rule.suppressed_by {
                let standing = open.rules.get(technical).into_iter().flatten();
                let firing = standing.filter_map(|(patient, standing)| {
                    let live = standing.live.as_ref()?;
                    Some((patient, live.firing_at?, live.handling.fired_now))
                });
                found.extend(firing.map(|(patient, firing_at, fired_now)| Unjudged {
                    patient: Arc::clone(patient),
                    patients: 1,
                    rule: rule.name.clone(),
                    judged_until: Some(firing_at),
                    since: fired_now.unwrap_or(self.moment.now),
                    cause: Why::Suppressed,
                    detail: technical.clone(),
                    told_by: None,
                }));
            }
        }
        found
    }

    /// Of alarms that somebody has asked not to be told of. They are judged; but nobody hears of them.
    fn paused(&self, open: &OpenEpisodes) -> Vec<Unjudged> {
        let now = self.moment.now;
        let mut found = Vec::new();
        // Of several about one patient, the one that lasts for longest is told.
        let mut silences: Vec<_> =
            open.silences.iter().filter(|known| known.from <= now && now < known.until).collect();
        silences.sort_by_key(|silence| std::cmp::Reverse(silence.until));
        for silence in silences {
            let hides = |rule: &&Rule| {
                let is_named = silence.scope.rule.is_empty() || silence.scope.rule == rule.name;
                is_named && rule.header.severity <= silence.up_to
            };
            if !self.watched().any(|rule| hides(&rule)) {
                continue;
            }
            let rule = if silence.scope.rule.is_empty() { EVERY_RULE } else { &silence.scope.rule };
            let up_to = match silence.up_to {
                Severity::High => String::new(),
                severity => format!(" for alarms up to {}", severity.name()),
            };
            let until = written(silence.until);
            let detail = format!("{} by {} until {until}{up_to}", silence.kind.name(), silence.by);
            let unjudged = |patient: &Arc<str>| Unjudged {
                patient: Arc::clone(patient),
                patients: 1,
                rule: rule.to_owned(),
                judged_until: None,
                since: silence.from,
                cause: Why::Paused,
                detail: detail.clone(),
                told_by: None,
            };
            let scope = &silence.scope;
            let all = self.moment.streams.partitions().map(|(patient, _)| patient);
            let is_in_scope = |patient: &&Arc<str>| {
                (scope.patient.is_empty() || scope.patient == ***patient)
                    && (scope.ward.is_empty() || scope.ward == self.wards.of(patient))
            };
            found.extend(all.filter(is_in_scope).map(unjudged));
        }
        found
    }

    /// The technical rule whose alert names this vital of the patient: whoever is told of that need not be told that it is missing.
    fn told_by(&self, open: &OpenEpisodes, patient: &str, column: &str) -> Option<String> {
        let label = self.valid_for.label(column);
        let mut technical = self.rules.iter().filter(|rule| rule.is_technical());
        let says_so = technical.find(|rule| {
            let standing = open.rules.get(&rule.name).and_then(|patients| patients.get(patient));
            let firing = standing.and_then(|standing| standing.live.as_ref()).filter(|live| live.firing_at.is_some());
            firing.is_some_and(|alert| names(&alert.text, column) || names(&alert.text, label))
        });
        says_so.map(|rule| rule.name.clone())
    }

    fn bad_text(&self, column: &str, bad: &BadValue) -> String {
        bad_text(self.valid_for.label(column), &bad.reason)
    }

    /// The rules about patients.
    fn watched(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| !rule.is_technical())
    }

    /// Has the technical alerts of the job's own stand that follow from streams and from `unjudged`.
    pub fn judge(&self, open: &mut OpenEpisodes, unjudged: &[Unjudged]) {
        let times = (self.moment.now, self.moment.event_now);
        let standing = open.rules.get(UNJUDGED).into_iter().flatten();
        let standing = standing.filter_map(|(patient, standing)| Some((patient, &standing.live.as_ref()?.text)));
        let standing: HashMap<Arc<str>, Arc<str>> =
            standing.map(|(patient, text)| (Arc::clone(patient), Arc::clone(text))).collect();
        let mut stand = |rule: &str, texts: BTreeMap<Arc<str>, String>| {
            let patients: BTreeSet<&str> = texts.keys().map(AsRef::as_ref).collect();
            open.stand(rule, &patients, &|patient| texts.get(patient).cloned().unwrap_or_default(), times);
        };
        let untold = self.untold(unjudged);
        // Of a rule that is not judged any more either, people are told too: the alert that does not name it gives way.
        let told = untold.iter().filter(|(patient, untold)| {
            standing.get(*patient).is_none_or(|text| untold.rules.iter().all(|rule| names(text, rule)))
        });
        stand(UNJUDGED, told.map(|(patient, untold)| (Arc::clone(patient), untold.text.clone())).collect());
        stand(UNJUDGED, untold.into_iter().map(|(patient, untold)| (patient, untold.text)).collect());
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

    /// What is to be told of patients that nothing else tells, once it has lasted for a moment.
    fn untold(&self, unjudged: &[Unjudged]) -> BTreeMap<Arc<str>, Untold> {
        let mut found: BTreeMap<Arc<str>, Untold> = BTreeMap::new();
        for of_patient in unjudged.chunk_by(|one, next| one.patient == next.patient) {
            let untold: Vec<&Unjudged> = of_patient.iter().filter(|unjudged| self.is_untold(unjudged)).collect();
            let Some(first) = untold.iter().min_by_key(|unjudged| unjudged.since) else { continue };
            // Rules of one cause together, the one that has lasted for longest first.
            let mut causes: Vec<(String, Vec<&Unjudged>)> = Vec::new();
            for unjudged in &untold {
                let last = unjudged.judged_until.map(|at| format!(", last at {}", written(at)));
                let why = format!("{}{}", unjudged.why(), last.unwrap_or_default());
                match causes.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, of)) => of.push(unjudged),
                    None => causes.push((why, vec![unjudged])),
                }
            }
            causes.sort_by_key(|(_, of)| of.iter().map(|unjudged| unjudged.since).min());
            let told: Vec<String> = causes.iter().map(|(why, of)| format!("{}: {why}", rules_of(of))).collect();
            let rules = untold.iter().map(|unjudged| rules_of(&[*unjudged])).collect();
            let text = format!("not judged by {}", told.join("; "));
            found.insert(Arc::clone(&first.patient), Untold { text, rules });
        }
        found
    }

    fn is_untold(&self, unjudged: &Unjudged) -> bool {
        let may_yet_be_told = matches!(unjudged.cause, Why::BadValue | Why::NoValue)
            && self.moment.now - unjudged.since < MAY_YET_BE_TOLD;
        !unjudged.cause.is_told_elsewhere() && unjudged.told_by.is_none() && !may_yet_be_told
    }

    /// Clocks that were set, that are ahead or behind, and that differ between the devices of a patient.
    fn clock_texts(&self) -> ClockTexts {
        let (mut step, mut ahead, mut behind) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
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
            if let Some(stood) =
                clock.stood_for.filter(|stood| *stood >= STANDS_STILL.num_microseconds().unwrap_or(i64::MAX))
            {
                let text = format!("the clock of {} has stood still for {}", device(&clock), length(stood));
                behind.insert(Arc::clone(clock.patient), text);
                continue;
            }
            let [least, most] = clock.delays;
            if least < -AHEAD.num_microseconds().unwrap_or(i64::MAX) {
                let text = format!("the clock of {} is {} ahead", device(&clock), length(least));
                ahead.insert(Arc::clone(clock.patient), text);
            }
            if (BEHIND.0..BEHIND.1).contains(&TimeDelta::microseconds(most)) {
                let text =
                    format!("{} is {} behind: its clock, or what it sends is held up", device(&clock), length(most));
                behind.insert(Arc::clone(clock.patient), text);
            }
            let range = delays.entry(clock.patient).or_insert([least, most]);
            *range = [range[0].min(least), range[1].max(most)];
        }
        let differs = delays.into_iter().filter(|(_, [least, most])| most.saturating_sub(*least) > CLOCK_TOLERANCE);
        let differs = differs.map(|(patient, [least, most])| {
            let apart = length(most.saturating_sub(least));
            (Arc::clone(patient), format!("the clocks of the patient's devices are {apart} apart"))
        });
        behind.extend(differs);
        ClockTexts { step, ahead, differs: behind }
    }

    /// The patients of whom two streams have said different things for too long.
    fn disagreeing(&self, open: &OpenEpisodes) -> BTreeMap<Arc<str>, String> {
        let standing = open.iter().filter(|episode| episode.state == State::Firing && episode.tracks.len() > 1);
        let told = standing.filter_map(|episode| Some((Arc::clone(&episode.patient), self.disagreement(episode)?)));
        told.collect()
    }

    fn disagreement(&self, episode: &Episode) -> Option<String> {
        let lasting = |holds: Holds| {
            episode.tracks.iter().filter(move |track| {
                let now = self.moment.clock(track);
                let is_live = now.is_some_and(|now| now < track.valid_until && now - track.since >= DISAGREE_AFTER);
                track.holds == holds && track.stream.is_some() && is_live
            })
        };
        // A device whose clock was set has said two things, one after the other.
        let device = |track: &super::Track| track.stream.as_ref().map(|id| Arc::clone(&id.device));
        let are_apart = |one: &super::Track, other: &super::Track| {
            device(one) != device(other) || device(one).is_none_or(|name| name.is_empty())
        };
        let (says, denies) = lasting(Holds::Yes)
            .find_map(|says| lasting(Holds::No).find(|denies| are_apart(says, denies)).map(|denies| (says, denies)))?;
        let is_named = |track: &super::Track| track.stream.as_ref().is_some_and(|stream| !stream.device.is_empty());
        if !is_named(says) && !is_named(denies) {
            let rule = &episode.rule;
            return Some(format!("one device says {rule}, another does not; records do not name them"));
        }
        let name = |track: &super::Track| match &track.stream {
            Some(stream) if !stream.device.is_empty() => format!("device \"{}\"", stream.device),
            _ => "a device without a name".to_owned(),
        };
        Some(format!("{} says {}, {} does not", name(says), episode.rule, name(denies)))
    }
}

/// What is told of values of a vital, by its label, that are none.
#[must_use]
pub fn bad_text(label: &str, reason: &str) -> String {
    format!("what is sent as {label} {reason}")
}

/// The names of rules, in words.
fn rules_of(unjudged: &[&Unjudged]) -> String {
    let names: Vec<&str> = unjudged.iter().map(|unjudged| unjudged.rule.as_str()).collect();
    if names.contains(&EVERY_RULE) { "any rule".to_owned() } else { names.join(", ") }
}

/// Whether a text has `name` in it as a word of its own, its letters large or small.
fn names(text: &str, name: &str) -> bool {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let is_end = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    !name.is_empty()
        && text.match_indices(&name).any(|(at, found)| {
            is_end(text[..at].chars().next_back()) && is_end(text[at + found.len()..].chars().next())
        })
}

/// What nothing else tells of a patient, and of which rules.
struct Untold {
    text: String,
    rules: Vec<String>,
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

//! Coverage: until when each rule has judged each patient, and why not further; and the technical alerts of the job's own
//! that follow from what is known of streams.
//!
//! A rule judges a patient while each vital that it depends on has a value that is valid; one that is judged once per batch,
//! and so is made of many values, while any has. A vital that the patient never had is not missed: nobody attaches every
//! sensor to everybody. What a technical alert says already is not said twice.
//!
//! Values in, values out: what is known of streams, alerts and queries becomes a list.

mod technical;
mod unjudged;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_model::terms::{Partition, Severity};

use super::Judged;
use super::moment::Moment;
use super::rule::Rule;
use super::standing::OpenEpisodes;
use super::streams::{Known, Needs};
use super::system::{Unread, written};
use super::wards::Wards;

pub use unjudged::{BadValue, BadValues, EVERY_RULE, Unjudged, Why, bad_text, unjudged_patients};

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

//! What windows do not see: values that come too late for them, patient by patient, and a partition for which all of them wait.
//!
//! Lateness is a matter of the partition, so a device whose clock is behind its neighbours' by more than it is in no window. Rules on
//! single readings judge it all the same; those on windows do not, which is told here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::take_record_batch;
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{Streams, Unjudged, ValidFor, Why};
use wardwatch_model::terms::Partition;

use super::memory::Rows;
use super::plan::Plan;

/// Values that come late for so long, and none on time, are told of; so is a partition for which windows wait for so long.
const LASTS: TimeDelta = TimeDelta::seconds(30);

/// A partition that is further behind the newest event time than this, lateness apart, keeps windows waiting.
const BEHIND: TimeDelta = TimeDelta::seconds(30);

/// So long it is remembered that values came late, at least.
const REMEMBERED: TimeDelta = TimeDelta::minutes(10);

/// What windows do not see.
#[derive(Debug, Clone, Default)]
pub(super) struct Late {
    values: BTreeMap<Arc<str>, BTreeMap<String, LateValues>>,
    /// The partition for which windows wait, and since when they do.
    slowest: Option<(Partition, DateTime<Utc>)>,
    /// What was told before a restart, of patients and of everybody.
    restored: Vec<Unjudged>,
    of_ward: Vec<Unjudged>,
}

/// Values of a patient's column that came late, with none on time since the first.
#[derive(Debug, Clone, Copy)]
struct LateValues {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

impl LateValues {
    fn stand(self) -> bool {
        self.last - self.first >= LASTS
    }
}

impl Late {
    /// Goes on with what was told before a restart.
    pub(super) fn told<'a>(told: impl Iterator<Item = &'a Unjudged>) -> Self {
        let told = told.filter(|told| told.cause == Why::Late).cloned();
        let (of_ward, restored): (Vec<_>, Vec<_>) = told.partition(|told| told.patient.is_empty());
        Self { of_ward, restored, ..Self::default() }
    }

    /// Takes note of a batch's rows.
    pub(super) fn note(&mut self, plan: &Plan, rows: &Rows, now: DateTime<Utc>) {
        for told in std::mem::take(&mut self.restored) {
            let vitals = plan.on_windows.get(&told.rule).into_iter().flatten();
            let values =
                vitals.map(|vital| (vital.clone(), LateValues { first: told.since.min(now - LASTS), last: now }));
            self.values.entry(told.patient).or_default().extend(values);
        }
        if plan.on_windows.is_empty() || (self.values.is_empty() && rows.late_places.is_empty()) {
            return;
        }
        let vitals: BTreeSet<&String> = plan.on_windows.values().flatten().collect();
        if !rows.late_places.is_empty() {
            let places = rows.late_places.iter().map(|place| *place as u64).collect::<arrow::array::UInt64Array>();
            let late = take_record_batch(&rows.all, &places)
                .unwrap_or_else(|error| panic!("late rows are among all: {error}"));
            each_value(&late, &plan.samples.key, &vitals, |patient, vital| {
                let of = self.values.entry(patient.into()).or_default();
                let values = of.entry(vital.to_owned()).or_insert(LateValues { first: now, last: now });
                values.last = now;
            });
        }
        let known = &mut self.values;
        each_value(&rows.on_time, &plan.samples.key, &vitals, |patient, vital| {
            if let Some(of) = known.get_mut(patient) {
                of.remove(vital);
            }
        });
        known.retain(|_, of| {
            of.retain(|vital, values| {
                let valid = TimeDelta::from_std(plan.valid_for(vital)).unwrap_or(TimeDelta::MAX);
                now - values.last <= REMEMBERED.max(valid * 2)
            });
            !of.is_empty()
        });
    }

    /// Takes note of the partition that holds the watermark, how far it is behind the newest event time, and whether it is read up to
    /// now: of one with a backlog nothing is wrong.
    pub(super) fn note_slowest(&mut self, slowest: Option<(Partition, TimeDelta)>, now: DateTime<Utc>) {
        let behind = slowest.filter(|(_, behind)| *behind >= BEHIND).map(|(partition, _)| partition);
        self.slowest = behind.map(|partition| match self.slowest {
            Some((known, since)) if known == partition => (partition, since),
            _ => (partition, self.of_ward.iter().map(|told| told.since).min().unwrap_or(now)),
        });
        // Until it is known again how it stands, it stands as it did.
        if slowest.is_some() {
            self.of_ward.clear();
        }
    }

    /// The rules over windows that do not judge a patient, or wait for everybody.
    pub(super) fn unjudged(&self, plan: &Plan, streams: &Streams, now: DateTime<Utc>) -> Vec<Unjudged> {
        let is_rule = |told: &&Unjudged| plan.on_windows.contains_key(&told.rule);
        let mut found: Vec<Unjudged> = self.of_ward.iter().filter(is_rule).cloned().collect();
        for (patient, of) in &self.values {
            for (rule, vitals) in &plan.on_windows {
                let known = || vitals.iter().filter(|vital| streams.last_value(patient, vital).is_some());
                let late = |vital: &&String| of.get(*vital).is_some_and(|values| values.stand());
                let Some(since) = known().filter(late).filter_map(|vital| Some(of.get(vital)?.first)).min() else {
                    continue;
                };
                if !known().all(|vital| late(&vital)) {
                    continue; // it goes on with those that are on time
                }
                let labels: Vec<&str> = known().map(|vital| plan.label(vital)).collect();
                let detail = format!(
                    "{} comes later than lateness = \"{}\" allows, and is in no window",
                    labels.join(", "),
                    humantime::format_duration(plan.job.source.lateness)
                );
                found.push(unjudged(patient, (1, rule), since, detail));
            }
        }
        if let Some((partition, since)) = self.slowest.filter(|(_, since)| now - *since >= LASTS) {
            let detail = format!(
                "windows wait for partition {}, whose records are behind those of the others",
                plan.topics.show(partition)
            );
            let rules = plan.on_windows.keys();
            found.extend(rules.map(|rule| unjudged(&"".into(), (streams.patients(), rule), since, detail.clone())));
        }
        found
    }
}

fn unjudged(patient: &Arc<str>, (patients, rule): (usize, &str), since: DateTime<Utc>, detail: String) -> Unjudged {
    Unjudged {
        patient: Arc::clone(patient),
        patients,
        rule: rule.to_owned(),
        judged_until: None,
        since,
        cause: Why::Late,
        detail,
        told_by: None,
    }
}

/// Calls `take` with the patient and column of each value.
fn each_value(rows: &RecordBatch, key: &str, vitals: &BTreeSet<&String>, mut take: impl FnMut(&str, &str)) {
    let keys = rows[key].as_string_view();
    for vital in vitals {
        let Some(values) = rows.column_by_name(vital) else { continue };
        let with_value = (0..rows.num_rows()).filter(|row| values.is_valid(*row));
        with_value.for_each(|row| take(keys.value(row), vital));
    }
}

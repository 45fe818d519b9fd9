//! What the loop knows of coverage from batch to batch: what was no value, and what the store has been told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::{BadValue, BadValues, Streams, Unjudged, ValidFor};
use crate::decode::{Artefact, Reject};
use crate::store::CoverageChanges;

use super::plan::Plan;

/// Coverage is found out so often; small batches would spend much of their time on it.
const EVERY: TimeDelta = TimeDelta::seconds(1);

/// What was no value is remembered for so long.
const REMEMBERED: TimeDelta = TimeDelta::minutes(10);

/// So many rejects of a patient, and so long from the first to the last, are no single mishap.
const ENOUGH_REJECTS: u64 = 3;
const REJECTS_LAST: TimeDelta = TimeDelta::seconds(2);

/// Coverage as the store has it, and what is needed to find it out again.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    bad_values: BadValues,
    rejected: BTreeMap<Arc<str>, Rejected>,
    doubtful: BTreeMap<(Arc<str>, String), Doubtful>,
    told: BTreeMap<(Arc<str>, String), Unjudged>,
    looked_at: Option<DateTime<Utc>>,
}

/// Records of a patient that could not become rows, with none between that could.
#[derive(Debug, Clone)]
struct Rejected {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    count: u64,
    reason: String,
}

/// The last doubtful value of a patient's column.
#[derive(Debug, Clone)]
struct Doubtful {
    noted: DateTime<Utc>,
    event_time: DateTime<Utc>,
    value: f64,
}

impl Coverage {
    /// What the store was told last.
    pub(super) fn new(told: Vec<Unjudged>) -> Self {
        let told = told.into_iter().map(|unjudged| ((Arc::clone(&unjudged.patient), unjudged.rule.clone()), unjudged));
        Self { told: told.collect(), ..Self::default() }
    }

    /// Takes note of a batch's values that are none.
    pub(super) fn note(&mut self, artefacts: &[Artefact], now: DateTime<Utc>) {
        if self.bad_values.len() > artefacts.len() {
            self.bad_values.retain(|_, bad| now - bad.last < REMEMBERED);
        }
        for artefact in artefacts {
            let key = (artefact.patient.as_str().into(), artefact.column.clone());
            let new = || BadValue { first: now, last: now, reason: String::new() };
            let bad = self.bad_values.entry(key).or_insert_with(new);
            bad.last = now;
            bad.reason.clone_from(&artefact.reason);
        }
    }

    /// Takes note of a batch's doubtful values of columns that rules read, but not their doubtful twins.
    pub(super) fn note_doubtful(&mut self, plan: &Plan, artefacts: &[Artefact], now: DateTime<Utc>) {
        self.doubtful.retain(|_, doubtful| now - doubtful.noted < REMEMBERED);
        for artefact in artefacts {
            let column = plan.job.source.columns.get(&artefact.column);
            let Some((column, value)) = column.zip(artefact.value).filter(|(column, value)| column.is_doubtful(*value))
            else {
                continue;
            };
            let twin = column.doubtful_name().unwrap_or_default();
            let reads = |name: &String| plan.rules.iter().any(|rule| rule.vitals.contains(name));
            if reads(&column.name) && !reads(&twin) {
                let doubtful = Doubtful { noted: now, event_time: artefact.event_time, value };
                self.doubtful.insert((artefact.patient.as_str().into(), column.name.clone()), doubtful);
            }
        }
    }

    /// The patients whose last value of a vital was a doubtful one, each with what to tell.
    pub(super) fn doubtful(&self, plan: &Plan, streams: &Streams) -> BTreeMap<Arc<str>, String> {
        let mut texts: BTreeMap<Arc<str>, String> = BTreeMap::new();
        for ((patient, column), doubtful) in &self.doubtful {
            if streams.last_value(patient, column).is_some_and(|at| at > doubtful.event_time) {
                continue;
            }
            let text = format!(
                "{} {} is not plausible, but may be true; no rule reads it",
                plan.label(column),
                doubtful.value
            );
            texts.entry(Arc::clone(patient)).or_insert(text);
        }
        texts
    }

    /// Takes note of a batch's rejects, as far as they say whose they are.
    pub(super) fn note_rejects(&mut self, rejects: &[Reject], now: DateTime<Utc>) {
        self.rejected.retain(|_, rejected| now - rejected.last < REMEMBERED);
        for reject in rejects {
            let Some(patient) = &reject.patient else { continue };
            let new = || Rejected { first: now, last: now, count: 0, reason: String::new() };
            let rejected = self.rejected.entry(patient.as_str().into()).or_insert_with(new);
            (rejected.last, rejected.count) = (now, rejected.count + 1);
            rejected.reason.clone_from(&reject.reason);
        }
    }

    /// The patients of whom nothing but rejects has come for a while, each with what to tell.
    pub(super) fn rejected(&self, streams: &Streams) -> BTreeMap<Arc<str>, String> {
        let of = |(patient, rejected): (&Arc<str>, &Rejected)| {
            let is_read_again = streams.noted_at(patient).is_some_and(|noted| noted >= rejected.first);
            let lasts = rejected.count >= ENOUGH_REJECTS && rejected.last - rejected.first >= REJECTS_LAST;
            let text = format!("no record of the patient can be read: {}", rejected.reason);
            (lasts && !is_read_again).then(|| (Arc::clone(patient), text))
        };
        self.rejected.iter().filter_map(of).collect()
    }

    /// Lets go of rejects of patients of whom records can be read again.
    pub(super) fn forgive(&mut self, streams: &Streams) {
        self.rejected.retain(|patient, rejected| streams.noted_at(patient).is_none_or(|noted| noted < rejected.first));
    }

    pub(super) fn bad_values(&self) -> &BadValues {
        &self.bad_values
    }

    /// Whether it is to be found out at `now`.
    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.looked_at.is_none_or(|at| now - at >= EVERY)
    }

    /// What the store is to be told, now that this is known. A cause that goes on keeps the time since when it does.
    pub(super) fn changes(&self, unjudged: &[Unjudged]) -> CoverageChanges {
        let key = |unjudged: &Unjudged| (Arc::clone(&unjudged.patient), unjudged.rule.clone());
        let now: BTreeMap<_, &Unjudged> = unjudged.iter().map(|unjudged| (key(unjudged), unjudged)).collect();
        let is_told = |unjudged: &Unjudged| {
            let told = self.told.get(&key(unjudged));
            told.is_some_and(|told| told.cause == unjudged.cause && told.detail == unjudged.detail)
        };
        let with_since = |unjudged: &Unjudged| {
            let told = self.told.get(&key(unjudged)).map_or(unjudged.since, |told| told.since);
            Unjudged { since: told.min(unjudged.since), ..unjudged.clone() }
        };
        CoverageChanges {
            judged_again: self.told.keys().filter(|known| !now.contains_key(known)).cloned().collect(),
            unjudged: unjudged.iter().filter(|unjudged| !is_told(unjudged)).map(with_since).collect(),
        }
    }

    /// The store has been told.
    pub(super) fn told(&mut self, changes: CoverageChanges, now: DateTime<Utc>) {
        self.looked_at = Some(now);
        for known in &changes.judged_again {
            self.told.remove(known);
        }
        for unjudged in changes.unjudged {
            self.told.insert((Arc::clone(&unjudged.patient), unjudged.rule.clone()), unjudged);
        }
    }
}

impl ValidFor for Plan {
    fn valid_for(&self, column: &str) -> Duration {
        let own = self.job.source.columns.get(column).and_then(|column| column.valid_for);
        own.unwrap_or(self.job.alerts.stale_after)
    }

    fn label<'a>(&'a self, column: &'a str) -> &'a str {
        self.job.source.columns.get(column).map_or(column, |column| column.label.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Why;

    fn unjudged(patient: &str, cause: Why, since: i64) -> Unjudged {
        Unjudged {
            patient: patient.into(),
            rule: "hypoxia".to_owned(),
            judged_until: None,
            since: DateTime::from_timestamp(since, 0).expect("a time"),
            cause,
            detail: String::new(),
        }
    }

    #[test]
    fn the_store_is_told_of_what_changes_and_since_when_it_lasts() {
        let mut coverage = Coverage::default();
        let first = [unjudged("P1", Why::NoValue, 10), unjudged("P2", Why::NoValue, 10)];
        let changes = coverage.changes(&first);
        assert_eq!((changes.unjudged.len(), changes.judged_again.len()), (2, 0));
        coverage.told(changes, DateTime::UNIX_EPOCH);
        let changes = coverage.changes(&[unjudged("P1", Why::NoValue, 12)]);
        assert_eq!((changes.unjudged.len(), changes.judged_again.len()), (0, 1));
        coverage.told(changes, DateTime::UNIX_EPOCH);
        let changes = coverage.changes(&[unjudged("P1", Why::BadValue, 12)]);
        assert_eq!(changes.unjudged, [unjudged("P1", Why::BadValue, 10)]);
    }
}

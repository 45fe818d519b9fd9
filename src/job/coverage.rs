//! What the loop knows of coverage from batch to batch: what was no value, and what the store has been told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::{BadValue, BadValues, EVERY_RULE, Streams, Unjudged, ValidFor, Why};
use crate::decode::{Artefact, Reject};
use crate::frame::Keyed;
use crate::store::{CoverageChanges, Incomplete};

use super::attaching::Attaching;
use super::plan::Plan;

/// Coverage is found out so often; small batches would spend much of their time on it.
const EVERY: TimeDelta = TimeDelta::seconds(1);

/// What was no value is remembered for so long.
const REMEMBERED: TimeDelta = TimeDelta::minutes(10);

/// So many rejects of a patient, and so long from the first to the last, are no single mishap.
const ENOUGH_REJECTS: u64 = 3;
const REJECTS_LAST: TimeDelta = TimeDelta::seconds(2);

/// Rejects that do not say whose they are may be of anybody: those that go on for so long, each within so long of the one
/// before, are told of.
const STRAY_REJECTS_LAST: TimeDelta = TimeDelta::seconds(10);
const STRAY_REJECTS_PAUSE: TimeDelta = TimeDelta::seconds(60);

/// Who is here for so long without a record is missed.
const NOTHING_YET: TimeDelta = TimeDelta::seconds(60);

/// It is looked so often what tables lack for good.
const INCOMPLETE_EVERY: TimeDelta = TimeDelta::seconds(10);

/// Coverage as the store has it, and what is needed to find it out again.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    bad_values: BadValues,
    /// By patient; under no name those that do not say whose they are.
    rejected: BTreeMap<Arc<str>, Rejected>,
    doubtful: BTreeMap<(Arc<str>, String), Doubtful>,
    told: BTreeMap<(Arc<str>, String), Unjudged>,
    looked_at: Option<DateTime<Utc>>,
    /// Who is here without a record: since when that is known by the job's clock, and why it may be.
    absent: BTreeMap<Arc<str>, (DateTime<Utc>, Why)>,
    /// What tables lack for good, in words, and when that was read; people delete rows of it.
    incomplete: (String, Option<DateTime<Utc>>),
}

/// Records of a patient that could not become rows, with none between that could.
#[derive(Debug, Clone)]
struct Rejected {
    /// When the first and the last came: by Kafka's stamps, so that it does not matter in which batch.
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    /// When the last was read.
    noted: DateTime<Utc>,
    count: u64,
    reason: String,
    /// Whether a clock is the reason.
    is_of_clock: bool,
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
        let is_of_rejects = |told: &&Unjudged| {
            told.rule == EVERY_RULE && matches!(told.cause, Why::Rejected | Why::Clock) && !told.patient.is_empty()
        };
        // What was told of goes on after a restart, until a record can be read again.
        let rejected = told.iter().filter(is_of_rejects).map(|told| {
            let rejected = Rejected {
                first: told.since,
                last: told.since + REJECTS_LAST,
                noted: DateTime::<Utc>::MAX_UTC,
                count: ENOUGH_REJECTS,
                reason: told.detail.clone(),
                is_of_clock: told.cause == Why::Clock,
            };
            (Arc::clone(&told.patient), rejected)
        });
        let rejected = rejected.collect();
        let told = told.into_iter().map(|unjudged| ((Arc::clone(&unjudged.patient), unjudged.rule.clone()), unjudged));
        Self { told: told.collect(), rejected, ..Self::default() }
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

    /// Takes note of a batch's rejects.
    pub(super) fn note_rejects(&mut self, rejects: &[Reject], now: DateTime<Utc>) {
        for restored in self.rejected.values_mut().filter(|rejected| rejected.noted > now) {
            restored.noted = now;
        }
        self.rejected.retain(|patient, rejected| {
            now - rejected.noted < if patient.is_empty() { STRAY_REJECTS_PAUSE } else { REMEMBERED }
        });
        for reject in rejects {
            let patient = reject.patient.as_deref().unwrap_or_default();
            let at = reject.stamped_at.unwrap_or(now).min(now);
            let new =
                || Rejected { first: at, last: at, noted: now, count: 0, reason: String::new(), is_of_clock: false };
            let rejected = self.rejected.entry(patient.into()).or_insert_with(new);
            if patient.is_empty() && at - rejected.last >= STRAY_REJECTS_PAUSE {
                (rejected.first, rejected.count) = (at, 0);
            }
            (rejected.last, rejected.noted, rejected.count) = (rejected.last.max(at), now, rejected.count + 1);
            rejected.reason.clone_from(&reject.reason);
            rejected.is_of_clock = reject.is_of_clock();
        }
    }

    /// The patients of whom nothing but rejects has come for a while, each with what to tell.
    pub(super) fn rejected(&self, streams: &Streams) -> BTreeMap<Arc<str>, String> {
        let text = |(patient, rejected): (&Arc<str>, &Rejected)| {
            let of_whom = if patient.is_empty() {
                "records cannot be read, nor whose they are"
            } else {
                "no record of the patient can be read"
            };
            (Arc::clone(patient), format!("{of_whom}: {}", rejected.reason))
        };
        self.nothing_but_rejects(streams).map(text).collect()
    }

    fn nothing_but_rejects(&self, streams: &Streams) -> impl Iterator<Item = (&Arc<str>, &Rejected)> {
        self.rejected.iter().filter(|(patient, rejected)| {
            let is_read_again = streams.stamped_at(patient).is_some_and(|stamped| stamped >= rejected.first);
            let long = if patient.is_empty() { STRAY_REJECTS_LAST } else { REJECTS_LAST };
            let lasts = rejected.count >= ENOUGH_REJECTS && rejected.last - rejected.first >= long;
            lasts && !is_read_again
        })
    }

    /// Takes note of who is here at `event_now` without a record.
    pub(super) fn note_absent(
        &mut self,
        streams: &Streams,
        attaching: &Attaching,
        (now, event_now): (DateTime<Utc>, DateTime<Utc>),
    ) {
        let before = std::mem::take(&mut self.absent);
        if attaching.encounters().is_empty() {
            return;
        }
        let present = attaching.encounters().present(event_now).into_iter();
        self.absent = present
            .filter(|present| !streams.knows(&present.patient))
            .map(|present| {
                let is_without = attaching.keyed() == Keyed::ByDevice && present.devices.is_empty();
                let cause = if is_without { Why::NotAttached } else { Why::NoValue };
                let since = before.get(&present.patient).map_or(now, |(since, _)| *since);
                (present.patient, (since, cause))
            })
            .collect();
    }

    /// Whom nobody judges though streams know nothing of it: whose records are rejected, whose are nobody's, and who is here
    /// without a record.
    pub(super) fn others(&self, streams: &Streams, attaching: &Attaching, now: DateTime<Utc>) -> Vec<Unjudged> {
        let every_rule = |patient: &Arc<str>, cause: Why, since: DateTime<Utc>, detail: String| Unjudged {
            patient: Arc::clone(patient),
            patients: 1,
            rule: EVERY_RULE.to_owned(),
            judged_until: streams.newest(patient),
            since,
            cause,
            detail,
        };
        let rejected = self.nothing_but_rejects(streams).map(|(patient, rejected)| {
            let cause = if rejected.is_of_clock { Why::Clock } else { Why::Rejected };
            every_rule(patient, cause, rejected.first, rejected.reason.clone())
        });
        let strangers = Some(attaching.strangers()).filter(|strangers| *strangers > 0).map(|patients| Unjudged {
            patients,
            ..every_rule(&"".into(), Why::NotAttached, now, attaching.tell_of_nobody())
        });
        let missed = self.absent.iter().filter(|(_, (since, _))| now - *since >= NOTHING_YET);
        let missed = missed.map(|(patient, (since, cause))| {
            let detail = match cause {
                Why::NotAttached => "no device is attached to the patient",
                _ => "no record of the patient has come",
            };
            every_rule(patient, *cause, *since, detail.to_owned())
        });
        rejected.chain(strangers).chain(missed).collect()
    }

    /// Whether it is to be read again what tables lack for good.
    pub(super) fn is_incomplete_due(&self, now: DateTime<Utc>) -> bool {
        self.incomplete.1.is_none_or(|read| now - read >= INCOMPLETE_EVERY)
    }

    /// Takes note of what tables lack for good.
    pub(super) fn note_incomplete(&mut self, incomplete: Vec<Incomplete>, now: DateTime<Utc>) {
        let lacks = |lost: &Incomplete| {
            format!(
                "{} lacks {} rows of batches {} to {}, {}",
                lost.table, lost.rows, lost.from, lost.until, lost.reason
            )
        };
        let told: Vec<String> = incomplete.iter().map(lacks).collect();
        self.incomplete = (told.join("; "), Some(now));
    }

    /// What tables lack for good, in words; empty where nothing is.
    pub(super) fn incomplete(&self) -> &str {
        &self.incomplete.0
    }

    /// Lets go of rejects of patients of whom records can be read again.
    pub(super) fn forgive(&mut self, streams: &Streams) {
        self.rejected.retain(|patient, rejected| streams.stamped_at(patient).is_none_or(|at| at < rejected.first));
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
            let same = |told: &Unjudged| {
                (told.cause, told.patients, &told.detail) == (unjudged.cause, unjudged.patients, &unjudged.detail)
            };
            told.is_some_and(same)
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

    fn unjudged(patient: &str, cause: Why, since: i64) -> Unjudged {
        Unjudged {
            patient: patient.into(),
            patients: 1,
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

    fn reject(patient: Option<&str>, stamped: i64) -> Reject {
        Reject {
            partition: crate::terms::Partition(0),
            offset: crate::terms::Offset(stamped),
            key: None,
            raw: Vec::new(),
            reason: "it is no JSON object".to_owned(),
            patient: patient.map(str::to_owned),
            stamped_at: Some(second(stamped)),
            event_time: None,
        }
    }

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    #[test]
    fn rejects_of_nobody_are_told_of_once_they_go_on_and_until_they_stop() {
        let (mut coverage, streams) = (Coverage::default(), Streams::default());
        let told = |coverage: &Coverage| coverage.rejected(&streams).into_keys().collect::<Vec<_>>();
        coverage.note_rejects(&(0..9).map(|at| reject(None, at)).collect::<Vec<_>>(), second(9));
        assert_eq!(told(&coverage), [] as [Arc<str>; 0], "a mishap of a few seconds is none");
        coverage.note_rejects(&(9..20).map(|at| reject(None, at)).collect::<Vec<_>>(), second(20));
        assert_eq!(told(&coverage), [Arc::from("")]);
        coverage.note_rejects(&[], second(81));
        assert_eq!(told(&coverage), [] as [Arc<str>; 0], "none has come for a minute");
    }

    #[test]
    fn that_nothing_of_a_patient_can_be_read_is_known_from_one_batch_and_after_a_restart() {
        let streams = Streams::default();
        let mut coverage = Coverage::default();
        coverage.note_rejects(&(0..15).map(|at| reject(Some("P1"), at)).collect::<Vec<_>>(), second(300));
        assert_eq!(coverage.rejected(&streams).len(), 1);
        let told = Unjudged { rule: EVERY_RULE.to_owned(), ..unjudged("P1", Why::Rejected, 0) };
        let mut coverage = Coverage::new(vec![told]);
        coverage.note_rejects(&[], second(10_000));
        assert_eq!(coverage.rejected(&streams).len(), 1, "it goes on until a record can be read");
    }
}

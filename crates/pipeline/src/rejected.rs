//! The patients of whom no record can be read: from rejects and records in the order of Kafka's stamps, however they were batched.
//!
//! Of a device that sends something odd beside its records nothing is told, and what is told ends when records come steadily, not
//! with the first: nobody is woken by each.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_model::record::Reject;

/// So many rejects of a patient, and so long from the first to the last, are no single mishap.
const ENOUGH: u64 = 3;
const LAST: TimeDelta = TimeDelta::seconds(2);

/// So long no record of the patient could be read. Those that come within so long of one another come steadily.
const NOTHING_ELSE: TimeDelta = TimeDelta::seconds(10);

/// Records have come steadily for so long when it is over.
const STEADY: TimeDelta = TimeDelta::seconds(5);

/// Rejects that do not say whose they are may be of anybody: those that go on for so long, each within so long of the one
/// before, are told of.
const STRAY_LAST: TimeDelta = TimeDelta::seconds(10);
const STRAY_PAUSE: TimeDelta = TimeDelta::seconds(60);

/// Rejects are remembered for so long.
const REMEMBERED: TimeDelta = TimeDelta::minutes(10);

/// The rejects of each patient; under no name those that do not say whose they are.
#[derive(Debug, Clone, Default)]
pub(super) struct RejectedPatients(BTreeMap<Arc<str>, Rejected>);

/// Rejects of a patient, with no records between that could be read, or too few of them.
#[derive(Debug, Clone)]
pub(super) struct Rejected {
    /// When the first and the last came: by Kafka's stamps, so that it does not matter in which batch.
    pub(super) first: DateTime<Utc>,
    last: DateTime<Utc>,
    /// When the last was read.
    noted: DateTime<Utc>,
    count: u64,
    /// Why the last is none.
    pub(super) reason: String,
    /// Whether a clock is the reason.
    pub(super) is_of_clock: bool,
    /// From when to when records came last that could be read, each soon after the one before.
    read: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether it is told of.
    stands: bool,
}

/// What came of a patient.
#[derive(Debug, Clone, Copy)]
enum Came<'a> {
    Record,
    Reject(&'a Reject),
}

impl RejectedPatients {
    /// Goes on with what was told of before a restart: the patients, each with the first reject's time and the reason.
    pub(super) fn told(told: impl Iterator<Item = (Arc<str>, DateTime<Utc>, String, bool)>) -> Self {
        let standing = told.map(|(patient, first, reason, is_of_clock)| {
            // When it was noted is known with the first batch.
            let (last, noted) = (first + LAST, DateTime::<Utc>::MAX_UTC);
            (patient, Rejected { first, last, noted, count: ENOUGH, reason, is_of_clock, read: None, stands: true })
        });
        Self(standing.collect())
    }

    /// Whether records of a patient that could be read matter now.
    pub(super) fn is_of(&self, patient: &str, rejects: &[Reject]) -> bool {
        self.0.contains_key(patient) || rejects.iter().any(|reject| reject.patient.as_deref() == Some(patient))
    }

    /// Takes note of a batch: its rejects, and the stamps of the records that could be read of those whom [`Self::is_of`] names.
    /// `last_read` is asked for the stamp of the newest record of a patient of whom none came in this batch.
    pub(super) fn note(
        &mut self,
        rejects: &[Reject],
        records: &BTreeMap<Arc<str>, Vec<DateTime<Utc>>>,
        last_read: &dyn Fn(&str) -> Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) {
        self.0.values_mut().filter(|rejected| rejected.noted > now).for_each(|restored| restored.noted = now);
        self.0.retain(|patient, rejected| {
            now - rejected.noted < if patient.is_empty() { STRAY_PAUSE } else { REMEMBERED }
        });
        let mut came: BTreeMap<Arc<str>, Vec<(DateTime<Utc>, Came<'_>)>> = BTreeMap::new();
        for (patient, stamps) in records {
            let records = stamps.iter().map(|at| ((*at).min(now), Came::Record));
            came.entry(Arc::clone(patient)).or_default().extend(records);
        }
        for reject in rejects {
            let patient = reject.patient.as_deref().unwrap_or_default();
            let at = reject.stamped_at.unwrap_or(now).min(now);
            came.entry(patient.into()).or_default().push((at, Came::Reject(reject)));
        }
        for (patient, mut came) in came {
            came.sort_by_key(|(at, _)| *at);
            let Some((first, _)) = came.first().copied() else { continue };
            let rejected = self.0.entry(Arc::clone(&patient)).or_insert_with(|| {
                // Of records before those of this batch nothing is known any more: they may have come just before.
                let read = if records.contains_key(&patient) { Some(first) } else { last_read(&patient) };
                Rejected::nothing_yet(first, now, read)
            });
            for (at, came) in came {
                match came {
                    Came::Record => rejected.record(at),
                    Came::Reject(reject) => rejected.reject(reject, at, now, patient.is_empty()),
                }
            }
        }
        self.0.retain(|_, rejected| rejected.count > 0);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of whom no record can be read.
    pub(super) fn standing(&self) -> impl Iterator<Item = (&Arc<str>, &Rejected)> {
        self.0.iter().filter(|(_, rejected)| rejected.stands)
    }
}

impl Rejected {
    fn nothing_yet(at: DateTime<Utc>, now: DateTime<Utc>, read: Option<DateTime<Utc>>) -> Self {
        Self {
            first: at,
            last: at,
            noted: now,
            count: 0,
            reason: String::new(),
            is_of_clock: false,
            read: read.map(|at| (at, at)),
            stands: false,
        }
    }

    fn reject(&mut self, reject: &Reject, at: DateTime<Utc>, now: DateTime<Utc>, is_stray: bool) {
        if self.count == 0 || (is_stray && at - self.last >= STRAY_PAUSE) {
            (self.first, self.count) = (at, 0);
        }
        (self.last, self.noted, self.count) = (self.last.max(at), now, self.count + 1);
        self.reason.clone_from(&reject.reason);
        self.is_of_clock = reject.is_of_clock();
        let long = if is_stray { STRAY_LAST } else { LAST };
        let is_nothing_else = self.read.is_none_or(|(_, last)| at - last >= NOTHING_ELSE);
        let lasts = self.count >= ENOUGH && self.last - self.first >= long && is_nothing_else;
        self.stands = lasts || (self.stands && !is_stray);
    }

    fn record(&mut self, at: DateTime<Utc>) {
        let from = match self.read {
            Some((from, last)) if at - last <= NOTHING_ELSE => from,
            _ => at,
        };
        self.read = Some((from, self.read.map_or(at, |(_, last)| last.max(at))));
        if !self.stands || at - from >= STEADY {
            (self.stands, self.count) = (false, 0);
        }
    }
}

/// So long nothing is said of a clock of which no more rejects came, at least and at most.
const QUIET: (TimeDelta, TimeDelta) = (TimeDelta::seconds(60), TimeDelta::hours(1));

/// The patients with a device whose clock is so far ahead that none of its records is taken, though others' are.
#[derive(Debug, Clone, Default)]
pub(super) struct ClocksAhead(BTreeMap<Arc<str>, ClockAhead>);

#[derive(Debug, Clone)]
struct ClockAhead {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    /// The longest time between two of its rejects.
    pause: TimeDelta,
    reason: String,
}

impl ClocksAhead {
    /// Goes on with what was told of before a restart: the patients, each with the first reject's time and the reason.
    pub(super) fn told(told: impl Iterator<Item = (Arc<str>, DateTime<Utc>, String)>) -> Self {
        let standing = told.map(|(patient, first, reason)| {
            // When the last came is known with the first batch, and how seldom they come not at all.
            (patient, ClockAhead { first, last: DateTime::<Utc>::MAX_UTC, pause: QUIET.1 / 3, reason })
        });
        Self(standing.collect())
    }

    /// Takes note of a batch's rejects.
    pub(super) fn note(&mut self, rejects: &[Reject], now: DateTime<Utc>) {
        self.0.values_mut().filter(|known| known.last > now).for_each(|restored| restored.last = now);
        for reject in rejects.iter().filter(|reject| reject.is_of_clock()) {
            let Some(patient) = reject.patient.as_deref() else { continue };
            let at = reject.stamped_at.unwrap_or(now).min(now);
            let new = || ClockAhead { first: at, last: at, pause: TimeDelta::zero(), reason: String::new() };
            let known = self.0.entry(patient.into()).or_insert_with(new);
            known.pause = known.pause.max(at - known.last);
            known.last = known.last.max(at);
            known.reason.clone_from(&reject.reason);
        }
        self.0.retain(|_, known| {
            let quiet = if known.is_one() { QUIET.1 } else { (known.pause * 3).clamp(QUIET.0, QUIET.1) };
            now - known.last < quiet
        });
    }

    /// Of whom to tell, since when, and what.
    pub(super) fn standing(&self) -> impl Iterator<Item = (&Arc<str>, DateTime<Utc>, &str)> {
        let standing = self.0.iter().filter(|(_, known)| !known.is_one());
        standing.map(|(patient, known)| (patient, known.first, known.reason.as_str()))
    }
}

impl ClockAhead {
    /// Whether it may have been a single mishap.
    fn is_one(&self) -> bool {
        self.last - self.first < LAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardwatch_model::record::{Item, Place};
    use wardwatch_model::terms::{Offset, Partition};

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn reject(patient: Option<&str>, stamped: i64) -> Reject {
        Reject {
            place: Place { partition: Partition(0), offset: Offset(stamped), item: Item(0) },
            key: None,
            headers: Vec::new(),
            raw: Vec::new(),
            is_whole: true,
            reason: "it is no JSON object".to_owned(),
            patient: patient.map(str::to_owned),
            stamped_at: Some(second(stamped)),
            event_time: None,
        }
    }

    /// A patient's device; at each second it sends what can be read, what cannot, or nothing.
    struct Device {
        sends: Vec<(i64, bool)>,
        /// The stamp of the newest record of before.
        before: Option<i64>,
    }

    impl Device {
        fn sends(seconds: std::ops::Range<i64>, is_read: impl Fn(i64) -> bool) -> Self {
            Self { sends: seconds.map(|second| (second, is_read(second))).collect(), before: None }
        }

        /// The seconds at whose end it is told of, in batches of so many seconds: each change.
        fn told(&self, batch: usize) -> Vec<(i64, bool)> {
            let mut patients = RejectedPatients::default();
            let (mut changes, mut newest) = (Vec::new(), self.before);
            for sent in self.sends.chunks(batch) {
                let of = |wanted: bool| sent.iter().filter(move |(_, is_read)| *is_read == wanted).map(|(at, _)| *at);
                let rejects: Vec<Reject> = of(false).map(|at| reject(Some("P1"), at)).collect();
                let read: Vec<DateTime<Utc>> = of(true).map(second).collect();
                let records = [("P1".into(), read)].into_iter().filter(|(_, read)| !read.is_empty());
                let records = records.filter(|_| patients.is_of("P1", &rejects)).collect();
                newest = of(true).next_back().or(newest);
                let now = sent.last().map_or(0, |(at, _)| *at);
                patients.note(&rejects, &records, &|_| newest.map(second), second(now));
                let stands = patients.standing().count() == 1;
                if changes.last().is_none_or(|(_, before)| *before != stands) {
                    changes.push((now, stands));
                }
            }
            changes
        }
    }

    #[test]
    fn one_good_record_every_few_seconds_keeps_a_patient_from_being_told_of() {
        let flapping = Device::sends(0..140, |second| second % 5 == 0);
        for batch in [1, 3, 10, 140] {
            assert_eq!(flapping.told(batch), [(batch as i64 - 1, false)], "{batch} seconds at once");
        }
    }

    #[test]
    fn it_is_told_of_once_nothing_else_came_for_ten_seconds_and_until_records_come_steadily() {
        // Good until second 20, then none until 60; one at 60; from 80 on all.
        let device = Device::sends(0..100, |second| second < 20 || second == 60 || second >= 80);
        assert_eq!(device.told(1), [(0, false), (29, true), (85, false)]);
        assert_eq!(device.told(10), [(9, false), (29, true), (89, false)]);
        let never = Device::sends(0..4, |_| false);
        assert_eq!(never.told(1), [(0, false), (2, true)], "of whom nothing was ever read it is told at once");
        let long_ago = Device { before: Some(-500), ..Device::sends(0..4, |_| false) };
        assert_eq!(long_ago.told(1), [(0, false), (2, true)]);
    }

    #[test]
    fn rejects_of_nobody_are_told_of_once_they_go_on_and_until_they_stop() {
        let mut patients = RejectedPatients::default();
        let mut told = |from: i64, until: i64| {
            let rejects: Vec<Reject> = (from..until).map(|at| reject(None, at)).collect();
            patients.note(&rejects, &BTreeMap::new(), &|_| None, second(until));
            patients.standing().count()
        };
        assert_eq!(told(0, 9), 0, "a mishap of a few seconds is none");
        assert_eq!(told(9, 20), 1);
        assert_eq!(told(81, 81), 0, "none has come for a minute");
    }

    #[test]
    fn what_was_told_goes_on_after_a_restart() {
        let told = ("P1".into(), second(0), "it is no JSON object".to_owned(), false);
        let mut patients = RejectedPatients::told([told].into_iter());
        patients.note(&[], &BTreeMap::new(), &|_| None, second(10_000));
        assert_eq!(patients.standing().count(), 1, "it goes on until records can be read");
    }
}

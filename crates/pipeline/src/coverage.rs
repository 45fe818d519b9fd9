//! What the loop knows of coverage from batch to batch: what was no value, and what the store has been told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::{
    BadValue, BadValues, EVERY_RULE, Episode, REJECTED, Rule, SampleColumns, Streams, Unjudged, ValidFor, Why, bad_text,
};
use wardwatch_config::Column;
use wardwatch_frame::Keyed;
use wardwatch_model::record::{Artefact, Reject};
use wardwatch_model::terms::Partition;
use wardwatch_store::{CoverageChanges, Incomplete};

use super::attaching::Attaching;
use super::late::Late;
use super::memory::Rows;
use super::plan::Plan;
use super::rejected::{ClocksAhead, Rejected, RejectedPatients};

/// Coverage is found out so often; small batches would spend much of their time on it.
const EVERY: TimeDelta = TimeDelta::seconds(1);

/// What was no value is remembered for so long.
const REMEMBERED: TimeDelta = TimeDelta::minutes(10);

/// What is told of a patient of whom no record can be read; behind it stands why.
const NO_RECORD: &str = "no record of the patient can be read: ";

/// The same of one whose other devices are read.
const OF_ONE_DEVICE: &str = "no record of one of the patient's devices is taken: ";

/// Who is here for so long without a record is missed.
const NOTHING_YET: TimeDelta = TimeDelta::seconds(60);

/// It is looked so often what tables lack for good.
const INCOMPLETE_EVERY: TimeDelta = TimeDelta::seconds(10);

/// Coverage as the store has it, and what is needed to find it out again.
#[derive(Debug, Clone, Default)]
pub(super) struct Coverage {
    bad_values: BadValues,
    rejected: RejectedPatients,
    late: Late,
    ahead: ClocksAhead,
    doubtful: BTreeMap<(Arc<str>, String), Doubtful>,
    told: BTreeMap<(Arc<str>, String), Unjudged>,
    looked_at: Option<DateTime<Utc>>,
    /// Who is here without a record: since when that is known by the job's clock, and why it may be.
    absent: BTreeMap<Arc<str>, (DateTime<Utc>, Why)>,
    /// What was told of bad values before a restart.
    restored: Vec<Unjudged>,
    /// What tables lack for good, in words, and when that was read; people delete rows of it.
    incomplete: (String, Option<DateTime<Utc>>),
}

/// The last doubtful value of a patient's column.
#[derive(Debug, Clone)]
struct Doubtful {
    noted: DateTime<Utc>,
    event_time: DateTime<Utc>,
    value: f64,
}

impl Coverage {
    /// Goes on from what the store was told last, and from the alerts that stand.
    pub(super) fn new(told: Vec<Unjudged>, open: &[Episode]) -> Self {
        let alerts = open.iter().filter(|episode| &*episode.rule == REJECTED && !episode.patient.is_empty());
        let ahead = alerts.clone().filter_map(|episode| {
            let reason = episode.text.strip_prefix(OF_ONE_DEVICE)?.to_owned();
            Some((Arc::clone(&episode.patient), episode.started_at, reason))
        });
        let ahead = ClocksAhead::told(ahead);
        let standing = alerts.filter(|episode| !episode.text.starts_with(OF_ONE_DEVICE)).map(|episode| {
            let is_of_clock = told.iter().any(|told| told.patient == episode.patient && told.cause == Why::Clock);
            let reason = episode.text.strip_prefix(NO_RECORD).unwrap_or(&episode.text);
            (Arc::clone(&episode.patient), episode.started_at, reason.to_owned(), is_of_clock)
        });
        let rejected = RejectedPatients::told(standing);
        let late = Late::told(told.iter());
        let restored = told.iter().filter(|told| told.cause == Why::BadValue).cloned().collect();
        let told = told.into_iter().map(|unjudged| ((Arc::clone(&unjudged.patient), unjudged.rule.clone()), unjudged));
        Self { told: told.collect(), rejected, late, ahead, restored, ..Self::default() }
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
            let column = plan.job.source.frame.get(&artefact.column);
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

    /// Goes on with what was told of bad values before a restart, as if one had just come.
    pub(super) fn restore(&mut self, plan: &Plan, now: DateTime<Utc>) {
        for told in std::mem::take(&mut self.restored) {
            let rule = plan.rules.iter().find(|rule| rule.name == told.rule);
            for vital in rule.into_iter().flat_map(Rule::depends_on) {
                let Some(reason) = told.detail.strip_prefix(&bad_text(plan.label(vital), "")) else { continue };
                let valid = TimeDelta::from_std(plan.valid_for(vital)).unwrap_or(TimeDelta::MAX);
                let first = told.since.min(now.checked_sub_signed(valid).unwrap_or(told.since));
                let bad = BadValue { first, last: now, reason: reason.to_owned() };
                self.bad_values.entry((Arc::clone(&told.patient), vital.clone())).or_insert(bad);
            }
        }
    }

    /// Takes note of a batch's late rows, and of the partition that holds the watermark, with how far it is behind the newest event time.
    pub(super) fn note_late(
        &mut self,
        plan: &Plan,
        rows: &Rows,
        slowest: Option<(Partition, TimeDelta)>,
        now: DateTime<Utc>,
    ) {
        self.late.note(plan, rows, now);
        self.late.note_slowest(slowest, now);
    }

    /// The rules over windows that do not judge a patient for what comes late, or wait for everybody.
    pub(super) fn late(&self, plan: &Plan, streams: &Streams, now: DateTime<Utc>) -> Vec<Unjudged> {
        self.late.unjudged(plan, streams, now)
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

    /// Takes note of a batch's rejects, and of the records of patients who had some.
    pub(super) fn note_rejects(
        &mut self,
        rejects: &[Reject],
        rows: &RecordBatch,
        (streams, columns): (&Streams, &SampleColumns),
        now: DateTime<Utc>,
    ) {
        let keys = rows.column_by_name(&columns.key).and_then(|keys| keys.as_string_view_opt());
        let stamps = rows.column_by_name(&columns.stamp).and_then(|stamps| stamps.as_primitive_opt());
        let mut records: BTreeMap<Arc<str>, Vec<DateTime<Utc>>> = BTreeMap::new();
        if let Some((keys, stamps)) = keys.zip(stamps).filter(|_| !(rejects.is_empty() && self.rejected.is_empty())) {
            let stamps: &PrimitiveArray<TimestampMicrosecondType> = stamps;
            for (row, patient) in keys.iter().enumerate() {
                let Some(patient) = patient.filter(|patient| self.rejected.is_of(patient, rejects)) else { continue };
                let at = stamps.is_valid(row).then(|| DateTime::from_timestamp_micros(stamps.value(row))).flatten();
                records.entry(patient.into()).or_default().push(at.unwrap_or(now));
            }
        }
        self.rejected.note(rejects, &records, &|patient| streams.stamped_at(patient), now);
        self.ahead.note(rejects, now);
    }

    /// The patients of whom nothing but rejects has come for a while, or of one of whose devices, each with what to tell.
    pub(super) fn rejected(&self) -> BTreeMap<Arc<str>, String> {
        let text = |(patient, rejected): (&Arc<str>, &Rejected)| {
            let of_whom = if patient.is_empty() { "records cannot be read, nor whose they are: " } else { NO_RECORD };
            (Arc::clone(patient), format!("{of_whom}{}", rejected.reason))
        };
        let one = |(patient, _, reason): (&Arc<str>, DateTime<Utc>, &str)| {
            (Arc::clone(patient), format!("{OF_ONE_DEVICE}{reason}"))
        };
        self.ahead.standing().map(one).chain(self.rejected.standing().map(text)).collect()
    }

    /// The same patients, but for who is nobody, each with why no newer value comes.
    pub(super) fn why_rejected(&self) -> BTreeMap<Arc<str>, (Why, String)> {
        let standing = self.rejected.standing().filter(|(patient, _)| !patient.is_empty());
        let standing =
            standing.map(|(patient, rejected)| (Arc::clone(patient), (cause_of(rejected), rejected.reason.clone())));
        let ahead =
            self.ahead.standing().map(|(patient, _, reason)| (Arc::clone(patient), (Why::Clock, reason.to_owned())));
        ahead.chain(standing).collect()
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
            .filter(|present| !streams.is_monitored(&present.patient))
            .map(|present| {
                let is_without = attaching.keyed() == Keyed::ByDevice && present.devices.is_empty();
                let cause = if is_without { Why::NotAttached } else { Why::NoValue };
                let since = before.get(&present.patient).map_or(now, |(since, _)| *since);
                (present.patient, (since, cause))
            })
            .collect();
    }

    /// Whom nobody judges though streams know nothing of it: whose records are rejected, whose are nobody's, and who is here
    /// without a record. `counts` tells of whom a value is still valid: until none is, a patient is judged by it. Of a device of
    /// which nothing is taken, the rules are unjudged that have never had a value.
    pub(super) fn others(
        &self,
        (streams, rules): (&Streams, &[Rule]),
        counts: &dyn Fn(&str) -> bool,
        attaching: &Attaching,
        now: DateTime<Utc>,
    ) -> Vec<Unjudged> {
        let every_rule = |patient: &Arc<str>, cause: Why, since: DateTime<Utc>, detail: String| Unjudged {
            patient: Arc::clone(patient),
            patients: 1,
            rule: EVERY_RULE.to_owned(),
            judged_until: streams.newest(patient),
            since,
            cause,
            detail,
            told_by: None,
        };
        let rejected = self.rejected.standing().filter(|(patient, _)| patient.is_empty() || !counts(patient));
        let rejected = rejected.map(|(patient, rejected)| {
            every_rule(patient, cause_of(rejected), rejected.first, rejected.reason.clone())
        });
        let strangers = attaching.nobodys().into_iter();
        let strangers = strangers.map(|(patient, (text, patients))| Unjudged {
            patients,
            ..every_rule(&patient, Why::NotAttached, now, text)
        });
        let missed = self.absent.iter().filter(|(_, (since, _))| now - *since >= NOTHING_YET);
        let missed = missed.map(|(patient, (since, cause))| {
            let detail = match cause {
                Why::NotAttached => "no device is attached to the patient",
                _ => "no record of the patient has come",
            };
            every_rule(patient, *cause, *since, detail.to_owned())
        });
        let ahead = self.ahead.standing().flat_map(|(patient, since, reason)| {
            let unjudged =
                rules.iter().filter(|rule| !rule.is_technical() && !streams.has_had(patient, rule.depends_on()));
            unjudged.map(move |rule| Unjudged {
                rule: rule.name.clone(),
                told_by: Some(REJECTED.to_owned()),
                ..every_rule(patient, Why::Clock, since, reason.to_owned())
            })
        });
        rejected.chain(strangers).chain(missed).chain(ahead).collect()
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

/// Why rejected records are.
fn cause_of(rejected: &Rejected) -> Why {
    if rejected.is_of_clock { Why::Clock } else { Why::Rejected }
}

impl ValidFor for Plan {
    fn valid_for(&self, column: &str) -> Duration {
        let all = self.job.source.frame.all();
        // A doubtful value counts for as long as one that is none.
        let named = |known: &&Column| known.name == column || known.doubtful_name().is_some_and(|twin| twin == column);
        let own = all.iter().find(named).and_then(|column| column.valid_for);
        own.unwrap_or(self.job.alerts.stale_after)
    }

    fn label<'a>(&'a self, column: &'a str) -> &'a str {
        self.job.source.frame.get(column).map_or(column, |column| column.label.as_str())
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
            told_by: None,
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

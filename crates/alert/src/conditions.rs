//! At which samples of a batch a rule is true, by its rows.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};
use smallvec::{SmallVec, smallvec};

use super::map::HashMap;
use super::rule::{Rule, SampleColumns};
use super::streams::texts;
use super::{Findings, Judged};

/// Room for so many patients is made at once; more than that are few jobs' patients.
const MOST_AT_ONCE: usize = 16_384;

/// The rows of a rule by patient and by sample: by its number, or else by its event time.
pub(super) struct Conditions<'a> {
    patients: HashMap<&'a str, At>,
    /// The first row of each sample, where rows bear their samples' numbers.
    numbered: Option<HashMap<i64, usize>>,
}

/// A sample, or the moment, of which a rule is asked.
pub(super) struct Place<'a> {
    pub(super) patient: &'a str,
    pub(super) at: DateTime<Utc>,
    /// Its row in the rows that the rule was run on.
    pub(super) row: Option<i64>,
}

enum At {
    /// At each of these times, with the first row that says so; in the order of times once all are there.
    Times(SmallVec<[(i64, usize); 2]>),
    /// At every sample of the batch.
    Always(usize),
}

impl<'a> Conditions<'a> {
    /// Rows without a patient or, where there is the column, without a time name no sample and are left out.
    ///
    /// `patients`: the patient of each row.
    pub(super) fn of(found: Findings<'_>, patients: Option<&'a StringViewArray>, columns: &SampleColumns) -> Self {
        let Some(numbers) = found.samples else {
            let times = found.rows.column_by_name(&columns.event_time);
            return Self::at(patients, times.map(|times| times.as_primitive::<TimestampMicrosecondType>()));
        };
        let mut numbered = HashMap::default();
        numbered.reserve(numbers.len());
        for (row, number) in numbers.iter().enumerate() {
            if let Some(number) = number {
                numbered.entry(number).or_insert(row);
            }
        }
        Self { numbered: Some(numbered), ..Self::at(patients, None) }
    }

    /// Rows that are true of a patient now, whatever times they bear.
    pub(super) fn now(patients: Option<&'a StringViewArray>) -> Self {
        Self::at(patients, None)
    }

    fn at(patients: Option<&'a StringViewArray>, times: Option<&TimestampMicrosecondArray>) -> Self {
        let mut found: HashMap<&str, At> = HashMap::default();
        let Some(patients) = patients else { return Self { patients: found, numbered: None } };
        found.reserve(patients.len().min(MOST_AT_ONCE));
        for (row, patient) in patients.iter().enumerate() {
            let Some(patient) = patient else { continue };
            match times {
                None => {
                    found.entry(patient).or_insert(At::Always(row));
                }
                Some(times) if times.is_null(row) => {}
                Some(times) => {
                    let time = (times.value(row), row);
                    match found.get_mut(patient) {
                        Some(At::Times(times)) => times.push(time),
                        Some(At::Always(_)) => {}
                        None => drop(found.insert(patient, At::Times(smallvec![time]))),
                    }
                }
            }
        }
        for at in found.values_mut() {
            if let At::Times(times) = at {
                times.sort_unstable(); // of one time, the first row comes first
            }
        }
        Self { patients: found, numbered: None }
    }

    /// Whether each sample has its own row.
    pub(super) fn are_numbered(&self) -> bool {
        self.numbered.is_some()
    }

    pub(super) fn patients(&self) -> impl Iterator<Item = &'a str> {
        self.patients.keys().copied()
    }

    pub(super) fn has(&self, patient: &str) -> bool {
        self.patients.contains_key(patient)
    }

    /// The rule's row for a sample; `None` where the rule is false.
    pub(super) fn row(&self, place: &Place<'_>) -> Option<usize> {
        let found = self.patients.get(place.patient)?;
        if let Some(numbered) = &self.numbered {
            return numbered.get(&place.row?).copied();
        }
        match found {
            At::Times(times) => {
                let at = place.at.timestamp_micros();
                let (time, row) = times.get(times.partition_point(|(time, _)| *time < at))?;
                (*time == at).then_some(*row)
            }
            At::Always(row) => Some(*row),
        }
    }
}

/// Refuses rows by which a patient would be judged twice at one time, or as nobody who is known. `frame`: the rows that the rule
/// was run on.
///
/// Two records of one time are two samples; what a join made of one is not.
///
/// # Errors
/// The first patient with more rows than samples, or who is called something else.
pub fn check_rows(
    rule: &Rule,
    found: Findings<'_>,
    frame: &RecordBatch,
    columns: &SampleColumns,
) -> Result<(), String> {
    let rows = found.rows;
    let Some(patients) = texts(rows, &columns.key) else { return Ok(()) };
    if let Some(numbers) = found.samples {
        return check_numbers(numbers, &patients, frame, &columns.key);
    }
    let by_sample = rule.judged == Judged::BySample;
    let times_of = |rows: &RecordBatch| {
        let times = rows.column_by_name(&columns.event_time).filter(|_| by_sample)?;
        Some(times.as_primitive::<TimestampMicrosecondType>().clone())
    };
    let times = times_of(rows);
    if by_sample && (times.is_none() || rule.looks_back) {
        return Ok(()); // a row for a patient holds for all samples; a doubled record of before is no fault of the rule
    }
    let at = |times: &Option<TimestampMicrosecondArray>, row: usize| {
        times.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row))
    };
    let mut counts: HashMap<(&str, Option<i64>), usize> = HashMap::default();
    for (row, patient) in patients.iter().enumerate() {
        if let Some(patient) = patient {
            *counts.entry((patient, at(&times, row))).or_default() += 1;
        }
    }
    counts.retain(|_, count| *count > 1);
    if counts.is_empty() {
        return Ok(());
    }
    let known = texts(frame, &columns.key);
    let known_times = times_of(frame);
    for (row, patient) in known.iter().flatten().enumerate().filter(|_| by_sample) {
        if let Some(count) = patient.and_then(|patient| counts.get_mut(&(patient, at(&known_times, row)))) {
            *count = count.saturating_sub(1);
        }
    }
    let allowed = if by_sample { 0 } else { 1 };
    match counts.into_iter().filter(|(_, count)| *count > allowed).map(|((patient, at), _)| (patient, at)).min() {
        None => Ok(()),
        Some((patient, None)) => Err(format!(
            "it gives two rows for patient \"{patient}\"; a rule gives one per patient: GROUP BY {}, or join by its \
             whole key",
            columns.key
        )),
        Some((patient, Some(at))) => Err(format!(
            "it gives two rows for one sample of patient \"{patient}\", at {}; join by the whole key of what you join",
            DateTime::from_timestamp_micros(at).unwrap_or_default().to_rfc3339()
        )),
    }
}

/// Refuses two rows of one sample, and rows that name another patient than their sample, where rows bear their samples'
/// numbers.
fn check_numbers(
    numbers: &Int64Array,
    patients: &StringViewArray,
    frame: &RecordBatch,
    key: &str,
) -> Result<(), String> {
    let mut seen = HashSet::with_capacity(numbers.len());
    let twice = (0..numbers.len()).find(|row| numbers.is_valid(*row) && !seen.insert(numbers.value(*row)));
    let name = |names: &StringViewArray, row: usize| {
        if names.is_valid(row) { format!("\"{}\"", names.value(row)) } else { "NULL".to_owned() }
    };
    if let Some(row) = twice {
        let patient = name(patients, row);
        return Err(format!(
            "it gives two rows for one sample of patient {patient}; join by the whole key of what you join"
        ));
    }
    let Some(known) = texts(frame, key) else { return Ok(()) };
    let sampled = numbers.iter().enumerate().filter_map(|(row, number)| Some((row, usize::try_from(number?).ok()?)));
    let renamed = sampled
        .filter(|(_, sample)| *sample < known.len())
        .map(|(row, sample)| (name(patients, row), name(&known, sample)));
    match renamed.filter(|(called, patient)| called != patient).min() {
        None => Ok(()),
        Some((called, patient)) => Err(format!(
            "it calls patient {patient} {called}, whom nobody knows; a rule gives {key} as it is in the record"
        )),
    }
}

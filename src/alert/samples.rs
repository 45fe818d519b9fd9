//! The samples of a batch, and at which of them a rule is true.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Judged, Rule, SampleColumns};

/// Room for so many patients is made at once; more than that are few jobs' patients.
const MOST_AT_ONCE: usize = 16_384;

/// The rows of a rule by patient and, where the rule returns it, event time.
pub(super) struct Conditions(HashMap<String, At>);

enum At {
    /// At each of these times, with the first row that says so; in the order of times once all are there.
    Times(Vec<(i64, usize)>),
    /// At every sample of the batch.
    Always(usize),
}

impl Conditions {
    /// Rows without a patient or, where there is the column, without a time name no sample and are left out.
    pub(super) fn of(rows: &RecordBatch, columns: &SampleColumns) -> Self {
        let times = rows.column_by_name(&columns.event_time);
        Self::at(rows, columns, times.map(|times| times.as_primitive::<TimestampMicrosecondType>()))
    }

    /// Rows that are true of a patient now, whatever times they bear.
    pub(super) fn now(rows: &RecordBatch, columns: &SampleColumns) -> Self {
        Self::at(rows, columns, None)
    }

    fn at(rows: &RecordBatch, columns: &SampleColumns, times: Option<&TimestampMicrosecondArray>) -> Self {
        let mut found: HashMap<String, At> = HashMap::with_capacity(rows.num_rows().min(MOST_AT_ONCE));
        let Some(patients) = texts(rows, &columns.key) else { return Self(found) };
        for (row, patient) in patients.iter().enumerate() {
            let Some(patient) = patient else { continue };
            match times {
                None => {
                    found.entry(patient.to_owned()).or_insert(At::Always(row));
                }
                Some(times) if times.is_null(row) => {}
                Some(times) => {
                    let time = (times.value(row), row);
                    match found.get_mut(patient) {
                        Some(At::Times(times)) => times.push(time),
                        Some(At::Always(_)) => {}
                        None => drop(found.insert(patient.to_owned(), At::Times(vec![time]))),
                    }
                }
            }
        }
        for at in found.values_mut() {
            if let At::Times(times) = at {
                times.sort_unstable(); // of one time, the first row comes first
            }
        }
        Self(found)
    }

    pub(super) fn patients(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn has(&self, patient: &str) -> bool {
        self.0.contains_key(patient)
    }

    /// The rule's row for a sample; `None` where the rule is false.
    pub(super) fn row(&self, patient: &str, at: DateTime<Utc>) -> Option<usize> {
        match self.0.get(patient)? {
            At::Times(times) => {
                let at = at.timestamp_micros();
                let (time, row) = times.get(times.partition_point(|(time, _)| *time < at))?;
                (*time == at).then_some(*row)
            }
            At::Always(row) => Some(*row),
        }
    }
}

/// Refuses rows by which a patient would be judged twice at one time.
///
/// Two records of one time are two samples; what a join made of one is not.
///
/// # Errors
/// The first patient with more rows than samples.
pub fn check_rows(rule: &Rule, rows: &RecordBatch, frame: &RecordBatch, columns: &SampleColumns) -> Result<(), String> {
    let Some(patients) = texts(rows, &columns.key) else { return Ok(()) };
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
    let mut counts: HashMap<(&str, Option<i64>), usize> = HashMap::with_capacity(rows.num_rows());
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

/// What is known of the last samples of each patient, over all batches so far.
#[derive(Debug, Clone, Default)]
pub struct NewestSamples {
    /// The columns of which the last value's time is kept.
    vitals: Vec<String>,
    patients: HashMap<String, Newest>,
}

#[derive(Debug, Clone)]
struct Newest {
    /// The greatest event time.
    at: i64,
    /// The greatest event time at which each of the columns had a value.
    known: Vec<i64>,
}

impl NewestSamples {
    /// Keeps the time of the last value of `vitals`, beside that of the last sample.
    #[must_use]
    pub fn of(vitals: Vec<String>) -> Self {
        Self { vitals, patients: HashMap::new() }
    }

    /// Keeps the time of the last value of `vitals` from now on. Of one that was not kept so far, nothing is known.
    pub fn keep(&mut self, vitals: Vec<String>) {
        let before: Vec<Option<usize>> =
            vitals.iter().map(|vital| self.vitals.iter().position(|kept| kept == vital)).collect();
        for newest in self.patients.values_mut() {
            newest.known = before.iter().map(|index| index.map_or(i64::MIN, |index| newest.known[index])).collect();
        }
        self.vitals = vitals;
    }

    /// Takes note of the samples of `frame`.
    pub fn note(&mut self, frame: &RecordBatch, columns: &SampleColumns) {
        let (Some(keys), Some(times)) = (texts(frame, &columns.key), frame.column_by_name(&columns.event_time)) else {
            return;
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let vitals: Vec<Option<&ArrayRef>> = self.vitals.iter().map(|name| frame.column_by_name(name)).collect();
        for (row, patient) in keys.iter().enumerate() {
            let Some(patient) = patient else { continue };
            let at = times.value(row);
            let newest = match self.patients.get_mut(patient) {
                Some(newest) => newest,
                None => self
                    .patients
                    .entry(patient.to_owned())
                    .or_insert_with(|| Newest { at, known: vec![i64::MIN; vitals.len()] }),
            };
            newest.at = newest.at.max(at);
            for (known, values) in newest.known.iter_mut().zip(&vitals) {
                if values.is_some_and(|values| values.is_valid(row)) {
                    *known = at.max(*known);
                }
            }
        }
    }

    /// Whether each of `vitals` has had a value of this patient less than `within` ago; of no vitals, whether there was
    /// a sample.
    pub(super) fn are_known(&self, patient: &str, vitals: &[String], now: DateTime<Utc>, within: TimeDelta) -> bool {
        let Some(newest) = self.patients.get(patient) else { return false };
        let is_recent = |at: i64| DateTime::from_timestamp_micros(at).is_some_and(|at| now - at < within);
        let kept = |vital: &String| self.vitals.iter().position(|kept| kept == vital);
        match vitals {
            [] => is_recent(newest.at),
            vitals => vitals.iter().filter_map(kept).all(|index| is_recent(newest.known[index])),
        }
    }

    fn newest(&self, patient: &str) -> Option<i64> {
        self.patients.get(patient).map(|newest| newest.at)
    }
}

/// The samples of a batch: the event times of each patient, in the order in which they came, with their rows.
///
/// A sample that is older than one that came before it is left out: its time has been judged without it.
#[derive(Debug, Default)]
pub struct Samples(HashMap<String, Vec<SampleRow>>);

/// A sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleRow {
    pub(super) at: DateTime<Utc>,
    pub(super) row: usize,
}

impl Samples {
    /// The samples of `frame`; `newest` are those before it.
    #[must_use]
    pub fn of(frame: &RecordBatch, columns: &SampleColumns, newest: &NewestSamples) -> Self {
        let mut samples: HashMap<String, Vec<SampleRow>> = HashMap::with_capacity(frame.num_rows().min(MOST_AT_ONCE));
        let (Some(keys), Some(times)) = (texts(frame, &columns.key), frame.column_by_name(&columns.event_time)) else {
            return Self(samples);
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for (row, patient) in keys.iter().enumerate() {
            let Some(patient) = patient else { continue };
            let Some(at) = DateTime::from_timestamp_micros(times.value(row)) else { continue };
            let sample = SampleRow { at, row };
            match samples.get_mut(patient) {
                Some(samples) if samples.last().is_some_and(|last| at < last.at) => {}
                Some(samples) => samples.push(sample),
                None if newest.newest(patient).is_some_and(|newest| times.value(row) < newest) => {}
                None => drop(samples.insert(patient.to_owned(), vec![sample])),
            }
        }
        Self(samples)
    }

    pub(super) fn of_patient(&self, patient: &str) -> &[SampleRow] {
        self.0.get(patient).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Which samples of a batch lack a value of some columns.
pub(super) struct Gaps<'a>(Vec<&'a ArrayRef>);

impl<'a> Gaps<'a> {
    /// The gaps of `columns` in `frame`; a column without NULLs has none.
    pub(super) fn of(frame: &'a RecordBatch, columns: &[String]) -> Self {
        let columns = columns.iter().filter_map(|name| frame.column_by_name(name));
        Self(columns.filter(|values| values.null_count() > 0).collect())
    }

    pub(super) fn has(&self, sample: SampleRow) -> bool {
        self.0.iter().any(|values| values.is_null(sample.row))
    }

    /// Whether the truth at this sample's time is another's: records with one vital each share their times.
    pub(super) fn is_anothers(&self, sample: SampleRow, samples: &[SampleRow]) -> bool {
        self.has(sample) && samples.iter().any(|other| other.at == sample.at && !self.has(*other))
    }
}

/// A text column, whichever of Arrow's two forms of text it has.
pub(super) fn texts(rows: &RecordBatch, name: &str) -> Option<StringViewArray> {
    let column = rows.column_by_name(name)?;
    match column.data_type() {
        DataType::Utf8View => Some(column.as_string_view().clone()),
        _ => arrow::compute::cast(column, &DataType::Utf8View).ok().map(|cast| cast.as_string_view().clone()),
    }
}

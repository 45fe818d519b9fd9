//! What is wrong with records and values: which are no rows, which values are none, and why.

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::array::{Array, ArrayRef};
use chrono::{DateTime, Offset as _, TimeZone};

use wardwatch_config::SourcePath;
use wardwatch_model::record::{AHEAD_OF_STAMP, Artefact, Reject};
use wardwatch_model::terms::{Offset, Partition};

use super::super::cells::{self, Faults, Implausible, Misread};
use super::super::json;
use super::super::parsed::Parsed;
use super::super::raw::RawRecords;
use super::super::text::{quoted, shortened};
use super::super::time;
use super::{FormDecoder, MOST_KEY_CHARS, ZONE_HINT};

impl FormDecoder {
    pub(super) fn check_required(&self, columns: &[ArrayRef], misread: &[Misread], faults: &mut Faults) {
        for (index, (column, array)) in self.form.columns.all().iter().zip(columns).enumerate() {
            if column.required && array.null_count() > 0 {
                for row in (0..array.len()).filter(|&row| array.is_null(row)) {
                    let found = misread.binary_search_by_key(&(row, index), |misread| (misread.row, misread.column));
                    faults.add(row, || match found.ok().map(|at| &misread[at]) {
                        Some(Misread { text, reason, .. }) => {
                            format!("column \"{}\": {} {reason}", column.name, quoted(text))
                        }
                        None => format!("column \"{}\" is required and has no value", column.name),
                    });
                }
            }
        }
    }

    /// The store's keys have a length.
    pub(super) fn check_key_length(&self, columns: &[ArrayRef], faults: &mut Faults) {
        let patients = cells::patients(&self.form.columns, columns);
        for (row, patient) in patients.iter().enumerate() {
            // Bytes are quickly counted, and as many as characters at least.
            if let Some(patient) = patient.filter(|id| id.len() > MOST_KEY_CHARS && id.chars().count() > MOST_KEY_CHARS)
            {
                let key = &self.form.columns.key().name;
                faults.add(row, || {
                    format!("column \"{key}\" has {} characters; {MOST_KEY_CHARS} are allowed", patient.chars().count())
                });
            }
        }
    }

    pub(super) fn check_skew(&self, columns: &[ArrayRef], parsed: &Parsed, records: &RawRecords, faults: &mut Faults) {
        let Ok(skew) = i64::try_from(self.max_skew.as_micros()) else { return };
        let times = cells::event_times(&self.form.columns, columns);
        for (row, of) in parsed.rows.iter().enumerate() {
            let Some(stamp) = records.stamp_micros(of.record).filter(|_| times.is_valid(row)) else { continue };
            let ahead = times.value(row).saturating_sub(stamp);
            if ahead > skew {
                faults.add(row, || {
                    format!(
                        "event time is {} s {AHEAD_OF_STAMP}; max_skew allows {} s{}",
                        ahead / 1_000_000,
                        skew / 1_000_000,
                        self.zone_hint(row, parsed, records, (ahead, stamp)).unwrap_or_default()
                    )
                });
            }
        }
    }

    /// That another time zone is meant, where a time without a zone is ahead by about as much as zones are.
    fn zone_hint(
        &self,
        row: usize,
        parsed: &Parsed,
        records: &RawRecords,
        (ahead, stamp): (i64, i64),
    ) -> Option<String> {
        const QUARTER: i64 = 15 * 60_000_000;
        let offset = (ahead + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
        let is_zone = (2 * QUARTER..=14 * 4 * QUARTER).contains(&offset) && ahead.abs_diff(offset) <= 60_000_000;
        let texts = self.texts_at(&self.form.columns.event_time().from, row, parsed, records);
        if !is_zone || !texts.first().is_some_and(|text| time::names_no_zone(text.trim())) {
            return None;
        }
        let (hours, minutes) = (offset / (4 * QUARTER), offset % (4 * QUARTER) / 60_000_000);
        let by = if minutes == 0 { format!("{hours} h") } else { format!("{hours} h {minutes} min") };
        let at = DateTime::from_timestamp_micros(stamp)?.naive_utc();
        let own = i64::from(self.time_zone.offset_from_utc_datetime(&at).fix().local_minus_utc()) * 1_000_000;
        let zone = time::zone_ahead(own + offset, stamp)
            .map(|zone| format!("time_zone = \"{zone}\" (or another of this offset)"));
        let zone = zone.unwrap_or_else(|| "another time_zone".to_owned());
        Some(format!("{ZONE_HINT} {by} ahead: is {zone} meant?"))
    }

    /// The records that are no rows, with their patients as far as these can be read.
    pub(super) fn rejects(
        &self,
        parsed: &Parsed,
        columns: &[ArrayRef],
        faults: &Faults,
        records: &RawRecords,
    ) -> Vec<Reject> {
        let patients = cells::patients(&self.form.columns, columns);
        let times = cells::event_times(&self.form.columns, columns);
        let fits = |patient: &String| patient.chars().count() <= MOST_KEY_CHARS;
        // Of many items of one record, it is looked at once.
        let mut last: Option<(usize, Option<String>)> = None;
        let unread = parsed.rejects.iter().map(|(of, reason)| {
            if last.as_ref().is_none_or(|(record, _)| *record != of.record) {
                last = Some((of.record, self.patient_of_unread(of.record, records).filter(fits)));
            }
            let patient = last.as_ref().and_then(|(_, patient)| patient.clone());
            records.reject(*of, patient, None, reason.clone())
        });
        let at_fault = faults.reasons().map(|(row, reason)| {
            let patient = patients.is_valid(row).then(|| patients.value(row).to_owned());
            let time = times.is_valid(row).then(|| times.value(row));
            records.reject(parsed.rows[row], patient.filter(fits), time, reason.to_owned())
        });
        let mut rejects: Vec<Reject> = unread.chain(at_fault).collect();
        rejects.sort_by_key(|reject| reject.place);
        // One of a record has its bytes: there may be many.
        let by_place: HashMap<(Partition, Offset), usize> =
            (0..records.len()).map(|record| ((records.partition(record), records.offset(record)), record)).collect();
        let mut before = None;
        for reject in &mut rejects {
            let place = (reject.place.partition, reject.place.offset);
            if before != Some(place)
                && let Some(record) = by_place.get(&place)
            {
                reject.raw = records.payload(*record).unwrap_or_default().to_vec();
            }
            before = Some(place);
        }
        rejects
    }

    /// The patient of a record of which nothing was parsed, where it can be told all the same.
    fn patient_of_unread(&self, record: usize, records: &RawRecords) -> Option<String> {
        let text = |path: &SourcePath| match path {
            SourcePath::Fields(names) => json::text_at(records.payload(record)?, names),
            SourcePath::Beside(_) => self.text_beside(path, record, records).ok().flatten().map(Cow::into_owned),
            SourcePath::Search(_) | SourcePath::Template(_) => None,
        };
        self.form.columns.key().from.iter().find_map(text)
    }

    /// One of a record and column, in the order of partitions, offsets and columns; those of rejects are left out.
    pub(super) fn artefacts(
        &self,
        misread: Vec<Misread>,
        implausible: &[Implausible],
        faults: &Faults,
        columns: &[ArrayRef],
        parsed: &Parsed,
        records: &RawRecords,
    ) -> Vec<Artefact> {
        if misread.is_empty() && implausible.is_empty() {
            return Vec::new();
        }
        let times = cells::event_times(&self.form.columns, columns);
        let patients = cells::patients(&self.form.columns, columns);
        let artefact = |row: usize, column: usize, value: Option<f64>, text: &str, reason: String| Artefact {
            place: records.place(parsed.rows[row]),
            patient: patients.value(row).to_owned(),
            event_time: DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default(),
            column: self.form.columns.all()[column].name.clone(),
            value: value.filter(|value| value.is_finite()),
            text: shortened(text),
            reason,
        };
        let untrue = implausible.iter().map(|found| {
            let column = &self.form.columns.all()[found.column];
            let sent = self.sent(found, parsed, records);
            artefact(found.row, found.column, Some(found.value), &sent, cells::implausible_reason(column, found.value))
        });
        let unread = misread.into_iter().filter(|misread| !faults.has(misread.row)).map(|misread| {
            let is_number = cells::is_number(self.form.columns.all()[misread.column].r#type);
            let value = misread.text.trim().parse().ok().filter(|_| is_number);
            artefact(misread.row, misread.column, value, &misread.text, misread.reason)
        });
        // Of two of one record and column, one was passed on the way to the other, whose number is the column's.
        let mut artefacts: Vec<Artefact> = untrue.chain(unread).collect();
        artefacts.sort_by(|a, b| (a.place, &a.column).cmp(&(b.place, &b.column)));
        artefacts.dedup_by(|b, a| (a.place, &a.column) == (b.place, &b.column));
        artefacts
    }

    /// The text as which an implausible value stands in its record.
    fn sent(&self, found: &Implausible, parsed: &Parsed, records: &RawRecords) -> String {
        let column = &self.form.columns.all()[found.column];
        let named = self.layout.long().filter(|_| !column.named.is_empty()).map(|long| long.form.value.as_slice());
        let paths: Vec<SourcePath> = named.unwrap_or_default().iter().chain(&column.from).cloned().collect();
        // What was converted is not the number that was sent.
        let written = &column.written;
        let is_it = |text: &String| match written.is_plain() {
            true => text.trim().parse() == Ok(found.value),
            false => !written.is_null(text.trim()),
        };
        self.texts_at(&paths, found.row, parsed, records)
            .into_iter()
            .find(is_it)
            .unwrap_or_else(|| found.value.to_string())
    }
}

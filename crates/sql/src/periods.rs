//! Rules at samples, and rows of tables, between which something changed that they look up: who lies where, or which limits hold.
//!
//! ```text
//!   samples of a batch      ●  ●  ●  ●│ ●  ●  ●│ ●         │ a transfer, a limit that begins or ends
//!   a rule that looks up    run once  │ once   │ once      each run sees what held then
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{concat, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type, Schema, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use super::batch::{Input, Outcome};
use super::engine::Engine;
use super::execute::QueryFailure;
use super::file::QueryKind;
use super::query::Query;
use super::run::{Run, keyed};
use super::sampled::numbered;

/// A time at which the rows of a reference table begin to hold, or no longer do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceChange {
    /// When.
    pub at: DateTime<Utc>,
    /// Of which patient, where the row names one.
    pub patient: Option<String>,
}

impl Engine {
    /// The times after `from`, and no later than `until`, that rows of reference tables bear. `key` is the column that names
    /// patients.
    #[must_use]
    pub fn reference_changes(&self, key: &str, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<ReferenceChange> {
        let (from, until) = (from.timestamp_micros(), until.timestamp_micros());
        let batches = self.slots.references.values().flat_map(|slot| slot.rows());
        let mut changes = Vec::new();
        for rows in batches {
            let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, _));
            let times = rows.columns().iter().filter(|column| is_time(column.data_type()));
            let patients = rows.column_by_name(key).and_then(|column| column.as_string_view_opt());
            for times in times.filter_map(|column| column.as_primitive_opt::<TimestampMicrosecondType>()) {
                for (row, at) in times.iter().enumerate() {
                    let Some(at) = at.filter(|at| (from + 1..=until).contains(at)) else { continue };
                    let patient =
                        patients.filter(|patients| patients.is_valid(row)).map(|patients| patients.value(row));
                    let patient = patient.filter(|name| !name.is_empty()).map(str::to_owned);
                    let Some(at) = DateTime::from_timestamp_micros(at) else { continue };
                    changes.push(ReferenceChange { at, patient });
                }
            }
        }
        changes
    }

    /// Runs once more what looks up what changed within the batch, period by period, and has rules give at each sample what
    /// they give in its period. `run` is done with the batch as a whole.
    pub(super) fn judge_by_period(&mut self, run: &mut Run, input: &Input<'_>, skip: &dyn Fn(&str) -> bool) {
        let Some(judged) = input.judged.filter(|_| !input.periods.is_empty()) else { return };
        let mut found: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
        let whole = std::mem::take(&mut run.outcomes);
        let names: Vec<String> = whole.iter().map(|outcome| outcome.query.clone()).collect();
        let looks_up = |outcome: &Outcome| {
            self.queries.iter().any(|query| query.looks_up && query.planned.file.name == outcome.query)
        };
        let (again, others): (Vec<Outcome>, Vec<Outcome>) = whole.into_iter().partition(looks_up);
        run.outcomes = others;
        let others = run.outcomes.len();
        for period in input.periods {
            let rows = only(judged.rows, &period.rows);
            if rows.num_rows() == 0 {
                continue;
            }
            self.times.set(input.now, period.event_now);
            let numbered_rows = only(&numbered(judged.rows), &period.rows);
            for stream in &self.slots.streams {
                stream.all.fill(&stream.own.of_batch(&rows));
                stream.judged.fill(&stream.own.of_batch(&numbered_rows));
            }
            run.note_rows(&self.slots);
            self.slots.encounters_now.fill_all(period.encounters_now.as_slice());
            for query in &mut self.queries {
                let name = &query.planned.file.name;
                if let Some(slot) = &query.judged {
                    let composed = judged.composed.get(name).zip(period.composed.get(name));
                    let (rows, mask) = composed.unwrap_or((judged.rows, &period.rows));
                    slot.fill(&self.slots.streams[query.planned.source].own.of_batch(&only(&numbered(rows), mask)));
                }
                if query.looks_up && !skip(name) {
                    run.query(query, &self.runner, input, skip);
                }
            }
            for outcome in run.outcomes.drain(others..) {
                found.entry(outcome.query.clone()).or_default().push(outcome);
            }
        }
        if let Some(rejects) = input.again {
            // What was a reject when its time was is looked up for as of now.
            self.fill(&Input { rows: rejects, judged: None, ..*input });
            run.note_rows(&self.slots);
            let is_table = |query: &Query| matches!(query.planned.file.kind, QueryKind::Table(_)) && query.looks_up;
            for query in self.queries.iter_mut().filter(|query| is_table(query)) {
                if !skip(&query.planned.file.name) {
                    run.query(query, &self.runner, input, skip);
                }
            }
            for outcome in run.outcomes.drain(others..) {
                found.entry(outcome.query.clone()).or_default().push(outcome);
            }
        }
        let is_view = |name: &str| {
            let query = self.queries.iter().find(|query| query.planned.file.name == name);
            query.is_some_and(|query| query.planned.file.kind == QueryKind::View)
        };
        run.outcomes.extend(again.into_iter().map(|whole| match found.remove(&whole.query) {
            Some(parts) if is_view(&whole.query) => unless_failed(whole, parts),
            Some(parts) => self.in_key_order(joined(whole, parts)),
            None => whole,
        }));
        let place = |outcome: &Outcome| names.iter().position(|name| *name == outcome.query);
        run.outcomes.sort_by_key(place);
    }
}

impl Engine {
    /// The rows of a table, of all periods, each key once.
    fn in_key_order(&self, outcome: Outcome) -> Outcome {
        let query = self.queries.iter().find(|query| query.planned.file.name == outcome.query);
        let Some(query) = query.filter(|query| matches!(query.planned.file.kind, QueryKind::Table(_))) else {
            return outcome;
        };
        let mut replaced = None;
        let rows = outcome.rows.and_then(|rows| keyed(&query.planned.file, rows, &mut replaced));
        Outcome { rows, replaced, ..outcome }
    }
}

fn only(rows: &RecordBatch, mask: &BooleanArray) -> RecordBatch {
    filter_record_batch(rows, mask).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"))
}

/// What a view shows is that of the batch at once, unless it cannot be computed for one of its periods.
fn unless_failed(whole: Outcome, parts: Vec<Outcome>) -> Outcome {
    match parts.into_iter().find_map(|part| part.rows.err()) {
        Some(failure) => Outcome { rows: Err(failure), ..whole },
        None => whole,
    }
}

/// One outcome of those of all periods; `whole` is that of the batch at once.
fn joined(whole: Outcome, parts: Vec<Outcome>) -> Outcome {
    let took = whole.took + parts.iter().map(|part| part.took).sum::<Duration>();
    let has_clear = whole.clear.is_some();
    let (mut rows, mut samples) = (Vec::new(), Vec::new());
    let (mut clear, mut cleared) = (Vec::new(), Vec::new());
    for part in parts {
        match part.rows {
            Ok(found) => rows.push(found),
            Err(failure) => return Outcome { rows: Err(failure), samples: None, clear: None, took, ..whole },
        }
        samples.push(part.samples);
        if let Some((found, samples)) = part.clear {
            clear.push(found);
            cleared.push(samples);
        }
    }
    let all = |rows: &[RecordBatch]| {
        let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        concat_batches(&schema, rows).map_err(|error| QueryFailure(error.to_string()))
    };
    let clear = has_clear.then(|| all(&clear).map(|rows| (rows, numbers(cleared)))).transpose();
    match (all(&rows), clear) {
        (Ok(rows), Ok(clear)) => Outcome { rows: Ok(rows), samples: numbers(samples), clear, took, ..whole },
        (Err(failure), _) | (_, Err(failure)) => {
            Outcome { rows: Err(failure), samples: None, clear: None, took, ..whole }
        }
    }
}

/// The numbers of all samples, where each row bears one.
fn numbers(parts: Vec<Option<Int64Array>>) -> Option<Int64Array> {
    let parts: Vec<Int64Array> = parts.into_iter().collect::<Option<_>>()?;
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part as &dyn Array).collect();
    let all = concat(&parts).unwrap_or_else(|error| panic!("all are of one type: {error}"));
    Some(all.as_primitive::<Int64Type>().clone())
}

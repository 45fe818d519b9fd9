//! Rules that begin, or begin again: judged on what stands, which came in batches before.
//!
//! ```text
//!   cuff      ■ 70/40 ────────────────────────────────────────────── valid for four hours
//!   edit                     a rule is new, other than before, back, or has stopped failing
//!   the rule                 judged at ■ as if it came now: it has held since ■
//! ```
//!
//! A value holds until the next one, and nobody knows when that comes; so a rule does not wait for it. Patients who have an episode
//! of the rule are left alone: their next sample goes on with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use tracing::{info, warn};

use wardwatch_alert::{Findings, Judged, Moment, OpenEpisodes, Origin, Rows, Rule, Samples, Streams, ValidFor};
use wardwatch_model::record::{OFFSET_COLUMN, TOPIC_COLUMN};
use wardwatch_sql::{Engine, Input, Outcome, QueryFailure};

use super::admit::AdmittedBatch;
use super::plan::Plan;
use super::state::JobState;

/// What a rule gave on what stands.
pub(super) struct Standing {
    rule: Rule,
    samples: Samples,
    streams: Streams,
    outcome: Outcome,
    put_together: BTreeSet<Arc<str>>,
}

impl Standing {
    /// Judges the rule. `moment` is that of the batch.
    pub(super) fn judge(&self, episodes: &mut OpenEpisodes, moment: &Moment<'_>) {
        let Outcome { rows: Ok(rows), samples, clear, .. } = &self.outcome else { return };
        let conditions = Findings { rows, samples: samples.as_ref() };
        let clear = clear.as_ref().map(|(rows, samples)| Findings { rows, samples: samples.as_ref() });
        let apart = Moment { samples: &self.samples, streams: &self.streams, ..*moment };
        episodes.judge_standing(&self.rule, &Rows { conditions, clear }, &apart, moment.streams, &self.put_together);
    }
}

/// Runs the rules that begin with this batch on the last values of patients. `outcomes` is what queries gave on the batch.
pub(super) fn standing(
    admitted: &AdmittedBatch,
    outcomes: &[Outcome],
    plan: &mut Plan,
    state: &mut JobState,
) -> Vec<Standing> {
    let went_well = |rule: &Rule| outcomes.iter().any(|found| found.query == rule.name && found.rows.is_ok());
    // On a batch without rows most rules are not run; what they read may fail all the same.
    let is_run = |rule: &Rule| outcomes.iter().any(|found| found.query == rule.name);
    let failed = state.failing_rules(plan);
    let begins = |rule: &&Rule| {
        let is_due = state.beginning.contains(&rule.name) && (went_well(rule) || !is_run(rule));
        is_due || (failed.contains(&rule.name) && went_well(rule))
    };
    let is_of_samples = |rule: &&Rule| rule.judged == Judged::BySample && !rule.depends_on().is_empty();
    let rules: Vec<Rule> = plan.rules.iter().filter(is_of_samples).filter(begins).cloned().collect();
    if rules.is_empty() {
        return Vec::new();
    }
    let last = match plan.engine.last_values(state.claimed.keys().copied()) {
        Ok(Some(last)) => last,
        Ok(None) => return Vec::new(),
        Err(failure) => {
            warn!(error = %failure, "rules that begin wait for the next values: the last ones cannot be computed");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for rule in rules {
        let Some(frame) = frame(&rule, &last, admitted, plan, state) else { continue };
        info!(rule = rule.name, rows = frame.num_rows(), "judged on the last values of patients, for it begins");
        found.extend(run(&rule, &frame, admitted, plan, state));
    }
    found
}

/// Runs a rule on last values; where it fails on all of them together, on those of each patient by themselves.
fn run(
    rule: &Rule,
    frame: &RecordBatch,
    admitted: &AdmittedBatch,
    plan: &mut Plan,
    state: &mut JobState,
) -> Vec<Standing> {
    let whole = run_on(rule, frame, admitted, plan, state);
    if whole.as_ref().is_none_or(|standing| standing.outcome.rows.is_ok()) {
        return whole.into_iter().collect();
    }
    let mut patients: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    if let Some(names) = frame.column_by_name(&plan.samples.key).and_then(|names| names.as_string_view_opt()) {
        for (row, name) in (0..).zip(names.iter().flatten()) {
            patients.entry(name.to_owned()).or_default().push(row);
        }
    }
    let of_each = patients.into_values().filter_map(|rows| {
        let own = arrow::compute::take_record_batch(frame, &UInt64Array::from(rows)).ok()?;
        run_on(rule, &own, admitted, plan, state)
    });
    of_each.filter(|standing| standing.outcome.rows.is_ok()).collect()
}

fn run_on(
    rule: &Rule,
    frame: &RecordBatch,
    admitted: &AdmittedBatch,
    plan: &mut Plan,
    state: &mut JobState,
) -> Option<Standing> {
    let (samples, streams, put_together) = state.memory.begin(rule, frame, plan, admitted.now);
    let composed: BTreeMap<String, RecordBatch> =
        samples.composed(rule).map(|composed| (rule.name.clone(), composed.rows().clone())).into_iter().collect();
    let beside = admitted.beside(plan, state, &state.episodes);
    let input = Input {
        rows: frame,
        judged: Some(wardwatch_sql::Judged { rows: frame, composed: &composed }),
        periods: &[],
        on_time: frame,
        ..beside.input()
    };
    let outcome = plan.engine.run_rule(&rule.name, &input)?;
    Some(Standing { rule: rule.clone(), samples, streams, outcome, put_together })
}

/// The last values that count for a rule, as the records that they came in: a row for each patient and time. `None` where there are
/// none.
fn frame(
    rule: &Rule,
    last: &RecordBatch,
    admitted: &AdmittedBatch,
    plan: &Plan,
    state: &JobState,
) -> Option<RecordBatch> {
    let names = last.column_by_name(&plan.samples.key).and_then(|names| cast(names, &DataType::Utf8View).ok())?;
    let names = names.as_string_view();
    let has_episode: BTreeSet<&str> = state
        .episodes
        .iter()
        .filter(|episode| *episode.rule == *rule.name && episode.state.is_live())
        .map(|episode| &*episode.patient)
        .collect();
    let columns: Vec<LastColumn<'_>> =
        last.schema_ref().fields().iter().filter_map(|field| LastColumn::of(last, field.name())).collect();
    let twin = |name: &str| plan.job.source.columns.get(name).and_then(|column| column.doubtful_name());
    let tells = |name: &str| {
        let is_of = |vital: &String| {
            vital == name || twin(vital).as_deref() == Some(name) || twin(name).as_ref() == Some(vital)
        };
        rule.depends_on().iter().any(is_of)
    };
    let mut rows = Vec::new();
    for (place, patient) in names.iter().enumerate() {
        let Some(patient) = patient.filter(|patient| !has_episode.contains(patient)) else { continue };
        let is_leaving = admitted.leaving.contains_key(patient);
        let mut times: BTreeMap<i64, Origin> = BTreeMap::new();
        for column in columns.iter().filter(|column| !is_leaving && tells(column.name)) {
            let Some(at) = column.at(place) else { continue };
            let Some(origin) = state.memory.streams.origin(patient, column.name, at) else { continue };
            let valid_for = i64::try_from(plan.valid_for(column.name).as_micros()).unwrap_or(i64::MAX);
            let now = admitted.arrivals.of(origin.partition.0).unwrap_or(origin.stamped);
            // By its own time, too: what had been kept for longer counted no longer when it came.
            if now.saturating_sub(origin.stamped) < valid_for && origin.kept_for < valid_for {
                times.entry(at).or_insert(origin);
            }
        }
        rows.extend(times.into_iter().map(|(at, origin)| Row { place, at, origin }));
    }
    if rows.is_empty() {
        return None;
    }
    rows.sort_by_key(|row| row.at);
    rows_of(&admitted.rows.all.schema(), last, &columns, &rows, plan)
        .inspect_err(|failure| warn!(rule = rule.name, error = %failure, "the last values make no rows; the rule waits for the next"))
        .ok()
}

/// The last values of a column, patient by patient, and when they were measured.
struct LastColumn<'a> {
    name: &'a str,
    values: &'a ArrayRef,
    ages: &'a Float64Array,
}

impl<'a> LastColumn<'a> {
    fn of(last: &'a RecordBatch, name: &'a str) -> Option<Self> {
        let ages = last.column_by_name(&Engine::age_of(name))?.as_primitive_opt()?;
        Some(Self { name, values: last.column_by_name(name)?, ages })
    }

    /// When the value in this place was measured, in microseconds.
    fn at(&self, place: usize) -> Option<i64> {
        #[allow(clippy::cast_possible_truncation, reason = "a time of this age of the world")]
        let micros = || (-self.ages.value(place) * 1e6).round() as i64;
        (self.values.is_valid(place) && self.ages.is_valid(place)).then(micros)
    }
}

/// A record with last values: of which row of these, and when it was measured.
struct Row {
    place: usize,
    at: i64,
    origin: Origin,
}

/// The rows as records of `schema`.
fn rows_of(
    schema: &SchemaRef,
    last: &RecordBatch,
    columns: &[LastColumn<'_>],
    rows: &[Row],
    plan: &Plan,
) -> Result<RecordBatch, QueryFailure> {
    let failed = |error: arrow::error::ArrowError| QueryFailure(error.to_string());
    let places = UInt64Array::from_iter_values(rows.iter().map(|row| row.place as u64));
    let times = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(of)).with_timezone("UTC"))
    };
    let source = &plan.job.source;
    let arrays = schema.fields().iter().map(|field| {
        let name = field.name();
        let array: ArrayRef = if *name == plan.samples.event_time {
            times(&|row| row.at)
        } else if *name == plan.samples.stamp {
            times(&|row| row.origin.stamped)
        } else if *name == plan.samples.partition {
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.origin.partition.0)))
        } else if name == OFFSET_COLUMN {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|_| 0)))
        } else if name == TOPIC_COLUMN {
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|_| &source.topic)))
        } else if source.device.as_ref() == Some(name) {
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| &*row.origin.device)))
        } else if let Some(column) = columns.iter().find(|column| column.name == name) {
            // What each record has is as good as of its time.
            let is_of = |row: &&Row| !field.is_nullable() || column.at(row.place) == Some(row.at);
            let own: UInt64Array = rows.iter().map(|row| Some(row).filter(is_of).map(|row| row.place as u64)).collect();
            take(column.values, &own, None).map_err(failed)?
        } else if let Some(values) = last.column_by_name(name) {
            take(values, &places, None).map_err(failed)?
        } else {
            new_null_array(field.data_type(), rows.len())
        };
        cast(&array, field.data_type()).map_err(failed)
    });
    let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(failed)
}

//! Rules that begin, or begin again: judged on the last values of patients, which came in batches before.
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
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use chrono::TimeDelta;
use tracing::info;

use wardwatch_alert::{
    Composer, Elsewhere, Findings, Judged, Moment, OpenEpisodes, Origin, Rows, Rule, Samples, Streams, ValidFor,
};
use wardwatch_model::record::{ITEM_COLUMN, OFFSET_COLUMN, TOPIC_COLUMN};
use wardwatch_sql::{Engine, Input, Outcome, QueryFailure};

use super::admit::AdmittedBatch;
use super::plan::Plan;
use super::state::{BeginFault, JobState};

/// What a rule gave on what stands.
pub(super) struct Begun {
    rule: Rule,
    samples: Samples,
    streams: Streams,
    outcome: Outcome,
    put_together: BTreeSet<Arc<str>>,
    /// Of whom alone, where it fails on others.
    patient: Option<Arc<str>>,
}

impl Begun {
    /// Judges the rule. `moment` is that of the batch.
    pub(super) fn judge(&self, episodes: &mut OpenEpisodes, moment: &Moment<'_>, composer: &Composer) {
        let Outcome { rows: Ok(rows), samples, clear, .. } = &self.outcome else { return };
        let conditions = Findings { rows, samples: samples.as_ref() };
        let clear = clear.as_ref().map(|(rows, samples)| Findings { rows, samples: samples.as_ref() });
        let apart = Moment { samples: &self.samples, streams: &self.streams, ..*moment };
        episodes.judge_begun(
            &self.rule,
            &Rows { conditions, clear, elsewhere: Elsewhere::False },
            &apart,
            (moment.streams, composer),
            &self.put_together,
        );
    }
}

/// A rule that could not be judged on last values is tried again after so long.
const AGAIN: TimeDelta = TimeDelta::seconds(10);

/// Runs the rules that begin with this batch on the last values of patients. `outcomes` is what queries gave on the batch. What
/// cannot be judged stays in `state.beginning`, from where it is told and tried again.
pub(super) fn begin(
    admitted: &AdmittedBatch,
    outcomes: &[Outcome],
    plan: &mut Plan,
    state: &mut JobState,
) -> Vec<Begun> {
    let is_of_samples = |rule: &Rule| rule.judged == Judged::BySample && !rule.depends_on().is_empty();
    let outcome = |rule: &Rule| outcomes.iter().find(|found| found.query == rule.name).map(|found| found.rows.is_ok());
    let failed = state.failing_rules(plan);
    // On a batch without rows most rules are not run; what they read may fail all the same.
    let mended = plan.rules.iter().filter(|rule| failed.contains(&rule.name) && outcome(rule) == Some(true));
    let mended: Vec<String> = mended.map(|rule| rule.name.clone()).collect();
    state.begin(mended);
    let known: BTreeMap<&str, &Rule> =
        plan.rules.iter().filter(|rule| is_of_samples(rule)).map(|rule| (rule.name.as_str(), rule)).collect();
    state.beginning.retain(|rule, _| known.contains_key(rule.as_str()));
    let is_due = |(rule, fault): &(&String, &Option<BeginFault>)| {
        let is_time = fault.as_ref().is_none_or(|fault| fault.again_at <= admitted.now);
        is_time && outcome(known[rule.as_str()]) != Some(false)
    };
    let due = state.beginning.iter().filter(is_due);
    let rules: Vec<Rule> = due.map(|(rule, _)| known[rule.as_str()].clone()).collect();
    if rules.is_empty() {
        return Vec::new();
    }
    let mut begun = Vec::new();
    let mut by_source = BTreeMap::new();
    for rule in rules {
        let last = by_source
            .entry(rule.source)
            .or_insert_with(|| plan.engine.last_values(rule.source, state.claimed.keys().copied()));
        let frame = match &*last {
            Ok(Some(last)) => frame(&rule, last, admitted, plan, state),
            Ok(None) => Ok(None),
            Err(failure) => Err(QueryFailure(failure.0.clone())),
        };
        let done = frame.map(|frame| {
            let Some(frame) = frame else { return Vec::new() };
            info!(rule = rule.name, rows = frame.num_rows(), "judged on the last values of patients, for it begins");
            run(&rule, &frame, admitted, plan, state)
        });
        let failures: Vec<(Arc<str>, String)> = match done {
            Ok(found) => {
                let (well, failed): (Vec<Begun>, Vec<Begun>) =
                    found.into_iter().partition(|begun| begun.outcome.rows.is_ok());
                begun.extend(well);
                let why = |begun: Begun| Some((begun.patient?, begun.outcome.rows.err()?.0));
                failed.into_iter().filter_map(why).collect()
            }
            Err(failure) => vec![("".into(), failure.0)],
        };
        state.note_begun(&rule.name, failures, (admitted.now, AGAIN));
    }
    begun
}

/// Runs a rule on last values; where it fails on all of them together, on those of each patient by themselves.
fn run(
    rule: &Rule,
    frame: &RecordBatch,
    admitted: &AdmittedBatch,
    plan: &mut Plan,
    state: &mut JobState,
) -> Vec<Begun> {
    let whole = run_on(rule, frame, admitted, plan, state);
    if whole.as_ref().is_none_or(|begun| begun.outcome.rows.is_ok()) {
        return whole.into_iter().collect();
    }
    let mut patients: BTreeMap<Arc<str>, Vec<u64>> = BTreeMap::new();
    if let Some(names) = frame.column_by_name(&plan.samples.key).and_then(|names| names.as_string_view_opt()) {
        for (row, name) in (0..).zip(names.iter().flatten()) {
            patients.entry(name.into()).or_default().push(row);
        }
    }
    let of_each = patients.into_iter().filter_map(|(patient, rows)| {
        let own = arrow::compute::take_record_batch(frame, &UInt64Array::from(rows)).ok()?;
        let begun = run_on(rule, &own, admitted, plan, state)?;
        Some(Begun { patient: Some(patient), ..begun })
    });
    of_each.collect()
}

fn run_on(
    rule: &Rule,
    frame: &RecordBatch,
    admitted: &AdmittedBatch,
    plan: &mut Plan,
    state: &mut JobState,
) -> Option<Begun> {
    let (samples, streams, put_together) = state.memory.begin(rule, frame, plan, admitted.now);
    let composed: BTreeMap<String, RecordBatch> =
        samples.composed(rule).map(|composed| (rule.name.clone(), composed.rows().clone())).into_iter().collect();
    let beside = admitted.beside(plan, state, &state.episodes);
    let input = Input {
        rows: frame,
        again: None,
        judged: Some(wardwatch_sql::Judged { rows: frame, composed: &composed }),
        periods: &[],
        on_time: frame,
        ..beside.input()
    };
    let outcome = plan.engine.run_rule(&rule.name, &input)?;
    Some(Begun { rule: rule.clone(), samples, streams, outcome, put_together, patient: None })
}

/// The last values that count for a rule, as the records that they came in: a row for each patient and time. `None` where there are
/// none. Errors: they make no records.
fn frame(
    rule: &Rule,
    last: &RecordBatch,
    admitted: &AdmittedBatch,
    plan: &Plan,
    state: &JobState,
) -> Result<Option<RecordBatch>, QueryFailure> {
    let names = last.column_by_name(&plan.samples.key).and_then(|names| cast(names, &DataType::Utf8View).ok());
    let Some(names) = names else { return Ok(None) };
    let names = names.as_string_view();
    let has_episode: BTreeSet<&str> = state
        .episodes
        .iter()
        .filter(|episode| *episode.rule == *rule.name && episode.state.is_live())
        .map(|episode| &*episode.patient)
        .collect();
    let columns: Vec<LastColumn<'_>> =
        last.schema_ref().fields().iter().filter_map(|field| LastColumn::of(last, field.name())).collect();
    let twin = |name: &str| plan.job.source.frame.get(name).and_then(|column| column.doubtful_name());
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
            // Of a value and a doubtful one, the later has taken the other's place.
            let is_twin = |other: &&LastColumn<'_>| {
                twin(other.name).as_deref() == Some(column.name) || twin(column.name).as_deref() == Some(other.name)
            };
            if columns.iter().filter(is_twin).any(|other| other.at(place).is_some_and(|other| other > at)) {
                continue;
            }
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
        return Ok(None);
    }
    rows.sort_by_key(|row| row.at);
    rows_of(&admitted.rows.all.schema(), last, &columns, &rows, (plan, rule)).map(Some)
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
    (plan, rule): (&Plan, &Rule),
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
        } else if name == ITEM_COLUMN {
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|_| 0)))
        } else if name == TOPIC_COLUMN {
            Arc::new(StringViewArray::from_iter_values(
                rows.iter().map(|row| plan.topics.name_of(row.origin.partition)),
            ))
        } else if rule.marker.as_ref() == Some(name) {
            Arc::new(BooleanArray::from(vec![true; rows.len()]))
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

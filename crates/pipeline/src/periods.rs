//! When, within a batch, something changed that rules look up, and which samples lie before and after.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::max;
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_alert::Rule;
use wardwatch_model::record::STAMP_COLUMN;
use wardwatch_sql::Period;

use super::admit::AdmittedBatch;
use super::given::encounters_now;
use super::plan::Plan;
use super::state::JobState;

/// What is older than this by the clock of its device is judged as of now: there may be no limits yet at the time of a clock that
/// stands at the beginning of its calendar.
const OLDEST: TimeDelta = TimeDelta::days(1);

/// The periods into which changes cut a batch; none where nothing changed between the first of its samples and `event_now`.
///
/// A sample is judged by the ward and the limits of the time at which it was measured, so any batching gives the same.
pub(super) fn periods(
    admitted: &AdmittedBatch,
    plan: &Plan,
    state: &JobState,
    event_now: DateTime<Utc>,
) -> Vec<Period> {
    let Some(from) = admitted.rows.spans.values().map(|span| span.oldest).min() else { return Vec::new() };
    let oldest = event_now - OLDEST;
    let from = from.max(oldest);
    let encounters = state.attaching.encounters();
    let key = &plan.samples.key;
    let transfers = if plan.engine.reads_encounters() { encounters.changes(from, event_now) } else { Vec::new() };
    let changes = plan.engine.reference_changes(key, from, event_now);
    if transfers.is_empty() && changes.is_empty() {
        return Vec::new();
    }
    let rows = &admitted.rows.all;
    let (Some(patients), Some(times)) = (rows.column_by_name(key), rows.column_by_name(&plan.samples.event_time))
    else {
        return Vec::new();
    };
    let (patients, times) = (patients.as_string_view(), times.as_primitive::<TimestampMicrosecondType>());
    let mut measured = times.values().to_vec();
    let (now, oldest) = (event_now.timestamp_micros(), oldest.timestamp_micros());
    // By the stamps of what came: a partition that is read to its end has been reached by our clock, which says nothing of how far the
    // ward's lies behind when records were stamped, hours ago in a backlog.
    let stamped =
        rows.column_by_name(STAMP_COLUMN).and_then(|stamps| max(stamps.as_primitive::<TimestampMicrosecondType>()));
    let behind = stamped.map_or(0, |stamped| stamped.saturating_sub(now));
    state.memory.streams.told_by_other_clocks(&admitted.samples, behind).for_each(|(row, at)| measured[row] = at);
    measured.iter_mut().filter(|at| **at < oldest).for_each(|at| *at = now);

    let mut first: HashMap<&str, i64> = HashMap::new();
    for (patient, at) in patients.iter().zip(&measured).filter_map(|(patient, at)| Some((patient?, at))) {
        first.entry(patient).and_modify(|first| *first = (*first).min(*at)).or_insert(*at);
    }
    let first_of_all = measured.iter().min().copied().unwrap_or(i64::MAX);
    let is_first_before = |patient: Option<&str>, at: i64| {
        patient.map_or(first_of_all, |patient| first.get(patient).copied().unwrap_or(i64::MAX)) < at
    };
    let transfers = transfers.iter().map(|(at, patient)| (at.timestamp_micros(), Some(&**patient)));
    let changes = changes.iter().map(|change| (change.at.timestamp_micros(), change.patient.as_deref()));
    let cuts: BTreeSet<i64> =
        transfers.chain(changes).filter(|(at, patient)| is_first_before(*patient, *at)).map(|(at, _)| at).collect();
    if cuts.is_empty() {
        return Vec::new();
    }
    let cuts: Vec<i64> = cuts.into_iter().collect();
    let place: Vec<usize> = measured.iter().map(|at| cuts.partition_point(|cut| cut <= at)).collect();
    let composed: Vec<(&Rule, Vec<usize>)> = plan
        .rules
        .iter()
        .filter_map(|rule| {
            let composed = admitted.samples.composed(rule)?;
            Some((rule, composed.rows_of_batch().map(|row| place[row]).collect()))
        })
        .collect();
    let mask = |places: &[usize], period: usize| -> BooleanArray {
        places.iter().map(|place| Some(*place == period)).collect()
    };
    let period = |period: usize| {
        // The last moment before the next change: what held at any time of the period holds then.
        let until = cuts.get(period).and_then(|cut| DateTime::from_timestamp_micros(*cut));
        let event_now = until.map_or(event_now, |until| until - TimeDelta::microseconds(1));
        let here =
            plan.engine.reads_encounters().then(|| encounters_now(&encounters.present(event_now), &plan.samples));
        Period {
            event_now,
            encounters_now: here,
            rows: mask(&place, period),
            composed: composed
                .iter()
                .map(|(rule, places)| (rule.name.clone(), mask(places, period)))
                .collect::<BTreeMap<_, _>>(),
        }
    };
    let used: BTreeSet<usize> = place.iter().copied().collect();
    used.into_iter().map(period).collect()
}

//! Columns computed from a patient's readings of the last while.
//!
//! With `t` the event time of a row and `x` its reading, the *window* is the readings of the same patient with an event
//! time in `(t - over, t]` that came no later than the row, NULLs left out. `n` is their number.
//!
//! | feature | value | NULL where |
//! |---|---|---|
//! | `rolling_mean` | `Σx / n` | `n < 1` |
//! | `rolling_min`, `rolling_max` | the least, the greatest | `n < 1` |
//! | `rolling_std` | `sqrt(Σ(x - mean)² / (n - 1))` | `n < 2` |
//! | `zscore` | `(x - mean) / std` of the row's own reading | `x` is NULL, `n < 2`, or `std = 0` |
//! | `slope` | `Σ(t - t̄)(x - x̄) / Σ(t - t̄)²`, per minute | `n < 2`, or all at one time |
//! | `delta` | `x` less the reading before it | `x` is NULL, or there is none before |
//! | `ewm` | `Σwx / Σw`, `w = 2^(-age / half_life)`, over ten half-lives | `n < 1` |
//!
//! Each row is computed from what came before it, in the order of arrival, so that the same records give the same
//! features to the last bit, however they were batched. (Polars' rolling kernels take a sorted column as a whole: a row
//! that comes late would change rows that were given out before it, and sums would depend on where batches were cut.)

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimestampMicrosecondType};

use wardwatch_config::{Feature, FeatureKind};

/// The readings that features look back on, patient by patient.
#[derive(Debug, Clone)]
pub struct Features {
    specs: Vec<Spec>,
    /// The columns that features are computed from.
    columns: Vec<String>,
    longest: i64,
    key: String,
    event_time: String,
    tracks: HashMap<String, VecDeque<Reading>>,
}

#[derive(Debug, Clone)]
struct Spec {
    name: String,
    kind: FeatureKind,
    /// Which of the columns.
    column: usize,
    /// In microseconds.
    over: i64,
}

#[derive(Debug, Clone)]
struct Reading {
    at: i64,
    values: Box<[f64]>,
}

/// `schema` and the features' columns behind it.
#[must_use]
pub fn schema_with(schema: &SchemaRef, features: &[Feature]) -> SchemaRef {
    let more = features.iter().map(|feature| Arc::new(Field::new(&feature.name, DataType::Float64, true)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

impl Features {
    /// Features of patients of whom nothing is known yet.
    #[must_use]
    pub fn new(features: &[Feature], key: &str, event_time: &str) -> Self {
        let mut columns: Vec<String> = Vec::new();
        let specs: Vec<Spec> = features
            .iter()
            .map(|feature| {
                let known = columns.iter().position(|column| *column == feature.of);
                let column = known.unwrap_or_else(|| {
                    columns.push(feature.of.clone());
                    columns.len() - 1
                });
                let over = i64::try_from(feature.over.as_micros()).unwrap_or(i64::MAX);
                Spec { name: feature.name.clone(), kind: feature.kind, column, over }
            })
            .collect();
        Self {
            longest: specs.iter().map(|spec| spec.over).max().unwrap_or(0),
            specs,
            columns,
            key: key.to_owned(),
            event_time: event_time.to_owned(),
            tracks: HashMap::new(),
        }
    }

    /// Forgets the readings of patients who are `gone`.
    pub fn forget(&mut self, gone: &dyn Fn(&str) -> bool) {
        self.tracks.retain(|patient, _| !gone(patient));
    }

    /// `rows` with the features behind their columns.
    ///
    /// Shape: the rows in their order, one more column for each feature, in the order of the job file. Errors: none.
    ///
    /// # Panics
    /// Never: columns that features are computed from are numbers.
    pub fn add(&mut self, rows: &RecordBatch) -> RecordBatch {
        let number = |name: &String| {
            cast(&rows[name.as_str()], &DataType::Float64)
                .unwrap_or_else(|error| panic!("features are of numbers: {error}"))
        };
        let columns: Vec<ArrayRef> = self.columns.iter().map(number).collect();
        let columns: Vec<&Float64Array> = columns.iter().map(|column| column.as_primitive::<Float64Type>()).collect();
        let patients = rows[self.key.as_str()].as_string_view();
        let times = rows[self.event_time.as_str()].as_primitive::<TimestampMicrosecondType>();

        let mut computed: Vec<Vec<Option<f64>>> = vec![Vec::with_capacity(rows.num_rows()); self.specs.len()];
        for row in 0..rows.num_rows() {
            let value = |column: &&Float64Array| if column.is_valid(row) { column.value(row) } else { f64::NAN };
            let reading = Reading { at: times.value(row), values: columns.iter().map(value).collect() };
            let patient = patients.value(row);
            if !self.tracks.contains_key(patient) {
                self.tracks.insert(patient.to_owned(), VecDeque::new());
            }
            let Some(track) = self.tracks.get_mut(patient) else { continue };
            let place = insert(track, reading, self.longest);
            for (spec, computed) in self.specs.iter().zip(&mut computed) {
                computed.push(place.and_then(|place| spec.value(track, place)));
            }
        }
        let features = computed.into_iter().map(|values| Arc::new(Float64Array::from(values)) as ArrayRef);
        let columns = rows.columns().iter().cloned().chain(features).collect();
        let fields = self.specs.iter().map(|spec| Arc::new(Field::new(&spec.name, DataType::Float64, true)));
        let schema = Schema::new(rows.schema().fields().iter().cloned().chain(fields).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns)
            .unwrap_or_else(|error| panic!("there is a value for each row: {error}"))
    }
}

/// Puts a reading where its time belongs, behind those of the same time, and lets go of those that are too old.
///
/// Returns its place; `None` where it is itself too old to be looked back on.
fn insert(track: &mut VecDeque<Reading>, reading: Reading, longest: i64) -> Option<usize> {
    let newest = track.back().map_or(reading.at, |last| last.at.max(reading.at));
    let oldest = newest.saturating_sub(longest);
    while track.front().is_some_and(|first| first.at <= oldest) {
        track.pop_front();
    }
    if reading.at <= oldest {
        return None;
    }
    let place = track.partition_point(|known| known.at <= reading.at);
    track.insert(place, reading);
    Some(place)
}

impl Spec {
    fn value(&self, track: &VecDeque<Reading>, place: usize) -> Option<f64> {
        let now = track[place].at;
        let own = Some(track[place].values[self.column]).filter(|own| !own.is_nan());
        let from = track.partition_point(|reading| reading.at <= now.saturating_sub(self.over));
        let window = || {
            let readings = track.range(from..=place).map(|reading| (reading.at, reading.values[self.column]));
            readings.filter(|(_, value)| !value.is_nan())
        };
        let values = || window().map(|(_, value)| value);
        match self.kind {
            FeatureKind::RollingMean => mean(values()),
            FeatureKind::RollingMin => values().reduce(f64::min),
            FeatureKind::RollingMax => values().reduce(f64::max),
            FeatureKind::RollingStd => deviation(&values),
            FeatureKind::ZScore => {
                let deviation = deviation(&values).filter(|deviation| *deviation > 0.0)?;
                Some((own? - mean(values())?) / deviation)
            }
            FeatureKind::Slope => slope(window().map(|(at, value)| (minutes(at - now), value))),
            FeatureKind::Delta => {
                let before = track.range(from..place).rev().map(|reading| reading.values[self.column]);
                Some(own? - before.into_iter().find(|value| !value.is_nan())?)
            }
            FeatureKind::Ewm { half_life } => {
                let half_life = half_life.as_secs_f64() / 60.0;
                let weighted = window().map(|(at, value)| ((minutes(at - now) / half_life).exp2(), value));
                let (weights, sum) = weighted
                    .fold((0.0, 0.0), |(weights, sum), (weight, value)| (weights + weight, sum + weight * value));
                (weights > 0.0).then(|| sum / weights)
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a window is shorter than 2^53 microseconds")]
fn minutes(micros: i64) -> f64 {
    micros as f64 / 60e6
}

/// The mean; of equal values it is just that value, though a sum is rounded: nothing spreads about it then.
#[allow(clippy::cast_precision_loss, reason = "a window has fewer than 2^53 readings")]
fn mean(mut values: impl Iterator<Item = f64>) -> Option<f64> {
    let first = values.next()?;
    let (count, sum) = values.fold((1_u64, 0.0), |(count, sum), value| (count + 1, sum + (value - first)));
    Some(first + sum / count as f64)
}

#[allow(clippy::cast_precision_loss, reason = "a window has fewer than 2^53 readings")]
fn deviation<I: Iterator<Item = f64>>(values: &dyn Fn() -> I) -> Option<f64> {
    let mean = mean(values())?;
    let (count, squares) =
        values().fold((0_u64, 0.0), |(count, squares), value| (count + 1, squares + (value - mean).powi(2)));
    (count > 1).then(|| (squares / (count - 1) as f64).sqrt())
}

/// Least squares of (minutes, value).
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let at = mean(points.clone().map(|(at, _)| at))?;
    let level = mean(points.clone().map(|(_, value)| value))?;
    let (together, alone) = points.fold((0.0, 0.0), |(together, alone), (time, value)| {
        (together + (time - at) * (value - level), alone + (time - at).powi(2))
    });
    (alone > 0.0).then(|| together / alone)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow::array::{StringViewArray, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;

    const OVER: Duration = Duration::from_secs(60);

    fn features() -> Vec<Feature> {
        let kinds = [
            FeatureKind::Ewm { half_life: Duration::from_secs(6) },
            FeatureKind::RollingMean,
            FeatureKind::RollingMin,
            FeatureKind::RollingMax,
            FeatureKind::RollingStd,
            FeatureKind::ZScore,
            FeatureKind::Slope,
            FeatureKind::Delta,
        ];
        kinds
            .into_iter()
            .map(|kind| Feature { name: format!("{kind:?}"), of: "rate".to_owned(), kind, over: OVER })
            .collect()
    }

    type Sample = (u8, i64, Option<f64>);

    fn rows(samples: &[Sample]) -> RecordBatch {
        let times: TimestampMicrosecondArray = samples.iter().map(|(_, second, _)| Some(second * 1_000_000)).collect();
        RecordBatch::try_from_iter_with_nullable([
            (
                "id",
                Arc::new(StringViewArray::from_iter_values(samples.iter().map(|(id, ..)| id.to_string()))) as _,
                false,
            ),
            ("at", Arc::new(times.with_timezone("UTC")) as _, false),
            ("rate", Arc::new(samples.iter().map(|(.., rate)| *rate).collect::<Float64Array>()) as _, true),
        ])
        .expect("rows")
    }

    fn values(batch: &RecordBatch) -> Vec<Vec<Option<f64>>> {
        let columns = batch.columns()[3..].iter().map(|column| column.as_primitive::<Float64Type>());
        columns.map(|column| column.iter().collect()).collect()
    }

    /// The formulas of the table, written down once more without any state: a row looks at all rows before it.
    fn reference(samples: &[Sample], row: usize) -> [Option<f64>; 8] {
        let (id, now, own) = samples[row];
        let newest =
            samples[..=row].iter().filter(|(other, ..)| *other == id).map(|(_, at, _)| *at).max().unwrap_or(now);
        let mut window: Vec<(i64, f64)> = samples[..=row]
            .iter()
            .filter(|(other, at, _)| *other == id && *at > now - 60 && *at <= now && *at > newest - 60)
            .filter_map(|(_, at, rate)| Some((*at, (*rate)?)))
            .collect();
        window.sort_by_key(|(at, _)| *at);
        if window.is_empty() || now <= newest - 60 {
            return [None; 8];
        }
        let n = window.len() as f64;
        let mean = window.iter().map(|(_, x)| x).sum::<f64>() / n;
        let std =
            (n > 1.0).then(|| (window.iter().map(|(_, x)| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0)).sqrt());
        let weight = |at: i64| 0.5_f64.powf((now - at) as f64 / 6.0);
        let ewm = window.iter().map(|(at, x)| weight(*at) * x).sum::<f64>()
            / window.iter().map(|(at, _)| weight(*at)).sum::<f64>();
        let t = window.iter().map(|(at, _)| *at as f64 / 60.0).sum::<f64>() / n;
        let alone: f64 = window.iter().map(|(at, _)| (*at as f64 / 60.0 - t).powi(2)).sum();
        let together: f64 = window.iter().map(|(at, x)| (*at as f64 / 60.0 - t) * (x - mean)).sum();
        let low = window.iter().map(|(_, x)| *x).fold(f64::MAX, f64::min);
        let high = window.iter().map(|(_, x)| *x).fold(f64::MIN, f64::max);
        let spread = std.filter(|std| *std > 0.0);
        let distinct_times = window.iter().any(|(at, _)| *at != window[0].0);
        let before = if own.is_some() && window.len() > 1 { Some(window[window.len() - 2].1) } else { None };
        [
            Some(ewm),
            Some(mean),
            Some(low),
            Some(high),
            std,
            own.and_then(|own| Some((own - mean) / spread?)),
            distinct_times.then(|| together / alone),
            own.and_then(|own| Some(own - before?)),
        ]
    }

    proptest! {
        #[test]
        fn features_follow_their_formulas_and_no_batching_changes_a_bit(
            drawn in prop::collection::vec((0..3_u8, 0..9_i64, -40..40_i64, prop::option::weighted(0.8, 40..180_i32)), 1..80),
            cut in 0_usize..80,
        ) {
            let mut time = 0;
            let samples: Vec<Sample> = drawn
                .into_iter()
                .map(|(id, step, jitter, rate)| {
                    time += step;
                    (id, time + jitter, rate.map(f64::from))
                })
                .collect();
            let cut = cut.min(samples.len());
            let whole = values(&Features::new(&features(), "id", "at").add(&rows(&samples)));
            let mut features = Features::new(&features(), "id", "at");
            let (first, second) = (values(&features.add(&rows(&samples[..cut]))), values(&features.add(&rows(&samples[cut..]))));
            for (kind, column) in whole.iter().enumerate() {
                let parts: Vec<Option<f64>> = first[kind].iter().chain(&second[kind]).copied().collect();
                prop_assert_eq!(column, &parts);
                for (row, value) in column.iter().enumerate() {
                    let expected = reference(&samples, row)[kind];
                    let close = match (value, expected) {
                        (Some(value), Some(expected)) => (value - expected).abs() <= 1e-9 * expected.abs().max(1.0),
                        (value, expected) => value.is_none() && expected.is_none(),
                    };
                    prop_assert!(close, "feature {kind} of row {row}: {value:?}, expected {expected:?}");
                }
            }
        }
    }

    #[test]
    fn a_steady_rise_has_its_slope_and_a_flat_line_no_z_score() {
        let rising: Vec<Sample> = (0..30).map(|second| (1, second, Some(60.0 + second as f64))).collect();
        let found = values(&Features::new(&features(), "id", "at").add(&rows(&rising)));
        assert_eq!(found[6][29].map(|slope| (slope * 1e6).round() / 1e6), Some(60.0));
        assert_eq!(found[7][29], Some(1.0));
        let flat: Vec<Sample> = (0..5).map(|second| (1, second, Some(60.0))).collect();
        let found = values(&Features::new(&features(), "id", "at").add(&rows(&flat)));
        assert_eq!((found[4][4], found[5][4], found[6][4]), (Some(0.0), None, Some(0.0)));
        // Neither 36.1 nor 35 s have a sum of three that is three times as much.
        let at_once: Vec<Sample> = (0..3).map(|_| (1, 35, Some(36.1))).chain([(1, 45, None)]).collect();
        let found = values(&Features::new(&features(), "id", "at").add(&rows(&at_once)));
        assert_eq!((found[4][3], found[5][2], found[6][3]), (Some(0.0), None, None));
    }
}

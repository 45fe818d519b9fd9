//! The streams of each patient: what orders samples, how each device's clock stands, and until when each vital is known.
//!
//! A *stream* is a patient's records of one partition and, where the job names one, one device. Within it, order is a
//! matter of the columns that a rule depends on: a saturation is not older than a saturation because a heart rate of
//! another device has a later time. Rules with the same columns share a [`ColumnSet`], and each set of a stream is
//! cut into *lanes*, runs of samples whose event times ascend:
//!
//! ```text
//!   as they came   30   0  31   1  32   2   (two devices that the job cannot tell apart, clocks 30 s apart)
//!   lane 0         30      31      32
//!   lane 1              0       1       2
//! ```
//!
//! So every sample is judged in the order of its own device's clock. Where the clocks of two such devices agree, their
//! values tell them apart, which alternate. What is no lane of its own: a sample that came
//! before, with the same time and values, is a *re-send* and judges nothing; so is one out of a span that is known
//! already, unless its samples keep pace with Kafka's stamps, for then it is a clock that was set back.
//!
//! A clock that stands still, or tells whole minutes, goes on as Kafka's stamps do.
//!
//! Clocks are compared on one axis, that of Kafka's stamps: a lane's *delay* is how far its event times lie behind
//! them. Where the topic has no stamps, the newest event time of the partition stands in.
//!
//! All of it is a function of the records in their order and of the logged `now`s. It reads no clock, decides about no
//! alert, and can be saved and read back.

mod lanes;
mod levels;
mod pace;
pub(super) mod saved;
mod seen;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};

use crate::terms::Partition;

use super::composed::{Composed, Composition};
use super::{Rule, SampleColumns};
pub use lanes::CLOCK_TOLERANCE;
pub(super) use lanes::Placed;
use lanes::{KnownSpan, Lanes, Noted};
use pace::Pace;
use seen::Seen;

/// One stream, and a lane of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The partition.
    pub partition: Partition,
    /// The device; empty where the job names no device.
    pub device: Arc<str>,
    /// The lane, counted anew for each set of columns.
    pub lane: u32,
}

impl StreamId {
    /// Whether both are of one device, in whatever lanes.
    #[must_use]
    pub fn is_of_device(&self, other: &Self) -> bool {
        self.partition == other.partition && self.device == other.device
    }
}

/// Which columns rules depend on, and so what streams keep apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The column that names the device, where the job has one.
    device: Option<String>,
    /// The columns by whose values a record that comes again is known, whatever rules there are; those that rules depend on
    /// where there are none.
    values: Vec<String>,
    columns: Vec<String>,
    sets: Vec<ColumnSet>,
}

/// The columns that a rule depends on. An empty set is of rules for which every record is a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnSet {
    /// Each column with those that may stand in for it, as `spo2_doubtful` for `spo2`.
    vitals: Vec<Vec<String>>,
    /// The bits of each vital, and of all of them.
    masks: Vec<u128>,
    mask: u128,
}

/// Which of a shape's sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(usize);

/// Of so many patients who were let go of it stays known what has come; some kilobytes each.
const MOST_PARTED: usize = 1_024;

/// So many records in a row that stand in no lane are in no order: nothing is known by more of them.
const MOST_ALONE: u8 = 5;

/// So many records in a row that were sent faster than they were measured are sent at once.
const HURRIED: u8 = 3;

/// A column whose values are doubtful ones of another's.
const DOUBTFUL: &str = "_doubtful";

impl ColumnSet {
    /// The set of the columns called `names`; a doubtful twin belongs to its column where both are named.
    fn of(names: &[String], columns: &[String]) -> Self {
        let twin_of = |name: &str| {
            let base = name.strip_suffix(DOUBTFUL)?;
            names.iter().find(|other| *other == base)
        };
        let mut vitals: Vec<Vec<String>> =
            names.iter().filter(|name| twin_of(name).is_none()).map(|name| vec![name.clone()]).collect();
        for name in names {
            if let Some(base) = twin_of(name)
                && let Some(vital) = vitals.iter_mut().find(|vital| vital[0] == *base)
            {
                vital.push(name.clone());
            }
        }
        let bit = |name: &String| columns.iter().position(|column| column == name).map_or(0, bit);
        let masks: Vec<u128> =
            vitals.iter().map(|vital| vital.iter().map(bit).fold(0, |mask, bit| mask | bit)).collect();
        let mask = masks.iter().fold(0, |all, mask| all | mask);
        Self { vitals, masks, mask }
    }

    /// Whether a row with these columns is a sample of the set.
    fn has_sample(&self, row: u128) -> bool {
        self.masks.is_empty() || row & self.mask != 0
    }

    /// Whether the set is of one vital, and a row with these columns has a value of it.
    fn judges_one(&self, row: u128) -> bool {
        self.vitals.len() == 1 && row & self.mask != 0
    }

    /// Whether a row with these columns has a value of every vital.
    fn is_complete(&self, row: u128) -> bool {
        self.masks.iter().all(|mask| row & mask != 0)
    }

    /// Whether a record has a value of each vital.
    pub(super) fn given(&self, record: SampleRow) -> impl Iterator<Item = bool> {
        self.masks.iter().map(move |mask| record.columns & mask != 0)
    }

    /// Whether a record has a doubtful value in place of one, vital by vital.
    pub(super) fn doubted(&self, record: SampleRow) -> impl Iterator<Item = bool> {
        self.masks.iter().map(move |mask| record.doubts & mask != 0)
    }

    /// The columns that hold its vital, as numbers, where it is of one and that is one.
    fn numbers(&self, frame: &RecordBatch) -> Vec<Float64Array> {
        let [vital] = self.vitals.as_slice() else { return Vec::new() };
        let columns = vital.iter().filter_map(|name| frame.column_by_name(name));
        let numbers = columns.filter(|values| matches!(values.data_type(), DataType::Float64 | DataType::Int64));
        let numbers = numbers.filter_map(|values| arrow::compute::cast(values, &DataType::Float64).ok());
        numbers.map(|values| values.as_primitive::<Float64Type>().clone()).collect()
    }

    /// The columns of each vital.
    pub(super) fn vital_columns(&self) -> &[Vec<String>] {
        &self.vitals
    }

    /// Its columns, by the name of the first that may stand for each.
    pub fn vitals(&self) -> impl Iterator<Item = &str> {
        self.vitals.iter().map(|vital| vital[0].as_str())
    }
}

/// The bit of a column; those beyond the hundred-and-twenty-seventh share one.
fn bit(column: usize) -> u128 {
    1 << column.min(SHARED)
}

/// The bit that columns share which have none of their own.
const SHARED: usize = 127;

/// The columns whose bits are in `mask`, of so many.
fn columns_in(mut mask: u128, columns: usize) -> impl Iterator<Item = usize> {
    let own = std::iter::from_fn(move || {
        let index = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(index)
    });
    own.flat_map(move |index| index..if index == SHARED { columns } else { index + 1 })
}

impl Shape {
    /// The shape for rules that depend on these lists of columns, each list in its order. Of rules of several vitals, each has a
    /// set of its own, too.
    pub fn new<'a>(device: Option<&str>, rules: impl Iterator<Item = &'a [String]> + Clone) -> Self {
        let columns: BTreeSet<&String> = rules.clone().flatten().collect();
        let columns: Vec<String> = columns.into_iter().cloned().collect();
        let vitals = rules.clone().map(|names| ColumnSet::of(names, &columns).vitals).filter(|vitals| vitals.len() > 1);
        // The empty set is the first.
        let sets: BTreeSet<Vec<String>> =
            rules.map(<[String]>::to_vec).chain(std::iter::once(Vec::new())).chain(vitals.flatten()).collect();
        let sets = sets.iter().map(|names| ColumnSet::of(names, &columns)).collect();
        Self { device: device.map(str::to_owned), values: Vec::new(), columns, sets }
    }

    /// The same where records have these columns.
    #[must_use]
    pub fn of_records(self, values: impl Iterator<Item = String>) -> Self {
        Self { values: values.collect(), ..self }
    }

    /// The set of a rule that depends on these columns.
    #[must_use]
    pub fn set(&self, vitals: &[String]) -> Option<SetId> {
        let wanted = ColumnSet::of(vitals, &self.columns);
        self.sets.iter().position(|set| *set == wanted).map(SetId)
    }

    /// What a set is made of.
    #[must_use]
    pub fn columns_of(&self, set: SetId) -> &ColumnSet {
        &self.sets[set.0]
    }

    /// Its sets.
    pub fn sets(&self) -> impl Iterator<Item = SetId> + use<> {
        (0..self.sets.len()).map(SetId)
    }
}

/// What is known of all streams, over all batches so far.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    shape: Arc<Shape>,
    patients: HashMap<Arc<str>, Patient>,
    /// The same of patients who were let go of, so that what comes of them again, or late, is told apart.
    parted: HashMap<Arc<str>, Patient>,
    /// The newest stamp that each partition has reached, in microseconds.
    reached: BTreeMap<i32, i64>,
}

#[derive(Debug, Clone, Default)]
struct Patient {
    streams: Vec<Stream>,
}

#[derive(Debug, Clone)]
struct Stream {
    partition: i32,
    device: Arc<str>,
    /// The greatest event time of any record.
    newest: i64,
    /// The stamp of the newest record.
    stamped: i64,
    /// How many records there were.
    records: u64,
    /// When each column had a value last.
    columns: Vec<LastValue>,
    sets: Vec<Lanes>,
    seen: Seen,
    stepped: Option<Step>,
    /// How many records in a row were sent faster than they were measured.
    hurried: u8,
    pace: Pace,
    /// How many records in a row have stood in no lane.
    alone: u8,
}

/// When a column had a value last: never is the least of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LastValue {
    at: i64,
    stamped: i64,
}

impl LastValue {
    const NEVER: Self = Self { at: i64::MIN, stamped: i64::MIN };
}

/// A clock that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By how much, in microseconds: below zero is back.
    pub by: i64,
    /// The stamp of the record by which it was known.
    pub stamped: i64,
}

/// A record as a sample of its patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SampleRow {
    /// When it was measured: its event time, and later where that stands still.
    pub(super) at: DateTime<Utc>,
    /// Its event time.
    pub(super) recorded_at: DateTime<Utc>,
    /// Its row in the frame.
    pub(super) row: usize,
    /// Kafka's stamp, in microseconds; see [`Streams`].
    pub(super) stamped: i64,
    /// Which of the patient's streams it is of.
    pub(super) stream: usize,
    /// The judged columns that have a value.
    columns: u128,
    /// Those that have a doubtful one in place of one.
    doubts: u128,
    /// Whether its time is that of all samples of its stream.
    pub(super) tells_time: bool,
}

/// The samples of a batch, patient by patient in the order in which they came.
#[derive(Debug, Default)]
pub struct Samples {
    patients: HashMap<Arc<str>, Vec<SampleRow>>,
    /// Where samples stand that are not in the first lane.
    placed: HashMap<(SetId, usize), Placed>,
    /// The samples with which their lane takes the place of the others of its device.
    leading: HashSet<(SetId, usize)>,
    /// The records without a value where each one before had one.
    gaps: HashSet<(SetId, usize)>,
    /// What rules of several vitals are judged on.
    composed: Vec<(Composition, Composed)>,
}

impl Samples {
    pub(super) fn of_patient(&self, patient: &str) -> &[SampleRow] {
        self.patients.get(patient).map(Vec::as_slice).unwrap_or_default()
    }

    /// The records of each patient, in the order in which they came.
    pub(super) fn patients(&self) -> &HashMap<Arc<str>, Vec<SampleRow>> {
        &self.patients
    }

    pub(super) fn add_composed(&mut self, composition: Composition, composed: Composed) {
        self.composed.push((composition, composed));
    }

    /// What a rule of several vitals is judged on.
    #[must_use]
    pub fn composed(&self, rule: &Rule) -> Option<&Composed> {
        let wanted = Composition::of(rule)?;
        self.composed.iter().find(|(known, _)| *known == wanted).map(|(_, composed)| composed)
    }

    /// Whether a record says that there is no value, for each one of its stream before it had one: a sensor is off. Where
    /// values come in some records only, the others say nothing of them.
    pub(super) fn is_gap(&self, set: SetId, record: SampleRow) -> bool {
        self.gaps.contains(&(set, record.row))
    }

    /// Whether a sample's lane takes the place of the others of its device, whose clock was set.
    pub(super) fn leads(&self, set: SetId, sample: SampleRow) -> bool {
        self.leading.contains(&(set, sample.row))
    }

    /// Where a row stands among the samples of a set.
    pub(super) fn place(&self, set: SetId, sample: SampleRow) -> Placed {
        self.placed.get(&(set, sample.row)).copied().unwrap_or(Placed::Lane(0))
    }
}

impl Streams {
    /// Streams of which nothing is known.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape: Arc::new(shape), ..Self::default() }
    }

    /// What is kept apart.
    #[must_use]
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Goes on with another set of rules. Of columns and sets that were not judged so far, nothing is known.
    pub fn reshape(&mut self, shape: Shape) {
        if *self.shape == shape {
            return;
        }
        let columns: Vec<Option<usize>> =
            shape.columns.iter().map(|name| self.shape.columns.iter().position(|known| known == name)).collect();
        let named = |set: &ColumnSet| set.vitals.clone();
        let sets: Vec<Option<usize>> =
            shape.sets.iter().map(|set| self.shape.sets.iter().position(|known| named(known) == named(set))).collect();
        let patients = self.patients.values_mut().chain(self.parted.values_mut());
        for stream in patients.flat_map(|patient| &mut patient.streams) {
            let known = |index: &Option<usize>| index.map_or(LastValue::NEVER, |index| stream.columns[index]);
            stream.columns = columns.iter().map(known).collect();
            stream.sets =
                sets.iter().map(|index| index.map(|index| stream.sets[index].clone()).unwrap_or_default()).collect();
        }
        self.shape = Arc::new(shape);
    }

    /// Takes note of the records of `frame`, and says at what rules are to be judged.
    ///
    /// `now` is the batch's frozen time: no stamp is believed to be ahead of it.
    pub fn note(&mut self, frame: &RecordBatch, columns: &SampleColumns, now: DateTime<Utc>) -> Samples {
        let mut samples = Samples::default();
        let (Some(keys), Some(times)) = (texts(frame, &columns.key), frame.column_by_name(&columns.event_time)) else {
            return samples;
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let partitions = frame.column_by_name(&columns.partition).map(|found| found.as_primitive::<Int32Type>());
        let stamps = frame.column_by_name(&columns.stamp).map(|found| found.as_primitive::<TimestampMicrosecondType>());
        let devices = self.shape.device.as_ref().and_then(|name| texts(frame, name));
        let shape = Arc::clone(&self.shape);
        let judged: Vec<(u128, ArrayRef)> = shape
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, name)| Some((bit(index), frame.column_by_name(name)?.clone())))
            .collect();
        let doubted: Vec<(u128, ArrayRef)> = shape
            .columns
            .iter()
            .enumerate()
            .filter_map(|(index, name)| Some((bit(index), frame.column_by_name(&format!("{name}{DOUBTFUL}"))?.clone())))
            .collect();
        let values = if shape.values.is_empty() { &shape.columns } else { &shape.values };
        let values: Vec<&ArrayRef> = values.iter().filter_map(|name| frame.column_by_name(name)).collect();
        let rows = frame.num_rows();
        let (masks, doubts, hashes) = (masks(rows, &judged), masks(rows, &doubted), hashes(times, &values));
        let numbers: Vec<Vec<Float64Array>> = shape.sets.iter().map(|set| set.numbers(frame)).collect();
        let now = now.timestamp_micros();
        for (row, patient) in keys.iter().enumerate() {
            let Some(patient) = patient else { continue };
            let micros = times.value(row);
            let Some(recorded_at) = DateTime::from_timestamp_micros(micros) else { continue };
            let partition = partitions.map_or(0, |partitions| partitions.value(row));
            let reached = self.reached.entry(partition).or_insert(i64::MIN);
            let stamp = stamps.filter(|stamps| stamps.is_valid(row)).map(|stamps| stamps.value(row));
            let stamped = stamp.unwrap_or_else(|| micros.max(*reached)).min(now);
            *reached = (*reached).max(stamped);

            let device =
                devices.as_ref().filter(|devices| devices.is_valid(row)).map_or("", |devices| devices.value(row));
            let known = match self.patients.get_mut(patient) {
                Some(known) => known,
                None => {
                    let before = self.parted.remove(patient).unwrap_or_default();
                    self.patients.entry(patient.into()).or_insert(before)
                }
            };
            let stream = known.position(partition, device).unwrap_or_else(|| known.begin(partition, device, &shape));
            let (mask, doubts) = (masks[row], doubts[row]);
            let record = Record { row, at: micros, stamped, columns: mask, doubts, hash: hashes[row] };
            let place = &mut |set: SetId, noted: Noted| {
                if noted.placed != Placed::Lane(0) {
                    samples.placed.insert((set, row), noted.placed);
                }
                if noted.leads {
                    samples.leading.insert((set, row));
                }
                if noted.placed == Placed::Gap {
                    samples.gaps.insert((set, row));
                }
            };
            let Some(at) = known.streams[stream].note(&record, &shape, &numbers, place) else { continue };
            let at = DateTime::from_timestamp_micros(at).unwrap_or(recorded_at);
            let tells_time = known.streams[stream].has_one_clock();
            let sample = SampleRow { at, recorded_at, row, stamped, stream, columns: mask, doubts, tells_time };
            match samples.patients.get_mut(patient) {
                Some(rows) => rows.push(sample),
                None => {
                    let name = self.patients.get_key_value(patient).map(|(name, _)| Arc::clone(name));
                    samples.patients.extend(name.map(|name| (name, vec![sample])));
                }
            }
        }
        samples
    }

    /// The stream and lane of a sample that stands in a lane.
    pub(super) fn id(&self, patient: &str, sample: SampleRow, lane: u32) -> Option<StreamId> {
        let stream = self.patients.get(patient)?.streams.get(sample.stream)?;
        Some(StreamId { partition: Partition(stream.partition), device: Arc::clone(&stream.device), lane })
    }

    /// The stream of the patient whose last sample of a set was at this time, and how far its clock lies behind stamps.
    pub(super) fn found_at(&self, patient: &str, set: SetId, at: DateTime<Utc>) -> Option<(StreamId, TimeDelta)> {
        let at = at.timestamp_micros();
        self.patients.get(patient)?.streams.iter().find_map(|stream| {
            let lanes = stream.sets.get(set.0)?;
            let lane = lanes.first.iter().chain(&lanes.others).find(|lane| lane.is_certain && lane.newest == at)?;
            let partition = Partition(stream.partition);
            let id = StreamId { partition, device: Arc::clone(&stream.device), lane: lane.id };
            Some((id, TimeDelta::microseconds(lane.delay)))
        })
    }

    /// Whether each vital of a set has had a value of this patient less than `within` before its partition's `arrivals`;
    /// of a set without vitals, whether there was a record.
    pub(super) fn are_known(&self, patient: &str, set: SetId, arrivals: &Arrivals, within: TimeDelta) -> bool {
        let Some(patient) = self.patients.get(patient) else { return false };
        let within = within.num_microseconds().unwrap_or(i64::MAX);
        let is_recent = |stream: &Stream, stamped: i64| {
            stamped > i64::MIN && arrivals.of(stream.partition).is_some_and(|now| now.saturating_sub(stamped) < within)
        };
        let set = &self.shape.sets[set.0];
        if set.vitals.is_empty() {
            return patient.streams.iter().any(|stream| is_recent(stream, stream.stamped));
        }
        set.masks.iter().all(|mask| {
            patient
                .streams
                .iter()
                .any(|stream| stream.newest_of(*mask).is_some_and(|last| is_recent(stream, last.stamped)))
        })
    }

    /// Whether one of `others` that still brings samples has not come to `until` yet, which is on the axis of stamps.
    pub(super) fn lag(&self, others: &Others<'_>, until: i64, arrivals: &Arrivals) -> bool {
        let Some(patient) = self.patients.get(others.patient) else { return false };
        let valid = others.valid_for.num_microseconds().unwrap_or(i64::MAX);
        let mask = self.shape.sets[others.set.0].mask;
        let than = others.than;
        let is_other = |stream: &&Stream| stream.partition != than.partition.0 || stream.device != than.device;
        patient.streams.iter().filter(is_other).any(|stream| {
            let last = if mask == 0 { Some(stream.stamped) } else { stream.newest_of(mask).map(|last| last.stamped) };
            let Some((last, now)) = last.zip(arrivals.of(stream.partition)) else { return false };
            last > i64::MIN && now.saturating_sub(last) < valid && now < until
        })
    }

    /// How many patients there are.
    #[must_use]
    pub fn patients(&self) -> usize {
        self.patients.len()
    }

    /// The newest event time at which a column had a value of this patient.
    #[must_use]
    pub fn last_value(&self, patient: &str, column: &str) -> Option<DateTime<Utc>> {
        let index = self.shape.columns.iter().position(|name| name == column)?;
        let streams = &self.patients.get(patient)?.streams;
        let newest = streams.iter().map(|stream| stream.columns[index].at).max()?;
        DateTime::from_timestamp_micros(newest)
    }

    /// Whether any value of the patient counts still by their partitions' `arrivals`, where one of a column does for `valid_for`.
    #[must_use]
    pub fn has_valid_value(&self, patient: &str, arrivals: &Arrivals, valid_for: &dyn Fn(&str) -> Duration) -> bool {
        let Some(patient) = self.patients.get(patient) else { return false };
        self.shape.columns.iter().enumerate().any(|(place, column)| {
            let valid_for = i64::try_from(valid_for(column).as_micros()).unwrap_or(i64::MAX);
            patient.streams.iter().any(|stream| {
                let last = stream.columns[place].stamped;
                let now = arrivals.of(stream.partition).filter(|_| last > i64::MIN);
                now.is_some_and(|now| now.saturating_sub(last) < valid_for)
            })
        })
    }

    /// The stamp of the patient's newest record.
    #[must_use]
    pub fn stamped_at(&self, patient: &str) -> Option<DateTime<Utc>> {
        let stamped = self.patients.get(patient)?.streams.iter().map(|stream| stream.stamped).max()?;
        DateTime::from_timestamp_micros(stamped)
    }

    /// How long ago, in seconds, the last record of a patient came and the last value of each of `columns`, by Kafka's stamps.
    /// `None` where stamps do not tell: records are not sent as they are measured, or nothing is known of the column.
    ///
    /// A device whose clock is behind is not silent, and one whose clock is ahead may be.
    pub fn ages<'a>(
        &'a self,
        columns: &[&str],
        arrivals: &'a Arrivals,
    ) -> impl Fn(&str) -> Option<(f64, Vec<Option<f64>>)> + use<'a> {
        let places: Vec<Option<usize>> =
            columns.iter().map(|name| self.shape.columns.iter().position(|known| known == name)).collect();
        move |patient| {
            let streams = &self.patients.get(patient)?.streams;
            let keeps_pace =
                |stream: &Stream| stream.sets.first().is_some_and(|of_any| of_any.delays(stream.stamped).is_some());
            if !streams.iter().all(keeps_pace) {
                return None;
            }
            let age = |stamp: &dyn Fn(&Stream) -> i64| {
                let ages = streams.iter().filter_map(|stream| {
                    let last = stamp(stream);
                    let now = arrivals.of(stream.partition).filter(|_| last > i64::MIN)?;
                    Some(now.saturating_sub(last))
                });
                #[allow(clippy::cast_precision_loss, reason = "an age, which is far below what a double holds exactly")]
                ages.min().map(|micros| micros.max(0) as f64 / 1e6)
            };
            let of_column = |place: usize| age(&|stream| stream.columns[place].stamped);
            Some((age(&|stream| stream.stamped)?, places.iter().map(|place| place.and_then(of_column)).collect()))
        }
    }

    /// Whether the patient has had a record.
    #[must_use]
    pub fn knows(&self, patient: &str) -> bool {
        self.patients.contains_key(patient)
    }

    /// Lets go of patients. Of those who were let go of last, it stays known what has come.
    pub fn part_with<'a>(&mut self, patients: impl Iterator<Item = &'a Arc<str>>) {
        let parting = patients.filter_map(|patient| self.patients.remove_entry(patient));
        self.parted.extend(parting);
        let too_many = self.parted.len().saturating_sub(MOST_PARTED);
        if too_many > 0 {
            let last = |patient: &Patient| patient.streams.iter().map(|stream| stream.stamped).max();
            let mut all: Vec<_> = self.parted.iter().map(|(name, known)| (last(known), Arc::clone(name))).collect();
            all.sort();
            all.iter().take(too_many).for_each(|(_, name)| drop(self.parted.remove(name)));
        }
    }

    /// The patients of whom nothing has come for `after`, by the partitions' `arrivals`; those silent for longest come first.
    #[must_use]
    pub fn silent_for(&self, after: TimeDelta, arrivals: &Arrivals) -> Vec<Arc<str>> {
        let after = after.num_microseconds().unwrap_or(i64::MAX);
        let is_silent = |stream: &Stream| {
            arrivals.of(stream.partition).is_some_and(|now| now.saturating_sub(stream.stamped) >= after)
        };
        let silent = self.patients.iter().filter(|(_, patient)| patient.streams.iter().all(is_silent));
        let last = |patient: &Patient| patient.streams.iter().map(|stream| stream.stamped).max();
        let mut silent: Vec<_> = silent.map(|(name, patient)| (last(patient), Arc::clone(name))).collect();
        silent.sort();
        silent.into_iter().map(|(_, name)| name).collect()
    }

    /// Takes note that a partition has got as far as this stamp, by a record that is no row: while nothing else comes, values grow old
    /// all the same. It is not repeated when batches are read again after a stop; the next record tells as much.
    pub fn reach(&mut self, partition: Partition, stamped: DateTime<Utc>) {
        let reached = self.reached.entry(partition.0).or_insert(i64::MIN);
        *reached = (*reached).max(stamped.timestamp_micros());
    }

    /// How far each partition has got on the axis of stamps: its newest, and the time that has passed since where nothing
    /// waits to be read.
    #[must_use]
    pub fn arrivals(&self, silences: &BTreeMap<Partition, TimeDelta>) -> Arrivals {
        let silence =
            |partition: i32| silences.get(&Partition(partition)).and_then(TimeDelta::num_microseconds).unwrap_or(0);
        Arrivals(
            self.reached.iter().map(|(partition, at)| (*partition, at.saturating_add(silence(*partition)))).collect(),
        )
    }

    /// How the clocks of each stream stand.
    pub fn clocks(&self) -> impl Iterator<Item = Clock<'_>> {
        let any = self.shape.set(&[]).map_or(0, |set| set.0);
        self.patients.iter().flat_map(move |(patient, known)| {
            known.streams.iter().filter_map(move |stream| {
                let (least, most) = stream.sets.get(any)?.delays(stream.stamped)?;
                Some(Clock {
                    patient,
                    device: &stream.device,
                    partition: Partition(stream.partition),
                    delays: [least, most],
                    stepped: stream.stepped,
                    stamped: stream.stamped,
                    stood_for: stream.pace.stood_for(stream.stamped),
                })
            })
        })
    }

    /// The newest event time of a patient's records.
    #[must_use]
    pub fn newest(&self, patient: &str) -> Option<DateTime<Utc>> {
        let newest = self.patients.get(patient)?.streams.iter().map(|stream| stream.newest).max()?;
        DateTime::from_timestamp_micros(newest)
    }

    /// The patients, each with the partition that had its last record.
    pub fn partitions(&self) -> impl Iterator<Item = (&Arc<str>, Partition)> {
        self.patients.iter().filter_map(|(patient, known)| {
            let last = known.streams.iter().max_by_key(|stream| stream.stamped)?;
            Some((patient, Partition(last.partition)))
        })
    }

    /// Until when a set of columns is known of each patient: see [`Known`]. `valid_for` tells how long a value of a column is
    /// valid.
    pub fn known<'a>(
        &'a self,
        set: SetId,
        needs: Needs,
        valid_for: &dyn Fn(&str) -> Duration,
    ) -> impl Iterator<Item = Known<'a>> {
        let columns = &self.shape.sets[set.0];
        let micros = |column: &str| i64::try_from(valid_for(column).as_micros()).unwrap_or(i64::MAX);
        let vitals: Vec<(u128, &str, i64)> =
            columns.masks.iter().zip(columns.vitals()).map(|(mask, column)| (*mask, column, micros(column))).collect();
        self.patients.iter().filter_map(move |(patient, known)| {
            let of = |(mask, column, valid_for): &(u128, &'a str, i64)| {
                let newest =
                    known.streams.iter().filter_map(|stream| Some((stream.newest_of(*mask)?, stream.partition)));
                let (last, partition) = newest.max_by_key(|(last, _)| last.stamped)?;
                let (at, partition) = (DateTime::from_timestamp_micros(last.at)?, Partition(partition));
                Some(Known { patient, column, at, stamped: last.stamped, valid_for: *valid_for, partition })
            };
            let expires = |known: &Known<'a>| known.stamped.saturating_add(known.valid_for);
            let mut found = vitals.iter().map(of);
            match needs {
                Needs::Any => found.flatten().max_by_key(expires),
                Needs::All => {
                    let first = found.next()??;
                    found.try_fold(first, |first, next| {
                        next.map(|next| if expires(&next) < expires(&first) { next } else { first })
                    })
                }
            }
        })
    }
}

/// How the clocks of a stream stand against Kafka's stamps: more than one where the job cannot tell devices apart.
#[derive(Debug, Clone, Copy)]
pub struct Clock<'a> {
    /// The patient.
    pub patient: &'a Arc<str>,
    /// The device; empty where the job names none.
    pub device: &'a Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// How far event times lie behind stamps, in microseconds: the least and the most of its lanes. Below zero they are ahead.
    pub delays: [i64; 2],
    /// The last time that it was set.
    pub stepped: Option<Step>,
    /// The stamp of the newest record.
    pub stamped: i64,
    /// For how long its event times have stood still, in microseconds, where they do.
    pub stood_for: Option<i64>,
}

/// Of which columns of a set a value must be valid for it to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Of all; a set of which some column never had a value is not told of.
    All,
    /// Of one.
    Any,
}

/// Until when a set of columns is known of a patient: the newest value of the column whose value expires first or, where one is
/// enough, last.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The patient.
    pub patient: &'a Arc<str>,
    /// The column.
    pub column: &'a str,
    /// The event time of that value.
    pub at: DateTime<Utc>,
    /// Its stamp.
    pub stamped: i64,
    /// How long it is valid, in microseconds.
    pub valid_for: i64,
    /// Its partition.
    pub partition: Partition,
}

/// The other streams of a patient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Others<'a> {
    pub(super) patient: &'a str,
    /// Of which samples they are asked.
    pub(super) set: SetId,
    /// All but those of this one's device.
    pub(super) than: &'a StreamId,
    /// A stream without a sample for so long is not waited for.
    pub(super) valid_for: TimeDelta,
}

/// How far each partition has got on the axis of stamps, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals(BTreeMap<i32, i64>);

impl Arrivals {
    /// How far a partition has got; `None` where nothing has come.
    #[must_use]
    pub fn of(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// How far the partition that is furthest has got.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        self.0.values().max().copied()
    }
}

impl Patient {
    fn position(&self, partition: i32, device: &str) -> Option<usize> {
        self.streams.iter().position(|stream| stream.partition == partition && *stream.device == *device)
    }

    fn begin(&mut self, partition: i32, device: &str, shape: &Shape) -> usize {
        self.streams.push(Stream {
            partition,
            device: device.into(),
            newest: i64::MIN,
            stamped: i64::MIN,
            records: 0,
            columns: vec![LastValue::NEVER; shape.columns.len()],
            sets: vec![Lanes::default(); shape.sets.len()],
            seen: Seen::default(),
            stepped: None,
            hurried: 0,
            pace: Pace::default(),
            alone: 0,
        });
        self.streams.len() - 1
    }
}

/// What of a record its stream needs to know.
#[derive(Debug, Clone, Copy)]
struct Record {
    /// Its row in the frame.
    row: usize,
    at: i64,
    stamped: i64,
    columns: u128,
    /// The columns that have a doubtful value in place of one.
    doubts: u128,
    hash: u32,
}

impl Stream {
    /// Takes note of a record; `numbers` are the values of each set of one vital. Returns when it was measured, if it tells
    /// anything new.
    fn note(
        &mut self,
        record: &Record,
        shape: &Shape,
        numbers: &[Vec<Float64Array>],
        place: &mut dyn FnMut(SetId, Noted),
    ) -> Option<i64> {
        let is_first = self.newest == i64::MIN;
        let is_behind = !is_first && record.at < self.newest;
        // Two devices say the same of the very same time only where they tell whole seconds.
        let is_expected = || {
            let of_vitals = shape.sets.iter().zip(&self.sets).filter(|(set, _)| set.judges_one(record.columns));
            record.at % 1_000_000 == 0
                && of_vitals.into_iter().any(|(_, lanes)| lanes.expect(record.at, record.stamped))
        };
        let may_be_known = !is_first && record.at <= self.newest;
        let is_seen = may_be_known && self.seen.has(record.at, record.hash);
        let stands = may_be_known && self.pace.stands(record, self.newest, self.stamped, is_seen);
        let is_known = is_seen && !stands && !is_expected();
        if is_known && record.at.saturating_add(CLOCK_TOLERANCE) > self.newest {
            return None;
        }
        // One from longer ago may be of a clock that was set back, while values are as they were then; but not one with a stamp
        // from then.
        let is_known_span = is_known || (is_behind && self.seen.is_past(record.at));
        if is_known_span && record.stamped.saturating_add(CLOCK_TOLERANCE) <= self.stamped {
            return None;
        }
        let known = match (is_known_span, self.device.is_empty()) {
            (true, _) => KnownSpan::Yes,
            (false, true) => KnownSpan::No,
            (false, false) => KnownSpan::NoOfOneDevice,
        };
        let at = self.pace.measured_at(record, self.newest, stands);
        let mut is_judged = false;
        let (mut is_placed, mut new) = (false, 0);
        self.records += 1;
        for (index, set) in shape.sets.iter().enumerate() {
            if !set.has_sample(record.columns) {
                // A value that is doubtful is no sensor without one: what was known before goes on to hold.
                if record.doubts & set.mask == 0 && self.sets[index].is_gap(self.records) {
                    place(SetId(index), Noted::at(Placed::Gap));
                }
                continue;
            }
            self.sets[index].sample(self.records);
            let number = numbers[index].iter().find(|values| values.is_valid(record.row));
            let number = number.map(|values| values.value(record.row));
            let noted = self.sets[index].note(at, record.stamped, known, number);
            if let Some(by) = noted.stepped {
                self.stepped = Some(Step { by, stamped: record.stamped });
            }
            is_judged |= noted.placed != Placed::Resent;
            new |= if noted.placed == Placed::Resent { 0 } else { set.mask };
            is_placed |= matches!(noted.placed, Placed::Lane(_) | Placed::Late(..));
            place(SetId(index), noted);
        }
        if is_judged {
            self.seen.push(record.at, record.hash);
            self.alone = if is_placed { 0 } else { self.alone.saturating_add(1) };
            let known = if self.alone <= MOST_ALONE { record.columns & new } else { 0 };
            for index in columns_in(known, self.columns.len()) {
                let last = &mut self.columns[index];
                if record.stamped >= last.stamped {
                    *last = LastValue { at: record.at, stamped: record.stamped };
                }
            }
        }
        self.note_pace(record);
        self.newest = self.newest.max(record.at);
        self.stamped = self.stamped.max(record.stamped);
        is_judged.then_some(at)
    }

    /// Takes note of whether a record was sent as it was measured. Where several are sent at once, stamps tell nothing of time.
    fn note_pace(&mut self, record: &Record) {
        let (passed, waited) = (record.at.saturating_sub(self.newest), record.stamped.saturating_sub(self.stamped));
        if self.newest > i64::MIN && passed > 0 {
            let is_hurried = waited.saturating_mul(2) < passed;
            self.hurried = if is_hurried { self.hurried.saturating_add(1) } else { 0 };
        }
    }

    /// Whether the time of a record is that of every device of the stream: it is of one device or, where the job names none,
    /// nothing shows that it is of several, for what is sent at once would be out of order.
    fn has_one_clock(&self) -> bool {
        let of_any = self.sets.first();
        let is_alone = of_any.is_some_and(|lanes| lanes.others.is_empty());
        is_alone && (!self.device.is_empty() || self.hurried >= HURRIED)
    }

    /// When one of the columns in `mask` had a value last.
    fn newest_of(&self, mask: u128) -> Option<LastValue> {
        let last = columns_in(mask, self.columns.len()).map(|index| self.columns[index]);
        last.filter(|last| last.stamped > i64::MIN).max_by_key(|last| last.stamped)
    }
}

impl ColumnSet {
    pub(super) fn judges(&self, sample: SampleRow) -> bool {
        self.has_sample(sample.columns)
    }

    pub(super) fn lacks_a_value(&self, sample: SampleRow) -> bool {
        !self.is_complete(sample.columns)
    }
}

/// The bits of the columns that have a value, row by row.
fn masks(rows: usize, columns: &[(u128, ArrayRef)]) -> Vec<u128> {
    let mut masks = vec![0; rows];
    for (bit, values) in columns {
        match values.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => masks.iter_mut().for_each(|mask| *mask |= bit),
            Some(nulls) => nulls.valid_indices().for_each(|row| masks[row] |= bit),
        }
    }
    masks
}

/// The time and the values of each record as one number, by which a record that comes again is known. The same in every
/// process: what is saved is compared after a restart.
fn hashes(times: &TimestampMicrosecondArray, values: &[&ArrayRef]) -> Vec<u32> {
    #[allow(clippy::cast_sign_loss, reason = "only the bits count")]
    let mut hashes: Vec<u64> = times.values().iter().map(|at| mixed(0, *at as u64)).collect();
    for values in values {
        mix(&mut hashes, values);
    }
    #[allow(clippy::cast_possible_truncation, reason = "the upper half of a product is the better one")]
    let shorts = hashes.into_iter().map(|hash| (hash >> 32) as u32).collect();
    shorts
}

fn mixed(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Mixes each value of a column into the hash of its row, as bits that tell it apart.
fn mix(hashes: &mut [u64], values: &ArrayRef) {
    let mut with = |bits: &dyn Fn(usize) -> u64| {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = mixed(*hash, if values.is_null(row) { u64::MAX } else { bits(row) });
        }
    };
    match values.data_type() {
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>().values();
            with(&|row| values[row].to_bits());
        }
        #[allow(clippy::cast_sign_loss, reason = "only the bits count")]
        DataType::Int64 => {
            let values = values.as_primitive::<Int64Type>().values();
            with(&|row| values[row] as u64);
        }
        DataType::Boolean => {
            let values = values.as_boolean().values();
            with(&|row| u64::from(values.value(row)));
        }
        DataType::Utf8View => {
            let values = values.as_string_view();
            with(&|row| values.value(row).bytes().map(u64::from).fold(1, mixed));
        }
        _ => with(&|_| 0),
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

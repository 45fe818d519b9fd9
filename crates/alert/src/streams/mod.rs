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

mod columns;
mod lanes;
mod levels;
mod pace;
pub(super) mod saved;
mod seen;
mod shape;
mod stream;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use smallvec::{SmallVec, smallvec};

use wardwatch_model::terms::Partition;

use super::composed::{Composed, Composition};
use super::map::HashMap;
use super::{Rule, SampleColumns};
pub(super) use columns::texts;
use columns::{hashes, masks};
pub use lanes::CLOCK_TOLERANCE;
pub(super) use lanes::Placed;
use lanes::{LaneNumbers, Noted};
pub use shape::{ColumnSet, SetId, Shape};
use shape::{DOUBTFUL, bit};
pub use stream::Step;
use stream::{LastValue, Record, Stream};
pub(super) use told::Others;
pub use told::{Arrivals, Clock, Known, Needs};

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

/// So long a sample counts that stands behind every lane: until the next such may come, so that several are one event.
pub(super) const ALONE: TimeDelta = TimeDelta::seconds(3);

/// Of so many patients who were let go of it stays known what has come; some kilobytes each.
const MOST_PARTED: usize = 1_024;

/// What is known of all streams, over all batches so far.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    shape: Arc<Shape>,
    patients: HashMap<Arc<str>, Patient>,
    /// The same of patients who were let go of, so that what comes of them again, or late, is told apart.
    parted: HashMap<Arc<str>, Patient>,
    /// The newest stamp that each partition has reached, in microseconds.
    reached: BTreeMap<i32, i64>,
    /// When each partition was read to its end, and how long its newest record had waited then.
    caught_up: BTreeMap<i32, CaughtUp>,
    /// The same of those that are not among them: when the job stopped.
    stopped_at: Option<i64>,
    /// The partitions that had a record since they were looked at.
    read: BTreeSet<i32>,
}

/// A partition that was read to its end, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CaughtUp {
    /// Our time then.
    at: i64,
    /// How long the newest record had waited to be read: it came while nobody read.
    waited: i64,
}

#[derive(Debug, Clone, Default)]
struct Patient {
    streams: Vec<Stream>,
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
    patients: HashMap<Arc<str>, SmallVec<[SampleRow; 1]>>,
    /// Where samples stand that are not in the first lane.
    placed: HashMap<(SetId, usize), Placed>,
    /// The samples with which their lane takes the place of the others of its device.
    leading: HashSet<(SetId, usize)>,
    /// The samples with which lanes of what had been kept count no longer.
    letting_go: HashMap<(SetId, usize), LaneNumbers>,
    /// The records without a value where each one before had one.
    gaps: HashSet<(SetId, usize)>,
    /// What rules of several vitals are judged on.
    composed: Vec<(Composition, Composed)>,
}

impl Samples {
    pub(super) fn of_patient(&self, patient: &str) -> &[SampleRow] {
        self.patients.get(patient).map(SmallVec::as_slice).unwrap_or_default()
    }

    /// The records of each patient, in the order in which they came.
    pub(super) fn patients(&self) -> &HashMap<Arc<str>, SmallVec<[SampleRow; 1]>> {
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

    /// The lanes of a sample's device that count no longer with it.
    pub(super) fn let_go(&self, set: SetId, sample: SampleRow) -> &[u32] {
        self.letting_go.get(&(set, sample.row)).map(SmallVec::as_slice).unwrap_or_default()
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
        samples.patients.reserve(frame.num_rows().min(self.patients.len()));
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
            self.read.insert(partition);

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
                if !noted.let_go.is_empty() {
                    samples.letting_go.insert((set, row), noted.let_go);
                }
            };
            let Some(at) = known.streams[stream].note(&record, &shape, &numbers, place) else { continue };
            let at = DateTime::from_timestamp_micros(at).unwrap_or(recorded_at);
            let tells_time = known.streams[stream].has_one_clock();
            let sample = SampleRow { at, recorded_at, row, stamped, stream, columns: mask, doubts, tells_time };
            match samples.patients.get_mut(patient) {
                Some(rows) => rows.push(sample),
                None => {
                    if let Some((name, _)) = self.patients.get_key_value(patient) {
                        samples.patients.insert(Arc::clone(name), smallvec![sample]);
                    }
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

    /// Takes note that a partition has got as far as this stamp, by a record that is no row: while nothing else comes, values grow old
    /// all the same. It is not repeated when batches are read again after a stop; the next record tells as much.
    pub fn reach(&mut self, partition: Partition, stamped: DateTime<Utc>) {
        let reached = self.reached.entry(partition.0).or_insert(i64::MIN);
        *reached = (*reached).max(stamped.timestamp_micros());
        self.read.insert(partition.0);
    }

    /// Takes note that nothing waits any more in these partitions at `now`. What came since they were last read to their end, by its
    /// stamp, may have waited for long: so much time has passed since. A stamp from before that is of a clock that is wrong, and
    /// tells nothing.
    pub fn catch_up(&mut self, at_end: &BTreeSet<Partition>, now: DateTime<Utc>) {
        let now = now.timestamp_micros();
        for partition in self.read.iter().filter(|partition| !at_end.contains(&Partition(**partition))) {
            if let Some(known) = self.caught_up.get_mut(partition) {
                known.waited = 0;
            }
        }
        for Partition(partition) in at_end {
            let before = self.caught_up.get(partition).copied();
            let since = before.map(|known| known.at).or(self.stopped_at);
            let waited = match self.reached.get(partition) {
                _ if !self.read.contains(partition) => before.map_or(0, |known| known.waited),
                Some(reached) if since.is_some_and(|since| since < *reached) => now.saturating_sub(*reached).max(0),
                _ => 0,
            };
            self.caught_up.insert(*partition, CaughtUp { at: now, waited });
        }
        self.read.clear();
    }

    /// Takes note that the job goes on, whose last batch was at `stopped_at`: all that is stamped later came since.
    pub fn resume(&mut self, stopped_at: DateTime<Utc>) {
        let at = stopped_at.timestamp_micros();
        self.stopped_at = Some(at);
        self.caught_up.values_mut().for_each(|known| known.at = known.at.max(at));
    }
}

impl Patient {
    fn position(&self, partition: i32, device: &str) -> Option<usize> {
        self.streams.iter().position(|stream| stream.partition == partition && *stream.device == *device)
    }

    fn begin(&mut self, partition: i32, device: &str, shape: &Shape) -> usize {
        self.streams.push(Stream::begin(partition, device, shape));
        self.streams.len() - 1
    }
}

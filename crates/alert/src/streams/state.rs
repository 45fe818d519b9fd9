//! What is known of all streams, over all batches so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use smallvec::smallvec;

use wardwatch_model::terms::Partition;

use super::columns::{hashes, masks, texts};
use super::id::StreamId;
use super::lanes::{Lanes, Noted, Placed};
use super::record::Record;
use super::row::SampleRow;
use super::samples::Samples;
use super::shape::{ColumnSet, DOUBTFUL, SetId, Shape, bit};
use super::stream::{LastValue, Stream};
use crate::map::HashMap;
use crate::rule::SampleColumns;

/// Of so many patients who were let go of it stays known what has come; some kilobytes each.
pub(crate) const MOST_PARTED: usize = 1_024;

/// So long what a partition has may have waited for the job to be started for the first time, in microseconds.
const FIRST_LOOK: i64 = 24 * 3_600_000_000;

/// What is known of all streams, over all batches so far.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    pub(crate) shape: Arc<Shape>,
    pub(crate) patients: HashMap<Arc<str>, Patient>,
    /// The same of patients who were let go of, so that what comes of them again, or late, is told apart.
    pub(crate) parted: HashMap<Arc<str>, Patient>,
    /// The newest stamp that each partition has reached, in microseconds.
    pub(crate) reached: BTreeMap<i32, i64>,
    /// When each partition was read to its end, and how long its newest record had waited then.
    pub(crate) caught_up: BTreeMap<i32, CaughtUp>,
    /// The same of those that are not among them: when the job stopped.
    pub(crate) stopped_at: Option<i64>,
    /// The partitions whose records bear stamps.
    pub(crate) stamped: BTreeSet<i32>,
    /// The partitions whose records are not of monitors: nobody's clock, and no sign of life of one that should send. Told with each
    /// batch.
    pub(crate) of_others: BTreeSet<i32>,
    /// The partitions that had a record since they were looked at.
    pub(crate) read: BTreeSet<i32>,
}

/// A partition that was read to its end, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CaughtUp {
    /// Our time then.
    pub(crate) at: i64,
    /// How long the newest record had waited to be read: it came while nobody read.
    pub(crate) waited: i64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Patient {
    pub(super) streams: Vec<Stream>,
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

    /// Knows these partitions as other sources' than the monitors'.
    pub fn set_others(&mut self, partitions: BTreeSet<Partition>) {
        self.of_others = partitions.into_iter().map(|partition| partition.0).collect();
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
            // Whoever is told of anew by a rule is not told of what is past.
            let new = || Lanes { spans: stream.seen.past.clone(), ..Lanes::default() };
            stream.sets = sets.iter().map(|index| index.map_or_else(new, |index| stream.sets[index].clone())).collect();
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
            if stamp.is_some() {
                self.stamped.insert(partition);
            }
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
    pub(crate) fn id(&self, patient: &str, sample: SampleRow, lane: u32) -> Option<StreamId> {
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

    /// Whether the newest record of a partition was stamped at `stamped` or later.
    #[must_use]
    pub fn has_reached(&self, partition: Partition, stamped: DateTime<Utc>) -> bool {
        self.reached.get(&partition.0).is_some_and(|reached| *reached >= stamped.timestamp_micros())
    }

    /// Takes note that nothing waits any more in these partitions at `now`. What came since they were last read to their end, by its
    /// stamp, may have waited for long: so much time has passed since. So may all that a partition has which was never read before, where Kafka stamps its
    /// records: for a day, for what is older is no ward's that waits to be watched, but a recording.
    /// A stamp from before the last reading is of a clock that is wrong, and tells nothing.
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
            let waits = |reached: i64| self.stamped.contains(partition) && now.saturating_sub(reached) <= FIRST_LOOK;
            let waited = match self.reached.get(partition) {
                _ if !self.read.contains(partition) => before.map_or(0, |known| known.waited),
                Some(reached) if since.map_or_else(|| waits(*reached), |since| since < *reached) => {
                    now.saturating_sub(*reached).max(0)
                }
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

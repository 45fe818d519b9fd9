//! The rows of the last while.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use wardwatch_model::record::{PARTITION_COLUMN, STAMP_COLUMN};
use wardwatch_model::terms::Partition;

/// Small batches are put together up to this many rows, so that reading them costs little.
const CHUNK: usize = 8_192;

/// A clock that came behind another of its patient is remembered for so long at least, in microseconds.
const REMEMBERED: i64 = 3_600_000_000;

/// So many clocks of a patient that are further apart than is looked back are told apart.
const MOST_CLOCKS: usize = 4;

/// A batch's rows, and those before it on which a rule may look back from one of them.
///
/// How far back that is, each patient's clocks say for themselves: a device that is behind the others of its partition looks back from
/// its own records. So whatever looks back by no more than `retain` from a row finds the same rows however batches are cut, but for rows
/// of another clock of the patient that is further away than that, and for the first rows of a clock that is new.
#[derive(Debug, Clone)]
pub struct History {
    key: String,
    event_time: String,
    retain: i64,
    chunks: VecDeque<Chunk>,
    clocks: HashMap<Box<str>, Vec<Clocks>>,
    /// The newest stamp.
    reached: i64,
}

/// Rows of a patient whose times are near one another, as they come, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    newest: i64,
    /// How far behind the newest they came, since `since` and in as long a time before it.
    behind: i64,
    behind_before: i64,
    since: i64,
    /// Kafka's stamp of the last.
    stamped: i64,
}

#[derive(Debug, Clone)]
struct Chunk {
    rows: RecordBatch,
    oldest: i64,
    /// What is behind its partition is looked at seldom: when that has got so far.
    look_again: i64,
}

impl History {
    /// An empty history, of rows with the patient in `key`.
    #[must_use]
    pub fn new(key: &str, event_time: &str, retain: Duration) -> Self {
        Self {
            key: key.to_owned(),
            event_time: event_time.to_owned(),
            retain: micros(retain),
            chunks: VecDeque::new(),
            clocks: HashMap::new(),
            reached: i64::MIN,
        }
    }

    /// Lets go of rows that were too old before `rows`, and adds those. `newest` is the newest event time of each partition before
    /// `rows`.
    pub fn add(&mut self, rows: &RecordBatch, newest: &BTreeMap<Partition, DateTime<Utc>>) {
        self.let_go(newest);
        if rows.num_rows() > 0 {
            self.note(rows);
            self.append(rows.clone());
        }
    }

    fn let_go(&mut self, newest: &BTreeMap<Partition, DateTime<Utc>>) {
        let cutoff = |newest: &DateTime<Utc>| newest.timestamp_micros().saturating_sub(self.retain);
        let cutoffs: Vec<(Partition, i64)> =
            newest.iter().map(|(partition, newest)| (*partition, cutoff(newest))).collect();
        let Some(last) = cutoffs.iter().map(|(_, cutoff)| *cutoff).max() else { return };
        let (reached, retain) = (self.reached, self.retain);
        self.clocks.retain(|_, clocks| {
            clocks.retain(|clocks| reached.saturating_sub(clocks.stamped) <= retain);
            !clocks.is_empty()
        });
        let is_due = |chunk: &&mut Chunk| chunk.oldest < last && chunk.look_again <= last;
        for chunk in self.chunks.iter_mut().filter(is_due) {
            let wanted = wanted(&chunk.rows, (&self.key, &self.event_time), &cutoffs, |patient, time| {
                let clocks = self.clocks.get(patient).map(Vec::as_slice).unwrap_or_default();
                clocks.iter().any(|clocks| clocks.look_back_on(time, retain))
            });
            if wanted.false_count() > 0 {
                chunk.keep(&wanted, &self.event_time);
            }
            chunk.look_again = if chunk.oldest < last { last.saturating_add(retain / 16) } else { i64::MIN };
        }
        self.chunks.retain(|chunk| chunk.rows.num_rows() > 0);
    }

    /// Takes note of clocks.
    fn note(&mut self, rows: &RecordBatch) {
        let keys = rows[self.key.as_str()].as_string_view();
        let times = rows[self.event_time.as_str()].as_primitive::<TimestampMicrosecondType>();
        let stamps = rows[STAMP_COLUMN].as_primitive::<TimestampMicrosecondType>();
        for (row, patient) in keys.iter().enumerate() {
            let Some(patient) = patient else { continue };
            let time = times.value(row);
            let stamped = if stamps.is_valid(row) { stamps.value(row) } else { time.max(self.reached) };
            self.reached = self.reached.max(stamped);
            let known = match self.clocks.get_mut(patient) {
                Some(known) => known,
                None => self.clocks.entry(patient.into()).or_default(),
            };
            let nearest = known.iter_mut().min_by_key(|clocks| clocks.newest.abs_diff(time));
            match nearest.filter(|clocks| clocks.newest.abs_diff(time) <= self.retain.unsigned_abs()) {
                Some(clocks) => clocks.note(time, stamped, self.retain),
                None => {
                    if known.len() == MOST_CLOCKS
                        && let Some(oldest) = (0..known.len()).min_by_key(|index| known[*index].stamped)
                    {
                        known.swap_remove(oldest);
                    }
                    known.push(Clocks { newest: time, behind: 0, behind_before: 0, since: stamped, stamped });
                }
            }
        }
    }

    /// Forgets the rows of patients who are `gone`.
    pub fn forget(&mut self, gone: &dyn Fn(&str) -> bool) {
        self.clocks.retain(|patient, _| !gone(patient));
        for chunk in &mut self.chunks {
            let keys = chunk.rows[self.key.as_str()].as_string_view();
            let keep: BooleanArray = keys.iter().map(|key| Some(!key.is_some_and(gone))).collect();
            if keep.false_count() > 0 {
                chunk.keep(&keep, &self.event_time);
            }
        }
        self.chunks.retain(|chunk| chunk.rows.num_rows() > 0);
    }

    fn append(&mut self, rows: RecordBatch) {
        let small = self.chunks.back().is_some_and(|chunk| chunk.rows.num_rows() + rows.num_rows() <= CHUNK);
        let rows = match self.chunks.pop_back_if(|_| small) {
            Some(chunk) => concat_batches(&rows.schema(), [&chunk.rows, &rows])
                .unwrap_or_else(|error| panic!("rows of one job have one schema: {error}")),
            None => rows,
        };
        self.chunks.push_back(Chunk { oldest: oldest(&rows, &self.event_time), rows, look_again: i64::MIN });
    }

    /// The rows, batch by batch, roughly in the order in which they came.
    #[must_use]
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.chunks.iter().map(|chunk| chunk.rows.clone()).collect()
    }
}

impl Clocks {
    fn note(&mut self, time: i64, stamped: i64, retain: i64) {
        if stamped.saturating_sub(self.since) > retain.max(REMEMBERED) {
            (self.behind_before, self.behind, self.since) = (self.behind, 0, stamped);
        }
        self.newest = self.newest.max(time);
        self.behind = self.behind.max(self.newest - time);
        self.stamped = self.stamped.max(stamped);
    }

    /// Whether a row like those that come may look back on one of this time.
    fn look_back_on(&self, time: i64, retain: i64) -> bool {
        let first = self.newest.saturating_sub(self.behind.max(self.behind_before)).saturating_sub(retain);
        (first..=self.newest).contains(&time)
    }
}

impl Chunk {
    fn keep(&mut self, wanted: &BooleanArray, event_time: &str) {
        self.rows = filter_record_batch(&self.rows, wanted)
            .unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"));
        self.oldest = oldest(&self.rows, event_time);
    }
}

fn oldest(rows: &RecordBatch, event_time: &str) -> i64 {
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>().values();
    times.iter().copied().min().unwrap_or(i64::MAX)
}

/// Which rows are not too old for their partition, or are looked back on for another reason.
fn wanted(
    rows: &RecordBatch,
    (key, event_time): (&str, &str),
    cutoffs: &[(Partition, i64)],
    is_looked_back_on: impl Fn(&str, i64) -> bool,
) -> BooleanArray {
    let keys = rows[key].as_string_view();
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>();
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    let is_wanted = |row: usize| {
        let time = times.value(row);
        let cutoff = cutoffs.iter().find(|(known, _)| known.0 == partitions.value(row));
        cutoff.is_none_or(|(_, cutoff)| time >= *cutoff) || is_looked_back_on(keys.value(row), time)
    };
    (0..rows.num_rows()).map(|row| Some(is_wanted(row))).collect()
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringViewArray, TimestampMicrosecondArray};
    use chrono::DateTime;

    use super::*;

    /// Rows of (patient, event time, stamp) in seconds.
    fn rows(rows: &[(&str, i64, i64)]) -> RecordBatch {
        let times = |times: Vec<i64>| {
            let times = TimestampMicrosecondArray::from_iter_values(times.into_iter().map(|time| time * 1_000_000));
            Arc::new(times.with_timezone("UTC")) as _
        };
        RecordBatch::try_from_iter([
            ("patient_id", Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.0))) as _),
            (PARTITION_COLUMN, Arc::new(Int32Array::from_iter_values(rows.iter().map(|_| 0))) as _),
            ("event_time", times(rows.iter().map(|row| row.1).collect())),
            (STAMP_COLUMN, times(rows.iter().map(|row| row.2).collect())),
        ])
        .expect("rows")
    }

    fn history() -> History {
        History::new("patient_id", "event_time", Duration::from_secs(60))
    }

    fn reached(second: i64) -> BTreeMap<Partition, DateTime<Utc>> {
        BTreeMap::from([(Partition(0), DateTime::from_timestamp(second, 0).expect("a time"))])
    }

    /// The seconds of a patient's rows.
    fn seconds(history: &History, patient: &str) -> Vec<i64> {
        let mut found: Vec<i64> = Vec::new();
        for batch in history.batches() {
            let times = batch["event_time"].as_primitive::<TimestampMicrosecondType>().clone();
            let keys = batch["patient_id"].as_string_view().iter();
            found.extend(keys.zip(times.values()).filter(|(key, _)| *key == Some(patient)).map(|(_, t)| t / 1_000_000));
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_long_batch_is_there_whole_with_what_came_before_it() {
        let punctual = |seconds: std::ops::Range<i64>| {
            let of: Vec<_> = seconds.map(|second| ("P1", second, second)).collect();
            rows(&of)
        };
        let mut history = history();
        history.add(&punctual(0..100), &BTreeMap::new());
        assert_eq!(seconds(&history, "P1"), Vec::from_iter(0..100));
        // The newest was 99, so rows from 39 on stay.
        history.add(&punctual(100..400), &reached(99));
        assert_eq!(seconds(&history, "P1"), Vec::from_iter(39..400));
    }

    #[test]
    fn a_device_that_is_behind_its_partition_looks_back_from_its_own_records() {
        // P1 is punctual, P2 an hour behind; P3 has a device 20 seconds behind the other.
        let mut history = history();
        for second in 10_000..10_300 {
            let (behind, other) = (second - 3_600, second - 20);
            let batch = [("P1", second, second), ("P2", behind, second), ("P3", second, second), ("P3", other, second)];
            history.add(&rows(&batch), &reached(second - 1));
            let first_of = |patient: &str| seconds(&history, patient)[0];
            if second > 10_150 {
                // What is further back is let go of, now and then.
                let is_near = |first: i64, newest: i64| (newest - 60 - 4..newest - 60).contains(&first);
                assert!(is_near(first_of("P1"), second), "{} at {second}", first_of("P1"));
                assert!(is_near(first_of("P2"), behind), "{} at {second}", first_of("P2"));
                assert!(is_near(first_of("P3"), other), "{} at {second}", first_of("P3"));
            }
        }
    }

    #[test]
    fn what_has_been_silent_goes_as_its_partition_does() {
        let mut history = history();
        history.add(&rows(&[("P2", 0, 3_600)]), &BTreeMap::new());
        for second in 3_601..3_700 {
            history.add(&rows(&[("P1", second, second)]), &reached(second - 1));
        }
        assert_eq!(seconds(&history, "P2"), Vec::<i64>::new());
        assert_eq!(history.clocks.len(), 1);
    }

    #[test]
    fn records_of_long_ago_that_come_at_once_are_not_all_kept() {
        let mut history = history();
        let uploaded = |from: i64| rows(&Vec::from_iter((from..from + 600).map(|second| ("P1", second, 100_000))));
        for from in (0..6_000).step_by(600) {
            history.add(&uploaded(from), &reached(from - 1));
        }
        assert!(seconds(&history, "P1").len() <= 600 + 120, "{}", seconds(&history, "P1").len());
    }
}

//! The rows of the last while.

use std::collections::VecDeque;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use chrono::TimeDelta;

use wardwatch_model::event_time::Watermarks;
use wardwatch_model::record::PARTITION_COLUMN;
use wardwatch_model::terms::Partition;

/// Small batches are put together up to this many rows, so that reading them costs little.
const CHUNK: usize = 8_192;

/// A batch's rows, and those before it that are at most so much older than the newest of their partition was then.
///
/// So whatever looks back from a row of the batch by no more than that finds the same rows, however long the batch is.
#[derive(Debug, Clone)]
pub struct History {
    event_time: String,
    retain: TimeDelta,
    chunks: VecDeque<Chunk>,
}

#[derive(Debug, Clone)]
struct Chunk {
    rows: RecordBatch,
    oldest: i64,
    newest: i64,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(event_time: &str, retain: Duration) -> Self {
        let retain = TimeDelta::from_std(retain).unwrap_or(TimeDelta::MAX);
        Self { event_time: event_time.to_owned(), retain, chunks: VecDeque::new() }
    }

    /// Lets go of rows that were too old before `rows`, and adds those.
    ///
    /// `watermarks` are those before `rows`, and `lateness` what they trail the newest event times by.
    pub fn add(&mut self, rows: &RecordBatch, watermarks: &Watermarks, lateness: Duration) {
        self.let_go(watermarks, lateness);
        if rows.num_rows() > 0 {
            self.append(rows.clone());
        }
    }

    fn let_go(&mut self, watermarks: &Watermarks, lateness: Duration) {
        let lateness = TimeDelta::from_std(lateness).unwrap_or(TimeDelta::MAX);
        let cutoff = |time: chrono::DateTime<chrono::Utc>| {
            let newest = time.checked_add_signed(lateness)?;
            newest.checked_sub_signed(self.retain).map(|cutoff| cutoff.timestamp_micros())
        };
        let cutoffs: Vec<(Partition, i64)> =
            watermarks.iter().filter_map(|(partition, watermark)| Some((*partition, cutoff(watermark.0)?))).collect();
        let (Some(first), Some(last)) =
            (cutoffs.iter().map(|(_, cutoff)| *cutoff).min(), cutoffs.iter().map(|(_, cutoff)| *cutoff).max())
        else {
            return;
        };
        self.chunks.retain(|chunk| chunk.newest >= first);
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.oldest < last) {
            let rows = still_wanted(&chunk.rows, &self.event_time, &cutoffs);
            *chunk = Chunk::of(rows, &self.event_time);
        }
        self.chunks.retain(|chunk| chunk.rows.num_rows() > 0);
    }

    /// Forgets the rows of patients who are `gone`, by the column `key`.
    pub fn forget(&mut self, key: &str, gone: &dyn Fn(&str) -> bool) {
        for chunk in &mut self.chunks {
            let keys = chunk.rows[key].as_string_view();
            let keep: BooleanArray = keys.iter().map(|key| Some(!key.is_some_and(gone))).collect();
            if keep.false_count() > 0 {
                let rows = filter_record_batch(&chunk.rows, &keep);
                let rows = rows.unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"));
                *chunk = Chunk::of(rows, &self.event_time);
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
        self.chunks.push_back(Chunk::of(rows, &self.event_time));
    }

    /// The rows, batch by batch, roughly in the order in which they came.
    #[must_use]
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.chunks.iter().map(|chunk| chunk.rows.clone()).collect()
    }
}

impl Chunk {
    fn of(rows: RecordBatch, event_time: &str) -> Self {
        let times = rows[event_time].as_primitive::<TimestampMicrosecondType>().values();
        let (oldest, newest) =
            times.iter().fold((i64::MAX, i64::MIN), |(oldest, newest), time| (oldest.min(*time), newest.max(*time)));
        Self { oldest, newest, rows }
    }
}

fn still_wanted(rows: &RecordBatch, event_time: &str, cutoffs: &[(Partition, i64)]) -> RecordBatch {
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>();
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    let wanted: BooleanArray = partitions
        .values()
        .iter()
        .zip(times.values())
        .map(|(partition, time)| {
            let cutoff = cutoffs.iter().find(|(known, _)| known.0 == *partition);
            Some(cutoff.is_none_or(|(_, cutoff)| time >= cutoff))
        })
        .collect();
    filter_record_batch(rows, &wanted).unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, TimestampMicrosecondArray};
    use chrono::DateTime;

    use wardwatch_model::terms::Watermark;

    use super::*;

    fn rows(seconds: std::ops::Range<i64>) -> RecordBatch {
        let times: TimestampMicrosecondArray = seconds.clone().map(|second| Some(second * 1_000_000)).collect();
        RecordBatch::try_from_iter([
            (PARTITION_COLUMN, Arc::new(Int32Array::from_iter_values(seconds.map(|_| 0))) as _),
            ("event_time", Arc::new(times.with_timezone("UTC")) as _),
        ])
        .expect("rows")
    }

    #[test]
    fn a_long_batch_is_there_whole_with_what_came_before_it() {
        let reached = |second: i64| {
            Watermarks::from([(Partition(0), Watermark(DateTime::from_timestamp(second, 0).expect("a time")))])
        };
        let count = |history: &History| history.batches().iter().map(RecordBatch::num_rows).sum::<usize>();
        let mut history = History::new("event_time", Duration::from_secs(60));
        history.add(&rows(0..100), &Watermarks::new(), Duration::from_secs(10));
        assert_eq!(count(&history), 100);
        // The newest was 99, so rows from 39 on stay.
        history.add(&rows(100..400), &reached(89), Duration::from_secs(10));
        assert_eq!(count(&history), 61 + 300);
    }
}

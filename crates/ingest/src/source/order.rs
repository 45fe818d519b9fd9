//! The order of rows of several topics in one batch: that in which they were measured, as far as it can be known.
//!
//! Kafka promises no order across topics, and in which one records happen to be read is another one each time. What is said of a patient by
//! several topics is one stream, though, so its order must be a matter of the records alone.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

use wardwatch_model::record::{PARTITION_COLUMN, STAMP_COLUMN};
use wardwatch_model::terms::Partition;

/// Records that Kafka stamped no further apart than this may have come in any order, in microseconds.
const SLACK: i64 = 1_000_000;

/// The rows of each partition in the order in which they stand there, and those of several topics among each other by event time, within
/// what their stamps leave open. Rows of one topic are left as they are.
pub(super) fn in_order(rows: RecordBatch, event_time: &str) -> RecordBatch {
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>();
    let mut queues: BTreeMap<i32, Queue> = BTreeMap::new();
    for (row, partition) in (0_u32..).zip(partitions.values()) {
        queues.entry(*partition).or_default().rows.push(row);
    }
    let first = queues.keys().next().copied().map(Partition);
    if first.is_none_or(|first| queues.keys().all(|other| first.is_of_topic_of(Partition(*other)))) {
        return rows;
    }
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    let stamps = rows[STAMP_COLUMN].as_primitive::<TimestampMicrosecondType>();
    // A partition's stamps may run backwards, by the clocks of its producers; its rows do not.
    let stamp = |row: u32| if stamps.is_valid(row as usize) { stamps.value(row as usize) } else { i64::MIN };
    let mut order = Vec::with_capacity(rows.num_rows());
    while let Some(least) = queues.values().filter_map(|queue| queue.head().map(stamp)).min() {
        let open = least.saturating_add(SLACK);
        let heads = queues.values_mut().filter_map(|queue| Some((queue.head()?, queue)));
        let next = heads.filter(|(row, _)| stamp(*row) <= open).min_by_key(|(row, _)| times.value(*row as usize));
        if let Some((row, queue)) = next {
            queue.taken += 1;
            order.push(row);
        }
    }
    take_record_batch(&rows, &UInt32Array::from(order))
        .unwrap_or_else(|error| panic!("rows of a batch can be put in another order: {error}"))
}

/// The rows of a partition that are not taken yet.
#[derive(Default)]
struct Queue {
    rows: Vec<u32>,
    taken: usize,
}

impl Queue {
    fn head(&self) -> Option<u32> {
        self.rows.get(self.taken).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, TimestampMicrosecondArray};

    use super::*;

    /// Rows of (topic, second of measurement, second of the stamp); returns their order as seconds of measurement.
    fn ordered(rows: &[(i32, i64, Option<i64>)]) -> Vec<i64> {
        let partition = |(topic, ..): &(i32, i64, Option<i64>)| Partition::of_topic(*topic, 0).expect("a partition").0;
        let micros = |second: i64| second * 1_000_000;
        let columns: [(&str, ArrayRef, bool); 3] = [
            ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| micros(row.1)))), false),
            (PARTITION_COLUMN, Arc::new(Int32Array::from_iter_values(rows.iter().map(partition))), false),
            (
                STAMP_COLUMN,
                Arc::new(rows.iter().map(|row| row.2.map(micros)).collect::<TimestampMicrosecondArray>()),
                true,
            ),
        ];
        let rows = RecordBatch::try_from_iter_with_nullable(columns).expect("rows");
        let ordered = in_order(rows, "at");
        ordered["at"].as_primitive::<TimestampMicrosecondType>().values().iter().map(|at| at / 1_000_000).collect()
    }

    #[test]
    fn what_was_sent_at_once_by_two_topics_is_in_the_order_of_measurement_however_it_was_read() {
        let (fire, normal) = ([10, 11], [8, 9, 12, 13]);
        let of = |topic: i32, times: &[i64]| times.iter().map(|at| (topic, *at, Some(100))).collect::<Vec<_>>();
        let one_way = [of(0, &fire), of(1, &normal)].concat();
        let other_way = [of(1, &normal), of(0, &fire)].concat();
        assert_eq!(ordered(&one_way), [8, 9, 10, 11, 12, 13]);
        assert_eq!(ordered(&other_way), ordered(&one_way));
        let unstamped: Vec<_> = one_way.iter().map(|(topic, at, _)| (*topic, *at, None)).collect();
        assert_eq!(ordered(&unstamped), ordered(&one_way));
    }

    #[test]
    fn a_topic_whose_clock_is_ahead_waits_no_longer_than_stamps_leave_open() {
        assert_eq!(
            ordered(&[(0, 900, Some(10)), (1, 10, Some(10)), (1, 11, Some(11)), (1, 12, Some(12))]),
            [10, 11, 900, 12]
        );
    }

    #[test]
    fn rows_of_one_partition_stay_as_they_are() {
        assert_eq!(ordered(&[(0, 12, Some(12)), (0, 10, Some(13)), (1, 11, Some(12))]), [11, 12, 10]);
        assert_eq!(ordered(&[(0, 12, Some(1)), (0, 10, Some(1))]), [12, 10]);
    }
}

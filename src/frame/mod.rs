//! The micro-batch as columns: what is computed on rows before any query sees them.
//!
//! Lateness, duplicates, history and features will live here; today it is the watermark. No I/O, no SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};

use crate::decode::PARTITION_COLUMN;
use crate::terms::{Partition, Watermark};

/// Each partition's watermark after `rows`: the greatest event time that it has seen, less `lateness`, and never
/// less than `before`.
///
/// Partitions of `before` without a row keep theirs. The column called `event_time` has no NULL: rows without an
/// event time were rejected by `decode`.
#[must_use]
pub fn watermarks(
    rows: &RecordBatch,
    event_time: &str,
    lateness: Duration,
    before: &BTreeMap<Partition, Watermark>,
) -> BTreeMap<Partition, Watermark> {
    let mut greatest: BTreeMap<i32, i64> = BTreeMap::new();
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>();
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    for (partition, time) in partitions.values().iter().zip(times.values()) {
        let seen = greatest.entry(*partition).or_insert(*time);
        *seen = (*seen).max(*time);
    }
    let lateness = TimeDelta::from_std(lateness).unwrap_or(TimeDelta::MAX);
    let mut after = before.clone();
    for (partition, micros) in greatest {
        let time = DateTime::from_timestamp_micros(micros).and_then(|time| time.checked_sub_signed(lateness));
        let reached = Watermark(time.unwrap_or(DateTime::<Utc>::MIN_UTC));
        let watermark = after.entry(Partition(partition)).or_insert(reached);
        *watermark = (*watermark).max(reached);
    }
    after
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, TimestampMicrosecondArray};

    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a time")
    }

    fn check(rows: &[(i32, i64)], before: &[(i32, i64)], expected: &[(i32, i64)]) {
        let times: TimestampMicrosecondArray = rows.iter().map(|(_, time)| Some(time * 1_000_000)).collect();
        let rows = RecordBatch::try_from_iter([
            (PARTITION_COLUMN, Arc::new(Int32Array::from_iter_values(rows.iter().map(|(p, _)| *p))) as _),
            ("event_time", Arc::new(times.with_timezone("UTC")) as _),
        ])
        .expect("rows");
        let marks = |pairs: &[(i32, i64)]| -> BTreeMap<Partition, Watermark> {
            pairs.iter().map(|(p, time)| (Partition(*p), Watermark(second(*time)))).collect()
        };
        assert_eq!(watermarks(&rows, "event_time", Duration::from_secs(10), &marks(before)), marks(expected));
    }

    #[test]
    fn a_watermark_trails_the_greatest_event_time_of_its_own_partition() {
        check(&[(0, 100), (1, 500), (0, 70)], &[], &[(0, 90), (1, 490)]);
    }

    #[test]
    fn a_watermark_never_moves_back_and_an_idle_partition_keeps_its_own() {
        check(&[(0, 50)], &[(0, 90), (2, 7)], &[(0, 90), (2, 7)]);
    }
}

//! Which rows come too late, and how far each partition has got.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::json::LineDelimitedWriter;
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_model::event_time::Watermarks;
use wardwatch_model::record::{
    ITEM_COLUMN, Item, LateRecord, LateRow, OFFSET_COLUMN, PARTITION_COLUMN, Place, STAMP_COLUMN, Span,
};
use wardwatch_model::terms::{Offset, Partition, Watermark};

/// Rows apart by whether they were on time.
#[derive(Debug, Clone)]
pub struct Split {
    /// The rows that were on time, in their order.
    pub on_time: RecordBatch,
    /// The others, in their order.
    pub late: Vec<LateRow>,
    /// The watermarks after the rows.
    pub watermarks: Watermarks,
    /// The event times of each partition's rows, late ones included.
    pub spans: BTreeMap<Partition, Span>,
}

/// When rows of a partition are late.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// So far behind the newest event time a row may be.
    pub lateness: Duration,
    /// By when the windows of its source have closed.
    pub closed: Option<Watermark>,
}

/// Splits `rows` into those on time and those that are late.
///
/// A row is late iff its event time is before the watermark that its partition had reached at that record: the running
/// maximum of event times less the lateness of its source, and at least the time by which that one's windows have closed while the
/// partition was idle. Equal is on time. So any batching splits alike. An event time ahead of the time at which Kafka stamped the
/// record, or of the batch's `now`, moves the watermark no further than that, so that a device whose clock is wrong moves
/// only itself, also where it stamps its records by that clock. (What `now` bounds is a matter of batches.)
/// Shape: both parts keep the order; together they are `rows`. Errors: none; rows without an event time were rejected
/// by `decode`.
#[must_use]
pub fn split_late(
    rows: &RecordBatch,
    event_time: &str,
    bounds: &dyn Fn(Partition) -> Bounds,
    before: &Watermarks,
    now: DateTime<Utc>,
) -> Split {
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>();
    let (offsets, items) =
        (rows[OFFSET_COLUMN].as_primitive::<Int64Type>(), rows[ITEM_COLUMN].as_primitive::<Int32Type>());
    let stamps = rows[STAMP_COLUMN].as_primitive::<TimestampMicrosecondType>();
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    let now = now.timestamp_micros();

    let mut reached: BTreeMap<i32, Reached> = BTreeMap::new();
    let mut late = Vec::new();
    for row in 0..rows.num_rows() {
        let (partition, time) = (partitions.value(row), times.value(row));
        let reached = reached.entry(partition).or_insert_with(|| {
            let Bounds { lateness, closed } = bounds(Partition(partition));
            Reached {
                watermark: before.get(&Partition(partition)).map_or(i64::MIN, |watermark| micros(*watermark)),
                oldest: time,
                newest: time,
                lateness: i64::try_from(lateness.as_micros()).unwrap_or(i64::MAX),
                closed: closed.map_or(i64::MIN, micros),
            }
        });
        reached.oldest = reached.oldest.min(time);
        reached.newest = reached.newest.max(time);
        let missed = reached.watermark.max(reached.closed);
        if time < missed {
            late.push(LateRow {
                row,
                place: Place {
                    partition: Partition(partition),
                    offset: Offset(offsets.value(row)),
                    item: Item(items.value(row)),
                },
                event_time: instant(time),
                watermark: Watermark(instant(missed)),
            });
        } else {
            let believable = if stamps.is_valid(row) { time.min(stamps.value(row)).min(now) } else { time.min(now) };
            reached.watermark = reached.watermark.max(believable.saturating_sub(reached.lateness));
        }
    }

    let mut watermarks = before.clone();
    let moved = reached.iter().filter(|(_, reached)| reached.watermark > i64::MIN);
    watermarks.extend(moved.map(|(partition, reached)| (Partition(*partition), Watermark(instant(reached.watermark)))));
    let span = |reached: &Reached| Span { oldest: instant(reached.oldest), newest: instant(reached.newest) };
    let spans = reached.iter().map(|(partition, reached)| (Partition(*partition), span(reached))).collect();
    Split { on_time: without(rows, late.iter().map(|late| late.row)), late, watermarks, spans }
}

/// The late rows among `rows` as the store keeps them.
///
/// # Panics
/// Never: columns that came from JSON can be written as JSON.
#[must_use]
pub fn late_records(rows: &RecordBatch, late: &[LateRow], key: &str) -> Vec<LateRecord> {
    let patients = rows[key].as_string_view();
    late.iter()
        .map(|late| {
            let patient = patients.value(late.row).to_owned();
            LateRecord { patient, row: *late, values: as_json(rows, late.row) }
        })
        .collect()
}

/// A row's columns as a JSON object.
pub(super) fn as_json(rows: &RecordBatch, row: usize) -> String {
    let mut json = LineDelimitedWriter::new(Vec::new());
    let written = json.write(&rows.slice(row, 1)).and_then(|()| json.finish());
    written.unwrap_or_else(|error| panic!("columns that came from JSON can be written as JSON: {error}"));
    String::from_utf8_lossy(&json.into_inner()).trim_end().to_owned()
}

/// All rows as late ones, whenever they were measured.
#[must_use]
pub fn late_of_all(rows: &RecordBatch, event_time: &str, reached: &Watermarks) -> Vec<LateRow> {
    let partitions = rows[PARTITION_COLUMN].as_primitive::<Int32Type>();
    let (offsets, items) =
        (rows[OFFSET_COLUMN].as_primitive::<Int64Type>(), rows[ITEM_COLUMN].as_primitive::<Int32Type>());
    let times = rows[event_time].as_primitive::<TimestampMicrosecondType>();
    let late = |row: usize| {
        let (partition, event_time) = (Partition(partitions.value(row)), instant(times.value(row)));
        let place = Place { partition, offset: Offset(offsets.value(row)), item: Item(items.value(row)) };
        let watermark = reached.get(&partition).copied().unwrap_or(Watermark(event_time));
        LateRow { row, place, event_time, watermark: watermark.max(Watermark(event_time)) }
    };
    (0..rows.num_rows()).map(late).collect()
}

/// How far a partition has got within the rows, in microseconds.
struct Reached {
    watermark: i64,
    oldest: i64,
    newest: i64,
    lateness: i64,
    closed: i64,
}

/// `rows` without those at the places `gone`.
pub(super) fn without(rows: &RecordBatch, gone: impl ExactSizeIterator<Item = usize>) -> RecordBatch {
    if gone.len() == 0 {
        return rows.clone();
    }
    let mut keep = vec![true; rows.num_rows()];
    gone.for_each(|row| keep[row] = false);
    filter_record_batch(rows, &BooleanArray::from(keep))
        .unwrap_or_else(|error| panic!("the mask has an entry for each row: {error}"))
}

fn micros(watermark: Watermark) -> i64 {
    watermark.0.timestamp_micros()
}

/// A time that arithmetic has moved out of what can be written is the first one that can.
fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MIN_UTC + TimeDelta::days(1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;

    /// Rows of (partition, event time, stamp) in seconds.
    fn rows(rows: &[(i32, i64, Option<i64>)]) -> RecordBatch {
        let seconds = |values: Vec<Option<i64>>| {
            let micros: TimestampMicrosecondArray = values.into_iter().map(|v| v.map(|v| v * 1_000_000)).collect();
            Arc::new(micros.with_timezone("UTC")) as _
        };
        RecordBatch::try_from_iter_with_nullable([
            (PARTITION_COLUMN, Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))) as _, false),
            (OFFSET_COLUMN, Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)) as _, false),
            (ITEM_COLUMN, Arc::new(Int32Array::from_iter_values(rows.iter().map(|_| 0))) as _, false),
            (STAMP_COLUMN, seconds(rows.iter().map(|row| row.2).collect()), true),
            ("event_time", seconds(rows.iter().map(|row| Some(row.1)).collect()), false),
        ])
        .expect("rows")
    }

    fn mark(second: i64) -> Watermark {
        Watermark(DateTime::from_timestamp(second, 0).expect("a time"))
    }

    fn marks(pairs: &[(i32, i64)]) -> Watermarks {
        pairs.iter().map(|(partition, second)| (Partition(*partition), mark(*second))).collect()
    }

    fn bounds(closed: Option<Watermark>) -> impl Fn(Partition) -> Bounds {
        move |_| Bounds { lateness: Duration::from_secs(10), closed }
    }

    fn split(batch: &[(i32, i64, Option<i64>)], before: &Watermarks, closed: Option<i64>) -> Split {
        let now = mark(1_000_000).0;
        split_late(&rows(batch), "event_time", &bounds(closed.map(mark)), before, now)
    }

    #[test]
    fn a_row_before_the_watermark_of_its_own_partition_is_late_and_equal_is_on_time() {
        let found = split(&[(0, 100, None), (1, 50, None), (0, 90, None), (0, 89, None)], &marks(&[]), None);
        assert_eq!(found.late.iter().map(|late| late.row).collect::<Vec<_>>(), [3]);
        assert_eq!(found.late[0].watermark, mark(90));
        assert_eq!(found.on_time.num_rows(), 3);
        assert_eq!(found.watermarks, marks(&[(0, 90), (1, 40)]));
    }

    #[test]
    fn a_clock_in_the_future_moves_the_watermark_no_further_than_the_time_of_the_record() {
        let found = split(&[(0, 400, Some(100)), (0, 95, Some(101))], &marks(&[]), None);
        assert!(found.late.is_empty());
        assert_eq!(found.watermarks, marks(&[(0, 90)]));
    }

    #[test]
    fn a_clock_in_the_future_that_stamps_records_too_moves_the_watermark_no_further_than_now() {
        let ahead = rows(&[(0, 3_400, Some(3_400)), (0, 95, Some(101))]);
        let found = split_late(&ahead, "event_time", &bounds(None), &marks(&[]), mark(100).0);
        assert!(found.late.is_empty());
        assert_eq!(found.watermarks, marks(&[(0, 90)]));
    }

    #[test]
    fn a_partition_that_was_idle_is_late_where_windows_have_closed() {
        let found = split(&[(0, 60, None), (0, 75, None)], &marks(&[(0, 20)]), Some(70));
        assert_eq!(found.late.iter().map(|late| late.row).collect::<Vec<_>>(), [0]);
    }

    proptest! {
        #[test]
        fn any_batching_splits_alike(
            times in proptest::collection::vec((0..3_i32, 0..60_i64), 1..60),
            cut in 0_usize..60,
        ) {
            let all: Vec<(i32, i64, Option<i64>)> = times.into_iter().map(|(p, time)| (p, time, Some(time + 2))).collect();
            let cut = cut.min(all.len());
            let whole = split(&all, &marks(&[]), None);
            let first = split(&all[..cut], &marks(&[]), None);
            let second = split(&all[cut..], &first.watermarks, None);
            prop_assert_eq!(&whole.watermarks, &second.watermarks);
            let late = |split: &Split, from: usize| split.late.iter().map(|late| late.row + from).collect::<Vec<_>>();
            prop_assert_eq!(late(&whole, 0), [late(&first, 0), late(&second, cut)].concat());
        }
    }
}

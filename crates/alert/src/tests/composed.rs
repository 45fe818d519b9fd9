//! What a rule of two vitals is judged on, row by row.

use arrow::array::{AsArray, Int32Array};
use arrow::datatypes::Float64Type;

use super::*;

/// A record: device, second by its clock, second by Kafka's, heart rate, saturation.
type Record = (&'static str, i64, i64, Option<f64>, Option<f64>);

fn frame_of(records: &[Record]) -> RecordBatch {
    let seconds = |of: &dyn Fn(&Record) -> i64| {
        let micros: TimestampMicrosecondArray = records.iter().map(|record| Some(of(record) * 1_000_000)).collect();
        Arc::new(micros.with_timezone("UTC")) as _
    };
    let values = |of: &dyn Fn(&Record) -> Option<f64>| Arc::new(records.iter().map(of).collect::<Float64Array>()) as _;
    RecordBatch::try_from_iter_with_nullable([
        ("patient_id", Arc::new(StringViewArray::from_iter_values(records.iter().map(|_| "P1"))) as _, false),
        ("event_time", seconds(&|record| record.1), false),
        ("device", Arc::new(StringViewArray::from_iter_values(records.iter().map(|record| record.0))) as _, true),
        ("heart_rate", values(&|record| record.3), true),
        ("spo2", values(&|record| record.4), true),
        ("_partition", Arc::new(Int32Array::from(vec![0; records.len()])) as _, false),
        ("_stamped_at", seconds(&|record| record.2), false),
    ])
    .expect("a frame")
}

/// What a rule of both vitals is judged on.
struct Judged {
    rule: Rule,
    streams: Streams,
    composer: Composer,
}

impl Judged {
    fn new() -> Self {
        let vitals = vec!["heart_rate".to_owned(), "spo2".to_owned()];
        let composed = Some(vec![Duration::from_secs(30); 2]);
        let rule = Rule { name: "both".to_owned(), vitals, composed, ..rule(0, 0) };
        let streams = Streams::new(Shape::new(Some("device"), [rule.depends_on()].into_iter()));
        Self { composer: Composer::new(std::slice::from_ref(&rule)), rule, streams }
    }

    /// The rows that a batch is judged on: heart rate and saturation.
    fn batch(&mut self, records: &[Record]) -> Vec<(Option<f64>, Option<f64>)> {
        let frame = frame_of(records);
        let mut samples = self.streams.note(&frame, &columns(), at(1_000_000));
        self.composer.compose(&mut samples, &self.streams, &frame);
        let rows = samples.composed(&self.rule).expect("it is composed").rows();
        let column = |name: &str| rows.column_by_name(name).expect("a column").as_primitive::<Float64Type>().clone();
        column("heart_rate").iter().zip(column("spo2").iter()).collect()
    }
}

#[test]
fn each_record_is_filled_with_what_the_other_device_said_last() {
    let mut judged = Judged::new();
    let rows = judged.batch(&[
        ("monitor", 0, 0, Some(80.0), None),
        ("oximeter", 100, 0, None, Some(97.0)),
        ("monitor", 1, 1, Some(81.0), None),
    ]);
    assert_eq!(rows, [(Some(80.0), None), (Some(80.0), Some(97.0)), (Some(81.0), Some(97.0))]);
    assert_eq!(judged.batch(&[("oximeter", 101, 1, None, Some(96.0))]), [(Some(81.0), Some(96.0))]);
    // Half a minute later the saturation counts no longer.
    assert_eq!(judged.batch(&[("monitor", 31, 31, Some(85.0), None)]), [(Some(85.0), None)]);
}

#[test]
fn a_device_with_both_is_judged_by_itself_and_once_more_for_the_other_that_has_one_of_them() {
    let mut judged = Judged::new();
    let both = |second, heart_rate| ("monitor", second, second, Some(heart_rate), Some(97.0));
    judged.batch(&[both(0, 80.0), ("oximeter", 0, 0, None, Some(85.0))]);
    let rows = judged.batch(&[both(1, 81.0)]);
    assert_eq!(rows, [(Some(81.0), Some(97.0)), (Some(81.0), Some(85.0))]);
}

#[test]
fn a_vital_that_each_record_had_and_one_has_not_is_not_filled_in() {
    let mut judged = Judged::new();
    let both = |second| ("monitor", second, second, Some(80.0), Some(97.0));
    let rows = judged.batch(&[both(0), both(1), ("monitor", 2, 2, Some(80.0), None)]);
    assert_eq!(rows[2], (Some(80.0), None));
}

#[test]
fn what_is_known_is_read_back_as_it_was_saved() {
    let mut judged = Judged::new();
    judged.batch(&[("monitor", 0, 0, Some(80.0), None), ("oximeter", 100, 0, None, Some(97.0))]);
    let mut restored = Composer::new(std::slice::from_ref(&judged.rule));
    assert!(restored.restore(&judged.composer.save()));
    assert_eq!(restored, judged.composer);
    judged.composer = restored;
    assert_eq!(judged.batch(&[("monitor", 1, 1, Some(81.0), None)]), [(Some(81.0), Some(97.0))]);
    assert!(!Composer::default().restore(&[]) && Composer::default().restore(&judged.composer.save()));
}

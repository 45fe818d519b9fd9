//! Decoding beside bare arrow-json on the same bytes: `cargo bench --bench decode`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wardwatch::config;
use wardwatch::decode::{CHUNK, Decoder, RawRecord, RawRecords};
use wardwatch::simulate::{ONSET, RecordForm, Ward, WardOptions};
use wardwatch::terms::Offset;

fn decode(criterion: &mut Criterion) {
    let job = config::load(std::path::Path::new("jobs/patient_vitals.toml")).expect("the shipped job");
    let mut ward = Ward::new(WardOptions {
        patients: 1_000,
        seed: 1,
        start: chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
        interval: std::time::Duration::from_secs(1),
        onset: ONSET,
        lasts: None,
        scenarios: Vec::new(),
    });
    let form = RecordForm::of(&job.source).expect("bare records");
    let records: Vec<Vec<u8>> =
        std::iter::repeat_with(|| ward.next_round()).flatten().flat_map(|s| form.records(&s)).take(CHUNK).collect();
    let mut raw = RawRecords::default();
    for (offset, record) in (0..).zip(&records) {
        raw.push(RawRecord::of_payload(Offset(offset), record));
    }

    // What arrow-json alone would be asked for: the fields as they stand, times as text, nothing checked.
    let text = ["patient_id", "event_time", "consciousness"].map(|name| Field::new(name, DataType::Utf8View, true));
    let numbers = ["heart_rate", "respiratory_rate", "spo2", "systolic_bp", "diastolic_bp", "temperature", "pulse"]
        .map(|name| Field::new(name, DataType::Float64, true));
    let truths = [Field::new("oxygen", DataType::Boolean, true)];
    let schema = Arc::new(Schema::new(text.into_iter().chain(numbers).chain(truths).collect::<Vec<_>>()));

    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(CHUNK as u64)).sample_size(20);
    group.bench_function("bare arrow-json", |bencher| {
        let mut bare = ReaderBuilder::new(schema.clone()).with_batch_size(CHUNK).build_decoder().unwrap();
        bencher.iter(|| {
            records.iter().for_each(|record| assert_eq!(bare.decode(record).unwrap(), record.len()));
            black_box(bare.flush().unwrap())
        });
    });
    group.bench_function("wardwatch", |bencher| {
        let mut decoder = Decoder::new(&job.source);
        bencher.iter(|| black_box(decoder.decode(&raw)));
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);

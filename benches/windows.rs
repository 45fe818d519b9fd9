//! What windows and rules cost per batch, without Kafka and without a store: `cargo bench --bench windows`.
//!
//! Each figure stands beside what it is to be compared with, measured in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    missing_docs
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::DateTime;
use wardwatch::header::{Begin, Emit, RuleHeader, TableHeader};
use wardwatch::query::{Engine, Input, Limits, Progress, QueryFile, QueryKind, Source};
use wardwatch::terms::{BatchId, Severity, Watermark};

const VITALS: [&str; 7] =
    ["heart_rate", "respiratory_rate", "spo2", "systolic_bp", "diastolic_bp", "temperature", "pulse"];

fn main() {
    window_lengths();
    hops();
    rules();
    snapshots();
}

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema() -> SchemaRef {
    let vitals = VITALS.iter().map(|vital| Field::new(*vital, DataType::Float64, true));
    let mut fields =
        vec![Field::new("patient_id", DataType::Utf8View, false), Field::new("event_time", instant(), false)];
    fields.extend(vitals);
    fields.extend([
        Field::new("_topic", DataType::Utf8View, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_stamped_at", instant(), true),
    ]);
    Arc::new(Schema::new(fields))
}

/// One reading of each patient in `second`.
fn readings(patients: usize, second: i64) -> RecordBatch {
    let times = || Arc::new(TimestampMicrosecondArray::from(vec![second * 1_000_000; patients]).with_timezone("UTC"));
    let ids = (0..patients).map(|patient| format!("P{patient:05}"));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(StringViewArray::from_iter_values(ids)), times()];
    for vital in 0..VITALS.len() {
        // Noise, as far as a compressor can tell.
        let noise = |patient: usize| {
            (patient as u64 * 97 + second as u64 * 7_919 + vital as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        let value = |patient: usize| 60.0 + (noise(patient) >> 40) as f64 / 280_000.0;
        columns.push(Arc::new(Float64Array::from_iter_values((0..patients).map(value))));
    }
    columns.extend([
        Arc::new(StringViewArray::from_iter_values((0..patients).map(|_| "vitals"))) as ArrayRef,
        Arc::new(Int32Array::from_iter_values((0..patients).map(|patient| (patient % 4) as i32))),
        Arc::new(Int64Array::from_iter_values((0..patients).map(|patient| second * 10_000 + patient as i64))),
        times(),
    ]);
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn table(name: &str, text: &str) -> QueryFile {
    let key = ["patient_id", "start"].map(str::to_owned).to_vec();
    QueryFile {
        name: name.to_owned(),
        path: PathBuf::from(format!("{name}.sql")),
        text: text.to_owned(),
        kind: QueryKind::Table(TableHeader { key, emit: Emit::Close, start: Begin::Now }),
        allows: Vec::new(),
    }
}

fn rule(name: &str, text: String) -> QueryFile {
    let header = Box::new(RuleHeader::new(Severity::High));
    QueryFile {
        name: name.to_owned(),
        path: PathBuf::from(format!("{name}.sql")),
        text,
        kind: QueryKind::Rule(header),
        allows: Vec::new(),
    }
}

fn windowed(window: &str) -> QueryFile {
    let aggregates: Vec<String> =
        VITALS.iter().map(|v| format!("avg({v}) AS {v}_avg, min({v}) AS {v}_min, max({v}) AS {v}_max")).collect();
    let select = format!("SELECT patient_id, {window} AS start, count(*) AS records, {}", aggregates.join(", "));
    table("windows", &format!("{select} FROM vitals GROUP BY patient_id, {window}"))
}

fn engine(files: Vec<QueryFile>) -> Engine {
    let source = Source {
        table: "vitals",
        others: Vec::new(),
        schema: schema(),
        key: "patient_id",
        event_time: "event_time",
        doubtful: Vec::new(),
        valid_for: Vec::new(),
    };
    let limits = Limits { time: Duration::from_secs(30), memory: 2 << 30, groups: 50_000_000 };
    Engine::plan(files, &[], &source, limits).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Runs the engine on the batch of one second, with ten seconds of lateness; how long it took.
fn run(engine: &mut Engine, second: i64, rows: &RecordBatch) -> Duration {
    let now = DateTime::from_timestamp(second, 0).unwrap();
    let input = Input {
        batch: BatchId(second as u64),
        again: None,
        judged: None,
        periods: &[],
        ages: None,
        rows,
        on_time: rows,
        history: &[],
        open_alerts: None,
        artefacts: None,
        encounters_now: None,
        leaving: &BTreeMap::new(),
        now,
        event_now: now,
        partition_nows: &BTreeMap::new(),
        reached: &[Progress { watermark: DateTime::from_timestamp(second - 10, 0).map(Watermark), show_open: false }],
    };
    let started = Instant::now();
    for outcome in engine.run(&input, &|_| false) {
        assert!(outcome.trouble.is_none(), "{:?}", outcome.trouble);
        outcome.rows.unwrap();
    }
    started.elapsed()
}

fn millis(times: &[Duration]) -> (f64, f64) {
    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1_000.0).collect();
    times.sort_by(f64::total_cmp);
    (times.iter().sum::<f64>() / times.len() as f64, times[(times.len() - 1) * 99 / 100])
}

/// A batch costs by its rows and the number of keys, not by the length of the window.
fn window_lengths() {
    println!("\nA second of 10,000 patients into tumbling windows, 21 aggregates of 7 vitals; 300 batches");
    let mut means = Vec::new();
    for window in ["1 minute", "24 hours"] {
        let mut engine = engine(vec![windowed(&format!("tumble(event_time, INTERVAL '{window}')"))]);
        let times: Vec<Duration> =
            (1..=300).map(|second| run(&mut engine, second, &readings(10_000, second))).collect();
        let (mean, p99) = millis(&times);
        let (groups, bytes) = engine.kept().next().unwrap().held();
        println!(
            "  {window:<10} mean {mean:>7.2} ms   99th percentile {p99:>7.2} ms   {:.0} bytes for a window and key",
            bytes as f64 / groups as f64
        );
        means.push(mean);
    }
    println!("  24 hours to 1 minute {:>6.2}", means[1] / means[0]);
}

/// A window of 300 panes, one of which closes every second.
fn hops() {
    println!("\nFive minutes every second over 10,000 patients: closing one window of 3,000,000 group panes");
    let hop = "hop(event_time, INTERVAL '1 second', INTERVAL '5 minutes')";
    let text = format!(
        "SELECT patient_id, {hop} AS start, avg(heart_rate) AS heart_rate_avg, min(spo2) AS spo2_min, count(*) AS records
         FROM vitals GROUP BY patient_id, {hop}"
    );
    let mut engine = engine(vec![table("windows", &text)]);
    let times: Vec<Duration> = (1..=720).map(|second| run(&mut engine, second, &readings(10_000, second))).collect();
    let (mean, p99) = millis(&times[320..]);
    let (groups, bytes) = engine.kept().next().unwrap().held();
    println!("  whole batch mean {mean:>7.2} ms   99th percentile {p99:>7.2} ms   of 400 batches");
    println!(
        "  state {:>7.0} MiB   {:.0} bytes for a pane and key",
        bytes as f64 / 1048576.0,
        bytes as f64 / groups as f64
    );
}

fn rules() {
    println!("\nSimple rules, at 1,000 patients and 10,000");
    let simple = |n: usize| {
        let vital = VITALS[n % VITALS.len()];
        rule(
            &format!("rule_{n}"),
            format!("SELECT patient_id, event_time, {vital} FROM vitals WHERE {vital} > {}", 110 + n % 9),
        )
    };
    for patients in [1_000, 10_000] {
        let cost = |count: usize| {
            let mut engine = engine((0..count).map(simple).collect());
            let times: Vec<Duration> =
                (1..=100).map(|second| run(&mut engine, second, &readings(patients, second))).collect();
            millis(&times[10..])
        };
        let ((few, _), (many, p99)) = (cost(1), cost(100));
        println!(
            "  {patients:>6} patients: one more rule {:>6.3} ms   100 rules mean {many:>7.2} ms, 99th percentile {p99:>7.2} ms",
            (many - few) / 99.0
        );
    }
}

fn snapshots() {
    println!("\nA snapshot of a 24-hour window of 10,000 patients, 21 aggregates, every 60 batches");
    let mut engine = engine(vec![windowed("tumble(event_time, INTERVAL '24 hours')")]);
    let batches: Duration = (1..=120).map(|second| run(&mut engine, second, &readings(10_000, second))).sum();
    let started = Instant::now();
    let saved = engine.save().into_iter().next().unwrap().unwrap();
    let took = started.elapsed();
    let bytes: usize = saved.changed.iter().map(|(_, bytes)| bytes.len()).sum();
    let mean = batches.as_secs_f64() * 1_000.0 / 120.0;
    let each = took.as_secs_f64() * 1_000.0 / 60.0;
    println!(
        "  {:.1} ms and {:.0} KiB, so {each:.3} ms a batch: {:.1} % of the mean batch of {mean:.2} ms",
        took.as_secs_f64() * 1_000.0,
        bytes as f64 / 1024.0,
        each / mean * 100.0
    );
}

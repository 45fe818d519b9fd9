//! Windows without Kafka and without a store: however records are batched, interleaved or repeated after a stop, the
//! rows are those of the same SQL over all records in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, Utc};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use wardwatch::diagnostic::Diagnostics;
use wardwatch::event_time::{EventTime, Patience, Seen};
use wardwatch::frame::{Bounds, SeenKeys, split_late, without_rows};
use wardwatch::header::{Begin, Emit, TableHeader};
use wardwatch::query::{Engine, Input, Limits, Outcome, Progress, QueryFile, QueryKind, Source};
use wardwatch::terms::{BatchId, Partition, Watermark};

const LATENESS: Duration = Duration::from_secs(20);

fn patience() -> Patience {
    Patience { table: "vitals".into(), lateness: LATENESS, idle_timeout: Duration::from_secs(3_600) }
}

/// One reading: patient, second, heart rate. A patient is read from the partition `patient % 2`.
type Reading = (u8, i64, Option<f64>);

fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("patient_id", DataType::Utf8View, false),
        Field::new("event_time", instant(), false),
        Field::new("heart_rate", DataType::Float64, true),
        Field::new("_topic", DataType::Utf8View, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_item", DataType::Int32, false),
        Field::new("_stamped_at", instant(), true),
    ]))
}

fn rows(readings: &[(i64, Reading)]) -> RecordBatch {
    let times = |values: Vec<Option<i64>>| {
        let micros: TimestampMicrosecondArray = values.into_iter().map(|time| time.map(|t| t * 1_000_000)).collect();
        Arc::new(micros.with_timezone("UTC"))
    };
    let patients = readings.iter().map(|(_, (patient, ..))| format!("patient number {patient}"));
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringViewArray::from_iter_values(patients)),
            times(readings.iter().map(|(_, (_, second, _))| Some(*second)).collect()),
            Arc::new(readings.iter().map(|(_, (.., rate))| *rate).collect::<Float64Array>()),
            Arc::new(StringViewArray::from_iter_values(readings.iter().map(|_| "vitals"))),
            Arc::new(Int32Array::from_iter_values(readings.iter().map(|(_, (patient, ..))| i32::from(patient % 2)))),
            Arc::new(Int64Array::from_iter_values(readings.iter().map(|(offset, _)| *offset))),
            Arc::new(Int32Array::from_iter_values(readings.iter().map(|_| 0))),
            times(readings.iter().map(|_| None).collect()),
        ],
    )
    .expect("rows")
}

fn table(name: &str, key: &str, text: &str) -> QueryFile {
    let key = key.split(',').map(|name| name.trim().to_owned()).collect();
    QueryFile {
        name: name.to_owned(),
        path: PathBuf::from(format!("{name}.sql")),
        text: text.to_owned(),
        kind: QueryKind::Table(TableHeader { key, emit: Emit::Close, start: Begin::Now }),
        allows: Vec::new(),
    }
}

fn engine(files: Vec<QueryFile>) -> Result<Engine, Diagnostics> {
    let source = Source {
        table: "vitals",
        others: Vec::new(),
        schema: schema(),
        key: "patient_id",
        event_time: "event_time",
        doubtful: Vec::new(),
        valid_for: Vec::new(),
    };
    let limits = Limits { time: Duration::from_secs(30), memory: 256 << 20, groups: 100_000 };
    Engine::plan(files, &[], &source, limits)
}

/// A run over batches: an engine, event time, and the tables as the store would have them.
struct Job {
    files: Vec<QueryFile>,
    engine: Engine,
    event_time: EventTime,
    batch: u64,
    tables: BTreeMap<String, BTreeMap<String, String>>,
    /// The rows that were on time and had not come before.
    counted: Vec<(i64, Reading)>,
    seen: SeenKeys,
    /// The panes of each query, as the store would have them.
    panes: BTreeMap<String, BTreeMap<i64, Vec<u8>>>,
}

impl Job {
    fn new(files: Vec<QueryFile>) -> Self {
        let engine = engine(files.clone()).unwrap_or_else(|faults| panic!("{faults}"));
        Self {
            files,
            engine,
            event_time: EventTime::default(),
            batch: 0,
            tables: BTreeMap::new(),
            counted: Vec::new(),
            seen: SeenKeys::new(&["patient_id".to_owned(), "heart_rate".to_owned()], "event_time"),
            panes: BTreeMap::new(),
        }
    }

    fn run(&mut self, readings: &[(i64, Reading)], watermark: Option<i64>) {
        self.run_with(readings, watermark, &BTreeSet::new());
    }

    /// `idle` are the partitions of which nothing has come for longer than the idle timeout.
    fn run_with(&mut self, readings: &[(i64, Reading)], watermark: Option<i64>, idle: &BTreeSet<Partition>) {
        let all = rows(readings);
        let bounds = Bounds { lateness: LATENESS, closed: self.event_time.watermark };
        let (before, now) = (&self.event_time.watermarks, DateTime::<Utc>::MAX_UTC);
        let split = split_late(&all, "event_time", &|_| bounds, before, now);
        let late: BTreeSet<usize> = split.late.iter().map(|late| late.row).collect();
        let on_time: Vec<(i64, Reading)> =
            readings.iter().enumerate().filter(|(row, _)| !late.contains(row)).map(|(_, reading)| *reading).collect();
        let doubled = self.seen.find(&split.on_time, &split.watermarks);
        let counted = on_time.iter().enumerate().filter(|(row, _)| !doubled.contains(row)).map(|(_, reading)| *reading);
        self.counted.extend(counted);
        let on_time = without_rows(&split.on_time, &doubled);
        self.batch += 1;
        let active = readings.iter().map(|(_, (patient, ..))| Partition(i32::from(patient % 2))).collect();
        let seen = Seen {
            watermarks: &split.watermarks,
            active: &active,
            with_rows: &active,
            at_end: idle,
            keeps_windows: false,
            partitions: &[Partition(0), Partition(1)].into(),
            waiting_since: None,
            now: DateTime::<Utc>::UNIX_EPOCH,
        };
        self.event_time.active.clear(); // an idle partition has been so for long
        self.event_time = self.event_time.after(&seen, &patience());
        if let Some(second) = watermark {
            self.event_time.watermark = DateTime::from_timestamp(second, 0).map(Watermark);
        }
        let input = Input {
            batch: BatchId(self.batch),
            again: None,
            judged: None,
            periods: &[],
            ages: None,
            rows: &all,
            on_time: &on_time,
            history: &[],
            open_alerts: None,
            artefacts: None,
            encounters_now: None,
            leaving: &BTreeMap::new(),
            now: DateTime::<Utc>::UNIX_EPOCH,
            event_now: DateTime::<Utc>::UNIX_EPOCH,
            partition_nows: &BTreeMap::new(),
            reached: &[Progress { watermark: self.event_time.watermark, show_open: false }],
        };
        for outcome in self.engine.run(&input, &|_| false) {
            assert_eq!(outcome.trouble, None, "{}", outcome.query);
            let rows = outcome.rows.unwrap_or_else(|failure| panic!("{}: {failure}", outcome.query));
            let file = self.files.iter().find(|file| file.name == outcome.query).expect("a query of the set");
            let QueryKind::Table(header) = &file.kind else { continue };
            let table = self.tables.entry(outcome.query).or_default();
            for (key, row) in printed(&rows, &header.key) {
                let before = table.insert(key.clone(), row.clone());
                assert!(before.is_none(), "a window closes once: {key} {before:?} {row}");
            }
        }
    }

    /// Stops, and goes on from what was saved.
    fn restart(&mut self) {
        let saved: Vec<_> = self.engine.save().into_iter().map(|saved| saved.expect("saved")).collect();
        self.engine = engine(self.files.clone()).expect("planned before");
        for saved in saved {
            let panes = self.panes.entry(saved.query.clone()).or_default();
            panes.extend(saved.changed);
            panes.retain(|start, _| saved.panes.contains(start));
            let panes: Vec<(i64, Vec<u8>)> = panes.iter().map(|(start, bytes)| (*start, bytes.clone())).collect();
            assert!(self.engine.restore(&saved.query, &panes, saved.closed_to, None), "{}", saved.query);
        }
    }
}

/// What differs between two tables; floats may by a billionth part, since sums depend on the order.
fn difference(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) -> Option<String> {
    let close = |a: &str, b: &str| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * b.abs().max(1.0),
        _ => a == b,
    };
    let same = |a: &str, b: &str| {
        a.split('|').count() == b.split('|').count() && a.split('|').zip(b.split('|')).all(|(a, b)| close(a, b))
    };
    let keys: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
    keys.into_iter().find_map(|key| match (found.get(key), expected.get(key)) {
        (Some(found), Some(expected)) if same(found, expected) => None,
        (found, expected) => Some(format!("{key}: {found:?}, expected {expected:?}")),
    })
}

/// Rows as text by their key.
fn printed(rows: &RecordBatch, key: &[String]) -> Vec<(String, String)> {
    let value = |column: &dyn Array, row: usize| match column.data_type() {
        DataType::Float64 if column.is_valid(row) => {
            arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(column).value(row).to_string()
        }
        _ => array_value_to_string(column, row).expect("text"),
    };
    let line = |columns: &[usize], row: usize| {
        columns.iter().map(|index| value(rows.column(*index), row)).collect::<Vec<_>>().join("|")
    };
    let keys: Vec<usize> = key.iter().map(|name| rows.schema().index_of(name).expect("a key")).collect();
    let all: Vec<usize> = (0..rows.num_columns()).collect();
    (0..rows.num_rows()).map(|row| (line(&keys, row), line(&all, row))).collect()
}

/// The rows of plain SQL over all readings at once.
fn oracle(readings: &[(i64, Reading)], sql: &str, key: &[String]) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        context.register_batch("vitals", rows(readings)).expect("registered");
        let frame = context.sql(sql).await.expect("planned");
        let batches = frame.collect().await.expect("run");
        batches.iter().flat_map(|batch| printed(batch, key)).collect()
    })
}

const AGGREGATES: &str = "
    avg(heart_rate) AS mean, min(heart_rate) AS low, max(heart_rate) AS high, sum(heart_rate) AS total,
    count(*) AS records, count(heart_rate) AS rates, stddev(heart_rate) AS deviation, var_pop(heart_rate) AS variance,
    median(heart_rate) AS middle, count(DISTINCT heart_rate) AS different,
    first_value(heart_rate ORDER BY event_time, _offset) AS earliest,
    last_value(heart_rate ORDER BY event_time, _offset) FILTER (WHERE heart_rate IS NOT NULL) AS latest,
    avg(heart_rate) FILTER (WHERE heart_rate > 90) AS fast_mean,
    array_to_string(array_agg(heart_rate ORDER BY event_time, _offset), ';') AS trace,
    string_agg(CAST(heart_rate AS VARCHAR), ',' ORDER BY event_time DESC, _offset) AS backwards,
    bool_or(heart_rate > 110) AS ever, corr(heart_rate, _offset) AS drift,
    max(heart_rate) - min(heart_rate) AS spread";

/// The set under test, and what each table must equal, as SQL of one go.
fn set() -> Vec<(QueryFile, String)> {
    let tumble = |window: &str, having: &str| {
        format!("SELECT patient_id, {window} AS start, {AGGREGATES} FROM vitals GROUP BY patient_id, {window} {having}")
    };
    let having = "HAVING count(*) > 1";
    let hop_oracle = format!(
        "SELECT patient_id, start, {AGGREGATES} FROM (
           SELECT *, date_bin(INTERVAL '10 seconds', event_time) - back AS start
           FROM vitals CROSS JOIN (VALUES (INTERVAL '0 seconds'), (INTERVAL '10 seconds'), (INTERVAL '20 seconds'),
             (INTERVAL '30 seconds'), (INTERVAL '40 seconds'), (INTERVAL '50 seconds'), (INTERVAL '60 seconds'))
             AS ks (back)) GROUP BY patient_id, start"
    );
    let session_oracle = format!(
        "SELECT patient_id, min(event_time) AS start, {AGGREGATES} FROM (
           SELECT *, sum(new) OVER (PARTITION BY patient_id ORDER BY event_time, _offset) AS number FROM (
             SELECT *, CASE WHEN event_time - lag(event_time) OVER (PARTITION BY patient_id ORDER BY event_time, _offset)
                            < INTERVAL '15 seconds' THEN 0 ELSE 1 END AS new FROM vitals))
         GROUP BY patient_id, number"
    );
    let ward_sessions =
        "SELECT min(event_time) AS start, count(*) AS records, count(DISTINCT patient_id) AS patients FROM (
           SELECT *, sum(new) OVER (ORDER BY event_time, _offset) AS number FROM (
             SELECT *, CASE WHEN event_time - lag(event_time) OVER (ORDER BY event_time, _offset)
                            < INTERVAL '2 seconds' THEN 0 ELSE 1 END AS new FROM vitals)) GROUP BY number";
    let minute = "INTERVAL '30 seconds'";
    vec![
        (
            table("tumbling", "patient_id, start", &tumble(&format!("tumble(event_time, {minute})"), having)),
            tumble(&format!("date_bin({minute}, event_time)"), having),
        ),
        (
            table(
                "hopping",
                "patient_id, start",
                &tumble("hop(event_time, INTERVAL '10 seconds', INTERVAL '70 seconds')", ""),
            ),
            hop_oracle,
        ),
        (
            table("sessions", "patient_id, start", &tumble("session(event_time, INTERVAL '15 seconds')", "")),
            session_oracle,
        ),
        (
            table(
                "ward_sessions",
                "start",
                "SELECT session(event_time, INTERVAL '2 seconds') AS start, count(*) AS records,
                 count(DISTINCT patient_id) AS patients FROM vitals GROUP BY session(event_time, INTERVAL '2 seconds')",
            ),
            ward_sessions.to_owned(),
        ),
        (
            // A window over the windows of another table.
            table(
                "coarser",
                "start",
                "SELECT tumble(start, INTERVAL '2 minutes') AS start, count(*) AS windows, sum(records) AS records
                 FROM tumbling GROUP BY tumble(start, INTERVAL '2 minutes')",
            ),
            format!(
                "SELECT date_bin(INTERVAL '2 minutes', start) AS start, count(*) AS windows, sum(records) AS records FROM
                 ({}) GROUP BY date_bin(INTERVAL '2 minutes', start)",
                tumble(&format!("date_bin({minute}, event_time)"), having)
            ),
        ),
        (
            // A join behind the aggregate, and a condition on what it gives.
            table(
                "named",
                "name, start",
                "SELECT w.start, n.name, w.mean FROM
                 (SELECT patient_id, tumble(event_time, INTERVAL '30 seconds') AS start, avg(heart_rate) AS mean FROM vitals
                  GROUP BY patient_id, tumble(event_time, INTERVAL '30 seconds')) AS w
                 JOIN (VALUES ('patient number 1', 'one'), ('patient number 2', 'two')) AS n (id, name) ON w.patient_id = n.id
                 WHERE w.mean > 90",
            ),
            "SELECT w.start, n.name, w.mean FROM
             (SELECT patient_id, date_bin(INTERVAL '30 seconds', event_time) AS start, avg(heart_rate) AS mean FROM vitals
              GROUP BY patient_id, date_bin(INTERVAL '30 seconds', event_time)) AS w
             JOIN (VALUES ('patient number 1', 'one'), ('patient number 2', 'two')) AS n (id, name) ON w.patient_id = n.id
             WHERE w.mean > 90"
                .to_owned(),
        ),
        (
            // Rows pass through a subquery, a condition and a join with constants.
            table(
                "joined",
                "name, start",
                "SELECT w.name, tumble(v.t, INTERVAL '30 seconds') AS start, count(*) AS records FROM
                 (SELECT patient_id AS p, event_time AS t, heart_rate AS hr FROM vitals WHERE heart_rate > 80) AS v
                 JOIN (VALUES ('patient number 1', 'one'), ('patient number 2', 'two')) AS w (id, name) ON v.p = w.id
                 GROUP BY w.name, tumble(v.t, INTERVAL '30 seconds')",
            ),
            "SELECT w.name, date_bin(INTERVAL '30 seconds', event_time) AS start, count(*) AS records FROM vitals AS v
             JOIN (VALUES ('patient number 1', 'one'), ('patient number 2', 'two')) AS w (id, name) ON v.patient_id = w.id
             WHERE heart_rate > 80 GROUP BY w.name, date_bin(INTERVAL '30 seconds', event_time)"
                .to_owned(),
        ),
    ]
}

/// Readings that come in disorder, some of them too late and some twice, each with its offset.
fn readings() -> impl Strategy<Value = Vec<(i64, Reading)>> {
    let rate = prop::option::weighted(0.8, 60..130_i32);
    let reading = (0..4_u8, 0..6_i64, -30..30_i64, rate, prop::bool::weighted(0.15));
    prop::collection::vec(reading, 1..120).prop_map(|drawn| {
        let mut time = 1_000;
        let mut offsets = [0_i64; 2];
        let mut readings: Vec<(i64, Reading)> = Vec::new();
        for (patient, step, jitter, rate, again) in drawn {
            time += step;
            let offset = &mut offsets[usize::from(patient % 2)];
            *offset += 1;
            let before = readings.iter().rev().find(|(_, (known, ..))| again && *known == patient);
            let reading = before.map_or((patient, time + jitter, rate.map(f64::from)), |(_, before)| *before);
            readings.push((*offset, reading));
        }
        readings
    })
}

/// Where batches are cut, and whether the job stops and goes on there.
fn cuts() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((0_usize..120, prop::bool::weighted(0.3)), 0..12)
}

fn on_time(readings: &[(i64, Reading)]) -> Vec<(i64, Reading)> {
    let bounds = Bounds { lateness: LATENESS, closed: None };
    let split = split_late(&rows(readings), "event_time", &|_| bounds, &BTreeMap::new(), DateTime::<Utc>::MAX_UTC);
    let late: BTreeSet<usize> = split.late.iter().map(|late| late.row).collect();
    readings.iter().enumerate().filter(|(row, _)| !late.contains(row)).map(|(_, reading)| *reading).collect()
}

/// The first of each patient, time and rate.
fn without_duplicates(readings: &[(i64, Reading)]) -> Vec<(i64, Reading)> {
    let mut seen = BTreeSet::new();
    let is_new =
        |(_, (patient, second, rate)): &&(i64, Reading)| seen.insert((*patient, *second, rate.map(f64::to_bits)));
    readings.iter().filter(is_new).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batching_with_any_stops_gives_the_rows_of_one_go(readings in readings(), mut cuts in cuts()) {
        let set = set();
        let mut job = Job::new(set.iter().map(|(file, _)| file.clone()).collect());
        cuts.sort_unstable();
        let mut from = 0;
        for (cut, stop) in cuts {
            let to = cut.clamp(from, readings.len());
            job.run(&readings[from..to], None);
            if stop {
                job.restart();
            }
            from = to;
        }
        job.run(&readings[from..], None);
        job.run(&[], Some(1_000_000));

        let counted = without_duplicates(&on_time(&readings));
        prop_assert_eq!(&job.counted, &counted);
        for (file, sql) in &set {
            let QueryKind::Table(header) = &file.kind else { continue };
            let found = job.tables.remove(&file.name).unwrap_or_default();
            prop_assert_eq!(difference(&found, &oracle(&counted, sql, &header.key)), None, "{}", file.name);
        }
    }
}

#[test]
fn windows_of_far_and_odd_times_start_where_they_should() {
    let second = |time: &str| DateTime::parse_from_rfc3339(time).expect("a time").timestamp();
    let times = [
        ("1969-12-31T23:59:59Z", "1969-12-31T23:59:30Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:30Z"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:30Z"),
    ];
    let readings: Vec<(i64, Reading)> =
        (1..).zip(times).map(|(offset, (time, _))| (offset, (0, second(time), Some(80.0)))).collect();
    let mut job = Job::new(vec![set().remove(0).0]);
    let text = job.files[0].text.replace("HAVING count(*) > 1", "");
    job = Job::new(vec![QueryFile { text, ..job.files.remove(0) }]);
    for reading in &readings {
        job.run(&[*reading], None);
    }
    job.run(&[], Some(second("9999-12-31T23:59:59Z") + 1));
    let found: Vec<String> =
        job.tables["tumbling"].keys().map(|key| key.split('|').nth(1).unwrap().to_owned()).collect();
    assert_eq!(found, times.map(|(_, start)| start.to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_in_which_partitions_are_read_changes_no_row(readings in readings(), cut in 0_usize..120) {
        let files: Vec<QueryFile> = set().into_iter().map(|(file, _)| file).collect();
        let mut mixed = Job::new(files.clone());
        mixed.run(&readings, None);
        mixed.run(&[], Some(1_000_000));
        // One partition first and then the other; neither is at its end before, so none is taken for idle.
        let (even, odd): (Vec<_>, Vec<_>) = readings.iter().copied().partition(|(_, (patient, ..))| patient % 2 == 0);
        let apart = [even, odd].concat();
        let mut job = Job::new(files);
        let cut = cut.min(apart.len());
        job.run(&apart[..cut], None);
        job.run(&apart[cut..], None);
        job.run(&[], Some(1_000_000));
        for (table, rows) in &mixed.tables {
            prop_assert_eq!(difference(&job.tables[table], rows), None, "{}", table);
        }
    }
}

/// What the only query of an engine gives on a batch that is on time.
fn run_one(engine: &mut Engine, batch: u64, all: &RecordBatch, watermark: Option<i64>) -> Outcome {
    let watermark = watermark.and_then(|second| DateTime::from_timestamp(second, 0)).map(Watermark);
    let input = Input {
        batch: BatchId(batch),
        again: None,
        judged: None,
        periods: &[],
        ages: None,
        rows: all,
        on_time: all,
        history: &[],
        open_alerts: None,
        artefacts: None,
        encounters_now: None,
        leaving: &BTreeMap::new(),
        now: DateTime::<Utc>::UNIX_EPOCH,
        event_now: DateTime::<Utc>::UNIX_EPOCH,
        partition_nows: &BTreeMap::new(),
        reached: &[Progress { watermark, show_open: false }],
    };
    engine.run(&input, &|_| false).remove(0)
}

#[test]
fn a_window_that_cannot_be_computed_costs_itself_and_no_other() {
    let text = "SELECT tumble(event_time, INTERVAL '1 minute') AS start, 600 / count(heart_rate) AS share FROM vitals
                GROUP BY tumble(event_time, INTERVAL '1 minute')";
    let mut engine = engine(vec![table("shares", "start", text)]).expect("planned");
    let readings = [(1, (0, 0, Some(80.0))), (2, (0, 61, None)), (3, (0, 125, Some(80.0))), (4, (0, 130, Some(81.0)))];
    let all = rows(&readings);
    let outcome = run_one(&mut engine, 1, &all, Some(300));
    let told = outcome.trouble.expect("one window fails").0;
    assert!(
        told.contains("the window of 1970-01-01 00:01:00Z") && told.to_lowercase().contains("divide by zero"),
        "{told}"
    );
    let found: Vec<String> =
        printed(&outcome.rows.expect("the others"), &["start".to_owned()]).into_iter().map(|(_, row)| row).collect();
    assert_eq!(found, ["1970-01-01T00:00:00Z|600", "1970-01-01T00:02:00Z|300"]);
}

#[test]
fn with_emit_change_a_batch_gives_the_groups_that_it_changed_and_no_others() {
    let mut file = table(
        "minutes",
        "patient_id, start",
        "SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS start, count(*) AS records FROM vitals
         GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')",
    );
    if let QueryKind::Table(header) = &mut file.kind {
        header.emit = Emit::Change;
    }
    let mut engine = engine(vec![file]).expect("planned");
    let mut given = |batch: u64, readings: &[(i64, Reading)], watermark: Option<i64>| -> Vec<String> {
        let all = rows(readings);
        let outcome = run_one(&mut engine, batch, &all, watermark);
        let key = ["patient_id".to_owned(), "start".to_owned()];
        printed(&outcome.rows.expect("rows"), &key)
            .into_iter()
            .map(|(_, row)| row.replace("patient number ", "P"))
            .collect()
    };
    assert_eq!(
        given(1, &[(1, (1, 5, None)), (2, (2, 5, None))], None),
        ["P1|1970-01-01T00:00:00Z|1", "P2|1970-01-01T00:00:00Z|1"]
    );
    assert_eq!(
        given(2, &[(3, (1, 50, None)), (4, (1, 65, None))], None),
        ["P1|1970-01-01T00:00:00Z|2", "P1|1970-01-01T00:01:00Z|1"]
    );
    assert_eq!(
        given(3, &[], Some(60)),
        ["P1|1970-01-01T00:00:00Z|2", "P2|1970-01-01T00:00:00Z|1"],
        "what closes is given once more, whole"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_row_that_was_counted_is_in_its_windows_though_partitions_fall_idle_and_come_back(
        readings in readings(),
        batches in prop::collection::vec((1_usize..30, prop::option::of(0..2_i32), prop::bool::weighted(0.2)), 1..10),
    ) {
        let set = set();
        let mut job = Job::new(set.iter().map(|(file, _)| file.clone()).collect());
        let mut from = 0;
        for (length, idle, stop) in batches {
            let to = (from + length).min(readings.len());
            // Nothing comes from a partition while it is idle.
            let batch: Vec<(i64, Reading)> =
                readings[from..to].iter().filter(|(_, (patient, ..))| Some(i32::from(patient % 2)) != idle).copied().collect();
            job.run_with(&batch, None, &idle.into_iter().map(Partition).collect());
            if stop {
                job.restart();
            }
            from = to;
        }
        job.run(&readings[from..], None);
        job.run(&[], Some(1_000_000));
        for (file, sql) in &set {
            let QueryKind::Table(header) = &file.kind else { continue };
            let found = job.tables.remove(&file.name).unwrap_or_default();
            prop_assert_eq!(difference(&found, &oracle(&job.counted, sql, &header.key)), None, "{}", file.name);
        }
    }
}

#[test]
fn approximate_aggregates_are_kept_up_too() {
    let text = "SELECT tumble(event_time, INTERVAL '1 hour') AS start, approx_percentile_cont(heart_rate, 0.9) AS p90,
                approx_distinct(patient_id) AS patients, approx_median(heart_rate) AS middle
                FROM vitals GROUP BY tumble(event_time, INTERVAL '1 hour')";
    let mut job = Job::new(vec![table("hours", "start", text)]);
    for second in 0..100 {
        job.run(&[(second, (0, second, Some(second as f64)))], None);
        if second == 50 {
            job.restart();
        }
    }
    job.run(&[], Some(10_000));
    let row = job.tables["hours"].values().next().expect("an hour").clone();
    let values: Vec<f64> = row.split('|').skip(1).map(|cell| cell.parse().expect("a number")).collect();
    assert!((88.0..=91.0).contains(&values[0]) && values[1] == 1.0 && (48.0..=51.0).contains(&values[2]), "{row}");
}

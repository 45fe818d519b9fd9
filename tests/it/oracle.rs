//! Windows of a random stream — disorder, late and doubled records, idle partitions, restarts — against another engine:
//! DuckDB, over the records that were counted, in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fixtures::{Database, TestJob, Topic, mysql_url, repository, seed};

const AGGREGATES: &str = "count(*) AS records, count(heart_rate) AS readings, avg(heart_rate) AS mean,
    min(heart_rate) AS lowest, max(heart_rate) AS highest, sum(heart_rate) AS total, stddev(heart_rate) AS deviation,
    stddev_pop(heart_rate) AS whole_deviation, median(heart_rate) AS middle, count(DISTINCT heart_rate) AS different,
    first_value(spo2 ORDER BY event_time, _offset) AS first_spo2, last_value(spo2 ORDER BY event_time, _offset) AS last_spo2,
    avg(spo2) FILTER (WHERE heart_rate > 90) AS spo2_while_fast, max(heart_rate) - min(heart_rate) AS span";

/// A table query, and the same windows by DuckDB: its name, its window, whether DuckDB's windows come by joining starts.
struct Case {
    name: &'static str,
    job: &'static str,
    having: &'static str,
    duckdb: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        name: "by_minute",
        job: "tumble(event_time, INTERVAL '1 minute')",
        having: "",
        duckdb: "SELECT patient_id, time_bucket(INTERVAL '1 minute', event_time) AS s, * EXCLUDE (patient_id) FROM vitals",
    },
    Case {
        name: "by_hop",
        job: "hop(event_time, INTERVAL '20 seconds', INTERVAL '1 minute')",
        having: " HAVING count(*) > 2",
        duckdb: "SELECT patient_id, time_bucket(INTERVAL '20 seconds', event_time) - to_seconds(20 * back) AS s,
            * EXCLUDE (patient_id, back) FROM vitals CROSS JOIN (SELECT unnest([0, 1, 2]) AS back)",
    },
    Case {
        name: "by_session",
        job: "session(event_time, INTERVAL '15 seconds')",
        having: "",
        duckdb: "SELECT patient_id, min(event_time) OVER (PARTITION BY patient_id, number) AS s, * EXCLUDE (patient_id) FROM (
            SELECT *, sum(is_new) OVER (PARTITION BY patient_id ORDER BY event_time, part, off) AS number FROM (
              SELECT *, CASE WHEN event_time - lag(event_time) OVER (PARTITION BY patient_id ORDER BY event_time, part, off)
                < INTERVAL '15 seconds' THEN 0 ELSE 1 END AS is_new FROM vitals))",
    },
];

/// A record: partition, patient, second, heart rate and saturation.
type Record = (i32, u32, u32, Option<f64>, f64);

/// A stream: most records a little out of order, some far too late, some twice, and partition 2 silent in the middle.
fn stream(random: &mut ChaCha8Rng) -> Vec<Record> {
    let mut records = Vec::new();
    for second in 0_u32..900 {
        for patient in 0_u32..6 {
            let partition = (patient % 3) as i32;
            let is_silent = partition == 2 && (300..560).contains(&second) || random.random_bool(0.25);
            if is_silent || (second / 45 + patient) % 2 == 1 {
                continue;
            }
            let back = match random.random_range(0..100) {
                0..4 => random.random_range(25..90),
                4..40 => random.random_range(0..15),
                _ => 0,
            };
            let heart_rate = random.random_bool(0.9).then(|| f64::from(random.random_range(60_u32..130)));
            let record = (
                partition,
                patient,
                second.saturating_sub(back),
                heart_rate,
                f64::from(random.random_range(88_u32..100)),
            );
            records.push(record);
            if random.random_bool(0.05) {
                records.push(record);
            }
        }
    }
    records
}

fn payload((_, patient, second, heart_rate, spo2): &Record) -> String {
    let rate = heart_rate.map_or("null".to_owned(), |rate| rate.to_string());
    let at = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
    format!("{{\"patient_id\":\"P{patient}\",\"event_time\":\"{at}\",\"heart_rate\":{rate},\"spo2\":{spo2}}}")
}

#[test]
fn windows_of_a_random_stream_are_those_of_another_engine_in_one_go() {
    let Ok(python_path) = std::env::var("WARDWATCH_DUCKDB") else {
        return println!("DuckDB is not there; `make test` fetches it where it starts the services");
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let (topic, database) = (Topic::create(3), Database::create(&mysql_url()));
    let mut job = TestJob::new(&topic.name, &database.url)
        .source("lateness = \"20s\"\ndedupe = [\"patient_id\", \"event_time\", \"heart_rate\", \"spo2\"]")
        .more("snapshot_every = 3\n[trigger]\nmax_rows = 97")
        .query(
            "tables/counted",
            "-- @key: part, off\nSELECT patient_id, event_time, _partition AS part, _offset AS off, heart_rate, spo2 FROM vitals",
        );
    for case in &CASES {
        let text = format!(
            "-- @key: patient_id, s\nSELECT patient_id, {window} AS s, {AGGREGATES} FROM vitals GROUP BY patient_id, {window}{}",
            case.having,
            window = case.job
        );
        job = job.query(&format!("tables/{}", case.name), &text);
    }
    let records = stream(&mut random);
    let portions = 5;
    for portion in records.chunks(records.len().div_ceil(portions)) {
        portion.iter().for_each(|record| topic.put(record.0, None, payload(record).as_bytes()));
        topic.flush();
        job.run_once();
    }
    let closing = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(closing.status.success(), "{}", crate::fixtures::told(&closing));

    check_late(&database, &records);
    let csv = job.folder.path().join("counted.csv");
    let counted = "SELECT patient_id, CAST(event_time AS CHAR), part, off, COALESCE(heart_rate, ''), spo2 FROM counted
         WHERE NOT EXISTS (SELECT 1 FROM late_rows AS l WHERE l.partition = part AND l.offset = off)";
    let rows: Vec<String> = database.rows(counted).into_iter().map(|row| row.replace('|', ",")).collect();
    std::fs::write(&csv, format!("patient_id,event_time,part,off,heart_rate,spo2\n{}\n", rows.join("\n"))).unwrap();
    let doubled = records.len() - database.rows("SELECT part FROM counted").len();
    assert!(doubled > 50, "{doubled} records were doubled");

    for case in &CASES {
        let aggregates = AGGREGATES
            .replace("first_value(spo2 ORDER BY event_time, _offset)", "first(spo2 ORDER BY event_time, off)")
            .replace("last_value(spo2 ORDER BY event_time, _offset)", "last(spo2 ORDER BY event_time, off)");
        let sql =
            format!("SELECT patient_id, s, {aggregates} FROM ({}) GROUP BY patient_id, s{}", case.duckdb, case.having);
        let expected = duckdb(&python_path, csv.to_str().unwrap(), &sql);
        let found = database.rows(&format!(
            "SELECT patient_id, CAST(s AS CHAR), records, readings, mean, lowest, highest, total, deviation, whole_deviation,
             middle, different, first_spo2, last_spo2, spo2_while_fast, span FROM {}",
            case.name
        ));
        assert_same(case.name, &by_window(found), &by_window(expected));
    }
}

/// A record before the running maximum of its partition, less the lateness, is late; and no other is while none is idle.
fn check_late(database: &Database, records: &[Record]) {
    let mut newest = BTreeMap::new();
    let mut offsets: BTreeMap<i32, i64> = BTreeMap::new();
    let mut late = BTreeSet::new();
    for (partition, _, second, ..) in records {
        let offset = offsets.entry(*partition).or_insert(0);
        let newest = newest.entry(*partition).or_insert(*second);
        *newest = (*newest).max(*second);
        if *second + 20 < *newest {
            late.insert(format!("{partition}|{offset}"));
        }
        *offset += 1;
    }
    let stored: BTreeSet<String> = database.rows("SELECT `partition`, `offset` FROM late_rows").into_iter().collect();
    assert!(late.len() > 20, "{} late records", late.len());
    let missing: Vec<&String> = late.difference(&stored).collect();
    assert!(missing.is_empty(), "late, but not told: {missing:?}");
}

fn duckdb(python_path: &str, csv: &str, sql: &str) -> Vec<String> {
    let mut python = Command::new("python3")
        .arg(repository().join("tests/it/oracle.py"))
        .arg(csv)
        .env("PYTHONPATH", python_path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Rows by patient and start of the window.
fn by_window(rows: Vec<String>) -> BTreeMap<String, Vec<String>> {
    let mut windows = BTreeMap::new();
    for row in rows {
        let cells: Vec<String> = row.split('|').map(str::to_owned).collect();
        let start = cells[1].trim_end_matches('0').trim_end_matches('.');
        // 00:10:00 and 00:10:00.000000 are one time.
        let start = if cells[1].contains('.') { start.to_owned() } else { cells[1].clone() };
        let start = if start.len() < 19 { format!("{start:0<19}") } else { start };
        let known = windows.insert(format!("{} {start}", cells[0]), cells[2..].to_vec());
        assert!(known.is_none(), "a window stands twice: {row}");
    }
    windows
}

fn assert_same(table: &str, found: &BTreeMap<String, Vec<String>>, expected: &BTreeMap<String, Vec<String>>) {
    assert!(expected.len() > 20, "{table}: {} windows", expected.len());
    let names = |windows: &BTreeMap<String, Vec<String>>| windows.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{table}: the windows that there are");
    for (window, cells) in found {
        for (index, (one, other)) in cells.iter().zip(&expected[window]).enumerate() {
            let same = match (one.parse::<f64>(), other.parse::<f64>()) {
                (Ok(one), Ok(other)) => (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1.0),
                _ => one == other,
            };
            assert!(same, "{table}: {window}, value {index}: {one}, by DuckDB {other}");
        }
    }
}

//! A job in a program of one's own: built in code, run on services or in memory, told of what is committed.

use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, TimeDelta, Utc};
use wardwatch::{Builder, Column, Offline, Session, SessionError};

use crate::fixtures::{Database, Topic, kafka, mysql_url};

#[path = "../../examples/frames.rs"]
mod frames;
#[path = "../../examples/live.rs"]
mod live;
#[path = "../../examples/shipped_job.rs"]
mod shipped_job;
#[path = "../../examples/try_a_rule.rs"]
mod try_a_rule;

const TACHYCARDIA: &str = "-- @severity: high\n-- @message: HR {heart_rate:.0}\n\
    SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 130";

const READINGS: &str = "-- @key: patient_id, event_time\nSELECT patient_id, event_time, heart_rate, spo2 FROM vitals";

fn ward() -> Builder {
    let spo2 = Column::float("spo2").plausible(50.0..=100.0).valid_for(Duration::from_secs(60));
    Session::builder("ward").column(Column::float("heart_rate").from(&["heart_rate", "hr"])).column(spo2)
}

fn start() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn record(patient: &str, second: i64, values: &str) -> String {
    let at = (start() + TimeDelta::seconds(second)).to_rfc3339();
    format!(r#"{{"patient_id":"{patient}","event_time":"{at}",{values}}}"#)
}

#[test]
fn the_examples_do_what_they_say() {
    try_a_rule::main().unwrap();
    frames::main().unwrap();
    shipped_job::main().unwrap();
    live::main().unwrap();
}

#[test]
fn a_session_that_is_built_in_code_runs_on_kafka_and_a_store_and_goes_on_where_it_was() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let session = || {
        let ward = ward().kafka(&kafka(), &topic.name).store(&database.url).trigger(Duration::from_millis(100));
        ward.table("readings", READINGS).rule("tachycardia", TACHYCARDIA).build().unwrap()
    };
    let (mut rows, mut alerts, mut batches) = (Vec::new(), 0, Vec::new());
    for (seconds, expected) in [(0..3, 3), (3..5, 2), (5..5, 0)] {
        for second in seconds {
            topic.put(0, None, record("P1", second, r#""hr":141,"spo2":97"#).as_bytes());
        }
        topic.flush();
        let told = session().once().on_commit(|committed| {
            batches.push(committed.batch().0);
            alerts += committed.fired().count();
            rows.extend(committed.table("readings").map(RecordBatch::num_rows));
            assert!(committed.rows().is_some() && committed.table("no_such").is_none());
        });
        assert_eq!(told.run().unwrap().records, expected);
    }
    assert_eq!(rows.iter().sum::<usize>(), 5);
    assert!(batches.iter().copied().eq(1..=batches.len() as u64), "{batches:?}");
    assert_eq!(database.rows("SELECT COUNT(*), SUM(heart_rate) FROM readings"), ["5|705"]);
    assert_eq!((alerts, database.rows_of_rules("SELECT state FROM alerts")), (1, vec!["firing".to_owned()]));
}

#[test]
fn a_session_says_what_it_lacks_and_where_its_sql_is_wrong() {
    let message = |error: SessionError| error.to_string();
    let refused = |ward: Builder| message(ward.build().unwrap_err());
    let no_kafka = ward().rule("tachycardia", TACHYCARDIA).store("sqlite://x.db").build().unwrap();
    assert_eq!(
        message(no_kafka.run().unwrap_err()),
        "the session has no Kafka: name brokers and topic with Builder::kafka, or try it offline"
    );
    let no_store = ward().rule("tachycardia", TACHYCARDIA).kafka("localhost:9092", "vitals").build().unwrap();
    assert!(message(no_store.run().unwrap_err()).starts_with("the session has no store: "));
    let wrong = TACHYCARDIA.replace("WHERE heart_rate", "WHERE hart_rate");
    let text = refused(ward().rule("tachycardia", &wrong));
    assert!(
        text.contains("(given)/rules/tachycardia.sql:3:") && text.contains("did you mean \"heart_rate\"?"),
        "{text}"
    );
    let text = refused(ward().rule("tachycardia", TACHYCARDIA).table("tachycardia", READINGS));
    assert!(text.contains("has this name already"), "{text}");
    let text = refused(ward().rule("tachycardia", TACHYCARDIA).more("[features]\nx = 1"));
    assert!(text.starts_with("(ward):"), "{text}");
    let text = refused(ward().rule("tachycardia", TACHYCARDIA).store("postgres://x"));
    assert!(text.contains("\"postgres\""), "{text}");
    assert!(refused(ward()).contains("there is no query"), "{}", refused(ward()));
}

/// As some editors write them.
#[test]
fn a_byte_order_mark_is_no_part_of_a_query_or_a_seed() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("rules/tachycardia.sql", TACHYCARDIA.to_owned()),
        ("tables/readings.sql", READINGS.to_owned()),
        ("seeds/places.csv", "# @key: patient_id\npatient_id,place\nP1,12A\n".to_owned()),
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    }
    let session = ward().sql_dir(folder.path()).build().unwrap();
    assert_eq!(session.plan().references[0].rows.num_rows(), 1);
    let mut ward = session.offline();
    let given = ward.json([record("P1", 0, r#""hr":141"#).as_str()], start());
    assert_eq!(given.committed().fired().count(), 1);
}

#[test]
fn rows_go_in_as_records_do_and_are_refused_where_they_are_not_of_the_job() {
    let mut ward = ward().table("readings", READINGS).rule("tachycardia", TACHYCARDIA).build().unwrap().offline();
    let columns = |name: &str| -> RecordBatch {
        let columns: [(&str, ArrayRef); 4] = [
            ("patient_id", std::sync::Arc::new(StringArray::from(vec!["P1", "P2"]))),
            (
                "event_time",
                std::sync::Arc::new(
                    TimestampMicrosecondArray::from(vec![start().timestamp_micros(); 2]).with_timezone("UTC"),
                ),
            ),
            (name, std::sync::Arc::new(Float64Array::from(vec![Some(140.0), None]))),
            ("spo2", std::sync::Arc::new(Float64Array::from(vec![300.0, 97.0]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    };
    let given = ward.rows(&columns("heart_rate"), start()).unwrap();
    let committed = given.committed();
    assert_eq!((committed.records(), committed.rejects().len(), committed.artefacts().len()), (2, 0, 1));
    assert_eq!(committed.artefacts()[0].column, "spo2");
    assert_eq!(committed.table("readings").unwrap().num_rows(), 2);
    assert_eq!(committed.fired().count(), 1);
    assert_eq!(committed.failures().count(), 0);
    let refused = ward.rows(&columns("hart_rate"), start()).unwrap_err().to_string();
    assert_eq!(refused, "column \"hart_rate\": unknown column \"hart_rate\"; did you mean \"heart_rate\"?");
}

/// The pressure is low again while nobody can judge it.
#[test]
fn an_alert_is_not_ended_by_time_while_its_query_fails() {
    let rule = "-- @severity: high\n-- @latch: no\n-- @clear_after: 20s\n-- @message: {systolic:.0}\n\
        SELECT patient_id, event_time, systolic FROM vitals\n\
        WHERE systolic < 90 AND coalesce(10 / CAST(heart_rate - 90 AS INT), 0) > -100";
    let cuff = Column::float("systolic").valid_for(Duration::from_secs(4 * 3_600));
    let mut ward = ward().column(cuff).rule("low", rule).build().unwrap().offline();
    let (mut states, mut failures) = (Vec::new(), 0);
    for second in 0..160 {
        let mut records =
            vec![record("P2", second, if (11..60).contains(&second) { r#""hr":90"# } else { r#""hr":80"# })];
        records.push(record("P1", second, r#""spo2":97"#));
        for (at, pressure) in [(3, 70), (10, 120), (15, 70), (150, 120)] {
            if at == second {
                records.push(record("P1", second, &format!(r#""systolic":{pressure}"#)));
            }
        }
        let given = ward.json(records.iter().map(String::as_str), start() + TimeDelta::seconds(second));
        failures += given.committed().failures().count();
        let committed = given.committed();
        let of_rule = committed.alerts().iter().filter(|change| &*change.episode.rule == "low");
        states.extend(of_rule.map(|change| (second, change.episode.state.name())));
    }
    assert!(failures > 0, "the rule can be judged");
    assert!(states.contains(&(3, "firing")) && states.contains(&(10, "recovering")), "{states:?}");
    // Not before a reading says that it is gone.
    let ended = states.iter().find(|(_, state)| *state == "ended");
    assert_eq!(ended.map(|(second, _)| *second), Some(150), "{states:?}");
}

/// No data never clears: what a query could not compute is not false.
#[test]
fn an_alert_by_windows_is_not_ended_while_they_cannot_be_computed() {
    let windows = "-- @key: patient_id, window_start\n\
        SELECT patient_id, tumble(event_time, INTERVAL '10 seconds') AS window_start, min(spo2) AS low,\n\
        sum(10 / CAST(heart_rate - 90 AS INT)) AS odd\n\
        FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '10 seconds')";
    let rule = "-- @severity: medium\n-- @allow: no-delay\n-- @clear_after: 5s\n-- @message: {low:.0}\n\
        SELECT patient_id, min(low) AS low FROM lows WHERE low < 90 GROUP BY patient_id";
    let mut ward: Offline = ward()
        .table("tens", windows)
        .view("lows", "SELECT patient_id, low FROM tens")
        .rule("low", rule)
        .build()
        .unwrap()
        .offline();
    let (mut states, mut failures) = (Vec::new(), 0);
    for second in 0..120 {
        let mut records = vec![record("P1", second, r#""hr":80,"spo2":82"#)];
        if (40..80).contains(&second) {
            records.push(record("P2", second, r#""hr":90,"spo2":97"#));
        }
        let given = ward.json(records.iter().map(String::as_str), start() + TimeDelta::seconds(second));
        failures += given.committed().failures().count();
        let committed = given.committed();
        let of_rule = committed.alerts().iter().filter(|change| &*change.episode.rule == "low");
        states.extend(of_rule.map(|change| (second, change.episode.state.name())));
    }
    assert!(failures > 0, "the windows can be computed");
    assert!(states.iter().any(|(_, state)| *state == "firing"), "{states:?}");
    assert!(states.iter().all(|(_, state)| !["recovering", "ended", "latched"].contains(state)), "{states:?}");
}

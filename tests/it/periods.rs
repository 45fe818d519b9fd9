//! A sample is judged by who lay where, and by which limits held, when it was measured: however records are batched.

use chrono::{DateTime, TimeDelta, Utc};
use mysql::prelude::Queryable;

use crate::fixtures::{Database, TestJob, Topic, repository};

const BY_WARD: &str =
    "-- @severity: high\n-- @latch: no\n-- @clear_after: 2s\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, l.high FROM vitals AS v
JOIN encounters_now AS e ON e.patient_id = v.patient_id
JOIN ward_limits AS l ON l.ward = e.ward
WHERE v.heart_rate > l.high
";

/// The same of two vitals, which are judged on composed rows.
const OF_TWO: &str =
    "-- @severity: high\n-- @latch: no\n-- @clear_after: 2s\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, l.high FROM vitals AS v
JOIN encounters_now AS e ON e.patient_id = v.patient_id
JOIN ward_limits AS l ON l.ward = e.ward
WHERE v.heart_rate > l.high AND v.spo2 > 50
";

/// In which ward each reading was made.
const WARDS: &str = "-- @key: patient_id, event_time
SELECT v.patient_id, v.event_time, e.ward FROM vitals AS v LEFT JOIN encounters_now AS e ON e.patient_id = v.patient_id
";

const BY_LIMITS: &str =
    "-- @severity: high\n-- @latch: no\n-- @clear_after: 2s\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, t.high FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'heart_rate'
WHERE v.heart_rate > t.high
";

const BATCHINGS: [u32; 3] = [3, 7, 500];

fn at(second: i64) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-01-01T10:00:00Z").unwrap().to_utc() + TimeDelta::seconds(second)
}

fn put(topic: &Topic, patient: &str, samples: impl IntoIterator<Item = (DateTime<Utc>, Option<DateTime<Utc>>, f64)>) {
    for (at, stamp, rate) in samples {
        let record = format!(
            r#"{{"patient_id":"{patient}","event_time":"{}","heart_rate":{rate},"spo2":97}}"#,
            at.format("%Y-%m-%dT%H:%M:%S%.3fZ")
        );
        topic.put(0, stamp.map(|stamp| stamp.timestamp_millis()), record.as_bytes());
    }
    topic.flush();
}

fn ask(database: &Database, columns: &str, values: &str) {
    let sql = format!("INSERT INTO encounters (job, {columns}) VALUES ('test', {values})");
    database.connect().query_drop(sql).unwrap();
}

/// An episode ends when it has been false for two seconds.
const EPISODES: &str = "SELECT rule, patient_id, started_at, ended_at, text FROM alerts WHERE rule LIKE 'fast%' ORDER BY rule, patient_id, started_at";

#[test]
fn a_transfer_within_a_batch_moves_the_limits_of_what_is_measured_after_it_and_of_nothing_before() {
    for batch in BATCHINGS {
        let (job, topic, database) = TestJob::on_mysql();
        let job = job
            .sql_file("seeds/ward_limits.csv", "# @key: ward\nward,high:float\nICU,150\nNorth,100\n")
            .query("rules/fast", BY_WARD)
            .query("rules/fast_and_measured", OF_TWO)
            .query("tables/wards", WARDS)
            .more(&format!("[trigger]\nmax_rows = {batch}"));
        job.run_once();
        let (from, moved) = (at(0).format("%F %T"), at(30).format("%F %T"));
        for (patient, first, second) in [("up", "ICU", "North"), ("down", "North", "ICU")] {
            ask(&database, "patient_id, ward, from_at", &format!("'{patient}', '{first}', '{from}'"));
            ask(&database, "kind, patient_id, ward, from_at", &format!("'move', '{patient}', '{second}', '{moved}'"));
        }
        job.run_once();
        // 130 is too fast for North only.
        let rate = |patient: &str, second: i64| match (patient, second) {
            ("up", 5..20) => 130.0, // in intensive care
            ("down", 10..60) => 130.0,
            _ => 80.0,
        };
        for second in 0..60 {
            for patient in ["up", "down"] {
                put(&topic, patient, [(at(second), None, rate(patient, second))]);
            }
        }
        job.run_once();
        let expected = ["fast", "fast_and_measured"].map(|rule| {
            let (from, until) = (at(10).format("%F %T%.6f"), at(32).format("%F %T%.6f"));
            format!("{rule}|down|{from}|{until}|HR 130 > 100")
        });
        assert_eq!(database.rows(EPISODES), expected, "{batch} records in a batch");
        let wards = "SELECT patient_id, ward, COUNT(*), MIN(event_time) FROM wards GROUP BY 1, 2 ORDER BY 1, 4";
        let [from, moved] = [at(0), at(30)].map(|at| at.format("%F %T%.6f").to_string());
        let expected =
            [("down", "North", &from), ("down", "ICU", &moved), ("up", "ICU", &from), ("up", "North", &moved)];
        let expected = expected.map(|(patient, ward, since)| format!("{patient}|{ward}|30|{since}"));
        assert_eq!(database.rows(wards), expected, "{batch} records in a batch");
    }
}

fn limited(batch: u32) -> (TestJob, Topic, Database) {
    let (job, topic, database) = TestJob::on_mysql();
    let shipped = |name: &str| std::fs::read_to_string(repository().join("sql/vitals").join(name)).unwrap();
    let job = job
        .sql_file("seeds/limits.csv", &shipped("seeds/limits.csv"))
        .sql_file("seeds/patients.csv", "# @key: patient_id\npatient_id,ward,age_band,spo2_scale:int\n")
        .sql_file("views/limits_now.sql", &shipped("views/limits_now.sql"))
        .sql_file("views/thresholds.sql", &shipped("views/thresholds.sql"))
        .query("rules/fast", BY_LIMITS)
        .more(&format!("reference_refresh = \"100ms\"\n[trigger]\nmax_rows = {batch}"));
    (job, topic, database)
}

fn set_limit(database: &Database, patient: &str, from: DateTime<Utc>, until: Option<DateTime<Utc>>, high: f64) {
    let until = until.map_or("NULL".to_owned(), |until| format!("'{}'", until.format("%F %T%.6f")));
    let sql = format!(
        "INSERT INTO limits (patient_id, ward, age_band, vital, valid_from, valid_until, high, author, reason)
         VALUES ('{patient}', '', '', 'heart_rate', '{}', {until}, {high}, 'test', 'test')",
        from.format("%F %T%.6f")
    );
    database.connect().query_drop(sql).unwrap();
}

#[test]
fn a_limit_that_begins_or_ends_within_a_batch_counts_for_what_is_measured_while_it_holds() {
    for batch in BATCHINGS {
        let (job, topic, database) = limited(batch);
        job.run_once();
        set_limit(&database, "P1", at(20), Some(at(40)), 90.0);
        job.run_once();
        put(&topic, "P1", (0..60).map(|second| (at(second), None, 100.0)));
        put(&topic, "P2", (0..60).map(|second| (at(second), None, 100.0)));
        job.run_once();
        let (from, until) = (at(20).format("%F %T%.6f"), at(42).format("%F %T%.6f"));
        assert_eq!(database.rows(EPISODES), [format!("fast|P1|{from}|{until}|HR 100 > 90")], "{batch} in a batch");
    }
}

#[test]
fn a_limit_that_is_set_now_counts_for_a_device_whose_clock_is_an_hour_behind() {
    let (job, topic, database) = limited(500);
    job.run_once();
    let begin = Utc::now() - TimeDelta::seconds(120);
    let second = |second: i64| begin + TimeDelta::seconds(second);
    set_limit(&database, "slow", second(60), None, 90.0);
    job.run_once();
    put(&topic, "right", (0..100).map(|at| (second(at), Some(second(at)), 80.0)));
    put(&topic, "slow", (0..100).map(|at| (second(at) - TimeDelta::hours(1), Some(second(at)), 100.0)));
    job.run_once();
    let episodes = database.rows("SELECT patient_id, state, text FROM alerts WHERE rule = 'fast'");
    assert_eq!(episodes, ["slow|firing|HR 100 > 90"]);
    let started = database.rows(&format!(
        "SELECT ABS(TIMESTAMPDIFF(SECOND, started_at, '{}')) <= 1 FROM alerts WHERE rule = 'fast'",
        (second(60) - TimeDelta::hours(1)).format("%F %T%.6f")
    ));
    assert_eq!(started, ["1"], "as its clock tells the time at which the limit was set");
}

#[test]
fn a_device_whose_clock_stands_before_there_were_limits_is_judged_by_those_of_now() {
    let (job, topic, database) = limited(500);
    job.run_once();
    // Defaults hold since 1970: these are of a ward that began with them an hour ago.
    database.connect().query_drop("UPDATE limits SET valid_from = NOW() - INTERVAL 1 HOUR").unwrap();
    set_limit(&database, "right", Utc::now() - TimeDelta::seconds(30), None, 90.0);
    job.run_once();
    let begin = Utc::now() - TimeDelta::seconds(100);
    let second = |second: i64| begin + TimeDelta::seconds(second);
    let years_ago = |at: i64| DateTime::from_timestamp(946_684_800 + at, 0).unwrap();
    put(&topic, "right", (0..100).map(|at| (second(at), Some(second(at)), 80.0)));
    put(&topic, "cuff", [(years_ago(0), Some(second(50)), 130.0)]);
    put(&topic, "empty", (0..100).map(|at| (years_ago(at), Some(second(at)), 130.0)));
    job.run_once();
    let episodes = database.rows("SELECT patient_id, state FROM alerts WHERE rule = 'fast' ORDER BY 1");
    assert_eq!(episodes, ["cuff|firing", "empty|firing"]);
}

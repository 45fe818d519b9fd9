//! Patients come, move and go: whose records are, who is no longer judged, and what a restart makes of it.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, READINGS, TestJob, Topic};

const DEVICE_COLUMNS: &str = r#"
patient_id = { type = "text" }
device_id = { type = "text" }
event_time = { type = "time" }
heart_rate = { type = "float", plausible = [0, 300] }
"#;

const DEVICE_READINGS: &str = "-- @key: patient_id, event_time, source_partition, source_offset
SELECT patient_id, event_time, _partition AS source_partition, _offset AS source_offset, device_id, heart_rate FROM vitals
";

const TACHYCARDIA: &str =
    "-- @severity: high\n-- @for: 10s\n-- @clear_after: 15s\n-- @message: HR {heart_rate:.0} > 120
SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120
";

const NO_DATA: &str = "-- @severity: technical\n-- @suppresses: *\n-- @message: no data for {age_seconds:.0} s
SELECT patient_id, age_seconds FROM vitals_latest WHERE age_seconds > 30
";

const MINUTE: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
";

/// A job whose records name devices.
fn by_device() -> (TestJob, Topic, Database) {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job
        .source("attach = \"device_id\"\nlateness = \"10s\"")
        .columns(DEVICE_COLUMNS)
        .query("tables/readings", DEVICE_READINGS)
        .query("rules/tachycardia", TACHYCARDIA);
    (job, topic, database)
}

fn at(second: u32) -> String {
    let start = chrono::DateTime::parse_from_rfc3339("2026-01-01T10:00:00Z").unwrap();
    (start + chrono::TimeDelta::seconds(second.into())).format("%Y-%m-%d %H:%M:%S").to_string()
}

fn put(topic: &Topic, column: &str, name: &str, samples: impl IntoIterator<Item = (u32, f64)>) {
    for (second, rate) in samples {
        let at = at(second).replace(' ', "T");
        let record = format!(r#"{{"{column}":"{name}","event_time":"{at}Z","heart_rate":{rate}}}"#);
        topic.put(0, None, record.as_bytes());
    }
    topic.flush();
}

/// Asks for something as people do who know SQL; the job has run once, so that there is a table.
fn ask(database: &Database, columns: &str, values: &str) {
    let sql = format!("INSERT INTO encounters (job, {columns}) VALUES ('test', {values})");
    database.connect().query_drop(sql).unwrap();
}

#[test]
fn a_device_is_of_who_was_attached_when_it_measured_and_who_left_has_no_alert() {
    let (job, topic, database) = by_device();
    let job = job.more("[trigger]\nmax_rows = 7");
    job.run_once();
    ask(
        &database,
        "patient_id, device, from_at, until_at",
        &format!("'A', 'D1', '2026-01-01 08:00:00', '{}'", at(300)),
    );
    ask(&database, "patient_id, device, from_at", &format!("'B', 'D1', '{}'", at(360)));
    let rate = |second: u32| if (240..300).contains(&second) { 130.0 } else { 80.0 };
    put(&topic, "device_id", "D1", (0..60).map(|sample| (sample * 10, rate(sample * 10))));
    job.run_once();

    let by_patient = "SELECT patient_id, COUNT(*), MIN(event_time), MAX(event_time) FROM readings GROUP BY patient_id";
    let whole = |from: u32, to: u32| format!("{}.000000|{}.000000", at(from), at(to));
    let expected = [format!("A|30|{}", whole(0, 290)), format!("B|24|{}", whole(360, 590))];
    assert_eq!(database.rows(by_patient), expected);
    let alerts = "SELECT patient_id, rule, state, end_reason, ended_at FROM alerts WHERE severity <> 'technical'";
    let left = format!("A|tachycardia|ended|left|{}.000000", at(300));
    assert_eq!(database.rows(alerts), std::slice::from_ref(&left));
    // Between the two, the records are nobody's; they are kept and counted.
    let nobody = database.rows("SELECT device, COUNT(*), MIN(event_time) FROM unattached GROUP BY device");
    assert_eq!(nobody, [format!("D1|6|{}.000000", at(300))]);
    assert_eq!(database.rows("SELECT SUM(unattached), MAX(encounters) FROM batches"), ["6|2"]);

    // A late record is A's, and nothing begins anew of it.
    put(&topic, "device_id", "D1", [(245, 131.0), (600, 80.0)]);
    job.run_once();
    let late = format!("SELECT patient_id, device_id FROM readings WHERE event_time = '{}'", at(245));
    assert_eq!(database.rows(&late), ["A|D1"]);
    assert_eq!(database.rows("SELECT patient_id FROM late_rows"), ["A"]);
    assert_eq!(database.rows(alerts), [left]);
}

#[test]
fn a_patient_who_is_discharged_is_missed_no_more_and_whoever_still_sends_for_them_is_told() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("tables/readings", READINGS).query("rules/no_data", NO_DATA);
    put(&topic, "patient_id", "P1", (0..60).map(|second| (second, 80.0)));
    put(&topic, "patient_id", "P2", (0..24).map(|sample| (sample * 5, 75.0)));
    job.run_once();
    let alerts = "SELECT patient_id, rule, state, end_reason FROM alerts WHERE rule = 'no_data'";
    assert_eq!(database.rows(alerts), ["P1|no_data|firing|"], "nobody has said that P1 left");

    ask(&database, "kind, patient_id, from_at, author", &format!("'discharge', 'P1', '{}', 'nurse'", at(60)));
    job.run_once();
    let over = ["P1|no_data|ended|left"];
    assert_eq!(database.rows(alerts), over, "a discharge counts without a record");
    assert_eq!(database.rows("SELECT is_open, version, refusal FROM encounters"), ["0|1|"]);

    put(&topic, "patient_id", "P2", (24..180).map(|sample| (sample * 5, 75.0)));
    job.run_once();
    assert_eq!(database.rows(alerts), over, "it does not begin again");

    put(&topic, "patient_id", "P1", [(900, 80.0)]);
    put(&topic, "patient_id", "P2", [(901, 75.0)]);
    let told = job.run_once();
    assert_eq!(database.rows("SELECT device, event_time FROM unattached"), [format!("P1|{}.000000", at(900))]);
    assert_eq!(database.rows(alerts), over, "{told}");
    let nobody = "SELECT patient_id, state, text FROM alerts WHERE rule = 'unattached'";
    let text = "records still come though the patient has left; they are not judged";
    assert_eq!(database.rows(nobody), [format!("P1|firing|{text}")]);

    // Who comes back is watched again.
    ask(&database, "patient_id, from_at", &format!("'P1', '{}'", at(910)));
    put(&topic, "patient_id", "P1", [(911, 80.0)]);
    put(&topic, "patient_id", "P2", [(990, 75.0)]);
    job.run_once();
    let live = database.rows("SELECT patient_id, rule, state FROM alerts WHERE is_open = 1");
    assert_eq!(live, ["P1|no_data|firing"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings WHERE patient_id = 'P1'"), ["61"]);
}

#[test]
fn a_request_that_cannot_be_done_is_refused_with_a_reason_and_changes_nothing() {
    let (job, topic, database) = by_device();
    job.run_once();
    ask(&database, "id, kind, patient_id, device", "'1', 'admitt', 'A', 'D1'");
    ask(&database, "id, device", "'2', 'D1'");
    ask(&database, "id, patient_id, device, from_at, until_at", &format!("'3', 'A', 'D1', '{}', '{}'", at(10), at(5)));
    put(&topic, "device_id", "D1", [(0, 80.0)]);
    job.run_once();
    let answers = database.rows("SELECT id, is_open, version, refusal FROM encounters ORDER BY id");
    assert_eq!(answers[0], "1|0|NULL|unknown kind of request \"admitt\"; did you mean \"admit\"?");
    assert_eq!(answers[1], "2|0|NULL|it names no patient");
    assert!(answers[2].contains("which is not after its begin"), "{answers:?}");
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["0"]);
    assert_eq!(database.rows("SELECT device FROM unattached"), ["D1"]);
}

#[test]
fn a_batch_that_is_replayed_is_attached_as_it_was_though_people_have_learned_better() {
    let (job, topic, database) = by_device();
    let job = job.query("tables/minute", MINUTE);
    job.run_once();
    ask(&database, "patient_id, device, from_at", &format!("'A', 'D1', '{}'", at(0)));
    put(&topic, "device_id", "D1", (0..30).map(|second| (second, 80.0)));
    job.run_once();
    // Told late: B had the device since the twentieth second. What was committed stays A's.
    ask(&database, "patient_id, device, from_at", &format!("'B', 'D1', '{}'", at(20)));
    put(&topic, "device_id", "D1", (30..50).map(|second| (second, 80.0)));
    job.run_once();
    // Nothing is left of what windows kept: both batches are read again, each as it was seen.
    let mut connection = database.connect();
    connection.query_drop("DELETE FROM window_snapshots").unwrap();
    connection.query_drop("DELETE FROM window_panes").unwrap();
    put(&topic, "device_id", "D1", (50..90).map(|second| (second, 80.0)));
    job.run_once();
    let closed = format!("SELECT patient_id, records FROM minute WHERE window_start = '{}'", at(0));
    assert_eq!(database.rows(&closed), ["A|30", "B|30"]);
    let counted =
        "SELECT patient_id, COUNT(*) FROM readings WHERE event_time < '2026-01-01 10:01:00' GROUP BY patient_id";
    assert_eq!(database.rows(counted), ["A|30", "B|30"]);
}

/// Runs `wardwatch encounters COMMAND JOB …`.
fn say(job: &TestJob, command: &str, more: &[&str]) -> (i32, String) {
    let mut wardwatch = crate::fixtures::wardwatch();
    let output =
        wardwatch.args(["encounters", command]).arg(job.file()).args(more).env("USER", "nurse").output().unwrap();
    (output.status.code().unwrap(), crate::fixtures::told(&output))
}

fn done(job: &TestJob, command: &str, more: &[&str]) -> String {
    let (code, said) = say(job, command, more);
    assert_eq!(code, 0, "{said}");
    said
}

#[test]
fn a_transfer_moves_ward_and_limits_and_the_command_line_tells_who_is_here() {
    let (job, topic, database) = by_device();
    let job = job
        .sql_file("seeds/ward_limits.csv", "# @key: ward\nward,high:float\nICU,150\nNorth,100\n")
        .query(
            "rules/tachycardia",
            "-- @severity: high\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, l.high
FROM vitals AS v
JOIN encounters_now AS e ON e.patient_id = v.patient_id
JOIN ward_limits AS l ON l.ward = e.ward
WHERE v.heart_rate > l.high
",
        )
        .more("[[notify]]\nkind = \"log\"");
    let mut running = job.start();
    let at = |second: u32| at(second).replace(' ', "T") + "Z";
    running.wait_until("there are tables", || !database.so_far("SELECT COUNT(*) FROM encounters").is_empty());
    let admitted = done(
        &job,
        "admit",
        &["--patient", "A", "--device", "D1", "--ward", "ICU", "--place", "7", "--name", "Ada", "--at", &at(0)],
    );
    assert!(admitted.contains("admit of A applied as version 1"), "{admitted}");
    put(&topic, "device_id", "D1", [(1, 130.0)]);
    running.wait_until("a reading", || database.so_far("SELECT COUNT(*) FROM readings") == "1");
    assert_eq!(database.so_far("SELECT COUNT(*) FROM alerts"), "0", "the limit of intensive care");

    done(&job, "move", &["--patient", "A", "--ward", "North", "--place", "12", "--at", &at(2)]);
    put(&topic, "device_id", "D1", [(3, 130.0)]);
    running.wait_until("the limit of the ward", || database.so_far("SELECT text FROM alerts") == "HR 130 > 100");
    let facts = database.so_far("SELECT facts FROM notifications");
    assert!(facts.contains(r#""ward":"North""#), "{facts}");
    let list = done(&job, "list", &[]);
    assert!(list.contains("A        2026-01-01T10:00:00Z         North  12     D1      Ada"), "{list}");

    let (code, said) = say(&job, "move", &["--patient", "A"]);
    assert!(code != 0 && said.contains("say where to: --ward WARD"), "{said}");
    let taken = done(&job, "admit", &["--patient", "B", "--device", "D1", "--at", &at(4)]);
    assert!(taken.contains("device D1 was attached to A since 2026-01-01T10:00:00Z"), "{taken}");
    done(&job, "discharge", &["--patient", "A", "--at", &at(4), "--note", "home"]);
    put(&topic, "device_id", "D1", [(5, 80.0)]);
    let end = "SELECT end_reason FROM alerts WHERE rule = 'tachycardia'";
    running.wait_until("A's alert is over", || database.so_far(end) == "left");
    let (code, said) = say(&job, "discharge", &["--patient", "A", "--at", &at(6)]);
    assert!(code != 0 && said.contains("A left at 2026-01-01T10:00:04Z"), "{said}");

    let history = done(&job, "history", &["--patient", "A"]);
    for expected in ["refused: A left at", "discharge A", "move A", "ward North, place 12", "nurse"] {
        assert!(history.contains(expected), "\"{expected}\" in\n{history}");
    }
    assert!(!done(&job, "list", &[]).contains("North"));
}

/// The same with Kafka's stamps an hour ago and as far apart as the event times.
fn put_stamped(topic: &Topic, name: &str, samples: impl IntoIterator<Item = (u32, f64)>, hours_ago: i64) {
    let base = chrono::Utc::now() - chrono::TimeDelta::hours(hours_ago);
    for (second, rate) in samples {
        let stamp = (base + chrono::TimeDelta::seconds(second.into())).timestamp_millis();
        let at = at(second).replace(' ', "T");
        let record = format!(r#"{{"patient_id":"{name}","event_time":"{at}Z","heart_rate":{rate}}}"#);
        topic.put(0, Some(stamp), record.as_bytes());
    }
    topic.flush();
}

#[test]
fn a_patient_of_whom_nothing_comes_for_long_is_let_go_of_unless_an_encounter_says_otherwise() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job
        .source("forget_after = \"1m\"")
        .query("tables/readings", READINGS)
        .query("rules/no_data", NO_DATA)
        .more("[trigger]\nmax_rows = 1");
    job.run_once();
    ask(&database, "patient_id, from_at", &format!("'P3', '{}'", at(0)));
    put_stamped(&topic, "P1", [(0, 80.0)], 1);
    put_stamped(&topic, "P3", [(0, 80.0)], 1);
    put_stamped(&topic, "P2", (1..150).map(|second| (second, 75.0)), 1);
    job.run_once();
    let alerts = "SELECT patient_id, state, end_reason FROM alerts ORDER BY patient_id";
    assert_eq!(database.rows(alerts), ["P1|ended|left", "P3|firing|"]);
}

const STATUS: &str = "-- @key: patient_id\nSELECT patient_id, heart_rate FROM vitals_latest\n";

#[test]
fn where_there_are_too_many_patients_who_was_silent_for_longest_makes_room_and_if_nobody_was_it_is_told() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job
        .query("tables/patient_status", STATUS)
        .query("rules/no_data", NO_DATA)
        .more("max_groups = 2\n[trigger]\nmax_rows = 2");
    put_stamped(&topic, "P1", [(0, 80.0)], 3);
    put_stamped(&topic, "P2", [(7_100, 80.0)], 3);
    put_stamped(&topic, "P3", [(7_101, 81.0)], 3);
    put_stamped(&topic, "P2", [(7_102, 82.0)], 3);
    job.run_once();
    let status = "SELECT patient_id, heart_rate FROM patient_status WHERE patient_id <> 'P1' ORDER BY patient_id";
    assert_eq!(database.rows(status), ["P2|82", "P3|81"], "the new patient is seen");
    let left = "SELECT patient_id, state, end_reason FROM alerts";
    assert_eq!(database.rows(left), ["P1|ended|left"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM query_failures"), ["0"]);

    put_stamped(&topic, "P4", [(7_103, 83.0)], 3);
    job.run_once();
    let failures = database.rows("SELECT DISTINCT query, error FROM query_failures ORDER BY query");
    assert_eq!(failures.len(), 2, "{failures:?}");
    for query in ["no_data", "patient_status"] {
        let told = failures.iter().any(|failure| {
            failure.starts_with(query) && failure.contains("\"vitals_latest\", which is not up to date")
        });
        assert!(told, "{failures:?}");
    }
}

const READINGS_OF: &str = "SELECT patient_id, COUNT(*), COUNT(DISTINCT event_time) FROM readings GROUP BY patient_id";

#[test]
fn records_that_waited_are_theirs_once_somebody_says_so_and_are_judged_and_told() {
    let (job, topic, database) = by_device();
    let job = job.query("tables/minute", MINUTE).more("[trigger]\nmax_rows = 50");
    let rate = |second: u32| if (60..90).contains(&second) { 130.0 } else { 80.0 };
    put(&topic, "device_id", "D1", (0..120).map(|second| (second, rate(second))));
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*), COUNT(patient_id) FROM unattached"), ["120|0"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["0"]);
    let nobody = "SELECT state, text FROM alerts WHERE rule = 'unattached'";
    let text = "records of device D1 are nobody's; they are not judged";
    assert_eq!(database.rows(nobody), [format!("firing|{text}")]);
    let status = crate::fixtures::told(&job.command("status").output().unwrap());
    assert!(status.contains(text), "{status}");

    // Told late, of all but the first ten seconds.
    ask(&database, "patient_id, device, from_at", &format!("'A', 'D1', '{}'", at(10)));
    job.run_once();
    assert_eq!(database.rows(READINGS_OF), ["A|110|110"], "also where nothing comes");
    assert_eq!(database.rows("SELECT remark FROM encounters"), ["110 records that waited are theirs"]);
    let waiting =
        "SELECT patient_id, COUNT(*), MIN(event_time) FROM unattached GROUP BY patient_id ORDER BY patient_id";
    let whole = |from: u32| format!("{}.000000", at(from));
    assert_eq!(database.rows(waiting), [format!("NULL|10|{}", whole(0)), format!("A|110|{}", whole(10))]);
    assert_eq!(database.rows(nobody), [format!("ended|{text}")]);
    let counted = "SELECT SUM(unattached), SUM(attached_later), SUM(records), SUM(frame_rows) FROM batches";
    assert_eq!(database.rows(counted), ["120|110|120|120"]);
    let alerts = "SELECT patient_id, state, started_at, firing_at FROM alerts WHERE rule = 'tachycardia'";
    let fired = format!("A|latched|{}|{}", whole(60), whole(70));
    assert_eq!(database.rows(alerts), std::slice::from_ref(&fired), "nobody has acknowledged it");
    let status = crate::fixtures::told(&job.command("status").output().unwrap());
    let line =
        "10 records that were nobody's when they were measured, in the table unattached; 110 became somebody's later";
    assert!(status.contains(line), "{status}");

    // Windows that had closed by time lack what came late, and say so; the others are complete, also when they are made again.
    let late = "SELECT COUNT(*), MAX(event_time) FROM late_rows WHERE patient_id = 'A'";
    assert_eq!(database.rows(late), [format!("99|{}", whole(108))]);
    let mut connection = database.connect();
    connection.query_drop("DELETE FROM window_snapshots").unwrap();
    connection.query_drop("DELETE FROM window_panes").unwrap();
    put(&topic, "device_id", "D1", (120..200).map(|second| (second, 80.0)));
    job.run_once();
    let closed = "SELECT window_start, records FROM minute WHERE patient_id = 'A' ORDER BY window_start";
    assert_eq!(database.rows(closed), [format!("{}|11", whole(60)), format!("{}|60", whole(120))]);
    assert_eq!(database.rows(READINGS_OF), ["A|190|190"], "and none is counted twice");
    assert_eq!(database.rows(alerts), [fired]);
}

#[test]
fn who_was_discharged_by_mistake_gets_back_what_came_meanwhile() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("tables/readings", READINGS);
    put(&topic, "patient_id", "P1", (0..60).map(|second| (second, 80.0)));
    job.run_once();
    ask(&database, "kind, patient_id, from_at", &format!("'discharge', 'P1', '{}'", at(60)));
    put(&topic, "patient_id", "P1", (60..120).map(|second| (second, 130.0)));
    job.run_once();
    assert_eq!(database.rows(READINGS_OF), ["P1|60|60"]);
    assert_eq!(database.rows("SELECT state FROM alerts WHERE rule = 'unattached'"), ["firing"]);
    ask(&database, "patient_id, from_at", &format!("'P1', '{}'", at(60)));
    put(&topic, "patient_id", "P1", (120..125).map(|second| (second, 130.0)));
    job.run_once();
    assert_eq!(database.rows(READINGS_OF), ["P1|125|125"]);
    let alerts = "SELECT rule, state FROM alerts ORDER BY rule";
    assert_eq!(database.rows(alerts), ["tachycardia|firing", "unattached|ended"]);
}

#[test]
fn more_records_than_a_batch_takes_wait_for_the_next_and_a_kill_between_two_loses_none() {
    let (job, topic, database) = by_device();
    job.run_once();
    put(&topic, "device_id", "D1", (0..45_000).map(|second| (second, 80.0)));
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*) FROM unattached"), ["45000"]);
    ask(&database, "patient_id, device, from_at", &format!("'A', 'D1', '{}'", at(0)));
    let mut running = job.start();
    running.wait_until("some are taken", || {
        let taken = database.so_far("SELECT COUNT(*) FROM unattached WHERE attached_batch IS NOT NULL");
        taken.parse::<u32>().is_ok_and(|taken| taken > 0)
    });
    running.signal("KILL");
    running.wait();
    // Whatever is said of the device meanwhile, each is taken once.
    ask(&database, "patient_id, device, from_at", &format!("'A', 'D1', '{}'", at(1)));
    job.run_once();
    assert_eq!(database.rows(READINGS_OF), ["A|45000|45000"]);
    let by_batch = database.rows("SELECT COUNT(*) FROM unattached GROUP BY attached_batch ORDER BY attached_batch");
    assert_eq!(by_batch, ["20000", "20000", "5000"]);
}

#[test]
fn what_was_attached_later_is_remembered_over_a_restart_as_if_it_had_come_then() {
    let (job, topic, database) = by_device();
    let job = job.source("dedupe = [\"patient_id\"]").query("tables/minute", MINUTE);
    put(&topic, "device_id", "D1", (0..20).map(|second| (second, 80.0)));
    job.run_once();
    ask(&database, "patient_id, device, from_at", &format!("'A', 'D1', '{}'", at(0)));
    job.run_once();
    let later = "SELECT SUM(attached_later), MAX(attached_later) FROM batches";
    assert_eq!(database.rows(later), ["20|20"], "all in one batch");
    // Those that are not late yet are known when they come again.
    put(&topic, "device_id", "D1", (12..80).map(|second| (second, 80.0)));
    job.run_once();
    assert_eq!(database.rows("SELECT SUM(duplicates) FROM batches"), ["8"]);
    assert_eq!(database.rows(READINGS_OF), ["A|80|80"]);
    assert_eq!(database.rows("SELECT records FROM minute"), ["51"], "all from the ninth second on");
}

#[test]
fn what_comes_late_of_somebody_who_has_left_is_judged_for_the_time_when_they_were_here_and_once() {
    let (job, topic, database) = by_device();
    job.run_once();
    let stay = |patient: &str, device: &str| format!("'{patient}', '{device}', '{}', '{}'", at(0), at(300));
    for (patient, device) in [("A", "D1"), ("B", "D2"), ("C", "D3")] {
        ask(&database, "patient_id, device, from_at, until_at", &stay(patient, device));
    }
    ask(&database, "patient_id, device, from_at", &format!("'Z', 'D9', '{}'", at(0)));
    for device in ["D1", "D2", "D3"] {
        put(&topic, "device_id", device, (0..200).step_by(5).map(|second| (second, 80.0)));
    }
    put(&topic, "device_id", "D9", (0..400).step_by(5).map(|second| (second, 80.0)));
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*) FROM alerts WHERE severity <> 'technical'"), ["0"]);

    // All three have left. What their devices had kept arrives: a condition that is gone by the discharge or stands, and one that
    // has held for long enough by it only because its last value is still valid.
    let burst = || {
        let rate = |second: u32| if (250..280).contains(&second) { 130.0 } else { 80.0 };
        put(&topic, "device_id", "D1", (200..310).map(|second| (second, rate(second))));
        put(&topic, "device_id", "D2", [(280, 80.0), (285, 130.0)]);
        put(&topic, "device_id", "D3", [(280, 80.0), (295, 130.0)]);
    };
    burst();
    let log = crate::fixtures::told(&job.command("run").arg("--once").output().unwrap());
    let alerts = "SELECT patient_id, state, end_reason, started_at, firing_at, ended_at FROM alerts \
        WHERE severity <> 'technical' ORDER BY patient_id";
    let whole = |second: u32| format!("{}.000000", at(second));
    let expected = [
        format!("A|ended|left|{}|{}|{}", whole(250), whole(260), whole(300)),
        format!("B|ended|left|{}|{}|{}", whole(285), whole(295), whole(300)),
    ];
    assert_eq!(database.rows(alerts), expected, "C's had not held for long enough\n{log}");
    assert!(
        log.contains("late records tell of alerts of patients who have left") && log.contains("episodes=2"),
        "{log}"
    );
    assert_eq!(database.rows("SELECT COUNT(*) FROM unattached WHERE device = 'D1'"), ["10"], "behind the discharge");

    let of_the_job = "SELECT patient_id, rule, text FROM alerts WHERE severity = 'technical' AND patient_id IN ('A', 'B', 'C') AND is_open = 1";
    assert_eq!(database.rows(of_the_job), [""; 0], "nobody is missed who has left");

    // It comes again: nothing begins, also where the job has started anew since.
    burst();
    job.run_once();
    assert_eq!(database.rows(alerts), expected);
    // Nor does a late sample begin another alert of a time of which there is one.
    put(&topic, "device_id", "D1", (255..262).map(|second| (second, 131.0)));
    job.run_once();
    assert_eq!(database.rows(alerts), expected);
}

#[test]
fn who_is_discharged_and_admitted_again_is_two_stays_whatever_came_in_one_batch() {
    let rate = |second: u32| if (80..100).contains(&second) || (300..390).contains(&second) { 130.0 } else { 80.0 };
    let sent = |topic: &Topic, seconds: std::ops::Range<u32>| {
        put(topic, "patient_id", "A", seconds.clone().map(|second| (second, rate(second))));
        put(topic, "patient_id", "B", seconds.map(|second| (second, 80.0)));
    };
    let stays = |database: &Database| {
        ask(database, "kind, patient_id, from_at", &format!("'discharge', 'A', '{}'", at(100)));
        ask(database, "kind, patient_id, from_at", &format!("'admit', 'A', '{}'", at(300)));
    };
    let mut told = Vec::new();
    for together in ["all", "requests", "nothing"] {
        let (job, topic, database) = TestJob::on_mysql();
        let job = job.source("lateness = \"2s\"").query("rules/tachycardia", TACHYCARDIA);
        job.run_once();
        sent(&topic, 0..100);
        if together != "all" {
            job.run_once();
            let rows = "SELECT state FROM alerts WHERE rule = 'tachycardia'";
            assert_eq!(database.rows(rows), ["firing"], "{together}");
        }
        stays(&database);
        if together == "nothing" {
            job.run_once();
        }
        sent(&topic, 300..420);
        job.run_once();
        let alerts = "SELECT state, end_reason, started_at, firing_at, cleared_at, ended_at FROM alerts \
            WHERE rule = 'tachycardia' ORDER BY started_at";
        told.push(database.rows(alerts));
        let left = format!("ended|left|{0}.000000|{1}.000000|NULL|{2}.000000", at(80), at(90), at(100));
        assert_eq!(told.last().unwrap().first(), Some(&left), "{together}");
        assert_eq!(told.last().unwrap().len(), 2, "{together}");
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
}

#[test]
fn a_latched_alert_ends_as_left_though_the_next_stay_has_one_in_the_same_batch() {
    let latching = TACHYCARDIA.replace("-- @for: 10s", "-- @latch: yes\n-- @for: 10s");
    let rate = |second: u32| if (40..110).contains(&second) { 80.0 } else { 130.0 };
    let mut told = Vec::new();
    for batch in [7, 500] {
        let (job, topic, database) = TestJob::on_mysql();
        let job = job.source("lateness = \"2s\"").query("rules/tachycardia", &latching);
        let job = job.more(&format!("[trigger]\nmax_rows = {batch}"));
        job.run_once();
        ask(&database, "kind, patient_id, from_at", &format!("'discharge', 'A', '{}'", at(90)));
        ask(&database, "kind, patient_id, from_at", &format!("'admit', 'A', '{}'", at(100)));
        put(&topic, "patient_id", "A", (0..90).chain(100..150).map(|second| (second, rate(second))));
        job.run_once();
        let alerts = "SELECT state, end_reason, firing_at, ended_at FROM alerts WHERE rule = 'tachycardia' ORDER BY 3";
        told.push(database.rows(alerts));
        let left = format!("ended|left|{}.000000|{}.000000", at(10), at(90));
        assert_eq!(told.last().unwrap(), &[left, format!("firing||{}.000000|NULL", at(120))], "{batch}");
    }
}

#[test]
fn the_ward_page_shows_who_is_here_and_metrics_tell_of_records_of_nobody() {
    let port = crate::page::free_port();
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("tables/readings", READINGS).more(&format!("[dashboard]\nlisten = \"127.0.0.1:{port}\""));
    let get = |path: &str| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let output = std::process::Command::new("curl").args(["-s", &url]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let now = chrono::Utc::now();
    let record = |patient: &str, seconds_ago: i64| {
        let at = (now - chrono::TimeDelta::seconds(seconds_ago)).to_rfc3339();
        topic.put(0, None, format!(r#"{{"patient_id":"{patient}","event_time":"{at}","heart_rate":80}}"#).as_bytes());
        topic.flush();
    };
    record("LEFT", 5);
    record("STAYS", 5);
    let mut running = job.start();
    running.wait_until("both have a tile", || {
        ["/patients/LEFT", "/patients/STAYS"].iter().all(|tile| get("/").contains(tile))
    });
    done(&job, "discharge", &["--patient", "LEFT", "--at", &(now - chrono::TimeDelta::seconds(1)).to_rfc3339()]);
    running.wait_until("the tile is gone", || !get("/").contains("/patients/LEFT"));
    assert!(get("/").contains("/patients/STAYS"));
    assert!(!get("/api/v1/patients").contains("LEFT"), "{}", get("/api/v1/patients"));

    // Nobody is looked for in vain whose monitor is not on yet.
    done(&job, "admit", &["--patient", "NEW", "--ward", "ICU", "--at", &now.to_rfc3339()]);
    running.wait_until("who has sent nothing has a tile", || get("/").contains("/patients/NEW"));
    assert!(get("/").contains("no reading has come yet"));
    assert!(get("/patients/NEW").contains("no reading has come yet"), "{}", get("/patients/NEW"));
    let patients: serde_json::Value = serde_json::from_str(&get("/api/v1/patients?ward=ICU")).unwrap();
    assert_eq!(patients["items"][0]["id"], "NEW", "{patients}");
    assert_eq!(
        (&patients["items"][0]["newest_at"], &patients["items"][0]["stale"]),
        (&serde_json::Value::Null, &true.into())
    );
    record("NEW", 0);
    running.wait_until("its reading is there", || !get("/").contains("no reading has come yet"));

    record("LEFT", 0);
    running.wait_until("it is told", || get("/metrics").contains("\nwardwatch_unattached_total 1\n"));
    assert!(get("/metrics").contains("\nwardwatch_attached_later_total 0\n"), "{}", get("/metrics"));
    running.wait_until("it is an alert", || {
        database.so_far("SELECT text FROM alerts WHERE rule = 'unattached' AND state = 'firing'")
            == "records still come though the patient has left; they are not judged"
    });
    let status = crate::fixtures::told(&job.command("status").output().unwrap());
    assert!(status.contains("1 records that were nobody's when they were measured"), "{status}");
    assert!(!get("/").contains("/patients/LEFT"));
}

#[test]
fn no_more_than_a_hundred_thousand_records_of_nobody_wait_and_the_newest_stay() {
    let (job, topic, database) = by_device();
    let job = job.more("[trigger]\nmax_rows = 1");
    job.run_once();
    let digits = "(SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 \
        UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)";
    let many = |from: u32, attached: &str| {
        let sql = format!(
            "INSERT INTO unattached (job, topic, `partition`, `offset`, device, event_time, row_values, batch, attached_batch) \
             SELECT 'test', 'former', 0, {from} + a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n, 'D0', '2026-01-01 09:00:00', \
             '{{}}', d.n - 9, {attached} FROM {digits} AS a, {digits} AS b, {digits} AS c, {digits} AS d, {digits} AS e"
        );
        database.connect().query_drop(sql).unwrap();
    };
    many(0, "NULL");
    many(100_000, "d.n - 9");
    put(&topic, "device_id", "D1", (0..64).map(|second| (second, 80.0)));
    let log = crate::fixtures::told(&job.command("run").arg("--once").output().unwrap());
    assert_eq!(database.rows("SELECT MAX(batch) FROM batches"), ["65"], "the first run has left word: {log}");
    let left =
        "SELECT attached_batch IS NULL, COUNT(*), MIN(batch) FROM unattached WHERE device = 'D0' GROUP BY 1 ORDER BY 1";
    // Whole batches go, the oldest first. Those that somebody has got are kept apart, and are no more than may be.
    assert_eq!(database.rows(left), ["0|100000|-9", "1|90000|-8"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM unattached WHERE device = 'D1'"), ["64"], "the newest stay");
    assert!(log.contains("the oldest rows of unattached are let go of") && log.contains("rows=10000"), "{log}");
}

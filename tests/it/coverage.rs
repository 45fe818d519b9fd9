//! Whom no rule judges, and why: in the store, by `status`, as figures, by the API and on the patient's page.

use std::time::Duration;

use serde_json::Value;

use crate::browser;
use crate::fixtures::{Database, READINGS, Running, TestJob, Topic, mysql_url, told, wait_until};
use crate::outage::get;
use crate::page::{free_port, pictures};
use crate::webdriver::{Browser, Screen};

/// Values are valid for three seconds, so that nobody waits for long.
const COLUMNS: &str = r#"
patient_id = { type = "text" }
event_time = { type = "time" }
heart_rate = { type = "float", plausible = [0, 300], label = "Heart rate", valid_for = "3s" }
spo2 = { type = "float", plausible = [50, 100], label = "SpO₂", valid_for = "3s" }
pulse = { type = "float", valid_for = "3s" }
lead_off = { type = "bool" }
"#;

const HYPOXIA: &str = "-- @severity: high\n-- @message: SpO2 {spo2:.0}
SELECT patient_id, event_time, spo2 FROM vitals WHERE spo2 < 90
";

const TACHYCARDIA: &str = "-- @severity: high\n-- @message: HR {heart_rate:.0}
SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120
";

const LEAD_OFF: &str = "-- @severity: technical\n-- @suppresses: tachycardia\n-- @message: lead off
SELECT patient_id, event_time FROM vitals WHERE lead_off
";

/// Fails while anybody has a heart rate of 222.
const FRAGILE: &str = "-- @severity: low\n-- @message: odd
SELECT patient_id, event_time, heart_rate FROM vitals
WHERE heart_rate > 100 AND 10 / (CAST(heart_rate AS BIGINT) - 222) > 1000
";

/// A job with a page, and devices that send what they are told to, twice a second.
struct Watched {
    job: TestJob,
    database: Database,
    running: Running,
    port: u16,
    sends: std::sync::Arc<std::sync::Mutex<Vec<(&'static str, String)>>>,
    _devices: Devices,
}

/// The devices' thread, until it is dropped.
struct Devices(std::sync::Arc<std::sync::atomic::AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Drop for Devices {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

impl Watched {
    /// Each patient sends these values, as JSON without braces; the time is now, or what they say themselves.
    fn start(sends: &[(&'static str, &str)]) -> Self {
        Self::start_with(sends, &[])
    }

    /// The same with more queries.
    fn start_with(sends: &[(&'static str, &str)], queries: &[(&str, &str)]) -> Self {
        let port = free_port();
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let job = TestJob::new(&topic.name, &database.url)
            .columns(COLUMNS)
            .query("tables/readings", READINGS)
            .query("rules/hypoxia", HYPOXIA)
            .query("rules/tachycardia", TACHYCARDIA)
            .query("rules/lead_off", LEAD_OFF)
            .query("rules/fragile", FRAGILE)
            .more(&format!("[dashboard]\nlisten = \"127.0.0.1:{port}\"\n[trigger]\nevery = \"200ms\""));
        let job = queries.iter().fold(job, |job, (name, text)| job.query(name, text));
        let running = job.start();
        let sends: Vec<_> = sends.iter().map(|(patient, values)| (*patient, (*values).to_owned())).collect();
        let sends = std::sync::Arc::new(std::sync::Mutex::new(sends));
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (told, is_over) = (std::sync::Arc::clone(&sends), std::sync::Arc::clone(&ended));
        let devices = std::thread::spawn(move || {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let now = chrono::Utc::now().to_rfc3339();
                for (patient, values) in told.lock().unwrap().iter() {
                    let at =
                        if values.contains("event_time") { String::new() } else { format!(r#","event_time":"{now}""#) };
                    topic.put(0, None, format!(r#"{{"patient_id":"{patient}"{at}{values}}}"#).as_bytes());
                }
                topic.flush();
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Self { job, database, running, port, sends, _devices: Devices(ended, Some(devices)) }
    }

    fn send(&self, sends: &[(&'static str, &str)]) {
        *self.sends.lock().unwrap() = sends.iter().map(|(patient, values)| (*patient, (*values).to_owned())).collect();
    }

    /// The exit code of `wardwatch status --json`, and what it says.
    fn status(&self) -> (Option<i32>, Value) {
        let output = self.job.command("status").arg("--json").output().unwrap();
        let json = serde_json::from_slice(&output.stdout);
        (output.status.code(), json.unwrap_or_else(|error| panic!("{error}: {}", told(&output))))
    }

    /// Patient, rule and cause of what is not judged.
    fn unjudged(&self) -> Vec<String> {
        let (_, status) = self.status();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = status["unjudged"].as_array().unwrap().iter();
        rows.map(|row| format!("{} {} {}", text(row, "patient"), text(row, "rule"), text(row, "cause"))).collect()
    }

    fn becomes(&mut self, expected: &[&str]) {
        let mut last = Vec::new();
        let is_so = (0..60).any(|_| {
            last = self.unjudged();
            let so = last == expected;
            if !so {
                std::thread::sleep(Duration::from_millis(500));
            }
            so
        });
        assert!(is_so, "expected {expected:?}, found {last:?}; its log:\n{}", self.running.log());
    }

    /// The figures that tell how many patients are not judged, and for how long.
    fn figures(&self) -> (usize, usize) {
        let (status, text) = get(self.port, "/metrics");
        assert_eq!(status, 200);
        let value = |name: &str| {
            let line = text.lines().find(|line| line.split(' ').next() == Some(name));
            line.unwrap_or_else(|| panic!("{name} in {text}")).split(' ').next_back().unwrap().parse().unwrap()
        };
        (value("wardwatch_unjudged_patients"), value("wardwatch_unjudged_seconds"))
    }
}

const WELL: &str = r#","heart_rate":80,"spo2":97,"lead_off":false"#;

#[test]
fn each_cause_that_keeps_a_rule_from_judging_is_told_and_counted() {
    let mut ward = Watched::start(&[("P1", WELL), ("P2", WELL), ("P3", WELL)]);
    ward.running.wait_until("it reads", || ward.database.so_far("SELECT COUNT(*) > 6 FROM readings") == "1");
    ward.becomes(&[]);
    assert_eq!(ward.status().0, Some(0));
    assert_eq!(ward.figures(), (0, 0));

    // One has lost a sensor, one sends what cannot be read, and of one a lead is off.
    ward.send(&[
        ("P1", r#","heart_rate":80"#),
        ("P2", r#","heart_rate":80,"spo2":"--""#),
        ("P3", r#","heart_rate":80,"spo2":97,"lead_off":true"#),
    ]);
    ward.becomes(&["P1 hypoxia no value", "P2 hypoxia bad value", "P3 tachycardia suppressed"]);
    let (code, status) = ward.status();
    assert_eq!((code, &status["unjudged_patients"]), (Some(4), &Value::from(3)));
    let said: Vec<&str> =
        status["unwatched"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("patient \"P1\" is not judged by hypoxia: no value, no valid SpO₂"), "{said:?}");
    assert!(said[1].contains("bad value, what is sent as SpO₂ is not a valid number"), "{said:?}");
    assert!(said[2].contains("suppressed, the alert lead_off says that its values mean nothing"), "{said:?}");
    for finding in status["unwatched"].as_array().unwrap() {
        assert_eq!(finding["cause"], "unjudged");
        assert!(finding["since"].is_string() && !finding["remedy"].as_str().unwrap().is_empty(), "{finding}");
    }
    let (patients, seconds) = ward.figures();
    assert!(patients == 3 && seconds < 60, "{patients} patients for {seconds} s");
    let alerts = "SELECT patient_id, text FROM alerts WHERE rule='unjudged' AND is_open=1 ORDER BY patient_id";
    wait_until("it is told", || ward.database.rows(alerts).len() > 1);
    let alerts = ward.database.rows(alerts);
    assert_eq!(alerts.len(), 2, "of the third, the alert lead_off says so: {alerts:?}");
    assert!(alerts[0].starts_with("P1|not judged by hypoxia: no valid SpO₂, last at "), "{alerts:?}");

    // The API tells of every rule until when, the page of what is not judged.
    let (code, listed) = get(ward.port, "/api/v1/patients/P1/coverage");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let rule = |name: &str| listed["items"].as_array().unwrap().iter().find(|one| one["rule"] == name).unwrap().clone();
    assert_eq!((code, listed["items"].as_array().unwrap().len()), (200, 3), "{listed}");
    let (hypoxia, tachycardia) = (rule("hypoxia"), rule("tachycardia"));
    assert_eq!((&hypoxia["judged"], &hypoxia["cause"]), (&Value::from(false), &Value::from("no value")));
    assert_eq!((&tachycardia["judged"], &tachycardia["cause"]), (&Value::from(true), &Value::Null));
    assert!(hypoxia["judged_until"].as_str().unwrap() < tachycardia["judged_until"].as_str().unwrap(), "{listed}");
    assert_eq!(get(ward.port, "/api/v1/patients/P9/coverage").0, 404);
    if browser::is_there() {
        let browser = Browser::start(Screen::Wall);
        browser.open(&format!("http://127.0.0.1:{}/patients/P1", ward.port));
        let shown = browser.text("#unjudged");
        assert!(shown.contains("Hypoxia: not judged for ") && shown.contains("no valid SpO₂"), "{shown}");
        assert!(shown.contains("See whether the sensor is on"), "{shown}");
        browser.wait_for("the chart is drawn", "document.querySelector('.chart svg') !== null");
        browser.picture(&pictures().join("not-judged.png"));
        ward.send(&[("P1", WELL), ("P2", WELL), ("P3", WELL)]);
        browser.wait_for("it goes by itself", "document.querySelector('#unjudged').innerText === ''");
    }

    // Somebody pauses a patient's alarms; a device's clock runs two hours ahead; a rule fails, for everybody.
    ward.send(&[("P1", WELL), ("P2", WELL), ("P3", WELL)]);
    ward.becomes(&[]);
    let mut pause = crate::fixtures::wardwatch();
    pause.args(["alerts", "pause"]).arg(ward.job.file()).args(["--patient", "P2", "--for", "20s", "--by", "nora"]);
    let output = pause.current_dir(ward.job.folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    ward.becomes(&["P2 * paused"]);
    assert_eq!(ward.status().0, Some(4));
    ward.becomes(&[]);

    let ahead = (chrono::Utc::now() + chrono::TimeDelta::hours(2)).to_rfc3339();
    let ahead = format!(r#","heart_rate":80,"spo2":97,"event_time":"{ahead}""#);
    ward.send(&[("P1", WELL), ("P2", WELL), ("P3", WELL), ("P4", &ahead)]);
    ward.becomes(&["P4 * clock"]);
    let (code, status) = ward.status();
    assert_eq!(code, Some(4));
    assert!(status["unwatched"][0]["remedy"].as_str().unwrap().starts_with("set the device's clock"), "{status}");

    ward.send(&[("P1", WELL), ("P2", r#","heart_rate":222,"spo2":97"#), ("P3", WELL)]);
    wait_until("the rule fails", || ward.unjudged().contains(&" fragile query failing".to_owned()));
    let (code, status) = ward.status();
    let failing = status["unwatched"].as_array().unwrap().iter().find(|one| one["cause"] == "query_failing").unwrap();
    assert!(code == Some(4) && failing["since"].is_string(), "{failing}");
    assert!(ward.figures().0 >= 3, "everybody is not judged by it: {:?}", ward.figures());
}

#[test]
fn a_patient_with_a_good_record_now_and_then_is_not_rejected_and_one_without_is_until_they_come_steadily() {
    let (good, bad) = (("P1", WELL), ("P1", r#","heart_rate":80,"event_time":"never""#));
    let mut ward = Watched::start(&[good]);
    ward.running.wait_until("it reads", || ward.database.so_far("SELECT COUNT(*) > 6 FROM readings") == "1");
    let told = |ward: &Watched| ward.database.rows("SELECT state, text FROM alerts WHERE rule='rejected'");
    for _ in 0..4 {
        ward.send(&[bad]);
        std::thread::sleep(Duration::from_millis(2_600));
        ward.send(&[good, bad]);
        std::thread::sleep(Duration::from_millis(600));
    }
    assert_eq!(told(&ward), [""; 0]);
    ward.send(&[bad]);
    wait_until("no record can be read", || told(&ward).len() == 1);
    assert!(told(&ward)[0].starts_with("firing|no record of the patient can be read: "), "{:?}", told(&ward));
    ward.becomes(&["P1 * records rejected"]);
    ward.send(&[good, bad]);
    ward.becomes(&[]);
    assert!(told(&ward)[0].starts_with("firing|"), "a few records are not enough: {:?}", told(&ward));
    wait_until("they come steadily", || told(&ward)[0].starts_with("ended|"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(told(&ward).len(), 1);
}

#[test]
fn a_device_whose_clock_is_so_far_ahead_that_nothing_of_it_is_taken_is_told_of_beside_another_that_is_read() {
    let (job, topic, database) = TestJob::on_mysql();
    let begin = chrono::Utc::now() - chrono::TimeDelta::seconds(1_000);
    let put = |second: i64, ahead: i64, value: &str| {
        let stamp = begin + chrono::TimeDelta::seconds(second);
        let at = (stamp + chrono::TimeDelta::seconds(ahead)).format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let record = format!(r#"{{"patient_id":"P1","event_time":"{at}",{value}}}"#);
        topic.put(0, Some(stamp.timestamp_millis()), record.as_bytes());
    };
    for second in 0..900 {
        put(second, 0, r#""spo2":97"#);
        if second % 400 == 0 {
            put(second, 3_600, r#""heart_rate":130"#);
        }
    }
    topic.flush();
    job.run_once();
    let alerts = database.rows("SELECT patient_id, state, text FROM alerts WHERE rule = 'rejected'");
    let text = "P1|firing|no record of one of the patient's devices is taken: ";
    assert!(alerts.len() == 1 && alerts[0].starts_with(text) && alerts[0].contains("3600 s ahead"), "{alerts:?}");
    let status = job.command("status").output().unwrap();
    let told = crate::fixtures::told(&status);
    assert!(status.status.code() == Some(4) && told.contains("3600 s ahead"), "{told}");
    // It goes on over a restart, and the second device is read again by its right clock.
    job.run_once();
    assert_eq!(database.rows("SELECT state FROM alerts WHERE rule = 'rejected'"), ["firing"]);
}

#[test]
fn what_a_technical_alert_names_is_told_once_and_what_is_lost_beside_it_is_told_too() {
    let lost = "-- @severity: technical\n-- @message: no {signal} for {age:.0} s
SELECT patient_id, 'SpO₂' AS signal, spo2_age_seconds AS age FROM vitals_latest WHERE spo2_age_seconds > 3\n";
    let slow = "-- @severity: high\nSELECT patient_id, event_time, pulse FROM vitals WHERE pulse < 40\n";
    let all = r#","heart_rate":80,"spo2":97,"pulse":80"#;
    let mut ward = Watched::start_with(&[("P1", all)], &[("rules/lost", lost), ("rules/slow", slow)]);
    ward.running.wait_until("it reads", || ward.database.so_far("SELECT COUNT(*) > 6 FROM readings") == "1");
    let told =
        |ward: &Watched| ward.database.rows("SELECT state, text FROM alerts WHERE rule='unjudged' ORDER BY started_at");
    ward.send(&[("P1", r#","heart_rate":80,"pulse":80"#)]);
    ward.becomes(&["P1 hypoxia no value"]);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(ward.database.rows("SELECT state, text FROM alerts WHERE rule='lost'").len(), 1);
    assert_eq!(told(&ward), [""; 0], "the alert that the saturation is lost says so");

    ward.send(&[("P1", r#","pulse":80"#)]);
    wait_until("the heart rate is missed", || told(&ward).len() == 1);
    let text = told(&ward).remove(0);
    assert!(text.starts_with("firing|not judged by fragile, tachycardia: no valid Heart rate, last at "), "{text}");
    ward.send(&[("P2", all)]);
    wait_until("the pulse is missed, too", || told(&ward).len() == 2);
    let both = told(&ward);
    assert!(both[0].starts_with("ended|not judged by fragile, tachycardia: "), "{both:?}");
    assert!(
        both[1].starts_with("firing|not judged by fragile, tachycardia: ") && both[1].contains("; slow: no valid"),
        "{both:?}"
    );
}

/// Windows that cannot be computed while anybody has a heart rate of 221.
const FOURS: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '4 seconds') AS window_start, max(heart_rate) AS heart_rate,
    CAST(CASE WHEN max(heart_rate) = 221 THEN 'x' ELSE '1' END AS BIGINT) AS one
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '4 seconds')
";

/// Windows over those.
const TWELVES: &str = "-- @key: patient_id, window_start
SELECT patient_id, hop(window_start, INTERVAL '4 seconds', INTERVAL '12 seconds') AS window_start,
    max(heart_rate) AS heart_rate
FROM fours GROUP BY patient_id, hop(window_start, INTERVAL '4 seconds', INTERVAL '12 seconds')
";

#[test]
fn a_rule_that_reads_a_window_that_cannot_be_computed_is_not_judged_until_one_can_be() {
    let over = "-- @severity: high\n-- @message: HR {heart_rate:.0}
SELECT patient_id, max(heart_rate) AS heart_rate FROM newest WHERE heart_rate > 150 GROUP BY patient_id\n";
    let view = "SELECT patient_id, heart_rate FROM twelves\n";
    let more = [("tables/fours", FOURS), ("tables/twelves", TWELVES), ("views/newest", view), ("rules/racing", over)];
    let mut ward = Watched::start_with(&[("P1", WELL)], &more);
    ward.running.wait_until("windows close", || ward.database.so_far("SELECT COUNT(*) > 1 FROM fours") == "1");
    ward.becomes(&[]);
    ward.send(&[("P1", r#","heart_rate":221,"spo2":97"#)]);
    let failing = |ward: &Watched| ward.unjudged().contains(&" racing query failing".to_owned());
    wait_until("a window fails", || failing(&ward));
    // Most batches go well: no window ends with them.
    for _ in 0..25 {
        assert!(failing(&ward), "{:?}", ward.unjudged());
        std::thread::sleep(Duration::from_millis(400));
    }
    let (code, listed) = get(ward.port, "/api/v1/patients/P1/coverage");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let racing = listed["items"].as_array().unwrap().iter().find(|one| one["rule"] == "racing").unwrap();
    assert_eq!((code, &racing["judged"]), (200, &Value::from(false)), "{listed}");
    assert!(
        racing["why"].as_str().unwrap().starts_with("its query reads fours, which fails: the window of "),
        "{racing}"
    );
    let alert = "SELECT patient_id, text FROM alerts WHERE rule='unjudged' AND is_open=1 AND patient_id=''";
    assert!(ward.database.so_far(alert).contains("racing"), "{}", ward.database.so_far(alert));
    let (code, status) = ward.status();
    let finding = status["unwatched"].as_array().unwrap().iter().find(|one| one["cause"] == "query_failing");
    let told = finding.unwrap()["what"].as_str().unwrap().to_owned();
    assert!(code == Some(4) && told.starts_with("query \"fours\" has failed "), "{told}");
    ward.send(&[("P1", WELL)]);
    wait_until("a window is computed again", || !failing(&ward));
    ward.becomes(&[]);
    assert_eq!(ward.status().0, Some(0));
}

#[test]
fn a_table_at_fault_keeps_no_rule_from_judging_and_rows_given_up_are_told_until_somebody_has_taken_note() {
    let mut ward = Watched::start(&[("P1", WELL)]);
    ward.running.wait_until("it reads", || ward.database.so_far("SELECT COUNT(*) > 4 FROM readings") == "1");
    let execute = |sql: &str| mysql::prelude::Queryable::query_drop(&mut ward.database.connect(), sql).unwrap();
    execute("RENAME TABLE readings TO elsewhere");
    let causes = |ward: &Watched| -> Vec<String> {
        let (_, status) = ward.status();
        status["unwatched"].as_array().unwrap().iter().map(|one| one["cause"].as_str().unwrap().to_owned()).collect()
    };
    wait_until("it is told", || causes(&ward) == ["table_at_fault"]);
    assert_eq!((ward.figures().0, ward.unjudged()), (0, Vec::new()));
    execute("RENAME TABLE elsewhere TO readings");
    wait_until("it is over", || causes(&ward).is_empty());

    execute(
        "INSERT INTO incomplete_tables (job, table_name, from_batch, until_batch, from_at, until_at, batches, row_count, reason, \
         given_up_at) VALUES ('test', 'readings', 3, 9, NOW(6), NOW(6), 7, 400, 'too many rows waited', '2026-01-01 10:00:00')",
    );
    let alert = "SELECT state, text FROM alerts WHERE rule='table_incomplete'";
    wait_until("it is an alert of the ward", || {
        ward.database.so_far(alert) == "firing|readings lacks 400 rows of batches 3 to 9, too many rows waited"
    });
    let (code, status) = ward.status();
    let finding = &status["unwatched"][0];
    assert_eq!(
        (code, finding["cause"].as_str(), finding["since"].as_str()),
        (Some(4), Some("table_incomplete"), Some("2026-01-01T10:00:00Z"))
    );
    execute("DELETE FROM incomplete_tables");
    wait_until("it is over", || ward.database.so_far(alert).starts_with("ended|"));
    assert_eq!(ward.status().0, Some(0));
}

#[test]
fn records_of_nobody_and_who_is_here_without_a_record_are_told() {
    let columns = r#"
patient_id = { type = "text" }
device_id = { type = "text" }
event_time = { type = "time" }
heart_rate = { type = "float", plausible = [0, 300] }
"#;
    let readings = READINGS.replace(", spo2", "");
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.source("attach = \"device_id\"").columns(columns).query("tables/readings", &readings);
    let mut running = job.start();
    running.wait_until("there are tables", || !database.so_far("SELECT COUNT(*) FROM coverage").is_empty());
    let request = "INSERT INTO encounters (job, patient_id, device) VALUES ('test', 'A', 'D1'), ('test', 'B', NULL)";
    mysql::prelude::Queryable::query_drop(&mut database.connect(), request).unwrap();
    let put = |device: &str| {
        let now = chrono::Utc::now().to_rfc3339();
        topic.put(0, None, format!(r#"{{"device_id":"{device}","event_time":"{now}","heart_rate":80}}"#).as_bytes());
        topic.flush();
    };
    let rows = "SELECT patient_id, rule, cause, patients, detail FROM coverage ORDER BY patient_id";
    let expected = [
        "|*|not attached|1|records of device D9 are nobody's; they are not judged",
        "B|*|not attached|1|no device is attached to the patient",
    ];
    let is_told = (0..300).any(|_| {
        put("D1");
        put("D9");
        std::thread::sleep(Duration::from_millis(300));
        database.rows(rows) == expected
    });
    assert!(is_told, "{:?}", database.rows(rows));
    let output = job.command("status").output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = told(&output);
    assert!(
        said.contains("unjudged · records of device D9 are nobody's")
            && said.contains("patient \"B\" is not judged by any rule: not attached"),
        "{said}"
    );
    assert!(said.contains("have it said by `wardwatch encounters admit` whose it is"), "{said}");
}

/// Nobody is told that it is over, and then of it again, because the job was started again.
#[test]
fn a_value_that_was_never_readable_is_told_of_once_across_a_restart() {
    let mut ward = Watched::start(&[("P1", WELL), ("P2", r#","heart_rate":80,"spo2":"--","lead_off":false"#)]);
    ward.running.wait_until("it reads", || ward.database.so_far("SELECT COUNT(*) > 6 FROM readings") == "1");
    let told = ["P2 hypoxia bad value"];
    ward.becomes(&told);
    let fired = "SELECT COUNT(*) FROM alert_events WHERE rule = 'unjudged' AND kind = 'firing'";
    ward.running.wait_until("it is an alert", || ward.database.so_far(fired) == "1");
    ward.running.signal("TERM");
    assert_eq!(ward.running.wait(), Some(0), "{}", ward.running.log());
    ward.running = ward.job.start();
    let batches = ward.database.rows("SELECT COUNT(*) FROM batches");
    let passed = format!("SELECT COUNT(*) > {} + 40 FROM batches", batches[0]);
    ward.running.wait_until("it has run for a while", || ward.database.so_far(&passed) == "1");
    ward.becomes(&told);
    let events =
        "SELECT kind FROM alert_events WHERE rule = 'unjudged' AND kind NOT IN ('pending', 'escalated') ORDER BY at";
    assert_eq!(ward.database.rows(events), ["firing"]);
    // It is over when a value can be read.
    ward.send(&[("P1", WELL), ("P2", WELL)]);
    ward.becomes(&[]);
}

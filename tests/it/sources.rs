//! Several sources in one job: vitals, a laboratory's results, and who comes and goes, each with topics, a table and a time of its own.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, TestJob, Topic, mysql_url, sample, told, unique};

const COLUMNS: &str = r#"
patient_id = { type = "text" }
event_time = { type = "time" }
heart_rate = { type = "float", plausible = [0, 300], unit = "/min" }
"#;

/// A laboratory whose results come an hour after the blood was taken.
const LABS: &str = r#"
[[sources]]
topic = "LABS"
table = "labs"
lateness = "2h"
idle_timeout = "10m"
[sources.columns]
patient_id = { type = "text", from = "patient" }
event_time = { type = "time", from = "taken_at" }
lactate = { type = "float", plausible = [0, 30], unit = "mmol/L" }
potassium = { type = "float", plausible = [1, 10], doubtful = [0, 15], unit = "mmol/L" }
note = { type = "text" }
heart_rate = { type = "text" }
"#;

const READINGS: &str =
    "-- @key: source_offset\nSELECT patient_id, event_time, heart_rate, _offset AS source_offset FROM vitals";
const RESULTS: &str = "-- @key: source_offset\nSELECT patient_id, event_time, lactate, potassium, potassium_doubtful, \
                       note, heart_rate, _offset AS source_offset FROM labs";
const BESIDE: &str = "-- @key: source_offset\nSELECT v.patient_id, v.heart_rate, l.lactate, l.potassium, \
                      l.event_time AS newest_at, v._offset AS source_offset FROM vitals AS v LEFT JOIN labs AS l USING (patient_id)";
const HOURS: &str = "-- @key: patient_id, hour\nSELECT patient_id, tumble(event_time, INTERVAL '1 hour') AS hour, \
                     max(lactate) AS lactate, count(*) AS results FROM labs GROUP BY 1, 2";
const MINUTES: &str = "-- @key: patient_id, minute\nSELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS minute, \
                       count(*) AS readings FROM vitals GROUP BY 1, 2";
const POTASSIUM: &str = "-- @severity: high\n-- @allow: no-delay\n-- @message: Potassium {potassium}\n\
                         SELECT patient_id, event_time, potassium FROM labs WHERE potassium > 6";
const SHOCK: &str = "-- @severity: medium\n-- @message: Heart rate {heart_rate}, lactate {lactate}\n\
                     SELECT v.patient_id, v.event_time, v.heart_rate, l.lactate FROM vitals AS v JOIN labs AS l USING (patient_id) \
                     WHERE v.heart_rate > 110 AND l.lactate > 4";

/// A result of blood that was taken at a minute of the day.
fn result(patient: &str, minute: u32, values: &str) -> String {
    format!(
        r#"{{"patient": "{patient}", "taken_at": "2026-01-01T{:02}:{:02}:00Z", {values}}}"#,
        minute / 60,
        minute % 60
    )
}

struct Ward {
    job: TestJob,
    vitals: Topic,
    labs: Topic,
    database: Database,
}

impl Ward {
    fn new(more: &str) -> Self {
        let (vitals, labs, database) = (Topic::create(2), Topic::create(1), Database::create(&mysql_url()));
        let job = TestJob::new(&vitals.name, &database.url)
            .source("table = \"vitals\"\nidle_timeout = \"10m\"")
            .columns(&format!("{COLUMNS}{}", LABS.replace("LABS", &labs.name)))
            .more(more)
            .query("tables/readings", READINGS)
            .query("tables/results", RESULTS)
            .query("tables/beside", BESIDE)
            .query("tables/hours", HOURS)
            .query("tables/minutes", MINUTES)
            .query("rules/potassium", POTASSIUM)
            .query("rules/shock", SHOCK);
        Self { job, vitals, labs, database }
    }

    fn put_results(&self, results: &[String]) {
        results.iter().for_each(|result| self.labs.put(0, None, result.as_bytes()));
        self.labs.flush();
    }

    fn put_readings(&self, readings: &[(&str, u32, f64)]) {
        for (patient, second, heart_rate) in readings {
            self.vitals.put(0, None, sample(patient, *second, *heart_rate).as_bytes());
        }
        self.vitals.flush();
    }
}

#[test]
fn each_source_is_a_table_and_a_query_of_one_sees_the_last_values_of_the_others() {
    for trigger in ["", "[trigger]\nmax_rows = 1", "[trigger]\nmax_rows = 3"] {
        let ward = Ward::new(trigger);
        ward.put_results(&[
            result("A", 1, r#""lactate": 1.5, "potassium": 4.1, "heart_rate": "sinus""#),
            result("A", 2, r#""lactate": 4.5, "note": "haemolytic""#),
            result("B", 3, r#""potassium": 6.5"#),
            result("B", 4, r#""potassium": 4.5"#),
            result("B", 5, r#""potassium": 12"#),
            r#"{"patient": "B"}"#.to_owned(),
        ]);
        let log = ward.job.run_once();
        assert!(log.contains("1 rejects"), "{log}");
        ward.put_readings(&[("A", 0, 100.0), ("A", 1, 120.0), ("B", 2, 130.0), ("C", 3, 70.0)]);
        ward.job.run_once();
        let rows = |sql: &str| ward.database.rows(sql);
        assert_eq!(
            rows("SELECT patient_id, heart_rate FROM readings ORDER BY source_offset"),
            ["A|100", "A|120", "B|130", "C|70"]
        );
        assert_eq!(
            rows("SELECT patient_id, lactate, potassium, potassium_doubtful, note FROM results ORDER BY source_offset"),
            [
                "A|1.5|4.1|NULL|NULL",
                "A|4.5|NULL|NULL|haemolytic",
                "B|NULL|6.5|NULL|NULL",
                "B|NULL|4.5|NULL|NULL",
                "B|NULL|NULL|12|NULL"
            ]
        );
        assert_eq!(
            rows(
                "SELECT patient_id, heart_rate, lactate, potassium, CAST(newest_at AS CHAR) FROM beside ORDER BY source_offset"
            ),
            [
                "A|100|4.5|4.1|2026-01-01 00:02:00.000000",
                "A|120|4.5|4.1|2026-01-01 00:02:00.000000",
                "B|130|NULL|4.5|2026-01-01 00:05:00.000000",
                "C|70|NULL|NULL|NULL",
            ]
        );
        // Both results of one batch are judged, and each in its own time.
        assert_eq!(
            ward.database
                .rows_of_rules("SELECT rule, patient_id, CAST(started_at AS CHAR), text FROM alerts ORDER BY rule"),
            [
                "potassium|B|2026-01-01 00:03:00.000000|Potassium 6.5",
                "shock|A|2026-01-01 00:00:01.000000|Heart rate 120, lactate 4.5",
            ]
        );
        assert_eq!(rows("SELECT column_name, value FROM artefacts"), ["labs.potassium|12"]);
        assert_eq!(rows("SELECT COUNT(*) FROM results WHERE heart_rate = 'sinus'"), ["1"], "a column of its own");
        assert_eq!(rows("SELECT topic FROM rejects"), std::slice::from_ref(&ward.labs.name));
    }
}

#[test]
fn each_source_has_a_time_of_its_own() {
    for trigger in ["", "[trigger]\nmax_rows = 1"] {
        let ward = Ward::new(trigger);
        // The laboratory tells of the night when it is noon at the bedside.
        ward.put_readings(&[("A", 43_200, 70.0), ("A", 43_280, 71.0)]);
        ward.put_results(&[result("A", 10, r#""lactate": 2"#), result("A", 130, r#""lactate": 3"#)]);
        ward.job.run_once();
        let rows = |sql: &str| ward.database.rows(sql);
        let minutes = "SELECT CAST(minute AS CHAR), readings FROM minutes";
        let hours = "SELECT CAST(hour AS CHAR), lactate, results FROM hours ORDER BY hour";
        assert_eq!(
            rows(minutes),
            ["2026-01-01 12:00:00.000000|1"],
            "it has closed, though the laboratory is at two o'clock"
        );
        assert_eq!(rows(hours), [""; 0], "two hours are open");
        // Late for the bedside, and in time for the laboratory; and the other way round.
        ward.put_results(&[result("A", 15, r#""lactate": 5"#), result("A", 190, r#""lactate": 1"#)]);
        ward.put_readings(&[("A", 43_210, 75.0), ("A", 43_400, 72.0)]);
        ward.job.run_once();
        assert_eq!(rows(hours), ["2026-01-01 00:00:00.000000|5|2"]);
        assert_eq!(rows("SELECT COUNT(*) FROM late_rows"), ["1"]);
        // What had closed stays closed after a restart, where the partitions are not read.
        ward.put_results(&[result("A", 20, r#""lactate": 9"#)]);
        ward.job.run_once();
        assert_eq!(rows(hours), ["2026-01-01 00:00:00.000000|5|2"]);
        assert_eq!(rows("SELECT COUNT(*) FROM late_rows"), ["2"]);
    }
}

#[test]
fn who_comes_and_goes_may_be_a_source_and_holds_no_windows() {
    let (vitals, adt, database) = (Topic::create(1), Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&vitals.name, &database.url)
        .columns(&format!("{COLUMNS}\n[[sources]]\ntopic = \"{}\"\nuse = \"hl7v2-adt\"", adt.name))
        .query("tables/minutes", MINUTES)
        .query("tables/wards", "-- @key: patient_id\nSELECT patient_id, ward FROM encounters_now");
    let admit = "MSH|^~\\&|HIS|HOSP|||202601010000||ADT^A01|1|P|2.5\rEVN|A01|20260101000000+0000\rPID|||A^^^HOSP\rPV1||I|ICU^R1^1\r";
    adt.put(0, None, admit.as_bytes());
    adt.flush();
    for second in [0, 1, 80] {
        vitals.put(0, None, sample("A", second, 70.0).as_bytes());
    }
    vitals.flush();
    let check = job.command("check").output().unwrap();
    assert!(check.status.success(), "{}", told(&check));
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, ward FROM wards"), ["A|ICU"]);
    assert_eq!(database.rows("SELECT CAST(minute AS CHAR), readings FROM minutes"), ["2026-01-01 00:00:00.000000|2"]);
}

#[test]
fn a_job_may_have_its_sources_in_one_list() {
    let ward = Ward::new("");
    let text = std::fs::read_to_string(ward.job.file()).unwrap();
    std::fs::write(
        ward.job.file(),
        text.replacen("[source]", "[[sources]]", 1).replacen("[source.columns]", "[sources.columns]", 1),
    )
    .unwrap();
    ward.put_results(&[result("A", 1, r#""lactate": 1.5"#)]);
    ward.put_readings(&[("A", 0, 100.0)]);
    ward.job.run_once();
    assert_eq!(ward.database.rows("SELECT patient_id, lactate FROM results"), ["A|1.5"]);
    assert_eq!(ward.database.rows("SELECT patient_id, heart_rate FROM readings"), ["A|100"]);
}

#[test]
fn a_kill_at_any_time_leaves_the_tables_of_both_sources_whole() {
    let ward = Ward::new("[trigger]\nmax_rows = 7\n");
    let mut lactates = Vec::new();
    for minute in 0..240 {
        ward.labs.put(
            0,
            None,
            result(&format!("P{}", minute % 5), minute, &format!("\"lactate\": {}", minute % 4)).as_bytes(),
        );
        lactates.push(minute % 4);
        for second in 0..5 {
            ward.vitals.put(0, None, sample(&format!("P{}", second % 5), minute * 60 + second, 80.0).as_bytes());
        }
    }
    ward.labs.flush();
    ward.vitals.flush();
    for _ in 0..6 {
        let mut running = ward.job.start();
        let before = ward.database.so_far("SELECT COUNT(*) FROM batches");
        running.wait_until("some batches", || ward.database.so_far("SELECT COUNT(*) FROM batches") != before);
        std::thread::sleep(std::time::Duration::from_millis(300));
        running.signal("KILL");
        running.wait();
    }
    let output = ward.job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let rows = |sql: &str| ward.database.rows(sql);
    assert_eq!(rows("SELECT COUNT(*) FROM readings"), ["1200"]);
    assert_eq!(rows("SELECT COUNT(*), SUM(lactate) FROM results"), [format!("240|{}", lactates.iter().sum::<u32>())]);
    assert_eq!(rows("SELECT COUNT(*), SUM(results), MIN(results) FROM hours"), ["20|240|12"]);
    assert_eq!(rows("SELECT SUM(readings) FROM minutes"), ["1200"]);
    assert_eq!(rows("SELECT COUNT(*) FROM late_rows"), ["0"]);
}

#[test]
fn what_is_said_of_monitors_is_not_said_of_a_laboratory() {
    let (vitals, labs, database) = (Topic::create(1), Topic::create(1), Database::create(&mysql_url()));
    let silent = "-- @severity: technical\n-- @suppresses: *\n-- @message: no reading\n\
                  SELECT patient_id FROM vitals_latest WHERE age_seconds > 60";
    let job = TestJob::new(&vitals.name, &database.url)
        .source("attach = \"device_id\"\ndedupe = [\"patient_id\"]")
        .columns(&format!("device_id = {{ type = \"text\" }}\n{COLUMNS}{}", LABS.replace("LABS", &labs.name)))
        .query("tables/readings", READINGS)
        .query("tables/results", RESULTS)
        .query("rules/potassium", POTASSIUM)
        .query("rules/shock", SHOCK)
        .query("rules/silent", silent);
    job.run_once();
    let admit = "INSERT INTO encounters (job, patient_id, device, ward, from_at) VALUES ('test', 'A', 'bed-1', 'ICU', '2026-01-01')";
    database.connect().query_drop(admit).unwrap();
    // A monitor names its bed, a laboratory the patient; and what a laboratory corrects is no repetition.
    vitals.put(0, None, sample("bed-1", 60, 80.0).replace("patient_id", "device_id").as_bytes());
    vitals.flush();
    for minute in 0..20 {
        labs.put(0, None, result("A", minute, r#""potassium": 4.0"#).as_bytes());
    }
    labs.put(0, None, result("A", 19, r#""potassium": 6.9"#).as_bytes());
    labs.flush();
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, heart_rate FROM readings"), ["A|80"]);
    assert_eq!(database.rows("SELECT patient_id, COUNT(*), MAX(potassium) FROM results GROUP BY 1"), ["A|21|6.9"]);
    let alerts = "SELECT rule, patient_id, text FROM alerts WHERE rule IN ('potassium', 'clock_differs', 'unattached')";
    assert_eq!(database.rows(alerts), ["potassium|A|Potassium 6.9"], "how late results come is nobody's clock");
    // That a monitor is silent is no reason not to judge a result.
    let explained = |rule: &str| told(&job.command("explain").arg(rule).output().unwrap());
    assert!(explained("shock").contains("suppressed while one of these fires: silent"), "{}", explained("shock"));
    assert!(!explained("potassium").contains("suppressed"), "{}", explained("potassium"));
}

#[test]
fn a_session_that_is_long_is_whole_after_a_kill() {
    let ward = Ward::new("");
    let sessions = "-- @key: patient_id, window_start\nSELECT patient_id, session(event_time, INTERVAL '30 minutes') AS window_start, \
                    count(*) AS results FROM labs GROUP BY 1, 2";
    let job = ward.job.query("tables/bouts", sessions);
    let put = |from: u32, until: u32| {
        (from..until).for_each(|n| ward.labs.put(0, None, result("A", 20 * n, r#""lactate": 1"#).as_bytes()));
        ward.labs.flush();
    };
    put(0, 7);
    let mut running = job.start();
    running.wait_until("the first are there", || ward.database.so_far("SELECT COUNT(*) FROM results") == "7");
    running.signal("KILL");
    running.wait();
    put(7, 12);
    let output = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let rows = ward.database.rows("SELECT CAST(window_start AS CHAR), results FROM bouts");
    assert_eq!(rows, ["2026-01-01 00:00:00.000000|12"]);
}

#[test]
fn an_alert_that_is_over_is_no_other_one_after_each_start() {
    let ward = Ward::new("");
    let doubted = "-- @severity: high\n-- @latch: no\n-- @allow: no-delay\n-- @message: Potassium {k}\nSELECT patient_id, event_time, \
                   coalesce(potassium, potassium_doubtful) AS k FROM labs WHERE coalesce(potassium, potassium_doubtful) > 6";
    let job = ward.job.query("rules/doubted", doubted);
    for (minute, potassium) in [(1, 12), (2, 4)] {
        ward.labs.put(0, None, result("A", minute, &format!("\"potassium\": {potassium}")).as_bytes());
        ward.labs.flush();
        job.run_once();
    }
    let log = job.run_once() + &job.run_once();
    assert!(!log.contains("it begins"), "{log}");
    let alerts = ward.database.rows("SELECT state, text FROM alerts WHERE rule = 'doubted'");
    assert_eq!(alerts, ["ended|Potassium 12"]);
    // A rule that does begin is judged on what stands, not on what a later value has taken the place of.
    job.query("rules/doubted", &doubted.replace("> 6", "> 6.5")).run_once();
    assert_eq!(ward.database.rows("SELECT COUNT(*) FROM alerts WHERE rule = 'doubted'"), ["1"]);
}

#[test]
fn which_source_stands_first_and_whose_a_topic_is_changes_no_window() {
    let ward = Ward::new("");
    ward.put_readings(&[("A", 43_200, 70.0), ("A", 43_280, 71.0)]);
    ward.put_results(&[result("A", 10, r#""lactate": 2"#), result("A", 130, r#""lactate": 3"#)]);
    ward.job.run_once();
    // The laboratory in front, and the monitors by a pattern that its topic meets too.
    let text = std::fs::read_to_string(ward.job.file()).unwrap();
    let (head, rest) = text.split_once("[source]").unwrap();
    let (vitals, rest) = rest.split_once("[[sources]]").unwrap();
    let (labs, rest) = rest.split_once("[store]").unwrap();
    let heads = |name: &str| vitals.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let [brokers, key, event_time] = ["brokers", "key", "event_time"].map(heads);
    let vitals = vitals.replace("[source.columns]", "[sources.columns]").replace(
        &format!("topic = \"{}\"", ward.vitals.name),
        &format!("topics = [\"{}\", \"^{}$\"]", ward.vitals.name, ward.labs.name),
    );
    let swapped =
        format!("{head}[[sources]]\n{brokers}\n{key}\n{event_time}\n{labs}\n[[sources]]{vitals}\n[store]{rest}");
    std::fs::write(ward.job.file(), swapped).unwrap();
    ward.put_results(&[result("A", 15, r#""lactate": 5"#), result("A", 190, r#""lactate": 1"#)]);
    ward.job.run_once();
    let rows = |sql: &str| ward.database.rows(sql);
    assert_eq!(rows("SELECT CAST(hour AS CHAR), lactate, results FROM hours"), ["2026-01-01 00:00:00.000000|5|2"]);
    assert_eq!(rows("SELECT COUNT(*) FROM late_rows"), ["0"]);
    assert_eq!(rows("SELECT COUNT(*) FROM results"), ["4"]);
}

#[test]
fn a_topic_that_is_gone_beside_others_is_an_alert_while_the_others_are_read() {
    let ward = Ward::new("");
    ward.put_results(&[result("A", 1, r#""lactate": 1"#)]);
    ward.put_readings(&[("A", 0, 100.0)]);
    let mut running = ward.job.start();
    running.wait_until("both are read", || ward.database.so_far("SELECT COUNT(*) FROM results") == "1");
    ward.labs.delete();
    let told =
        "SELECT COUNT(*) FROM alerts WHERE severity = 'technical' AND state = 'firing' AND text LIKE '%partition%'";
    running.wait_until("it is an alert", || ward.database.so_far(told) == "1");
    ward.put_readings(&[("A", 1, 101.0)]);
    running.wait_until("the ward is read", || ward.database.so_far("SELECT MAX(heart_rate) FROM readings") == "101");
}

#[test]
fn what_is_wrong_with_sources_is_named_with_its_line() {
    let cases = [
        (
            "topic = \"labs\"\ntable = \"vitals_latest\"\n[sources.columns]\nCOLUMNS",
            "\"vitals_latest\" is the name of a table that is given",
        ),
        (
            "topic = \"labs\"\ntable = \"open_alerts\"\n[sources.columns]\nCOLUMNS",
            "\"open_alerts\" is the name of a table that is given",
        ),
        (
            "topic = \"labs\"\ntable = \"labs\"\n[sources.columns]\nCOLUMNS\nage_seconds = { type = \"int\" }",
            "\"age_seconds\" is a column of the table of last values",
        ),
        ("topic = \"labs\"\ntable = \"labs\"\nuse = \"hl7v2-oru\"", "the source has no columns"),
        ("table = \"labs\"\n[sources.columns]\nCOLUMNS", "the source names no topic"),
        ("topic = \"labs\"\ntable = \"vitals\"\n[sources.columns]\nCOLUMNS", "two sources have the table \"vitals\""),
        ("topic = \"labs\"\n[sources.columns]\nCOLUMNS", "the source has no table; write table = \"labs\""),
        ("topic = \"VITALS\"\ntable = \"labs\"\n[sources.columns]\nCOLUMNS", "two sources read the topic"),
        (
            "topic = \"labs\"\ntable = \"labs\"",
            "the source has no columns; write [sources.columns], or encounters = true",
        ),
        (
            "topic = \"labs\"\ntable = \"labs\"\nkey = \"mrn\"\n[sources.columns]\nCOLUMNS",
            "key is the same for all sources of a job, \"patient_id\"",
        ),
        (
            "topic = \"labs\"\ntable = \"labs\"\nbrokers = \"elsewhere:9092\"\n[sources.columns]\nCOLUMNS",
            "brokers is the same for all sources",
        ),
        (
            "topic = \"labs\"\ntable = \"labs\"\ngroup = \"g\"\n[sources.columns]\nCOLUMNS",
            "group is of the job as a whole",
        ),
        (
            "topic = \"labs\"\ntable = \"labs\"\n[sources.columns]\npatient_id = { type = \"text\" }\nlactate = { type = \"float\" }",
            "unknown column \"event_time\"",
        ),
    ];
    for (source, expected) in cases {
        let vitals = unique("vitals");
        let source = source
            .replace(
                "COLUMNS",
                "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nlactate = { type = \"float\" }",
            )
            .replace("VITALS", &vitals);
        let job = TestJob::new(&vitals, "sqlite://x.db")
            .columns(&format!("{COLUMNS}\n[[sources]]\n{source}"))
            .query("tables/readings", READINGS);
        let output = job.command("check").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{source}: {}", told(&output));
        assert!(told(&output).contains(expected), "{source}: {}", told(&output));
    }
    let together =
        "-- @key: patient_id\nSELECT h.patient_id FROM vitals_history AS h JOIN labs_history AS l USING (patient_id)";
    let job = TestJob::new("vitals", "sqlite://x.db")
        .columns(&format!("{COLUMNS}{}", LABS.replace("LABS", "labs")))
        .query("tables/together", together);
    let output = job.command("check").output().unwrap();
    let expected = "tables/together.sql:2:51: \"vitals_history\" has rows of the source \"vitals\" and \"labs_history\" rows of \"labs\"";
    assert!(told(&output).contains(expected), "{}", told(&output));
}

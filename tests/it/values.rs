//! Records from the field whose values or times are odd, through the real broker as they were sent: a bad value costs itself.

use mysql::prelude::Queryable;

use crate::field::{Sent, case, case_records, keyed_records};
use crate::fixtures::{TestJob, repository, told, wardwatch};

#[test]
fn a_placeholder_for_one_vital_leaves_the_others_to_be_judged() {
    let sent = Sent::of_case("25-placeholders-lose-the-whole-record");
    assert!(sent.log.contains(" 0 rejects"), "{}", sent.log);
    let alerts = sent.rows("SELECT rule, state, text FROM alerts WHERE patient_id = 'P1'");
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(alerts[0].starts_with("tachycardia|"), "{alerts:?}");
    let kept = sent
        .rows("SELECT DISTINCT text, reason, value FROM artefacts WHERE column_name = 'spo2' AND patient_id = 'P1'");
    assert!(kept.contains(&"--|is not a valid number|NULL".to_owned()), "{kept:?}");
    assert_eq!(sent.rows("SELECT COUNT(*) FROM readings WHERE spo2 IS NULL AND heart_rate IS NULL"), ["0"]);
}

#[test]
fn values_with_their_unit_are_kept_as_texts_and_numbers_beside_them_are_read() {
    let sent = Sent::of_case("26-values-with-their-unit-in-the-text");
    let rows = sent.rows("SELECT heart_rate, spo2 FROM readings ORDER BY source_offset");
    assert_eq!(rows, ["NULL|NULL", "72|NULL", "NULL|95"]);
    let kept = sent.rows("SELECT `offset`, column_name, text, reason FROM artefacts ORDER BY `offset`, column_name");
    let texts = [
        "0|heart_rate|72 bpm",
        "0|spo2|98%",
        "0|temperature|36.6 °C",
        "1|spo2|98 %",
        "1|temperature|98.2F",
        "2|heart_rate|<40",
    ];
    assert_eq!(kept, texts.map(|text| format!("{text}|is not a valid number")));
}

#[test]
fn a_number_is_taken_out_of_a_text_with_its_unit_where_the_job_says_so() {
    let folder = case("26-values-with-their-unit-in-the-text");
    let job = std::fs::read_to_string(folder.join("job.toml")).unwrap();
    let job = job.replace("type = \"float\"", "type = \"float\", extract = \"number\"");
    let sent = Sent::by(&job, &folder, &case_records(&folder));
    let rows = sent.rows("SELECT heart_rate, spo2, ROUND(temperature, 1) FROM readings ORDER BY source_offset");
    assert_eq!(rows, ["72|98|36.6", "72|98|36.8", "NULL|95|NULL"]);
    let kept = sent.rows("SELECT column_name, text, reason FROM artefacts");
    assert_eq!(kept, ["heart_rate|<40|does not begin with a number"]);
}

#[test]
fn blood_pressure_as_one_text_is_two_columns() {
    let sent = Sent::of_case("01-blood-pressure-as-one-text");
    let rows = sent.rows(
        "SELECT patient_id, heart_rate, systolic_bp, diastolic_bp FROM readings WHERE patient_id <> 'P3' ORDER BY source_offset",
    );
    assert_eq!(rows, ["P1|72|118|76", "P2|75|120|80", "P4|66|NULL|NULL"]);
    assert_eq!(sent.alerts(), ["P3|hypotension|high|firing|84 mmHg"]);
    assert_eq!(sent.rows("SELECT COUNT(*) FROM artefacts"), ["0"], "\"/\" is no value");
}

#[test]
fn temperatures_are_converted_from_the_unit_that_records_name() {
    let sent = Sent::of_case("02-fahrenheit-mixed-with-celsius");
    let rows = sent.rows("SELECT DISTINCT patient_id, ROUND(temperature, 1) FROM readings ORDER BY 1, 2");
    assert_eq!(rows, ["P1|37", "P1|39.5", "P2|37", "P3|38.4"]);
    assert_eq!(sent.rows("SELECT COUNT(*) FROM artefacts"), ["0"]);
    assert_eq!(sent.alerts(), ["P1|fever|medium|firing|39.5 °C"]);
}

#[test]
fn the_patient_is_read_from_the_key_and_the_time_from_the_stamp() {
    let folder = case("03-patient-only-in-the-kafka-key");
    let mut sent = Sent::nothing(&std::fs::read_to_string(folder.join("job.toml")).unwrap(), &folder);
    for (key, stamp, payload) in keyed_records(&folder) {
        sent.topic.put_as(0, stamp, key.as_bytes(), &[], &payload);
    }
    sent.topic.flush();
    sent.run(&["--once"]);
    assert_eq!(sent.rows("SELECT patient_id FROM readings ORDER BY source_offset"), ["1", "1", "2"]);

    let sent = Sent::of_case("04-event-time-only-in-the-kafka-stamp");
    let rows =
        sent.rows("SELECT patient_id, CAST(event_time AS CHAR), heart_rate FROM readings ORDER BY source_offset");
    let at = |second: u32, rate: u32| format!("4711|2026-01-01 10:00:0{second}.000000|{rate}");
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[..2], [at(0, 80), at(1, 81)], "{rows:?}");
}

/// What stands in a header is wanted again when batches are read again after a kill.
#[test]
fn what_stands_in_headers_is_read_and_read_again() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job
        .columns(
            "patient_id = { type = \"text\", from = \"@header.patient\" }\nevent_time = { type = \"time\" }\n\
             heart_rate = { type = \"float\" }\nspo2 = { type = \"float\" }\n",
        )
        .query(
            "tables/minute",
            "-- @key: patient_id, window_start\n\
             SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records\n\
             FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')\n",
        );
    let put = |patient: &str, second: u32| {
        let payload =
            format!(r#"{{"event_time":"2026-01-01T00:{:02}:{:02}Z","heart_rate":80}}"#, second / 60, second % 60);
        let headers = [("patient", b"an older one".as_slice()), ("patient", patient.as_bytes())];
        topic.put_as(0, None, b"key", &headers, payload.as_bytes());
    };
    (0..5).for_each(|second| put("P1", second));
    topic.put(0, None, br#"{"event_time":"2026-01-01T00:00:05Z","heart_rate":80}"#);
    topic.flush();
    job.run_once();
    database.connect().query_drop("DELETE FROM window_panes").unwrap();
    database.connect().query_drop("DELETE FROM window_snapshots").unwrap();
    (100..105).for_each(|second| put("P1", second));
    topic.flush();
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, records FROM minute"), ["P1|5"]);
    assert_eq!(database.rows("SELECT reason FROM rejects"), ["column \"patient_id\" is required and has no value"]);
}

#[test]
fn a_value_beside_a_status_that_declares_it_void_does_not_count() {
    let sent = Sent::of_case("17-status-says-the-value-means-nothing");
    assert_eq!(sent.alerts(), Vec::<String>::new(), "no bradycardia");
    let kept = sent.rows("SELECT DISTINCT column_name, text, value, reason FROM artefacts");
    let reason = "does not count: field \"status\" is \"Message-Leads Off\"; it must be \"final\"";
    assert_eq!(kept, [format!("heart_rate|12|12|{reason}")]);
    assert_eq!(sent.rows("SELECT DISTINCT heart_rate FROM readings WHERE status = 'final'"), ["80"]);
    assert_eq!(sent.rows("SELECT DISTINCT heart_rate FROM readings WHERE status <> 'final'"), ["NULL"]);
}

#[test]
fn what_sensors_send_for_nothing_is_technical_and_no_heart_rate_with_a_pulse_is_a_lead_that_is_off() {
    let sent = Sent::of_case_as_shipped("28-sentinels-and-zero");
    let alerts = sent.rows("SELECT rule, severity FROM alerts WHERE firing_at IS NOT NULL ORDER BY started_at, rule");
    assert!(alerts.contains(&"implausible|technical".to_owned()), "{alerts:?}");
    assert!(alerts.contains(&"ecg_lead_off|technical".to_owned()), "{alerts:?}");
    let about_the_patient: Vec<&String> = alerts.iter().filter(|alert| !alert.ends_with("|technical")).collect();
    assert_eq!(about_the_patient, [""; 0], "{alerts:?}");
}

#[test]
fn no_heart_rate_without_a_pulse_is_bradycardia() {
    let record = |second: u32, patient: &str, pulse: &str| {
        let at = format!("2026-01-01T10:00:{second:02}Z");
        let text = format!(r#"{{"patient_id":"{patient}","event_time":"{at}","heart_rate":0{pulse}}}"#);
        (None, text.into_bytes())
    };
    let records: Vec<_> = (0..15)
        .flat_map(|at| {
            [record(at, "none", r#","pulse":0"#), record(at, "alone", ""), record(at, "off", r#","pulse":72"#)]
        })
        .collect();
    let job = std::fs::read_to_string(repository().join("jobs/patient_vitals.toml")).unwrap();
    let sent = Sent::by(&job, &repository().join("jobs"), &records);
    let expected = |patient: &str| format!("{patient}|bradycardia|high|firing|HR 0 (doubtful) < 50");
    let alerts = sent.alerts();
    let of = |rule: &str| alerts.iter().filter(|alert| alert.contains(rule)).cloned().collect::<Vec<_>>();
    assert_eq!(of("|bradycardia|"), [expected("alone"), expected("none")], "{alerts:?}");
    assert_eq!(of("|ecg_lead_off|"), ["off|ecg_lead_off|technical|firing|ECG leads off: HR 0, pulse 72"], "{alerts:?}");
}

#[test]
fn a_saturation_below_what_is_plausible_goes_on_being_hypoxia() {
    let sent = Sent::of_case_as_shipped("29-true-but-extreme-saturation");
    let hypoxia = sent.rows("SELECT patient_id, state, severity, peak_value, peak_text FROM alerts WHERE rule = 'hypoxia' AND patient_id = 'P1'");
    assert_eq!(hypoxia, ["P1|firing|high|44|SpO₂ 44 (doubtful) < 90"]);
}

#[test]
fn an_id_keeps_its_digits_whatever_stands_beside_it() {
    let sent = Sent::of_case("33-an-id-changes-when-a-neighbour-is-missing");
    let patients = sent.rows("SELECT DISTINCT patient_id FROM readings ORDER BY 1");
    assert_eq!(patients, ["123456789012345678901", "4.10"]);
}

#[test]
fn times_with_a_missing_or_odd_end_are_read_and_a_bare_day_says_what_is_missing() {
    let sent = Sent::of_case("36-times-with-a-missing-or-odd-end");
    let times = sent.rows("SELECT heart_rate, CAST(event_time AS CHAR) FROM readings ORDER BY source_offset");
    let expected = [
        "80|2026-01-01 10:00:00.000000",
        "81|2026-01-01 10:00:00.000000",
        "82|2026-01-01 09:00:00.000000",
        "83|2026-01-01 10:00:00.000000",
        "84|2026-01-01 10:00:00.000000",
        "85|2026-01-01 10:00:00.123456",
        "86|2026-01-01 10:00:00.000000",
        "88|2026-01-01 10:00:00.000000",
    ];
    assert_eq!(times, expected);
    let rejects = sent.rows("SELECT patient_id, reason, stamped_at IS NOT NULL FROM rejects");
    assert_eq!(rejects.len(), 1, "{rejects:?}");
    assert!(rejects[0].starts_with("P1|column \"event_time\": \"2026-01-01\" is a day without a time"), "{rejects:?}");
    assert!(rejects[0].ends_with("|1"), "{rejects:?}");
}

#[test]
fn times_as_hl7_writes_them_are_read_as_the_dates_they_are_or_refused() {
    let sent = Sent::of_case("37-hl7-times-are-read-as-wrong-years");
    let times = sent.rows("SELECT heart_rate, CAST(event_time AS CHAR) FROM readings ORDER BY source_offset");
    let expected = [
        "80|2026-01-01 10:00:00.000000",
        "81|2026-01-01 10:00:00.000000",
        "82|2026-01-01 09:00:00.821000",
        "83|2026-01-01 10:00:00.000000",
    ];
    assert_eq!(times, expected);
    let rejects = sent.rows("SELECT reason FROM rejects ORDER BY `offset`");
    assert_eq!(rejects.len(), 2, "{rejects:?}");
    assert!(rejects[0].contains("is a day without a time, 2026-01-01"), "{rejects:?}");
    assert!(rejects[1].contains("as days since 1970 2026-01-01"), "{rejects:?}");
}

#[test]
fn local_times_of_another_zone_name_the_zone_that_may_be_meant() {
    let sent = Sent::of_case("44-local-times-without-a-zone-and-the-wrong-default");
    let rejects = sent.rows("SELECT DISTINCT reason FROM rejects");
    assert_eq!(rejects.len(), 1, "{rejects:?}");
    let meant = "about 5 h 30 min ahead: is time_zone = \"Asia/Kolkata\" (or another of this offset) meant?";
    assert!(rejects[0].ends_with(meant), "{rejects:?}");
    assert!(sent.log.contains("times are ahead of Kafka's stamps"), "{}", sent.log);
}

#[test]
fn the_hour_that_comes_twice_is_told_by_kafkas_stamps() {
    let sent = Sent::of_case("45-the-hour-that-comes-twice");
    assert!(sent.log.contains(" 0 late rows"), "{}", sent.log);
    assert_eq!(sent.rows("SELECT COUNT(*), COUNT(DISTINCT event_time) FROM readings"), ["2160|2160"]);
    let alerts =
        sent.rows("SELECT CAST(started_at AS CHAR) FROM alerts WHERE rule = 'tachycardia' AND firing_at IS NOT NULL");
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(alerts[0].starts_with("2026-10-25 01:20:0"), "in the second hour, by UTC: {alerts:?}");
}

#[test]
fn consciousness_in_words_is_scored_and_a_word_that_nobody_knows_alarms() {
    let folder = case("31-consciousness-in-words");
    let job = std::fs::read_to_string(repository().join("jobs/patient_vitals.toml")).unwrap();
    let mut sent = Sent::nothing(&job, &repository().join("jobs"));
    sent.put(&case_records(&folder));
    let of_p5 = |second: u32| {
        let at = format!("2026-01-01T10:00:{second:02}Z");
        let text = format!(r#"{{"patient_id":"P5","event_time":"{at}","heart_rate":72,"consciousness":"Rousable"}}"#);
        (None, text.into_bytes())
    };
    sent.put(&(0..60).step_by(10).map(of_p5).collect::<Vec<_>>());
    sent.run(&["--once", "--close-windows"]);
    let scores = sent.rows("SELECT patient_id, consciousness, consciousness_score, red FROM news2_1m ORDER BY 1");
    assert_eq!(
        scores,
        ["P1|A|0|", "P2|U|3|consciousness", "P3|C|3|consciousness", "P4|V|3|consciousness", "P5|NULL|NULL|"],
        "{}",
        sent.log
    );
    let kept = sent.rows("SELECT DISTINCT patient_id, column_name, text, reason FROM artefacts");
    assert_eq!(kept, ["P5|consciousness|Rousable|is not a word that the column knows"]);
    let alerts = sent.alerts();
    let told = "P5|implausible|technical|firing|consciousness: \"Rousable\" is not a word that the column knows";
    assert!(alerts.contains(&told.to_owned()), "{alerts:?}");
}

#[test]
fn two_devices_that_share_a_second_are_no_duplicates_and_what_is_sent_again_is() {
    let sent = Sent::of_case("34-dedupe-drops-the-other-device");
    assert!(sent.log.contains(" 1 duplicates"), "{}", sent.log);
    assert_eq!(sent.rows("SELECT COUNT(*) FROM readings WHERE event_time = '2026-01-01 10:00:00'"), ["2"]);
}

#[test]
fn two_vitals_in_two_records_of_one_second_are_judged_together() {
    let sent = Sent::of_case("19-two-vitals-in-two-records-of-one-second");
    let alerts = sent.rows(
        "SELECT CAST(started_at AS CHAR), CAST(firing_at AS CHAR), text FROM alerts WHERE rule = 'wide_pulse_pressure'",
    );
    assert_eq!(alerts, ["2026-01-01 10:00:00.000000|2026-01-01 10:00:10.000000|pulse pressure 95"], "{}", sent.log);
}

#[test]
fn the_slower_clock_of_two_devices_is_judged_and_the_difference_is_told() {
    let sent = Sent::of_case("47-two-devices-of-one-patient-half-a-minute-apart");
    let alerts = sent.rows("SELECT rule, CAST(started_at AS CHAR), CAST(firing_at AS CHAR) FROM alerts ORDER BY rule");
    let hypoxia: Vec<&String> = alerts.iter().filter(|alert| alert.starts_with("hypoxia|")).collect();
    let low = sent.rows("SELECT CAST(MIN(event_time) AS CHAR), CAST(MIN(event_time) + INTERVAL 10 SECOND AS CHAR) FROM readings WHERE spo2 < 90");
    assert_eq!(hypoxia, [&format!("hypoxia|{}", low[0])], "ten seconds after the first low one: {alerts:?}");
    let told = sent.rows("SELECT text FROM alerts WHERE rule = 'clock_differs'");
    assert!(told.len() == 1 && told[0].contains("30s apart"), "{told:?}");
}

#[test]
fn recordings_dated_in_the_next_century_have_their_rows_and_windows() {
    let folder = case("42-recordings-dated-in-the-next-century");
    let job = std::fs::read_to_string(folder.join("job.toml")).unwrap();
    let mut sent = Sent::nothing(&job, &folder);
    sent.put(&case_records(&folder));
    sent.run(&["--once", "--close-windows"]);
    assert!(sent.log.contains(" 0 rejects") && sent.log.contains(" 0 late rows"), "{}", sent.log);
    let minutes = sent.rows("SELECT patient_id, CAST(window_start AS CHAR), records FROM vitals_1m ORDER BY 1, 2");
    let of = |patient: &str, year: u32| {
        (0..3).map(move |minute| format!("{patient}|{year}-07-23 14:0{minute}:00.000000|60")).collect::<Vec<_>>()
    };
    assert_eq!(minutes, [of("10006", 2150), of("10011", 2180)].concat());
}

#[test]
fn a_device_that_names_no_patient_is_of_who_was_attached_then() {
    let folder = case("20-device-is-the-key-and-beds-change");
    let job = std::fs::read_to_string(folder.join("job.toml")).unwrap();
    let job = job
        .replace(
            "patient_id = { type = \"text\", from = \"device_id\" }",
            "patient_id = { type = \"text\" }\ndevice_id = { type = \"text\" }",
        )
        .replace("key = \"patient_id\"", "key = \"patient_id\"\nattach = \"device_id\"");
    let mut sent = Sent::nothing(&job, &folder);
    sent.run(&["--once"]);
    let name = "case_device_is_the_key_and_beds_change";
    for attached in [
        format!(
            "(job, patient_id, device, from_at, until_at) VALUES ('{name}', 'A', 'D1', '2026-01-01 08:00', '2026-01-01 10:05')"
        ),
        format!("(job, patient_id, device, from_at) VALUES ('{name}', 'B', 'D1', '2026-01-01 10:06')"),
    ] {
        sent.database.connect().query_drop(format!("INSERT INTO encounters {attached}")).unwrap();
    }
    sent.put(&case_records(&folder));
    sent.run(&["--once"]);
    let alerts =
        "SELECT patient_id, rule, state, end_reason, CAST(ended_at AS CHAR) FROM alerts WHERE severity <> 'technical'";
    let left = ["A|tachycardia|ended|left|2026-01-01 10:05:00.000000"];
    assert_eq!(sent.rows(alerts), left);
    let spans = "SELECT patient_id, CAST(MIN(event_time) AS CHAR), CAST(MAX(event_time) AS CHAR) FROM readings GROUP BY 1 ORDER BY 1";
    let apart = [
        "A|2026-01-01 10:00:00.000000|2026-01-01 10:04:50.000000",
        "B|2026-01-01 10:06:00.000000|2026-01-01 10:09:50.000000",
    ];
    assert_eq!(sent.rows(spans), apart);
    sent.put(&[(None, br#"{"device_id":"D1","event_time":"2026-01-01T10:04:05Z","heart_rate":80}"#.to_vec())]);
    sent.run(&["--once"]);
    let late = "SELECT patient_id FROM readings WHERE event_time = '2026-01-01 10:04:05'";
    assert_eq!(sent.rows(late), ["A"]);
    assert_eq!(sent.rows(alerts), left);
}

#[test]
fn a_patient_who_was_discharged_does_not_alarm_for_ever() {
    let folder = case("21-discharged-patients-alarm-for-ever");
    let job = std::fs::read_to_string(folder.join("job.toml")).unwrap();
    let mut sent = Sent::nothing(&job, &folder);
    let records = case_records(&folder);
    sent.put(&records);
    sent.run(&["--once"]);
    let alerts = "SELECT patient_id, rule, state, end_reason FROM alerts WHERE rule = 'no_data'";
    assert_eq!(sent.rows(alerts), ["P1|no_data|firing|"]);
    let discharge = "INSERT INTO encounters (job, kind, patient_id, from_at) \
        VALUES ('case_discharged_patients_alarm_for_ever', 'discharge', 'P1', '2026-01-01 10:01:00')";
    sent.database.connect().query_drop(discharge).unwrap();
    sent.run(&["--once"]);
    let over = ["P1|no_data|ended|left"];
    assert_eq!(sent.rows(alerts), over);
    let later = (0..60).map(|second| {
        let text = format!(r#"{{"patient_id":"P2","event_time":"2026-01-01T10:15:{second:02}Z","heart_rate":75}}"#);
        (None, text.into_bytes())
    });
    sent.put(&later.collect::<Vec<_>>());
    sent.run(&["--once"]);
    assert_eq!(sent.rows(alerts), over, "nor does it begin again");
    let here = told(&sent.command("status").output().unwrap());
    assert!(!here.contains("P1"), "{here}");
}

#[test]
fn preview_tells_which_values_are_left_empty_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.jsonl");
    std::fs::write(&file, r#"{"patient_id":"P1","event_time":"2026-01-01T10:00:00Z","hr":140,"spo2":"--"}"#).unwrap();
    let preview = wardwatch()
        .args(["preview", "jobs/patient_vitals.toml", "readings", "--json", "--input"])
        .arg(&file)
        .current_dir(repository())
        .output()
        .unwrap();
    let (rows, notes) = (String::from_utf8_lossy(&preview.stdout), String::from_utf8_lossy(&preview.stderr));
    assert!(rows.contains("\"heart_rate\":140.0") && !rows.contains("spo2\":"), "{rows}");
    let note = "note: \"spo2\" of patient \"P1\" at 2026-01-01T10:00:00Z is left empty: \"--\" is not a valid number";
    assert!(notes.contains(note), "{notes}");
}

#[test]
fn a_store_of_before_gets_the_columns_and_its_rows_stay() {
    let (job, topic, database) = TestJob::on_mysql();
    let record = |second: u32, spo2: &str| {
        let text = format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:{second:02}Z","spo2":{spo2}}}"#);
        topic.put(0, None, text.as_bytes());
    };
    record(0, "12");
    topic.put(0, None, br#"{"patient_id":"P1"}"#);
    topic.flush();
    job.run_once();
    for sql in [
        "ALTER TABLE artefacts DROP COLUMN text, DROP COLUMN reason",
        "ALTER TABLE rejects DROP COLUMN patient_id, DROP COLUMN stamped_at",
    ] {
        database.connect().query_drop(sql).unwrap();
    }
    record(1, "\"--\"");
    topic.put(0, Some(1_767_225_600_000), br#"{"patient_id":"P2"}"#);
    topic.flush();
    job.run_once();
    assert_eq!(
        database.rows("SELECT `offset`, value, text, reason FROM artefacts ORDER BY `offset`"),
        ["0|12|NULL|NULL", "2|NULL|--|is not a valid number"]
    );
    assert_eq!(
        database.rows("SELECT `offset`, patient_id, CAST(stamped_at AS CHAR) FROM rejects ORDER BY `offset`"),
        ["1|NULL|NULL", "3|P2|2026-01-01 00:00:00.000000"]
    );
    let status = job.command("status").output().unwrap();
    assert!(told(&status).contains("2 rejects, 2 artefacts"), "{}", told(&status));
}

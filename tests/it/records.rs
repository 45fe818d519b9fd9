//! Records that are odd: each becomes a row or a reject with its bytes, and the job goes on.

use crate::fixtures::{Database, TestJob, Topic, mysql_url, sample};

#[test]
fn every_odd_record_is_a_row_or_a_reject_and_none_is_lost() {
    let (job, topic, database) = TestJob::on_mysql();
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:00Z""#;
    let huge = format!("{{{at},\"x\":\"{}\"}}", "y".repeat(5_000_000));
    let rows: [String; 8] = [
        sample("P1", 0, 80.0),
        format!("{{{at},\"unknown\":[1,{{}}],\"hr\":\"81\"}}"),
        format!("{{{at},\"hr\":NaN}}"),
        format!("{{{at},\"x\":{}{},\"hr\":82}}", "[".repeat(50_000), "]".repeat(50_000)),
        format!("{{{at},\"hr\":1e999}}"),
        format!("{{{at},\"hr\":\"\",\"spo2\":12}}"),
        format!("{{{at},\"hr\":\"fast\"}}"),
        format!("{{{at},\"hr\":[1],\"spo2\":97}}"),
    ];
    let rejects: [(&[u8], &str); 7] = [
        (b"hello", "not JSON"),
        (b"", "empty"),
        (huge.as_bytes(), "max_record_bytes allows"),
        (b"{\"patient_id\":\"\xff\xfe\"}", "is not valid UTF-8"),
        (br#"{"patient_id":"P1","event_time":"yesterday"}"#, "is not a valid time"),
        (br#"{"patient_id":"P1"}"#, "required"),
        (br#"{"patient_id":"P1","event_time":"2199-01-01T00:00:00Z"}"#, "ahead of the time at which Kafka"),
    ];
    rows.iter().for_each(|record| topic.put(0, None, record.as_bytes()));
    rejects.iter().for_each(|(record, _)| topic.put(0, None, record));
    topic.flush();
    let told = job.run_once();
    assert!(told.contains("15 records, 7 rejects, 4 artefacts"), "{told}");

    assert_eq!(
        database.rows("SELECT heart_rate FROM readings ORDER BY source_offset"),
        ["80", "81", "NULL", "82", "NULL", "NULL", "NULL", "NULL"]
    );
    assert_eq!(
        database.rows("SELECT patient_id FROM rejects ORDER BY `offset`"),
        ["NULL", "NULL", "P1", "NULL", "P1", "P1", "P1"],
    );
    let found = database.rows("SELECT reason, HEX(raw), `key` FROM rejects ORDER BY `offset`");
    for (found, (raw, reason)) in found.iter().zip(rejects) {
        let parts: Vec<&str> = found.split('|').collect();
        assert!(parts[0].contains(reason), "{} instead of {reason}", parts[0]);
        let hex: String = raw.iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(parts[1] == hex, "all bytes of \"{reason}\" are kept");
        assert_eq!(parts[2], "key");
    }
    assert_eq!(
        database.rows("SELECT `offset`, column_name, patient_id, value, text, reason FROM artefacts ORDER BY `offset`"),
        [
            "4|heart_rate|P1|NULL|1e999|is too large to be a number",
            "5|spo2|P1|12|12|is outside the plausible range 50–100",
            "6|heart_rate|P1|NULL|fast|is not a valid number",
            "7|heart_rate|P1|NULL|[1]|is a list, not a number",
        ]
    );
}

#[test]
fn the_classic_producers_records_run_through_the_shipped_job_unchanged() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let record = |second: u32, heart_rate: u32, sport: bool| {
        format!(
            r#"{{"patient_id":1,"timestamp":"2024-01-23 14:{:02}:{:02}","heart_rate":{heart_rate},"systolic_bp":131,"diastolic_bp":98,"glucose_level":99,"high_heart_rate":true,"high_bp":true,"high_glucose":true,"alert":true,"alert_occurrence":12,"sport_mode":{sport}}}"#,
            second / 60,
            second % 60
        )
    };
    // 100 s of sport: too short for an alert of the heart rate; then 10 s at rest.
    for second in 0..100 {
        topic.put(0, None, record(second, 150, true).as_bytes());
    }
    for second in 100..110 {
        topic.put(0, None, record(second, 150, false).as_bytes());
    }
    topic.flush();
    let run = crate::fixtures::wardwatch()
        .args(["run", "--once", "jobs/patient_data.toml"])
        .current_dir(crate::fixtures::repository())
        .env("KAFKA_BROKERS", crate::fixtures::kafka())
        .env("PATIENT_DATA_TOPIC", &topic.name)
        .env("MYSQL_URL", &database.url)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", crate::fixtures::told(&run));
    assert_eq!(
        database.rows("SELECT patient_id, CAST(last_at AS CHAR), heart_rate, sport_mode, high_heart_rate, high_bp, high_glucose FROM patient_status"),
        ["1|2024-01-23 14:01:49.000000|150|0|1|1|0"]
    );
    assert_eq!(
        database
            .rows("SELECT patient_id, SUM(heart_rate_sum) / SUM(heart_rate_count) FROM patient_averages GROUP BY 1"),
        ["1|150"]
    );
    assert_eq!(
        database.rows(
            "SELECT rule, state, CAST(firing_at AS CHAR), text FROM alerts WHERE state <> 'pending' ORDER BY rule"
        ),
        [
            "high_bp|firing|2024-01-23 14:01:40.000000|systolic 131 > 130",
            "high_heart_rate|firing|2024-01-23 14:01:40.000000|HR 150 > 100",
        ]
    );
}

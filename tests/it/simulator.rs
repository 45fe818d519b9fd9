//! `simulate` on the real broker: what it sends is what the job stores.

use crate::fixtures::{Database, Topic, kafka, mysql_url, repository, told, wardwatch};

fn run(topic: &Topic, database: &Database, arguments: &[&str]) -> String {
    let output = wardwatch()
        .args(arguments)
        .current_dir(repository())
        .env("KAFKA_BROKERS", kafka())
        .env("KAFKA_TOPIC", &topic.name)
        .env("MYSQL_URL", &database.url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

const JOB: &str = "jobs/patient_vitals.toml";

#[test]
fn simulated_patients_run_through_the_shipped_job_and_into_a_chart() {
    let (topic, database) = (Topic::create(2), Database::create(&mysql_url()));
    run(
        &topic,
        &database,
        &[
            "simulate",
            JOB,
            "--patients",
            "5",
            "--records",
            "1500",
            "--rate",
            "max",
            "--scenarios",
            "sepsis,hypoxia,lead-off",
        ],
    );
    let done = run(&topic, &database, &["run", JOB, "--once"]);
    assert!(
        done.contains("1500 records, 0 rejects, 0 artefacts, 0 late rows, 0 duplicates, 0 failing queries"),
        "{done}"
    );
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["1500"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM patient_status"), ["5"]);
    let fired = database.rows("SELECT DISTINCT rule FROM alerts WHERE firing_at IS NOT NULL ORDER BY 1");
    for rule in ["hypoxia", "lead_off", "desaturation"] {
        assert!(fired.contains(&rule.to_owned()), "{rule} in {fired:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chart.png");
    run(&topic, &database, &["report", JOB, "--patient", "P0001", "--out", file.to_str().unwrap()]);
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    let mut status = wardwatch();
    status.args(["status", JOB]).current_dir(repository()).env("KAFKA_BROKERS", kafka());
    let status = status.env("KAFKA_TOPIC", &topic.name).env("MYSQL_URL", &database.url).output().unwrap();
    // The leads of one patient are off, which rules wait for.
    assert_eq!(status.status.code(), Some(4), "{}", told(&status));
    assert!(told(&status).contains("lag 0") && told(&status).contains("the alert lead_off says"), "{}", told(&status));
}

#[test]
fn a_topic_that_is_not_there_is_told_before_anything_is_sent_and_an_empty_store_has_a_status() {
    let database = Database::create(&mysql_url());
    let command = |arguments: &[&str]| {
        let mut command = wardwatch();
        command.args(arguments).current_dir(repository()).env("KAFKA_BROKERS", kafka());
        command.env("KAFKA_TOPIC", "absent").env("MYSQL_URL", &database.url).output().unwrap()
    };
    let refused = command(&["simulate", JOB, "--records", "10"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("topic \"absent\" does not exist"), "{}", told(&refused));
    let status = command(&["status", JOB]);
    assert!(status.status.code() == Some(4) && told(&status).contains("no batch yet"), "{}", told(&status));
    let report = command(&["report", JOB, "--patient", "P0001"]);
    assert_eq!(report.status.code(), Some(1));
    assert!(told(&report).contains("has no table \"readings\" yet"), "{}", told(&report));
}

#[test]
fn an_unknown_patient_is_told_with_the_nearest() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    topic.put_samples("P0001", &[(0, 80.0)]);
    run(&topic, &database, &["run", JOB, "--once"]);
    let output = wardwatch()
        .args(["report", JOB, "--patient", "P001"])
        .current_dir(repository())
        .env("MYSQL_URL", &database.url)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("there is no reading of patient \"P001\"; did you mean \"P0001\"?"),
        "{}",
        told(&output)
    );
}

/// The recordings lie beside the clone where the project is developed.
#[test]
fn real_recordings_come_through_value_by_value() {
    let folder = repository().join("../shared/data/bidmc");
    let folder = std::env::var_os("BIDMC").map_or(folder, std::path::PathBuf::from);
    if !folder.is_dir() {
        println!("skipped: set BIDMC to the folder of the BIDMC numerics");
        return;
    }
    let (topic, database) = (Topic::create(3), Database::create(&mysql_url()));
    run(
        &topic,
        &database,
        &[
            "simulate",
            JOB,
            "--replay",
            folder.to_str().unwrap(),
            "--rate",
            "max",
            "--start",
            "2026-01-01T00:00:00Z",
            "--columns",
            "time=Time [s],heart_rate=HR,pulse=PULSE,respiratory_rate=RESP,spo2=SpO2",
        ],
    );
    let told = run(&topic, &database, &["run", JOB, "--once", "--close-windows"]);
    assert!(told.contains("25493 records, 0 rejects, 0 artefacts, 0 late rows"), "{told}");

    let number = |cell: &str| {
        cell.parse::<f64>().ok().filter(|value| value.is_finite()).map_or("NULL".to_owned(), |v| v.to_string())
    };
    let mut expected = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let patient = path.file_stem().unwrap().to_str().unwrap();
        for line in std::fs::read_to_string(&path).unwrap().lines().skip(1) {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let second: i64 = cells[0].parse().unwrap();
            expected.push(format!(
                "{patient}|{second}|{}|{}|{}|{}",
                number(cells[1]),
                number(cells[2]),
                number(cells[3]),
                number(cells[4])
            ));
        }
    }
    let mut found = database.rows(
        "SELECT patient_id, TIMESTAMPDIFF(SECOND, '2026-01-01', event_time), heart_rate, pulse, respiratory_rate, spo2 FROM readings",
    );
    expected.sort();
    found.sort();
    assert_eq!(found.len(), 25_493);
    assert!(found == expected, "every cell is as in the files");
    check_windows(&database);
}

/// Windows of the shipped set against another engine: MySQL, over the readings that it has. Each query must give the
/// rows of the table, no more and no fewer.
fn check_windows(database: &Database) {
    let start = |width: u32| {
        format!(
            "TIMESTAMPADD(SECOND, FLOOR(TIMESTAMPDIFF(SECOND, '2026-01-01', event_time) / {width}) * {width}, CAST('2026-01-01' AS DATETIME(6)))"
        )
    };
    let minute = start(60);
    let vitals_1m = (
        "SELECT patient_id, window_start, records, ROUND(heart_rate_avg, 6), heart_rate_min, heart_rate_max,
         ROUND(heart_rate_sd, 6), ROUND(spo2_avg, 6), spo2_min, ROUND(respiratory_rate_avg, 6) FROM vitals_1m",
        format!(
            "SELECT patient_id, {minute} AS w, COUNT(*), ROUND(AVG(heart_rate), 6), MIN(heart_rate), MAX(heart_rate),
             ROUND(STDDEV_SAMP(heart_rate), 6), ROUND(AVG(spo2), 6), MIN(spo2), ROUND(AVG(respiratory_rate), 6)
             FROM readings GROUP BY patient_id, w"
        ),
    );
    let spo2_30s = (
        "SELECT patient_id, window_start, spo2_min, ROUND(spo2_avg, 6), readings FROM spo2_30s",
        format!(
            "SELECT patient_id, TIMESTAMPADD(SECOND, -back, {}) AS w, MIN(spo2), ROUND(AVG(spo2), 6), COUNT(spo2)
             FROM readings JOIN (SELECT 0 AS back UNION SELECT 10 UNION SELECT 20) AS b WHERE spo2 IS NOT NULL
             GROUP BY patient_id, w",
            start(10)
        ),
    );
    let sessions = (
        "SELECT patient_id, started_at, last_at, records, ROUND(heart_rate_avg, 6), spo2_min FROM monitoring_sessions",
        "SELECT patient_id, MIN(event_time), MAX(event_time), COUNT(*), ROUND(AVG(heart_rate), 6), MIN(spo2) FROM (
           SELECT *, SUM(is_new) OVER (PARTITION BY patient_id ORDER BY event_time, source_offset) AS number FROM (
             SELECT *, COALESCE(TIMESTAMPDIFF(SECOND, LAG(event_time) OVER (PARTITION BY patient_id ORDER BY event_time,
               source_offset), event_time) >= 120, 1) AS is_new FROM readings) AS steps) AS numbered
         GROUP BY patient_id, number"
            .to_owned(),
    );
    let ward_5m = (
        "SELECT window_start, patients, records, spo2_min, heart_rate_max FROM ward_5m",
        format!(
            "SELECT {} AS w, COUNT(DISTINCT patient_id), COUNT(*), MIN(spo2), MAX(heart_rate) FROM readings GROUP BY w",
            start(300)
        ),
    );
    for (table, oracle) in [vitals_1m, spo2_30s, sessions, ward_5m] {
        let count = |sql: &str| database.rows(&format!("SELECT COUNT(*) FROM ({sql}) AS counted"));
        assert_ne!(count(&oracle), ["0"], "{oracle}");
        for (one, other) in [(table, oracle.as_str()), (oracle.as_str(), table)] {
            let unlike = database.rows(&format!("({one}) EXCEPT ({other}) LIMIT 5"));
            assert_eq!(unlike, [""; 0], "rows of\n{one}\nthat are not in\n{other}");
        }
    }
}

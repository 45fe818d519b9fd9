//! What is given out as FHIR is valid to somebody else, and is read back as the rows that it was made of.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::fixtures::{Database, TestJob, Topic, mysql_url, repository, told, wait_until};
use crate::outage::get;

const COLUMNS: &str = r#"
patient_id = { type = "text" }
event_time = { type = "time" }
heart_rate = { type = "float", unit = "/min" }
respiratory_rate = { type = "float", unit = "/min" }
spo2 = { type = "float", unit = "%" }
systolic_bp = { type = "float", unit = "mmHg" }
diastolic_bp = { type = "float", unit = "mmHg" }
temperature = { type = "float", unit = "°C" }
"#;

const READINGS: &str = "-- @key: patient_id, event_time, source_partition, source_offset, source_item
SELECT patient_id, event_time, _partition AS source_partition, _offset AS source_offset, _item AS source_item, heart_rate, respiratory_rate,
    spo2, systolic_bp, diastolic_bp, temperature FROM vitals
";

const ROWS: &str = "SELECT patient_id, CAST(event_time AS CHAR), heart_rate, respiratory_rate, spo2, systolic_bp, diastolic_bp, temperature \
    FROM readings ORDER BY event_time";

#[test]
fn what_is_given_out_as_fhir_is_valid_and_becomes_the_same_rows_again() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url).columns(COLUMNS).query("tables/readings", READINGS);
    for record in [
        r#"{"patient_id":"P-1","event_time":"2026-01-01T00:00:01Z","heart_rate":80.5,"respiratory_rate":16,"spo2":97,"systolic_bp":118,"diastolic_bp":76,"temperature":36.8}"#,
        r#"{"patient_id":"P-1","event_time":"2026-01-01T00:00:02.250Z","heart_rate":81}"#,
        r#"{"patient_id":"P-1","event_time":"2026-01-01T00:00:03Z","systolic_bp":119,"temperature":37}"#,
    ] {
        topic.put(0, None, record.as_bytes());
    }
    topic.flush();
    job.run_once();
    let mut page = job.command("serve").args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(page.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    // Until the page has read the ward, it does not say that there is no such patient.
    let (mut status, mut bundle) = (0, String::new());
    wait_until("the ward is read", || {
        (status, bundle) = get(port, "/fhir/Observation?patient=P-1&date=ge2026-01-01");
        status != 503
    });
    page.kill().unwrap();
    page.wait().unwrap();
    assert_eq!(status, 200, "{bundle}");

    let again = Topic::create(1);
    let database_again = Database::create(&mysql_url());
    let job_again = TestJob::new(&again.name, &database_again.url)
        .source("[[source.form]]\nuse = \"fhir-bundle\"")
        .columns(COLUMNS)
        .query("tables/readings", READINGS);
    again.put(0, None, bundle.as_bytes());
    again.flush();
    job_again.run_once();
    let expected = database.rows(ROWS);
    assert_eq!(expected.len(), 3);
    assert_eq!(database_again.rows(ROWS), expected);

    let Ok(cache) = std::env::var("WARDWATCH_SERVICES") else { return println!("skipped: there is no validator") };
    let file = job.folder.path().join("bundle.json");
    std::fs::write(&file, &bundle).unwrap();
    let validated = Command::new("java")
        .args(["-cp", &format!("{cache}/hapi/*")])
        .arg(repository().join("tests/it/FhirValidator.java"))
        .arg(&file)
        .output()
        .unwrap();
    let said = told(&validated);
    assert!(validated.status.success() && said.contains("\n0 errors"), "{said}");
}

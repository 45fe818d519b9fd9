//! A real schema registry, and records by an independent producer's serialisers, whose schemas change while the job runs.

use std::process::Command;

use crate::fixtures::{Database, READINGS, TestJob, Topic, kafka, mysql_url, repository, told, wardwatch};
use crate::services::OwnService;

/// Has confluent-kafka's client produce readings of these seconds.
fn produce(registry: &str, topic: &str, form: &str, version: u32, patient: &str, first: u32, count: u32) {
    let cache = std::env::var("WARDWATCH_SERVICES").expect("it is set where there is a service of one's own");
    for _ in 0..3 {
        // The registry has been seen to lose a request, and its client waits for ever; before the schema is there, nothing is produced.
        let output = Command::new("timeout")
            .args(["60", "python3"])
            .arg(repository().join("tests/it/registry_producer.py"))
            .args([&kafka(), registry, topic, form])
            .args([&version.to_string(), patient, &first.to_string(), &count.to_string()])
            .env("PYTHONPATH", format!("{cache}/confluent"))
            .output()
            .unwrap();
        match output.status.code() {
            Some(124) => println!("the registry did not answer within a minute; asked again"),
            _ => return assert!(output.status.success(), "{}", told(&output)),
        }
    }
    panic!("the registry does not answer");
}

/// `new` writes a job file that reads the topic, by the fields of its schemas.
fn is_known_from_its_schemas(topic: &str, registry: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut new = wardwatch();
    new.arg("new").arg(folder.path().join("ward.toml")).args(["--from-topic", topic, "--registry", registry]);
    let output = new.env("KAFKA_BROKERS", kafka()).output().unwrap();
    let told = told(&output);
    assert!(output.status.success() && told.contains("read by it: 45 records: 45 rows, 0 rejected"), "{told}");
    let written = std::fs::read_to_string(folder.path().join("ward.toml")).unwrap();
    assert!(written.contains("heart_rate = { type = \"float\", from = \"heart_rate\""), "{written}");
}

const COLUMNS: &str = r#"
patient_id = { type = "text", from = ["patient_id", "patient.id"] }
event_time = { type = "time" }
heart_rate = { type = "float" }
spo2 = { type = "float", null = 0 }
"#;

#[test]
fn schemas_of_a_real_registry_change_while_the_job_runs_in_every_format() {
    let Some(registry) = OwnService::start("registry") else { return println!("skipped: there is no registry") };
    for form in ["avro", "protobuf", "json"] {
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let format = match form {
            "json" => "format = \"json\"".to_owned(),
            form => format!("format = \"{form}\"\nregistry = \"{}\"", registry.address),
        };
        let job = TestJob::new(&topic.name, &database.url)
            .source(&format)
            .columns(COLUMNS)
            .query("tables/readings", READINGS);
        produce(&registry.address, &topic.name, form, 1, "P1", 0, 20);
        let mut running = job.start();
        let count = || database.so_far("SELECT COUNT(*) FROM readings");
        running.wait_until("the first schema is read", || count() == "20");
        produce(&registry.address, &topic.name, form, 2, "P1", 20, 20);
        // An old producer goes on beside the new one.
        produce(&registry.address, &topic.name, form, 1, "P2", 0, 5);
        running.wait_until("both are read", || count() == "45");
        running.signal("TERM");
        assert_eq!(running.wait(), Some(0), "{}", running.log());
        assert_eq!(
            database.rows(
                "SELECT patient_id, COUNT(*), MIN(heart_rate), MAX(heart_rate), COUNT(spo2), MAX(CAST(event_time AS CHAR)) \
                 FROM readings GROUP BY 1 ORDER BY 1"
            ),
            ["P1|40|70|109|20|2026-01-01 00:00:39.000000", "P2|5|70|74|0|2026-01-01 00:00:04.000000"],
            "{form}"
        );
        assert_eq!(database.rows("SELECT COUNT(*) FROM rejects"), ["0"], "{form}");
        is_known_from_its_schemas(&topic.name, &registry.address);
    }
    // What the registry does not know any more is a reject, and nothing else is lost.
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .source(&format!("format = \"avro\"\nregistry = \"{}\"", registry.address))
        .columns(COLUMNS)
        .query("tables/readings", READINGS);
    topic.put(0, None, &[0, 0, 0x7f, 0xff, 0xff, 2]);
    topic.flush();
    produce(&registry.address, &topic.name, "avro", 2, "P1", 0, 3);
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["3"]);
    let reasons = database.rows("SELECT reason FROM rejects");
    assert!(reasons.len() == 1 && reasons[0].contains("has no schema 8388607 to read it by"), "{reasons:?}");
}

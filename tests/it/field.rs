//! Cases from the field: jobs with the records that were sent there, through the real broker into the real database.

use std::path::PathBuf;
use std::process::Command;

use crate::fixtures::{Database, Topic, mysql_url, repository, told, wardwatch};

/// The folder of a case from the field: a job with its queries, and records as they were sent there.
pub(crate) fn case(name: &str) -> PathBuf {
    repository().join("tests/it/cases").join(name)
}

/// The records of a case: when Kafka stamped each, where the case says so, and its bytes.
pub(crate) fn case_records(folder: &std::path::Path) -> Vec<(Option<i64>, Vec<u8>)> {
    let text = |file: &str| std::fs::read_to_string(folder.join(file));
    if folder.join("kafka.jsonl").exists() {
        return keyed_records(folder).into_iter().map(|(_, stamp, payload)| (stamp, payload)).collect();
    }
    text("records.jsonl").unwrap().lines().map(|line| (None, line.as_bytes().to_vec())).collect()
}

/// The same of a case that says more of its records: with their keys. Those without a value are left out.
pub(crate) fn keyed_records(folder: &std::path::Path) -> Vec<(String, Option<i64>, Vec<u8>)> {
    let record = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = record["key"].as_str().unwrap_or_default().to_owned();
        Some((key, record["timestamp_ms"].as_i64(), base64(record["value_b64"].as_str()?)))
    };
    std::fs::read_to_string(folder.join("kafka.jsonl")).unwrap().lines().filter_map(record).collect()
}

pub(crate) fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, byte| (bits << 6) | value(*byte)) << (6 * (4 - group.len()));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

/// A job of the field, with a topic and a database of its own.
pub(crate) struct Sent {
    pub(crate) database: Database,
    pub(crate) topic: Topic,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) log: String,
}

impl Sent {
    /// A job that has read nothing yet, by its file's text, in which `topic = "…"` is replaced; its folder of queries is taken from
    /// `folder`.
    pub(crate) fn nothing(job: &str, folder: &std::path::Path) -> Self {
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let at = tempfile::tempdir().unwrap();
        let lines = job.lines().map(|line| match line.split_once(" = ") {
            Some(("topic", _)) => format!("topic = {:?}", topic.name),
            Some(("schema", file)) => format!("schema = {:?}", folder.join(file.trim_matches('"'))),
            Some(("dir", dir)) if dir.contains("sql") => {
                format!("dir = {:?}", folder.join(dir.split('"').nth(1).unwrap()))
            }
            _ => line.to_owned(),
        });
        std::fs::write(at.path().join("job.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
        Self { database, topic, folder: at, log: String::new() }
    }

    /// The same when it has read these records.
    pub(crate) fn by(job: &str, folder: &std::path::Path, records: &[(Option<i64>, Vec<u8>)]) -> Self {
        let mut sent = Self::nothing(job, folder);
        sent.put(records);
        sent.run(&["--once"]);
        sent
    }

    pub(crate) fn put(&self, records: &[(Option<i64>, Vec<u8>)]) {
        records.iter().for_each(|(stamp, payload)| self.topic.put(0, *stamp, payload));
        self.topic.flush();
    }

    pub(crate) fn run(&mut self, arguments: &[&str]) {
        let run = self.command("run").args(arguments).output().unwrap();
        assert!(run.status.success(), "{}", told(&run));
        self.log = told(&run);
    }

    pub(crate) fn command(&self, command: &str) -> Command {
        let mut wardwatch = wardwatch();
        wardwatch.arg(command).arg(self.folder.path().join("job.toml")).env("KAFKA_BROKERS", crate::fixtures::kafka());
        wardwatch.env("MYSQL_URL", &self.database.url);
        wardwatch
    }

    /// By the case's own job and queries.
    pub(crate) fn of_case(name: &str) -> Self {
        let folder = case(name);
        let job = std::fs::read_to_string(folder.join("job.toml")).unwrap();
        Self::by(&job, &folder, &case_records(&folder))
    }

    /// By the shipped job.
    pub(crate) fn of_case_as_shipped(name: &str) -> Self {
        let records = case_records(&case(name));
        let job = std::fs::read_to_string(repository().join("jobs/patient_vitals.toml")).unwrap();
        Self::by(&job, &repository().join("jobs"), &records)
    }

    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        self.database.rows(sql)
    }

    pub(crate) fn alerts(&self) -> Vec<String> {
        self.rows(
            "SELECT patient_id, rule, severity, state, peak_text FROM alerts WHERE firing_at IS NOT NULL ORDER BY 1, 2",
        )
    }
}

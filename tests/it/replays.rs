//! Rejects that are read again once the job's description is mended.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, READINGS, TACHYCARDIA, TestJob, Topic, mysql_url, sample, told};

const COLUMNS: &str = "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\n\
    heart_rate = { type = \"float\", unit = \"/min\", plausible = [10, 300] }\nspo2 = { type = \"float\" }";

/// The same when somebody has found out how some devices write times.
fn mended() -> String {
    COLUMNS.replace("type = \"time\"", "type = \"time\", time_format = [\"%Y-%m-%dT%H:%M:%SZ\", \"%d.%m.%Y %H:%M:%S\"]")
}

const MINUTES: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records, max(heart_rate) AS high
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
";

/// A record whose time the first description cannot read.
fn odd(patient: &str, second: u32, heart_rate: f64) -> String {
    let at = chrono::DateTime::from_timestamp(1_767_225_600 + i64::from(second), 0).unwrap();
    let at = at.format("%d.%m.%Y %H:%M:%S");
    format!(r#"{{"patient_id":"{patient}","event_time":"{at}","heart_rate":{heart_rate}}}"#)
}

struct Ward {
    job: TestJob,
    topic: Topic,
    database: Database,
}

impl Ward {
    fn new() -> Self {
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let job = TestJob::new(&topic.name, &database.url)
            .columns(COLUMNS)
            .query("tables/readings", READINGS)
            .query("tables/minutes", MINUTES)
            .query("rules/tachycardia", TACHYCARDIA);
        Self { job, topic, database }
    }

    fn put(&self, records: &[String]) {
        records.iter().for_each(|record| self.topic.put(0, None, record.as_bytes()));
        self.topic.flush();
    }

    fn rejects(&self, command: &str, arguments: &[&str]) -> String {
        let mut rejects = crate::fixtures::wardwatch();
        rejects.arg("rejects").arg(command).arg(self.job.file()).args(arguments).env("USER", "analyst");
        told(&rejects.output().unwrap())
    }

    fn mend(self) -> Self {
        Self { job: self.job.columns(&mended()), ..self }
    }

    fn minutes(&self) -> Vec<String> {
        self.database.rows("SELECT patient_id, window_start, records, high FROM minutes ORDER BY 1, 2")
    }
}

#[test]
fn a_reject_becomes_a_row_once_when_the_description_is_mended() {
    let ward = Ward::new();
    // The first minute closes; the second is open.
    let first: Vec<String> = (0..6).map(|second| odd("P1", second, 190.0)).collect();
    ward.put(&first);
    ward.put(&[sample("P1", 30, 80.0), sample("P1", 90, 80.0), odd("P1", 91, 191.0)]);
    ward.job.run_once();
    assert_eq!(ward.database.rows("SELECT COUNT(*) FROM rejects"), ["7"]);
    assert_eq!(ward.minutes(), ["P1|2026-01-01 00:00:00.000000|1|80"]);
    let unmended = ward.rejects("replay", &["--all", "--dry-run"]);
    assert!(unmended.contains("7        0     0:8  no row: column \"event_time\""), "{unmended}");

    let ward = ward.mend();
    let dry = ward.rejects("replay", &["--all", "--dry-run"]);
    assert!(dry.contains("7        7     0:8  rows"), "{dry}");
    assert_eq!(ward.database.rows("SELECT COUNT(*) FROM reject_replays"), ["0"], "a dry run asks for nothing");
    let asked = ward.rejects("replay", &["--all"]);
    assert!(asked.contains("7 rejects will be read again when the job runs"), "{asked}");
    assert!(ward.rejects("replay", &["--all"]).contains("is to be read again already"));
    ward.job.run_once();
    let readings = || ward.database.rows("SELECT source_offset, heart_rate FROM readings ORDER BY source_offset");
    let expected = ["0|190", "1|190", "2|190", "3|190", "4|190", "5|190", "6|80", "7|80", "8|191"];
    assert_eq!(readings(), expected);
    assert_eq!(ward.database.rows("SELECT COUNT(*) FROM alerts WHERE rule = 'tachycardia'"), ["0"], "it is over");
    assert_eq!(ward.database.rows("SELECT `offset` FROM late_rows ORDER BY 1"), ["0", "1", "2", "3", "4", "5", "8"]);
    assert_eq!(ward.database.rows("SELECT DISTINCT author, row_count, batch > 1 FROM reject_replays"), ["analyst|1|1"]);

    // Nothing is read twice, whoever asks; and no window changes by it, however it is made again.
    assert!(ward.rejects("replay", &["--all"]).contains("has become rows already"));
    let shown = ward.rejects("show", &["0:0"]);
    assert!(shown.contains("read again with batch") && shown.contains(": 1 row\n"), "{shown}");
    ward.database.connect().query_drop("DELETE FROM window_snapshots").unwrap();
    ward.put(&[sample("P1", 200, 80.0)]);
    ward.job.run_once();
    assert_eq!(readings().len(), 10);
    assert_eq!(ward.minutes(), ["P1|2026-01-01 00:00:00.000000|1|80", "P1|2026-01-01 00:01:00.000000|1|80"]);
}

#[test]
fn what_was_rejected_stays_so_when_windows_are_made_again_by_another_description() {
    let ward = Ward::new();
    ward.put(&[sample("P1", 1, 80.0), odd("P1", 2, 190.0), sample("P1", 3, 81.0)]);
    ward.job.run_once();
    // A schema that a registry gives too late is another of the kind.
    let ward = ward.mend();
    ward.database.connect().query_drop("DELETE FROM window_snapshots").unwrap();
    ward.put(&[sample("P1", 100, 80.0)]);
    ward.job.run_once();
    assert_eq!(ward.minutes(), ["P1|2026-01-01 00:00:00.000000|2|81"], "rejects counts it, so no window does");
}

#[test]
fn what_is_no_value_in_a_record_that_is_read_again_is_told_as_of_any_other() {
    let ward = Ward::new();
    ward.put(&[odd("P1", 1, 900.0)]);
    ward.job.run_once();
    let ward = ward.mend();
    ward.rejects("replay", &["--all"]);
    ward.job.run_once();
    let artefacts = ward.database.rows("SELECT `offset`, patient_id, column_name, value FROM artefacts");
    assert_eq!(artefacts, ["0|P1|heart_rate|900"]);
    assert_eq!(ward.database.rows("SELECT COUNT(*) FROM readings WHERE heart_rate IS NULL"), ["1"]);
}

#[test]
fn of_a_list_only_the_item_is_read_again_that_was_rejected() {
    let ward = Ward::new();
    ward.put(&[format!("[{},{},{}]", sample("P1", 1, 80.0), odd("P2", 2, 90.0), sample("P3", 3, 81.0))]);
    ward.job.run_once();
    assert!(ward.rejects("replay", &["0:0"]).contains("no row: column \"event_time\""));
    let ward = ward.mend();
    ward.job.run_once();
    assert!(ward.rejects("replay", &["0:0"]).contains("1 rejects will be read again"));
    ward.job.run_once();
    let readings = ward.database.rows("SELECT patient_id, heart_rate FROM readings ORDER BY 1");
    assert_eq!(readings, ["P1|80", "P2|90", "P3|81"]);
}

#[test]
fn a_running_job_reads_rejects_again_and_old_ones_are_let_go_of() {
    let ward = Ward::new();
    ward.put(&[odd("P1", 1, 80.0), odd("P2", 1, 80.0), "nothing".to_owned()]);
    ward.job.run_once();
    let Ward { job, topic, database } = ward.mend();
    let ward = Ward { job: job.source("keep_rejects = \"1s\"").more("[trigger]\nevery = \"50ms\""), topic, database };
    let mut running = ward.job.start();
    assert!(ward.rejects("replay", &["--reason", "moon"]).contains("no reject's reason has the text \"moon\""));
    assert!(ward.rejects("replay", &["--reason", "event_time"]).contains("2 rejects will be read again"));
    running.wait_until("they are rows", || ward.database.rows("SELECT COUNT(*) FROM readings") == ["2"]);
    let mut second = 10;
    running.wait_until("the rejects are let go of", || {
        second += 1;
        ward.put(&[sample("P1", second, 80.0)]);
        ward.database.rows("SELECT COUNT(*) FROM rejects") == ["0"]
    });
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
}

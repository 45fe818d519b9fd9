//! Queries that fail on data, or eat too much: they are quarantined, the others go on.

use crate::fixtures::{READINGS, TestJob, told};

/// Runs one batch with a good table and one bad query, and returns the bad one's error.
fn failure(name: &str, text: &str) -> String {
    failure_within("memory_limit = \"8MiB\"", 400, name, text)
}

fn failure_within(limits: &str, records: u32, name: &str, text: &str) -> String {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query(name, text).more(limits);
    let samples: Vec<(u32, f64)> = (0..records).map(|second| (second, 80.0)).collect();
    topic.put_samples("P1", &samples);
    let told = job.run_once();
    assert!(told.contains("1 failing queries"), "{told}");
    assert_eq!(
        database.rows("SELECT COUNT(*) FROM readings"),
        [records.to_string()],
        "the good query's rows are there"
    );
    let found = database.rows("SELECT q.query, q.state, q.failures, q.retry_batch, f.batch, q.error FROM queries q JOIN query_failures f ON f.query = q.query");
    assert_eq!(found.len(), 1);
    let expected = format!("{}|quarantined|1|2|1|", name.split_once('/').unwrap().1);
    found[0].strip_prefix(&expected).unwrap_or_else(|| panic!("{expected} in {}", found[0])).to_owned()
}

#[test]
fn a_division_by_zero_is_its_own_querys_fault() {
    let error = failure(
        "tables/ratio",
        "-- @key: patient_id\nSELECT patient_id, sum(_offset / (_offset - _offset)) AS x FROM vitals GROUP BY patient_id",
    );
    assert!(error.to_lowercase().contains("divide by zero"), "{error}");
}

#[test]
fn of_two_rows_with_one_key_the_last_one_counts_however_records_come_together() {
    let doubled = "-- @key: patient_id\nSELECT patient_id, heart_rate FROM vitals";
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("tables/doubled", doubled);
    topic.put_samples("P1", &[(1, 81.0), (2, 82.0), (3, 83.0)]);
    topic.put_samples("P2", &[(1, 70.0)]);
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, heart_rate FROM doubled ORDER BY 1"), ["P1|83", "P2|70"]);
    assert_eq!(database.rows("SELECT state FROM queries WHERE query = 'doubled'"), Vec::<String>::new());
    let aside = database.rows("SELECT reason, row_values FROM bad_rows ORDER BY row_values");
    let reason = "another row of its batch has the same key, and took its place";
    assert_eq!(aside.len(), 2, "{aside:?}");
    assert!(
        aside.iter().zip(["81", "82"]).all(|(row, rate)| row.starts_with(reason) && row.contains(rate)),
        "{aside:?}"
    );
    // As between batches.
    topic.put_samples("P1", &[(4, 84.0)]);
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, heart_rate FROM doubled ORDER BY 1"), ["P1|84", "P2|70"]);
    let preview = job.command("preview").args(["doubled", "--last", "10"]).output().unwrap();
    assert!(crate::fixtures::told(&preview).contains("two rows have the key"), "{}", crate::fixtures::told(&preview));
}

#[test]
fn a_query_that_would_eat_all_memory_is_stopped() {
    let error = failure(
        "rules/greedy",
        "-- @severity: low\nSELECT a.patient_id, repeat('x', 1000) || a._offset || b._offset AS x FROM vitals a CROSS JOIN vitals b",
    );
    assert!(error == "it needs more than its memory limit of 8 MiB", "{error}");
}

#[test]
fn a_query_that_would_take_all_time_is_stopped() {
    // Eight billion rows, of which four million stand in memory: no machine is through with them in two seconds.
    let error = failure_within(
        "time_limit = \"2s\"",
        2_000,
        "rules/slow",
        "-- @severity: low\nSELECT max(c.patient_id) AS patient_id, sum(sqrt(a._offset * b._offset + c._offset)) AS x FROM vitals a CROSS JOIN vitals b CROSS JOIN vitals c",
    );
    assert!(error == "it took longer than its time limit of 2000 ms", "{error}");
}

#[test]
fn a_query_may_read_another_ones_rows_of_the_same_batch() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job
        .query("tables/a_late", "-- @key: patient_id\nSELECT patient_id, mean * 2 AS doubled FROM z_early")
        .query(
            "tables/z_early",
            "-- @key: patient_id\nSELECT patient_id, avg(heart_rate) AS mean FROM vitals GROUP BY patient_id",
        )
        .query(
            "rules/on_table",
            "-- @severity: low\n-- @message: mean {mean:.1}\nSELECT patient_id, mean FROM z_early WHERE mean > 80",
        );
    topic.put_samples("P1", &[(0, 80.0), (1, 91.0)]);
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, doubled FROM a_late"), ["P1|171"]);
    assert_eq!(database.rows("SELECT rule, text FROM alerts"), ["on_table|mean 85.5"]);
}

#[test]
fn every_query_of_a_batch_sees_the_one_now_of_the_log() {
    let (job, topic, database) = TestJob::on_mysql();
    let now = "-- @key: at\nSELECT now() AS at, current_timestamp AS same, current_date AS today, count(*) AS records FROM vitals";
    let job = job.query("tables/first", now).query("tables/second", now).more("[trigger]\nmax_rows = 1");
    topic.put_samples("P1", &[(0, 80.0), (1, 81.0), (2, 82.0)]);
    job.run_once();
    let log = database.rows("SELECT CAST(now_at AS CHAR) FROM batches ORDER BY batch");
    assert!(log.len() >= 2, "several batches: {log:?}");
    for table in ["first", "second"] {
        assert_eq!(
            database.rows(&format!(
                "SELECT CAST(at AS CHAR) FROM {table} WHERE at = same AND today = DATE(at) ORDER BY at"
            )),
            log
        );
    }
}

#[test]
fn no_query_reaches_files_the_network_or_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret.csv");
    std::fs::write(&file, "a\n1\n").unwrap();
    for (text, expected) in [
        (format!("SELECT patient_id FROM '{}'", file.display()), "unknown table"),
        ("SELECT patient_id, random() AS r FROM vitals".to_owned(), "function \"random\" is refused"),
        ("SELECT patient_id, uuid() AS r FROM vitals".to_owned(), "function \"uuid\" is refused"),
        ("SELECT patient_id, current_time() AS r FROM vitals".to_owned(), "function \"current_time\" is refused"),
        ("SELECT patient_id FROM read_csv('x.csv')".to_owned(), "read_csv"),
        (format!("COPY vitals TO '{}'", file.display()), "only SELECT is accepted"),
        (format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{}'", file.display()), "only SELECT is accepted"),
        ("DROP TABLE vitals".to_owned(), "only SELECT is accepted"),
        ("SET datafusion.execution.batch_size = 1".to_owned(), "only SELECT is accepted"),
        ("SELECT * FROM information_schema.tables".to_owned(), "unknown table"),
    ] {
        let job = TestJob::new("topic", "sqlite://x.db")
            .query("tables/readings", READINGS)
            .query("tables/odd", &format!("-- @key: patient_id\n{text}"));
        let output = job.command("check").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}: {}", told(&output));
        assert!(told(&output).contains(expected), "{text}: {}", told(&output));
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\n1\n");
}

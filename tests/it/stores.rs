//! The three databases: the same tables from the same records, the same refusals, the same fence.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, PER_BATCH, READINGS, TACHYCARDIA, TestJob, Topic, servers, sqlite_rows, told};

/// Every row of the tables that do not depend on the machine's clock.
const TABLES: [&str; 4] = [
    "SELECT patient_id, event_time, source_partition, source_offset, heart_rate, spo2 FROM readings ORDER BY 1, 2, 3, 4",
    "SELECT rule, patient_id, started_at, severity, state, samples, text FROM alerts WHERE severity <> 'technical' ORDER BY 1, 2, 3",
    "SELECT `partition`, `offset`, reason FROM rejects ORDER BY 1, 2",
    "SELECT batch, topic, `partition`, start_offset, end_offset FROM batch_ranges ORDER BY 1, 3",
];

#[test]
fn the_same_records_give_the_same_tables_in_every_database() {
    let topic = Topic::create(1);
    topic.put_samples("P1", &[(0, 80.0), (1, 130.0), (2, 131.5), (5, 133.0), (6, 80.0), (10, 80.0), (11, 140.0)]);
    topic.put_samples("p1 ", &[(0, 80.0)]);
    topic.put_samples("É💓", &[(0, 80.0)]);
    topic.put(0, None, b"no JSON");
    topic.flush();
    let job = |store: &str| {
        TestJob::new(&topic.name, store).query("tables/readings", READINGS).query("rules/tachycardia", TACHYCARDIA)
    };
    let embedded = job("sqlite://test.db");
    embedded.run_once();
    let path = embedded.folder.path().join("test.db");
    let expected: Vec<Vec<String>> = TABLES.iter().map(|sql| sqlite_rows(&path, sql)).collect();
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [9, 2, 1, 1], "{expected:#?}");
    for server in servers() {
        let database = Database::create(&server);
        job(&database.url).run_once();
        let text = |sql: &str| -> Vec<String> {
            let sql = sql
                .replace("event_time,", "CAST(event_time AS CHAR),")
                .replace("started_at,", "CAST(started_at AS CHAR),");
            database.rows(&sql)
        };
        let found: Vec<Vec<String>> = TABLES.iter().map(|sql| text(sql)).collect();
        assert_eq!(found, expected, "{server}");
    }
}

#[test]
fn a_new_column_is_added_and_an_incompatible_one_refused_with_its_cure() {
    for server in servers() {
        let (topic, database) = (Topic::create(1), Database::create(&server));
        topic.put_samples("P1", &[(0, 80.0)]);
        let job = TestJob::new(&topic.name, &database.url).query("tables/readings", READINGS);
        job.run_once();

        let wider = READINGS.replace("heart_rate, spo2", "heart_rate, spo2, heart_rate / 60 AS beats_per_second");
        let job = job.query("tables/readings", &wider);
        topic.put_samples("P1", &[(1, 90.0)]);
        job.run_once();
        assert_eq!(database.rows("SELECT beats_per_second FROM readings ORDER BY event_time"), ["NULL", "1.5"]);

        let other = READINGS.replace("heart_rate, spo2", "CAST(heart_rate AS VARCHAR) AS heart_rate, spo2");
        let job = job.query("tables/readings", &other);
        let refusals =
            [job.command("check").arg("--store").output().unwrap(), job.command("run").arg("--once").output().unwrap()];
        for refused in refusals {
            assert_eq!(refused.status.code(), Some(1));
            let told = told(&refused);
            assert!(told.contains("column \"heart_rate\" is double"), "{told}");
            assert!(told.contains("ALTER TABLE `readings` MODIFY COLUMN `heart_rate` MEDIUMTEXT"), "{told}");
        }
        let other_key = READINGS.replace("-- @key: patient_id, ", "-- @key: ");
        let refused = job.query("tables/readings", &other_key).command("check").arg("--store").output().unwrap();
        assert!(told(&refused).contains("its primary key differs in the column \"patient_id\""), "{}", told(&refused));
    }
}

/// The rows of one time would be one row, and nobody would know.
#[test]
fn a_unique_index_that_somebody_has_added_is_told_of_with_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = format!("sqlite://{}", folder.path().join("index.db").display());
    for url in servers().iter().map(|server| Database::create(server).url).chain([embedded]) {
        let topic = Topic::create(1);
        topic.put_samples("P1", &[(0, 80.0)]);
        let job = TestJob::new(&topic.name, &url).query("tables/readings", READINGS);
        job.run_once();
        assert!(job.command("check").arg("--store").output().unwrap().status.success());
        let execute = |sql: &str| match url.strip_prefix("sqlite://") {
            Some(path) => drop(rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap()),
            None => Database { url: url.clone() }.connect().query_drop(sql).unwrap(),
        };
        // One that has the key in it replaces nothing.
        execute("CREATE UNIQUE INDEX wider ON readings (source_offset, source_partition, event_time, patient_id)");
        assert!(job.command("check").arg("--store").output().unwrap().status.success());
        execute("CREATE UNIQUE INDEX by_time ON readings (event_time, patient_id)");
        let checked = job.command("check").arg("--store").output().unwrap();
        let run = job.command("run").arg("--once").output().unwrap();
        assert_eq!((checked.status.code(), run.status.code()), (Some(1), Some(0)));
        for told in [told(&checked), told(&run)] {
            assert!(told.contains("unique index \"by_time\" (event_time, patient_id) beside its key"), "{told}");
            assert!(told.contains("DROP INDEX `by_time`"), "{told}");
        }
    }
}

#[test]
fn offsets_that_somebody_else_has_moved_fence_the_writer() {
    let urls = servers().into_iter().map(|server| Database::create(&server).url);
    let folder = tempfile::tempdir().unwrap();
    let embedded = format!("sqlite://{}", folder.path().join("fence.db").display());
    for url in urls.chain([embedded]) {
        let topic = Topic::create(1);
        let job = TestJob::new(&topic.name, &url).query("tables/per_batch", PER_BATCH);
        let mut running = job.start();
        topic.put_samples("P1", &[(0, 80.0)]);
        crate::fixtures::wait_until("a batch is committed", || {
            job.command("status").output().unwrap().stdout.starts_with(b"job test")
                && String::from_utf8_lossy(&job.command("status").output().unwrap().stdout).contains("batch 1")
        });
        let sql = "UPDATE offsets SET next_offset = 100";
        match url.strip_prefix("sqlite://") {
            Some(path) => drop(rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap()),
            None => Database { url: url.clone() }.connect().query_drop(sql).unwrap(),
        }
        topic.put_samples("P1", &[(1, 80.0)]);
        assert_eq!(running.wait(), Some(1));
        assert!(running.log().contains("fenced: another process has advanced partition 0"), "{}", running.log());
        let status = job.command("status").output().unwrap();
        assert!(
            String::from_utf8_lossy(&status.stdout).contains("1 records"),
            "nothing of the fenced batch: {}",
            told(&status)
        );
    }
}

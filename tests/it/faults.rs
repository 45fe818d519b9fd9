//! Services that are not there, go away or refuse; signals; tables changed by hand.

use std::time::{Duration, Instant};

use mysql::prelude::Queryable;

use crate::fixtures::{Database, READINGS, TestJob, Topic, mysql_url, told, unique, wait_until};
use crate::proxy::{self, Verdict};
use crate::services::OwnService;

fn refused(job: &TestJob, code: i32, expected: &[&str]) {
    let output = job.command("run").args(["--once", "--connect-timeout", "1s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    for text in expected {
        assert!(told(&output).contains(text), "\"{text}\" in:\n{}", told(&output));
    }
}

#[test]
fn a_broker_that_is_not_there_is_named_and_the_exit_code_is_3() {
    let job = TestJob::new("topic", "sqlite://x.db").query("tables/readings", READINGS);
    let job = job.source("brokers = \"127.0.0.1:1\"");
    refused(&job, 3, &["no Kafka broker answers at \"127.0.0.1:1\" within 1 s", "Connection refused"]);
}

#[test]
fn a_database_that_is_not_there_is_named_without_its_password() {
    let job = TestJob::new("topic", "mysql://root:s3cret@127.0.0.1:1/vitals").query("tables/readings", READINGS);
    refused(&job, 3, &["MySQL at \"127.0.0.1:1/vitals\" does not answer within 1 s"]);
    let output = job.command("run").args(["--connect-timeout", "1s"]).output().unwrap();
    assert!(!told(&output).contains("s3cret"), "{}", told(&output));

    let (server, _) = mysql_url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let job = TestJob::new("topic", &format!("{server}/absent")).query("tables/readings", READINGS);
    refused(&job, 1, &["Unknown database 'absent'"]);
    let job = TestJob::new("topic", &server).query("tables/readings", READINGS);
    refused(&job, 1, &["names no database"]);
    let job = TestJob::new("topic", "sqlite://no/such/folder/x.db").query("tables/readings", READINGS);
    refused(&job, 1, &["SQLite file \"no/such/folder/x.db\" cannot be opened"]);
}

#[test]
fn a_topic_that_is_not_there_is_told_with_its_neighbour() {
    let topic = Topic::create(1);
    let job = TestJob::new(&format!("{}x", topic.name), "sqlite://x.db").query("tables/readings", READINGS);
    refused(&job, 1, &["does not exist at", "did you mean"]);
}

#[test]
fn a_property_that_librdkafka_does_not_know_is_told() {
    let job = TestJob::new("topic", "sqlite://x.db").query("tables/readings", READINGS);
    let job = job.source("properties = { \"secutiry.protocol\" = \"ssl\" }");
    refused(&job, 1, &["[source.properties]", "secutiry.protocol"]);
}

#[test]
fn the_first_signal_finishes_the_batch_and_the_second_one_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let (job, topic, database) = TestJob::on_mysql();
        topic.put_samples("P1", &[(0, 80.0), (1, 81.0)]);
        let mut running = job.start();
        wait_until("the job runs", || running.log().contains("running"));
        running.signal(signal);
        assert_eq!(running.wait(), Some(0), "{}", running.log());
        job.run_once();
        assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["2"]);
    }
    // A broker that never answers keeps the job waiting; the second signal does not wait.
    let job = TestJob::new("topic", "sqlite://x.db").query("tables/readings", READINGS);
    let job = job.source("brokers = \"127.0.0.1:1\"");
    let mut running = job.start();
    std::thread::sleep(Duration::from_secs(1));
    running.signal("TERM");
    running.signal("TERM");
    let code = running.wait();
    assert!(matches!(code, Some(143 | 3)), "{code:?}");
}

#[test]
fn killed_connections_are_made_again_and_nothing_is_lost_or_doubled() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.more("[trigger]\nevery = \"50ms\"");
    let mut running = job.start();
    let mut second = 0;
    for _ in 0..20 {
        for _ in 0..20 {
            topic.put(0, None, crate::fixtures::sample("P1", second, 80.0).as_bytes());
            second += 1;
        }
        topic.flush();
        let mut connection = database.connect();
        let mine: Vec<u64> = connection
            .query(
                // The list of processes has the statements of all, and bytes among them that it cannot show.
                "SELECT processlist_id FROM performance_schema.threads \
                 WHERE processlist_db = DATABASE() AND processlist_id <> CONNECTION_ID()",
            )
            .unwrap();
        for id in mine {
            let _ = connection.query_drop(format!("KILL {id}"));
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    running.wait_until("there is a table", || table_has_rows(&database, "readings"));
    running.wait_until("all is stored", || database.rows("SELECT COUNT(*) FROM readings") == ["400"]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert_eq!(database.rows("SELECT SUM(records) FROM batches"), ["400"]);
}

#[test]
fn a_broker_that_goes_away_and_comes_back_costs_nothing_but_time() {
    let Some(broker) = OwnService::start("kafka") else {
        println!("skipped: the broker is the user's");
        return;
    };
    let (topic, database) = (Topic::create_at(&broker.address, 1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url).query("tables/readings", READINGS);
    let job = job.source(&format!("brokers = \"{}\"", broker.address));
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("the job works", || table_has_rows(&database, "readings"));
    broker.kill();
    let log = running.log_file();
    running
        .wait_until("the job tells of it", || std::fs::read_to_string(&log).unwrap().contains("Kafka does not answer"));
    broker.start_again();
    topic.put_samples("P1", &[(1, 81.0)]);
    running.wait_until("it goes on by itself", || database.rows("SELECT COUNT(*) FROM readings") == ["2"]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
}

#[test]
fn a_lock_that_is_not_given_in_time_is_waited_for() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut holder = database.connect();
    holder.query_drop("SET GLOBAL innodb_lock_wait_timeout = 1").unwrap(); // of connections made from now on
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("the job works", || table_has_rows(&database, "readings"));
    holder.query_drop("SET GLOBAL innodb_lock_wait_timeout = 50").unwrap();
    holder.query_drop("BEGIN").unwrap();
    holder.query_drop("SELECT * FROM offsets FOR UPDATE").unwrap();
    topic.put_samples("P1", &[(1, 81.0)]);
    let log = running.log_file();
    running.wait_until("the job tells of it", || {
        std::fs::read_to_string(&log).unwrap().contains("Lock wait timeout exceeded")
    });
    holder.query_drop("ROLLBACK").unwrap();
    running.wait_until("it goes on by itself", || database.rows("SELECT COUNT(*) FROM readings") == ["2"]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
}

#[test]
fn a_commit_whose_reply_is_lost_is_settled_by_the_offsets() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let (mut commits, mut locks) = (0, 0);
    let behind_proxy = proxy::before(&database.url, move |command| {
        // The first connection that asks for the writer's lock is cut too.
        locks += u32::from(command.windows(12).any(|word| word == b"IS_USED_LOCK"));
        commits += u32::from(command == b"\x03COMMIT");
        match command {
            b"\x03COMMIT" if commits % 3 == 0 => Verdict::CutAfter,
            _ if locks == 1 => {
                locks += 1;
                Verdict::CutBefore
            }
            _ => Verdict::Pass,
        }
    });
    let job =
        TestJob::new(&topic.name, &behind_proxy).more("[trigger]\nevery = \"50ms\"").query("tables/readings", READINGS);
    let mut running = job.start();
    for second in 0..12 {
        topic.put_samples("P1", &[(second, 80.0)]);
        running.wait_until("the record is stored", || {
            database.rows("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'readings'") == ["1"]
                && database.rows("SELECT COUNT(*) FROM readings") == [(second + 1).to_string()]
        });
    }
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert!(running.log().contains("the reply to COMMIT was lost, but it took place"), "{}", running.log());
    assert_eq!(database.rows("SELECT SUM(records), COUNT(*) - MAX(batch) FROM batches"), ["12|0"]);
}

/// The reply is lost because the server goes away, and it is some time until it is back and can be asked.
#[test]
fn a_commit_whose_reply_is_lost_is_settled_when_the_store_answers_again() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let (mut commits, mut gone) = (0, None::<Instant>);
    let behind_proxy = proxy::before(&database.url, move |command| {
        if gone.is_some_and(|since| since.elapsed() < Duration::from_secs(2)) {
            return Verdict::CutBefore;
        }
        commits += u32::from(command == b"\x03COMMIT");
        match command {
            b"\x03COMMIT" if commits % 2 == 0 => {
                gone = Some(Instant::now());
                Verdict::CutAfter
            }
            _ => Verdict::Pass,
        }
    });
    let job =
        TestJob::new(&topic.name, &behind_proxy).more("[trigger]\nevery = \"50ms\"").query("tables/readings", READINGS);
    let mut running = job.start();
    for second in 0..4 {
        topic.put_samples("P1", &[(second, 80.0)]);
        running.wait_until("the record is stored", || {
            database.rows("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'readings'") == ["1"]
                && database.rows("SELECT COUNT(*) FROM readings") == [(second + 1).to_string()]
        });
    }
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert!(running.log().contains("the reply to COMMIT was lost, but it took place"), "{}", running.log());
    assert_eq!(database.rows("SELECT SUM(records), COUNT(*) - MAX(batch) FROM batches"), ["4|0"]);
}

#[test]
fn connections_are_encrypted_when_the_url_asks_for_it() {
    let (job, topic, database) = TestJob::on_mysql();
    // The test server's certificate is its own, which nobody trusts.
    let strict = TestJob::new(&job.topic, &format!("{}?tls=true", job.store)).query("tables/readings", READINGS);
    refused(&strict, 1, &["certificate"]);
    let lenient = TestJob::new(&job.topic, &format!("{}?danger_accept_invalid_certs=true", job.store));
    let lenient = lenient.query("tables/readings", READINGS);
    let mut running = lenient.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("the job works", || table_has_rows(&database, "readings"));
    let encrypted = database.rows(
        "SELECT SUM(s.variable_value LIKE 'TLS%') > 0, SUM(s.variable_value NOT LIKE 'TLS%') FROM performance_schema.status_by_thread s \
         JOIN performance_schema.threads t USING (thread_id) \
         WHERE t.processlist_db = DATABASE() AND t.processlist_id <> CONNECTION_ID() AND s.variable_name = 'Ssl_version'",
    );
    assert_eq!(encrypted, ["1|0"], "all that the job has");
}

#[test]
fn a_table_altered_by_hand_is_told_and_has_its_rows_once_it_takes_them() {
    let (job, topic, database) = TestJob::on_mysql();
    let running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    wait_until("the job works", || table_has_rows(&database, "readings"));
    database.connect().query_drop("ALTER TABLE readings DROP COLUMN spo2").unwrap();
    topic.put_samples("P1", &[(4, 130.0)]);
    wait_until("the alert fires all the same", || database.rows_of_rules("SELECT state FROM alerts") == ["firing"]);
    let told = database.rows("SELECT query, state, error FROM queries");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("readings|table at fault|Unknown column 'spo2'"), "{told:?}");
    let status = String::from_utf8(job.command("status").output().unwrap().stdout).unwrap();
    assert!(status.contains("0 failing queries"), "{status}");
    assert!(status.contains("table \"readings\" at fault since"), "{status}");
    drop(running);
    job.run_once(); // adds the column again
    assert_eq!(database.rows("SELECT state FROM queries"), ["running"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM query_failures"), ["0"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["2"]);
}

fn table_has_rows(database: &Database, table: &str) -> bool {
    let exists = format!(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '{table}'"
    );
    database.rows(&exists) == ["1"] && database.rows(&format!("SELECT COUNT(*) > 0 FROM {table}")) == ["1"]
}

#[test]
fn a_read_only_table_holds_the_batch_until_it_can_be_written() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    wait_until("the job works", || table_has_rows(&database, "readings"));
    database.connect().query_drop("ALTER SCHEMA READ ONLY = 1").unwrap();
    topic.put_samples("P1", &[(1, 80.0)]);
    wait_until("the job tells of it", || running.log().contains("the store does not take the batch"));
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["1"]);
    database.connect().query_drop("ALTER SCHEMA READ ONLY = 0").unwrap();
    wait_until("it goes on by itself", || database.rows("SELECT COUNT(*) FROM readings") == ["2"]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0));
}

/// A small file system of its own, taken away at the end.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = std::env::temp_dir().join(unique("wardwatch_disk"));
        std::fs::create_dir_all(&folder).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&folder)
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_disk_leaves_the_report_that_was_there() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let (job, topic, _database) = TestJob::on_mysql();
    let job = job.more(&format!("[reports]\ndir = \"{}\"\nspecs = \"reports\"", disk.0.join("out").display()));
    let spec = "title = \"Readings\"\nrange = \"1h\"\n[[chart]]\nkind = \"table\"\ntitle = \"Readings\"\n\
                sql = \"SELECT * FROM readings\"\n";
    std::fs::create_dir(job.folder.path().join("reports")).unwrap();
    std::fs::write(job.folder.path().join("reports/all.toml"), spec).unwrap();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    let report = || job.command("report").args(["all", "--until", "2026-01-01T01:00:00Z"]).output().unwrap();
    assert!(report().status.success(), "{}", told(&report()));
    let files = || -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
        let files = std::fs::read_dir(disk.0.join("out/all")).unwrap().map(|file| file.unwrap().path());
        files.map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
    };
    let before = files();
    assert_eq!(before.len(), 4, "page, picture, Markdown, CSV");
    let ballast = disk.0.join("ballast");
    let size = || std::fs::metadata(&ballast).map_or(0, |file| file.len() as usize);
    while std::fs::write(&ballast, vec![0; size() + 4_096]).is_ok() {}
    let full = report();
    assert_eq!(full.status.code(), Some(1));
    assert!(told(&full).contains("cannot be written: No space left on device"), "{}", told(&full));
    assert!(files() == before, "what was there is there, and nothing else");
}

#[test]
fn a_full_disk_holds_the_batch_until_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let topic = Topic::create(1);
    let store = disk.0.join("test.db");
    let job = TestJob::new(&topic.name, &format!("sqlite://{}", store.display())).query("tables/readings", READINGS);
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    let count = || -> i64 {
        let connection = rusqlite::Connection::open(&store).unwrap();
        connection.query_row("SELECT COUNT(*) FROM readings", [], |row| row.get(0)).unwrap_or(0)
    };
    running.wait_until("the job works", || count() == 1);
    let ballast = disk.0.join("ballast");
    let size = || std::fs::metadata(&ballast).map_or(0, |file| file.len() as usize);
    while std::fs::write(&ballast, vec![0; size() + 4_096]).is_ok() {}
    let many: Vec<(u32, f64)> = (1..3_000).map(|second| (second, 80.0)).collect();
    topic.put_samples("P1", &many);
    let log = running.log_file();
    running.wait_until("the job tells of it", || {
        std::fs::read_to_string(&log).unwrap().contains("the store does not take the batch")
    });
    std::fs::remove_file(&ballast).unwrap();
    running.wait_until("it goes on by itself", || count() == 3_000);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert_eq!(count(), 3_000, "{}", running.log());
}

#[test]
fn an_unset_secret_and_a_missing_file_are_told() {
    let job = TestJob::new("topic", "mysql://root:${NO_SUCH_SECRET}@localhost/x").query("tables/readings", READINGS);
    refused(&job, 1, &["job.toml:", "the environment variable \"NO_SUCH_SECRET\" is not set"]);
    let absent = crate::fixtures::wardwatch().args(["run", "absent.toml"]).output().unwrap();
    assert_eq!(absent.status.code(), Some(1));
    assert!(told(&absent).contains("absent.toml:1:1: there is no such file"), "{}", told(&absent));
    let usage = crate::fixtures::wardwatch().args(["run", "--onec"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_password_that_is_wrong_is_no_reason_to_wait() {
    let url = mysql_url().replace("mysql://root", "mysql://root:wrong");
    let topic = Topic::create(1);
    let job = TestJob::new(&topic.name, &url).query("tables/readings", READINGS);
    refused(&job, 1, &["Access denied for user 'root'"]);
}

#[test]
fn a_deadlock_is_tried_again_and_nothing_is_lost_or_doubled() {
    let (job, topic, database) = TestJob::on_mysql();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    // The other one holds what the job needs next, and then asks for what the job holds. Its many rows make the server
    // choose the job to be rolled back.
    let mut other = database.connect();
    other.query_drop("CREATE TABLE heavy (n INT PRIMARY KEY)").unwrap();
    other.query_drop("BEGIN").unwrap();
    let rows: Vec<String> = (0..2_000).map(|n| format!("({n})")).collect();
    other.query_drop(format!("INSERT INTO heavy VALUES {}", rows.join(","))).unwrap();
    other
        .query_drop("INSERT INTO readings (patient_id, event_time, source_partition, source_offset) VALUES ('P1', '2026-01-01 00:00:01', 0, 1)")
        .unwrap();
    let mut running = job.start();
    topic.put_samples("P1", &[(1, 81.0)]);
    running.wait_until("the job waits for the row", || {
        let waiting = "SELECT COUNT(*) FROM performance_schema.data_lock_waits w JOIN performance_schema.data_locks l \
                       ON l.engine_lock_id = w.requesting_engine_lock_id WHERE l.object_schema = DATABASE()";
        database.rows(waiting) == ["1"]
    });
    other.query_drop("UPDATE offsets SET next_offset = next_offset").unwrap();
    other.query_drop("ROLLBACK").unwrap();
    running.wait_until("the batch is there", || database.rows("SELECT COUNT(*) FROM readings") == ["2"]);
    assert!(running.log().contains("Deadlock found"), "{}", running.log());
    assert_eq!(database.rows("SELECT heart_rate FROM readings ORDER BY event_time"), ["80", "81"]);
    assert_eq!(database.rows("SELECT next_offset FROM offsets"), ["2"]);
}

#[test]
fn a_stalled_store_is_waited_for_in_bounded_memory() {
    const RECORDS: usize = 400_000;
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let counts = "-- @key: batch_at\nSELECT now() AS batch_at, count(*) AS records FROM vitals";
    let job =
        TestJob::new(&topic.name, &database.url).more("[trigger]\nmax_rows = 10_000").query("tables/counts", counts);
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    let mut other = database.connect();
    other.query_drop("LOCK TABLES offsets WRITE").unwrap();
    let mut running = job.start();
    let padding = "x".repeat(900);
    for n in 0..RECORDS {
        let record = format!(
            r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:{:02}Z","heart_rate":80,"note":"{padding}"}}"#,
            n % 10
        );
        topic.put(0, None, record.as_bytes());
    }
    topic.flush();
    let resident = |running: &crate::fixtures::Running| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    };
    std::thread::sleep(Duration::from_secs(3)); // time enough to take in all of it, were there no bound
    let while_stalled = resident(&running);
    assert!(while_stalled < 250, "{while_stalled} MiB of a backlog of {} MiB", (RECORDS * 970) >> 20);
    other.query_drop("UNLOCK TABLES").unwrap();
    running.wait_until("every record is counted, once", || {
        database.rows("SELECT SUM(records) FROM counts") == [(RECORDS + 1).to_string()]
    });
    let at_the_end = resident(&running);
    assert!(at_the_end < 300, "{at_the_end} MiB at the end");
}

//! Tables that do not take their rows, and rows that no table takes: each stays one bad thing, and nothing of the others is
//! lost. What is found in the end is held against a job that nobody disturbed.

use mysql::prelude::Queryable;

use crate::fixtures::{
    Database, READINGS, Running, TACHYCARDIA, TestJob, Topic, mysql_url, servers, sqlite_rows, told,
};
use crate::services::OwnService;

const WINDOWS: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '10 seconds') AS window_start, count(*) AS records,
    sum(heart_rate) AS heart_rate_sum
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '10 seconds')
";

/// Windows over windows: what they count must not depend on whether the table below takes rows.
const MINUTES: &str = "-- @key: patient_id, minute
SELECT patient_id, tumble(window_start, INTERVAL '1 minute') AS minute, sum(records) AS records
FROM windows_10s GROUP BY patient_id, tumble(window_start, INTERVAL '1 minute')
";

/// A row per patient, which every batch replaces.
const STATUS: &str = "-- @key: patient_id
SELECT patient_id, event_time, heart_rate FROM vitals_latest WHERE patient_id IN (SELECT patient_id FROM vitals)
";

/// Who alarms when a query's rows are not seen.
const RULE: &str = "-- @severity: high\n-- @latch: no\n-- @message: HR {heart_rate:.0}
SELECT patient_id, event_time, heart_rate FROM readings WHERE heart_rate > 120
";

const TABLES: [&str; 4] = ["readings", "windows_10s", "minutes", "status"];

fn with_tables(job: TestJob) -> TestJob {
    job.more("snapshot_every = 1\n[trigger]\nevery = \"100ms\"")
        .query("tables/readings", READINGS)
        .query("tables/windows_10s", WINDOWS)
        .query("tables/minutes", MINUTES)
        .query("tables/status", STATUS)
        .query("rules/tachycardia", RULE)
}

/// A job whose store is disturbed while it runs.
struct Disturbed {
    job: TestJob,
    topic: Topic,
    database: Database,
    running: Running,
    /// The next second of event time.
    second: u32,
}

impl Disturbed {
    fn start(server: &str) -> Self {
        let (topic, database) = (Topic::create(1), Database::create(server));
        let job = with_tables(TestJob::new(&topic.name, &database.url));
        let running = job.start();
        let mut this = Self { job, topic, database, running, second: 0 };
        this.put(12);
        this.is_caught_up();
        this
    }

    /// Puts so many seconds of two patients.
    fn put(&mut self, seconds: u32) {
        for second in self.second..self.second + seconds {
            self.topic.put_samples("P1", &[(second, 60.0 + f64::from(second % 70))]);
            self.topic.put_samples("P2", &[(second, 130.0)]);
        }
        self.second += seconds;
    }

    /// Every record so far is in a batch that is committed.
    fn is_caught_up(&mut self) {
        let end = (2 * self.second).to_string();
        let database = &self.database;
        self.running
            .wait_until("the batches are committed", || database.so_far("SELECT MAX(next_offset) FROM offsets") == end);
    }

    /// Every table takes its rows, and none waits.
    fn is_well(&mut self) {
        let database = &self.database;
        self.running.wait_until("no row waits any more", || {
            database.rows("SELECT COUNT(*) FROM pending_rows") == ["0"]
                && database.rows("SELECT COUNT(*) FROM table_faults WHERE is_at_fault = 1") == ["0"]
        });
    }

    fn wait_for(&mut self, what: &str, sql: &str, expected: &str) {
        let database = &self.database;
        self.running.wait_until(what, || database.so_far(sql) == expected);
    }

    /// SIGKILL, and a new start.
    fn kill_and_start(&mut self) {
        self.running.signal("KILL");
        self.running.wait();
        self.running = self.job.start();
    }

    fn execute(&self, sql: &str) {
        self.database.connect().query_drop(sql).unwrap();
    }

    /// All tables and alerts are those of a job that nobody disturbed, row for row.
    fn equals_an_undisturbed_run(mut self) {
        self.is_well();
        self.running.signal("TERM");
        assert_eq!(self.running.wait(), Some(0), "{}", self.running.log());
        let other = Database::create(
            self.database.url.rsplit_once('/').map(|(server, _)| format!("{server}/")).as_deref().unwrap(),
        );
        let undisturbed = with_tables(TestJob::new(&self.topic.name, &other.url));
        for job in [&self.job, &undisturbed] {
            let closing = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
            assert!(closing.status.success(), "{}", told(&closing));
        }
        for table in TABLES {
            let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
            let expected = other.rows(&sql);
            assert!(expected.len() > 1, "{table} has rows");
            assert_eq!(self.database.rows(&sql), expected, "{table}");
        }
        let alerts = "SELECT rule, patient_id, CAST(started_at AS CHAR), samples, text FROM alerts ORDER BY 1, 2, 3";
        assert_eq!(self.database.rows_of_rules(alerts), other.rows_of_rules(alerts));
        assert_eq!(self.database.rows("SELECT COUNT(*) FROM query_failures"), ["0"], "no query is blamed");
        assert_eq!(self.database.rows("SELECT COUNT(*) FROM bad_rows"), ["0"]);
        assert_eq!(self.database.rows("SELECT COUNT(*) FROM incomplete_tables"), ["0"]);
    }
}

#[test]
fn tables_that_are_renamed_for_a_while_have_every_row_in_the_end() {
    let mut disturbed = Disturbed::start(&mysql_url());
    for table in TABLES {
        disturbed.execute(&format!("RENAME TABLE {table} TO {table}_away"));
    }
    disturbed.put(25);
    disturbed.is_caught_up();
    disturbed.wait_for(
        "each is told with what the database says",
        "SELECT COUNT(*) FROM table_faults WHERE is_at_fault = 1 AND reason LIKE '%doesn''t exist%'",
        "4",
    );
    let states = "SELECT query FROM queries WHERE state = 'table at fault' AND failures = 0 ORDER BY query";
    assert_eq!(disturbed.database.rows(states), ["minutes", "readings", "status", "windows_10s"]);
    let status = told(&disturbed.job.command("status").output().unwrap());
    assert!(status.contains("table \"readings\" at fault since"), "{status}");
    assert!(status.contains("0 failing queries"), "{status}");
    disturbed.put(10);
    disturbed.is_caught_up();
    let snapshots =
        "SELECT COUNT(DISTINCT batch), MAX(batch) = (SELECT MAX(batch) FROM batch_ranges) FROM window_snapshots";
    assert_eq!(disturbed.database.rows(snapshots), ["1|1"], "what windows keep is saved all the same");
    for table in TABLES {
        disturbed.execute(&format!("RENAME TABLE {table}_away TO {table}"));
    }
    disturbed.put(40);
    disturbed.is_caught_up();
    disturbed.equals_an_undisturbed_run();
}

/// Nobody knows the code 9001, so the store is tried without the table.
#[test]
fn a_table_with_an_unknown_error_is_left_alone_over_kills_and_loses_nothing() {
    for server in servers() {
        let mut disturbed = Disturbed::start(&server);
        for table in ["readings", "windows_10s", "status"] {
            disturbed.execute(&format!(
                "CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} FOR EACH ROW \
                 SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 9001, MESSAGE_TEXT = 'who knows'"
            ));
        }
        disturbed.put(25);
        disturbed.is_caught_up();
        disturbed.wait_for(
            "they are told",
            "SELECT COUNT(*) FROM table_faults WHERE is_at_fault = 1 AND reason LIKE '%9001%'",
            "3",
        );
        assert_eq!(disturbed.database.rows_of_rules("SELECT state FROM alerts WHERE patient_id = 'P2'"), ["firing"]);
        disturbed.kill_and_start();
        disturbed.put(15);
        disturbed.is_caught_up();
        disturbed.kill_and_start();
        for table in ["readings", "windows_10s", "status"] {
            disturbed.execute(&format!("DROP TRIGGER refuse_{table}"));
        }
        disturbed.put(30);
        disturbed.is_caught_up();
        disturbed.equals_an_undisturbed_run();
    }
}

/// As proxies and clusters have them. A code that says of itself that it passes holds the batch; of another nobody knows, and the
/// store is tried without the table.
#[test]
fn codes_of_proxies_and_clusters_drop_no_row() {
    for server in servers() {
        let mut disturbed = Disturbed::start(&server);
        let unclear = [(1105, "HY000", false), (9006, "Y0000", false), (1461, "42000", false)];
        // A crashed table, and a node of a cluster that is not ready.
        let clear = [(1194, "HY000", false), (1047, "08S01", true)];
        for (code, state, passes) in unclear.into_iter().chain(clear) {
            disturbed.execute(&format!(
                "CREATE TRIGGER refuse BEFORE INSERT ON readings FOR EACH ROW \
                 SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'who knows'"
            ));
            if passes {
                let stood = disturbed.database.rows("SELECT MAX(next_offset) FROM offsets");
                disturbed.put(5);
                let log = disturbed.running.log_file();
                let told = || std::fs::read_to_string(&log).unwrap().contains("(error 1047)");
                disturbed.running.wait_until("it is told", told);
                assert_eq!(disturbed.database.rows("SELECT MAX(next_offset) FROM offsets"), stood, "the batch is held");
            } else {
                disturbed.put(5);
                disturbed.is_caught_up();
                let told = format!(
                    "SELECT COUNT(*) FROM table_faults WHERE is_at_fault = 1 AND reason LIKE '%(error {code})'"
                );
                disturbed.wait_for("it is told", &told, "1");
            }
            disturbed.execute("DROP TRIGGER refuse");
            disturbed.put(5);
            disturbed.is_caught_up();
            disturbed.is_well();
        }
        disturbed.put(20);
        disturbed.is_caught_up();
        disturbed.equals_an_undisturbed_run();
    }
}

#[test]
fn a_trigger_that_refuses_one_row_costs_that_row_and_one_that_refuses_all_costs_none() {
    for server in servers() {
        let mut disturbed = Disturbed::start(&server);
        disturbed.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON readings FOR EACH ROW \
             IF NEW.patient_id = 'ODD' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no such patient'; END IF",
        );
        disturbed.topic.put_samples("ODD", &[(disturbed.second, 80.0)]);
        disturbed.put(10);
        let bad = "SELECT reason, row_values LIKE '%\"ODD\"%' FROM bad_rows WHERE table_name = 'readings'";
        disturbed.wait_for("it is one row", bad, "no such patient (error 1644)|1");
        let all = (2 * disturbed.second).to_string();
        disturbed.wait_for("the others are written", "SELECT COUNT(*) FROM readings", &all);
        disturbed.is_well();

        disturbed.execute("DROP TRIGGER refuse");
        disturbed.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON readings FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'closed for today'",
        );
        disturbed.put(10);
        let told = "SELECT COUNT(*) FROM table_faults WHERE is_at_fault = 1 AND reason LIKE 'closed for today%'";
        disturbed.wait_for("it is the table", told, "1");
        disturbed.execute("DROP TRIGGER refuse");
        disturbed.put(10);
        let all = (2 * disturbed.second).to_string();
        disturbed.wait_for("every row is written", "SELECT COUNT(*) FROM readings", &all);
        assert_eq!(disturbed.database.rows("SELECT COUNT(*) FROM bad_rows"), ["1"]);
    }
}

#[test]
fn an_unknown_error_of_a_table_of_ours_holds_the_batch_until_it_is_over() {
    let mut disturbed = Disturbed::start(&mysql_url());
    disturbed.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON batches FOR EACH ROW \
         SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 9001, MESSAGE_TEXT = 'who knows'",
    );
    disturbed.put(25);
    let log = disturbed.running.log_file();
    disturbed.running.wait_until("the job tells of it", || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("the store does not take the batch") && log.contains("who knows")
    });
    assert_eq!(disturbed.database.rows("SELECT MAX(next_offset) FROM offsets"), ["24"], "the batch is held");
    disturbed.kill_and_start();
    disturbed.execute("DROP TRIGGER refuse");
    disturbed.is_caught_up();
    disturbed.equals_an_undisturbed_run();
}

#[test]
fn a_server_without_room_for_statements_costs_time_and_no_row() {
    let Some(own) = OwnService::start("mysql") else {
        println!("skipped: the server is the user's");
        return;
    };
    let mut disturbed = Disturbed::start(&own.address);
    disturbed.execute("SET GLOBAL max_prepared_stmt_count = 0");
    // Each second is a batch, or all are one: statements of other lengths than before.
    disturbed.put(25);
    let log = disturbed.running.log_file();
    disturbed.running.wait_until("the job tells of it", || {
        std::fs::read_to_string(&log).unwrap().contains("max_prepared_stmt_count")
    });
    disturbed.execute("SET GLOBAL max_prepared_stmt_count = 16382");
    disturbed.put(25);
    disturbed.is_caught_up();
    disturbed.equals_an_undisturbed_run();
}

/// As `mysqldump` locks tables, and whoever changes rows by hand.
#[test]
fn tables_and_rows_that_others_have_locked_hold_up_nobody_elses() {
    let mut disturbed = Disturbed::start(&mysql_url());
    let mut other = disturbed.database.connect();
    for (lock, unlock) in [
        ("LOCK TABLES readings READ, status READ", "UNLOCK TABLES"),
        ("BEGIN; SELECT * FROM status FOR UPDATE", "ROLLBACK"),
    ] {
        lock.split("; ").for_each(|sql| other.query_drop(sql).unwrap());
        disturbed.put(15);
        disturbed.is_caught_up();
        disturbed.wait_for(
            "it is told",
            "SELECT MAX(reason LIKE 'Lock wait timeout exceeded%') FROM table_faults WHERE is_at_fault = 1",
            "1",
        );
        assert_eq!(disturbed.database.rows_of_rules("SELECT state FROM alerts WHERE patient_id = 'P2'"), ["firing"]);
        other.query_drop(unlock).unwrap();
        disturbed.is_well();
    }
    disturbed.put(20);
    disturbed.is_caught_up();
    disturbed.equals_an_undisturbed_run();
}

#[test]
fn a_table_that_may_not_be_written_for_a_while_silences_nobody_and_loses_nothing() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let owner = with_tables(TestJob::new(&topic.name, &database.url));
    owner.run_once();
    let (name, user) = (database.url.rsplit_once('/').unwrap().1.to_owned(), crate::fixtures::unique("u"));
    let mut root = database.connect();
    root.query_drop(format!("CREATE USER '{user}' IDENTIFIED BY 'word'")).unwrap();
    for table in database.rows("SHOW TABLES") {
        root.query_drop(format!("GRANT SELECT, INSERT, UPDATE, DELETE ON `{name}`.`{table}` TO '{user}'")).unwrap();
    }
    let (_, address) = database.url.split_once('@').unwrap();
    let job = with_tables(TestJob::new(&topic.name, &format!("mysql://{user}:word@{address}")));
    let running = job.start();
    let mut disturbed = Disturbed { job, topic, database, running, second: 0 };
    disturbed.put(12);
    disturbed.is_caught_up();
    disturbed.execute(&format!("REVOKE INSERT ON `{name}`.readings FROM '{user}'"));
    disturbed.put(20);
    disturbed.is_caught_up();
    disturbed.wait_for("it is told", "SELECT reason LIKE 'INSERT command denied%' FROM table_faults", "1");
    assert_eq!(disturbed.database.rows_of_rules("SELECT state FROM alerts WHERE patient_id = 'P2'"), ["firing"]);
    disturbed.kill_and_start();
    disturbed.put(10);
    disturbed.is_caught_up();
    disturbed.execute(&format!("GRANT INSERT ON `{name}`.readings TO '{user}'"));
    disturbed.put(20);
    disturbed.is_caught_up();
    disturbed.job = TestJob::new(&disturbed.topic.name, &disturbed.database.url);
    disturbed.job = with_tables(disturbed.job);
    disturbed.equals_an_undisturbed_run();
}

#[test]
fn tables_of_sqlite_that_refuse_their_rows_have_them_in_the_end() {
    let topic = Topic::create(1);
    let job = with_tables(TestJob::new(&topic.name, "sqlite://test.db"));
    let path = job.folder.path().join("test.db");
    let execute = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    for table in ["readings", "windows_10s", "status"] {
        let sql = format!(
            "CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'who knows'); END"
        );
        execute(&sql);
    }
    topic.put_samples("P1", &[(15, 81.0), (40, 82.0)]);
    let mut running = job.start();
    running.wait_until("the rows wait", || {
        sqlite_rows(&path, "SELECT COUNT(DISTINCT table_name) FROM pending_rows") == ["3"]
    });
    running.signal("KILL");
    running.wait();
    let told = job.run_once();
    assert!(told.contains("3 tables at fault"), "{told}");
    execute("DROP TRIGGER refuse_readings; DROP TRIGGER refuse_windows_10s; DROP TRIGGER refuse_status");
    topic.put_samples("P1", &[(60, 83.0)]);
    let told = job.run_once();
    assert!(!told.contains("at fault"), "{told}");
    assert_eq!(sqlite_rows(&path, "SELECT heart_rate FROM readings ORDER BY event_time"), ["80", "81", "82", "83"]);
    assert_eq!(sqlite_rows(&path, "SELECT records FROM windows_10s ORDER BY window_start"), ["1", "1", "1"]);
    assert_eq!(sqlite_rows(&path, "SELECT heart_rate FROM status"), ["83"]);
    assert_eq!(sqlite_rows(&path, "SELECT COUNT(*) FROM pending_rows"), ["0"]);
}

const KEYED: &str = "-- @key: patient_id, event_time, device
SELECT patient_id, event_time, device, heart_rate FROM vitals
";

const BY_DEVICE: &str = "-- @key: device, window_start
SELECT device, tumble(event_time, INTERVAL '10 seconds') AS window_start, count(*) AS records
FROM vitals GROUP BY device, tumble(event_time, INTERVAL '10 seconds')
";

const DEVICES: &str = r#"
patient_id = { type = "text" }
event_time = { type = "time" }
heart_rate = { type = "float" }
device = { type = "text" }
"#;

fn put_devices(topic: &Topic, second: u32) {
    let long = format!("\"{}\"", "d".repeat(200));
    for (patient, device) in [("P1", "\"d1\""), ("P2", "null"), ("P3", &long), ("P4", "\"d4\"")] {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        let record = format!(r#"{{"patient_id":"{patient}","event_time":"{at}","heart_rate":80,"device":{device}}}"#);
        topic.put(0, None, record.as_bytes());
    }
    topic.flush();
}

#[test]
fn a_key_that_is_null_or_too_long_costs_its_own_row_and_no_other() {
    for server in servers() {
        let (topic, database) = (Topic::create(1), Database::create(&server));
        let job = TestJob::new(&topic.name, &database.url)
            .columns(DEVICES)
            .more("snapshot_every = 1")
            .query("tables/keyed", KEYED)
            .query("tables/by_device", BY_DEVICE);
        for second in [0, 15, 30] {
            put_devices(&topic, second);
            job.run_once();
            let snapshot = "SELECT MAX(s.batch) = (SELECT MAX(batch) FROM batches) FROM window_snapshots s";
            assert_eq!(database.rows(snapshot), ["1"], "what windows keep is saved with every batch");
        }
        let keyed = database.rows("SELECT patient_id, COUNT(*) FROM keyed GROUP BY patient_id ORDER BY 1");
        assert_eq!(keyed, ["P1|3", "P4|3"], "{server}");
        assert_eq!(
            database.rows("SELECT device, records FROM by_device ORDER BY window_start, device"),
            ["d1|1", "d4|1", "d1|1", "d4|1"]
        );
        let bad =
            database.rows("SELECT table_name, batch, number, reason FROM bad_rows ORDER BY table_name, batch, number");
        assert_eq!(bad.len(), 4 + 6, "{bad:#?}");
        assert_eq!(bad[4], "keyed|1|0|key column \"device\" is NULL");
        assert!(bad[5].starts_with("keyed|1|1|Data too long for column 'device'"), "{bad:#?}");
        let values =
            database.rows("SELECT row_values FROM bad_rows WHERE table_name = 'keyed' AND batch = 1 AND number = 0");
        assert!(values[0].contains("\"patient_id\":\"P2\""), "{values:?}");
        assert_eq!(database.rows("SELECT SUM(bad_rows) FROM batches"), ["10"]);
        assert_eq!(database.rows("SELECT COUNT(*) FROM query_failures"), ["0"]);
        assert_eq!(database.rows("SELECT COUNT(*) FROM pending_rows"), ["0"]);
        let status = told(&job.command("status").output().unwrap());
        assert!(status.contains("10 rows that no table takes"), "{status}");
    }
    let topic = Topic::create(1);
    put_devices(&topic, 0);
    let job = TestJob::new(&topic.name, "sqlite://test.db").columns(DEVICES).query("tables/keyed", KEYED);
    job.run_once();
    let path = job.folder.path().join("test.db");
    assert_eq!(sqlite_rows(&path, "SELECT patient_id FROM keyed ORDER BY 1"), ["P1", "P3", "P4"]);
    assert_eq!(sqlite_rows(&path, "SELECT reason FROM bad_rows"), ["key column \"device\" is NULL"]);
}

/// A constraint that somebody has added is the database's to check, so the row is found by halves.
#[test]
fn rows_against_a_constraint_of_the_table_are_found_among_many() {
    for server in servers() {
        let (topic, database) = (Topic::create(1), Database::create(&server));
        let job = TestJob::new(&topic.name, &database.url).query("tables/readings", READINGS);
        job.run_once();
        database.connect().query_drop("ALTER TABLE readings ADD CONSTRAINT calm CHECK (heart_rate < 150)").unwrap();
        let samples: Vec<(u32, f64)> =
            (0..500).map(|second| (second, if second % 100 == 7 { 200.0 } else { 80.0 })).collect();
        topic.put_samples("P1", &samples);
        job.run_once();
        assert_eq!(database.rows("SELECT COUNT(*), MAX(heart_rate) FROM readings"), ["495|80"]);
        assert_eq!(database.rows("SELECT COUNT(*), SUM(reason LIKE '%calm%') FROM bad_rows"), ["5|5"], "{server}");
        assert_eq!(database.rows("SELECT COUNT(*) FROM table_faults"), ["0"]);
    }
}

/// A table that takes none of very many rows is at fault itself: its rows wait, and are not put aside.
#[test]
fn a_column_that_is_too_narrow_for_all_is_the_tables_fault() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url).query("tables/readings", READINGS);
    job.run_once();
    database
        .connect()
        .query_drop("ALTER TABLE readings MODIFY COLUMN patient_id VARCHAR(1) COLLATE utf8mb4_0900_bin NOT NULL")
        .unwrap();
    let samples: Vec<(u32, f64)> = (0..500).map(|second| (second, 80.0)).collect();
    topic.put_samples("P1", &samples);
    let output = job.run_once();
    assert!(output.contains("1 tables at fault"), "{output}");
    assert_eq!(
        database.rows("SELECT SUM(row_count), (SELECT COUNT(*) FROM bad_rows) FROM pending_rows WHERE part = 0"),
        ["500|0"]
    );
    database
        .connect()
        .query_drop("ALTER TABLE readings MODIFY COLUMN patient_id VARCHAR(128) COLLATE utf8mb4_0900_bin NOT NULL")
        .unwrap();
    job.run_once();
    assert_eq!(database.rows("SELECT COUNT(*), (SELECT COUNT(*) FROM pending_rows) FROM readings"), ["500|0"]);
}

#[test]
fn a_message_longer_than_any_column_is_cut_and_the_alert_stands() {
    let (job, topic, database) = TestJob::on_mysql();
    let rule = "-- @severity: high\n-- @message: {note}\n\
                SELECT patient_id, event_time, repeat('x', 20000000) AS note FROM vitals WHERE heart_rate > 120\n";
    let job = job.more("[[notify]]\nkind = \"log\"").query("rules/long", rule);
    topic.put_samples("P1", &[(0, 130.0)]);
    job.run_once();
    let found = "SELECT LENGTH(text) BETWEEN 1000000 AND 1100000, text LIKE '%of 20000000 bytes)' FROM alerts WHERE rule = 'long'";
    assert_eq!(database.rows(found), ["1|1"]);
    let told = "SELECT JSON_VALID(facts), facts LIKE '%of 20000000 bytes)%' FROM notifications WHERE episode LIKE 'long%' OR facts LIKE '%\"long\"%'";
    assert_eq!(database.rows(told), ["1|1"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM bad_rows"), ["0"]);
}

/// Rows of alerts fit their table. Where it refuses one, somebody has changed it, and an alarm that is put aside is one that nobody
/// hears of.
#[test]
fn an_alert_that_its_table_refuses_holds_the_batch_and_is_told() {
    for server in servers() {
        let (topic, database) = (Topic::create(1), Database::create(&server));
        let job = TestJob::new(&topic.name, &database.url)
            .query("tables/readings", READINGS)
            .query("rules/tachycardia", TACHYCARDIA);
        let mut running = job.start();
        topic.put_samples("P1", &[(0, 80.0)]);
        running.wait_until("it reads", || database.so_far("SELECT COUNT(*) FROM readings") == "1");
        database.connect().query_drop("ALTER TABLE alerts MODIFY COLUMN `text` VARCHAR(2) NOT NULL").unwrap();
        topic.put_samples("P1", &[(1, 130.0)]);
        let log = running.log_file();
        running.wait_until("it is held", || {
            std::fs::read_to_string(&log).unwrap().contains("the store does not take the batch")
        });
        assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["1"], "{server}");
        assert_eq!(database.rows("SELECT COUNT(*) FROM bad_rows"), ["0"], "{server}");
        database.connect().query_drop("ALTER TABLE alerts MODIFY COLUMN `text` LONGTEXT NOT NULL").unwrap();
        running.wait_until("the alert stands", || {
            database.so_far("SELECT COUNT(*) FROM alerts WHERE rule = 'tachycardia'") == "1"
        });
        assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["2"], "{server}");
    }
}

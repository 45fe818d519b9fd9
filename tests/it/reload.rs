//! Edits of the set while the job runs: a good save is taken over whole, a bad one changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mysql::prelude::Queryable;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fixtures::{Database, READINGS, Running, TestJob, Topic, mariadb_url, mysql_url, sample, seed, told};

const MINUTE: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records, max(heart_rate) AS high
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
";

const FAST: &str = "-- @severity: high\n-- @message: HR {heart_rate:.0} > 120
SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120
";

fn job() -> (TestJob, Topic, Database) {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .more("[trigger]\nevery = \"100ms\"")
        .query("tables/readings", READINGS)
        .query("tables/minute", MINUTE)
        .query("rules/fast", FAST);
    (job, topic, database)
}

fn wait_for_readings(running: &mut Running, database: &Database, count: usize) {
    running.wait_until("the records are there", || {
        !database.rows("SHOW TABLES LIKE 'readings'").is_empty()
            && database.rows("SELECT COUNT(*) FROM readings") == [count.to_string()]
    });
}

#[test]
fn a_saved_query_takes_effect_and_its_windows_count_what_came_before_the_edit() {
    let (job, topic, database) = job();
    topic.put_samples("P1", &[(0, 80.0), (10, 90.0)]);
    let mut running = job.start();
    wait_for_readings(&mut running, &database, 2);

    let job = job
        .query(
            "tables/minute",
            &MINUTE.replace("max(heart_rate) AS high", "max(heart_rate) AS high, sum(heart_rate) AS total"),
        )
        .query("tables/slow", &MINUTE.replace("max(heart_rate)", "min(heart_rate)"))
        .query("rules/fast", &FAST.replace("120", "85").replace("high", "low"));
    running.wait_until("the edit is taken over", || running_log(&database, "taken") == 1);
    topic.put_samples("P1", &[(20, 88.0), (75, 80.0)]);
    running.wait_until("the minute is there, whole", || {
        database.rows("SELECT records, high, total FROM minute") == ["3|90|258"]
    });
    assert_eq!(database.rows("SELECT records, high FROM slow"), ["3|80"]);
    assert_eq!(database.rows_of_rules("SELECT severity, text FROM alerts"), ["low|HR 90 > 85"]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    drop(job);
}

fn running_log(database: &Database, outcome: &str) -> usize {
    database.rows(&format!("SELECT files FROM edits WHERE outcome = '{outcome}'")).len()
}

#[test]
fn a_bad_edit_is_told_and_the_running_query_stays_and_all_changes_of_a_save_go_together() {
    let (job, topic, database) = job();
    topic.put_samples("P1", &[(0, 80.0)]);
    let mut running = job.start();
    wait_for_readings(&mut running, &database, 1);
    let job = job
        .query("tables/minute", &MINUTE.replace("heart_rate", "hart_rate"))
        .query("rules/fast", &FAST.replace("120", "10"));
    running.wait_until("the edit is refused", || running_log(&database, "refused") == 1);
    let status = job.command("status").output().unwrap();
    assert!(told(&status).contains("is not in use"), "{}", told(&status));
    assert!(told(&status).contains("did you mean \"heart_rate\"?"), "{}", told(&status));
    topic.put_samples("P1", &[(10, 81.0)]);
    wait_for_readings(&mut running, &database, 2);
    assert_eq!(
        database.rows_of_rules("SELECT COUNT(*) FROM alerts"),
        ["0"],
        "the rule of the same save is not in use either"
    );

    // What the store cannot take is refused too.
    let job = job.query("tables/minute", &MINUTE.replace("-- @key: patient_id, window_start", "-- @key: window_start"));
    running.wait_until("the edit is refused", || running_log(&database, "refused") == 2);
    assert!(database.rows("SELECT error FROM edits ORDER BY edited_at DESC LIMIT 1")[0].contains("primary key"));
    let job = job.query("tables/minute", MINUTE);
    running.wait_until("the mended edit is taken over", || running_log(&database, "taken") == 1);
    topic.put_samples("P1", &[(20, 82.0)]);
    running.wait_until("its rule too", || database.rows_of_rules("SELECT COUNT(*) FROM alerts") == ["1"]);
    let status = job.command("status").output().unwrap();
    assert!(!told(&status).contains("is not in use"), "{}", told(&status));
}

#[test]
fn a_rule_that_is_deleted_ends_its_episodes_and_a_new_table_may_begin_with_the_earliest_record() {
    let (job, topic, database) = job();
    topic.put_samples("P1", &[(0, 130.0), (60, 130.0), (150, 130.0)]);
    let mut running = job.start();
    wait_for_readings(&mut running, &database, 3);
    std::fs::remove_file(job.folder.path().join("sql/rules/fast.sql")).unwrap();
    let job =
        job.query("tables/from_now", MINUTE).query("tables/from_first", &format!("-- @start: earliest\n{MINUTE}"));
    running.wait_until("the episode ends", || database.rows_of_rules("SELECT state FROM alerts") == ["ended"]);
    topic.put_samples("P1", &[(240, 100.0)]);
    running.wait_until("windows close", || database.rows("SELECT COUNT(*) FROM minute") == ["3"]);
    assert_eq!(database.rows("SELECT MINUTE(window_start) FROM from_now ORDER BY 1"), ["2"]);
    assert_eq!(database.rows("SELECT MINUTE(window_start) FROM from_first ORDER BY 1"), ["0", "1", "2"]);
    drop(job);
}

#[test]
fn a_hundred_edits_under_load_lose_no_batch_and_double_no_row() {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    let (mut job, topic, database) = job();
    let mut running = job.start();
    let good: [&dyn Fn(i64) -> (&'static str, String); 5] = [
        &|n| ("rules/fast", FAST.replace("> 120", &format!("> {}", 100 + n % 40))),
        &|n| {
            (
                "tables/minute",
                MINUTE.replace("max(heart_rate) AS high", &format!("max(heart_rate + {n}) - {n} AS high")),
            )
        },
        &|n| ("tables/minute", format!("-- edit {n}\n{MINUTE}")),
        &|n| ("tables/other", MINUTE.replace("1 minute", &format!("{} seconds", 10 + n % 50))),
        &|n| ("views/near", format!("SELECT patient_id, heart_rate + {n} AS heart_rate FROM vitals")),
    ];
    let bad: [(&str, &str); 3] = [
        ("tables/bad", "SELECT 1"),
        ("rules/bad", "-- @severity: low\nSELECT patient_id, x FROM vitals"),
        (
            "tables/bad",
            "-- @key: start\nSELECT hop(event_time, INTERVAL '7 seconds', INTERVAL '1 minute') AS start FROM vitals GROUP BY 1",
        ),
    ];
    topic.put_samples("P1", &[(0, 60.0)]);
    wait_for_readings(&mut running, &database, 1);
    let mut second = 1;
    for edit in 0..100 {
        for _ in 0..random.random_range(1..20) {
            topic.put(0, None, sample("P1", second, f64::from(60 + second % 50)).as_bytes());
            second += 1;
        }
        let (name, text) = if random.random_bool(0.3) {
            let (name, text) = bad[random.random_range(0..bad.len())];
            (name, text.to_owned())
        } else {
            good[random.random_range(0..good.len())](edit)
        };
        job = job.query(name, &text);
        // Some saves come before the one of before was looked at, some after.
        let pause = if random.random_bool(0.3) { 800..1_200 } else { 0..200 };
        std::thread::sleep(Duration::from_millis(random.random_range(pause)));
        if name.ends_with("bad") {
            std::fs::remove_file(job.folder.path().join(format!("sql/{name}.sql"))).unwrap();
        }
    }
    topic.flush();
    wait_for_readings(&mut running, &database, second as usize);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    let closing = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(closing.status.success(), "{}", told(&closing));

    assert_eq!(database.rows("SELECT query, batch, error FROM query_failures"), [""; 0]);
    assert!(running_log(&database, "taken") > 10, "{} edits were taken over", running_log(&database, "taken"));
    let mut minutes: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for second in 0..second {
        let minute = minutes.entry(second / 60).or_default();
        *minute = (minute.0 + 1, minute.1.max(60 + second % 50));
    }
    let expected: Vec<String> =
        minutes.iter().map(|(minute, (records, high))| format!("{minute}|{records}|{high}")).collect();
    let found = database.rows(
        "SELECT TIMESTAMPDIFF(MINUTE, '2026-01-01', window_start), records, ROUND(high) FROM minute ORDER BY window_start",
    );
    assert_eq!(found, expected);
}

const LIMITS: &str = "# @key: patient_id\npatient_id, high:float\nP1,100\nP2,200\nP3,150\n";

const OVER_LIMIT: &str = "-- @severity: high\n-- @message: HR {heart_rate:.0} > {high:.0}
SELECT v.patient_id, v.event_time, v.heart_rate, l.high
FROM vitals AS v JOIN own_limits AS l ON l.patient_id = v.patient_id WHERE v.heart_rate > l.high
";

#[test]
fn a_seed_that_an_edit_adds_has_its_rows_from_the_first_batch_on_that_reads_it() {
    for server in [Some(mysql_url()), mariadb_url()].into_iter().flatten() {
        let (topic, database) = (Topic::create(1), Database::create(&server));
        let job = TestJob::new(&topic.name, &database.url)
            .more("[trigger]\nevery = \"100ms\"")
            .query("tables/readings", READINGS);
        topic.put_samples("P1", &[(0, 110.0)]);
        let mut running = job.start();
        wait_for_readings(&mut running, &database, 1);
        let job = job.sql_file("seeds/own_limits.csv", LIMITS).query("rules/over", OVER_LIMIT);
        running.wait_until("the edit is taken over", || running_log(&database, "taken") == 1);
        assert_eq!(database.rows("SELECT COUNT(*) FROM own_limits"), ["3"]);
        topic.put_samples("P1", &[(1, 111.0)]);
        topic.put_samples("P2", &[(1, 111.0)]);
        wait_for_readings(&mut running, &database, 3);
        assert_eq!(database.rows("SELECT patient_id, text FROM alerts"), ["P1|HR 110 > 100"]);
        assert_eq!(database.rows("SELECT COUNT(*) FROM reference_changes"), ["0"], "nobody has changed a row");
        drop(job);
    }
}

/// A seed is cut off before each statement that is about it: whoever looks finds no table, or all rows.
#[test]
fn a_kill_at_any_statement_of_seeding_leaves_no_table_or_all_its_rows() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = |store: &str| {
        TestJob::new(&topic.name, store)
            .query("tables/readings", READINGS)
            .sql_file("seeds/own_limits.csv", LIMITS)
            .query("rules/over", OVER_LIMIT)
    };
    topic.put_samples("P1", &[(0, 110.0)]);
    let mut cuts = 0;
    loop {
        let (left, is_cut) = (Arc::new(AtomicU32::new(cuts)), Arc::new(AtomicBool::new(false)));
        let cut = Arc::clone(&is_cut);
        let behind_proxy = crate::proxy::before(&database.url, move |command| {
            let text = String::from_utf8_lossy(command);
            let is_about =
                ["seed~", "own_limits`"].iter().any(|name| text.contains(name)) || cut.load(Ordering::SeqCst);
            if is_about && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
                cut.store(true, Ordering::SeqCst);
                return crate::proxy::Verdict::CutBefore;
            }
            crate::proxy::Verdict::Pass
        });
        let output = job(&behind_proxy).command("run").args(["--once", "--connect-timeout", "3s"]).output().unwrap();
        if !is_cut.load(Ordering::SeqCst) {
            assert!(output.status.success(), "{}", told(&output));
            break;
        }
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        let made = !database.rows("SHOW TABLES LIKE 'own_limits'").is_empty();
        assert!(!made || database.rows("SELECT COUNT(*) FROM own_limits") == ["3"], "after {cuts} statements");
        if made {
            database.connect().query_drop("DROP TABLE own_limits").unwrap();
        }
        cuts += 1;
    }
    assert!(cuts >= 4, "{cuts} statements were seen");
    assert_eq!(database.rows("SELECT COUNT(*) FROM own_limits"), ["3"]);
    assert_eq!(database.rows("SHOW TABLES LIKE 'seed~%'"), [""; 0]);
    // Where the starts have taken half a minute together, the reading has grown old, and that is told too.
    assert_eq!(database.rows("SELECT text FROM alerts WHERE rule = 'over'"), ["HR 110 > 100"]);
}

const WIDER: &str = "max(heart_rate) AS high, sum(heart_rate) AS total";

#[test]
fn a_table_in_use_holds_up_the_edit_that_needs_it_but_no_batch_and_who_uses_it_is_named() {
    for (server, is_seen) in [(Some(mysql_url()), true), (mariadb_url(), false)] {
        let Some(server) = server else { continue };
        let (topic, database) = (Topic::create(1), Database::create(&server));
        let job = TestJob::new(&topic.name, &database.url)
            .more("[trigger]\nevery = \"100ms\"")
            .query("tables/readings", READINGS)
            .query("tables/minute", MINUTE)
            .query("rules/fast", FAST);
        topic.put_samples("P1", &[(0, 80.0)]);
        let mut running = job.start();
        wait_for_readings(&mut running, &database, 1);
        let mut clerk = database.connect();
        clerk.query_drop("BEGIN").unwrap();
        clerk.query_drop("SELECT * FROM minute").unwrap();
        std::thread::sleep(Duration::from_secs(3));

        let job = job.query("tables/minute", &MINUTE.replace("max(heart_rate) AS high", WIDER));
        running.wait_until("the edit is refused", || running_log(&database, "refused") == 1);
        let error = database.rows("SELECT error FROM edits")[0].clone();
        assert!(error.contains("table \"minute\" cannot be changed while it is in use by"), "{error}");
        if is_seen {
            assert!(error.contains(&format!("connection {} of root@", clerk.connection_id())), "{error}");
            assert!(error.contains("idle, with an open transaction"), "{error}");
        }
        assert!(told(&job.command("status").output().unwrap()).contains("cannot be changed"));
        // Alarms go on while the edit is tried again, and windows are written to the table that is in use.
        let since = database.rows("SELECT MAX(batch) FROM batches")[0].clone();
        for second in 0..60 {
            topic.put_samples("P1", &[(second, 130.0)]);
            std::thread::sleep(Duration::from_millis(100));
        }
        let gaps = database.rows(&format!(
            "SELECT MAX(gap) FROM (SELECT TIMESTAMPDIFF(MICROSECOND, LAG(now_at) OVER (ORDER BY batch), now_at) AS gap
             FROM batches WHERE batch >= {since}) g"
        ));
        assert!(gaps[0].parse::<f64>().unwrap() < 5e6, "a batch waited for {} µs", gaps[0]);
        assert_eq!(database.rows("SELECT COUNT(*) FROM alerts"), ["1"]);
        assert_eq!(running_log(&database, "refused"), 1, "it is told once");

        clerk.query_drop("COMMIT").unwrap();
        running.wait_until("the edit is taken over", || running_log(&database, "taken") == 1);
        topic.put_samples("P1", &[(90, 90.0)]);
        running.wait_until("the first minute is whole", || {
            database.rows("SELECT records, total FROM minute WHERE total IS NOT NULL") == ["61|7880"]
        });
        running.signal("TERM");
        assert_eq!(running.wait(), Some(0), "{}", running.log());
    }
}

#[test]
fn a_start_does_not_wait_for_ever_for_a_table_in_use() {
    let (job, topic, database) = job();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    let mut clerk = database.connect();
    clerk.query_drop("BEGIN").unwrap();
    clerk.query_drop("SELECT * FROM minute").unwrap();
    let job = job.query("tables/minute", &MINUTE.replace("max(heart_rate) AS high", WIDER));
    let start = || job.command("run").args(["--once", "--connect-timeout", "3s"]).output().unwrap();
    let refused = start();
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    let expected =
        format!("table \"minute\" cannot be changed while it is in use by connection {}", clerk.connection_id());
    assert!(told(&refused).contains(&expected), "{}", told(&refused));
    clerk.query_drop("ROLLBACK").unwrap();
    assert!(start().status.success());

    let file = job.folder.path().join("other.db");
    let job = TestJob::new(&topic.name, &format!("sqlite://{}", file.display())).query("tables/readings", READINGS);
    job.run_once();
    let writer = rusqlite::Connection::open(&file).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let job = job.query("tables/readings", &READINGS.replace("heart_rate, spo2", "heart_rate, spo2, spo2 AS more"));
    let refused = job.command("run").args(["--once", "--connect-timeout", "1s"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    assert!(told(&refused).contains("another process has been writing to the file"), "{}", told(&refused));
}

#[test]
fn clumsy_edits_leave_nobody_unwatched_without_a_word() {
    let (job, topic, database) = job();
    topic.put_samples("P1", &[(0, 130.0)]);
    let mut running = job.start();
    wait_for_readings(&mut running, &database, 1);
    let sql = job.folder.path().join("sql");
    let last_error = || database.so_far("SELECT error FROM edits ORDER BY edited_at");

    // What editors and file systems leave beside a file is none of the set.
    std::fs::write(sql.join("rules/.#fast.sql"), "nurse@ward").unwrap();
    std::fs::write(sql.join("rules/._fast.sql"), [0, 159, 146, 150]).unwrap();
    std::fs::write(sql.join("rules/fast.sql~"), FAST).unwrap();

    std::fs::rename(sql.join("rules"), sql.join("away")).unwrap();
    running.wait_until("it is told", || last_error().contains("rules is gone, and all rules with it"));
    std::fs::rename(&sql, job.folder.path().join("elsewhere")).unwrap();
    running.wait_until("it is told", || last_error().contains("there is no query"));
    std::fs::rename(job.folder.path().join("elsewhere"), &sql).unwrap();
    std::fs::rename(sql.join("away"), sql.join("rules")).unwrap();
    running.wait_until("the set is back", || running_log(&database, "taken") >= 1);
    assert_eq!(database.rows("SELECT state FROM alerts"), ["firing"], "the episode stood all the while");
    assert!(!told(&job.command("status").output().unwrap()).contains("is not in use"));

    // A file of which half is written, then all of it.
    std::fs::write(sql.join("rules/fast.sql"), &FAST[..FAST.len() - 10]).unwrap();
    running.wait_until("half a file is refused", || last_error().contains("fast.sql:"));
    std::fs::write(sql.join("rules/fast.sql"), FAST).unwrap();
    running.wait_until("the whole is taken over", || last_error().is_empty());

    // A rule gets another name while its alert stands: the alert ends, and the next sample raises another.
    std::fs::rename(sql.join("rules/fast.sql"), sql.join("rules/quick.sql")).unwrap();
    running.wait_until("the old one is over", || {
        database.so_far("SELECT end_reason FROM alerts WHERE rule = 'fast'") == "rule removed"
    });
    topic.put_samples("P1", &[(1, 131.0)]);
    running.wait_until("the new one fires", || {
        database.so_far("SELECT state FROM alerts WHERE rule = 'quick'") == "firing"
    });
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
}

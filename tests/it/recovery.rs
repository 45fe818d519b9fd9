//! What a stopped job remembers: windows across restarts, with snapshots and without, as far back as Kafka reaches.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, TestJob, Topic, mysql_url, repository, sample, told, wait_until};

const DAY: &str = "-- @key: patient_id, day
SELECT patient_id, tumble(event_time, INTERVAL '24 hours') AS day, count(*) AS records, sum(heart_rate) AS heart_rate_sum
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '24 hours')
";

const MINUTE: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
";

const ROWS: &str = "SELECT patient_id, CAST(window_start AS CHAR), records FROM minute ORDER BY 1, 2";
const DAYS: &str = "SELECT patient_id, CAST(day AS CHAR), records, heart_rate_sum FROM day ORDER BY 1, 2";

fn job(lines: &str) -> (TestJob, Topic, Database) {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job =
        TestJob::new(&topic.name, &database.url).more(lines).query("tables/day", DAY).query("tables/minute", MINUTE);
    (job, topic, database)
}

/// `run --once`; returns what it logged.
fn run(job: &TestJob, arguments: &[&str]) -> String {
    let output = job.command("run").arg("--once").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    told(&output)
}

#[test]
fn windows_stay_open_over_restarts_and_close_by_event_time() {
    let (job, topic, database) = job("snapshot_every = 1000");
    topic.put_samples("P1", &[(0, 80.0), (30, 90.0)]);
    run(&job, &[]);
    assert_eq!(database.rows(ROWS), [""; 0], "the minute is not over");
    topic.put_samples("P1", &[(59, 100.0), (75, 100.0)]);
    run(&job, &[]);
    assert_eq!(database.rows(ROWS), ["P1|2026-01-01 00:00:00.000000|3"]);
    topic.put_samples("P1", &[(86_415, 80.0)]);
    run(&job, &[]);
    assert_eq!(database.rows(DAYS), ["P1|2026-01-01 00:00:00.000000|4|370"]);
    run(&job, &["--close-windows"]);
    assert_eq!(database.rows(DAYS)[1], "P1|2026-01-02 00:00:00.000000|1|80");
    // Given out as they stood, they go on: nothing is closed that may still grow.
    topic.put_samples("P1", &[(86_420, 90.0)]);
    run(&job, &["--close-windows"]);
    assert_eq!(database.rows(DAYS)[1], "P1|2026-01-02 00:00:00.000000|2|170");
}

#[test]
fn a_snapshot_of_another_query_is_read_again_and_a_damaged_one_too() {
    let (job, topic, database) = job("snapshot_every = 1");
    topic.put_samples("P1", &[(0, 80.0), (3_600, 90.0)]);
    run(&job, &[]);
    assert_eq!(
        database.rows("SELECT query, batch FROM window_snapshots WHERE query <> '(streams)' ORDER BY 1"),
        ["day|1", "minute|1"]
    );

    let edited = DAY.replace("sum(heart_rate)", "sum(heart_rate + 1)");
    let job = job.query("tables/day", &edited);
    topic.put_samples("P1", &[(7_200, 100.0)]);
    let log = run(&job, &["--close-windows"]);
    assert!(log.contains("its snapshot is of another query or version") && log.contains("day"), "{log}");
    assert_eq!(database.rows(DAYS), ["P1|2026-01-01 00:00:00.000000|3|273"]);

    // What a query makes of its windows is no part of the state.
    let job = job.query("tables/day", &edited.replace("count(*) AS records", "count(*) + 100 AS records"));
    let log = run(&job, &["--close-windows"]);
    assert!(!log.contains("its snapshot"), "{log}");
    assert_eq!(database.rows(DAYS), ["P1|2026-01-01 00:00:00.000000|103|273"]);

    let sql = "UPDATE window_panes SET bytes = CONCAT(SUBSTRING(bytes, 1, 200), 'x', SUBSTRING(bytes, 202)) WHERE query='day'";
    database.connect().query_drop(sql).unwrap();
    topic.put_samples("P1", &[(7_300, 100.0)]);
    let log = run(&job, &["--close-windows"]);
    assert!(log.contains("its snapshot is damaged"), "{log}");
    assert_eq!(database.rows(DAYS), ["P1|2026-01-01 00:00:00.000000|104|374"]);
}

#[test]
fn what_kafka_no_longer_holds_is_told_and_never_written_over_what_was_known() {
    let (job, topic, database) = job("snapshot_every = 1000");
    topic.put_samples("P1", &[(0, 80.0), (10, 80.0), (20, 80.0)]);
    run(&job, &["--close-windows"]);
    database.connect().query_drop("DELETE FROM window_panes").unwrap();
    database.connect().query_drop("DELETE FROM window_snapshots").unwrap();
    topic.delete_before(0, 2);
    topic.put_samples("P1", &[(30, 80.0), (86_500, 80.0), (86_600, 80.0)]);
    let log = run(&job, &["--close-windows"]);
    assert!(log.contains("Kafka no longer holds records of its open windows"), "{log}");
    assert_eq!(database.rows(DAYS), ["P1|2026-01-01 00:00:00.000000|3|240", "P1|2026-01-02 00:00:00.000000|2|160"]);
}

#[test]
fn duplicates_are_found_across_batches_and_restarts_within_the_lateness() {
    let topic = Topic::create(1);
    let database = Database::create(&mysql_url());
    let job =
        TestJob::new(&topic.name, &database.url).source("dedupe = [\"patient_id\"]").query("tables/minute", MINUTE);
    topic.put_samples("P1", &[(0, 80.0), (0, 80.0), (1, 80.0)]);
    run(&job, &[]);
    topic.put_samples("P1", &[(1, 81.0), (0, 80.0), (2, 80.0)]);
    topic.put_samples("P2", &[(2, 80.0)]);
    let told = run(&job, &["--close-windows"]);
    assert!(told.contains("0 late rows, 2 duplicates"), "{told}");
    assert_eq!(database.rows(ROWS), ["P1|2026-01-01 00:00:00.000000|3", "P2|2026-01-01 00:00:00.000000|1"]);
    assert_eq!(database.rows("SELECT SUM(duplicates) FROM batches"), ["3"]);
}

#[test]
fn late_rows_are_kept_apart_with_how_late_and_still_are_readings() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .query("tables/minute", MINUTE)
        .query("tables/readings", crate::fixtures::READINGS);
    topic.put_samples("P1", &[(100, 80.0), (90, 81.0), (89, 82.0), (110, 80.0)]);
    run(&job, &["--close-windows"]);
    let late = database
        .rows("SELECT `offset`, patient_id, CAST(watermark AS CHAR), late_by_seconds, row_values FROM late_rows");
    assert_eq!(late.len(), 1);
    assert!(late[0].starts_with("2|P1|2026-01-01 00:01:30.000000|1|{"), "{late:?}");
    assert!(late[0].contains("\"heart_rate\":82.0"), "{late:?}");
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["4"]);
    assert_eq!(database.rows("SELECT SUM(records) FROM minute"), ["3"]);
}

#[test]
fn a_topic_that_falls_silent_is_closed_after_the_idle_timeout_and_goes_on_rightly() {
    let topic = Topic::create(2);
    let database = Database::create(&mysql_url());
    let job = TestJob::new(&topic.name, &database.url).source("idle_timeout = \"1s\"").query("tables/minute", MINUTE);
    topic.put(0, None, sample("P1", 5, 80.0).as_bytes());
    topic.put(1, None, sample("P2", 65, 80.0).as_bytes());
    topic.flush();
    let mut running = job.start();
    running.wait_until("the windows are given out in the silence", || {
        let made = database.rows("SHOW TABLES LIKE 'minute'");
        !made.is_empty() && database.rows(ROWS).len() == 2
    });
    // The first partition is idle and does not hold the second one's windows.
    topic.put(1, None, sample("P2", 70, 80.0).as_bytes());
    topic.put(1, None, sample("P2", 140, 80.0).as_bytes());
    topic.flush();
    running.wait_until("the window is given out anew with what came since", || {
        database.rows(ROWS).contains(&"P2|2026-01-01 00:01:00.000000|2".to_owned())
    });
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert_eq!(
        database.rows("SELECT COUNT(*) FROM window_snapshots WHERE query <> '(streams)'"),
        ["1"],
        "a stop leaves a snapshot"
    );
}

#[test]
fn a_rule_on_the_last_values_tells_of_patients_who_fall_silent_and_of_those_who_come_back() {
    let topic = Topic::create(1);
    let database = Database::create(&mysql_url());
    let silent = "-- @severity: technical\n-- @message: no data for {age_seconds:.0} s
SELECT patient_id, age_seconds FROM vitals_latest WHERE age_seconds > 3";
    let job = TestJob::new(&topic.name, &database.url).query("rules/no_data", silent);
    topic.put_samples("P1", &[(0, 80.0)]);
    let mut running = job.start();
    let alerts = || {
        let made = database.rows("SHOW TABLES LIKE 'alerts'");
        if made.is_empty() {
            Vec::new()
        } else {
            database.rows_of_rules("SELECT patient_id, state FROM alerts ORDER BY 1")
        }
    };
    running.wait_until("the silence is told", || alerts() == ["P1|firing"]);
    wait_until("time goes on by the devices' clocks", || {
        database.rows_of_rules("SELECT started_at BETWEEN '2026-01-01 00:00:03' AND '2026-01-01 00:01:00' FROM alerts")
            == ["1"]
    });
    topic.put_samples("P1", &[(60, 80.0)]);
    running.wait_until("the data ends it", || alerts() == ["P1|ended"]);
}

/// Nobody else looks after the ward where cron runs the job: each run judges who has fallen silent, and leaves word that it was here.
#[test]
fn a_run_that_finds_nothing_new_tells_of_patients_who_have_fallen_silent_and_that_it_has_looked() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let silent = "-- @severity: technical\n-- @message: no data for {age_seconds:.0} s
SELECT patient_id, age_seconds FROM vitals_latest WHERE age_seconds > 3";
    let job = TestJob::new(&topic.name, &database.url).query("rules/no_data", silent);
    let halted = || {
        let status = job.command("status").args(["--patience", "3s"]).output().unwrap();
        crate::fixtures::told(&status).contains("no_batch")
    };
    run(&job, &[]);
    assert!(!halted(), "a run over an empty topic is one that has looked");
    topic.put_samples("P1", &[(0, 80.0)]);
    run(&job, &[]);
    assert!(database.rows_of_rules("SELECT patient_id FROM alerts").is_empty());
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(halted(), "no run has looked for longer than that");
    run(&job, &[]);
    assert_eq!(database.rows_of_rules("SELECT patient_id, state FROM alerts"), ["P1|firing"]);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let before = database.rows("SELECT COUNT(*) FROM alert_events");
    run(&job, &[]);
    assert!(!halted(), "it has looked, though there was nothing to write down");
    assert_eq!(database.rows("SELECT COUNT(*) FROM alert_events"), before);
    assert_eq!(database.rows("SELECT SUM(records) FROM batches"), ["1"]);
}

#[test]
fn features_look_back_over_a_restart_as_if_there_had_been_none() {
    let features = "[features]
trend = { of = \"heart_rate\", kind = \"slope\", over = \"1m\" }
smooth = { of = \"heart_rate\", kind = \"ewm\", half_life = \"10s\" }";
    let table = "-- @key: patient_id, event_time
SELECT patient_id, event_time, trend, smooth FROM vitals";
    let minute = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, sum(trend) AS trends FROM vitals
GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')";
    let samples: Vec<(u32, f64)> = (0..90).map(|second| (second, 60.0 + f64::from(second * 7 % 31))).collect();
    let tables = |cuts: &[usize]| {
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let job = TestJob::new(&topic.name, &database.url)
            .more(features)
            .query("tables/trends", table)
            .query("tables/minute", minute);
        let mut from = 0;
        for to in cuts.iter().copied().chain([samples.len()]) {
            topic.put_samples("P1", &samples[from..to]);
            run(&job, &["--close-windows"]);
            from = to;
        }
        [
            database.rows("SELECT * FROM trends ORDER BY event_time"),
            database.rows("SELECT window_start, ROUND(trends, 6) FROM minute ORDER BY 1"),
        ]
    };
    let whole = tables(&[]);
    assert_eq!((whole[0].len(), whole[1].len()), (90, 2));
    assert_eq!(tables(&[1, 30, 31, 75]), whole);
}

#[test]
fn windows_that_their_table_did_not_take_are_written_when_it_does_even_after_a_restart() {
    let (job, topic, database) = job("snapshot_every = 1");
    topic.put_samples("P1", &[(0, 80.0)]);
    let mut running = job.start();
    running.wait_until("the first record is there", || {
        !database.rows("SHOW TABLES LIKE 'offsets'").is_empty()
            && database.rows("SELECT MAX(next_offset) FROM offsets") == ["1"]
    });
    database.connect().query_drop("ALTER TABLE minute RENAME COLUMN records TO recordz").unwrap();
    topic.put_samples("P1", &[(75, 80.0)]);
    running.wait_until("the table does not take the window", || {
        database.rows("SELECT table_name FROM pending_rows") == ["minute"]
    });
    topic.put_samples("P1", &[(80, 80.0)]);
    running.wait_until("the job goes on", || database.rows("SELECT MAX(next_offset) FROM offsets") == ["3"]);
    running.signal("KILL");
    running.wait();
    database.connect().query_drop("ALTER TABLE minute RENAME COLUMN recordz TO records").unwrap();
    topic.put_samples("P1", &[(150, 80.0)]);
    run(&job, &[]);
    assert_eq!(database.rows(ROWS), ["P1|2026-01-01 00:00:00.000000|1", "P1|2026-01-01 00:01:00.000000|2"]);
}

#[test]
fn more_groups_than_allowed_are_refused_counted_and_leave_the_other_windows_right() {
    let (job, topic, database) = job("max_groups = 3");
    for patient in ["P1", "P2", "P3"] {
        topic.put_samples(patient, &[(0, 80.0)]);
    }
    run(&job, &[]);
    topic.put_samples("P4", &[(1, 80.0)]);
    run(&job, &[]);
    let failures = database.rows("SELECT query, counted, error FROM query_failures ORDER BY query");
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].starts_with("day|0|it would keep 4 groups, and max_groups allows 3"), "{failures:?}");
    topic.put_samples("P1", &[(2, 90.0)]);
    run(&job, &["--close-windows"]);
    assert_eq!(
        database.rows(ROWS),
        ["P1|2026-01-01 00:00:00.000000|2", "P2|2026-01-01 00:00:00.000000|1", "P3|2026-01-01 00:00:00.000000|1"]
    );
}

#[test]
fn zoneless_times_of_the_night_when_clocks_go_back_fall_into_windows_of_utc() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let hour = MINUTE.replace("1 minute", "1 hour");
    let job =
        TestJob::new(&topic.name, &database.url).source("time_zone = \"Europe/Berlin\"").query("tables/minute", &hour);
    // 01:30 is one hour before the change, 03:30 two hours behind it; 2026-02-28 and March, with no 29th between.
    for time in ["2026-02-28 23:59:59", "2026-03-01 00:59:59", "2026-10-25 01:30:00", "2026-10-25 03:30:00"] {
        topic.put(0, None, format!(r#"{{"patient_id":"P1","event_time":"{time}","heart_rate":80}}"#).as_bytes());
    }
    topic.flush();
    run(&job, &["--close-windows"]);
    assert_eq!(
        database.rows("SELECT CAST(window_start AS CHAR), records FROM minute ORDER BY 1"),
        [
            "2026-02-28 22:00:00.000000|1",
            "2026-02-28 23:00:00.000000|1",
            "2026-10-24 23:00:00.000000|1",
            "2026-10-25 02:00:00.000000|1"
        ]
    );
}

#[test]
fn a_rule_on_history_gives_the_same_episodes_however_long_the_batches_are() {
    let rule = std::fs::read_to_string(repository().join("sql/vitals/rules/heart_rate_rising.sql")).unwrap();
    let rates = |second: u32| match second {
        50..=52 | 200..=203 | 391 | 392 => 70.0 + 12.0 * f64::from(second % 10),
        _ => 70.0,
    };
    let samples: Vec<(u32, f64)> = (0..400).map(|second| (second, rates(second))).collect();
    let alerts = |cuts: &[usize]| {
        let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
        let job = TestJob::new(&topic.name, &database.url).source("retain = \"1m\"").query("rules/rising", &rule);
        let mut from = 0;
        for to in cuts.iter().copied().chain([samples.len()]) {
            topic.put_samples("P1", &samples[from..to]);
            run(&job, &[]);
            from = to;
        }
        database.rows_of_rules("SELECT CAST(started_at AS CHAR), state, COALESCE(CAST(ended_at AS CHAR), '-'), samples, text FROM alerts ORDER BY 1")
    };
    let whole = alerts(&[]);
    assert_eq!(whole.len(), 3, "{whole:?}");
    assert_eq!(alerts(&[51, 52, 202, 390, 392]), whole);
}

/// How many records a run has read again.
fn read_again(log: &str) -> i64 {
    let counts = log.lines().filter(|line| line.contains("reading again"));
    counts
        .map(|line| line.split("records=").nth(1).unwrap().split_whitespace().next().unwrap().parse::<i64>().unwrap())
        .sum()
}

/// Its watermark stays where it is, but nothing of what the others have had since is remembered because of it.
#[test]
fn a_partition_that_has_fallen_silent_costs_a_start_what_it_had_and_not_what_came_since() {
    let (topic, database) = (Topic::create(2), Database::create(&mysql_url()));
    let history = "-- @key: at, patient_id
SELECT now() AS at, patient_id, count(*) AS records FROM vitals_history WHERE patient_id IN (SELECT patient_id FROM vitals)
GROUP BY patient_id";
    let job = TestJob::new(&topic.name, &database.url)
        // However long the runs take, the silent one is not closed as idle.
        .source("retain = \"2m\"\ndedupe = [\"patient_id\"]\nidle_timeout = \"1h\"")
        .more("[features]\ntrend = { of = \"heart_rate\", kind = \"slope\", over = \"1m\" }")
        .query("tables/minute", MINUTE)
        .query("tables/history", history)
        .query("rules/tachycardia", crate::fixtures::TACHYCARDIA);
    topic.put(1, None, sample("P2", 0, 80.0).as_bytes());
    topic.put(1, None, sample("P2", 1, 80.0).as_bytes());
    topic.flush();
    run(&job, &[]);
    let mut again = 0;
    for number in 0..20 {
        topic.put_samples("P1", &[(60 * number, 80.0)]);
        again = read_again(&run(&job, &[]));
    }
    assert!((4..=7).contains(&again), "two of P2, and what P1 has had for two minutes: {again}");
    topic.put(1, None, sample("P2", 2, 80.0).as_bytes());
    topic.put(1, None, sample("P2", 1, 80.0).as_bytes());
    topic.flush();
    let told = run(&job, &[]);
    assert!(told.contains("1 duplicates"), "{told}");
    let newest = "SELECT records FROM history WHERE patient_id = 'P2' ORDER BY at DESC LIMIT 1";
    assert_eq!(database.rows(newest), ["3"], "its history is there");
}

#[test]
fn a_start_after_a_stop_reads_nothing_again_for_windows_however_long_they_are() {
    let (job, topic, database) = job("snapshot_every = 1000");
    topic.put_samples("P1", &(0..500).map(|second| (second, 80.0)).collect::<Vec<_>>());
    run(&job, &[]);
    topic.put_samples("P1", &[(600, 80.0)]);
    let log = run(&job, &[]);
    assert_eq!(read_again(&log), 0, "{log}");
    run(&job, &["--close-windows"]);
    assert_eq!(database.rows("SELECT records FROM day"), ["501"]);
}

#[test]
fn a_run_without_anything_new_reads_again_only_what_a_kill_has_lost() {
    let (job, topic, database) = job("snapshot_every = 1000");
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("the first batch is saved", || database.so_far("SELECT SUM(records) FROM batches") == "1");
    topic.put_samples("P1", &[(30, 80.0), (75, 80.0)]);
    running.wait_until("it works", || database.so_far("SELECT SUM(records) FROM batches") == "3");
    running.signal("KILL");
    running.wait();
    assert_eq!(read_again(&run(&job, &[])), 2, "who has fallen silent is to be judged, though nothing has come");
    assert_eq!(read_again(&run(&job, &[])), 0, "which a stop has saved");
    topic.put_samples("P1", &[(90, 80.0)]);
    assert_eq!(read_again(&run(&job, &[])), 0, "with what was there");
    topic.put_samples("P1", &[(91, 80.0)]);
    assert_eq!(read_again(&run(&job, &[])), 0, "which a stop has saved");
    run(&job, &["--close-windows"]);
    assert_eq!(database.rows("SELECT records FROM day"), ["5"]);
}

/// The table is there from then on, so nothing else tells that its windows are not.
#[test]
fn a_query_that_begins_with_the_earliest_record_does_so_also_after_a_kill_on_the_way() {
    let (job, topic, database) = job("snapshot_every = 1000");
    topic.put_samples("P1", &(0..10).map(|minute| (60 * minute, 80.0)).collect::<Vec<_>>());
    run(&job, &[]);
    let hurried = MINUTE.replace("-- @key", "-- @start: earliest\n-- @key");
    let job = job.query("tables/from_earliest", &hurried);
    let process = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (victim, mut is_made) = (std::sync::Arc::clone(&process), false);
    let behind_proxy = crate::proxy::before(&database.url, move |command| {
        if is_made {
            let victim = victim.load(std::sync::atomic::Ordering::SeqCst).to_string();
            let _ = std::process::Command::new("kill").args(["-9", &victim]).status();
        }
        is_made |= command.windows(15).any(|word| word == b"`from_earliest`") && command[1..].starts_with(b"CREATE");
        crate::proxy::Verdict::Pass
    });
    let text = std::fs::read_to_string(job.file()).unwrap();
    std::fs::write(job.file(), text.replace(&database.url, &behind_proxy)).unwrap();
    let mut running = job.start();
    process.store(running.child.id(), std::sync::atomic::Ordering::SeqCst);
    assert_eq!(running.wait(), None, "{}", running.log());
    assert_eq!(database.rows("SELECT COUNT(*) FROM from_earliest"), ["0"]);

    std::fs::write(job.file(), text).unwrap();
    run(&job, &[]);
    let of =
        |table: &str| database.rows(&format!("SELECT CAST(window_start AS CHAR), records FROM {table} ORDER BY 1"));
    assert_eq!(of("from_earliest").len(), 8);
    assert_eq!(of("from_earliest"), of("minute"));
}

/// Another machine's clock, or this one's before somebody put it right, was two days ahead for the last batch.
#[test]
fn time_goes_on_after_a_batch_whose_clock_was_ahead() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url).source("idle_timeout = \"2s\"").query("tables/minute", MINUTE);
    topic.put_samples("P1", &[(0, 80.0)]);
    run(&job, &[]);
    for (table, column) in [("batches", "now_at"), ("offsets", "active_at")] {
        let sql = format!("UPDATE {table} SET {column} = {column} + INTERVAL 2 DAY");
        database.connect().query_drop(sql).unwrap();
    }
    let status = job.command("status").output().unwrap();
    assert_eq!(status.status.code(), Some(4));
    assert!(told(&status).contains("clock · this machine's clock is "), "{}", told(&status));
    let mut running = job.start();
    let alert = "SELECT state, patient_id FROM alerts WHERE rule='host_clock'";
    running.wait_until("it is an alert of the ward", || database.so_far(alert) == "firing|");
    running.wait_until("the silence is noticed", || database.so_far("SELECT COUNT(*) FROM minute") == "1");
    assert!(running.log().contains("this machine's clock is behind the last batch"), "{}", running.log());
    topic.put_samples("P1", &[(1, 80.0)]);
    running.wait_until("it is stored", || database.so_far("SELECT SUM(records) FROM batches") == "2");
    let steps = "SELECT MIN(TIMESTAMPDIFF(SECOND, a.now_at, b.now_at)) >= 0, MAX(TIMESTAMPDIFF(SECOND, a.now_at, b.now_at)) < 60 \
                 FROM batches a JOIN batches b ON b.batch = a.batch + 1";
    assert_eq!(database.rows(steps), ["1|1"], "it goes neither back nor in leaps");
}

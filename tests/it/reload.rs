//! Edits of the set while the job runs: a good save is taken over whole, a bad one changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::bed::{Database, READINGS, Running, TestJob, Topic, mysql_url, sample, seed, told};

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
    assert_eq!(database.rows_of_rules("SELECT severity, text FROM alerts"), ["low|HR 88 > 85"]);
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

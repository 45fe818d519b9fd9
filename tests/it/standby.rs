//! Two processes of one job: who writes, and how soon the other one does when that one is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use wardwatch::clock::SystemClock;
use wardwatch::health::Health;
use wardwatch::job::{AtEnd, Plan, ReplacedTopic, RunError, RunOptions, Standby, run};
use wardwatch::source::Until;

use crate::fixtures::{Database, READINGS, Running, TestJob, Topic, mysql_url, wait_until};
use crate::proxy;

/// From the last renewal to the first commit of the other.
const SOON: Duration = Duration::from_secs(10);

fn count(database: &Database) -> String {
    database.so_far("SELECT COUNT(*) FROM readings")
}

/// A job that has stored a record, and another process that stands by.
fn two_of(job: &TestJob, topic: &Topic, database: &Database, first: &[&str]) -> (Running, Running) {
    let mut first = job.start_as(first);
    topic.put_samples("P1", &[(0, 80.0)]);
    first.wait_until("the first one works", || count(database) == "1");
    let mut second = job.start_as(&["--standby"]);
    let log = second.log_file();
    second.wait_until("the second one stands by", || std::fs::read_to_string(&log).unwrap().contains("standing by"));
    (first, second)
}

/// Puts a record that only the second one can store; it must be there soon.
fn must_take_over(topic: &Topic, database: &Database, second: &mut Running, seconds: u32) {
    let gone = Instant::now();
    topic.put_samples("P1", &[(seconds, 80.0)]);
    let expected = (seconds + 1).to_string();
    second.wait_until("the other one goes on", || count(database) == expected);
    assert!(gone.elapsed() < SOON, "after {:?}:\n{}", gone.elapsed(), second.log());
}

#[test]
fn a_standby_takes_over_soon_after_a_kill() {
    let (job, topic, database) = TestJob::on_mysql();
    let (mut first, mut second) = two_of(&job, &topic, &database, &[]);
    first.signal("KILL");
    first.wait();
    must_take_over(&topic, &database, &mut second, 1);
    second.signal("TERM");
    assert_eq!(second.wait(), Some(0), "{}", second.log());
    assert_eq!(database.rows("SELECT COUNT(*) FROM leases"), ["0"]);
}

/// It holds locks of a transaction that it has begun, and its connection is as good as ever.
#[test]
fn a_standby_takes_over_from_a_process_that_stands_still_within_a_commit_and_that_one_is_fenced() {
    let (job, topic, database) = TestJob::on_mysql();
    let (mut first, mut second) = two_of(&job, &topic, &database, &[]);
    let mut other = database.connect();
    other.query_drop("LOCK TABLES readings WRITE").unwrap();
    topic.put_samples("P1", &[(1, 80.0)]);
    let waits = "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE lock_status = 'PENDING' AND object_schema = DATABASE() AND object_name = 'readings'";
    wait_until("it is within its commit", || database.rows(waits) == ["1"]);
    first.signal("STOP");
    other.query_drop("UNLOCK TABLES").unwrap();
    must_take_over(&topic, &database, &mut second, 2);
    first.signal("CONT");
    assert_eq!(first.wait(), Some(1), "{}", first.log());
    let told = first.log();
    assert!(told.contains("fenced: another process"), "{told}");
    topic.put_samples("P1", &[(3, 80.0)]);
    second.wait_until("the other one goes on", || count(&database) == "4");
    assert_eq!(database.rows("SELECT SUM(records), COUNT(*) - MAX(batch) FROM batches"), ["4|0"]);
}

/// Its process lives on, with all its threads: that the loop is gone shows by its connections alone.
#[test]
fn a_standby_takes_over_from_a_loop_that_panicked() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut plan = Plan::load(&job.file()).unwrap();
    let falls = Arc::new(AtomicBool::new(false));
    let is_to_fall = Arc::clone(&falls);
    let first = std::thread::spawn(move || {
        let mut options = RunOptions {
            until: Until::Stopped,
            at_end: AtEnd::LeaveWindows,
            standby: Standby::Stop,
            new_topic: ReplacedTopic::Refuse,
            connect_timeout: Duration::from_secs(30),
            stopped: &|| false,
            on_start: &mut || {},
            on_repeat: &|_, _| {},
            on_commit: &mut |_| assert!(!is_to_fall.load(Ordering::SeqCst), "it is meant to panic"),
            health: &Health::new(Arc::new(SystemClock)),
            clock: Arc::new(SystemClock),
        };
        run(&mut plan, &mut options)
    });
    topic.put_samples("P1", &[(0, 80.0)]);
    wait_until("the first one works", || count(&database) == "1");
    let mut second = job.start_as(&["--standby"]);
    let log = second.log_file();
    second.wait_until("the second one stands by", || std::fs::read_to_string(&log).unwrap().contains("standing by"));
    falls.store(true, Ordering::SeqCst);
    topic.put_samples("P1", &[(1, 80.0)]);
    let ended = first.join().unwrap();
    assert!(matches!(&ended, Err(RunError::Panicked(told)) if told.thread == "loop"), "{ended:?}");
    must_take_over(&topic, &database, &mut second, 2);
    assert_eq!(database.rows("SELECT SUM(records), COUNT(*) - MAX(batch) FROM batches"), ["3|0"]);
}

#[test]
fn a_standby_takes_over_with_the_queries_as_they_are_then() {
    let (job, topic, database) = TestJob::on_mysql();
    let (mut first, mut second) = two_of(&job, &topic, &database, &[]);
    let job = job.query("tables/again", READINGS);
    let edits = || database.so_far("SELECT COUNT(*) FROM edits WHERE error = ''");
    first.wait_until("the first one takes the edit over", || edits() == "1");
    first.signal("KILL");
    first.wait();
    must_take_over(&topic, &database, &mut second, 1);
    assert_eq!(database.rows("SELECT COUNT(*) FROM again"), ["1"], "its first batch is in the new table, too");
    assert_eq!(edits(), "1", "nobody has edited anything since");
    drop(job);
}

#[test]
fn a_process_that_comes_back_stands_by_where_it_was_told_to() {
    let (job, topic, database) = TestJob::on_mysql();
    let (mut first, mut second) = two_of(&job, &topic, &database, &["--standby"]);
    first.signal("STOP");
    must_take_over(&topic, &database, &mut second, 1);
    first.signal("CONT");
    let log = first.log_file();
    first.wait_until("it stands by", || std::fs::read_to_string(&log).unwrap().contains(": standing by holder="));
    second.signal("KILL");
    second.wait();
    must_take_over(&topic, &database, &mut first, 2);
    assert_eq!(database.rows("SELECT SUM(records), COUNT(*) - MAX(batch) FROM batches"), ["3|0"]);
}

#[test]
fn a_fenced_process_whose_files_have_faults_stands_by_with_the_job_as_it_ran() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query(
        "tables/minute",
        "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
",
    );
    let (mut first, mut second) = two_of(&job, &topic, &database, &["--standby"]);
    first.signal("STOP");
    must_take_over(&topic, &database, &mut second, 1);
    let job = job.query("tables/broken", "-- @key: patient_id\nSELECT patient_id FROM nowhere\n");
    first.signal("CONT");
    let log = first.log_file();
    first.wait_until("it stands by", || std::fs::read_to_string(&log).unwrap().contains(": standing by holder="));
    assert!(first.log().contains("the files have faults"), "{}", first.log());
    second.signal("KILL");
    second.wait();
    must_take_over(&topic, &database, &mut first, 2);
    topic.put_samples("P1", &[(90, 80.0)]);
    let minute = "SELECT records FROM minute";
    first.wait_until("the minute closes with all its records", || database.so_far(minute) == "3");
    drop(job);
}

#[test]
fn a_standby_takes_over_from_a_process_that_has_lost_the_network_and_that_one_is_fenced() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let (vanishing, is_gone) = proxy::that_can_vanish(&database.url);
    let job = |store: &str| TestJob::new(&topic.name, store).query("tables/readings", READINGS);
    let (cut_off, connected) = (job(&vanishing), job(&database.url));
    let mut first = cut_off.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    first.wait_until("the first one works", || count(&database) == "1");
    let mut second = connected.start_as(&["--standby"]);
    let log = second.log_file();
    second.wait_until("the second one stands by", || std::fs::read_to_string(&log).unwrap().contains("standing by"));
    is_gone.store(true, Ordering::SeqCst);
    must_take_over(&topic, &database, &mut second, 1);
    is_gone.store(false, Ordering::SeqCst);
    assert_eq!(first.wait(), Some(1), "{}", first.log());
    assert!(first.log().contains("fenced: another process"), "{}", first.log());
    assert_eq!(database.rows("SELECT SUM(records), COUNT(*) - MAX(batch) FROM batches"), ["2|0"]);
}

#[test]
fn a_commit_that_takes_long_keeps_the_lease() {
    let (job, topic, database) = TestJob::on_mysql();
    let (mut first, second) = two_of(&job, &topic, &database, &[]);
    let mut other = database.connect();
    other.query_drop("LOCK TABLES batches WRITE").unwrap();
    topic.put_samples("P1", &[(1, 80.0)]);
    std::thread::sleep(Duration::from_secs(12)); // twice as long as a lease
    other.query_drop("UNLOCK TABLES").unwrap();
    first.wait_until("the first one goes on", || count(&database) == "2");
    assert!(!second.log().contains("taking over"), "{}", second.log());
}

/// Nothing of a lease that has not expired is waited for where the server knows that its holder is gone.
#[test]
fn a_job_that_was_killed_starts_again_at_once() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut first = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    first.wait_until("it works", || count(&database) == "1");
    wait_until("it has renewed its lease", || database.so_far("SELECT renewals FROM leases") == "1");
    first.signal("KILL");
    first.wait();
    topic.put_samples("P1", &[(1, 80.0)]);
    let starting = Instant::now();
    job.run_once();
    assert_eq!(count(&database), "2");
    assert!(starting.elapsed() < Duration::from_secs(4), "{:?}", starting.elapsed());
}

#[test]
fn a_stop_gives_the_lease_back() {
    let (job, topic, database) = TestJob::on_mysql();
    let (mut first, mut second) = two_of(&job, &topic, &database, &[]);
    first.signal("TERM");
    assert_eq!(first.wait(), Some(0), "{}", first.log());
    let log = second.log_file();
    let stopped = Instant::now();
    second.wait_until("the other one runs", || std::fs::read_to_string(&log).unwrap().contains(": running "));
    assert!(stopped.elapsed() < Duration::from_secs(4), "{:?}", stopped.elapsed());
}

/// The lease of a holder who renews it is not taken away by a clock that is set forward, and one that is not renewed is, by a
/// clock that is set back.
#[test]
fn a_step_of_the_databases_clock_neither_ends_a_lease_nor_keeps_one_that_is_not_renewed() {
    let (job, topic, database) = TestJob::on_mysql();
    let (mut first, mut second) = two_of(&job, &topic, &database, &[]);
    let step = |seconds: i64| {
        let sql = format!("UPDATE leases SET expires_at = expires_at + INTERVAL {seconds} SECOND");
        database.connect().query_drop(sql).unwrap();
    };
    for _ in 0..20 {
        step(-3_600); // as if the clock were an hour on
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(!second.log().contains("taking over"), "{}", second.log());
    first.signal("STOP");
    step(3_600); // as if it were an hour back
    must_take_over(&topic, &database, &mut second, 1);
    first.signal("CONT");
    assert_eq!(first.wait(), Some(1), "{}", first.log());
}

#[test]
fn a_standby_on_a_sqlite_file_takes_over_when_the_process_ends() {
    let topic = Topic::create(1);
    let job = TestJob::new(&topic.name, "sqlite://test.db").query("tables/readings", READINGS);
    let mut first = job.start();
    first.wait_until("the first one runs", || job.folder.path().join("test.db.lock").exists());
    let log = first.log_file();
    first.wait_until("the first one runs", || std::fs::read_to_string(&log).unwrap().contains(": running "));
    let mut plain = job.start();
    assert_eq!(plain.wait(), Some(1));
    assert!(plain.log().contains(&format!(":{}:", first.child.id())), "it names the other one: {}", plain.log());
    let mut second = job.start_as(&["--standby"]);
    let log = second.log_file();
    second.wait_until("the second one stands by", || std::fs::read_to_string(&log).unwrap().contains("standing by"));
    first.signal("KILL");
    first.wait();
    second.wait_until("the second one runs", || std::fs::read_to_string(&log).unwrap().contains(": running "));
}

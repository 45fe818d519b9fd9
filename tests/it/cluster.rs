//! Three brokers, of which one is lost and comes back: nothing is lost, doubled or out of order, and nobody is told of a stall that is none.

use std::time::Duration;

use crate::fixtures::{Database, READINGS, TACHYCARDIA, TestJob, Topic, mysql_url, sample, told, wait_until};
use crate::services::OwnService;

#[test]
fn a_broker_of_three_may_be_lost_while_the_job_runs() {
    let Some(cluster) = OwnService::start("cluster") else { return println!("skipped: the broker is the user's") };
    let database = Database::create(&mysql_url());
    let topic = Topic::create_replicated(&cluster.address, 3);
    let job = TestJob::new(&topic.name, &database.url)
        .source(&format!("brokers = \"{}\"", cluster.address))
        .query("tables/readings", READINGS)
        .query("rules/tachycardia", TACHYCARDIA)
        .more("[trigger]\nevery = \"200ms\"");
    let mut running = job.start();
    // Each second of three patients, one a partition: P0 is too fast for five of ten seconds.
    let put = |seconds: std::ops::Range<u32>| {
        for second in seconds {
            for patient in 0..3 {
                let rate = if patient == 0 && second % 10 < 5 { 130.0 } else { 80.0 };
                topic.put(patient, None, sample(&format!("P{patient}"), second, rate).as_bytes());
            }
        }
        topic.flush();
    };
    let count = || database.so_far("SELECT COUNT(*) FROM readings");
    put(0..20);
    running.wait_until("the first are there", || count() == "60");
    // Whoever leads, some partition is led by another one now.
    cluster.kill_member("kafka-2");
    put(20..50);
    running.wait_until("those behind the loss are there", || count() == "150");
    cluster.start_again();
    std::thread::sleep(Duration::from_secs(2));
    cluster.kill_member("kafka-1");
    put(50..80);
    running.wait_until("those behind the second are there", || count() == "240");
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    assert_eq!(
        database.rows("SELECT patient_id, COUNT(*), COUNT(DISTINCT event_time) FROM readings GROUP BY 1 ORDER BY 1"),
        ["P0|80|80", "P1|80|80", "P2|80|80"]
    );
    assert_eq!(
        database
            .rows("SELECT rule, COUNT(*) FROM alerts WHERE rule IN ('tachycardia', 'partition_stalled') GROUP BY 1"),
        ["tachycardia|8"]
    );
    // And one that starts while a broker is away reads what is there.
    put(80..90);
    wait_until("a run without one of them", || job.command("run").arg("--once").output().unwrap().status.success());
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["270"]);
    let status = told(&job.command("status").output().unwrap());
    assert!(status.contains("lag"), "{status}");
}

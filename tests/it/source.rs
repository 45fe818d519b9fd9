//! Where reading starts, new partitions, deleted records, encrypted connections.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::fixtures::{Database, READINGS, TestJob, Topic, kafka, mysql_url, sample, told, wait_until};

fn readings(database: &crate::fixtures::Database) -> Vec<String> {
    database.rows("SELECT heart_rate FROM readings ORDER BY source_partition, source_offset")
}

#[test]
fn reading_starts_where_the_job_says() {
    let topic = Topic::create(1);
    for (second, stamp) in [(0, 1_767_225_600_000), (1, 1_767_225_601_000), (2, 1_767_225_602_000)] {
        topic.put(0, Some(stamp), sample("P1", second, 80.0 + f64::from(second)).as_bytes());
    }
    topic.flush();
    for (start, expected) in [
        ("earliest", vec!["80", "81", "82"]),
        ("2026-01-01T00:00:01Z", vec!["81", "82"]),
        ("2027-01-01T00:00:00Z", vec![]),
        ("latest", vec![]),
    ] {
        let database = crate::fixtures::Database::create(&crate::fixtures::mysql_url());
        let job = TestJob::new(&topic.name, &database.url).query("tables/readings", READINGS);
        let job = job.source(&format!("start = \"{start}\""));
        job.run_once();
        assert_eq!(readings(&database), expected, "{start}");
    }
}

#[test]
fn a_start_at_the_end_is_decided_once() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.source("start = \"latest\"");
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    topic.put_samples("P1", &[(1, 81.0)]);
    job.run_once();
    assert_eq!(readings(&database), ["81"]);
}

/// Whatever `start` says of the records that were there before the job: those of a new partition all came after it.
#[test]
fn a_partition_that_is_added_while_the_job_is_stopped_is_read_from_its_first_record() {
    for start in ["earliest", "latest", "2026-11-01T00:00:00Z"] {
        let (job, topic, database) = TestJob::on_mysql();
        let job = job.source(&format!("start = \"{start}\""));
        job.run_once();
        let topic = topic.with_partitions(3);
        topic.put_samples("P1", &[(0, 80.0)]);
        topic.put(1, Some(1_767_225_600_000), sample("P2", 0, 90.0).as_bytes());
        topic.put(2, None, sample("P3", 0, 70.0).as_bytes());
        topic.flush();
        job.run_once();
        assert_eq!(readings(&database), ["80", "90", "70"], "{start}");
        topic.put(1, None, sample("P2", 1, 91.0).as_bytes());
        topic.flush();
        job.run_once();
        assert_eq!(readings(&database), ["80", "90", "91", "70"], "{start}, and goes on behind them");
    }
}

#[test]
fn a_partition_that_is_added_while_the_job_runs_is_read_from_its_first_record() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    wait_until("the job runs", || running.log().contains("running"));
    let topic = topic.with_partitions(2);
    topic.put(1, None, sample("P2", 0, 90.0).as_bytes());
    topic.flush();
    wait_until("both are read", || {
        database.rows("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'readings'") == ["1"]
            && readings(&database) == ["80", "90"]
    });
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    topic.put(1, None, sample("P2", 1, 91.0).as_bytes());
    topic.flush();
    job.run_once();
    assert_eq!(readings(&database), ["80", "90", "91"]);
}

/// Kafka gives one partition after the other; batches are small here, so that each holds records of one only.
#[test]
fn a_backlog_of_several_partitions_is_judged_as_the_ward_was() {
    let (topic, database) = (Topic::create(2), Database::create(&mysql_url()));
    let hypoxia = "-- @severity: high\n-- @latch: no\n-- @for: 10s\n-- @clear_after: 5s\n\
        SELECT patient_id, event_time, spo2 FROM vitals WHERE spo2 < 90\n";
    let job = TestJob::new(&topic.name, &database.url)
        .columns(
            "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\ndevice = { type = \"text\" }\n\
             spo2 = { type = \"float\" }\n",
        )
        .source("device = \"device\"")
        .query("rules/hypoxia", hypoxia)
        .more("[trigger]\nmax_rows = 50");
    let ward = |from: i64, until: i64| {
        for (partition, device) in [(0, "monitor"), (1, "oximeter")] {
            for second in from..until {
                // One is low early, the other at the end, where it still counts while the first partition is behind.
                let is_low = if partition == 1 { (100..130).contains(&second) } else { (560..590).contains(&second) };
                let at = chrono::DateTime::from_timestamp(1_772_438_400 + second, 0).unwrap();
                let spo2 = if is_low { 80 } else { 97 };
                let record = format!(
                    r#"{{"patient_id":"P1","event_time":"{}","device":"{device}","spo2":{spo2}}}"#,
                    at.to_rfc3339()
                );
                topic.put(partition, Some(at.timestamp_millis()), record.as_bytes());
            }
        }
        topic.flush();
    };
    ward(0, 10);
    job.run_once();
    ward(10, 600);
    job.run_once();
    let events = database.rows(
        "SELECT kind, TIMESTAMPDIFF(SECOND, '2026-03-02 08:00:00', at) FROM alert_events \
         WHERE rule = 'hypoxia' AND kind IN ('firing', 'ended') ORDER BY at",
    );
    assert_eq!(events, ["firing|110", "ended|135", "firing|570", "ended|595"]);
}

#[test]
fn records_that_kafka_has_deleted_are_told_of_and_the_rest_is_read() {
    let (job, topic, database) = TestJob::on_mysql();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    topic.put_samples("P1", &[(1, 81.0), (2, 82.0), (3, 83.0)]);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka()).create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic.name, 0, Offset::Offset(3)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin.delete_records(&before, &AdminOptions::new())).unwrap();
    let output = job.command("run").arg("--once").output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("Kafka has deleted records that were not read"), "{log}");
    assert_eq!(readings(&database), ["80", "83"]);
    assert_eq!(database.rows("SELECT start_offset, end_offset FROM batch_ranges ORDER BY batch"), ["0|1", "1|4"]);
}

const MINUTE: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
";

const MINUTES: &str = "SELECT CAST(window_start AS CHAR), records FROM minute ORDER BY 1";

/// The new one is longer than the store has read of the old one, so no offset tells.
#[test]
fn a_topic_that_was_made_anew_is_refused_and_gone_on_with_when_told_to() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("tables/minute", MINUTE);
    topic.put_samples("P1", &[(0, 80.0), (10, 80.0)]);
    topic.put(0, None, b"no JSON");
    topic.put(0, None, sample("P1", 11, 900.0).as_bytes());
    topic.flush();
    job.run_once();
    let was = database.rows("SELECT topic_id FROM offsets").pop().unwrap();
    assert_eq!(was.len(), 22, "an id as Kafka's tools show it: {was}");
    topic.make_anew(1);
    topic.put(0, None, b"no JSON either");
    topic.put_samples("P1", &[(20, 90.0), (30, 91.0), (40, 92.0), (50, 93.0), (75, 94.0)]);

    for arguments in [&["--once"][..], &[]] {
        let output = job.command("run").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(told(&output).contains("was deleted and made anew"), "{}", told(&output));
        assert!(told(&output).contains(&was) && told(&output).contains("--new-topic"), "{}", told(&output));
    }
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["3"], "nothing was read");
    let status = job.command("status").output().unwrap();
    assert_eq!(status.status.code(), Some(4), "{}", told(&status));
    assert!(told(&status).contains("topic_replaced") && told(&status).contains("--new-topic"), "{}", told(&status));

    let output = job.command("run").args(["--once", "--new-topic"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let rates = database.rows("SELECT heart_rate FROM readings ORDER BY event_time");
    assert_eq!(rates, ["80", "80", "NULL", "90", "91", "92", "93", "94"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM rejects"), ["2"]);
    assert_eq!(database.rows(MINUTES), ["2026-01-01 00:00:00.000000|7"], "its window goes on with the new records");
    let again = job.command("run").args(["--once", "--new-topic"]).output().unwrap();
    assert!(again.status.success(), "{}", told(&again));
    topic.put_samples("P1", &[(150, 95.0)]);
    job.run_once();
    assert!(!told(&job.command("status").output().unwrap()).contains("topic_replaced"));
    assert_eq!(database.rows(MINUTES).len(), 2, "told once, it is the job's topic");
    assert_eq!(database.rows("SELECT SUM(records) FROM minute"), ["8"]);
}

/// The job was killed, so what its windows kept cannot be known any more: it was in the topic that is gone.
#[test]
fn windows_of_a_topic_that_is_gone_are_not_written_over_by_what_the_new_one_has_of_them() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("tables/minute", MINUTE);
    topic.put_samples("P1", &[(0, 80.0), (10, 80.0), (20, 80.0)]);
    let closing = job.command("run").args(["--once", "--close-windows"]).output().unwrap();
    assert!(closing.status.success(), "{}", told(&closing));
    assert_eq!(database.rows(MINUTES), ["2026-01-01 00:00:00.000000|3"]);
    use mysql::prelude::Queryable;
    database.connect().query_drop("UPDATE window_snapshots SET batch = batch - 1").unwrap();
    topic.make_anew(1);
    topic.put_samples("P1", &[(30, 90.0), (80, 91.0)]);
    let output = job.command("run").args(["--once", "--new-topic"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    topic.put_samples("P1", &[(200, 95.0)]);
    job.run_once();
    assert_eq!(database.rows(MINUTES), ["2026-01-01 00:00:00.000000|3", "2026-01-01 00:01:00.000000|1"]);
}

/// That its windows are to come from the earliest record on is of the topic that is gone: of the new one, it has seen all.
#[test]
fn a_new_query_that_begins_with_the_earliest_record_has_all_of_a_new_topic() {
    let (job, topic, database) = TestJob::on_mysql();
    topic.put_samples("P1", &[(0, 80.0), (10, 80.0), (20, 80.0)]);
    job.run_once();
    topic.make_anew(1);
    topic.put_samples("P1", &[(61, 90.0), (70, 91.0), (100, 92.0), (125, 93.0), (140, 94.0)]);
    let job = job.query("tables/minute", &MINUTE.replace("-- @key", "-- @start: earliest\n-- @key"));
    // Without being told to, it stops, and forgets nothing over that.
    let refused = job.command("run").arg("--once").output().unwrap();
    assert!(told(&refused).contains("was deleted and made anew"), "{}", told(&refused));
    let output = job.command("run").args(["--once", "--new-topic"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(database.rows(MINUTES), ["2026-01-01 00:01:00.000000|3"]);
    topic.put_samples("P1", &[(150, 95.0), (200, 96.0)]);
    job.run_once();
    assert_eq!(database.rows(MINUTES), ["2026-01-01 00:01:00.000000|3", "2026-01-01 00:02:00.000000|3"]);
}

#[test]
fn a_topic_that_is_made_anew_under_a_running_job_stops_it_before_anything_of_it_is_stored() {
    let (job, topic, database) = TestJob::on_mysql();
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0), (1, 80.0)]);
    running.wait_until("it works", || database.so_far("SELECT COUNT(*) FROM readings") == "2");
    topic.make_anew(1);
    topic.put_samples("P1", &[(2, 90.0), (3, 91.0), (4, 92.0), (5, 93.0)]);
    assert_eq!(running.wait(), Some(1), "{}", running.log());
    assert!(running.log().contains("was deleted and made anew"), "{}", running.log());
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["2"]);
}

#[test]
fn a_topic_that_ends_before_what_the_store_has_read_is_not_the_one_that_it_read() {
    let (job, topic, database) = TestJob::on_mysql();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    use mysql::prelude::Queryable;
    // As an earlier version left it.
    database.connect().query_drop("UPDATE offsets SET next_offset = 50, topic_id = NULL").unwrap();
    let output = job.command("run").arg("--once").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the topic was deleted and made anew"));
    database.connect().query_drop("UPDATE offsets SET topic_id = NULL").unwrap();
    let output = job.command("run").args(["--once", "--new-topic"]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(database.rows("SELECT next_offset FROM offsets WHERE topic NOT LIKE '%@%'"), ["1"]);
}

#[test]
fn the_jobs_properties_reach_kafka_by_tls_and_password() {
    let (Ok(brokers), Ok(ca)) = (std::env::var("KAFKA_SECURE_BROKERS"), std::env::var("KAFKA_CA")) else {
        println!("skipped: the broker is the user's");
        return;
    };
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    topic.put_samples("P1", &[(0, 80.0), (1, 81.0)]);
    let properties = format!(
        "brokers = \"{brokers}\"\nproperties = {{ \"security.protocol\" = \"SASL_SSL\", \"sasl.mechanism\" = \"PLAIN\", \
         \"sasl.username\" = \"wardwatch\", \"sasl.password\" = \"${{SASL_PASSWORD}}\", \"ssl.ca.location\" = \"{ca}\" }}"
    );
    let job = TestJob::new(&topic.name, &database.url).source(&properties).query("tables/readings", READINGS);
    let run = |password: &str| {
        let mut command = job.command("run");
        command.args(["--once", "--connect-timeout", "4s"]).env("SASL_PASSWORD", password).output().unwrap()
    };
    let refused = run("wrong");
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    assert!(told(&refused).to_lowercase().contains("authentication"), "{}", told(&refused));
    assert!(!told(&refused).contains("wrong"), "{}", told(&refused));
    let output = run("secret");
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["2"]);
}

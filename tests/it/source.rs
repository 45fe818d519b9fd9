//! Where reading starts, new partitions, deleted records, encrypted connections.

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::bed::{Database, READINGS, TestJob, Topic, kafka, mysql_url, sample, told, wait_until};

fn readings(database: &crate::bed::Database) -> Vec<String> {
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
        let database = crate::bed::Database::create(&crate::bed::mysql_url());
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

#[test]
fn a_topic_that_was_made_anew_is_not_taken_for_the_old_one() {
    let (job, topic, database) = TestJob::on_mysql();
    topic.put_samples("P1", &[(0, 80.0)]);
    job.run_once();
    use mysql::prelude::Queryable;
    database.connect().query_drop("UPDATE offsets SET next_offset = 50").unwrap();
    let output = job.command("run").arg("--once").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the topic was deleted and made anew"));
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

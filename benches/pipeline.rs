//! The whole way of a record, on the real services: `make bench`, or `cargo bench --bench pipeline [NAME]`.
//!
//! Each figure stands beside what it is to be compared with, measured in the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use wardwatch::clock::SystemClock;
use wardwatch::config::{self, Job, StoreUrl};
use wardwatch::job::{Plan, RunOptions, run};
use wardwatch::source::{Next, Source, Topic, Until};

const PARTITIONS: i32 = 4;
const BACKLOG: usize = 2_000_000;
const ROWS: usize = 300_000;
const LIVE_SECONDS: u64 = 60;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("backlog") {
        backlog();
    }
    if is_wanted("rows") {
        rows();
    }
    if is_wanted("live") {
        live(LIVE_SECONDS);
    }
    if wanted.iter().any(|wanted| wanted == "soak") {
        live(20 * 60);
    }
}

fn brokers() -> String {
    std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS: run `make bench`")
}

/// A new database on the server of `MYSQL_URL`.
fn database(name: &str) -> String {
    let url = std::env::var("MYSQL_URL").expect("MYSQL_URL: run `make bench`");
    let mut connection = mysql::Conn::new(mysql::Opts::from_url(&url).unwrap()).unwrap();
    let name = format!("bench_{name}_{}", std::process::id());
    connection.query_drop(format!("CREATE DATABASE `{name}`")).unwrap();
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

fn topic(name: &str) -> String {
    let name = format!("bench_{name}_{}", std::process::id());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let new = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    name
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/patient_vitals.toml")
}

/// The shipped job on a topic and a database of the benchmark's own, with just these table queries.
fn job(folder: &Path, topic: &str, database: &str, tables: &[&str]) -> Job {
    let mut job = config::load(&shipped()).unwrap();
    let to = folder.join("tables");
    std::fs::create_dir_all(&to).unwrap();
    for table in tables {
        let file = format!("{table}.sql");
        std::fs::copy(job.sql.dir.join("tables").join(&file), to.join(&file)).unwrap();
    }
    job.sql.dir = folder.to_owned();
    job.source.brokers = brokers();
    job.source.topic = topic.to_owned();
    job.store = StoreUrl::MySql(database.to_owned());
    job
}

fn wardwatch(topic: &str, database: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardwatch"));
    command
        .arg(arguments[0])
        .arg(shipped())
        .args(&arguments[1..])
        .env("KAFKA_BROKERS", brokers())
        .env("KAFKA_TOPIC", topic)
        .env("MYSQL_URL", database);
    command
}

fn fill(topic: &str, records: usize) {
    let count = records.to_string();
    let filled = wardwatch(
        topic,
        "mysql://root@localhost/x",
        &["simulate", "--patients", "1000", "--rate", "max", "--records", &count],
    )
    .stderr(Stdio::null())
    .output()
    .unwrap();
    assert!(filled.status.success());
    println!("  filled the topic: {}", String::from_utf8_lossy(&filled.stdout).trim());
}

fn backlog() {
    println!("\nA backlog of {BACKLOG} records, 1,000 patients, {PARTITIONS} partitions");
    let topic_name = topic("backlog");
    fill(&topic_name, BACKLOG);

    let bare = per_second(BACKLOG, || consume(&topic_name));
    println!("  bare librdkafka, poll by poll        {bare:>12.0} records/s");

    let folder = tempfile::tempdir().unwrap();
    let database = database("backlog");
    let job = job(folder.path(), &topic_name, &database, &["ward_batches"]);
    let decoded = per_second(BACKLOG, || decode_all(&job));
    println!(
        "  Kafka to Arrow                       {decoded:>12.0} records/s   {:.0} % of bare",
        decoded / bare * 100.0
    );

    let plan = Plan::of(job).unwrap();
    let (mut queries, mut commit) = (Duration::ZERO, Duration::ZERO);
    let whole = per_second(BACKLOG, || {
        let summary = run(
            &plan,
            &mut RunOptions {
                until: Until::CaughtUp,
                connect_timeout: Duration::from_secs(10),
                stopped: &|| false,
                on_commit: &mut |progress| {
                    queries += progress.queries;
                    commit += progress.commit;
                },
                clock: Arc::new(SystemClock),
            },
        )
        .unwrap();
        assert_eq!(summary.records as usize, BACKLOG);
        println!("  batches                              {:>12}", summary.batches);
    });
    println!("  Kafka to SQL to MySQL                {whole:>12.0} records/s");
    let total = BACKLOG as f64 / whole;
    println!(
        "  stages of {total:.2} s: queries {:.2} s, episodes and commit {:.2} s, waiting for Kafka and decoding {:.2} s",
        queries.as_secs_f64(),
        commit.as_secs_f64(),
        total - queries.as_secs_f64() - commit.as_secs_f64()
    );
}

fn per_second(records: usize, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    records as f64 / started.elapsed().as_secs_f64()
}

fn consume(topic: &str) {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).set("group.id", "bench").create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut count = 0;
    while count < BACKLOG {
        count += usize::from(consumer.poll(Duration::from_secs(10)).expect("a record").is_ok());
    }
}

fn decode_all(job: &Job) {
    let topic = Topic::connect(&job.source, Duration::from_secs(10), &|| false).unwrap();
    let bounds = topic.bounds().unwrap();
    let positions = topic.starts(job.source.start, &bounds).unwrap();
    let source = Source::start(topic, &job.source, job.trigger, &positions, &bounds, Until::CaughtUp).unwrap();
    let mut rows = 0;
    loop {
        match source.next(Duration::from_secs(10)).unwrap() {
            Next::Batch(batch) => rows += batch.rows.num_rows(),
            Next::Nothing => panic!("no records"),
            Next::End => break,
        }
    }
    assert_eq!(rows, BACKLOG);
}

fn rows() {
    println!("\nA row per record into MySQL, {ROWS} records");
    let topic_name = topic("rows");
    fill(&topic_name, ROWS);
    let url = database("rows");
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::of(job(folder.path(), &topic_name, &url, &["readings"])).unwrap();
    let stored = per_second(ROWS, || {
        run(
            &plan,
            &mut RunOptions {
                until: Until::CaughtUp,
                connect_timeout: Duration::from_secs(10),
                stopped: &|| false,
                on_commit: &mut |_| {},
                clock: Arc::new(SystemClock),
            },
        )
        .unwrap();
    });
    println!("  wardwatch                            {stored:>12.0} rows/s");

    // The same rows, read back, in the same order, with the same statement, transactions as large.
    let mut connection = mysql::Conn::new(mysql::Opts::from_url(&url).unwrap()).unwrap();
    let rows: Vec<mysql::Row> = connection
        .exec("SELECT * FROM readings ORDER BY patient_id, event_time, source_partition, source_offset", ())
        .unwrap();
    let rows: Vec<Vec<mysql::Value>> = rows.into_iter().map(mysql::Row::unwrap).collect();
    connection.query_drop("CREATE TABLE bare LIKE readings").unwrap();
    let width = rows[0].len();
    let row = format!("({})", vec!["?"; width].join(","));
    let bare = per_second(ROWS, || {
        for transaction in rows.chunks(100_000) {
            connection.query_drop("BEGIN").unwrap();
            for chunk in transaction.chunks(512) {
                let sql = format!("INSERT INTO bare VALUES {}", vec![row.as_str(); chunk.len()].join(","));
                let values: Vec<mysql::Value> = chunk.iter().flatten().cloned().collect();
                connection.exec_drop(sql, mysql::Params::Positional(values)).unwrap();
            }
            connection.query_drop("COMMIT").unwrap();
        }
    });
    println!(
        "  bare multi-row INSERT                {bare:>12.0} rows/s   wardwatch has {:.0} %",
        stored / bare * 100.0
    );
}

/// The shipped job on 1,000 patients at 1 Hz, each second of it.
fn live(seconds: u64) {
    println!("\n1,000 patients at 1 Hz, every shipped query, into MySQL, {seconds} s");
    let (topic_name, url) = (topic("live"), database("live"));
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut job = wardwatch(&topic_name, &url, &["run"])
        .env("WARDWATCH_LOG", "wardwatch::job=debug")
        .env("NO_COLOR", "1")
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let count = (seconds * 1_000).to_string();
    let mut simulator = wardwatch(&topic_name, &url, &["simulate", "--patients", "1000", "--records", &count])
        .args(["--scenarios", "sepsis,hypoxia,lead-off,bleeding"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(10)); // the start is not the steady state
    let (cpu_before, from) = (cpu_seconds(job.id()), Instant::now());
    println!("  after {:>5} s: {} MiB resident", 10, resident_mib(job.id()));
    let mut next = 60;
    while simulator.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(200));
        if from.elapsed().as_secs() + 10 >= next {
            println!("  after {next:>5} s: {} MiB resident", resident_mib(job.id()));
            next += 120;
        }
    }
    let cpu = (cpu_seconds(job.id()) - cpu_before) / from.elapsed().as_secs_f64() * 100.0;
    let memory = resident_mib(job.id());
    std::thread::sleep(Duration::from_secs(2));
    assert!(Command::new("kill").arg(job.id().to_string()).status().unwrap().success());
    assert!(job.wait().unwrap().success());
    let text = std::fs::read_to_string(log.path()).unwrap();
    let mut latencies: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split_once("latency_seconds=")?.1.split_whitespace().next()?.parse().ok())
        .skip(5)
        .collect();
    latencies.sort_by(f64::total_cmp);
    let percentile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] * 1_000.0;
    println!("  batches                              {:>12}", latencies.len());
    println!("  closed to committed, median          {:>12.1} ms", percentile(0.5));
    println!("  closed to committed, 99th percentile {:>12.1} ms", percentile(0.99));
    println!("  CPU of wardwatch                     {cpu:>12.1} % of one core");
    println!("  resident memory at the end           {memory:>12} MiB");
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // User and system time are the 14th and 15th field of the line, in hundredths of a second.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

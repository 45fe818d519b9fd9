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

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql::prelude::Queryable;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use wardwatch::clock::SystemClock;
use wardwatch::config::{self, Job, StoreUrl};
use wardwatch::health::Health;
use wardwatch::job::{AtEnd, Plan, Progress, ReplacedTopic, RunOptions, Standby, Summary, run};
use wardwatch::kafka;
use wardwatch::source::{Next, Source, Until};

use support::{
    PARTITIONS, brokers, cpu_seconds, database, is_wanted, percentile, resident_mib, shipped, topic, wardwatch_with,
};

const BACKLOG: usize = 2_000_000;
const ROWS: usize = 300_000;
const LIVE_SECONDS: u64 = 180;

fn main() {
    if is_wanted("backlog") {
        backlog();
    }
    if is_wanted("rows") {
        rows();
    }
    if is_wanted("windows") {
        windows();
    }
    if is_wanted("restart") {
        restart();
    }
    if is_wanted("live") {
        live(LIVE_SECONDS);
    }
    if is_wanted("rules") {
        many_rules(LIVE_SECONDS);
    }
    // For itself only: it needs another version's program.
    if std::env::args().any(|argument| argument == "before") {
        before(LIVE_SECONDS);
    }
    // For itself only: it takes twenty minutes.
    if std::env::args().any(|argument| argument == "soak") {
        live(20 * 60);
    }
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
    job.source.read_topic(topic);
    job.store = StoreUrl::MySql(database.to_owned());
    job
}

fn wardwatch(topic: &str, database: &str, arguments: &[&str]) -> Command {
    wardwatch_with(&shipped(), topic, database, arguments)
}

fn fill(topic: &str, records: usize) {
    fill_with(topic, records, &["--patients", "1000"]);
}

fn fill_with(topic: &str, records: usize, options: &[&str]) {
    let count = records.to_string();
    let filled = wardwatch(topic, "mysql://root@localhost/x", &["simulate", "--rate", "max", "--records", &count])
        .args(options)
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

    let mut plan = Plan::of(job).unwrap();
    let (mut queries, mut commit) = (Duration::ZERO, Duration::ZERO);
    let whole = per_second(BACKLOG, || {
        let summary = catch_up(&mut plan, AtEnd::LeaveWindows, &mut |progress| {
            queries += progress.queries;
            commit += progress.commit;
        });
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

/// Two million records of 10,000 patients through `vitals_1m` and ten rules; beside it the same SQL by DataFusion over
/// the same records, decoded and in memory as one table.
fn windows() {
    println!(
        "\nA backlog of {BACKLOG} records of 10,000 patients through vitals_1m (7 vitals) and 10 rules, into MySQL"
    );
    let topic_name = topic("windows");
    fill_with(&topic_name, BACKLOG, &["--patients", "10000"]);
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(folder.path(), &topic_name, &database("windows"), &["vitals_1m"]);
    let rules = folder.path().join("rules");
    std::fs::create_dir_all(&rules).unwrap();
    let conditions = [
        "heart_rate > 120",
        "heart_rate < 50",
        "spo2 < 90",
        "respiratory_rate > 30",
        "respiratory_rate < 8",
        "systolic_bp <= 90",
        "systolic_bp > 180",
        "temperature >= 39.1",
        "temperature < 35",
        "abs(heart_rate - pulse) > 30",
    ];
    let select = |condition: &str| format!("SELECT patient_id, event_time FROM vitals WHERE {condition}");
    for (number, condition) in conditions.iter().enumerate() {
        let text = format!("-- @severity: low\n-- @for: 10s\n{}", select(condition));
        std::fs::write(rules.join(format!("rule_{number}.sql")), text).unwrap();
    }
    job.sql.dir = folder.path().to_owned();

    let rows = decoded_rows(&job);
    let minute = std::fs::read_to_string(folder.path().join("tables/vitals_1m.sql")).unwrap();
    let minute = minute.replace("tumble(event_time, INTERVAL '1 minute')", "date_bin(INTERVAL '1 minute', event_time)");
    let once = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let context = datafusion::prelude::SessionContext::new();
            let schema = rows[0].schema();
            let table = datafusion::datasource::MemTable::try_new(schema, vec![rows.clone()]).unwrap();
            context.register_table("vitals", Arc::new(table)).unwrap();
            let mut windows = 0;
            for batch in context.sql(&minute).await.unwrap().collect().await.unwrap() {
                windows += batch.num_rows();
            }
            for condition in conditions {
                context.sql(&select(condition)).await.unwrap().collect().await.unwrap();
            }
            assert!(windows > 0);
        });
    };
    // Its time varies more than ours, which waits for others.
    let mut runs: Vec<f64> = (0..5).map(|_| per_second(BACKLOG, once)).collect();
    runs.sort_by(f64::total_cmp);
    let plain = runs[2];
    drop(rows);
    println!("  DataFusion, one batch in memory      {plain:>12.0} records/s");

    let mut plan = Plan::of(job).unwrap();
    let (mut queries, mut commit) = (Duration::ZERO, Duration::ZERO);
    let whole = per_second(BACKLOG, || {
        catch_up(&mut plan, AtEnd::CloseWindows, &mut |progress| {
            queries += progress.queries;
            commit += progress.commit;
        });
    });
    println!("  Kafka to windows and rules to MySQL  {whole:>12.0} records/s   {:.0} % of that", whole / plain * 100.0);
    println!(
        "  of {:.2} s: queries {:.2} s, episodes and commit {:.2} s",
        BACKLOG as f64 / whole,
        queries.as_secs_f64(),
        commit.as_secs_f64()
    );
}

fn decoded_rows(job: &Job) -> Vec<arrow::array::RecordBatch> {
    let topic = kafka::Consumer::connect(&job.source, Duration::from_secs(10), &|| false).unwrap();
    let bounds = topic.bounds().unwrap();
    let positions = topic.starts(job.source.start, &bounds, &Default::default()).unwrap();
    let mut source =
        Source::start(topic, &job.source, job.trigger, &positions, &bounds, Until::CaughtUp, None).unwrap();
    let mut rows = Vec::new();
    while let Next::Batch(batch) = source.next(Duration::from_secs(10)).unwrap() {
        rows.push(batch.rows);
    }
    rows
}

/// From the start of a process to its first commit, with history to read again and a long window to go on with.
fn restart() {
    const RECORDS: usize = 900_000;
    println!("\nA restart with 15 minutes of history at 1,000 records/s and an open 24-hour window of 10,000 patients");
    let (topic_name, url) = (topic("restart"), database("restart"));
    let options = ["--patients", "10000", "--interval", "10s"];
    fill_with(&topic_name, RECORDS, &options);
    let folder = tempfile::tempdir().unwrap();
    let make = || {
        let mut job = job(folder.path(), &topic_name, &url, &["vitals_1m"]);
        let day = std::fs::read_to_string(folder.path().join("tables/vitals_1m.sql")).unwrap();
        std::fs::write(folder.path().join("tables/vitals_24h.sql"), day.replace("1 minute", "24 hours")).unwrap();
        let rules = folder.path().join("rules");
        std::fs::create_dir_all(&rules).unwrap();
        let rising = shipped().parent().unwrap().join("../sql/vitals/rules/heart_rate_rising.sql");
        std::fs::copy(rising, rules.join("heart_rate_rising.sql")).unwrap();
        job.source.retain = Duration::from_secs(15 * 60);
        Plan::of(job).unwrap()
    };
    let once = |first: &mut Option<Duration>| {
        let started = Instant::now();
        catch_up(&mut make(), AtEnd::LeaveWindows, &mut |_| *first = first.or(Some(started.elapsed())));
    };
    once(&mut None);
    fill_with(&topic_name, 1_000, &options);
    let mut first = None;
    once(&mut first);
    println!("  start to first commit                {:>12.2} s", first.expect("a batch").as_secs_f64());
}

/// A hundred rules at 10,000 patients and 10,000 records a second.
fn many_rules(seconds: u64) {
    println!("\n100 rules at 10,000 patients and 10,000 records/s, into MySQL, {seconds} s");
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("sql/rules");
    std::fs::create_dir_all(&rules).unwrap();
    let vitals = ["heart_rate", "respiratory_rate", "spo2", "systolic_bp", "temperature"];
    for number in 0..100 {
        let vital = vitals[number % vitals.len()];
        let text = format!(
            "-- @severity: low\n-- @for: 10s\nSELECT patient_id, event_time, {vital} FROM vitals WHERE {vital} > {}",
            150 + number
        );
        std::fs::write(rules.join(format!("rule_{number}.sql")), text).unwrap();
    }
    let text = std::fs::read_to_string(shipped()).unwrap().replace("dir = \"../sql/vitals\"", "dir = \"sql\"");
    let file = folder.path().join("job.toml");
    std::fs::write(&file, text).unwrap();
    live_job(&file, &["--patients", "10000"], 10_000, seconds);
}

/// Runs the job on what the topic has.
fn catch_up(plan: &mut Plan, at_end: AtEnd, on_commit: &mut dyn FnMut(&Progress<'_>)) -> Summary {
    let mut options = RunOptions {
        until: Until::CaughtUp,
        at_end,
        standby: Standby::Stop,
        new_topic: ReplacedTopic::Refuse,
        connect_timeout: Duration::from_secs(10),
        stopped: &|| false,
        on_start: &mut || {},
        on_repeat: &|_, _| {},
        on_commit,
        health: &Health::new(Arc::new(SystemClock)),
        clock: Arc::new(SystemClock),
    };
    run(plan, &mut options).unwrap()
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
    let topic = kafka::Consumer::connect(&job.source, Duration::from_secs(10), &|| false).unwrap();
    let bounds = topic.bounds().unwrap();
    let positions = topic.starts(job.source.start, &bounds, &Default::default()).unwrap();
    let mut source =
        Source::start(topic, &job.source, job.trigger, &positions, &bounds, Until::CaughtUp, None).unwrap();
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
    let mut plan = Plan::of(job(folder.path(), &topic_name, &url, &["readings"])).unwrap();
    let stored = per_second(ROWS, || {
        catch_up(&mut plan, AtEnd::LeaveWindows, &mut |_| {});
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
    let patients = ["--patients", "1000", "--scenarios", "sepsis,hypoxia,lead-off,bleeding"];
    let url = live_job(&shipped(), &patients, 1_000, seconds);
    let tables = [
        ("readings", "event_time > (SELECT max(event_time) FROM readings) - INTERVAL 1 SECOND"),
        ("patient_status", "true"),
        ("vitals_1m", "window_start = (SELECT max(window_start) FROM vitals_1m)"),
        ("news2_1m", "window_start = (SELECT max(window_start) FROM news2_1m)"),
        ("news2_trend", "window_start = (SELECT min(window_start) FROM news2_trend)"),
        ("spo2_30s", "window_start = (SELECT max(window_start) FROM spo2_30s)"),
    ];
    let (usual, minute) = (bare(&url, &tables[..2]), bare(&url, &tables));
    println!("  bare INSERTs of a usual batch's rows {:>12.1} ms", usual.as_secs_f64() * 1e3);
    println!("  bare INSERTs of a full minute's rows {:>12.1} ms", minute.as_secs_f64() * 1e3);
}

/// This program and one of before on the same records at the same time: what each takes. `WARDWATCH_BEFORE` is that program,
/// `WARDWATCH_BEFORE_JOB` its shipped job.
fn before(seconds: u64) {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    println!("\n1,000 patients at 1 Hz, every shipped query, into MySQL, {seconds} s: this program beside another one");
    let topic_name = topic("before");
    // How much of a program's file is resident depends on how the file came into the page cache, by more than ten MiB: both are
    // copied alike.
    let copies = tempfile::tempdir().unwrap();
    let start = |name: &'static str, program: &str, job: &str| {
        let copy = copies.path().join(name);
        std::fs::copy(program, &copy).unwrap();
        let mut command = Command::new(copy);
        command.args(["run", job]).env("KAFKA_BROKERS", brokers()).env("KAFKA_TOPIC", &topic_name);
        command.env("NO_COLOR", "1").env("MYSQL_URL", database(name));
        (name, command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let mut jobs = [
        start("before", &variable("WARDWATCH_BEFORE"), &variable("WARDWATCH_BEFORE_JOB")),
        start("now", env!("CARGO_BIN_EXE_wardwatch"), shipped().to_str().unwrap()),
    ];
    let count = (seconds * 1_000).to_string();
    let patients = ["--patients", "1000", "--scenarios", "sepsis,hypoxia,lead-off,bleeding"];
    let mut simulator = wardwatch(&topic_name, "mysql://unused", &["simulate", "--records", &count]);
    let mut simulator = simulator.args(patients).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(20)); // the start is not the steady state
    let (from, cpu_before) = (Instant::now(), jobs.each_ref().map(|(_, job)| cpu_seconds(job.id())));
    assert!(simulator.wait().unwrap().success());
    let took = from.elapsed().as_secs_f64();
    let cpu = jobs.each_ref().map(|(_, job)| cpu_seconds(job.id()));
    let costs: Vec<(f64, f64)> = (0..2)
        .map(|place| {
            let memory = resident_mib(jobs[place].1.id()).unwrap();
            ((cpu[place] - cpu_before[place]) / took * 100.0, memory as f64)
        })
        .collect();
    for ((name, job), (cpu, memory)) in jobs.iter_mut().zip(&costs) {
        println!("  {name:<6} {cpu:>6.1} % of one core, {memory:>5.0} MiB");
        assert!(Command::new("kill").arg(job.id().to_string()).status().unwrap().success());
        assert!(job.wait().unwrap().success());
    }
    let ratio = |of: fn(&(f64, f64)) -> f64| of(&costs[1]) / of(&costs[0]);
    println!("  now by before: CPU {:.3} x, memory {:.3} x", ratio(|cost| cost.0), ratio(|cost| cost.1));
}

/// What the database alone takes for these rows in one transaction, by the least that a client can do; median of 9.
fn bare(url: &str, tables: &[(&str, &str)]) -> Duration {
    let mut connection = mysql::Conn::new(mysql::Opts::from_url(url).unwrap()).unwrap();
    let mut statements = Vec::new();
    for (table, which) in tables {
        connection.query_drop(format!("CREATE TABLE IF NOT EXISTS bare_{table} LIKE {table}")).unwrap();
        let rows: Vec<mysql::Row> = connection.query(format!("SELECT * FROM {table} WHERE {which}")).unwrap();
        let rows: Vec<Vec<mysql::Value>> = rows.into_iter().map(mysql::Row::unwrap).collect();
        for chunk in rows.chunks(256) {
            let row = format!("({})", vec!["?"; chunk[0].len()].join(","));
            let sql = format!("INSERT INTO bare_{table} VALUES {}", vec![row; chunk.len()].join(","));
            statements.push((sql, chunk.iter().flatten().cloned().collect::<Vec<_>>()));
        }
    }
    let mut took: Vec<Duration> = (0..9)
        .map(|_| {
            for (table, _) in tables {
                connection.query_drop(format!("TRUNCATE bare_{table}")).unwrap();
            }
            let started = Instant::now();
            connection.query_drop("BEGIN").unwrap();
            for (sql, values) in &statements {
                connection.exec_drop(sql, mysql::Params::Positional(values.clone())).unwrap();
            }
            connection.query_drop("COMMIT").unwrap();
            started.elapsed()
        })
        .collect();
    took.sort();
    took[4]
}

/// A job on simulated patients at 1 Hz, in processes of their own. Returns its store.
fn live_job(file: &Path, patients: &[&str], rate: u64, seconds: u64) -> String {
    let (topic_name, url) = (topic(&format!("live{rate}")), database(&format!("live{rate}")));
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut job = wardwatch_with(file, &topic_name, &url, &["run"])
        .env("WARDWATCH_LOG", "wardwatch::job=debug")
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let count = (seconds * rate).to_string();
    let mut simulator = wardwatch(&topic_name, &url, &["simulate", "--records", &count])
        .args(patients)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(10)); // the start is not the steady state
    let (cpu_before, from) = (cpu_seconds(job.id()), Instant::now());
    println!("  after {:>5} s: {} MiB resident", 10, resident_mib(job.id()).unwrap());
    let mut next = 60;
    while simulator.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(200));
        if from.elapsed().as_secs() + 10 >= next {
            println!("  after {next:>5} s: {} MiB resident", resident_mib(job.id()).unwrap());
            next += 120;
        }
    }
    let cpu = (cpu_seconds(job.id()) - cpu_before) / from.elapsed().as_secs_f64() * 100.0;
    let memory = resident_mib(job.id()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(Command::new("kill").arg(job.id().to_string()).status().unwrap().success());
    assert!(job.wait().unwrap().success());
    let text = std::fs::read_to_string(log.path()).unwrap();
    let mut latencies: Vec<f64> = text
        .lines()
        .filter_map(|line| line.split_once("latency_seconds=")?.1.split_whitespace().next()?.parse().ok())
        .skip(5)
        .collect();
    let mut latency = |share: f64| percentile(&mut latencies, share) * 1_000.0;
    let (median, most) = (latency(0.5), latency(0.99));
    println!("  batches                              {:>12}", latencies.len());
    println!("  closed to committed, median          {median:>12.1} ms");
    println!("  closed to committed, 99th percentile {most:>12.1} ms");
    println!("  CPU of wardwatch                     {cpu:>12.1} % of one core");
    println!("  resident memory at the end           {memory:>12} MiB");
    url
}

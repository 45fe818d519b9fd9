//! What benchmarks stand on: a topic and a database of their own, the shipped job, what a process costs.

#![allow(dead_code, reason = "not every benchmark needs everything")]
#![allow(unreachable_pub, reason = "each benchmark is a crate of its own")]

use std::path::{Path, PathBuf};
use std::process::Command;

use mysql::prelude::Queryable;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

pub const PARTITIONS: i32 = 4;

/// The benchmarks that are asked for by name; all where none is.
pub fn is_wanted(name: &str) -> bool {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
}

pub fn brokers() -> String {
    std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS: run `make bench`")
}

/// A new database on the server of `MYSQL_URL`.
pub fn database(name: &str) -> String {
    let url = std::env::var("MYSQL_URL").expect("MYSQL_URL: run `make bench`");
    let mut connection = mysql::Conn::new(mysql::Opts::from_url(&url).unwrap()).unwrap();
    let name = format!("bench_{name}_{}", std::process::id());
    connection.query_drop(format!("CREATE DATABASE `{name}`")).unwrap();
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

/// A new topic.
pub fn topic(name: &str) -> String {
    let name = format!("bench_{name}_{}", std::process::id());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let new = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    name
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn shipped() -> PathBuf {
    repository().join("jobs/patient_vitals.toml")
}

/// The shipped job as a file in `folder`, with reports in it, and with more at its end.
pub fn shipped_in(folder: &Path, more: &str) -> PathBuf {
    let absolute = |path: &str| format!("{:?}", repository().join(path).display().to_string());
    let text = std::fs::read_to_string(shipped()).unwrap();
    let text = text
        .replace("\"../sql/vitals\"", &absolute("sql/vitals"))
        .replace("\"../reports\"", &absolute("reports"))
        .replace("\"../reports/out\"", "\"out\"");
    let file = folder.join("job.toml");
    std::fs::write(&file, format!("{text}\n{more}")).unwrap();
    file
}

/// A command on a job with a topic and a database.
pub fn wardwatch_with(job: &Path, topic: &str, database: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardwatch"));
    command
        .arg(arguments[0])
        .arg(job)
        .args(&arguments[1..])
        .env("KAFKA_BROKERS", brokers())
        .env("KAFKA_TOPIC", topic)
        .env("MYSQL_URL", database)
        .env("NO_COLOR", "1");
    command
}

/// The seconds of a CPU that a process has taken.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // User and system time are the 14th and 15th field of the line, in hundredths of a second.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// The memory that a process holds; nothing where it has ended.
pub fn resident_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1_024)
}

/// The value of which a share of the others is smaller.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

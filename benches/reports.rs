//! What reports cost: `make bench`, or `cargo bench --bench reports [NAME]` beside a real MySQL and Kafka.

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
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use mysql::prelude::Queryable;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use wardwatch::report::{Body, Figure, Limit, Line, Lines, Panel, PictureSize, Theme, Trace, png};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("month") {
        month();
    }
    if is_wanted("day") {
        day();
    }
    if is_wanted("ward") {
        ward();
    }
}

/// 30 days at 1 Hz in one chart, from values in memory to a picture.
fn month() {
    println!("\nA chart of 30 days at 1 Hz, 2,592,000 values");
    const SECONDS: usize = 30 * 86_400;
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let value = |second: usize| 70.0 + (second as f64 / 900.0).sin() * 20.0 + (second % 7) as f64;
    let lines = Lines {
        times: (0..SECONDS as i64).map(|second| start.timestamp_micros() + second * 1_000_000).collect(),
        lines: vec![Line {
            name: "heart_rate".to_owned(),
            label: String::new(),
            values: (0..SECONDS).map(|second| Some(value(second))).collect(),
            band: None,
        }],
        trace: Trace::Straight,
        limits: vec![Limit { low: Some(50.0), high: Some(120.0), whose: "default".to_owned() }],
        gap: None,
    };
    let figure = Figure {
        title: "Heart rate".to_owned(),
        note: String::new(),
        from: start,
        until: start + TimeDelta::days(30),
        zone: chrono_tz::UTC,
        theme: Theme::Light,
        panels: vec![Panel { title: "Heart rate".to_owned(), unit: "/min".to_owned(), body: Body::Lines(lines) }],
        footer: String::new(),
    };
    let mut drawn = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let svg = figure.svg().unwrap();
        let vector = started.elapsed();
        png(&svg, PictureSize::default()).unwrap();
        drawn.push((started.elapsed(), vector));
    }
    drawn.sort();
    println!("  to SVG, median of 5                  {:>8.0} ms", drawn[2].1.as_secs_f64() * 1e3);
    println!("  to SVG and PNG                       {:>8.0} ms", drawn[2].0.as_secs_f64() * 1e3);
}

fn brokers() -> String {
    std::env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS: run `make bench`")
}

/// The shipped job in a folder of its own, on a topic and a database of its own, with records in the store.
struct Shipped {
    folder: tempfile::TempDir,
    topic: String,
    url: String,
}

impl Shipped {
    fn with(name: &str, simulate: &[&str]) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(repository.join("jobs/patient_vitals.toml")).unwrap();
        let absolute = |path: &str| format!("{:?}", repository.join(path).display().to_string());
        let text = text
            .replace("\"../sql/vitals\"", &absolute("sql/vitals"))
            .replace("\"../reports\"", &absolute("reports"))
            .replace("\"../reports/out\"", "\"out\"");
        std::fs::write(folder.path().join("job.toml"), text).unwrap();

        let server = std::env::var("MYSQL_URL").expect("MYSQL_URL: run `make bench`");
        let name = format!("bench_{name}_{}", std::process::id());
        let mut connection = mysql::Conn::new(mysql::Opts::from_url(&server).unwrap()).unwrap();
        connection.query_drop(format!("CREATE DATABASE `{name}`")).unwrap();
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        let new = NewTopic::new(&name, 4, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
        let shipped = Self { folder, url: format!("{}/{name}", server.rsplit_once('/').unwrap().0), topic: name };
        let started = Instant::now();
        let filled = shipped.command("simulate").args(simulate).args(["--rate", "max"]).stderr(Stdio::null()).output();
        assert!(filled.unwrap().status.success());
        let ran = shipped.command("run").args(["--once", "--close-windows"]).stderr(Stdio::null()).output().unwrap();
        assert!(ran.status.success());
        println!(
            "  stored in {:.0} s: {}",
            started.elapsed().as_secs_f64(),
            String::from_utf8_lossy(&ran.stdout).trim()
        );
        shipped
    }

    fn command(&self, command: &str) -> Command {
        let mut wardwatch = Command::new(env!("CARGO_BIN_EXE_wardwatch"));
        wardwatch.arg(command).arg("job.toml").current_dir(self.folder.path());
        wardwatch.env("KAFKA_BROKERS", brokers()).env("KAFKA_TOPIC", &self.topic).env("MYSQL_URL", &self.url);
        wardwatch
    }

    /// How long a report takes, as a process of its own, and the most memory that it held.
    fn report(&self, arguments: &[&str]) -> (Duration, u64) {
        let started = Instant::now();
        let mut report =
            self.command("report").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut most = 0;
        let status = loop {
            most = most.max(resident_mib(report.id()).unwrap_or(0));
            match report.try_wait().unwrap() {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert!(status.success());
        (started.elapsed(), most)
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }
}

/// One patient's trend of 24 hours at 1 Hz.
fn day() {
    println!("\npatient_trend of 24 hours at 1 Hz, 86,400 rows, from MySQL");
    let shipped = Shipped::with("day", &["--patients", "1", "--records", "86400", "--scenarios", "sepsis"]);
    let mut took: Vec<_> = (0..5).map(|_| shipped.report(&["patient_trend", "--last", "24h"])).collect();
    took.sort();
    println!("  the whole command, median of 5       {:>8.0} ms, {} MiB", took[2].0.as_secs_f64() * 1e3, took[2].1);
}

/// The trends of 1,000 patients, ten minutes each.
fn ward() {
    println!("\npatient_trend of 1,000 patients, ten minutes at 1 Hz each, from MySQL");
    let shipped =
        Shipped::with("ward", &["--patients", "1000", "--records", "600000", "--scenarios", "sepsis,hypoxia"]);
    let (took, most) = shipped.report(&["patient_trend", "--last", "10m"]);
    let pages = std::fs::read_dir(shipped.out().join("patient_trend")).unwrap().count();
    println!("  {pages} pages                           {:>8.1} s, {most} MiB at most", took.as_secs_f64());
}

fn resident_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1_024)
}

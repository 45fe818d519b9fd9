//! What reports cost: `make bench`, or `cargo bench --bench reports [NAME]` beside a real MySQL and Kafka.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    missing_docs
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use wardwatch::report::{Body, Figure, Limit, Line, Lines, Panel, PictureSize, Theme, Trace, png};

use support::{database, is_wanted, resident_mib, shipped_in, topic, wardwatch_with};

fn main() {
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

/// The shipped job in a folder of its own, on a topic and a database of its own, with records in the store.
struct Shipped {
    folder: tempfile::TempDir,
    topic: String,
    url: String,
}

impl Shipped {
    fn with(name: &str, simulate: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        shipped_in(folder.path(), "");
        let shipped = Self { folder, url: database(name), topic: topic(name) };
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
        let mut wardwatch = wardwatch_with(Path::new("job.toml"), &self.topic, &self.url, &[command]);
        wardwatch.current_dir(self.folder.path());
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

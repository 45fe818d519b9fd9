//! What the job's batches cost while something else goes on beside them, in turns of one run:
//! `make bench`, or `cargo bench --bench beside [pages | reports]` beside a real MySQL and Kafka.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    missing_docs
)]

#[path = "../tests/it/webdriver.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests need more of it")]
mod webdriver;

mod support;

/// What the browser's driver needs of the tests' own ground.
mod fixtures {
    pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let is_met = (0..1_200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            is_so()
        });
        assert!(is_met, "not within a minute: {what}");
    }
}

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use support::{cpu_seconds, database, is_wanted, percentile, resident_mib, shipped_in, topic, wardwatch_with};

/// Scores and their windows begin after two minutes, and batches are slower then; before that, nothing is compared.
const WARM_UP: Duration = Duration::from_secs(200);

const PAGES: usize = 100;

fn main() {
    if is_wanted("pages") {
        pages();
    }
    if is_wanted("reports") {
        reports();
    }
}

/// The shipped job and its simulated patients, each a process.
struct Live {
    job: Child,
    simulator: Child,
    log: tempfile::NamedTempFile,
    _folder: tempfile::TempDir,
}

impl Live {
    fn start(name: &str, patients: u64, length: Duration, more: &str, specs: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = shipped_in(folder.path(), more);
        if let Some(spec) = specs {
            std::fs::create_dir_all(folder.path().join("specs")).unwrap();
            std::fs::write(folder.path().join("specs/patient_trend.toml"), spec).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let absolute = format!("specs = {:?}", support::repository().join("reports").display().to_string());
            std::fs::write(&file, text.replace(&absolute, "specs = \"specs\"")).unwrap();
        }
        let (topic, url) = (topic(name), database(name));
        let log = tempfile::NamedTempFile::new().unwrap();
        let job = wardwatch_with(&file, &topic, &url, &["run"])
            .env("WARDWATCH_LOG", "wardwatch::job=debug,wardwatch::report=info,wardwatch=warn")
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let (patients, records) = (patients.to_string(), (patients * length.as_secs()).to_string());
        let simulator = wardwatch_with(Path::new(&file), &topic, &url, &["simulate", "--records", &records])
            .args(["--patients", &patients, "--scenarios", "sepsis,hypoxia,lead-off,bleeding"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { job, simulator, log, _folder: folder }
    }

    /// The commits so far: when, which batch, from its closing, milliseconds.
    fn commits(&self) -> Vec<(DateTime<Utc>, u64, f64)> {
        let text = std::fs::read_to_string(self.log.path()).unwrap();
        let commit = |line: &str| {
            let value = |name: &str| line.split_once(name)?.1.split_whitespace().next();
            let at = DateTime::parse_from_rfc3339(line.split_whitespace().next()?).ok()?.to_utc();
            let latency: f64 = value("latency_seconds=")?.parse().ok()?;
            Some((at, value("batch=")?.parse().ok()?, latency * 1e3))
        };
        text.lines().filter_map(commit).collect()
    }

    fn stop(mut self) {
        self.simulator.kill().unwrap();
        self.simulator.wait().unwrap();
        assert!(std::process::Command::new("kill").arg(self.job.id().to_string()).status().unwrap().success());
        self.job.wait().unwrap();
    }
}

/// Prints how batches fared in both kinds of turns.
fn compare(what: &str, with: &mut [f64], without: &mut [f64]) {
    let medians = (percentile(with, 0.5), percentile(without, 0.5));
    println!(
        "  batches, median                      {:>8.1} ms {what}, {:.1} ms without: {:.3} x ({} and {} batches)",
        medians.0,
        medians.1,
        medians.0 / medians.1,
        with.len(),
        without.len()
    );
}

/// What open pages hear of each batch: which page, the batch, and when it heard of it first.
type Heard = Arc<Mutex<HashMap<(usize, u64), DateTime<Utc>>>>;

/// Opens a stream of events and reads it until it is told to stop.
fn open_page(page: usize, port: u16, stop: &Arc<AtomicBool>, heard: &Heard) -> std::thread::JoinHandle<()> {
    let (stop, heard) = (Arc::clone(stop), Arc::clone(heard));
    let read = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
        let mut lines = BufReader::with_capacity(1 << 16, stream);
        let mut line = Vec::new();
        while !stop.load(Ordering::Relaxed) && lines.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            let now = Utc::now();
            let head = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            let batch = head.split_once("\"batch\":").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
            // The beats between repeat the number of the last batch.
            if let Some(batch) = batch.filter(|_| head.starts_with("data: ")) {
                heard.lock().unwrap().entry((page, batch)).or_insert(now);
            }
            line.clear();
        }
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(read).unwrap()
}

/// The whole answer to a request, as long as it is on the line.
fn load(port: u16, path: &str, headers: &str) -> (Duration, usize) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]));
    (started.elapsed(), bytes.len())
}

/// 500 patients at 1 Hz, with and without 100 open pages.
fn pages() {
    const TURN: Duration = Duration::from_secs(30);
    const TURNS: usize = 10;
    println!(
        "\n500 patients at 1 Hz, every shipped query, into MySQL; {PAGES} open pages, on and off by {} s",
        TURN.as_secs()
    );
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let length = WARM_UP + TURN * (TURNS as u32 + 5);
    let live = Live::start("pages", 500, length, &format!("[dashboard]\nlisten = \"127.0.0.1:{port}\""), None);
    std::thread::sleep(WARM_UP);
    let (mut cpu, mut memory) = ([Vec::new(), Vec::new()], [0_u64, 0]);
    let (mut turns, mut delays) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let is_on = turn % 2 == 1;
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Heard::default());
        let open: Vec<_> =
            (0..if is_on { PAGES } else { 0 }).map(|page| open_page(page, port, &stop, &heard)).collect();
        std::thread::sleep(Duration::from_secs(2));
        let (from, before) = (Utc::now(), cpu_seconds(live.job.id()));
        std::thread::sleep(TURN);
        let until = Utc::now();
        let share = (cpu_seconds(live.job.id()) - before) / (until - from).as_seconds_f64() * 100.0;
        cpu[usize::from(is_on)].push(share);
        memory[usize::from(is_on)] = memory[usize::from(is_on)].max(resident_mib(live.job.id()).unwrap());
        turns.push((is_on, from, until));
        stop.store(true, Ordering::Relaxed);
        open.into_iter().for_each(|page| page.join().unwrap());
        let commits: HashMap<u64, DateTime<Utc>> =
            live.commits().into_iter().map(|(at, batch, _)| (batch, at)).collect();
        // A page hears of the batch before it was opened at once.
        let heard = heard.lock().unwrap();
        let of_turn = heard.iter().filter_map(|((_, batch), at)| Some((commits.get(batch)?, at)));
        let of_turn = of_turn.filter(|(commit, _)| (from..until).contains(*commit));
        delays.extend(of_turn.map(|(commit, at)| (*at - *commit).as_seconds_f64() * 1e3));
    }
    let mut took: Vec<f64> = (0..21).map(|_| load(port, "/", "").0.as_secs_f64() * 1e3).collect();
    let (plain, packed) = (load(port, "/", "").1, load(port, "/", "Accept-Encoding: gzip\r\n").1);
    let commits = live.commits();
    in_a_browser(port);
    live.stop();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for (at, _, latency) in commits {
        let turn = turns.iter().find(|(_, from, until)| (*from..*until).contains(&at));
        match turn {
            Some((true, _, _)) => with.push(latency),
            Some((false, _, _)) => without.push(latency),
            None => {}
        }
    }
    compare("with pages", &mut with, &mut without);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    println!(
        "  CPU of the job                       {:>8.1} % of a core with pages, {:.1} % without",
        mean(&cpu[1]),
        mean(&cpu[0])
    );
    println!("  resident memory                      {:>8} MiB with pages, {} MiB without", memory[1], memory[0]);
    let (median, most) = (percentile(&mut delays, 0.5), percentile(&mut delays, 0.99));
    println!(
        "  commit to event at the client        {median:>8.0} ms median, {most:.0} ms 99th percentile, {} events",
        delays.len()
    );
    println!(
        "  the ward's page, median of 21        {:>8.1} ms, {plain} bytes, {packed} compressed",
        percentile(&mut took, 0.5)
    );
}

/// What an update takes of a real browser's main thread, where there is one.
fn in_a_browser(port: u16) {
    const LOOKED: Duration = Duration::from_secs(60);
    if !std::process::Command::new("chromedriver")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        println!("  there is no chromedriver: the browser is not measured");
        return;
    }
    let browser = webdriver::Browser::start(webdriver::Screen::Wall);
    // Times what the page does with each event, and hears of tasks that take the main thread for 50 ms or more.
    browser.run_before_pages(
        "window.took = []; window.long = [];
         new PerformanceObserver(list => window.long.push(...list.getEntries().map(one => [one.startTime, one.duration]))).observe({ entryTypes: ['longtask'] });
         const add = EventSource.prototype.addEventListener;
         EventSource.prototype.addEventListener = function (name, take) {
           add.call(this, name, event => { const start = performance.now(); take(event); window.took.push(performance.now() - start); });
         };",
    );
    browser.open(&format!("http://127.0.0.1:{port}/"));
    browser
        .wait_for("the ward is there", "document.querySelectorAll('.tile').length === 500 && window.took.length > 3");
    let from = browser.eval("performance.now()").as_f64().unwrap();
    browser.eval("window.took = []");
    std::thread::sleep(LOOKED);
    let list = |expression: &str| -> Vec<f64> {
        let found = browser.eval(expression);
        found.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let mut took = list("window.took");
    let long = list(&format!("window.long.filter(([start]) => start > {from}).map(([, length]) => length)"));
    let (median, most) = (percentile(&mut took, 0.5), percentile(&mut took, 1.0));
    println!(
        "  script of an update in Chromium      {median:>8.1} ms median, {most:.1} ms at most, of {} in a minute",
        took.len()
    );
    let longest = long.iter().copied().fold(0.0, f64::max);
    println!("  tasks of 50 ms or more, layout too   {:>8} in a minute, the longest {longest:.0} ms", long.len());
}

/// 1,000 patients at 1 Hz, while the job makes the reports of all of them and while it does not.
fn reports() {
    const LENGTH: Duration = Duration::from_secs(420);
    println!("\n1,000 patients at 1 Hz, every shipped query, into MySQL; reports of all of them every two minutes");
    let spec = std::fs::read_to_string(support::repository().join("reports/patient_trend.toml")).unwrap();
    let spec = spec
        .replace("range = \"6h\"", "range = \"2m\"")
        .replace("schedule = \"daily 07:00\"", "schedule = \"every 2m\"");
    let live = Live::start("reports", 1_000, WARM_UP + LENGTH + Duration::from_secs(20), "", Some(&spec));
    std::thread::sleep(WARM_UP);
    let from = Utc::now();
    std::thread::sleep(LENGTH);
    let until = Utc::now();
    let (commits, text) = (live.commits(), std::fs::read_to_string(live.log.path()).unwrap());
    live.stop();
    let made: Vec<(DateTime<Utc>, DateTime<Utc>)> = text
        .lines()
        .filter_map(|line| {
            let at = DateTime::parse_from_rfc3339(line.split_whitespace().next()?).ok()?.to_utc();
            let took: f64 = line
                .split_once("pages=")
                .and(line.split_once("seconds="))?
                .1
                .split_whitespace()
                .next()?
                .parse()
                .ok()?;
            Some((at - TimeDelta::milliseconds((took * 1e3) as i64), at))
        })
        .collect();
    println!(
        "  made {} times, the last in {:.0} s",
        made.len(),
        made.last().map_or(f64::NAN, |(from, until)| (*until - *from).as_seconds_f64())
    );
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // What was begun and is not done yet is neither.
    let last = made.iter().map(|(_, until)| *until).max().unwrap_or(from);
    for (at, _, latency) in commits.into_iter().filter(|(at, _, _)| (from..until.min(last)).contains(at)) {
        if made.iter().any(|(from, until)| (*from..*until).contains(&at)) {
            with.push(latency)
        } else {
            without.push(latency)
        }
    }
    compare("with reports", &mut with, &mut without);
}

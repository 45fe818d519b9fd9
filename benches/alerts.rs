//! What alerts cost: the lifecycle of 10,000 open episodes, without any service; and, on the real services, the way from a
//! record to the first attempt to tell somebody: `make bench`, or `cargo bench --bench alerts [lifecycle|delivery]`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    missing_docs
)]

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use chrono::{DateTime, TimeDelta, Utc};
use mysql::prelude::Queryable;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use wardwatch::alert::{
    Departures, Elsewhere, Findings, Judged, Measure, Message, Moment, OpenEpisodes, Outstanding, Reach, Rows, Rule,
    SampleColumns, Shape, Streams, Wards, is_system_rule,
};
use wardwatch::clock::SystemClock;
use wardwatch::config::{self, StoreUrl};
use wardwatch::header::{Extreme, RuleHeader};
use wardwatch::health::Health;
use wardwatch::job::{AtEnd, Plan, Progress, ReplacedTopic, RunOptions, Standby, run};
use wardwatch::source::Until;
use wardwatch::terms::Severity;

const PATIENTS: usize = 10_000;
const SECONDS: i64 = 60;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("lifecycle") {
        lifecycle();
    }
    if is_wanted("delivery") && std::env::var("KAFKA_BROKERS").is_ok() {
        delivery();
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap()
}

fn readings(second: i64, heart_rate: f64) -> RecordBatch {
    let times = TimestampMicrosecondArray::from(vec![second * 1_000_000; PATIENTS]).with_timezone("UTC");
    let ids = (0..PATIENTS).map(|patient| format!("P{patient:05}"));
    RecordBatch::try_from_iter([
        ("patient_id", Arc::new(StringViewArray::from_iter_values(ids)) as _),
        ("event_time", Arc::new(times) as _),
        ("heart_rate", Arc::new(Float64Array::from(vec![heart_rate; PATIENTS])) as _),
    ])
    .unwrap()
}

fn rule(schema: &arrow::datatypes::Schema) -> Rule {
    Rule {
        name: "tachycardia".to_owned(),
        header: RuleHeader::new(Severity::High),
        message: Some(Message::parse("HR {heart_rate:.0} > 120", schema).unwrap()),
        judged: Judged::BySample,
        looks_back: false,
        source: 0,
        marker: None,
        vitals: vec!["heart_rate".to_owned()],
        composed: None,
        stale_after: Duration::from_secs(30),
        latches: true,
        suppressed_by: vec!["no_data".to_owned()],
        measure: Measure { value: Some(2), limit: None, worse: Extreme::Max },
    }
}

/// All that happens to episodes with a batch, while the condition is true at every sample of every patient.
fn lifecycle() {
    println!("\nThe lifecycle of {PATIENTS} open episodes, a sample of each patient in every batch; 100 batches");
    let job = config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/patient_vitals.toml")).unwrap();
    let columns = SampleColumns {
        key: "patient_id".to_owned(),
        event_time: "event_time".to_owned(),
        partition: "_partition".to_owned(),
        stamp: "_stamped_at".to_owned(),
    };
    let rules = vec![rule(readings(0, 0.0).schema_ref())];
    let mut open = OpenEpisodes::default();
    let mut streams = Streams::new(Shape::new(None, rules.iter().map(Rule::depends_on)));
    let outstanding = Outstanding::default();
    let mut times = Vec::new();
    for second in 0..=100 {
        let frame = readings(second, 130.0);
        let started = Instant::now();
        let mut episodes = std::mem::take(&mut open);
        let samples = streams.note(&frame, &columns, at(second));
        let arrivals = streams.arrivals(&BTreeMap::new());
        let moment = Moment {
            samples: &samples,
            streams: &streams,
            arrivals: &arrivals,
            lateness: TimeDelta::seconds(10),
            columns: &columns,
            now: at(second),
            event_now: at(second),
            departures: &Departures::new(),
        };
        episodes.judge(
            &rules[0],
            &Rows { conditions: Findings { rows: &frame, samples: None }, clear: None, elsewhere: Elsewhere::False },
            &moment,
        );
        episodes.let_time_pass(&rules, &moment);
        let reach = Reach::new(&job.notify, &outstanding, job.alerts.unreached_after);
        let notices = episodes.notices(&rules, &job.alerts, &Wards::default(), &reach, at(second));
        let changes = episodes.take_changes();
        open = episodes;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!((changes.len(), notices.len()), (PATIENTS, if second == 0 { PATIENTS } else { 0 }));
    }
    let first = times.remove(0);
    times.sort_by(f64::total_cmp);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    println!("  all begin {first:>7.2} ms   all go on mean {mean:>7.2} ms   99th percentile {:>7.2} ms", times[98]);
}

/// Where somebody is told: when which notification came.
fn receiver() -> (String, Arc<Mutex<HashMap<String, Instant>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let told = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, told) = (stream.unwrap(), Arc::clone(&told));
            std::thread::spawn(move || {
                let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    bytes.extend_from_slice(&buffer[..count]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if !text.ends_with("]}") {
                        continue;
                    }
                    let now = Instant::now();
                    for id in text.split("\"notification\":\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                        told.lock().unwrap().entry(id.to_owned()).or_insert(now);
                    }
                    bytes.clear();
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
            });
        }
    });
    (url, heard)
}

/// Twenty patients a second whose condition begins; the trigger is a second, `@for` nothing.
fn delivery() {
    println!(
        "\nFrom a record to the first attempt to tell: 20 new episodes a second for {SECONDS} s, MySQL, a webhook"
    );
    let brokers = std::env::var("KAFKA_BROKERS").unwrap();
    let name = format!("bench_alerts_{}", std::process::id());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let new = NewTopic::new(&name, 4, TopicReplication::Fixed(1));
    runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
    let server = std::env::var("MYSQL_URL").unwrap();
    let database = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let mut connection = mysql::Conn::new(mysql::Opts::from_url(&server).unwrap()).unwrap();
    connection.query_drop(format!("CREATE DATABASE `{name}`")).unwrap();

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("sql/rules")).unwrap();
    let rule = "-- @severity: high\n-- @message: HR {heart_rate:.0} > 120\nSELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 120\n";
    std::fs::write(folder.path().join("sql/rules/tachycardia.sql"), rule).unwrap();
    let (url, heard) = receiver();
    let text = format!(
        "name = \"bench\"\n[source]\nbrokers = \"{brokers}\"\ntopic = \"{name}\"\nkey = \"patient_id\"\nevent_time = \"event_time\"\n\
         [source.columns]\npatient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\" }}\nheart_rate = {{ type = \"float\" }}\n\
         [store]\nurl = \"{database}\"\n[sql]\ndir = \"sql\"\n[[notify]]\nkind = \"webhook\"\nurl = \"{url}/hook\"\n"
    );
    std::fs::write(folder.path().join("job.toml"), text).unwrap();
    let mut plan = Plan::load(&folder.path().join("job.toml")).unwrap();
    assert!(matches!(plan.job.store, StoreUrl::MySql(_)));

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let sent: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let put = Arc::clone(&sent);
    let devices = std::thread::spawn(move || {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &brokers).set("linger.ms", "1").create().unwrap();
        for number in 0..20 * SECONDS {
            let patient = format!("P{number:05}");
            let now = Utc::now().to_rfc3339();
            let record = format!("{{\"patient_id\":\"{patient}\",\"event_time\":\"{now}\",\"heart_rate\":130}}");
            put.lock().unwrap().insert(patient.clone(), Instant::now());
            producer.send(BaseRecord::<str, str>::to(&name).key(&patient).payload(&record)).unwrap();
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(50));
        }
        producer.flush(Duration::from_secs(10)).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        stopped.store(true, Ordering::Relaxed);
    });
    let mut committed: HashMap<String, (String, Instant)> = HashMap::new();
    let mut on_commit = |progress: &Progress<'_>| {
        let now = Instant::now();
        for change in progress.alerts.iter().filter(|change| !is_system_rule(&change.episode.rule)) {
            let id = format!("{}-1-webhook", change.episode.id);
            committed.entry(id).or_insert((change.episode.patient.to_string(), now));
        }
    };
    run(
        &mut plan,
        &mut RunOptions {
            until: Until::Stopped,
            at_end: AtEnd::LeaveWindows,
            standby: Standby::Stop,
            new_topic: ReplacedTopic::Refuse,
            connect_timeout: Duration::from_secs(10),
            stopped: &|| stop.load(Ordering::Relaxed),
            on_start: &mut || {},
            on_repeat: &|_, _| {},
            on_commit: &mut on_commit,
            health: &Health::new(Arc::new(SystemClock)),
            clock: Arc::new(SystemClock),
        },
    )
    .unwrap();
    devices.join().unwrap();

    let (sent, heard) = (sent.lock().unwrap(), heard.lock().unwrap());
    let millis = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1_000.0;
    let firing: Vec<f64> = committed.values().map(|(patient, at)| millis(sent[patient], *at)).collect();
    let told: Vec<f64> = committed.iter().map(|(id, (_, at))| millis(*at, heard[id])).collect();
    assert_eq!(committed.len(), sent.len());
    for (what, mut times) in [("record to firing committed", firing), ("committed to first attempt", told)] {
        times.sort_by(f64::total_cmp);
        let (median, p99) = (times[times.len() / 2], times[(times.len() - 1) * 99 / 100]);
        println!("  {what}   median {median:>7.1} ms   99th percentile {p99:>7.1} ms   of {}", times.len());
    }
}

//! The gateway: what devices, interface engines and boxes send reaches the job's topic as it is, or its sender is told.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};

use crate::fixtures::{
    COLUMNS, Database, READINGS, TestJob, Topic, kafka, mysql_url, repository, sample, told, wait_until,
};
use crate::services::OwnService;

const HL7: &str = r#"
patient_id = { type = "text" }
event_time = { type = "time" }
heart_rate = { type = "float", plausible = [0, 300], unit = "/min" }
spo2 = { type = "float", plausible = [50, 100], unit = "%" }
"#;

/// A gateway of a job, ended when it is dropped.
struct Gateway {
    child: Child,
    mllp: Option<String>,
    http: Option<String>,
}

impl Gateway {
    /// With these arguments; waits until it takes messages.
    fn start(job: &TestJob, arguments: &[&str]) -> Self {
        let expected = arguments.iter().filter(|argument| argument.starts_with("--")).count();
        Self::start_with(job, arguments, "", expected)
    }

    /// The same with a token, and with so many addresses.
    fn start_with(job: &TestJob, arguments: &[&str], token: &str, expected: usize) -> Self {
        let log = std::fs::File::create(job.folder.path().join("gateway.log")).unwrap();
        let mut command = job.command("gateway");
        command.args(arguments).env("WARDWATCH_GATEWAY_TOKEN", token);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<String> = lines.by_ref().take(expected).map(Result::unwrap).collect();
        let log = || std::fs::read_to_string(job.folder.path().join("gateway.log")).unwrap();
        assert_eq!(lines.len(), expected, "{}", log());
        let of = |scheme: &str| {
            lines.iter().find_map(|line| Some(line.strip_prefix(scheme)?.trim_end_matches('/').to_owned()))
        };
        Self { mllp: of("mllp://"), http: of("http://"), child }
    }

    fn mllp(&self) -> &str {
        self.mllp.as_deref().unwrap()
    }

    fn connect(&self) -> Mllp {
        let stream = TcpStream::connect(self.mllp()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Mllp(stream)
    }

    /// The answer to a request of HTTP, whole.
    fn http(&self, request: &str) -> String {
        self.http_by(request, |_| {})
    }

    fn http_by(&self, request: &str, then: impl Fn(&TcpStream)) -> String {
        let mut stream = TcpStream::connect(self.http.as_deref().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        then(&stream);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn post(&self, path: &str, token: &str, kind: &str, body: &str) -> String {
        self.http(&format!(
            "POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn metric(&self, name: &str) -> String {
        let all = self.http("GET /metrics HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        let line = all.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("{name} in {all}"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn ends(&mut self) -> Option<i32> {
        wait_until("the gateway ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A sender by MLLP.
struct Mllp(TcpStream);

impl Mllp {
    fn put(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next answer, without its frame; empty where the gateway has hung up.
    fn answer(&mut self) -> String {
        let mut answer = Vec::new();
        let mut byte = [0];
        while self.0.read(&mut byte).unwrap_or(0) == 1 {
            answer.push(byte[0]);
            if answer.ends_with(b"\x1c\r") {
                break;
            }
        }
        String::from_utf8(answer).unwrap().trim_matches(['\u{b}', '\u{1c}', '\r']).to_owned()
    }

    fn ask(&mut self, message: &str) -> String {
        self.put(format!("\u{b}{message}\u{1c}\r").as_bytes());
        self.answer()
    }
}

fn oru(patient: &str, id: &str, heart_rate: &str) -> String {
    format!(
        "MSH|^~\\&|MON|ICU|||20260101000001+0000||ORU^R01|{id}|P|2.6\rPID|||{patient}\rOBR|1|||VITALS|||20260101000001+0000\r\
         OBX|1|NM|8867-4^HR^LN||{heart_rate}|/min|||||F\r"
    )
}

/// A record as it stands on a topic.
#[derive(Debug, PartialEq, Eq)]
struct OnTopic {
    key: String,
    payload: String,
    headers: Vec<(String, String)>,
}

/// All records of a topic with one partition.
fn on_topic(brokers: &str, topic: &str) -> Vec<OnTopic> {
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "looks").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let (_, end) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(30)).unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let mut records = Vec::new();
    while (records.len() as i64) < end {
        let message = consumer.poll(Duration::from_secs(30)).expect("a record").unwrap();
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect::<Vec<_>>()
        });
        records.push(OnTopic {
            key: text(message.key()),
            payload: text(message.payload()),
            headers: headers.unwrap_or_default(),
        });
    }
    records
}

fn hl7_job(topic: &Topic, database: &Database, brokers: &str) -> TestJob {
    TestJob::new(&topic.name, &database.url)
        .source(&format!("brokers = \"{brokers}\""))
        .source("[[source.form]]\nuse = \"hl7v2-oru\"")
        .columns(HL7)
        .query("tables/readings", READINGS)
}

#[test]
fn messages_by_mllp_are_acknowledged_to_an_independent_sender_and_become_rows() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = hl7_job(&topic, &database, &kafka());
    let mut gateway = Gateway::start(&job, &["--mllp", "127.0.0.1:0"]);
    let (host, port) = gateway.mllp().split_once(':').unwrap();
    let Ok(cache) = std::env::var("WARDWATCH_SERVICES") else { return println!("skipped: hl7apy is not there") };
    let senders = ["P1", "P2"].map(|patient| {
        let mut python = Command::new("python3");
        python.arg(repository().join("tests/it/hl7_sender.py")).args([host, port, patient, "20"]);
        python
            .env("PYTHONPATH", format!("{cache}/hl7apy"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for sender in senders {
        let output = sender.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), ["AA"; 20].join("\n"));
    }
    let records = on_topic(&kafka(), &topic.name);
    assert_eq!(records.len(), 40);
    assert!(records.iter().all(|record| ["P1", "P2"].contains(&record.key.as_str())), "the patient is the key");
    let first = records.iter().find(|record| record.key == "P1").unwrap();
    assert!(first.payload.starts_with("MSH|^~\\&|MONITOR|ICU|") && first.payload.ends_with("|F\r"), "{first:?}");
    let header = |name: &str| first.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(
        (header("via"), header("peer"), header("hl7-control-id"), header("hl7-trigger")),
        (Some("mllp"), Some("127.0.0.1"), Some("P1-0"), Some("R01"))
    );
    assert!(header("received").unwrap().ends_with('Z'));
    job.run_once();
    assert_eq!(
        database.rows("SELECT patient_id, COUNT(*), MIN(heart_rate), MAX(heart_rate), MIN(spo2) FROM readings GROUP BY 1 ORDER BY 1"),
        ["P1|20|70|89|97", "P2|20|70|89|97"]
    );
    gateway.signal("TERM");
    assert_eq!(gateway.ends(), Some(0));
}

#[test]
fn a_sender_by_mllp_is_told_what_is_wrong_and_costs_nobody_else() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = hl7_job(&topic, &database, &kafka()).more("[gateway]\nmax_message = \"64KiB\"\nmax_waiting = \"64KiB\"");
    let gateway = Gateway::start(&job, &["--mllp", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let mut well = gateway.connect();
    assert!(well.ask(&oru("P1", "1", "80")).contains("\rMSA|AA|1"));
    // What is no HL7 is refused for good, and the next message on the same connection is taken.
    let mut other = gateway.connect();
    let answer = other.ask("{\"hr\": 80}");
    assert!(answer.contains("\rMSA|AR||it is not HL7 v2: it does not begin with \"MSH\""), "{answer}");
    assert!(other.ask(&oru("P2", "2", "81")).contains("\rMSA|AA|2"));
    // What the job cannot read is in Kafka all the same, and the sender is told beside that.
    let answer = other.ask(&oru("", "3", "82"));
    assert!(answer.contains("\rMSA|AA|3|taken; 1 of it cannot be read: "), "{answer}");
    // A message in pieces, with line feeds behind it, as some senders have it.
    let message = oru("P3", "4", "83");
    for piece in [&b"\r\n\x0b"[..], &message.as_bytes()[..40], &message.as_bytes()[40..], b"\x1c", b"\r\n"] {
        other.put(piece);
        std::thread::sleep(Duration::from_millis(30));
    }
    assert!(other.answer().contains("\rMSA|AA|4"));
    // A byte of its end within a message is a part of it, and one that breaks off and begins again costs itself.
    let with_end = oru("P5", "7", "84").replace("PID|||", "NTE|1||a\u{1c}b\rPID|||");
    assert!(other.ask(&with_end).contains("\rMSA|AA|7"));
    other.put(format!("\u{b}{}\u{b}{}\u{1c}\r", &oru("P5", "8", "85")[..60], oru("P5", "9", "86")).as_bytes());
    assert!(other.answer().contains("\rMSA|AA|9"));
    // One that ends without the last byte is taken once nothing follows.
    other.put(format!("\u{b}{}\u{1c}", oru("P5", "10", "87")).as_bytes());
    assert!(other.answer().contains("\rMSA|AA|10"));
    // In the middle of a message, the sender hangs up: it is told, and may send it again.
    let mut cut = gateway.connect();
    cut.put(&format!("\u{b}{}", oru("P5", "11", "88")).as_bytes()[..50]);
    cut.0.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = cut.answer();
    assert!(answer.contains("MSA|AE||the message has begun, and its sender has ended"), "{answer}");
    // No frame, and a frame without an end that is too long: told, and hung up on.
    let mut stranger = gateway.connect();
    stranger.put(b"GET / HTTP/1.1\r\n\r\n");
    let answer = stranger.answer();
    assert!(
        answer.contains("MSA|AR||this is MLLP: a message begins with the byte 0x0B, and this began with 0x47"),
        "{answer}"
    );
    assert_eq!(stranger.answer(), "");
    let mut endless = gateway.connect();
    endless.put(format!("\u{b}{}", oru("P4", "5", &"8".repeat(70_000))).as_bytes());
    let answer = endless.answer();
    assert!(answer.contains("MSA|AR||the message is longer than 65536 bytes"), "{answer}");
    assert!(well.ask(&oru("P1", "6", "84")).contains("\rMSA|AA|6"));
    drop(other);
    let records = on_topic(&kafka(), &topic.name);
    assert_eq!(records.len(), 8);
    assert!(records.iter().any(|record| record.payload == with_end));
    assert_eq!(gateway.metric("wardwatch_gateway_messages_total{via=\"mllp\"}"), "8");
    assert_eq!(gateway.metric("wardwatch_gateway_refused_total{via=\"mllp\",reason=\"unfinished\"}"), "2");
    assert_eq!(gateway.metric("wardwatch_gateway_rejects_total{via=\"mllp\"}"), "1");
    assert_eq!(gateway.metric("wardwatch_gateway_refused_total{via=\"mllp\",reason=\"unreadable\"}"), "2");
    assert_eq!(gateway.metric("wardwatch_gateway_refused_total{via=\"mllp\",reason=\"too_long\"}"), "1");
    wait_until("only one sender is connected", || {
        gateway.metric("wardwatch_gateway_connections{via=\"mllp\"}") == "1"
            && gateway.metric("wardwatch_gateway_waiting_bytes") == "0"
            && gateway.metric("wardwatch_gateway_arriving_bytes") == "0"
    });
}

#[test]
fn senders_who_do_not_end_what_they_begin_keep_nobody_else_out() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let more = "[gateway]\nmax_message = \"64KiB\"\nmax_waiting = \"256KiB\"\npatience = \"3s\"\nmax_connections = 30";
    let job = hl7_job(&topic, &database, &kafka()).more(more);
    let gateway = Gateway::start_with(&job, &["--mllp", "127.0.0.1:0", "--http", "127.0.0.1:0"], "t", 2);
    let half = format!("\u{b}{}", oru("P9", "1", &"8".repeat(40_000)));
    let mut endless: Vec<Mllp> = (0..20).map(|_| gateway.connect()).collect();
    endless.iter_mut().for_each(|sender| sender.put(half.as_bytes()));
    wait_until("their room is taken", || gateway.metric("wardwatch_gateway_arriving_bytes") == "131072");
    let mut well = gateway.connect();
    for number in 0..10 {
        assert!(well.ask(&oru("P1", &format!("w{number}"), "80")).contains(&format!("\rMSA|AA|w{number}")));
    }
    assert!(gateway.post("/records", "t", "text/plain", &oru("P1", "h", "81")).starts_with("HTTP/1.1 202 "));
    // Who comes when there is no connection left is seen in the metrics.
    let others: Vec<Mllp> = (0..20).map(|_| gateway.connect()).collect();
    wait_until("some are turned away", || gateway.metric("wardwatch_gateway_turned_away_total{via=\"mllp\"}") != "0");
    drop((endless, others));
    wait_until("all is given back", || {
        gateway.metric("wardwatch_gateway_arriving_bytes") == "0"
            && gateway.metric("wardwatch_gateway_connections{via=\"mllp\"}") == "1"
    });
}

#[test]
fn a_job_with_a_query_of_its_records_and_forms_by_door_is_read_as_the_job_reads() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url)
        .source("[[source.form]]\nname = \"bedside\"\nwhen = { field = \"@header.via\", is = \"http\" }\n[source.form.columns]\nevent_time = \"@header.received\"")
        .query("tables/readings", READINGS)
        .sql_file("source.sql", "SELECT upper(patient_id) AS patient_id, event_time, heart_rate, spo2 FROM decoded");
    let mut gateway = Gateway::start_with(&job, &["--http", "127.0.0.1:0"], "t", 1);
    let answer = gateway.post("/records", "t", "application/json", r#"{"patient_id": "p1", "heart_rate": 80}"#);
    assert!(answer.ends_with(r#""rejected":0,"rows":1}"#), "{answer}");
    for (body, expected) in [("{\"a\": 1e400, \"patient_id\": \"p1\"}", "202"), ("{\"a\":}", "400")] {
        let answer = gateway.post("/records", "t", "application/json", body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
    }
    let request =
        "POST / HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer t\r\nConnection: close\r\nContent-Length: 9\r\n\r\nabc";
    let cut = gateway.http_by(request, |stream| stream.shutdown(std::net::Shutdown::Write).unwrap());
    assert!(cut.starts_with("HTTP/1.1 400 ") && cut.contains("ends before its end"), "{cut}");
    assert_eq!(on_topic(&kafka(), &topic.name)[0].key, "P1");
    gateway.signal("TERM");
    assert_eq!(gateway.ends(), Some(0));
    job.run_once();
    assert!(database.rows("SELECT patient_id, heart_rate FROM readings").contains(&"P1|80".to_owned()));
}

#[test]
fn a_message_for_another_source_is_read_as_that_one() {
    let (topic, labs, database) = (Topic::create(1), Topic::create(1), Database::create(&mysql_url()));
    let source = format!(
        "{COLUMNS}\n[[sources]]\ntopic = \"{}\"\ntable = \"labs\"\n[sources.columns]\npatient_id = {{ type = \"text\", from = \"patient\" }}\n\
         event_time = {{ type = \"time\", from = \"taken_at\" }}\nlactate = {{ type = \"float\" }}",
        labs.name
    );
    let job = TestJob::new(&topic.name, &database.url)
        .columns(&source)
        .query("tables/results", "-- @key: patient_id, event_time\nSELECT patient_id, event_time, lactate FROM labs");
    let gateway = Gateway::start_with(&job, &["--http", "127.0.0.1:0", "--topic", &labs.name], "t", 1);
    let body = r#"{"patient": "P1", "taken_at": "2026-01-01T00:00:00Z", "lactate": 2.5}"#;
    let answer = gateway.post("/records", "t", "application/json", body);
    assert!(answer.ends_with(r#""rejected":0,"rows":1}"#), "{answer}");
    let answer = gateway.post("/records", "t", "application/json", &sample("P1", 1, 80.0));
    assert!(answer.contains(r#""rejected":1"#), "a reading is no result: {answer}");
    assert_eq!(on_topic(&kafka(), &labs.name)[0].key, "P1");
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, lactate FROM results"), ["P1|2.5"]);
}

#[test]
fn json_and_fhir_by_http_want_the_token_and_are_answered_once_kafka_has_them() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let forms = "[[source.form]]\nname = \"json\"\nwhen = { field = \"@header.content-type\", is = \"application/json\" }\n\
                 [[source.form]]\nuse = \"fhir-observation\"";
    let job = TestJob::new(&topic.name, &database.url)
        .source(forms)
        .columns(COLUMNS)
        .query("tables/readings", READINGS)
        .more("[gateway]\nmax_message = \"10KiB\"\nhttp = \"127.0.0.1:0\"");
    let gateway = Gateway::start_with(&job, &[], "s3cret", 1);

    let json = "application/json";
    let answer = gateway.post("/records", "s3cret", json, &sample("P1", 1, 80.0));
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(answer.ends_with(r#"{"offset":0,"partition":0,"rejected":0,"rows":1}"#), "{answer}");
    let answer = gateway.post("/records?key=bed-7", "s3cret", json, r#"{"patient_id": "P1", "event_time": "soon"}"#);
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("\"reasons\":["), "{answer}");
    let observation = r#"{"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/P2"},
        "effectiveDateTime": "2026-01-01T00:00:02Z", "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "valueQuantity": {"value": 91, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}}"#;
    let answer = gateway.post("/fhir/Observation", "s3cret", "application/fhir+json", observation);
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("\"OperationOutcome\""), "{answer}");

    for (answer, status, detail) in [
        (gateway.post("/records", "wrong", json, "{}"), 401, "this is not the token"),
        (
            gateway.http("POST / HTTP/1.1\r\nHost: g\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"),
            401,
            "Authorization: Bearer TOKEN",
        ),
        (gateway.post("/records", "s3cret", json, "{\"a\": "), 400, "the body is not valid JSON: "),
        (gateway.post("/records", "s3cret", json, " "), 400, "the body is empty"),
        (gateway.post("/records?bed=7", "s3cret", json, "{}"), 400, "the address may say ?key="),
        (gateway.post("/records", "s3cret", json, &"1".repeat(20_000)), 413, "longer than 10240 bytes"),
        (gateway.post("/fhir", "s3cret", json, "{}"), 400, "it has no resourceType"),
        (gateway.post("/fhir/Bundle", "s3cret", json, observation), 400, "the address says Bundle"),
        (gateway.post("/fhir", "s3cret", "application/fhir+xml", "<a/>"), 400, "FHIR is taken as JSON"),
        (gateway.post("/vitals", "s3cret", json, "{}"), 404, "POST /records"),
    ] {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(detail),
            "{status} {detail}: {answer}"
        );
    }
    let without = Gateway::start(&job, &["--http", "127.0.0.1:0"]);
    let answer = without.post("/records", "", json, "{}");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("set WARDWATCH_GATEWAY_TOKEN"), "{answer}");
    // A body of unknown length is no way around the bound.
    let chunks = format!("{:x}\r\n{}\r\n", 6_000, "1".repeat(6_000));
    let answer = gateway.http(&format!(
        "POST / HTTP/1.1\r\nHost: g\r\nConnection: close\r\nAuthorization: Bearer s3cret\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{chunks}0\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let records = on_topic(&kafka(), &topic.name);
    assert_eq!(records.iter().map(|record| record.key.as_str()).collect::<Vec<_>>(), ["P1", "bed-7", "P2"]);
    assert_eq!(records[0].payload, sample("P1", 1, 80.0));
    job.run_once();
    assert_eq!(database.rows("SELECT patient_id, heart_rate FROM readings ORDER BY 1"), ["P1|80", "P2|91"]);
    assert_eq!(database.rows("SELECT COUNT(*) FROM rejects"), ["1"]);
}

#[test]
fn while_kafka_is_away_senders_are_told_so_and_what_was_acknowledged_is_there() {
    let Some(broker) = OwnService::start("kafka") else { return println!("skipped: the broker is the user's") };
    let database = Database::create(&mysql_url());
    let topic = Topic::create_at(&broker.address, 1);
    let job = hl7_job(&topic, &database, &broker.address).more("[gateway]\npatience = \"2s\"\ntoken = \"t\"");
    let gateway = Gateway::start(&job, &["--mllp", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let mut sender = gateway.connect();
    assert!(sender.ask(&oru("P1", "1", "80")).contains("\rMSA|AA|1"));
    broker.kill();
    let answer = sender.ask(&oru("P1", "2", "81"));
    assert!(answer.contains("\rMSA|AE|2|Kafka did not take it; send it again later"), "{answer}");
    let answer = gateway.post("/records", "t", "x-application/hl7-v2+er7", &oru("P2", "3", "82"));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.to_lowercase().contains("retry-after: 5"), "{answer}");
    broker.start_again();
    wait_until("the same sender is taken again", || sender.ask(&oru("P1", "4", "83")).contains("\rMSA|AA|4"));
    let payloads: Vec<String> =
        on_topic(&broker.address, &topic.name).into_iter().map(|record| record.payload).collect();
    for id in ["1", "4"] {
        assert!(payloads.iter().any(|payload| payload.contains(&format!("ORU^R01|{id}|"))), "{id} in {payloads:?}");
    }
    // One that does not answer at the start is a service that is away.
    broker.kill();
    let output = job.command("gateway").args(["--mllp", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
}

#[test]
fn what_a_broker_of_mqtt_acknowledged_comes_through_kills_and_outages() {
    let Some(broker) = OwnService::start("mosquitto") else { return println!("skipped: there is no mosquitto") };
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job = TestJob::new(&topic.name, &database.url).query("tables/readings", READINGS);
    let port = broker.address.rsplit_once(':').unwrap().1.to_owned();
    let publish = |topic: &str, arguments: &[&str], lines: &str| {
        let mut child = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-l"])
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    };
    let lines = |patient: &str, from: u32, to: u32| {
        (from..to).map(|second| sample(patient, second, 80.0) + "\n").collect::<String>()
    };
    // A value of yesterday that the broker keeps must not come as one of now.
    publish("ward/P0/vitals", &["-r"], &lines("P0", 0, 1));
    let url = format!("{}/ward/+/vitals", broker.address);
    let arguments = ["--mqtt", url.as_str(), "--http", "127.0.0.1:0"];
    let gateway = Gateway::start(&job, &arguments);
    let connected = |gateway: &Gateway| {
        wait_until("it is connected", || gateway.metric("wardwatch_gateway_connections{via=\"mqtt\"}") == "1");
    };
    connected(&gateway);
    wait_until("the kept one is left", || gateway.metric("wardwatch_gateway_retained_total") == "1");
    publish("ward/P1/vitals", &[], &lines("P1", 0, 100));
    publish("ward/P1/other", &[], "no vitals\n");
    // Killed in the middle, with the broker going on without it.
    drop(gateway);
    publish("ward/P1/vitals", &[], &lines("P1", 100, 3_000));
    let gateway = Gateway::start(&job, &arguments);
    connected(&gateway);
    // The broker is killed and comes back.
    let of_topic = || on_topic(&kafka(), &topic.name).into_iter().map(|record| record.payload).collect::<Vec<String>>();
    let last = sample("P1", 2_999, 80.0);
    wait_until("what waited has come", || of_topic().contains(&last));
    let came = of_topic();
    let first = |second: u32| came.iter().position(|payload| *payload == sample("P1", second, 80.0)).unwrap();
    assert!((1..3_000).all(|second| first(second - 1) < first(second)), "in the order in which they were sent");
    std::thread::sleep(Duration::from_millis(1_500)); // it writes its sessions down each second
    broker.kill();
    wait_until("it is seen to be away", || gateway.metric("wardwatch_gateway_connections{via=\"mqtt\"}") == "0");
    broker.start_again();
    connected(&gateway);
    publish("ward/P2/vitals", &[], &lines("P2", 0, 20));
    let distinct = || {
        let records = on_topic(&kafka(), &topic.name);
        records.into_iter().map(|record| record.payload).collect::<BTreeSet<String>>().len()
    };
    wait_until("all have come", || distinct() == 3_020);
    let records = on_topic(&kafka(), &topic.name);
    assert!(
        records.iter().all(|record| record
            .headers
            .iter()
            .any(|(name, value)| name == "mqtt-topic" && value.starts_with("ward/P")))
    );
    assert_eq!(records.last().unwrap().key, "P2");
    job.run_once();
    assert_eq!(
        database.rows("SELECT patient_id, COUNT(DISTINCT event_time) FROM readings GROUP BY 1 ORDER BY 1"),
        ["P1|3000", "P2|20"]
    );
    // Another filter: what the broker still sends by the one of before is left out.
    drop(gateway);
    let url = format!("{}/other/#", broker.address);
    let gateway = Gateway::start(&job, &["--mqtt", url.as_str(), "--http", "127.0.0.1:0"]);
    connected(&gateway);
    publish("ward/P3/vitals", &[], &lines("P3", 0, 1));
    publish("other/P4", &[], &lines("P4", 0, 1));
    wait_until("the new one has come", || on_topic(&kafka(), &topic.name).last().unwrap().key == "P4");
    assert_eq!(gateway.metric("wardwatch_gateway_foreign_total"), "1");
}

#[test]
fn a_gateway_ends_when_it_is_told_to_though_kafka_is_away() {
    let (Some(broker), Some(kafka)) = (OwnService::start("mosquitto"), OwnService::start("kafka")) else {
        return println!("skipped: the services are the user's");
    };
    let topic = Topic::create_at(&kafka.address, 1);
    let job = TestJob::new(&topic.name, "sqlite://s.db")
        .source(&format!("brokers = \"{}\"", kafka.address))
        .more("[gateway]\npatience = \"2s\"");
    let url = format!("{}/#", broker.address);
    let arguments = ["--mqtt", url.as_str(), "--http", "127.0.0.1:0"];
    let mut gateway = Gateway::start(&job, &arguments);
    wait_until("it is connected", || gateway.metric("wardwatch_gateway_connections{via=\"mqtt\"}") == "1");
    kafka.signal("STOP");
    let port = broker.address.rsplit_once(':').unwrap().1;
    let sent = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", port, "-q", "1", "-t", "a", "-m", &sample("P1", 1, 80.0)])
        .status()
        .unwrap();
    assert!(sent.success());
    std::thread::sleep(Duration::from_millis(300));
    gateway.signal("TERM");
    assert_eq!(gateway.ends(), Some(0));
    kafka.signal("CONT");
    // It was not acknowledged, and comes by the next one.
    let _gateway = Gateway::start(&job, &arguments);
    wait_until("it has come", || !on_topic(&kafka.address, &topic.name).is_empty());
}

#[test]
fn a_gateway_that_is_told_the_wrong_thing_says_so() {
    let (job, _topic, _database) = TestJob::on_mysql();
    let check = |job: &TestJob, arguments: &[&str], expected: &str| {
        let output = job.command("gateway").args(arguments).output().unwrap();
        assert!(!output.status.success() && told(&output).contains(expected), "{expected}: {}", told(&output));
    };
    check(&job, &[], "say where messages come in: --mllp 127.0.0.1:2575");
    check(
        &job,
        &["--mqtt", "http://broker"],
        "\"http\" is neither mqtt nor mqtts; write \"mqtt://broker:1883/ward/+/vitals\"",
    );
    check(&job, &["--mllp", "2575"], "invalid socket address");
    check(&job, &["--mllp", "127.0.0.1:0", "--topic", "other"], "\"other\" is none of the topics that the job reads");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&job, &["--http", &address], "cannot be listened on");
    let job = job.more("[gateway]\nmax_waiting = \"1KiB\"");
    check(&job, &["--mllp", "127.0.0.1:0"], "max_waiting must be as much as max_message");
    let output = job.command("check").output().unwrap();
    assert!(told(&output).contains("job.toml:") && told(&output).contains("max_waiting"), "{}", told(&output));
    let several = TestJob::new("a", "sqlite://s.db").source("topics = [\"a\", \"b\"]");
    check(&several, &["--mllp", "127.0.0.1:0"], "the job reads several topics, a, b: say with --topic");
}

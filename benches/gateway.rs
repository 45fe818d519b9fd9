//! How many messages of HL7 v2 the gateway acknowledges, each sender waiting for its answer:
//! `make bench`, or `cargo bench --bench gateway` beside a real Kafka.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    missing_docs
)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::{brokers, cpu_seconds, percentile, resident_mib, topic};

const CONNECTIONS: usize = 200;

const LENGTH: Duration = Duration::from_secs(10);

/// Six observations of a second.
fn message(patient: usize, number: usize) -> String {
    let observations = [
        ("8867-4", "80"),
        ("9279-1", "16"),
        ("59408-5", "97"),
        ("8480-6", "118"),
        ("8462-4", "76"),
        ("8310-5", "36.8"),
    ];
    let segments: String = observations
        .iter()
        .enumerate()
        .map(|(at, (code, value))| format!("OBX|{at}|NM|{code}^^LN||{value}||||||F\r"))
        .collect();
    format!(
        "\u{b}MSH|^~\\&|MON|ICU|||20260101000000+0000||ORU^R01^ORU_R01|{patient}-{number}|P|2.6\rPID|||P{patient}^^^H\r\
         OBR|1|||VITALS|||2026010100{:02}{:02}+0000\r{segments}\u{1c}\r",
        number / 60 % 60,
        number % 60
    )
}

/// Sends one message after the other; how long each answer took, in milliseconds.
async fn sender(address: String, patient: usize) -> Vec<f64> {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (begun, mut took) = (Instant::now(), Vec::new());
    let mut answer = Vec::new();
    while begun.elapsed() < LENGTH {
        let asked = Instant::now();
        stream.write_all(message(patient, took.len()).as_bytes()).await.unwrap();
        answer.clear();
        while !answer.ends_with(b"\x1c\r") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "hung up");
        }
        assert!(answer.windows(6).any(|found| found == b"MSA|AA"), "{}", String::from_utf8_lossy(&answer));
        took.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    took
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (file, topic) = (folder.path().join("job.toml"), topic("gateway"));
    std::fs::create_dir(folder.path().join("sql")).unwrap();
    let columns: String = ["heart_rate", "respiratory_rate", "spo2", "systolic_bp", "diastolic_bp", "temperature"]
        .iter()
        .map(|name| format!("{name} = {{ type = \"float\" }}\n"))
        .collect();
    let job = format!(
        "[source]\nbrokers = \"{}\"\ntopic = \"{topic}\"\nkey = \"patient_id\"\nevent_time = \"event_time\"\n[[source.form]]\n\
         use = \"hl7v2-oru\"\n[source.columns]\npatient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\" }}\n{columns}\
         [store]\nurl = \"sqlite://s.db\"\n[sql]\ndir = \"sql\"\n",
        brokers()
    );
    std::fs::write(&file, job).unwrap();
    let mut gateway = std::process::Command::new(env!("CARGO_BIN_EXE_wardwatch"))
        .arg("gateway")
        .arg(&file)
        .args(["--mllp", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(gateway.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("mllp://").expect("an address").to_owned();
    let before = cpu_seconds(gateway.id());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut took: Vec<f64> = runtime.block_on(async {
        let senders: Vec<_> = (0..CONNECTIONS).map(|patient| tokio::spawn(sender(address.clone(), patient))).collect();
        let mut took = Vec::new();
        for sender in senders {
            took.extend(sender.await.unwrap());
        }
        took
    });
    let seconds = LENGTH.as_secs_f64();
    println!(
        "gateway: {:.0} messages/s acknowledged over {CONNECTIONS} connections (six observations each), answers p50 {:.1} ms, p99 {:.1} ms, \
         {:.0} % of a core, {} MiB",
        took.len() as f64 / seconds,
        percentile(&mut took, 0.5),
        percentile(&mut took, 0.99),
        (cpu_seconds(gateway.id()) - before) / seconds * 100.0,
        resident_mib(gateway.id()).unwrap_or(0)
    );
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}

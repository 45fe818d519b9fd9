//! A job that is built in code and runs live: an embedded broker, SQLite, and a program of one's own that is told of each commit.
//!
//! `cargo run --example live`

#![allow(clippy::print_stdout, missing_docs, reason = "an example prints what it finds")]

use std::time::Duration;

use wardwatch::clock::{Clock, SystemClock};
use wardwatch::kafka::{EmbeddedBroker, Producer};
use wardwatch::{Column, Session};

pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = EmbeddedBroker::start("vitals", 1)?;
    let database = std::env::temp_dir().join(format!("wardwatch-live-{}.db", std::process::id()));
    let session = Session::builder("live")
        .kafka(&broker.address(), "vitals")
        .store(&format!("sqlite://{}", database.display()))
        .trigger(Duration::from_millis(100))
        .column(Column::float("heart_rate").unit("/min"))
        .table(
            "readings",
            "-- @key: patient_id, event_time
             SELECT patient_id, event_time, heart_rate FROM vitals",
        )
        .rule(
            "tachycardia",
            "-- @severity: medium
             -- @message: HR {heart_rate:.0}
             SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 130",
        )
        .build()?;

    let devices = Producer::connect(&session.job().source, Duration::from_secs(10), &|| false)?;
    for (patient, rate) in [("P1", 82), ("P2", 141)] {
        let record = format!(
            r#"{{"patient_id": "{patient}", "event_time": "{}", "heart_rate": {rate}}}"#,
            SystemClock.now().to_rfc3339()
        );
        devices.send(patient, record.as_bytes())?;
    }
    devices.flush(Duration::from_secs(10))?;

    // The page of this program would be told here; the loop waits for it.
    let (stopper, mut records, mut alarms) = (session.stopper(), 0, Vec::new());
    let told = session.on_commit(|committed| {
        records += committed.records();
        alarms.extend(committed.fired().map(|episode| format!("{}: {}", episode.patient, episode.text)));
        if records >= 2 {
            stopper.stop();
        }
    });
    let summary = told.run()?;
    println!("{} records in {} batches; {}", summary.records, summary.batches, alarms.join(", "));
    assert_eq!(alarms, ["P2: HR 141"]);
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", database.display())); // those that there are
    }
    Ok(())
}

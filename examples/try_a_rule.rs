//! Tries a rule on a few records in memory: no Kafka, no store, no clock.
//!
//! `cargo run --example try_a_rule`

#![allow(clippy::print_stdout, missing_docs, reason = "an example prints what it finds")]

use wardwatch::chrono::{DateTime, TimeDelta};
use wardwatch::{Column, Session, SessionError};

pub fn main() -> Result<(), SessionError> {
    let mut ward = Session::builder("ward")
        .column(Column::float("spo2").unit("%").plausible(50.0..=100.0))
        .rule(
            "hypoxia",
            "-- The saturation is low.
             -- @severity: high
             -- @for: 10s
             -- @message: SpO₂ {spo2:.0} %
             SELECT patient_id, event_time, spo2 FROM vitals WHERE spo2 < 90",
        )
        .build()?
        .offline();

    let start = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let mut fired = Vec::new();
    for second in 0..20 {
        let now = start + TimeDelta::seconds(second);
        let spo2 = if second < 5 { 97 } else { 82 };
        let record = format!(r#"{{"patient_id": "P1", "event_time": "{}", "spo2": {spo2}}}"#, now.to_rfc3339());
        let given = ward.json([record.as_str()], now);
        for episode in given.committed().fired() {
            println!("{second:>3} s  {}: {}", episode.patient, episode.text);
            fired.extend(episode.firing_at);
        }
    }
    // Low from second 5 on, and for ten seconds.
    assert_eq!(fired, [start + TimeDelta::seconds(15)]);
    Ok(())
}

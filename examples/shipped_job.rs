//! The shipped job on simulated patients, in memory: which alerts a ward of eight would see within five minutes.
//!
//! `cargo run --example shipped_job`

#![allow(clippy::print_stdout, missing_docs, reason = "an example prints what it finds")]

use std::path::Path;
use std::time::Duration;

use wardwatch::chrono::{DateTime, TimeDelta};
use wardwatch::simulate::{RecordForm, Scenario, Ward, WardOptions};
use wardwatch::{Session, SessionError};

pub fn main() -> Result<(), SessionError> {
    let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/patient_vitals.toml");
    let session = Session::from_job(job)?;
    // Other jobs may take CSV, or FHIR.
    let Some(form) = RecordForm::of(&session.job().source) else { return Ok(()) };
    let mut job = session.offline();

    let start = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let mut patients = Ward::new(WardOptions {
        patients: 8,
        seed: 1,
        start,
        interval: Duration::from_secs(1),
        onset: 60.0..90.0,
        lasts: None,
        scenarios: vec![Scenario::Sepsis, Scenario::Hypoxia, Scenario::Bleeding],
    });
    let mut fired = 0;
    for second in 1..=300 {
        let samples = patients.next_round();
        let records = samples.iter().flat_map(|sample| form.records(sample));
        let records: Vec<String> = records.map(|record| String::from_utf8_lossy(&record).into_owned()).collect();
        let given = job.json(records.iter().map(String::as_str), start + TimeDelta::seconds(second));
        for episode in given.committed().fired() {
            println!("{second:>4} s  {:<9} {}  {}", episode.severity.name(), episode.patient, episode.text);
            fired += 1;
        }
    }
    assert!(fired > 0, "patients get worse, and nobody hears of it");
    Ok(())
}

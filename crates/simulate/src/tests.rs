//! What the simulator promises.

use std::time::Duration;

use chrono::DateTime;

use super::*;

fn ward(seed: u64, scenarios: &[Scenario]) -> Ward {
    Ward::new(WardOptions {
        patients: 3,
        seed,
        start: DateTime::from_timestamp(1_767_225_600, 0).expect("a time"),
        interval: Duration::from_secs(1),
        onset: ONSET,
        lasts: None,
        scenarios: scenarios.to_vec(),
    })
}

fn rounds(mut ward: Ward, count: usize) -> Vec<Sample> {
    (0..count).flat_map(|_| ward.next_round()).collect()
}

fn mean(samples: &[Sample], patient: &str, vital: Vital) -> f64 {
    let values: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.patient == patient)
        .filter_map(|sample| sample.values.iter().find(|(name, _)| *name == vital).map(|(_, value)| *value))
        .collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_same_seed_gives_the_same_records_and_another_seed_others() {
    assert_eq!(rounds(ward(7, &[]), 100), rounds(ward(7, &[]), 100));
    assert_ne!(rounds(ward(7, &[]), 100), rounds(ward(8, &[]), 100));
}

#[test]
fn stable_adults_stay_within_what_is_normal() {
    let samples = rounds(ward(1, &[]), 3_600);
    for patient in ["P0001", "P0002", "P0003"] {
        assert!((50.0..110.0).contains(&mean(&samples, patient, Vital::HeartRate)));
        assert!((94.0..=100.0).contains(&mean(&samples, patient, Vital::Spo2)));
        assert!((36.0..37.8).contains(&mean(&samples, patient, Vital::Temperature)));
    }
}

#[test]
fn a_septic_patient_gets_worse_in_every_vital_together() {
    let samples = rounds(ward(1, &[Scenario::Sepsis]), 600);
    let (before, after) = (&samples[..30], &samples[samples.len() - 300..]);
    let change = |vital| mean(after, "P0001", vital) - mean(before, "P0001", vital);
    assert!(change(Vital::HeartRate) > 30.0);
    assert!(change(Vital::RespiratoryRate) > 8.0);
    assert!(change(Vital::Temperature) > 1.5);
    assert!(change(Vital::SystolicBp) < -20.0);
    assert!(change(Vital::Spo2) < -2.0);
}

#[test]
fn what_lasts_for_a_while_ends_and_the_patient_is_as_before() {
    let options = |lasts| WardOptions {
        patients: 1,
        seed: 1,
        start: DateTime::from_timestamp(1_767_225_600, 0).expect("a time"),
        interval: Duration::from_secs(1),
        onset: ONSET,
        lasts,
        scenarios: vec![Scenario::Sepsis],
    };
    let pressure = |lasts| {
        let samples = rounds(Ward::new(options(lasts)), 600);
        let of = |samples: &[Sample]| mean(samples, "P0001", Vital::SystolicBp);
        (of(&samples[..10]), of(&samples[125..135]), of(&samples[500..]))
    };
    let (before, during, after) = pressure(Some(Duration::from_secs(120)));
    assert!(before - during > 20.0 && (before - after).abs() < 15.0, "{before} {during} {after}");
    let (before, _, after) = pressure(None);
    assert!(before - after > 20.0);
}

#[test]
fn devices_fail_in_their_own_ways() {
    let count = |scenario| {
        let samples = rounds(ward(1, &[scenario]), 300);
        samples.iter().filter(|sample| sample.patient == "P0001").count()
    };
    assert_eq!(count(Scenario::Stable), 300);
    assert!(count(Scenario::DeviceOffline) < 61);
    assert!(count(Scenario::Duplicates) > 500);
    assert!((270..=300).contains(&count(Scenario::LateBursts)));
    let lead_off = rounds(ward(1, &[Scenario::LeadOff]), 100);
    let last = lead_off.iter().rfind(|sample| sample.patient == "P0001").expect("a sample");
    assert!(last.values.contains(&(Vital::RespiratoryRate, 0.0)));
    assert!(!last.values.iter().any(|(vital, _)| *vital == Vital::HeartRate));
}

#[test]
fn recordings_keep_their_times_and_leave_out_what_is_no_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
    let columns = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    std::fs::write(folder.path().join("p1.csv"), "Time [s], HR, SpO2\n-0,94,NaN\n1,95,97\n").expect("written");
    let mapped = columns(&[("time", "Time [s]"), ("heart_rate", "HR"), ("spo2", "SpO2")]);
    let recordings = Recordings::read(folder.path(), &mapped, start).expect("read");
    assert_eq!(recordings.samples().len(), 2);
    assert_eq!(
        recordings.samples()[0],
        Sample { patient: "p1".to_owned(), at: start, values: vec![(Vital::HeartRate, 94.0)] }
    );

    let error = |pairs| Recordings::read(folder.path(), &columns(pairs), start).expect_err("refused").to_string();
    assert!(error(&[("time", "Time"), ("heart_rate", "HR")]).contains("unknown header \"Time\""));
    assert!(error(&[("heart_rate", "HR")]).contains("no column is mapped to \"time\""));
    assert!(error(&[("time", "Time [s]"), ("hart_rate", "HR")]).contains("did you mean \"heart_rate\"?"));
}

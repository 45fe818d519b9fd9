//! The NEWS2-style score of the shipped set against the chart of the Royal College of Physicians, written down by hand here.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use chrono::{DateTime, TimeDelta, Utc};
use wardwatch::job::{GivenRecord, OfflineJob, Plan};
use wardwatch::terms::Partition;

use crate::fixtures::repository;

/// What a parameter is called in records, a value of it as it would be sent, and what it scores.
type Band = (&'static str, &'static str, i64);

/// Every edge of the chart, both sides of it, and values between whole units, which are rounded: halves away from zero.
const SCALE_1: &[Band] = &[
    ("respiratory_rate", "1", 3),
    ("respiratory_rate", "8", 3),
    ("respiratory_rate", "8.4", 3),
    ("respiratory_rate", "8.5", 1),
    ("respiratory_rate", "9", 1),
    ("respiratory_rate", "11", 1),
    ("respiratory_rate", "11.5", 0),
    ("respiratory_rate", "12", 0),
    ("respiratory_rate", "20", 0),
    ("respiratory_rate", "20.4", 0),
    ("respiratory_rate", "20.5", 2),
    ("respiratory_rate", "21", 2),
    ("respiratory_rate", "24", 2),
    ("respiratory_rate", "24.5", 3),
    ("respiratory_rate", "25", 3),
    ("respiratory_rate", "60", 3),
    ("spo2", "50", 3),
    ("spo2", "91", 3),
    ("spo2", "91.4", 3),
    ("spo2", "91.5", 2),
    ("spo2", "92", 2),
    ("spo2", "93", 2),
    ("spo2", "93.5", 1),
    ("spo2", "94", 1),
    ("spo2", "95", 1),
    ("spo2", "95.5", 0),
    ("spo2", "96", 0),
    ("spo2", "100", 0),
    ("oxygen", "true", 2),
    ("oxygen", "false", 0),
    ("systolic_bp", "20", 3),
    ("systolic_bp", "90", 3),
    ("systolic_bp", "90.5", 2),
    ("systolic_bp", "91", 2),
    ("systolic_bp", "100", 2),
    ("systolic_bp", "101", 1),
    ("systolic_bp", "110", 1),
    ("systolic_bp", "110.5", 0),
    ("systolic_bp", "111", 0),
    ("systolic_bp", "219", 0),
    ("systolic_bp", "219.5", 3),
    ("systolic_bp", "220", 3),
    ("systolic_bp", "300", 3),
    ("heart_rate", "10", 3),
    ("heart_rate", "40", 3),
    ("heart_rate", "41", 1),
    ("heart_rate", "50", 1),
    ("heart_rate", "51", 0),
    ("heart_rate", "90", 0),
    ("heart_rate", "91", 1),
    ("heart_rate", "110", 1),
    ("heart_rate", "111", 2),
    ("heart_rate", "130", 2),
    ("heart_rate", "130.5", 3),
    ("heart_rate", "131", 3),
    ("heart_rate", "300", 3),
    ("temperature", "32", 3),
    ("temperature", "35.0", 3),
    ("temperature", "35.04", 3),
    ("temperature", "35.05", 1),
    ("temperature", "36.0", 1),
    ("temperature", "36.05", 0),
    ("temperature", "36.1", 0),
    ("temperature", "38.0", 0),
    ("temperature", "38.1", 1),
    ("temperature", "38.05", 1),
    ("temperature", "39.0", 1),
    ("temperature", "39.05", 2),
    ("temperature", "39.1", 2),
    ("temperature", "44", 2),
    ("consciousness", "\"A\"", 0),
    ("consciousness", "\"C\"", 3),
    ("consciousness", "\"V\"", 3),
    ("consciousness", "\"P\"", 3),
    ("consciousness", "\"U\"", 3),
];

/// SpO₂ on scale 2: the saturation, what it scores on air and on oxygen.
const SCALE_2: [(&str, i64, i64); 15] = [
    ("50", 3, 3),
    ("83", 3, 3),
    ("83.5", 2, 2),
    ("84", 2, 2),
    ("85", 2, 2),
    ("86", 1, 1),
    ("87", 1, 1),
    ("88", 0, 0),
    ("92", 0, 0),
    ("92.5", 0, 1),
    ("93", 0, 1),
    ("94", 0, 1),
    ("95", 0, 2),
    ("96", 0, 2),
    ("97", 0, 3),
];

/// A value of each of the seven parameters that scores something else than 0.
const SEVEN: [Band; 7] = [
    ("respiratory_rate", "22", 2),
    ("spo2", "94", 1),
    ("oxygen", "true", 2),
    ("systolic_bp", "85", 3),
    ("heart_rate", "100", 1),
    ("consciousness", "\"C\"", 3),
    ("temperature", "39.5", 2),
];

fn start() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc()
}

/// The score and the number of parameters of each patient, whose one reading is given as the fields of a record.
fn scores(readings: &BTreeMap<String, Vec<(&str, &str)>>, scale_2: &[String]) -> BTreeMap<String, (Option<i64>, i64)> {
    let plan = Plan::load(&repository().join("jobs/patient_vitals.toml")).unwrap();
    let plan = plan.excerpt(&["news2_1m".to_owned()], Vec::new()).unwrap();
    let patients = plan.references.iter().find(|reference| reference.spec.name == "patients").unwrap();
    let schema = patients.rows.schema();
    let columns = schema.fields().iter().map(|field| -> arrow::array::ArrayRef {
        match field.name().as_str() {
            "patient_id" => std::sync::Arc::new(arrow::array::StringViewArray::from_iter_values(scale_2)),
            "spo2_scale" => std::sync::Arc::new(arrow::array::Int64Array::from(vec![2; scale_2.len()])),
            _ => arrow::array::new_null_array(field.data_type(), scale_2.len()),
        }
    });
    let rows = arrow::array::RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    let mut offline = OfflineJob::new(plan);
    offline.set_reference("patients", &rows);
    let record = |patient: &str, at: DateTime<Utc>, fields: &[(&str, &str)]| {
        let fields: String = fields.iter().map(|(name, value)| format!(", \"{name}\": {value}")).collect();
        let text = format!("{{\"patient_id\": \"{patient}\", \"event_time\": \"{}\"{fields}}}", at.to_rfc3339());
        GivenRecord { partition: Partition(0), stamp: None, payload: text.into_bytes() }
    };
    let mut records: Vec<GivenRecord> =
        readings.iter().map(|(patient, fields)| record(patient, start(), fields)).collect();
    let now = start() + TimeDelta::seconds(80);
    records.push(record("tick", now, &[]));
    let batch = offline.records(&records, now);
    assert!(batch.rejects.is_empty(), "{:?}", batch.rejects);
    let news2 = batch.outcomes.iter().find(|outcome| outcome.query == "news2_1m").unwrap();
    let rows = news2.rows.as_ref().unwrap();
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let patients = column("patient_id").as_string_view();
    let (scores, counts) =
        (column("score").as_primitive::<Int64Type>(), column("parameters").as_primitive::<Int64Type>());
    (0..rows.num_rows())
        .map(|row| {
            let score = scores.is_valid(row).then(|| scores.value(row));
            (patients.value(row).to_owned(), (score, counts.value(row)))
        })
        .collect()
}

#[test]
fn every_edge_of_the_chart_scores_what_the_chart_says() {
    let mut readings = BTreeMap::new();
    let mut expected = BTreeMap::new();
    for (name, value, score) in SCALE_1 {
        let patient = format!("{name} {}", value.replace('"', ""));
        readings.insert(patient.clone(), vec![(*name, *value)]);
        expected.insert(patient, (Some(*score), 1));
    }
    let mut scale_2 = Vec::new();
    for (spo2, on_air, on_oxygen) in SCALE_2 {
        for (given, oxygen, score) in [("air", "false", on_air), ("oxygen", "true", on_oxygen + 2)] {
            let patient = format!("{spo2} on {given}");
            readings.insert(patient.clone(), vec![("spo2", spo2), ("oxygen", oxygen)]);
            expected.insert(patient.clone(), (Some(score), 2));
            scale_2.push(patient);
        }
        // Where it is not known whether oxygen is given, what depends on it is not known either.
        let patient = format!("{spo2} on what?");
        readings.insert(patient.clone(), vec![("spo2", spo2)]);
        let known = on_air == on_oxygen;
        expected.insert(patient.clone(), if known { (Some(on_air), 1) } else { (None, 0) });
        scale_2.push(patient);
    }
    let found = scores(&readings, &scale_2);
    for (patient, score) in &expected {
        assert_eq!(found.get(patient), Some(score), "{patient}");
    }
}

#[test]
fn a_score_is_of_the_parameters_that_are_there_whichever_are_missing() {
    let subset = |bits: usize| SEVEN.iter().enumerate().filter(move |(index, _)| bits & (1 << index) != 0);
    let mut readings = BTreeMap::new();
    for bits in 0..1 << SEVEN.len() {
        let fields = subset(bits).map(|(_, (name, value, _))| (*name, *value)).collect();
        readings.insert(format!("{bits:03}"), fields);
    }
    let found = scores(&readings, &[]);
    for bits in 0..1 << SEVEN.len() {
        let count = subset(bits).count() as i64;
        let sum: i64 = subset(bits).map(|(_, (_, _, score))| score).sum();
        let expected = ((count > 0).then_some(sum), count);
        assert_eq!(found.get(&format!("{bits:03}")), Some(&expected), "the parameters {bits:07b}");
    }
}

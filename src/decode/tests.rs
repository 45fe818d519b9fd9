//! What becomes of records, form by form.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::*;

const WIDE: &str = r#"
patient_id = { type = "text", from = ["patient_id", "id"] }
event_time = { type = "time", from = ["event_time", "timestamp"] }
heart_rate = { type = "float", from = ["heart_rate", "hr", "vitals.hr"], plausible = [0, 300] }
steps = { type = "int" }
sport = { type = "bool" }
note = { type = "text" }
"#;

const LONG: &str = r#"
patient_id = { type = "text", from = "device_id" }
event_time = { type = "time", from = "date-time" }
heart_rate = { type = "float", from = ["heart-rate", "pulse-rate"], plausible = [0, 300] }
spo2 = { type = "float", from = "SpO2" }
"#;

fn decoder(columns: &str, more: &str) -> Decoder {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.toml");
    let text = format!(
        "[source]\nbrokers = \"b\"\ntopic = \"vitals\"\nkey = \"patient_id\"\nevent_time = \"event_time\"\n{more}\n\
         [source.columns]\n{columns}\n[store]\nurl = \"sqlite://x.db\"\n[sql]\ndir = \".\"\n"
    );
    std::fs::write(&file, text).expect("written");
    Decoder::new(&crate::config::load(&file).expect("a valid job").source)
}

fn records(payloads: &[&[u8]]) -> RawRecords {
    let mut records = RawRecords::default();
    for (offset, payload) in (0_i64..).zip(payloads) {
        records.push(Partition(0), Offset(offset), Some(1_767_225_600_000), Some(b"key"), payload);
    }
    records
}

fn decode(payloads: &[&[u8]]) -> Decoded {
    decoder(WIDE, "").decode(&records(payloads))
}

/// One good record, so that the fast way is tried with neighbours.
const GOOD: &[u8] = br#"{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","heart_rate":80}"#;

fn heart_rate(payload: &str) -> Option<f64> {
    let decoded = decode(&[GOOD, payload.as_bytes()]);
    assert_eq!(decoded.rejects, [], "{payload}");
    let values = decoded.rows["heart_rate"].as_primitive::<Float64Type>();
    values.is_valid(1).then(|| values.value(1))
}

fn reason(payload: &[u8]) -> String {
    let decoded = decode(&[GOOD, payload, GOOD]);
    assert_eq!(decoded.rows.num_rows(), 2, "the neighbours alone are rows: {}", String::from_utf8_lossy(payload));
    assert_eq!(decoded.rejects.len(), 1, "one reject");
    let reject = &decoded.rejects[0];
    assert_eq!((reject.offset, reject.key.as_deref(), &reject.raw[..]), (Offset(1), Some(&b"key"[..]), payload));
    reject.reason.clone()
}

#[test]
fn aliases_and_nested_paths_lead_to_one_column() {
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:00Z""#;
    for form in [r#""heart_rate":91"#, r#""hr":91"#, r#""vitals":{"hr":91}"#, r#""hr":91,"heart_rate":null"#] {
        assert_eq!(heart_rate(&format!("{{{at},{form}}}")), Some(91.0), "{form}");
    }
}

#[test]
fn the_forms_of_no_value_are_null_and_numbers_may_be_text() {
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:00Z""#;
    for form in ["NaN", "null", "\"\"", "\"NaN\"", "\" \""] {
        assert_eq!(heart_rate(&format!("{{{at},\"hr\":{form}}}")), None, "{form}");
    }
    for form in ["91", "\"91\"", "\" 91.0 \"", "9.1e1"] {
        assert_eq!(heart_rate(&format!("{{{at},\"hr\":{form}}}")), Some(91.0), "{form}");
    }
    assert_eq!(heart_rate(&format!("{{{at},\"note\":\"NaN \\\" NaN\",\"hr\":NaN}}")), None);
}

#[test]
fn ids_and_times_come_as_numbers_too() {
    let decoded = decode(&[br#"{"id":17,"timestamp":1767225600250,"steps":"12","sport":"yes"}"#]);
    assert_eq!(decoded.rejects, []);
    assert_eq!(decoded.rows["patient_id"].as_string_view().value(0), "17");
    assert_eq!(decoded.rows["steps"].as_primitive::<Int64Type>().value(0), 12);
    assert!(decoded.rows["sport"].as_boolean().value(0));
    let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(0), 1_767_225_600_250_000);
}

#[test]
fn a_reject_keeps_its_bytes_and_says_why() {
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:00Z""#;
    let check = |payload: &[u8], expected: &str| {
        let reason = reason(payload);
        assert!(reason.contains(expected), "{reason}");
    };
    check(b"", "empty");
    check(b"  ", "empty");
    check(b"hello", "not JSON");
    check(b"[1,2]", "a record must be a JSON object; this is a list");
    check(b"17", "this is a number");
    check(&[GOOD, GOOD].concat(), "not JSON: trailing characters");
    check(&GOOD[..20], "not JSON");
    check(b"{\"patient_id\":\"\xff\"}", "not UTF-8 text: invalid byte at position 15");
    check(format!("{{{at},\"hr\":\"fast\"}}").as_bytes(), "\"hr\": \"fast\" is not a number");
    check(format!("{{{at},\"hr\":{{\"v\":1}}}}").as_bytes(), "expected a number, found an object");
    check(format!("{{{at},\"vitals\":[1]}}").as_bytes(), "\"vitals.hr\" lies inside a list, not an object");
    check(format!("{{{at},\"steps\":1.5}}").as_bytes(), "\"1.5\" is not a whole number");
    check(br#"{"event_time":"2026-01-01T00:00:00Z"}"#, "column \"patient_id\" is required");
    check(br#"{"patient_id":"","event_time":"2026-01-01T00:00:00Z"}"#, "column \"patient_id\" is required");
    let long = format!(r#"{{"patient_id":"{}","event_time":"2026-01-01T00:00:00Z"}}"#, "é".repeat(129));
    check(long.as_bytes(), "has 129 characters; 128 are allowed");
    check(br#"{"patient_id":"P1"}"#, "column \"event_time\" is required");
    check(br#"{"patient_id":"P1","event_time":"soon"}"#, "\"soon\" is no time");
    check(br#"{"patient_id":"P1","event_time":"2026-01-01T00:05:01Z"}"#, "301 s ahead of the time at which Kafka");
}

#[test]
fn a_record_of_any_size_or_depth_is_survived() {
    let huge = format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","x":"{}"}}"#, "y".repeat(5_000_000));
    assert!(reason(huge.as_bytes()).contains("max_record_bytes allows 1048576"));
    let deep = format!(
        r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","x":{}{},"hr":70}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(heart_rate(&deep), Some(70.0));
    let deep_and_odd = deep.replace("70", "NaN");
    assert!(reason(deep_and_odd.as_bytes()).contains("recursion limit"));
}

#[test]
fn an_implausible_value_is_null_and_kept_as_an_artefact() {
    let record = |value: &str| format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","hr":{value}}}"#);
    let texts = [record("301"), record("1e999"), record("300"), record("-1")];
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let decoded = decode(&payloads);
    assert_eq!(decoded.rows["heart_rate"].null_count(), 3);
    let values: Vec<_> = decoded.artefacts.iter().map(|a| (a.offset.0, a.value, a.patient.as_str())).collect();
    assert_eq!(values, [(0, 301.0, "P1"), (1, f64::INFINITY, "P1"), (3, -1.0, "P1")]);
}

#[test]
fn long_records_fill_the_column_that_takes_their_name() {
    let mut decoder = decoder(LONG, "long = { name = \"observation_id\", value = \"value\" }");
    let record = |name: &str, value: &str| {
        format!(r#"{{"device_id":"D1","date-time":"2026-01-01T00:00:00Z","observation_id":"{name}","value":{value}}}"#)
    };
    let texts = [
        record("heart-rate", "88"),
        record("SpO2", "\"97\""),
        record("pulse-rate", "89.5"),
        record("spo2", "97"),
        record("SpO2", "\"low\""),
        record("SpO2", "null"),
        record("heart-rate", "999"),
    ];
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let decoded = decoder.decode(&records(&payloads));
    let column = |name: &str| decoded.rows[name].as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
    assert_eq!(column("heart_rate"), [Some(88.0), None, Some(89.5), None, None]);
    assert_eq!(column("spo2"), [None, Some(97.0), None, None, None]);
    let reasons: Vec<_> = decoded.rejects.iter().map(|reject| (reject.offset.0, reject.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (3, "no column is read from the vital \"spo2\"; the nearest is \"SpO2\""),
            (4, "column \"spo2\": \"low\" is not a number")
        ]
    );
    assert_eq!(decoded.artefacts.len(), 1);
}

proptest! {
    #[test]
    fn what_becomes_of_a_record_does_not_depend_on_its_neighbours(
        picks in prop::collection::vec(0_usize..11, 1..40),
    ) {
        let forms: [&[u8]; 11] = [
            GOOD, GOOD, b"", b"{", br#"{"id":2,"timestamp":1767225600,"hr":"77"}"#,
            br#"{"id":2,"timestamp":1767225600,"hr":NaN}"#, br#"{"id":2,"timestamp":1767225600,"hr":900}"#,
            br#"{"id":2,"timestamp":"x"}"#, br#"{"id":2,"timestamp":1767225600,"steps":3.0}"#,
            br#"{"id":2,"timestamp":1767225600,"vitals":{"hr":66,"x":1}}"#, br#"{"id":2,"timestamp":1767225600,"vitals":{}}"#,
        ];
        let payloads: Vec<&[u8]> = picks.iter().map(|&pick| forms[pick]).collect();
        let together = decode(&payloads);
        // This one has seen other records before, and narrowed to what they use.
        let mut decoder = decoder(WIDE, "");
        decoder.decode(&records(&[GOOD, GOOD]));
        let alone: Vec<Decoded> = (0..picks.len()).map(|record| {
            let mut single = RawRecords::default();
            single.push(Partition(0), Offset(record as i64), Some(1_767_225_600_000), Some(b"key"), payloads[record]);
            decoder.decode(&single)
        }).collect();
        let rows = arrow::compute::concat_batches(together.rows.schema_ref(), alone.iter().map(|d| &d.rows)).expect("one schema");
        prop_assert_eq!(rows, together.rows);
        prop_assert_eq!(alone.iter().flat_map(|d| d.rejects.clone()).collect::<Vec<_>>(), together.rejects);
        prop_assert_eq!(alone.iter().flat_map(|d| d.artefacts.clone()).collect::<Vec<_>>(), together.artefacts);
    }
}

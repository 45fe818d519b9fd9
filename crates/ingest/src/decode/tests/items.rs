//! Several rows of one record: lists, lines, `rows`, and what stands around an item.

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int32Type, TimestampMicrosecondType};

use super::*;

const PLAIN: &str = r#"
    patient_id = { type = "text" }
    event_time = { type = "time" }
    heart_rate = { type = "float" }
"#;

/// Patient, second of the minute, heart rate and item of each row.
fn rows(decoded: &Decoded) -> Vec<(String, i64, Option<f64>, i32)> {
    let patients = decoded.rows["patient_id"].as_string_view();
    let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
    let rates = decoded.rows["heart_rate"].as_primitive::<Float64Type>();
    let items = decoded.rows["_item"].as_primitive::<Int32Type>();
    (0..decoded.rows.num_rows())
        .map(|row| {
            let rate = rates.is_valid(row).then(|| rates.value(row));
            (patients.value(row).to_owned(), times.value(row) / 1_000_000 % 60, rate, items.value(row))
        })
        .collect()
}

fn rejects(decoded: &Decoded) -> Vec<(i64, i32, &str, bool)> {
    let of = |reject: &'_ Reject| (reject.place.offset.0, reject.place.item.0, !reject.raw.is_empty());
    decoded.rejects.iter().map(|reject| (of(reject).0, of(reject).1, reject.reason.as_str(), of(reject).2)).collect()
}

fn reading(second: i64, rate: i64) -> String {
    format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:{second:02}Z","heart_rate":{rate}}}"#)
}

fn decode_each(source: &str, columns: &str, payloads: &[String]) -> Decoded {
    let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    let mut decoder = decoder(columns, source);
    let at_once = decoder.decode(&records(&payloads));
    // One by one, and with a decoder that has seen others, it comes to the same.
    let again = decoder.decode(&records(&payloads));
    assert_eq!((&at_once.rows, &at_once.rejects, &at_once.artefacts), (&again.rows, &again.rejects, &again.artefacts));
    at_once
}

#[test]
fn each_object_of_a_list_or_of_several_lines_is_a_row_and_a_bad_one_costs_itself() {
    let payloads = [
        format!("[{},{},{}]", reading(0, 70), reading(1, 71), reading(2, 72)),
        format!("[{}]", reading(3, 73)),
        "[]".to_owned(),
        format!(r#"[{},{{"patient_id":"P1","event_time":"soon"}},7,{}]"#, reading(4, 74), reading(5, 75)),
        format!("{}\n{}\r\n\n{}", reading(6, 76), reading(7, 77), reading(8, 78)),
        format!("{}{}", reading(9, 79), reading(10, 80)),
        format!("{}\n{{\"patient_id\":\"P1\",\n{}\n", reading(11, 81), reading(12, 82)),
        format!("\u{feff}{}", reading(13, 83)),
    ];
    let decoded = decode_each("", PLAIN, &payloads);
    let expected = [
        (0, 70, 0),
        (1, 71, 1),
        (2, 72, 2),
        (3, 73, 0),
        (4, 74, 0),
        (5, 75, 3),
        (6, 76, 0),
        (7, 77, 1),
        (8, 78, 2),
        (9, 79, 0),
        (10, 80, 1),
        (11, 81, 0),
        (12, 82, 2),
        (13, 83, 0),
    ];
    let expected = expected.map(|(second, rate, item)| ("P1".to_owned(), second, Some(f64::from(rate)), item));
    assert_eq!(rows(&decoded), expected);
    let reasons = rejects(&decoded);
    assert_eq!(
        reasons.iter().map(|(offset, item, _, has_bytes)| (*offset, *item, *has_bytes)).collect::<Vec<_>>(),
        [(3, 1, true), (3, 2, false), (6, 1, true)],
        "{reasons:?}"
    );
    assert!(reasons[0].2.contains("\"soon\" is not a valid time"), "{reasons:?}");
    assert!(reasons[1].2.contains("an item of a list must be a JSON object; this is a number"), "{reasons:?}");
    assert!(reasons[2].2.contains("not JSON"), "{reasons:?}");
    assert_eq!(decoded.ignored, 1, "the empty list");
}

#[test]
fn rows_lead_to_items_and_paths_around_them() {
    let source = r#"rows = "$.data.metrics[*].data[*]"
        long = { name = "^.name", value = ["qty", "Avg"] }"#;
    let columns = r#"
        patient_id = { type = "text", from = "^.patient_id" }
        event_time = { type = "time", from = "date" }
        heart_rate = { type = "float", from = ["heart_rate", "hr"] }
        spo2 = { type = "float", named = "oxygen_saturation" }
    "#;
    let record = r#"{"patient_id":"P1","data":{"metrics":[
        {"name":"heart_rate","data":[{"date":"2026-01-01 01:00:00 +0100","Avg":65},{"date":"2026-01-01 01:00:05 +0100","Avg":66}]},
        {"name":"oxygen_saturation","data":[{"date":"2026-01-01 01:00:00 +0100","qty":97},{"date":"?","qty":96}]},
        {"name":"steps","data":[{"date":"2026-01-01 01:00:00 +0100","qty":5}]},
        {"name":"none","data":[]}]}}"#;
    let nothing = r#"{"patient_id":"P1","data":{"metrics":[]}}"#;
    let other = r#"{"patient_id":"P1","status":"online"}"#;
    let decoded = decode_each(source, columns, &[record, nothing, other].map(str::to_owned));
    let expected = [(0, Some(65.0), 0), (5, Some(66.0), 1)].map(|(at, rate, item)| ("P1".to_owned(), at, rate, item));
    assert_eq!(rows(&decoded), expected);
    assert_eq!(decoded.rows["spo2"].as_primitive::<Float64Type>().value(0), 97.0, "of the same time");
    let reasons = rejects(&decoded);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].2.contains("\"?\" is not a valid time"), "{reasons:?}");
    assert!(reasons[1].2.contains("nothing at \"$.data.metrics[*].data[*]\""), "{reasons:?}");
    assert_eq!(decoded.ignored, 2, "steps, and the list without metrics");
}

#[test]
fn a_search_finds_the_value_that_counts() {
    let columns = r#"
        patient_id = { type = "text", from = "subject.reference" }
        event_time = { type = "time", from = "effectiveDateTime" }
        heart_rate = { type = "float", from = "component[?@.code=='hr'].value" }
        first = { type = "float", from = "component[0].value" }
        last = { type = "float", from = "component[-1].value" }
        quoted = { type = "float", from = "\"Heart Rate (BPM)\"" }
        dotted = { type = "float", from = "\"a.b\".c" }
    "#;
    let record = r#"{"subject":{"reference":"P1"},"effectiveDateTime":"2026-01-01T00:00:01Z","Heart Rate (BPM)":5,
        "a.b":{"c":6},"component":[{"code":"rr","value":1},{"code":"hr","value":2},{"code":"t","value":3}]}"#;
    let decoded = decode_each("", columns, &[record.to_owned()]);
    assert_eq!(rows(&decoded), [("P1".to_owned(), 1, Some(2.0), 0)]);
    for (column, value) in [("first", 1.0), ("last", 3.0), ("quoted", 5.0), ("dotted", 6.0)] {
        assert_eq!(decoded.rows[column].as_primitive::<Float64Type>().value(0), value, "{column}");
    }
}

#[test]
fn a_number_here_and_an_object_there_are_both_read() {
    let columns = r#"
        patient_id = { type = "text" }
        event_time = { type = "time" }
        heart_rate = { type = "float", from = ["heart_rate", "heart_rate.value"] }
    "#;
    let object = reading(1, 0).replace(":0}", r#":{"value":73,"unit":"/min"}}"#);
    let decoded = decode_each("", columns, &[reading(0, 72), object]);
    assert_eq!(decoded.artefacts, []);
    assert_eq!(rows(&decoded).iter().map(|row| row.2).collect::<Vec<_>>(), [Some(72.0), Some(73.0)]);
}

#[test]
fn a_long_record_has_fixed_places_and_texts_too() {
    let columns = r#"
        patient_id = { type = "text" }
        event_time = { type = "time" }
        heart_rate = { type = "float", from = "heart-rate" }
        systolic = { type = "float", from = "systolic.value" }
        acvpu = { type = "text", named = ["consciousness"], map = { Alert = "A", Confusion = "C" } }
    "#;
    let record = |rest: &str| format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:01Z",{rest}}}"#);
    let payloads = [
        record(r#""id":"heart-rate","value":88"#),
        record(r#""id":"blood-pressure","systolic":{"value":120}"#),
        record(r#""id":"consciousness","value":"confusion""#),
        record(r#""id":"consciousness","value":"drowsy""#),
        record(r#""id":"waveform","value":[1,2]"#),
        record(r#""value":3"#),
    ];
    let decoded = decode_each("long = { name = \"id\", value = \"value\" }", columns, &payloads);
    assert_eq!(rows(&decoded).iter().map(|row| row.2).collect::<Vec<_>>(), [Some(88.0), None, None, None]);
    assert_eq!(decoded.rows["systolic"].as_primitive::<Float64Type>().value(1), 120.0);
    let words: Vec<Option<&str>> = decoded.rows["acvpu"].as_string_view().iter().collect();
    assert_eq!(words, [None, None, Some("C"), None]);
    assert_eq!(decoded.artefacts.iter().map(|artefact| artefact.text.as_str()).collect::<Vec<_>>(), ["drowsy"]);
    assert_eq!((decoded.ignored, rejects(&decoded).len()), (1, 1));
    assert!(decoded.rejects[0].reason.contains("field \"id\" names no vital"));
}

#[test]
fn a_null_value_is_ignored_and_an_empty_one_is_not() {
    let mut records = records(&[GOOD, b""]);
    records.push(RawRecord { payload: None, ..record_at(Offset(2), b"") });
    let decoded = decoder(WIDE, "").decode(&records);
    assert_eq!((decoded.rows.num_rows(), decoded.rejects.len(), decoded.ignored), (1, 1, 1));
}

#[test]
fn times_are_lists_of_numbers_too() {
    let columns = PLAIN.replace("type = \"time\"", "type = \"time\", from = [\"event_time\", \"timestamp\"]");
    let record = |time: &str| format!(r#"{{"patient_id":"P1","timestamp":{time},"heart_rate":80}}"#);
    let payloads =
        ["[2026,1,1,1,0]", "[2026,1,1,1,0,1]", "[2026,1,1,1,0,2,250000000]", "[2026,1]", "[2026,13,1,1,0]"].map(record);
    let decoded = decode_each("time_zone = \"Europe/Berlin\"", &columns, &payloads);
    let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
    let midnight = 1_767_225_600_000_000;
    assert_eq!(times.values(), &[midnight, midnight + 1_000_000, midnight + 2_250_000]);
    assert_eq!(decoded.rejects.len(), 2);
    assert!(decoded.rejects[0].reason.contains("is not a valid time"), "{}", decoded.rejects[0].reason);
}

#[test]
fn more_items_than_a_chunk_are_all_rows_and_a_deep_or_long_list_is_survived() {
    let many = (0..20_000).map(|at| reading(at % 60, 60 + at % 40)).collect::<Vec<_>>().join(",");
    let decoded = decode_each("max_record_bytes = \"10MiB\"", PLAIN, &[format!("[{many}]")]);
    assert_eq!(decoded.rows.num_rows(), 20_000);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let with_rows = "max_record_bytes = \"10MiB\"\nrows = \"$..data[*]\"";
    let nested = format!(r#"{{"x":{deep},"data":[{}]}}"#, reading(1, 61));
    let decoded = decode_each(with_rows, PLAIN, &[deep, nested]);
    assert_eq!(rows(&decoded), [("P1".to_owned(), 1, Some(61.0), 0)]);
}

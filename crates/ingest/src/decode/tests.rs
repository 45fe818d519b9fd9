//! What becomes of records, form by form.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use chrono::DateTime;
use proptest::prelude::*;
use serde_json::Value as Json;

use wardwatch_model::record::{Artefact, MOST_TEXT_CHARS, Reject};
use wardwatch_model::terms::Offset;

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
    Decoder::new(&wardwatch_config::load(&file).expect("a valid job").source)
}

fn record_at(offset: Offset, payload: &[u8]) -> RawRecord<'_> {
    RawRecord { stamp: Some(1_767_225_600_000), key: Some(b"key"), ..RawRecord::of_payload(offset, payload) }
}

fn records(payloads: &[&[u8]]) -> RawRecords {
    let mut records = RawRecords::default();
    for (offset, payload) in (0_i64..).zip(payloads) {
        records.push(record_at(Offset(offset), payload));
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
    assert_eq!((reject.place.offset, reject.key.as_deref(), &reject.raw[..]), (Offset(1), Some(&b"key"[..]), payload));
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
    let check = |payload: &[u8], expected: &str| {
        let reason = reason(payload);
        assert!(reason.contains(expected), "{reason}");
    };
    check(b"", "empty");
    check(b"  ", "empty");
    check(b"hello", "not JSON");
    check(b"hello", "expected a value at position 0");
    check(b"[1]", "an item of a list must be a JSON object; this is a number");
    check(br#""{\"a\":1}""#, "this is a text with JSON in it: its producer encodes twice");
    check(b"17", "this is a number");
    check(&GOOD[..20], "not JSON");
    check(b"{\"patient_id\":\"\xff\"}", "column \"patient_id\": \"\u{fffd}\" is not valid UTF-8");
    check(br#"{"patient_id":{"v":1},"event_time":"2026-01-01T00:00:00Z"}"#, "\"{\"v\":1}\" is an object, not a text");
    check(br#"{"event_time":"2026-01-01T00:00:00Z"}"#, "column \"patient_id\" is required");
    check(br#"{"patient_id":"","event_time":"2026-01-01T00:00:00Z"}"#, "column \"patient_id\" is required");
    let long = format!(r#"{{"patient_id":"{}","event_time":"2026-01-01T00:00:00Z"}}"#, "é".repeat(129));
    check(long.as_bytes(), "has 129 characters; 128 are allowed");
    check(br#"{"patient_id":"P1"}"#, "column \"event_time\" is required");
    check(br#"{"patient_id":"P1","event_time":"soon"}"#, "column \"event_time\": \"soon\" is not a valid time");
    check(br#"{"patient_id":"P1","event_time":"2026-01-01T00:05:01Z"}"#, "301 s ahead of the time at which Kafka");
}

#[test]
fn a_time_without_a_zone_that_is_ahead_by_one_names_the_zone_that_may_be_meant() {
    let with_time = |time: &str| format!(r#"{{"patient_id":"P1","event_time":"{time}"}}"#);
    let hint = "about 5 h 30 min ahead: is time_zone = \"Asia/Kolkata\" (or another of this offset) meant?";
    for (time, hinted) in [
        ("2026-01-01 05:29:30", true),
        ("20260101053000", true),
        ("2026-01-01 05:35:00", false),
        ("2026-01-01T05:30:00Z", false),
        ("2026-01-01T05:30:00+00:00", false),
        ("2026-01-02 05:30:00", false),
    ] {
        let reason = reason(with_time(time).as_bytes());
        assert_eq!(reason.contains(hint), hinted, "{time}: {reason}");
    }
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
    assert_eq!(heart_rate(&deep_and_odd), None);
}

/// The artefacts of one record with other fields beside patient and time: column, number, text and reason.
fn artefacts(fields: &[u8]) -> Vec<(String, Option<f64>, String, String)> {
    let payload = [br#"{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","#, fields, b"}"].concat();
    let decoded = decode(&[GOOD, &payload, GOOD]);
    assert_eq!((decoded.rows.num_rows(), &decoded.rejects[..]), (3, &[][..]), "{}", String::from_utf8_lossy(fields));
    let of = |artefact: Artefact| {
        assert_eq!((artefact.patient.as_str(), artefact.place.offset), ("P1", Offset(1)));
        assert!(decoded.rows[artefact.column.as_str()].is_null(1), "{} is NULL", artefact.column);
        (artefact.column, artefact.value, artefact.text, artefact.reason)
    };
    decoded.artefacts.into_iter().map(of).collect()
}

fn artefact(column: &str, value: Option<f64>, text: &str, reason: &str) -> (String, Option<f64>, String, String) {
    (column.to_owned(), value, text.to_owned(), reason.to_owned())
}

#[test]
fn a_word_is_read_as_what_it_means_and_one_that_is_not_known_costs_itself_alone() {
    let columns = format!(
        "{WIDE}mood = {{ type = \"text\", from = [\"mood\", \"acvpu\"], map = {{ Alert = \"A\", \"sehr müde\" = \"V\" }} }}\n"
    );
    let read = |fields: &str| {
        let payload = format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","heart_rate":80,{fields}}}"#);
        let decoded = decoder(&columns, "").decode(&records(&[GOOD, payload.as_bytes()]));
        assert_eq!(decoded.rejects, [], "{fields}");
        let mood = decoded.rows["mood"].as_string_view();
        let told: Vec<String> = decoded.artefacts.iter().map(|told| format!("{} {}", told.text, told.reason)).collect();
        (mood.is_valid(1).then(|| mood.value(1).to_owned()), told)
    };
    for (sent, meaning) in [("Alert", "A"), (" ALERT ", "A"), ("a", "A"), ("v", "V"), ("SEHR MÜDE", "V")] {
        assert_eq!(read(&format!("\"mood\":\"{sent}\"")), (Some(meaning.to_owned()), Vec::new()), "{sent}");
    }
    let unknown = "is not a word that the column knows".to_owned();
    assert_eq!(read("\"mood\":\"Drowsy\""), (None, vec![format!("Drowsy {unknown}")]));
    assert_eq!(read("\"mood\":3"), (None, vec![format!("3 {unknown}")]));
    // Another place may have it; nothing is said of what means no value.
    assert_eq!(read("\"mood\":\"\",\"acvpu\":\"V\""), (Some("V".to_owned()), Vec::new()));
    assert_eq!(read("\"mood\":null"), (None, Vec::new()));
}

#[test]
fn a_value_that_cannot_be_read_costs_itself_alone() {
    for text in ["--", "N/A", "unavailable", "None", "-?-", "***", "OFF", "72 bpm", "98 %", "36,6", "<40", "1e", "-"] {
        let expected = [artefact("heart_rate", None, text, "is not a valid number")];
        assert_eq!(artefacts(format!("\"hr\":\"{text}\",\"steps\":7").as_bytes()), expected);
    }
    let check = |fields: &[u8], expected: &[_]| assert_eq!(artefacts(fields), expected);
    check(b"\"hr\":true", &[artefact("heart_rate", None, "true", "is not a valid number")]);
    check(b"\"hr\":1--2", &[artefact("heart_rate", None, "1--2", "is not a valid number")]);
    check(b"\"hr\":{\"v\":1}", &[artefact("heart_rate", None, "{\"v\":1}", "is an object, not a number")]);
    check(b"\"hr\":[72]", &[artefact("heart_rate", None, "[72]", "is a list, not a number")]);
    let inside = "is a list, not an object with \"hr\" in it";
    check(b"\"vitals\":[1]", &[artefact("heart_rate", None, "[1]", inside)]);
    check(b"\"vitals\":[1],\"hr\":70", &[]);
    check(b"\"steps\":1.5", &[artefact("steps", Some(1.5), "1.5", "is not a valid whole number")]);
    check(b"\"steps\":\"few\"", &[artefact("steps", None, "few", "is not a valid whole number")]);
    check(b"\"sport\":2", &[artefact("sport", None, "2", "is not true or false")]);
    check(b"\"sport\":\"maybe\"", &[artefact("sport", None, "maybe", "is not true or false")]);
    check(b"\"note\":{}", &[artefact("note", None, "{}", "is an object, not a text or a number")]);
    check(b"\"note\":\"a\xffb\"", &[artefact("note", None, "a\u{fffd}b", "is not valid UTF-8")]);
    check(b"\"hr\":\"7\xff\"", &[artefact("heart_rate", None, "7\u{fffd}", "is not a valid number")]);
    check(b"\"unknown\":\"\xff\",\"hr\":70", &[]);
    check(b"\"hr\":1e400", &[artefact("heart_rate", None, "1e400", "is too large to be a number")]);
    check(b"\"hr\":Infinity", &[artefact("heart_rate", None, "Infinity", "is too large to be a number")]);
    check(b"\"hr\":70,\"hr\":\"--\"", &[artefact("heart_rate", None, "--", "is not a valid number")]);
    check(b"\"hr\":\"--\",\"hr\":70", &[]);
    let two = [
        artefact("heart_rate", None, "--", "is not a valid number"),
        artefact("steps", None, "x", "is not a valid whole number"),
    ];
    check(b"\"steps\":\"x\",\"hr\":\"--\"", &two);
    let long = "x".repeat(1_000);
    let cut = format!("{}…", "x".repeat(MOST_TEXT_CHARS));
    check(format!("\"hr\":\"{long}\"").as_bytes(), &[artefact("heart_rate", None, &cut, "is not a valid number")]);
}

#[test]
fn a_truth_may_be_a_number() {
    for (form, expected) in [("1.0", true), ("1", true), ("0.0", false), ("\"no\"", false), ("\"1\"", true)] {
        let payload = format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","sport":{form}}}"#);
        let decoded = decode(&[GOOD, payload.as_bytes()]);
        assert_eq!(decoded.artefacts, []);
        assert_eq!(decoded.rows["sport"].as_boolean().value(1), expected, "{form}");
    }
}

#[test]
fn the_first_place_that_can_be_read_counts_and_what_was_passed_is_an_artefact() {
    let payload =
        br#"{"patient_id":"P1","event_time":"soon","timestamp":"2026-01-01T00:00:00Z","heart_rate":"--","hr":72}"#;
    let decoded = decode(&[payload]);
    assert_eq!(decoded.rejects, []);
    assert_eq!(decoded.rows["heart_rate"].as_primitive::<Float64Type>().value(0), 72.0);
    let passed: Vec<_> = decoded.artefacts.iter().map(|found| (found.column.as_str(), found.text.as_str())).collect();
    assert_eq!(passed, [("event_time", "soon"), ("heart_rate", "--")]);
}

#[test]
fn an_implausible_value_is_null_and_kept_as_an_artefact() {
    let record = |value: &str| format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","hr":{value}}}"#);
    let texts = [record("301.50"), record("1e999"), record("300"), record("-1"), record("\" 6553.5 \"")];
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let decoded = decode(&payloads);
    assert_eq!(decoded.rows["heart_rate"].null_count(), 4);
    let values: Vec<_> = decoded.artefacts.iter().map(|a| (a.place.offset.0, a.value, a.text.as_str())).collect();
    assert_eq!(
        values,
        [(0, Some(301.5), "301.50"), (1, None, "1e999"), (3, Some(-1.0), "-1"), (4, Some(6553.5), " 6553.5 ")]
    );
    assert_eq!(decoded.artefacts[0].reason, "is outside the plausible range 0–300");
}

#[test]
fn a_doubtful_value_stands_in_a_column_of_its_own_and_is_an_artefact() {
    let columns = r#"
patient_id = { type = "text" }
event_time = { type = "time" }
spo2 = { type = "float", plausible = [50, 100] }
steps = { type = "int", plausible = [10, 20], doubtful = [0, 30] }
glucose = { type = "float", plausible = [50, 500], doubtful = [] }
"#;
    let mut decoder = decoder(columns, "");
    let fields: Vec<&str> = decoder.schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(
        fields[..7],
        ["patient_id", "event_time", "spo2", "steps", "glucose", "spo2_doubtful", "steps_doubtful"]
    );
    let record = |fields: &str| {
        let text = format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z",{fields}}}"#);
        text.into_bytes()
    };
    let rows =
        [r#""spo2":49.9,"steps":30"#, r#""spo2":0,"steps":9"#, r#""spo2":50,"steps":31"#, r#""spo2":-1,"glucose":10"#];
    let payloads = rows.map(record);
    let decoded = decoder.decode(&records(&payloads.each_ref().map(Vec::as_slice)));
    let floats = |name: &str| decoded.rows[name].as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
    let whole = |name: &str| decoded.rows[name].as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
    assert_eq!(floats("spo2"), [None, None, Some(50.0), None]);
    assert_eq!(floats("spo2_doubtful"), [Some(49.9), Some(0.0), None, None]);
    assert_eq!(whole("steps"), [None, None, None, None]);
    assert_eq!(whole("steps_doubtful"), [Some(30), Some(9), None, None]);
    assert_eq!(floats("glucose"), [None; 4]);
    assert_eq!(decoded.artefacts.len(), 7);
}

#[test]
fn a_reject_knows_its_patient_where_the_record_says_whose_it_is() {
    let patient = |payload: &[u8]| {
        let decoded = decode(&[GOOD, payload]);
        let [reject] = &decoded.rejects[..] else { panic!("one reject") };
        assert_eq!(reject.stamped_at, DateTime::from_timestamp(1_767_225_600, 0));
        reject.patient.clone()
    };
    let is = |patient: &str| Some(patient.to_owned());
    assert_eq!(patient(br#"{"id":17,"timestamp":"soon"}"#), is("17"));
    assert_eq!(patient(br#"{"patient_id":"P1"}"#), is("P1"));
    assert_eq!(patient(br#"{"patient_id":"P1","event_time":"2027-01-01T00:00:00Z"}"#), is("P1"));
    let huge = format!(r#"{{"x":"{}","patient_id":"P1","event_time":0}}"#, "y".repeat(2_000_000));
    assert_eq!(patient(huge.as_bytes()), is("P1"));
    assert_eq!(patient(b"{\"patient_id\":\"P1\",\"event_time\":}"), None);
    assert_eq!(patient(br#"{"event_time":"2026-01-01T00:00:00Z"}"#), None);
}

#[test]
fn long_records_fill_the_column_that_takes_their_name() {
    let mut strict = decoder(LONG, "long = { name = \"observation_id\", value = \"value\", strict = true }");
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
        record("heart-rate", "{\"v\":88}"),
    ];
    let payloads: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let decoded = decoder.decode(&records(&payloads));
    let column = |name: &str| decoded.rows[name].as_primitive::<Float64Type>().iter().collect::<Vec<_>>();
    assert_eq!(column("heart_rate"), [Some(88.0), None, Some(89.5), None, None, None, None]);
    assert_eq!(column("spo2"), [None, Some(97.0), None, None, None, None, None]);
    assert_eq!((decoded.rejects.len(), decoded.ignored), (0, 1));
    let strictly = strict.decode(&records(&payloads));
    assert_eq!((strictly.rows, strictly.ignored), (decoded.rows, 0));
    let reasons: Vec<_> =
        strictly.rejects.iter().map(|reject| (reject.place.offset.0, reject.reason.as_str())).collect();
    assert_eq!(reasons, [(3, "no column is read from the vital \"spo2\"; the nearest is \"SpO2\"")]);
    assert_eq!(strictly.rejects[0].patient.as_deref(), Some("D1"));
    let artefacts: Vec<_> =
        decoded.artefacts.iter().map(|a| (a.place.offset.0, a.column.as_str(), a.text.as_str())).collect();
    assert_eq!(artefacts, [(4, "spo2", "low"), (6, "heart_rate", "999"), (7, "heart_rate", "{\"v\":88}")]);
}

proptest! {
    #[test]
    fn what_becomes_of_a_record_does_not_depend_on_its_neighbours(
        picks in prop::collection::vec(0_usize..17, 1..40),
    ) {
        let forms: [&[u8]; 17] = [
            br#"{"id":4.10,"timestamp":1767225600,"hr":"--"}"#, br#"{"id":4.10,"timestamp":1767225600,"steps":1.5}"#,
            br#"{"id":"\ud83d","timestamp":1767225600,"hr":1}"#, b"{\"id\":2,\"timestamp\":1767225600,\"note\":\"\xff\"}",
            br#"{"id":2,"timestamp":"x","hr":"--"}"#, br#"{"id":2,"timestamp":1767225600,"vitals":3,"sport":"?"}"#,
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
            single.push(record_at(Offset(record as i64), payloads[record]));
            decoder.decode(&single)
        }).collect();
        let rows = arrow::compute::concat_batches(together.rows.schema_ref(), alone.iter().map(|d| &d.rows)).expect("one schema");
        prop_assert_eq!(rows, together.rows);
        prop_assert_eq!(alone.iter().flat_map(|d| d.rejects.clone()).collect::<Vec<_>>(), together.rejects);
        prop_assert_eq!(alone.iter().flat_map(|d| d.artefacts.clone()).collect::<Vec<_>>(), together.artefacts);
    }

    #[test]
    fn an_id_is_the_same_whatever_stands_beside_it(
        id in prop_oneof![
            "-?[0-9]{1,40}", "-?[0-9]{1,5}\\.[0-9]{1,5}(e[+-]?[0-9]{1,3})?", "\\PC{0,12}".prop_map(|text| Json::from(text).to_string()),
            Just("true".to_owned()), Just("\"nan\"".to_owned()), Just("\" \"".to_owned()), Just("-0".to_owned()), Just("1e3".to_owned()),
        ],
        odd in prop::sample::select(vec![r#""--""#, "NaN", "{}", "[1]", "1e400", "\"\"", "true", "+5", "\"\\ud800\""]),
    ) {
        let record = |beside: &str| format!("{{\"note\":{id},\"id\":{id},{beside}\"timestamp\":1767225600}}");
        let (alone, beside) = (record(""), record(&format!("\"hr\":{odd},")));
        let (alone, beside) = (decode(&[alone.as_bytes()]), decode(&[beside.as_bytes()]));
        for column in ["patient_id", "note"] {
            prop_assert_eq!(&alone.rows[column], &beside.rows[column]);
        }
        prop_assert_eq!(alone.rejects.len(), beside.rejects.len());
        prop_assert!(id.starts_with('"') || id == *alone.rows["patient_id"].as_string_view().value(0));
    }
}

mod forms;
mod fuzz;
mod items;
mod mixed;
mod schemas;
mod times;
mod written;

//! Forms that are used with columns of one's own, several messages in one record, and what is nearly right.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;

use super::*;

const VITALS: &str = r#"
    patient_id = { type = "text" }
    event_time = { type = "time" }
    heart_rate = { type = "float" }
    temperature = { type = "float", unit = "°C" }
"#;

/// The patients, and one vital of each row.
fn vital(decoded: &Decoded, name: &str) -> Vec<(String, Option<f64>)> {
    let patients = decoded.rows["patient_id"].as_string_view().iter();
    let values = decoded.rows[name].as_primitive::<Float64Type>().iter();
    patients.map(|patient| patient.unwrap_or_default().to_owned()).zip(values).collect()
}

fn decode_with(source: &str, columns: &str, payloads: &[&str]) -> Decoded {
    let payloads: Vec<&[u8]> = payloads.iter().map(|payload| payload.as_bytes()).collect();
    decoder(columns, source).decode(&records(&payloads))
}

fn message(kind: &str, patient: &str, segments: &str) -> String {
    format!("MSH|^~\\&|M|W|||20260101000000+0000||{kind}|1|P|2.5\rPID|1|X|{patient}\r{segments}\r")
}

const RATE: &str = "OBX|1|NM|8867-4^HR^LN||84|/min|||||F|||20260101000000+0000";

#[test]
fn a_form_that_is_used_goes_by_the_columns_that_are_said_beside_it() {
    let source = r#"
        [[source.form]]
        use = "hl7v2-oru"
        columns = { patient_id = "PID.2.1", temperature = { unit_in = "°F" } }
    "#;
    let observation = "OBX|1|NM|8310-5^T^LN||98.6||||||F|||20260101000000+0000";
    let decoded = decode_with(source, VITALS, &[&message("ORU^R01", "P1", observation)]);
    assert_eq!(decoded.rejects, []);
    let found = vital(&decoded, "temperature");
    assert_eq!(found[0].0, "X");
    assert!(found[0].1.is_some_and(|temperature| (temperature - 37.0).abs() < 0.01), "{found:?}");
}

#[test]
fn each_message_of_a_record_is_of_its_own_form() {
    let source = r#"
        [[source.form]]
        use = "hl7v2-adt"
        [[source.form]]
        name = "waves"
        when = { field = "MSH.9.2", is = "W01" }
        ignore = true
        [[source.form]]
        use = "hl7v2-oru"
    "#;
    let admitted = message("ADT^A01", "P1", "EVN||20260101000000+0000\rPV1|1|I|12^A");
    let (rate, waves) = (message("ORU^R01", "P2", RATE), message("ORU^W01", "P3", RATE));
    for mixed in [
        [admitted.clone(), rate.clone(), waves.clone()],
        [waves.clone(), rate.clone(), admitted.clone()],
        [rate.clone(), admitted.clone(), waves.clone()],
    ] {
        let decoded = decode_with(source, VITALS, &[&mixed.concat()]);
        assert_eq!(decoded.rejects, [], "{mixed:?}");
        assert_eq!(vital(&decoded, "heart_rate"), [("P2".to_owned(), Some(84.0))], "{mixed:?}");
        assert_eq!((decoded.encounters.len(), decoded.ignored), (1, 1), "{mixed:?}");
    }
    // Each item has a number of its own, and a message that is of no form is a reject.
    let source = source.replace("ignore = true", "only = { field = \"OBX.1\", exists = true }\nlong = { name = \"OBX.3.1\", value = \"OBX.5\" }\ncolumns = { patient_id = \"PID.3.1\", event_time = \"OBX.14\", heart_rate = { named = \"8867-4\" }, temperature = { named = \"8310-5\" } }");
    let several = [waves, rate, message("MDM^T02", "P4", RATE)].concat();
    let decoded = decode_with(
        &source.replace("use = \"hl7v2-oru\"", "use = \"hl7v2-oru\"\nwhen = { field = \"MSH.9.2\", is = \"R01\" }"),
        VITALS,
        &[&several],
    );
    let items = decoded.rows["_item"].as_primitive::<arrow::datatypes::Int32Type>();
    assert_eq!(items.values(), &[0, 1]);
    assert_eq!(decoded.rejects.len(), 1);
    assert!(decoded.rejects[0].reason.contains("none of the forms"), "{:?}", decoded.rejects);
}

#[test]
fn a_record_with_nothing_in_it_is_of_no_form_and_left_out() {
    let source = r#"
        unwrap = ["debezium"]
        [[source.form]]
        when = { field = "kind", is = "vitals" }
    "#;
    let mut all = RawRecords::default();
    all.push(RawRecord { payload: None, ..record_at(Offset(0), b"") });
    all.push(record_at(Offset(1), br#"{"before":{"kind":"vitals"},"after":null,"op":"d"}"#));
    let decoded = decoder(VITALS, source).decode(&all);
    assert_eq!((decoded.rejects.len(), decoded.ignored), (0, 2), "{:?}", decoded.rejects);
}

#[test]
fn a_code_is_the_first_part_of_a_coded_observation() {
    let columns = format!("{VITALS}\nconsciousness = {{ type = \"text\" }}");
    let observation = "OBX|1|CWE|67775-7^LOC^LN||A^Alert^L||||||F|||20260101000000+0000";
    let decoded = decode_with("use = \"hl7v2-oru\"", &columns, &[&message("ORU^R01", "P1", observation)]);
    assert_eq!(decoded.rows["consciousness"].as_string_view().value(0), "A");
}

#[test]
fn what_stands_where_an_object_might_is_no_fault_where_another_place_has_the_value() {
    let columns = VITALS
        .replace("heart_rate = { type = \"float\"", "heart_rate = { type = \"float\", from = [\"hr.value\", \"hr\"]");
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:00Z""#;
    let payloads =
        [format!(r#"{{{at},"hr":96}}"#), format!(r#"{{{at},"hr":{{"value":97}}}}"#), format!(r#"{{{at},"hr":"x"}}"#)];
    let decoded = decode_with("", &columns, &payloads.each_ref().map(String::as_str));
    let values: Vec<Option<f64>> = vital(&decoded, "heart_rate").into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [Some(96.0), Some(97.0), None]);
    assert_eq!(decoded.artefacts.len(), 1, "{:?}", decoded.artefacts);
}

#[test]
fn headers_of_csv_with_one_name_twice_are_refused_and_a_last_separator_says_nothing() {
    let csv = "format = \"csv\"";
    let at = "2026-01-01T00:00:00Z";
    let decoded = decode_with(
        csv,
        VITALS,
        &[
            &format!("patient_id,event_time,heart_rate\nP1,{at},80,\nP1,{at},81,,\nP1,{at},82,9\n"),
            &format!("patient_id,event_time,heart_rate,heart_rate\nP1,{at},83,84\n"),
            &format!("patient_id;event_time;heart_rate\nP1;{at};85\n"),
        ],
    );
    let values: Vec<Option<f64>> = vital(&decoded, "heart_rate").into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [Some(80.0), Some(81.0)]);
    let reasons: Vec<&str> = decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert!(reasons[0].contains("4 values, and the header 3"), "{reasons:?}");
    assert!(reasons[1].contains("two columns of its header are called \"heart_rate\""), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("is its delimiter \";\"?")), "{reasons:?}");
}

#[test]
fn words_of_switches_are_truths() {
    let columns = format!("{VITALS}\non = {{ type = \"bool\" }}");
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:00Z""#;
    let payloads = ["on", "Off", "Y", "n", "T", "f"].map(|word| format!(r#"{{{at},"on":"{word}"}}"#));
    let decoded = decode_with("", &columns, &payloads.each_ref().map(String::as_str));
    let truths: Vec<bool> = decoded.rows["on"].as_boolean().iter().map(Option::unwrap_or_default).collect();
    assert_eq!((truths, decoded.artefacts), (vec![true, false, true, false, true, false], Vec::new()));
}

#[test]
fn a_text_column_takes_an_object_or_a_list_as_json_where_that_is_said() {
    let columns = format!(
        "{VITALS}\nbp = {{ type = \"text\", extract = \"json\" }}\nwhole = {{ type = \"text\", from = \"$\", extract = \"json\" }}\nlater = {{ type = \"float\", from = [] }}"
    );
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:00Z""#;
    let payloads = [
        format!(r#"{{{at},"bp":{{"sys": 120, "of":"\"é\""}}}}"#),
        format!(r#"{{{at},"bp":[1, 2]}}"#),
        format!(r#"{{{at},"bp":"plain"}}"#),
        format!(r#"{{{at}}}"#),
    ];
    let decoded = decode_with("", &columns, &payloads.each_ref().map(String::as_str));
    let texts = |name: &str| {
        let texts = decoded.rows[name].as_string_view().iter();
        texts.map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    let expected = [Some(r#"{"sys": 120, "of":"\"é\""}"#), Some("[1, 2]"), Some("plain"), None];
    assert_eq!(texts("bp"), expected.map(|text| text.map(str::to_owned)));
    assert_eq!(texts("whole"), payloads.map(Some));
    assert_eq!((decoded.artefacts, decoded.rows["later"].null_count()), (Vec::new(), 4));
}

/// The texts that stand for a column in each item of a record.
fn sent(found: &Found, column: &str) -> Vec<(String, String)> {
    let values = found.items.iter().flat_map(|item| &item.values);
    values.filter(|(name, ..)| name == column).map(|(_, place, text)| (place.clone(), text.clone())).collect()
}

#[test]
fn what_is_shown_of_a_value_is_the_text_that_it_was_read_from() {
    let columns = r#"
        patient_id = { type = "text" }
        event_time = { type = "time" }
        heart_rate = { type = "float", from = ["hr", "pulse"] }
        on = { type = "bool" }
    "#;
    let mut decoder = decoder(columns, "");
    let record = br#"{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","hr":"bad","pulse":"81","on":"Yes"}"#;
    let found = decoder.explain(&records(&[record]));
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!(sent(found, "heart_rate"), [("pulse".to_owned(), "81".to_owned())]);
    assert_eq!(sent(found, "on"), [("on".to_owned(), "Yes".to_owned())]);
}

#[test]
fn vitals_that_no_column_is_read_from_are_told_by_their_names() {
    let source = r#"long = { name = "code", value = "value" }"#;
    let mut decoder = decoder(VITALS, source);
    let record = br#"[{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","code":"hr","value":1},
             {"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","code":"heart_rate","value":80}]"#;
    let found = decoder.explain(&records(&[record]));
    assert_eq!(found.iter().flat_map(|found| &found.unnamed).collect::<Vec<_>>(), ["hr"]);
    assert_eq!(found.iter().map(|found| found.decoded.ignored).sum::<usize>(), 1);
}

#[test]
fn an_empty_record_is_told_as_such_whatever_the_forms() {
    let source = r#"
        [[source.form]]
        name = "a"
        when = { field = "type", is = "a" }
        [[source.form]]
        name = "rest"
    "#;
    let decoded = decode_with(source, VITALS, &["", " "]);
    let reasons: Vec<&str> = decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    assert!(reasons.iter().all(|reason| reason.contains("empty") || reason.contains("no value in it")), "{reasons:?}");
}

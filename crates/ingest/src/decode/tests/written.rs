//! Values that are written in other ways than as a number of their column's unit.

use super::*;

/// Decodes records with these columns beside the patient and the time.
fn decode_as(columns: &str, payloads: &[&str]) -> Decoded {
    let all = format!("patient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\" }}\n{columns}\n");
    let payloads: Vec<String> = payloads
        .iter()
        .map(|fields| format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z",{fields}}}"#))
        .collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    decoder(&all, "").decode(&records(&payloads))
}

fn floats(decoded: &Decoded, column: &str) -> Vec<Option<f64>> {
    assert_eq!(decoded.rejects, []);
    decoded.rows[column].as_primitive::<Float64Type>().iter().collect()
}

/// Column, text and reason of what could not be taken.
fn artefacts(decoded: &Decoded) -> Vec<(&str, &str, &str)> {
    decoded.artefacts.iter().map(|a| (a.column.as_str(), a.text.as_str(), a.reason.as_str())).collect()
}

#[test]
fn two_columns_take_the_parts_of_one_text() {
    let columns = r#"
systolic = { type = "float", from = "blood_pressure", split = "/", part = 1, extract = "number", unit = "mmHg" }
diastolic = { type = "float", from = "blood_pressure", split = "/", part = 2, extract = "number", unit = "mmHg" }
heart_rate = { type = "float" }"#;
    let decoded = decode_as(
        columns,
        &[
            r#""blood_pressure":"118/76""#,
            r#""blood_pressure":"120 / 80 mmHg""#,
            r#""blood_pressure":"/","heart_rate":72"#,
            r#""blood_pressure":"118","heart_rate":73"#,
            r#""blood_pressure":"15.7/10.5 kPa""#,
        ],
    );
    let systolic = floats(&decoded, "systolic");
    assert_eq!(systolic[..4], [Some(118.0), Some(120.0), None, Some(118.0)]);
    assert!((systolic[4].unwrap() - 117.76).abs() < 0.01, "the unit stands behind the last: {systolic:?}");
    let diastolic = floats(&decoded, "diastolic");
    assert_eq!(diastolic[..4], [Some(76.0), Some(80.0), None, None]);
    assert!((diastolic[4].unwrap() - 78.757).abs() < 0.001, "{diastolic:?}");
    assert_eq!(floats(&decoded, "heart_rate"), [None, None, Some(72.0), Some(73.0), None]);
    assert_eq!(artefacts(&decoded), [("diastolic", "118", "has no part 2, split at \"/\"")]);
}

#[test]
fn values_are_converted_from_the_unit_that_each_record_names() {
    let columns = r#"
temperature = { type = "float", unit = "°C", unit_from = "unit", unit_in = "°F", plausible = [32, 44] }
unit = { type = "text" }"#;
    let decoded = decode_as(
        columns,
        &[
            r#""temperature":98.6,"unit":"F""#,
            r#""temperature":37.0,"unit":"C""#,
            r#""temperature":101.3"#,
            r#""temperature":310.15,"unit":"K""#,
            r#""temperature":98.6,"unit":"mmHg""#,
            r#""temperature":120,"unit":"F""#,
        ],
    );
    assert_eq!(floats(&decoded, "temperature"), [Some(37.0), Some(37.0), Some(38.5), Some(37.0), None, None]);
    let unit =
        "has a unit that the column cannot take: \"mmHg\" cannot be converted to \"°C\": they measure different things";
    let plausible = "is outside the plausible range 32–44";
    assert_eq!(artefacts(&decoded), [("temperature", "98.6", unit), ("temperature", "120", plausible)]);
    assert_eq!(decoded.artefacts[1].value, Some(48.888_888_888_9), "as it would have stood in the column");
}

#[test]
fn a_number_is_taken_out_of_its_text() {
    let columns = r#"
heart_rate = { type = "int", unit = "/min", extract = "number" }
spo2 = { type = "float", unit = "%", extract = "number" }
temperature = { type = "float", unit = "°C", extract = "number", decimal = "," }"#;
    let decoded = decode_as(
        columns,
        &[
            r#""spo2":"98%","heart_rate":"72 bpm","temperature":"36,6 °C""#,
            r#""spo2":98,"heart_rate":72,"temperature":36.6"#,
            r#""spo2":"<40","heart_rate":"72.5 bpm","temperature":"98.6F""#,
            r#""spo2":"≥ 99","heart_rate":"70-80","temperature":"1.036,6""#,
        ],
    );
    assert_eq!(floats(&decoded, "spo2"), [Some(98.0), Some(98.0), None, None]);
    assert_eq!(floats(&decoded, "temperature"), [Some(36.6), Some(36.6), Some(37.0), Some(1036.6)]);
    let rates = decoded.rows["heart_rate"].as_primitive::<Int64Type>();
    assert_eq!(rates.iter().collect::<Vec<_>>(), [Some(72), Some(72), None, None]);
    assert_eq!(
        artefacts(&decoded),
        [
            ("heart_rate", "72.5 bpm", "is not a valid whole number"),
            ("spo2", "<40", "does not begin with a number"),
            ("heart_rate", "70-80", "is more than one number"),
            ("spo2", "≥ 99", "does not begin with a number"),
        ]
    );
}

#[test]
fn what_stands_for_no_value_is_none_and_no_artefact() {
    let columns = r#"
heart_rate = { type = "float", null = ["--", "unavailable", -999, 0] }
note = { type = "text", null = ["n/a"] }"#;
    let sent = [r#""--""#, r#""Unavailable""#, "-999", r#""-999.0""#, "0", "72"];
    let sent: Vec<String> = sent.iter().map(|value| format!(r#""heart_rate":{value},"note":"N/A""#)).collect();
    let decoded = decode_as(columns, &sent.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(floats(&decoded, "heart_rate"), [None, None, None, None, None, Some(72.0)]);
    assert_eq!(decoded.rows["note"].null_count(), 6);
    assert_eq!(artefacts(&decoded), []);
}

#[test]
fn a_value_that_another_field_declares_void_does_not_count() {
    let columns = r#"
heart_rate = { type = "float", valid_when = [{ field = "status", is = ["final", "amended"] }, { field = "quality", at_least = 80 }] }
pulse = { type = "float", valid_when = { field = "status", is_not = "Message-Leads Off" } }"#;
    let decoded = decode_as(
        columns,
        &[
            r#""heart_rate":80,"pulse":80,"status":"Final","quality":90"#,
            r#""heart_rate":12,"pulse":12,"status":"Message-Leads Off","quality":90"#,
            r#""heart_rate":81,"pulse":81,"status":"final","quality":"70""#,
            r#""heart_rate":82,"pulse":82"#,
        ],
    );
    assert_eq!(floats(&decoded, "heart_rate"), [Some(80.0), None, None, None]);
    assert_eq!(floats(&decoded, "pulse"), [Some(80.0), None, Some(81.0), Some(82.0)]);
    let leads_off = "does not count: field \"status\" is \"Message-Leads Off\"; it must be ";
    assert_eq!(
        artefacts(&decoded),
        [
            ("heart_rate", "12", format!("{leads_off}\"final\" or \"amended\"").as_str()),
            ("pulse", "12", format!("{leads_off}anything but \"Message-Leads Off\"").as_str()),
            ("heart_rate", "81", "does not count: field \"quality\" is \"70\"; it must be 80 or more"),
            ("heart_rate", "82", "does not count: field \"status\" has no value; it must be \"final\" or \"amended\""),
        ]
    );
}

#[test]
fn numbers_are_scaled_and_moved() {
    let columns = r#"
temperature = { type = "float", scale = 0.1 }
level = { type = "int", scale = 2, offset = -1 }"#;
    let decoded = decode_as(columns, &[r#""temperature":366,"level":5"#]);
    assert_eq!(floats(&decoded, "temperature"), [Some(36.6)]);
    assert_eq!(decoded.rows["level"].as_primitive::<Int64Type>().value(0), 9);
}

#[test]
fn long_records_say_it_too() {
    let columns = "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\n\
        temperature = { type = \"float\", unit = \"°C\", unit_from = \"unit\", valid_when = { field = \"status\", is = \"final\" } }\n\
        systolic = { type = \"float\", from = \"bp\", split = \"/\", part = 1 }\n";
    let payloads = [
        r#""name":"temperature","value":98.6,"unit":"F","status":"final""#,
        r#""name":"temperature","value":98.6,"unit":"F","status":"preliminary""#,
        r#""name":"bp","value":"118/76""#,
    ];
    let payloads: Vec<String> = payloads
        .iter()
        .map(|fields| format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z",{fields}}}"#))
        .collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    let decoded = decoder(columns, "long = { name = \"name\", value = \"value\" }").decode(&records(&payloads));
    assert_eq!(floats(&decoded, "temperature"), [Some(37.0), None, None]);
    assert_eq!(floats(&decoded, "systolic"), [None, None, Some(118.0)]);
    assert_eq!(artefacts(&decoded).len(), 1);
}

#[test]
fn what_kafka_has_beside_a_record_is_read_like_a_field() {
    let columns = r#"
patient_id = { type = "text", from = ["@key", "id"] }
event_time = { type = "time", from = ["time", "@stamp"] }
ward = { type = "text", from = "@header.ward.name" }
topic = { type = "text", from = "@topic" }
heart_rate = { type = "float" }"#;
    let mut decoder = decoder(columns, "");
    assert_eq!(decoder.headers(), ["ward.name"]);
    let mut records = RawRecords::default();
    let at = |key: Option<&'static [u8]>, ward: &'static [Option<&'static [u8]>], payload: &'static str| RawRecord {
        stamp: Some(1_767_225_600_000),
        key,
        headers: ward,
        ..RawRecord::of_payload(Offset(0), payload.as_bytes())
    };
    records.push(at(Some(b"P1"), &[Some(b"4 West")], r#"{"heart_rate":72}"#));
    records.push(at(Some(b"P2"), &[None], r#"{"heart_rate":73,"time":"2026-01-01T00:00:05Z"}"#));
    records.push(at(None, &[None], r#"{"heart_rate":74,"id":"P3"}"#));
    records.push(at(Some(b"\xff"), &[None], r#"{"heart_rate":75}"#));
    let decoded = decoder.decode(&records);
    let texts = |column: &str| {
        decoded.rows[column].as_string_view().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(texts("patient_id"), [some("P1"), some("P2"), some("P3")]);
    assert_eq!(texts("ward"), [some("4 West"), None, None]);
    assert_eq!(texts("topic"), [some("vitals"), some("vitals"), some("vitals")]);
    let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
    let micros = 1_767_225_600_000_000;
    assert_eq!(times.values()[..], [micros, micros + 5_000_000, micros]);
    assert_eq!(decoded.rejects.len(), 1);
    assert!(decoded.rejects[0].reason.contains("is not valid UTF-8"), "{}", decoded.rejects[0].reason);
}

#[test]
fn odd_numbers_and_units_are_artefacts_and_no_other_numbers() {
    let columns = r#"
x = { type = "float", extract = "number" }
y = { type = "float", decimal = ",", null = [-999] }
w = { type = "float", unit = "kg", unit_from = "u", unit_in = "lb" }"#;
    let long = format!("72 kg{}", "/m".repeat(30_000));
    let decoded = decode_as(
        columns,
        &[
            r#""x":1e-05,"y":"1.234,5""#,
            r#""x":"7.2e1 bpm","y":"-999,0""#,
            r#""x":"120 to 130","y":"1,234.5""#,
            r#""x":"72 1/min","y":"1.2.3,5""#,
            r#""w":180,"u":["lb"]"#,
            r#""w":180,"u":{"code":"lb"}"#,
            &format!(r#""w":180,"u":"{long}""#),
            r#""w":100"#,
        ],
    );
    assert_eq!(floats(&decoded, "x")[..4], [Some(0.000_01), Some(72.0), None, Some(72.0)]);
    assert_eq!(floats(&decoded, "y")[..4], [Some(1234.5), None, None, None]);
    assert_eq!(floats(&decoded, "w")[4..], [None, None, None, Some(45.359_237)]);
    let comma = "is not a valid number with a decimal comma";
    let no_text = "has a unit that the column cannot take: it is no text";
    let too_long = "has a unit that the column cannot take: \"72 kg/m/m/m/m/m/…\" is too long for a unit";
    assert_eq!(
        artefacts(&decoded),
        [
            ("x", "120 to 130", "is more than one number"),
            ("y", "1,234.5", comma),
            ("y", "1.2.3,5", comma),
            ("w", "180", no_text),
            ("w", "180", no_text),
            ("w", "180", too_long),
        ]
    );
}

#[test]
fn a_field_that_is_no_text_meets_no_condition_and_long_ones_are_cut() {
    let columns = r#"x = { type = "float", valid_when = { field = "s", is_not = ["entered-in-error"] } }
y = { type = "float", valid_when = { field = "n", is = [1, true, "ÜBERPRÜFT"] } }"#;
    let long = "a".repeat(70_000);
    let decoded = decode_as(
        columns,
        &[
            r#""x":1,"s":["entered-in-error"]"#,
            r#""x":2,"s":{"code":"entered-in-error"}"#,
            r#""x":3,"s":"entered-in-error""#,
            r#""x":4,"y":4,"n":1.0"#,
            r#""y":5,"n":true"#,
            r#""y":6,"n":"überprüft""#,
            &format!(r#""y":7,"n":"{long}""#),
        ],
    );
    assert_eq!(floats(&decoded, "x")[..4], [None, None, None, Some(4.0)]);
    assert_eq!(floats(&decoded, "y")[3..], [Some(4.0), Some(5.0), Some(6.0), None]);
    assert!(decoded.artefacts.iter().all(|artefact| artefact.reason.len() < 300));
}

#[test]
fn a_setting_changes_no_digit_of_ids_and_whole_numbers() {
    let columns = "n = { type = \"int\", null = [\"--\"] }\nid = { type = \"text\", null = [\"0\"] }";
    let decoded = decode_as(columns, &[r#""n":9007199254740993,"id":"00123 ""#, r#""n":"--","id":"000""#]);
    let whole = decoded.rows["n"].as_primitive::<Int64Type>();
    assert_eq!(whole.iter().collect::<Vec<_>>(), [Some(9_007_199_254_740_993), None]);
    let ids = decoded.rows["id"].as_string_view();
    assert_eq!(ids.iter().collect::<Vec<_>>(), [Some("00123 "), Some("000")]);
}

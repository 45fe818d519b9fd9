//! Other forms than bare JSON: what records are wrapped in, lines, segments, several forms in one topic.

use std::io::Write;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use base64::Engine;

use super::*;

const PLAIN: &str = r#"
    patient_id = { type = "text" }
    event_time = { type = "time" }
    heart_rate = { type = "float" }
    spo2 = { type = "float" }
"#;

/// Patient, second of the minute, and both vitals of each row.
fn rows(decoded: &Decoded) -> Vec<(String, i64, Option<f64>, Option<f64>)> {
    let patients = decoded.rows["patient_id"].as_string_view();
    let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
    let vital = |name: &str, row: usize| {
        let values = decoded.rows[name].as_primitive::<Float64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    (0..decoded.rows.num_rows())
        .map(|row| {
            let second = times.value(row) / 1_000_000 % 60;
            (patients.value(row).to_owned(), second, vital("heart_rate", row), vital("spo2", row))
        })
        .collect()
}

fn reasons(decoded: &Decoded) -> Vec<&str> {
    decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect()
}

fn decode_bytes(source: &str, columns: &str, payloads: &[&[u8]]) -> Decoded {
    decoder(columns, source).decode(&records(payloads))
}

fn reading(second: i64) -> String {
    format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:{second:02}Z","heart_rate":80}}"#)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("written")
}

#[test]
fn what_a_record_is_wrapped_in_is_taken_off_and_what_is_not_wrapped_is_left_alone() {
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes();
    let json_text = |text: &str| Json::from(text).to_string().into_bytes();
    let plain = reading(0).into_bytes();
    let wrapped: [(&str, Vec<u8>); 7] = [
        (r#"["gzip"]"#, gzip(reading(1).as_bytes())),
        (r#"["base64", "gzip"]"#, base64(&gzip(reading(2).as_bytes()))),
        (r#"["json-text"]"#, json_text(&reading(3))),
        (r#"["json-text", "json-text"]"#, json_text(&String::from_utf8(json_text(&reading(4))).expect("UTF-8"))),
        (r#"["json-text", { field = "payload" }, "json-text"]"#, {
            format!(r#"{{"device":"x","payload":{}}}"#, Json::from(reading(5))).into_bytes()
        }),
        (r#"["cloudevents"]"#, {
            format!(r#"{{"specversion":"1.0","type":"v","source":"/m","id":"1","data":{}}}"#, reading(6)).into_bytes()
        }),
        (r#"["cloudevents"]"#, {
            let data = String::from_utf8(base64(reading(7).as_bytes())).expect("ASCII");
            format!(r#"{{"specversion":"1.0","type":"v","source":"/m","id":"1","data_base64":"{data}"}}"#).into_bytes()
        }),
    ];
    for (second, (steps, payload)) in (1..).zip(&wrapped) {
        let decoded = decode_bytes(&format!("unwrap = {steps}"), PLAIN, &[&plain, payload]);
        assert_eq!(decoded.rejects, [], "{steps}");
        let expected = [0, second].map(|second| ("P1".to_owned(), second, Some(80.0), None));
        assert_eq!(rows(&decoded), expected, "{steps}");
    }
}

#[test]
fn rows_as_they_are_now_are_taken_out_of_changes_and_deletes_are_ignored() {
    let row = |second: i64| reading(second);
    let payloads = [
        format!(r#"{{"schema":{{"type":"struct"}},"payload":{}}}"#, row(1)),
        format!(r#"{{"before":null,"after":{},"op":"c"}}"#, row(2)),
        format!(r#"{{"schema":{{"type":"struct"}},"payload":{{"before":{},"after":{},"op":"u"}}}}"#, row(2), row(3)),
        format!(r#"{{"before":{},"after":null,"op":"d"}}"#, row(3)),
        row(4).replace("}", r#","__deleted":"true"}"#),
        row(5),
    ];
    let mut decoder = decoder(PLAIN, "unwrap = [\"debezium\"]");
    let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    let mut given = records(&payloads);
    given.push(RawRecord { payload: None, ..record_at(Offset(9), b"") });
    let decoded = decoder.decode(&given);
    assert_eq!((reasons(&decoded), decoded.ignored), (Vec::new(), 3));
    assert_eq!(rows(&decoded).iter().map(|row| row.1).collect::<Vec<_>>(), [1, 2, 3, 5]);
}

#[test]
fn what_cannot_be_unwrapped_or_grows_too_much_is_a_reject() {
    let bomb = gzip(&vec![b' '; 5_000_000]);
    let broken = &gzip(reading(1).as_bytes())[..30];
    let decoded = decode_bytes("unwrap = [\"gzip\"]", PLAIN, &[&bomb, broken, reading(2).as_bytes()]);
    assert_eq!(rows(&decoded).len(), 1);
    let reasons = reasons(&decoded);
    assert!(reasons[0].contains("more than 1048576 bytes once it is unpacked"), "{reasons:?}");
    assert!(reasons[1].contains("not valid gzip"), "{reasons:?}");
}

#[test]
fn an_envelope_stands_around_what_it_holds() {
    let columns =
        PLAIN.replace("patient_id = { type = \"text\" }", "patient_id = { type = \"text\", from = \"^.subject\" }");
    let event = format!(r#"{{"specversion":"1.0","id":"1","subject":"P7","data":[{},{}]}}"#, reading(1), reading(2));
    let decoded = decode_bytes("unwrap = [\"cloudevents\"]", &columns, &[event.as_bytes()]);
    assert_eq!(rows(&decoded), [1, 2].map(|second| ("P7".to_owned(), second, Some(80.0), None)));
}

#[test]
fn a_record_says_what_it_seems_to_be_instead() {
    for (payload, hint) in [
        (&b"{'patient_id': 1, 'heart_rate': None}"[..], "Python"),
        (b"MSH|^~\\&|", "format = \"hl7v2\""),
        (&gzip(b"{}"), "unwrap = [\"gzip\"]"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"\0\0\0\0\x07\x04P1", "schema registry"),
        (b"<Observation/>", "XML"),
        (br#""{\"a\":1}""#, "json-text"),
    ] {
        let decoded = decode_bytes("", PLAIN, &[payload]);
        assert!(reasons(&decoded)[0].contains(hint), "{:?}", reasons(&decoded));
    }
}

#[test]
fn lines_of_csv_are_rows_by_the_header_of_the_job_or_of_the_record() {
    let columns = r#"
        patient_id = { type = "text", from = "id" }
        event_time = { type = "time", from = "at" }
        heart_rate = { type = "float", from = "hr" }
        spo2 = { type = "float", decimal = "," }
    "#;
    let declared = "format = \"csv\"\ncsv = { header = [\"id\", \"at\", \"hr\", \"spo2\"], delimiter = \";\" }";
    let payloads: [&[u8]; 5] = [
        b"60002;2026-01-01 00:00:01;64;97,4",
        b"007;2026-01-01 00:00:02;;\"98,5\"\n007;2026-01-01 00:00:03;--;98\r\n",
        b"id;at;hr;spo2\n1;2026-01-01 00:00:04;70;",
        b"1;2026-01-01 00:00:05;70",
        b"1;soon;70;98",
    ];
    let decoded = decode_bytes(declared, columns, &payloads);
    assert_eq!(
        rows(&decoded),
        [
            ("60002".to_owned(), 1, Some(64.0), Some(97.4)),
            ("007".to_owned(), 2, None, Some(98.5)),
            ("007".to_owned(), 3, None, Some(98.0)),
            ("1".to_owned(), 4, Some(70.0), None),
        ]
    );
    assert_eq!(decoded.artefacts.iter().map(|artefact| artefact.text.as_str()).collect::<Vec<_>>(), ["--"]);
    let reasons = reasons(&decoded);
    assert!(reasons[0].contains("has 3 values, and the header 4"), "{reasons:?}");
    assert!(reasons[1].contains("\"soon\" is not a valid time"), "{reasons:?}");
    assert_eq!(decoded.ignored, 1, "the header");

    let own = decode_bytes(
        "format = \"csv\"",
        columns,
        &[b"hr,id,at,spo2\n64,1,2026-01-01 00:00:01,97\n", b"1,2026-01-01 00:00:01,64,97"],
    );
    assert_eq!(rows(&own), [("1".to_owned(), 1, Some(64.0), Some(97.0))]);
    assert!(own.rejects[0].reason.contains("no column is read from its header"), "{:?}", own.rejects);
}

#[test]
fn lines_of_text_are_taken_apart_by_a_pattern() {
    let columns = r#"
        patient_id = { type = "text", from = "@key" }
        event_time = { type = "time", from = "@stamp" }
        heart_rate = { type = "float", from = "hr" }
        spo2 = { type = "float", from = "spo2" }
    "#;
    let source = r#"format = "text"
        pattern = "BPM: (?<hr>[0-9.]+)|Oxygen Saturation: (?<spo2>[0-9.]+)""#;
    let decoded = decode_bytes(source, columns, &[b"BPM: 72\nOxygen Saturation: 97\n", b"75"]);
    assert_eq!(rows(&decoded), [("key".to_owned(), 0, Some(72.0), None), ("key".to_owned(), 0, None, Some(97.0))]);
    assert!(reasons(&decoded)[0].contains("finds nothing in it"));
}

const HL7: &str = r#"
    patient_id = { type = "text", from = "PID.3.1" }
    event_time = { type = "time", from = ["OBX.14", "OBR.7", "MSH.7"] }
    heart_rate = { type = "float", named = ["8867-4", "MDC_ECG_HEART_RATE"], unit = "/min", unit_from = "OBX.6.1" }
    spo2 = { type = "float", named = "59408-5", valid_when = { field = "OBX.11", is_not = ["X", "D", "W"] } }
"#;

#[test]
fn observations_of_hl7_that_belong_together_are_one_row() {
    let message = "\x0bMSH|^~\\&|MONITOR|ICU|WARD|HOSP|20260101010001+0100||ORU^R01|42|P|2.6\r\
        PID|1||MRN\\F\\42^^^HOSP~9^^^X||TEST^PATIENT\r\
        OBR|1|||VITALS|||20260101010002\r\
        OBX|1|NM|8867-4^Heart rate^LN||88|/min|50-120||||F|||20260101010002\r\
        OBX|2|NM|59408-5^SpO2^LN||97|%|||||F\r\
        OBX|3|NM|8480-6^Systolic^LN||---|mm[Hg]|||||X\r\
        OBX|4|NM|147842^MDC_ECG_HEART_RATE^MDC^8867-4||89|/min|||||F|||20260101010005\r\
        OBX|5|NM|59408-5^SpO2^LN||--|%|||||X|||20260101010005\r\x1c\r";
    let adt = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.6\rPID|1||P1\r";
    let latin =
        b"MSH|^~\\&|A|B|C|D|20260101000007+0000||ORU|1|P|2.6||||||8859/1\rPID|1||M\xfcller\rOBX|1|NM|8867-4||70|/min\n";
    let payloads: [&[u8]; 4] = [message.as_bytes(), adt.as_bytes(), latin, b"{}"];
    let decoded = decode_bytes("format = \"hl7v2\"", HL7, &payloads);
    assert_eq!(
        rows(&decoded),
        [
            ("MRN|42".to_owned(), 2, Some(88.0), Some(97.0)),
            ("MRN|42".to_owned(), 5, Some(89.0), None),
            ("Müller".to_owned(), 7, Some(70.0), None),
        ]
    );
    let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(0), 1_767_225_602_000_000, "the header's zone is that of its fields");
    assert_eq!(
        decoded.artefacts.iter().map(|one| (one.column.as_str(), one.text.as_str())).collect::<Vec<_>>(),
        [("spo2", "--")]
    );
    assert!(reasons(&decoded)[0].contains("does not begin with \"MSH\""), "{:?}", reasons(&decoded));
    assert_eq!(decoded.ignored, 2, "the systolic pressure, and the admission");
}

#[test]
fn forms_are_told_apart_and_come_in_the_order_of_the_records() {
    let source = r#"
        [[source.form]]
        name = "pressure"
        when = { field = "kind", is = "cuff" }
        columns = { patient_id = "citizen", spo2 = { from = "systolic", scale = 0.5 } }

        [[source.form]]
        name = "heartbeats"
        when = { field = "kind", is = ["HB_Msg", "weight"] }
        ignore = true

        [[source.form]]
        when = { field = "@key", is = "key" }
        ignore = { field = "demo", exists = true }
        only = { field = "kind", matches = "^vi" }
    "#;
    let at = r#""event_time":"2026-01-01T00:00:01Z""#;
    let payloads = [
        format!(r#"{{"kind":"vitals","patient_id":"A",{at},"heart_rate":70}}"#),
        format!(r#"{{"kind":"cuff","citizen":"B",{at},"systolic":120}}"#),
        r#"{"kind":"HB_Msg"}"#.to_owned(),
        format!(r#"{{"kind":"vital","patient_id":"C",{at},"heart_rate":71}}"#),
        format!(r#"{{"kind":"vitals","patient_id":"D",{at},"heart_rate":71,"demo":1}}"#),
        format!(r#"{{"kind":"other","patient_id":"E",{at},"heart_rate":71}}"#),
        format!(r#"[{{"kind":"cuff","citizen":"F",{at},"systolic":130}}]"#),
    ];
    let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    let mut decoder = decoder(PLAIN, source);
    let decoded = decoder.decode(&records(&payloads));
    assert_eq!(reasons(&decoded), Vec::<&str>::new());
    let expected = [("A", Some(70.0), None), ("B", None, Some(60.0)), ("C", Some(71.0), None), ("F", None, Some(65.0))];
    let expected = expected.map(|(patient, rate, spo2)| (patient.to_owned(), 1, rate, spo2));
    assert_eq!(rows(&decoded), expected);
    assert_eq!(decoded.ignored, 3);

    let mut others = RawRecords::default();
    others.push(RawRecord { key: None, ..record_at(Offset(0), b"{}") });
    let decoded = decoder.decode(&others);
    assert!(reasons(&decoded)[0].contains("none of the forms: \"pressure\", \"heartbeats\", \"form 3\""));
}

#[test]
fn items_of_one_list_are_of_their_own_forms() {
    let source = r#"
        [[source.form]]
        name = "heartbeats"
        when = { field = "type", is = "heartbeat" }
        ignore = true

        [[source.form]]
        name = "scaled"
        when = { field = "scaled", exists = true }
        columns = { heart_rate = { from = "scaled.hr", scale = 10 } }

        [[source.form]]
        name = "vitals"
        when = { field = "type", is = "vitals" }
    "#;
    let at = r#""patient_id":"P1","event_time":"2026-01-01T00:00:01Z""#;
    let items = [
        r#"{"type":"heartbeat"}"#.to_owned(),
        format!(r#"{{"type":"vitals",{at},"heart_rate":80}}"#),
        format!(r#"{{{at},"scaled":{{"hr":8.1}}}}"#),
        r#"{"type":"other"}"#.to_owned(),
        "7".to_owned(),
        format!(r#"{{"type":"vitals",{at},"heart_rate":82}}"#),
    ];
    let list = format!("[{}]", items.join(","));
    let lines = items.join("\n");
    for payload in [list, lines] {
        let decoded = decode_bytes(source, PLAIN, &[payload.as_bytes()]);
        let rates: Vec<Option<f64>> = rows(&decoded).iter().map(|row| row.2).collect();
        assert_eq!(rates, [Some(80.0), Some(81.0), Some(82.0)], "{payload}");
        let numbers = decoded.rows["_item"].as_primitive::<arrow::datatypes::Int32Type>();
        assert_eq!(numbers.values(), &[1, 2, 5]);
        assert_eq!(decoded.ignored, 1);
        let rejects: Vec<(i32, bool)> =
            decoded.rejects.iter().map(|reject| (reject.place.item.0, !reject.raw.is_empty())).collect();
        assert_eq!(rejects, [(3, true), (4, false)], "{:?}", reasons(&decoded));
    }
}

#[test]
fn the_bases_of_senml_hold_for_what_follows_and_for_nobody_else() {
    let form = "[[source.form]]\nuse = \"senml\"";
    let payload = r#"[{"bn":"P1/","bt":1767225600,"bu":"/min","n":"heart_rate","v":80},{"n":"spo2","u":"%","v":97},
        {"bn":"P2/","bt":1767225610,"bv":60,"n":"heart_rate","v":-20,"t":2}]"#;
    let others: [&[u8]; 3] = [
        br#"[{"bn":"P3/","n":"heart_rate","u":"beat/min","v":70,"t":-5}]"#,
        br#"[{"bn":"P4/","n":"heart_rate","v":70,"must_":1}]"#,
        br#"[{"bver":11,"bn":"P4/","n":"heart_rate","v":70}]"#,
    ];
    let mut decoder = decoder(
        "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\" }\nspo2 = { type = \"float\" }",
        form,
    );
    let payloads = [&[payload.as_bytes()][..], &others].concat();
    let decoded = decoder.decode(&records(&payloads));
    let expected = [
        ("P1".to_owned(), 0, Some(80.0), Some(97.0)),
        ("P2".to_owned(), 12, Some(40.0), None),
        ("P3".to_owned(), 55, Some(70.0), None),
    ];
    assert_eq!(rows(&decoded), expected);
    assert!(reasons(&decoded)[0].contains("\"must_\" must be understood"), "{:?}", reasons(&decoded));
    assert!(reasons(&decoded)[1].contains("a version later than 10"), "{:?}", reasons(&decoded));
}

#[test]
fn an_odd_line_of_hl7_costs_itself_and_segments_of_a_batch_are_read() {
    let head = "MSH|^~\\&|A|B|C|D|20260101000001+0000||ORU|1|P|2.6\rPID|1||P1\rOBR|1\r";
    let payload = format!(
        "FHS|^~\\&\rBHS|^~\\&\r{head}\r\nOBX|1|NM|8867-4||70|/min\rNTE|1||first\nsecond line\rOBX|2|NM|59408-5||97\rZZZ\r\
         {}OBX|1|SN|8867-4||^92|264864^MDC_DIM_BEAT_PER_MIN^MDC\rOBX|2|NM|59408-5||87~88\rBTS|1\rFTS|1",
        head.replace("P1", "P\\X32\\").replace("000001", "000002")
    );
    let decoded = decode_bytes("format = \"hl7v2\"", HL7, &[payload.as_bytes()]);
    let expected = [("P1".to_owned(), 1, Some(70.0), Some(97.0)), ("P2".to_owned(), 2, Some(92.0), None)];
    assert_eq!(rows(&decoded), expected);
    assert_eq!(decoded.artefacts.iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), ["87~88"]);
    assert!(reasons(&decoded)[0].contains("\"second line\""), "{:?}", reasons(&decoded));
}

#[test]
fn a_quote_that_is_not_closed_costs_its_line_and_patients_are_who_subjects_refer_to() {
    let csv = "patient_id,event_time,heart_rate\nP1,2026-01-01 00:00:01,\"80\nP2,2026-01-01 00:00:02,81\n\"P\n3\",2026-01-01 00:00:03,82\n";
    let three = "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\" }\nspo2 = { type = \"float\" }";
    let decoded = decode_bytes("format = \"csv\"", three, &[csv.as_bytes()]);
    let patients: Vec<String> = rows(&decoded).into_iter().map(|row| row.0).collect();
    assert_eq!((patients, decoded.rejects.len()), (vec!["P2".to_owned()], 3), "{:?}", reasons(&decoded));

    let observation = |subject: &str, more: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"coding":[{{"code":"8867-4"}}]}},"subject":{{"reference":"{subject}"}},
            "effectiveDateTime":"2026-01-01T00:00:01Z","valueQuantity":{{"value":70{more}}}}}"#
        )
    };
    let payloads = [
        observation("Patient/p-1/_history/2", ""),
        observation("https://h/fhir/Patient/p-2", ""),
        observation("urn:uuid:0c3151bd", ""),
        observation("#p", ""),
        observation("Device/d1", ""),
        observation("Patient/p-6", ",\"comparator\":\"<\""),
        format!(r#"{{"resourceType":"Bundle","entry":[{{"resource":{}}}]}}"#, observation("Patient/p-7", "")),
        observation("Patient/p-8", "").replace("01-01T00:00:01Z", "").replace("2026-", "2026"),
    ];
    let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
    let decoded = decode_bytes("[[source.form]]\nuse = \"fhir-observation\"", three, &payloads);
    let found: Vec<(String, Option<f64>)> = rows(&decoded).into_iter().map(|row| (row.0, row.2)).collect();
    let expected = [
        ("p-1", Some(70.0)),
        ("p-2", Some(70.0)),
        ("urn:uuid:0c3151bd", Some(70.0)),
        ("p-6", None),
        ("p-7", Some(70.0)),
    ];
    assert_eq!(found, expected.map(|(patient, rate)| (patient.to_owned(), rate)));
    let reasons = reasons(&decoded);
    assert!(reasons[..2].iter().all(|reason| reason.contains("\"patient_id\" is required")), "{reasons:?}");
    assert!(reasons[2].contains("is a year without month and day"), "{reasons:?}");
}

#[test]
fn rows_may_be_lists_and_a_list_of_one_may_be_written_as_what_is_in_it() {
    let source = "rows = \"$.points[*]\"";
    let columns = "patient_id = { type = \"text\", from = \"$.id\" }\nevent_time = { type = \"time\", from = \"[0]\" }\nheart_rate = { type = \"float\", from = \"[1]\" }\nspo2 = { type = \"float\", from = \"[2]\" }";
    let pairs = r#"[{"id":"P1","points":[["2026-01-01T00:00:01Z",80],["2026-01-01T00:00:02Z",81,97]]},{"id":"P2","points":[]}]"#;
    let decoded = decode_bytes(source, columns, &[pairs.as_bytes()]);
    let expected = [("P1".to_owned(), 1, Some(80.0), None), ("P1".to_owned(), 2, Some(81.0), Some(97.0))];
    assert_eq!((rows(&decoded).as_slice(), decoded.rejects.len()), (&expected[..], 0), "{:?}", reasons(&decoded));
    let single = r#"{"obs":{"patient_id":"P1","event_time":"2026-01-01T00:00:01Z","heart_rate":80}}"#;
    let decoded = decode_bytes("rows = \"$.obs[*]\"", PLAIN, &[single.as_bytes()]);
    assert_eq!(rows(&decoded), [("P1".to_owned(), 1, Some(80.0), None)]);
}

#[test]
fn a_record_with_nothing_in_it_is_a_reject_in_every_form() {
    let columns = "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\", from = \"hr\" }";
    for (source, payloads) in [
        ("", &[&b","[..], b" , ,\n", b"\xef\xbb\xbf", b""][..]),
        ("rows = \"$.list[*]\"", &[b",", b"\xef\xbb\xbf,"]),
        ("format = \"csv\"", &[b"\xef\xbb\xbf", b"\n\n"]),
        ("format = \"text\"\npattern = \"(?<hr>[0-9]+)\"", &[b"\xef\xbb\xbf", b"\r\n"]),
    ] {
        let columns = if source.contains("text") {
            "patient_id = { type = \"text\", from = \"@key\" }\nevent_time = { type = \"time\", from = \"@stamp\" }\nheart_rate = { type = \"float\", from = \"hr\" }"
        } else {
            columns
        };
        let decoded = decode_bytes(source, columns, payloads);
        assert_eq!(
            decoded.rejects.len(),
            payloads.len(),
            "{source}: {:?}, {} left out",
            reasons(&decoded),
            decoded.ignored
        );
    }
}

#[test]
fn admissions_of_hl7_are_told_from_observations_and_become_requests() {
    let columns = r#"
        patient_id = { type = "text" }
        event_time = { type = "time" }
        heart_rate = { type = "float", unit = "/min" }
    "#;
    let source = "[[source.form]]\nuse = \"hl7v2-adt\"\n[[source.form]]\nuse = \"hl7v2-oru\"";
    let admit = b"MSH|^~\\&|HIS||||20260101000000+0100||ADT^A01|7|P|2.5\rEVN|A01|202601010030+0100\rPID|||P1||Meyer^Ada||19800504\r\
        PV1||I|ICU^R1^3||||||||||||||||stay\rOBX|1|NM|8867-4||70|/min|||||F";
    let merge = b"MSH|^~\\&|HIS||||20260101000000+0000||ADT^A40|8|P|2.5\rEVN|A40|20260101000100+0000\rPID|||P1\rMRG|T1\rPID|||P2\rMRG|T2";
    let other = b"MSH|^~\\&|HIS||||20260101000000+0000||ADT^A31|9|P|2.5\rPID|||P1";
    let observed = b"MSH|^~\\&|MON||||20260101000002+0000||ORU^R01|10|P|2.5\rPID|||P1\rOBX|1|NM|8867-4||71|/min|||||F";
    let broken = b"MSH|^~\\&|HIS||||20260101000000+0000||ADT^A03|11|P|2.5\rEVN|A03|20260101000100+0000\rPID|||";
    let decoded = decode_bytes(source, columns, &[admit, merge, other, observed, broken]);
    assert_eq!(decoded.rows.num_rows(), 1);
    assert_eq!(decoded.ignored, 1, "A31");
    assert!(reasons(&decoded)[0].contains("\"patient_id\" is required"), "{:?}", reasons(&decoded));
    let said: Vec<String> = decoded
        .encounters
        .iter()
        .map(|said| {
            let request = &said.request;
            let given = &request.given;
            format!(
                "{} {} {} {}/{} {} {} {} {}",
                request.kind.name(),
                request.patient,
                request.at.format("%H:%M:%S"),
                given.ward,
                given.place,
                given.name,
                given.born,
                request.stay,
                request.merged
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "admit P1 23:30:00 ICU/3 Meyer, Ada 1980-05-04 stay ",
            "merge P1 00:01:00 /    T1",
            "merge P2 00:01:00 /    T2"
        ]
    );
    let ids: std::collections::BTreeSet<&str> =
        decoded.encounters.iter().map(|said| said.request.id.0.as_str()).collect();
    assert_eq!(ids.len(), 3);
}

//! Records that need a schema to be read: Avro and Protocol Buffers, from files and from a registry.

use std::io::{Read, Write};
use std::net::TcpListener;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, Value};

use super::*;
use crate::schemas::ProtoFile;

const PLAIN: &str = r#"
    patient_id = { type = "text" }
    event_time = { type = "time" }
    heart_rate = { type = "float" }
    spo2 = { type = "float", from = ["spo2", "oximetry.spo2"] }
"#;

const AVRO: &str = r#"{"type":"record","name":"Vitals","fields":[
    {"name":"patient_id","type":"string"},
    {"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"heart_rate","type":["null","double"],"default":null}]}"#;

/// The same a version later: a field is new, and one is not what it was.
const LATER: &str = r#"{"type":"record","name":"Vitals","fields":[
    {"name":"heart_rate","type":["null","int","string"]},
    {"name":"oximetry","type":["null",{"type":"record","name":"Oximetry","fields":[{"name":"spo2","type":"float"}]}]},
    {"name":"patient_id","type":"long"},
    {"name":"event_time","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;

fn long(value: i64) -> Vec<u8> {
    let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    loop {
        let low = (bits & 0x7f) as u8;
        bits >>= 7;
        if bits == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

const AT: i64 = 1_767_225_600_000_000;

fn datum(patient: &str, heart_rate: Option<f64>) -> Vec<u8> {
    let mut datum = long(patient.len() as i64);
    datum.extend(patient.as_bytes());
    datum.extend(long(AT));
    match heart_rate {
        None => datum.extend(long(0)),
        Some(rate) => {
            datum.extend(long(1));
            datum.extend(rate.to_le_bytes());
        }
    }
    datum
}

fn later(heart_rate: &[u8], spo2: Option<f32>, patient: i64) -> Vec<u8> {
    let mut datum = heart_rate.to_vec();
    match spo2 {
        None => datum.extend(long(0)),
        Some(spo2) => {
            datum.extend(long(1));
            datum.extend(spo2.to_le_bytes());
        }
    }
    datum.extend(long(patient));
    datum.extend(long(AT / 1_000));
    datum
}

fn with_id(id: u32, rest: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), rest].concat()
}

/// A registry that answers so, path by path, until the test ends.
fn registry(answers: Vec<(&'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = answers.iter().find(|(known, _)| *known == path);
            let (status, body) = match answer {
                Some((_, body)) => ("200 OK", body.clone()),
                None => ("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned()),
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

fn rows(decoded: &Decoded) -> Vec<(String, Option<f64>, Option<f64>)> {
    let patients = decoded.rows["patient_id"].as_string_view();
    let vital = |name: &str, row: usize| {
        let values = decoded.rows[name].as_primitive::<Float64Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let times = decoded.rows["event_time"].as_primitive::<TimestampMicrosecondType>();
    assert!(times.values().iter().all(|time| *time == AT), "{times:?}");
    (0..decoded.rows.num_rows())
        .map(|row| (patients.value(row).to_owned(), vital("heart_rate", row), vital("spo2", row)))
        .collect()
}

fn reasons(decoded: &Decoded) -> Vec<&str> {
    decoded.rejects.iter().map(|reject| reject.reason.as_str()).collect()
}

#[test]
fn avro_of_a_file_is_read_with_a_prefix_or_without_and_what_is_none_costs_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("vitals.avsc");
    std::fs::write(&file, AVRO).expect("written");
    let source = format!("format = \"avro\"\nschema = {:?}", file.display().to_string());
    let payloads: [&[u8]; 6] = [
        &datum("P1", Some(80.0)),
        &with_id(7, &datum("P2", Some(81.5))),
        b"{}",
        &datum("P3", None),
        &datum("P4", Some(82.0))[..8],
        &[datum("P5", Some(82.0)), vec![1]].concat(),
    ];
    let mut decoder = decoder(PLAIN, &source);
    assert_eq!(decoder.faults(), Vec::<String>::new());
    let decoded = decoder.decode(&records(&payloads));
    let expected = [("P1", Some(80.0)), ("P2", Some(81.5)), ("P3", None)];
    assert_eq!(rows(&decoded), expected.map(|(patient, rate)| (patient.to_owned(), rate, None)));
    assert_eq!(decoded.rejects.iter().map(|reject| reject.place.offset.0).collect::<Vec<_>>(), [2, 4, 5]);
    assert!(reasons(&decoded).iter().all(|reason| reason.contains("not valid Avro")), "{:?}", reasons(&decoded));
    // Bytes behind a datum that look like the beginning of another one are left over too, with neighbours and without.
    let dangling = [datum("P6", Some(83.0)), b"\0avro".to_vec()].concat();
    for payloads in [vec![&dangling[..]], vec![&dangling[..], payloads[0]]] {
        let decoded = decoder.decode(&records(&payloads));
        assert_eq!((decoded.rejects.len(), decoded.rows.num_rows()), (1, payloads.len() - 1));
        assert!(reasons(&decoded)[0].contains("5 bytes are left over"), "{:?}", reasons(&decoded));
    }
    // Paths that are searched for come to the same.
    let searched = PLAIN.replace("type = \"float\" }", "type = \"float\", from = \"$.heart_rate\" }");
    let again = self::decoder(&searched, &source).decode(&records(&payloads));
    assert_eq!((again.rows, reasons(&decoded).len()), (decoded.rows.clone(), 3));

    std::fs::write(&file, "{\"type\":\"recor\"}").expect("written");
    let faults = self::decoder(PLAIN, &source).faults();
    assert!(faults[0].contains("its schema cannot be read"), "{faults:?}");
}

#[test]
fn a_schema_may_change_while_records_come_and_fields_are_found_by_name() {
    let schema = |text: &str| Json::from_iter([("schema", text)]).to_string();
    let url = registry(vec![("/schemas/ids/1", schema(AVRO)), ("/schemas/ids/2", schema(LATER))]);
    let source = format!("format = \"avro\"\nregistry = \"{url}/\"");
    let int = [long(1), long(90)].concat();
    let text = [long(2), long(2), b"--".to_vec()].concat();
    let payloads: [&[u8]; 6] = [
        &with_id(1, &datum("P1", Some(80.0))),
        &with_id(2, &later(&int, Some(97.5), 2)),
        &with_id(1, &datum("P3", None)),
        &with_id(2, &later(&text, None, 4)),
        &with_id(9, &datum("P5", None)),
        &datum("P6", None),
    ];
    let decoded = decoder(PLAIN, &source).decode(&records(&payloads));
    let expected = [("P1", Some(80.0), None), ("2", Some(90.0), Some(97.5)), ("P3", None, None), ("4", None, None)];
    assert_eq!(rows(&decoded), expected.map(|(patient, rate, spo2)| (patient.to_owned(), rate, spo2)));
    let artefacts: Vec<&str> = decoded.artefacts.iter().map(|artefact| artefact.text.as_str()).collect();
    assert_eq!(artefacts, ["--"]);
    let reasons = reasons(&decoded);
    assert!(
        reasons[0].contains("does not answer with the schema") && reasons[0].contains("Schema not found"),
        "{reasons:?}"
    );
    assert!(reasons[1].contains("does not begin with a zero byte"), "{reasons:?}");
}

#[test]
fn a_registry_that_does_not_answer_is_told_from_one_that_knows_no_such_schema() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let schemas = crate::schemas::Schemas::of_registry(&format!("http://{closed}"));
    let away = schemas.look_up(crate::schemas::SchemaId(1)).expect_err("nobody listens");
    assert!(away.to_string().contains("does not answer"), "{away}");
    assert!(schemas.get(crate::schemas::SchemaId(1)).is_none(), "so it is asked for again");
}

const PROTO: &str = r#"syntax = "proto3";
    package ward;
    import "google/protobuf/timestamp.proto";
    message Ping { string box = 1; }
    message Vitals {
        message Oximetry { optional double spo2 = 1; }
        string patient_id = 1;
        google.protobuf.Timestamp event_time = 2;
        double heart_rate = 3;
        Oximetry oximetry = 4;
        int64 serial = 5;
    }"#;

fn message(file: &ProtoFile, patient: &str, rate: f64, spo2: Option<f64>) -> Vec<u8> {
    let vitals = file.message(Some("ward.Vitals")).expect("declared");
    let mut message = DynamicMessage::new(vitals);
    message.set_field_by_name("patient_id", Value::String(patient.to_owned()));
    message.set_field_by_name("heart_rate", Value::F64(rate));
    let at = message.get_field_by_name_mut("event_time").and_then(Value::as_message_mut).expect("a message");
    at.set_field_by_name("seconds", Value::I64(AT / 1_000_000));
    if let Some(spo2) = spo2 {
        let oximetry = message.get_field_by_name_mut("oximetry").and_then(Value::as_message_mut).expect("a message");
        oximetry.set_field_by_name("spo2", Value::F64(spo2));
    }
    message.encode_to_vec()
}

#[test]
fn protobuf_is_read_by_a_file_and_by_the_registrys_indexes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("vitals.proto");
    std::fs::write(&file, PROTO).expect("written");
    let proto = ProtoFile::read(&file).expect("valid");
    let source = format!("format = \"protobuf\"\nmessage = \"ward.Vitals\"\nschema = {:?}", file.display().to_string());
    let (first, second) = (message(&proto, "P1", 80.0, Some(0.0)), message(&proto, "P2", 0.0, None));
    let mut of_file = decoder(PLAIN, &source);
    assert_eq!(of_file.faults(), Vec::<String>::new());
    let decoded = of_file.decode(&records(&[&first, b"\xff\xff", &second]));
    // A zero that was sent is none that was left out; nobody can tell them apart but by `optional`.
    let expected = [("P1".to_owned(), Some(80.0), Some(0.0)), ("P2".to_owned(), Some(0.0), None)];
    assert_eq!(rows(&decoded), expected);
    assert!(reasons(&decoded)[0].contains("not a valid message \"ward.Vitals\""), "{:?}", reasons(&decoded));

    let schema = Json::from_iter([("schemaType", "PROTOBUF"), ("schema", PROTO)]).to_string();
    let url = registry(vec![("/schemas/ids/3", schema)]);
    let mut of_registry = decoder(PLAIN, &format!("format = \"protobuf\"\nregistry = \"{url}\""));
    let indexed = |indexes: &[u8], message: &[u8]| with_id(3, &[indexes, message].concat());
    // The second message of the file: one index, and it is 1.
    let payloads: [&[u8]; 2] = [&indexed(&[2, 2], &first), &indexed(&[2, 8], &first)];
    let decoded = of_registry.decode(&records(&payloads));
    assert_eq!(rows(&decoded), expected[..1].to_vec());
    assert!(reasons(&decoded)[0].contains("has no message [4]"), "{:?}", reasons(&decoded));

    let wrong = decoder(PLAIN, &source.replace("ward.Vitals", "ward.Vital")).faults();
    assert!(wrong[0].contains("did you mean \"ward.Vitals\"?"), "{wrong:?}");
}

#[test]
fn json_behind_the_prefix_of_a_registry_is_json() {
    let payload = with_id(5, GOOD);
    let decoded = decoder(WIDE, "").decode(&records(&[GOOD, &payload]));
    assert_eq!((decoded.rows.num_rows(), decoded.rejects.len()), (2, 0));
}

#[test]
fn a_time_that_means_nothing_and_a_field_of_several_types_cost_nobody_else() {
    let schema = r#"{"type":"record","name":"V","fields":[{"name":"patient_id","type":"string"},
        {"name":"event_time","type":{"type":"long","logicalType":"timestamp-millis"}},
        {"name":"heart_rate","type":["null","string","double",{"type":"record","name":"Q","fields":[{"name":"v","type":"double"}]}]}]}"#;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("v.avsc");
    std::fs::write(&file, schema).expect("written");
    let source = format!("format = \"avro\"\nschema = {:?}", file.display().to_string());
    let datum = |at: i64, heart_rate: &[u8]| [&b"\x04P1"[..], &long(at), heart_rate].concat();
    let double = |branch: i64, rate: f64| [long(branch), rate.to_le_bytes().to_vec()].concat();
    let at = AT / 1_000;
    let payloads: [&[u8]; 8] = [
        &datum(at, &double(2, 70.0)),
        &datum(i64::MAX, &double(2, 71.0)),
        &datum(AT * 1_000, &double(2, 72.0)),
        &datum(at, &double(3, 73.0)),
        b"\x04P1",
        b"",
        &datum(at, &[long(1), b"\x0474".to_vec()].concat()),
        &datum(at, &double(2, 75.0)),
    ];
    for from in ["[\"heart_rate\", \"heart_rate.v\"]", "[\"$.heart_rate\", \"$.heart_rate.v\"]"] {
        let columns = PLAIN.replace(
            "heart_rate = { type = \"float\" }",
            &format!("heart_rate = {{ type = \"float\", from = {from} }}"),
        );
        let decoded = decoder(&columns, &source).decode(&records(&payloads));
        let rates: Vec<Option<f64>> = rows(&decoded).into_iter().map(|row| row.1).collect();
        assert_eq!(rates, [70.0, 72.0, 73.0, 74.0, 75.0].map(Some), "{from}: {:?}", reasons(&decoded));
        assert_eq!(decoded.rejects.iter().map(|reject| reject.place.offset.0).collect::<Vec<_>>(), [1, 4, 5]);
    }
}

#[test]
fn what_a_schema_in_a_file_lacks_of_what_columns_read_is_known_before_a_record_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let avro = LATER.replace(
        r#"{"name":"patient_id""#,
        r#"{"name":"obs","type":{"type":"array","items":"double"}},{"name":"patient_id""#,
    );
    let proto = "syntax = \"proto3\"; message V { string patient_id = 1; int64 event_time = 2; Inner inner = 3; repeated Inner obs = 4; }
        message Inner { double spo2 = 1; }";
    let told = |name: &str, schema: &str, columns: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, schema).expect("written");
        let format = if name.ends_with("avsc") { "avro" } else { "protobuf" };
        let text = format!(
            "[source]\nbrokers = \"b\"\ntopic = \"v\"\nkey = \"patient_id\"\nevent_time = \"event_time\"\nformat = \"{format}\"\nschema = \"{name}\"\n\
             [source.columns]\npatient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\" }}\n{columns}\n[store]\nurl = \"sqlite://x.db\"\n[sql]\ndir = \".\"\n"
        );
        let job = folder.path().join("job.toml");
        std::fs::write(&job, text).expect("written");
        let found = lacking(&wardwatch_config::load(&job).expect("a valid job").source);
        found.into_iter().map(|lacking| (lacking.column, lacking.message)).collect::<Vec<_>>()
    };
    let columns = "a = { type = \"float\", from = [\"spo2\", \"oximetry.spo2\"] }\nb = { type = \"float\", from = \"oximetry.spo3\" }\n\
                   c = { type = \"float\", from = \"obs.v\" }\nd = { type = \"float\", from = \"heart_rat\" }\ne = { type = \"float\", from = \"@header.e\" }";
    let found = told("v.avsc", &avro, columns);
    assert_eq!(found.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>(), ["b", "c", "d"], "{found:?}");
    assert!(found[0].1.contains("has no field \"spo3\" there; did you mean \"spo2\"?"), "{found:?}");
    assert!(found[1].1.contains("has a list at \"obs\""), "{found:?}");
    let found = told(
        "v.proto",
        proto,
        "a = { type = \"float\", from = \"inner.spo2\" }\nb = { type = \"float\", from = \"inner.spo3\" }\nc = { type = \"float\", from = \"obs.spo2\" }",
    );
    assert_eq!(found.iter().map(|(column, _)| column.as_str()).collect::<Vec<_>>(), ["b", "c"], "{found:?}");
}

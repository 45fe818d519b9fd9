//! Records of every form, torn and stirred: none makes the decoder panic, none is lost, and none costs its neighbours.
//!
//! `make fuzz` tries a million of each form.

use std::collections::BTreeMap;

use super::*;

/// Numbers that look random and are the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (usize::try_from((bits ^ (bits >> 31)) >> 1).unwrap_or(0)) % below.max(1)
    }

    /// One of `seeds`, with a few things done to it.
    fn torn(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        const BITS: [&[u8]; 20] = [
            b"\"",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\\",
            b"\n",
            b"\r",
            b"|",
            b"^",
            b"\0",
            b"\xff",
            b"-1e999",
            b"null",
            b"\\ud800",
            b"[[[[[[[[",
            b"99999999999999999999",
            b"\xef\xbb\xbf",
        ];
        let mut bytes = seeds[self.roll(seeds.len())].clone();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len() + 1);
            match self.roll(7) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = u8::try_from(self.roll(256)).unwrap_or(0),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => {
                    let bit = BITS[self.roll(BITS.len())];
                    bytes.splice(at..at, bit.iter().copied());
                }
                4 => {
                    let other = &seeds[self.roll(seeds.len())];
                    let from = self.roll(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                5 => {
                    let end = (at + self.roll(20)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                _ if at < bytes.len() => bytes[at] ^= 1 << self.roll(8),
                _ => {}
            }
        }
        bytes
    }
}

/// What became of the record at each offset: its rows, rejects and artefacts, in words.
fn fates(decoded: &Decoded) -> BTreeMap<i64, Vec<String>> {
    let mut fates: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let offsets = decoded.rows["_offset"].as_primitive::<Int64Type>();
    for row in 0..decoded.rows.num_rows() {
        let values = decoded
            .rows
            .columns()
            .iter()
            .zip(decoded.rows.schema_ref().fields())
            .filter(|(_, field)| field.name() != "_offset");
        let values: Vec<String> = values
            .map(|(array, _)| arrow::util::display::array_value_to_string(array, row).unwrap_or_default())
            .collect();
        fates.entry(offsets.value(row)).or_default().push(values.join("|"));
    }
    for reject in &decoded.rejects {
        fates.entry(reject.place.offset.0).or_default().push(format!("{:?} {}", reject.place.item, reject.reason));
    }
    for artefact in &decoded.artefacts {
        let told = format!("{:?} {} {} {}", artefact.place.item, artefact.column, artefact.text, artefact.reason);
        fates.entry(artefact.place.offset.0).or_default().push(told);
    }
    fates
}

/// Decodes torn records side by side and each alone.
#[allow(clippy::print_stdout, reason = "whoever sees it fail needs the seed")]
fn fuzz(name: &str, columns: &str, source: &str, seeds: &[Vec<u8>]) {
    let count: usize = std::env::var("WARDWATCH_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000);
    let seed: u64 = std::env::var("WARDWATCH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("{name}: {count} records, WARDWATCH_SEED={seed}");
    let source = format!("max_skew = \"100000d\"\nmax_record_bytes = \"64KiB\"\n{source}");
    let (mut together, mut alone) = (decoder(columns, &source), decoder(columns, &source));
    let mut dice = Dice(seed);
    let mut done = 0;
    while done < count {
        let payloads: Vec<Vec<u8>> = (0..1 + dice.roll(40)).map(|_| dice.torn(seeds)).collect();
        let borrowed: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let decoded = together.decode(&records(&borrowed));
        let all = fates(&decoded);
        let mut ignored = 0;
        for (offset, payload) in (0_i64..).zip(&payloads) {
            let mut one = RawRecords::default();
            one.push(record_at(Offset(offset), payload));
            let own = alone.decode(&one);
            ignored += own.ignored;
            let shown = String::from_utf8_lossy(payload);
            assert_eq!(all.get(&offset), fates(&own).get(&offset), "{name}, seed {seed}: {shown}");
            let is_told = own.ignored > 0 || all.contains_key(&offset);
            assert!(is_told, "{name}, seed {seed}: nothing became of {shown}");
        }
        assert_eq!(decoded.ignored, ignored, "{name}, seed {seed}");
        done += payloads.len();
    }
}

const COLUMNS: &str = r#"
    patient_id = { type = "text" }
    event_time = { type = "time" }
    heart_rate = { type = "float", plausible = [0, 300] }
    spo2 = { type = "float", from = ["spo2", "o2.value"], unit = "%", extract = "number" }
    steps = { type = "int" }
    moving = { type = "bool" }
    note = { type = "text", map = { Alert = "A" } }
"#;

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const OBJECT: &str = r#"{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","heart_rate":80,"spo2":"98 %","steps":7,"moving":true,"note":"alert"}"#;

#[test]
fn torn_json_costs_nobody_else() {
    let list = format!("[{OBJECT},{OBJECT}]");
    let lines = format!("{OBJECT}\n{OBJECT}\n");
    let nested = r#"{"patient_id":7,"event_time":[2026,1,1,1,0],"o2":{"value":97.5},"heart_rate":"--"}"#;
    fuzz("json", COLUMNS, "", &texts(&[OBJECT, &list, &lines, nested, "[]"]));
}

#[test]
fn torn_json_with_rows_and_envelopes_costs_nobody_else() {
    let record = r#"{"patient_id":"P1","data":{"metrics":[{"name":"heart_rate","data":[{"at":"2026-01-01T00:00:00Z","qty":65},
        {"at":"2026-01-01T00:00:05Z","Avg":66}]},{"name":"spo2","data":[{"at":"2026-01-01T00:00:00Z","qty":97}]}]}}"#;
    let columns = r#"
        patient_id = { type = "text", from = ["^.patient_id", "$.data.owner[?@.is == 'patient'].id"] }
        event_time = { type = "time", from = "at" }
        heart_rate = { type = "float" }
        spo2 = { type = "float" }
    "#;
    let source = "rows = \"$.data.metrics[*].data[*]\"\nlong = { name = \"^.name\", value = [\"qty\", \"Avg\"] }\n\
                  unwrap = [\"gzip\", \"base64\", \"json-text\", \"cloudevents\", \"debezium\"]";
    let event = format!(r#"{{"specversion":"1.0","data":{record}}}"#);
    let change = format!(r#"{{"before":null,"after":{record},"op":"c"}}"#);
    fuzz("rows", columns, source, &texts(&[record, &event, &change, &Json::from(record).to_string()]));
}

#[test]
fn torn_csv_and_text_cost_nobody_else() {
    let csv = "format = \"csv\"";
    let seeds = texts(&[
        "patient_id,event_time,heart_rate,spo2,steps,moving,note\nP1,2026-01-01 00:00:00,80,\"98 %\",7,yes,Alert\n",
        "patient_id,event_time,heart_rate\r\n1,2026-01-01T00:00:00Z,80\r\n2,x,--\r\n",
    ]);
    let columns = COLUMNS.replace("\"o2.value\"", "\"o2\"");
    fuzz("csv", &columns, csv, &seeds);
    let declared =
        "format = \"csv\"\ncsv = { header = [\"patient_id\", \"event_time\", \"heart_rate\"], delimiter = \";\" }";
    let three = "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\" }";
    fuzz(
        "csv with a header of the job's",
        three,
        declared,
        &texts(&["P1;2026-01-01 00:00:00;80\n\"P;2\";1767225600;\"\"\n"]),
    );
    let pattern =
        "format = \"text\"\npattern = \"^(?<patient_id>\\\\w+) (?<event_time>\\\\S+) BPM: (?<heart_rate>[0-9.]+)\"";
    fuzz("text", three, pattern, &texts(&["P1 2026-01-01T00:00:00Z BPM: 72\nP2 1767225600 BPM: 73.5\n"]));
}

#[test]
fn torn_hl7_costs_nobody_else() {
    let message = "MSH|^~\\&|M|I|W|H|20260101010001+0100||ORU^R01|42|P|2.6\rPID|1||M\\F\\42^^^H~9\rOBR|1|||V|||20260101010002\r\
        OBX|1|NM|8867-4^HR^LN||88|/min|||||F|||20260101010002\rOBX|2|NM|59408-5^SpO2^LN||97|%|||||F\rOBX|3|NM|x||--|||||X\r";
    let columns = r#"
        patient_id = { type = "text", from = "PID.3.1" }
        event_time = { type = "time", from = ["OBX.14", "OBR.7", "MSH.7"] }
        heart_rate = { type = "float", named = "8867-4", unit = "/min", unit_from = "OBX.6.1" }
        spo2 = { type = "float", named = "59408-5", valid_when = { field = "OBX.11", is_not = ["X", "D", "W"] } }
    "#;
    let two = format!("\u{b}{message}{message}\u{1c}\r");
    fuzz("hl7v2", columns, "format = \"hl7v2\"", &texts(&[message, &two, &message.replace('\r', "\n")]));
}

#[test]
fn torn_avro_and_protobuf_cost_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let avsc = folder.path().join("v.avsc");
    let schema = r#"{"type":"record","name":"V","fields":[{"name":"patient_id","type":"string"},
        {"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"heart_rate","type":["null","double"]},{"name":"notes","type":{"type":"array","items":"string"}}]}"#;
    std::fs::write(&avsc, schema).expect("written");
    let columns =
        "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\" }";
    let mut datum = b"\x04P1\x80\xa0\xa5\xfe\x94\xd4\xa3\x06\x02".to_vec();
    datum.extend(80_f64.to_le_bytes());
    datum.extend(b"\x02\x04hi\x00");
    let prefixed = [b"\0\0\0\0\x07".as_slice(), &datum].concat();
    fuzz("avro", columns, &format!("format = \"avro\"\nschema = {:?}", avsc.display()), &[datum, prefixed]);

    let proto = folder.path().join("v.proto");
    let declared = "syntax = \"proto3\"; message V { string patient_id = 1; int64 event_time = 2; double heart_rate = 3; V inner = 4; }";
    std::fs::write(&proto, declared).expect("written");
    let mut message = b"\x0a\x02P1\x10\x80\xd6\xdb\xca\x06\x19".to_vec();
    message.extend(80_f64.to_le_bytes());
    message.extend(b"\x22\x04\x0a\x02P2");
    fuzz("protobuf", columns, &format!("format = \"protobuf\"\nschema = {:?}", proto.display()), &[message]);
}

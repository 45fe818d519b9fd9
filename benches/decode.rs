//! Decoding beside bare arrow-json on the same bytes, and the same vitals in other forms: `cargo bench --bench decode`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::ReaderBuilder;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wardwatch::config;
use wardwatch::decode::{CHUNK, Decoder, RawRecord, RawRecords};
use wardwatch::simulate::{ONSET, RecordForm, Ward, WardOptions};
use wardwatch::terms::Offset;

fn decode(criterion: &mut Criterion) {
    let job = config::load(std::path::Path::new("jobs/patient_vitals.toml")).expect("the shipped job");
    let mut ward = Ward::new(WardOptions {
        patients: 1_000,
        seed: 1,
        start: chrono::DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
        interval: std::time::Duration::from_secs(1),
        onset: ONSET,
        lasts: None,
        scenarios: Vec::new(),
    });
    let form = RecordForm::of(&job.source).expect("bare records");
    let records: Vec<Vec<u8>> =
        std::iter::repeat_with(|| ward.next_round()).flatten().flat_map(|s| form.records(&s)).take(CHUNK).collect();
    let mut raw = RawRecords::default();
    for (offset, record) in (0..).zip(&records) {
        raw.push(RawRecord::of_payload(Offset(offset), record));
    }

    // What arrow-json alone would be asked for: the fields as they stand, times as text, nothing checked.
    let text = ["patient_id", "event_time", "consciousness"].map(|name| Field::new(name, DataType::Utf8View, true));
    let numbers = ["heart_rate", "respiratory_rate", "spo2", "systolic_bp", "diastolic_bp", "temperature", "pulse"]
        .map(|name| Field::new(name, DataType::Float64, true));
    let truths = [Field::new("oxygen", DataType::Boolean, true)];
    let schema = Arc::new(Schema::new(text.into_iter().chain(numbers).chain(truths).collect::<Vec<_>>()));

    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(CHUNK as u64)).sample_size(20);
    group.bench_function("bare arrow-json", |bencher| {
        let mut bare = ReaderBuilder::new(schema.clone()).with_batch_size(CHUNK).build_decoder().unwrap();
        bencher.iter(|| {
            records.iter().for_each(|record| assert_eq!(bare.decode(record).unwrap(), record.len()));
            black_box(bare.flush().unwrap())
        });
    });
    group.bench_function("wardwatch", |bencher| {
        let mut decoder = Decoder::new(&job.source);
        bencher.iter(|| black_box(decoder.decode(&raw)));
    });
    group.bench_function("wardwatch with source.sql", |bencher| {
        // The columns as they are, one of them computed and one looked at.
        let folder = tempfile::tempdir().unwrap();
        let names = job.source.columns.all().iter().map(|column| match column.name.as_str() {
            "temperature" => {
                "CASE WHEN temperature > 60 THEN (temperature - 32) / 1.8 ELSE temperature END AS temperature"
            }
            name => name,
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT {names} FROM decoded WHERE heart_rate IS NULL OR heart_rate > 0");
        std::fs::write(folder.path().join("source.sql"), sql).unwrap();
        let mut job = job.clone();
        job.sql.dir = folder.path().to_owned();
        let mut decoder = wardwatch::job::decoder(&job, &job.source.topics.unnumbered()).expect("a right source.sql");
        bencher.iter(|| black_box(decoder.decode(&raw)));
    });
    group.finish();
    forms(criterion, &records);
}

/// The vitals that the other forms carry, with their LOINC codes.
const VITALS: [(&str, &str); 5] = [
    ("heart_rate", "8867-4"),
    ("respiratory_rate", "9279-1"),
    ("spo2", "59408-5"),
    ("systolic_bp", "8480-6"),
    ("diastolic_bp", "8462-4"),
];

const AVRO: &str = r#"{"type":"record","name":"V","fields":[{"name":"patient_id","type":"string"},
    {"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"heart_rate","type":["null","double"]},{"name":"respiratory_rate","type":["null","double"]},
    {"name":"spo2","type":["null","double"]},{"name":"systolic_bp","type":["null","double"]},
    {"name":"diastolic_bp","type":["null","double"]}]}"#;

/// Decodes the vitals of `records` in each form; what counts is a row, of HL7 v2 an OBX segment.
fn forms(criterion: &mut Criterion, records: &[Vec<u8>]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("v.avsc"), AVRO).unwrap();
    let objects: Vec<serde_json::Value> =
        records.iter().map(|record| serde_json::from_slice(record).unwrap()).collect();
    let text = |object: &serde_json::Value, name: &str| match &object[name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let flat: Vec<String> = objects
        .iter()
        .map(|object| {
            let vitals = VITALS.map(|(name, _)| format!("\"{name}\":{}", object[name]));
            format!(
                "{{\"patient_id\":{},\"event_time\":{},{}}}",
                object["patient_id"],
                object["event_time"],
                vitals.join(",")
            )
        })
        .collect();
    let lists = flat.chunks(60).map(|chunk| format!("[{}]", chunk.join(",")).into_bytes()).collect();
    let csv = objects.iter().map(|object| {
        let vitals = VITALS.map(|(name, _)| text(object, name));
        format!("{},{},{}", text(object, "patient_id"), text(object, "event_time"), vitals.join(",")).into_bytes()
    });
    let fhir = objects.iter().map(|object| {
        let patient = text(object, "patient_id");
        format!(
            r#"{{"resourceType":"Observation","id":"1","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"8867-4","display":"Heart rate"}}]}},"subject":{{"reference":"Patient/{patient}"}},"effectiveDateTime":{},"valueQuantity":{{"value":{},"unit":"beats/minute","system":"http://unitsofmeasure.org","code":"/min"}}}}"#,
            object["event_time"], object["heart_rate"]
        )
        .into_bytes()
    });
    let hl7 = objects.iter().map(|object| {
        let at = text(object, "event_time").replace(['-', ':', 'T', 'Z'], "");
        let head = format!(
            "MSH|^~\\&|MONITOR|ICU|WARD|HOSP|{at}+0000||ORU^R01|42|P|2.6\rPID|1||{}^^^HOSP||TEST^PATIENT\rOBR|1|||VITALS|||{at}+0000\r",
            text(object, "patient_id")
        );
        let vitals = (1..).zip(VITALS).map(|(number, (name, code))| {
            format!("OBX|{number}|NM|{code}^{name}^LN||{}||||||F|||{at}+0000\r", text(object, name))
        });
        (head + &vitals.collect::<String>()).into_bytes()
    });
    let long = |value: i64| {
        let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
        let mut bytes = Vec::new();
        loop {
            let low = u8::try_from(bits & 0x7f).unwrap();
            bits >>= 7;
            if bits == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    };
    let avro = objects.iter().map(|object| {
        let patient = text(object, "patient_id");
        let mut datum = long(i64::try_from(patient.len()).unwrap());
        datum.extend(patient.as_bytes());
        let at = chrono::DateTime::parse_from_rfc3339(&text(object, "event_time")).unwrap();
        datum.extend(long(at.timestamp_micros()));
        for (name, _) in VITALS {
            match object[name].as_f64() {
                None => datum.push(0),
                Some(value) => {
                    datum.push(2);
                    datum.extend(value.to_le_bytes());
                }
            }
        }
        datum
    });
    let header = VITALS.map(|(name, _)| format!("\"{name}\"")).join(", ");
    let csv_form = format!("format = \"csv\"\ncsv = {{ header = [\"patient_id\", \"event_time\", {header}] }}");
    let avro_form = "format = \"avro\"\nschema = \"v.avsc\"";
    let of = |name: &str| format!("[[source.form]]\nuse = \"{name}\"");
    let given: [(&str, String, Vec<Vec<u8>>, usize); 6] = [
        ("flat JSON", String::new(), flat.iter().map(|record| record.clone().into_bytes()).collect(), CHUNK),
        ("lists of 60", String::new(), lists, CHUNK),
        ("CSV", csv_form, csv.collect(), CHUNK),
        ("Avro", avro_form.to_owned(), avro.collect(), CHUNK),
        ("FHIR Observation", of("fhir-observation"), fhir.collect(), CHUNK),
        ("HL7 v2, segments of OBX", of("hl7v2-oru"), hl7.collect(), CHUNK * VITALS.len()),
    ];
    let mut group = criterion.benchmark_group("forms");
    group.sample_size(20);
    for (name, form, payloads, rows) in given {
        let (source, forms) = if form.starts_with("[[") { ("", form.as_str()) } else { (form.as_str(), "") };
        let vitals = VITALS.map(|(name, _)| format!("{name} = {{ type = \"float\" }}")).join("\n");
        let job = format!(
            "[source]\nbrokers = \"b\"\ntopic = \"t\"\nkey = \"patient_id\"\nevent_time = \"event_time\"\n{source}\n\
             [source.columns]\npatient_id = {{ type = \"text\" }}\nevent_time = {{ type = \"time\" }}\n{vitals}\n{forms}\n\
             [store]\nurl = \"sqlite://x.db\"\n[sql]\ndir = \".\"\n"
        );
        let file = folder.path().join("job.toml");
        std::fs::write(&file, job).unwrap();
        let job = config::load(&file).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        let mut raw = RawRecords::default();
        for (offset, payload) in (0..).zip(&payloads) {
            raw.push(RawRecord::of_payload(Offset(offset), payload));
        }
        let mut decoder = Decoder::new(&job.source);
        let decoded = decoder.decode(&raw);
        assert_eq!((decoded.rows.num_rows(), decoded.rejects.len()), (CHUNK, 0), "{name}");
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(name, |bencher| bencher.iter(|| black_box(decoder.decode(&raw))));
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);

//! The forms of the field, through the real broker as they were sent: lists, envelopes, FHIR, HL7 v2, CSV, several in one topic.

use crate::field::Sent;
use crate::fixtures::{Database, READINGS, TestJob, Topic, mysql_url, told};

/// The rows of a case by its own job, how many records were rejected, and how many left out.
fn check(case: &str, columns: &str, expected: &[&str], rejects: usize, ignored: usize) -> Sent {
    let sent = Sent::of_case(case);
    let sql = format!("SELECT {columns} FROM readings ORDER BY source_offset, source_item");
    assert_eq!(sent.rows(&sql), expected, "{}", sent.log);
    assert!(sent.log.contains(&format!(" {rejects} rejects")), "{}", sent.log);
    let told = format!("{ignored} ignored");
    assert_eq!(sent.log.contains(" ignored"), ignored > 0, "{}", sent.log);
    assert!(ignored == 0 || sent.log.contains(&told), "{}", sent.log);
    sent
}

#[test]
fn each_reading_of_a_list_is_a_row_and_a_broken_one_is_named() {
    let sent = check(
        "07-json-array-of-records",
        "source_offset, source_item, heart_rate",
        &["0|0|70", "0|1|71", "0|2|72", "1|0|73", "3|0|74"],
        1,
        1,
    );
    assert_eq!(sent.rows("SELECT `offset`, item, LENGTH(raw) > 0 FROM rejects"), ["3|1|1"]);
    let job = std::fs::read_to_string(sent.folder.path().join("job.toml")).unwrap();
    assert!(!job.contains("rows"), "nothing needs to be said of lists");
}

#[test]
fn points_of_metrics_are_rows_with_what_stands_around_them() {
    check(
        "09-metrics-with-lists-of-points",
        "patient_id, CAST(event_time AS CHAR), heart_rate, spo2",
        &["P1|2026-01-01 10:00:00.000000|65|97", "P1|2026-01-01 10:05:00.000000|66|96"],
        0,
        0,
    );
}

#[test]
fn fhir_observations_are_rows_by_their_codes() {
    check(
        "11-fhir-observation-heart-rate",
        "patient_id, heart_rate, spo2, ROUND(temperature, 1)",
        &["p-17|67|NULL|NULL", "p-17|NULL|97|NULL", "p-17|NULL|NULL|37.2"],
        0,
        1,
    );
}

#[test]
fn components_of_a_panel_are_one_row_in_whatever_order() {
    let sent = check(
        "12-fhir-blood-pressure-panel",
        "patient_id, systolic_bp, diastolic_bp",
        &["p-17|120|80", "p-17|132|86", "p-17|95|NULL"],
        1,
        4,
    );
    let reasons = sent.rows("SELECT reason FROM rejects");
    assert!(reasons[0].contains("is a day without a time"), "{reasons:?}");
}

#[test]
fn long_records_have_fixed_places_beside_the_value() {
    let rows = ["88|NULL|NULL|NULL", "NULL|97|NULL|NULL", "NULL|NULL|120|80"];
    check("14-long-record-with-pressure-inside", "heart_rate, spo2, systolic_bp, diastolic_bp", &rows, 0, 0);
}

#[test]
fn vitals_that_nobody_declares_are_counted_and_make_no_reject() {
    let sent = Sent::of_case("15-long-records-of-vitals-nobody-declared");
    assert!(sent.log.contains(" 0 rejects"), "{}", sent.log);
    assert_eq!(sent.rows("SELECT COUNT(*) FROM rejects"), ["0"]);
    let counts = sent.rows("SELECT SUM(records), SUM(frame_rows), SUM(ignored) FROM batches");
    let counts: Vec<u64> = counts[0].split('|').map(|count| count.parse().unwrap()).collect();
    assert_eq!(counts[0], counts[1] + counts[2]);
    assert_eq!(sent.rows("SELECT COUNT(*) FROM readings"), [counts[1].to_string()]);
    assert!(counts[1] > 0 && counts[2] > counts[1], "{counts:?}");
    let status = sent.command("status").output().unwrap();
    assert!(crate::fixtures::told(&status).contains(&format!("{} ignored in all", counts[2])), "{status:?}");
}

#[test]
fn other_messages_of_the_topic_are_left_out_and_counted() {
    let rows = ["1234500000017|120|78|71|NULL", "1234500000017|NULL|NULL|70|97"];
    check("22-other-messages-in-the-same-topic", "patient_id, systolic_bp, diastolic_bp, pulse, spo2", &rows, 0, 3);
}

#[test]
fn a_number_here_and_an_object_there_are_one_column() {
    let sent = check("24-number-here-object-there", "heart_rate", &["72", "73"], 0, 0);
    assert_eq!(sent.rows("SELECT COUNT(*) FROM artefacts"), ["0"]);
}

#[test]
fn local_times_are_lists_of_numbers() {
    let times = ["09:00:00.000000", "09:00:01.000000", "09:00:02.250000", "10:00:03.250000"];
    let times = times.map(|time| format!("2026-01-01 {time}"));
    let times: Vec<&str> = times.iter().map(String::as_str).collect();
    check("35-java-local-times-as-lists", "CAST(event_time AS CHAR)", &times, 0, 0);
}

#[test]
fn date_and_time_are_put_together_and_the_day_is_told_by_the_stamp() {
    let times = [
        "2026-01-01 10:00:00.000000",
        "2026-01-01 10:00:01.000000",
        "2026-01-01 10:00:01.250000",
        "2026-01-01 10:00:01.750000",
        "2026-01-01 23:59:59.000000",
    ];
    check("39-date-here-time-there", "CAST(event_time AS CHAR)", &times, 0, 0);
}

#[test]
fn rows_are_taken_out_of_envelopes_and_deletes_are_no_errors() {
    let rows = ["7|88", "7|88", "7|89"];
    let mut sent = check("55-connect-and-debezium-envelopes", "patient_id, heart_rate", &rows, 0, 1);
    // The record without a value that follows a delete.
    sent.topic.put_null(0);
    sent.topic.flush();
    sent.run(&["--once"]);
    assert!(sent.log.contains("1 records, 0 rejects") && sent.log.contains("1 ignored"), "{}", sent.log);
}

#[test]
fn json_within_a_json_text_is_read() {
    check("58-json-inside-a-json-text", "patient_id, heart_rate", &["P1|80", "P1|81"], 0, 0);
}

#[test]
fn a_line_of_csv_is_a_row_and_what_is_none_says_why() {
    let sent = check("60-plain-text-payloads", "patient_id, heart_rate, spo2", &["60002|64|97.4"], 4, 0);
    let reasons = sent.rows("SELECT DISTINCT reason FROM rejects ORDER BY 1");
    assert!(reasons.iter().all(|reason| reason.contains("the header 4")), "{reasons:?}");
}

#[test]
fn an_observation_of_hl7_is_a_row() {
    let row = "MRN0042|2026-01-01 10:00:00.000000|88|97|NULL";
    check("61-hl7v2-text", "patient_id, CAST(event_time AS CHAR), heart_rate, spo2, systolic_bp", &[row], 0, 0);
}

#[test]
fn avro_is_read_with_a_registrys_prefix_and_without() {
    let rows = ["P1|2026-01-01 10:00:00.000000|80", "P1|2026-01-01 10:00:01.000000|81"];
    check("57-avro-records", "patient_id, CAST(event_time AS CHAR), heart_rate", &rows, 0, 0);
}

#[test]
fn samples_are_shown_value_by_value_with_the_places_where_they_stood() {
    let sample = |case: &str, file: &str| {
        let folder = crate::field::case(case);
        let mut wardwatch = crate::fixtures::wardwatch();
        wardwatch.arg("sample").arg(folder.join("job.toml")).arg("--input").arg(folder.join(file));
        let output = wardwatch.env("MYSQL_URL", "sqlite://x.db").output().unwrap();
        assert!(output.status.success(), "{}", crate::fixtures::told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let metrics = sample("09-metrics-with-lists-of-points", "records.jsonl");
    for line in [
        "records.jsonl:1: 2 rows",
        "row of items 0, 2",
        "    spo2                 97.0                         qty of oxygen_saturation = \"97\"",
        "    patient_id           P1                           $.patient_id = \"P1\"",
        "1 records: 2 rows, 0 rejected, 0 left out",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let hl7 = sample("61-hl7v2-text", "kafka.jsonl");
    for line in [
        "kafka.jsonl:1, form \"hl7v2-oru\": 1 row",
        "OBX.5 of 8867-4 = \"88\"",
        "systolic_bp of item 2 is left empty: \"---\"",
        "warning: column \"systolic_bp\" is always empty",
    ] {
        assert!(hl7.contains(line), "{line}\n{hl7}");
    }
    let list = sample("07-json-array-of-records", "records.jsonl");
    assert!(list.contains("rejected, item 1: column \"event_time\": \"soon\" is not a valid time"), "{list}");

    let sent = Sent::of_case("07-json-array-of-records");
    let newest = sent.command("sample").args(["--last", "2"]).output().unwrap();
    let told = crate::fixtures::told(&newest);
    assert!(
        told.contains("2 records: 1 rows, 1 rejected, 1 left out") && told.contains("partition 0, offset 3"),
        "{told}"
    );
}

#[test]
fn check_warns_of_what_no_sample_has_with_its_place_in_the_job_file() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let forms = "[[source.form]]\nname = \"lab\"\nwhen = { field = \"type\", is = \"lab\" }\n[[source.form]]\nname = \"vitals\"\n\
        when = { field = \"v\", is = 1 }\n[[source.form]]\nname = \"second\"\nwhen = { field = \"patient_id\", is = \"P1\" }";
    let job = TestJob::new(&topic.name, &database.url)
        .source(forms)
        .columns(
            "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\", from = [\"hr\", \"pulse\"] }\n\
             spo2 = { type = \"float\", from = \"readings.spo2\" }\ntemperature = { type = \"float\" }",
        )
        .query("tables/readings", READINGS);
    let samples = job.folder.path().join("samples.jsonl");
    let record =
        r#"{"v": 1, "patient_id": "P1", "event_time": "2026-01-01T00:00:01Z", "hr": 70, "readings": [{"spo2": 97}]}"#;
    std::fs::write(&samples, format!("{record}\n")).unwrap();
    let output = job.command("check").args(["--input", "samples.jsonl"]).output().unwrap();
    let warned = told(&output);
    assert!(output.status.success(), "{warned}");
    let text = std::fs::read_to_string(job.file()).unwrap();
    let line = |of: &str| 1 + text.lines().position(|line| line.starts_with(of)).unwrap();
    for (place, message) in [
        (line("name = \"lab\""), "no record is of the form \"lab\" [unseen-form]"),
        (
            line("name = \"second\""),
            "a record of the form \"vitals\" meets the conditions of \"second\" too; the first of them counts [two-forms]",
        ),
        (line("heart_rate"), "column \"heart_rate\" was never read at \"pulse\" [unseen-place]"),
        (line("spo2"), "column \"spo2\" is read at \"readings.spo2\", and at \"readings\" records have a list"),
        (line("temperature"), "column \"temperature\" is always empty [always-empty]"),
    ] {
        assert!(warned.contains(&format!("job.toml:{place}:1: warning: {message}")), "{place} {message}: {warned}");
    }
    assert_eq!(
        job.command("check").args(["--input", "samples.jsonl", "--deny-warnings"]).output().unwrap().status.code(),
        Some(1)
    );
    topic.put(0, None, record.as_bytes());
    topic.flush();
    assert!(told(&job.command("check").args(["--last", "5"]).output().unwrap()).contains("[path-into-list]"));
    // Where nothing can be read, that is said.
    std::fs::write(
        job.folder.path().join("bad.jsonl"),
        "{\"v\": 1, \"patient_id\": \"P1\", \"event_time\": \"soon\"}\n",
    )
    .unwrap();
    let bad = told(&job.command("check").args(["--input", "bad.jsonl"]).output().unwrap());
    assert!(
        bad.contains("1 rejected; the first: column \"event_time\": \"soon\" is not a valid time")
            && bad.contains("[rejected]"),
        "{bad}"
    );
    let none = job.command("check").args(["--input", "nothing.jsonl"]).output().unwrap();
    assert!(!none.status.success() && told(&none).contains("nothing.jsonl"), "{}", told(&none));
    let json = job.command("check").args(["--input", "samples.jsonl", "--json"]).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(found.as_array().unwrap().iter().filter(|one| one["name"] == "always-empty").count(), 1, "{found}");
}

#[test]
fn rejects_are_listed_by_what_is_wrong_and_shown_with_the_place() {
    let sent = Sent::of_case("07-json-array-of-records");
    for payload in [&br#"{"patient_id": "P2", "event_time": "later"}"#[..], b"{\"patient_id\" 7}"] {
        sent.topic.put(0, None, payload);
    }
    sent.topic.flush();
    let mut sent = sent;
    sent.run(&["--once"]);
    let told = |arguments: &[&str]| {
        let folder = sent.folder.path().join("job.toml");
        let mut command = crate::fixtures::wardwatch();
        command.args(["rejects", arguments[0]]).arg(folder).args(&arguments[1..]);
        command.env("MYSQL_URL", &sent.database.url).env("KAFKA_BROKERS", crate::fixtures::kafka());
        crate::fixtures::told(&command.output().unwrap())
    };
    let list = told(&["list"]);
    let counts: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(counts[..3], ["count", "2", "1"], "{list}");
    assert!(list.contains("\"later\" is not a valid time") && !list.contains("\"soon\""), "{list}");
    let item = told(&["show", "0:3"]);
    assert!(item.contains("partition 0, offset 3, item 1") && item.contains("^^^^"), "{item}");
    assert!(item.contains("by the job file as it is now: no row, column \"event_time\""), "{item}");
    let colon = told(&["show", "0:5"]);
    assert!(colon.contains("expected a colon at position 14") && colon.contains("\n                ^\n"), "{colon}");
    assert!(told(&["show", "0:0"]).contains("no record at partition 0, offset 0 was rejected"));
}

const AVRO: &str = r#"{"type":"record","name":"V","fields":[{"name":"patient_id","type":"string"},
    {"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"heart_rate","type":"double"}]}"#;

/// A datum of patient P1 at this second of 2026, with a registry's prefix.
fn avro(id: u32, second: i64, heart_rate: f64) -> Vec<u8> {
    let mut bits = ((1_767_225_600 + second) * 1_000_000) << 1;
    let mut record = [&[0][..], &id.to_be_bytes(), b"\x04P1"].concat();
    while bits > 0x7f {
        record.push(u8::try_from(bits & 0x7f).unwrap() | 0x80);
        bits >>= 7;
    }
    record.push(u8::try_from(bits).unwrap());
    record.extend(heart_rate.to_le_bytes());
    record
}

/// Answers as a registry that has one schema under every id, until the test ends.
fn serve_schema(listener: std::net::TcpListener) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let body = serde_json::json!({ "schema": AVRO }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = std::io::Write::write_all(&mut stream, (head + &body).as_bytes());
        }
    });
}

#[test]
fn records_wait_for_a_registry_that_is_away_and_it_is_told_and_none_is_lost() {
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let (job, topic, database) = TestJob::on_mysql();
    let registry = format!("format = \"avro\"\nregistry = \"http://ward:secret@127.0.0.1:{port}/apis\"");
    let mut job = job.source(&registry).columns(
        "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\" }",
    );
    job = job.query(
        "tables/readings",
        "-- @key: patient_id, event_time\nSELECT patient_id, event_time, heart_rate FROM vitals\n",
    );
    for second in 0..3 {
        topic.put(0, None, &avro(7, second, 80.0));
    }
    topic.flush();
    let mut running = job.start();
    let mut told = String::new();
    running.wait_until("status tells of it", || {
        let status = job.command("status").output().unwrap();
        told = crate::fixtures::told(&status);
        status.status.code() == Some(4)
            && told.contains(&format!("the schema registry at http://127.0.0.1:{port}/apis"))
    });
    assert!(!told.contains("secret"), "{told}");
    let batches: u64 = database.rows("SELECT MAX(batch) FROM batches")[0].parse().unwrap();
    running.wait_until("batches go on", || {
        database.rows("SELECT MAX(batch) FROM batches")[0].parse::<u64>().unwrap() > batches
    });
    assert_eq!(database.rows("SELECT COUNT(*) FROM rejects"), ["0"]);
    drop(running);

    let mut running = job.start();
    serve_schema(std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
    let expected = ["0|80", "1|80", "2|80"];
    let rows = "SELECT SECOND(event_time), heart_rate FROM readings ORDER BY event_time";
    running.wait_until("all are read", || database.rows(rows) == expected);
    topic.put(0, None, &avro(8, 3, 81.0));
    topic.flush();
    running.wait_until("another schema is read", || database.rows(rows).len() == 4);
    assert_eq!(database.rows("SELECT COUNT(*) FROM rejects"), ["0"]);
}

#[test]
fn a_first_job_file_is_written_from_a_topic_and_runs() {
    let sent = Sent::of_case("24-number-here-object-there");
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("ward.toml");
    let command = |arguments: &[&str]| {
        let mut command = crate::fixtures::wardwatch();
        command.arg(arguments[0]).arg(&job).args(&arguments[1..]);
        command.env("KAFKA_BROKERS", crate::fixtures::kafka()).env("MYSQL_URL", "sqlite://ward.db");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", crate::fixtures::told(&output));
        crate::fixtures::told(&output)
    };
    let told = command(&["new", "--from-topic", &sent.topic.name]);
    assert!(told.contains("2 records looked at"), "{told}");
    let written = std::fs::read_to_string(&job).unwrap();
    assert!(written.contains("heart_rate = { type = \"float\", from ="), "{written}");
    command(&["check"]);
    assert!(command(&["sample"]).contains("2 records: 2 rows, 0 rejected"));
    assert!(command(&["run", "--once"]).contains("2 records, 0 rejects"));
    // A file that is there is somebody's work.
    let again = crate::fixtures::wardwatch().arg("new").arg(&job).args(["--from-topic", "x"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
}

/// A job file and samples for it, without a broker.
fn job_of_samples(columns: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.toml");
    let text = format!(
        "[source]\nbrokers = \"localhost:9092\"\ntopic = \"t\"\nkey = \"patient_id\"\nevent_time = \"event_time\"\nunwrap = [\"gzip\"]\n\
         [source.columns]\n{columns}\n[store]\nurl = \"sqlite://none.db\"\n[sql]\ndir = \"sql\"\n"
    );
    std::fs::create_dir(folder.path().join("sql")).unwrap();
    std::fs::write(&job, text).unwrap();
    (folder, job)
}

#[test]
fn samples_may_be_compressed_or_written_over_several_lines() {
    let (folder, job) = job_of_samples(
        "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\nheart_rate = { type = \"float\" }",
    );
    let record = |second: u32| {
        format!(
            "{{\n  \"patient_id\": \"P1\",\n  \"event_time\": \"2026-01-01T00:00:{second:02}Z\",\n  \"heart_rate\": 80\n}}\n"
        )
    };
    let sample = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        told(&crate::fixtures::wardwatch().arg("sample").arg(&job).arg("--input").arg(&file).output().unwrap())
    };
    let two = sample("pretty.json", format!("{}{}", record(0), record(1)).as_bytes());
    assert!(two.contains("2 records: 2 rows, 0 rejected") && two.contains("pretty.json:6: 1 row"), "{two}");
    // Its bytes have line breaks among them, as any have that are long enough.
    let mut packed = Vec::new();
    for second in 0..60 {
        let mut gzip = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::none());
        std::io::Write::write_all(&mut gzip, record(second).as_bytes()).unwrap();
        gzip.finish().unwrap();
    }
    assert!(packed.contains(&b'\n'));
    let one = sample("records.gz", &packed);
    assert!(one.contains("1 records: 60 rows, 0 rejected"), "{one}");
}

#[test]
fn a_command_whose_reader_goes_ends_without_a_word() {
    let mut child = crate::fixtures::wardwatch()
        .args(["schema", "job"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads, from the first byte on; what is printed is longer than a pipe holds.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(141) && complaint.is_empty(), "{:?} {complaint}", output.status);
}

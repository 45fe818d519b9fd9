//! `source.sql`: rows that one SELECT makes of decoded ones, where no declaration can say what records are.

use crate::fixtures::{Database, READINGS, TestJob, Topic, mysql_url, told};

const COLUMNS: &str = "patient_id = { type = \"text\" }\nevent_time = { type = \"time\" }\n\
    heart_rate = { type = \"float\", unit = \"/min\", plausible = [10, 300] }\n\
    temperature = { type = \"float\", unit = \"°C\", plausible = [25, 45] }\n\
    spo2 = { type = \"float\" }\nline = { type = \"text\" }";

/// Devices that write all into one text: "HR=81 T=98.6F".
const SOURCE: &str = "SELECT
    patient_id,
    event_time,
    CAST(regexp_match(line, 'HR=([^ ]+)')[1] AS DOUBLE) AS heart_rate,
    CASE WHEN line LIKE '%F'
        THEN (CAST(regexp_match(line, 'T=([0-9.]+)F')[1] AS DOUBLE) - 32) / 1.8
        ELSE CAST(regexp_match(line, 'T=([0-9.]+)C')[1] AS DOUBLE)
    END AS temperature
FROM decoded
WHERE line <> 'ping'
";

fn record(second: u32, line: &str) -> String {
    format!(r#"{{"patient_id":"P1","event_time":"2026-01-01T00:00:{second:02}Z","line":"{line}"}}"#)
}

fn job(topic: &Topic, database: &Database, source: &str) -> TestJob {
    let readings = READINGS.replace("spo2 FROM", "round(temperature, 1) AS temperature FROM");
    TestJob::new(&topic.name, &database.url)
        .columns(COLUMNS)
        .query("tables/readings", &readings)
        .sql_file("source.sql", source)
}

fn put(topic: &Topic, records: &[String]) {
    records.iter().for_each(|record| topic.put(0, None, record.as_bytes()));
    topic.flush();
}

#[test]
fn what_no_declaration_says_a_select_does_and_each_record_is_for_itself() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let first = job(&topic, &database, SOURCE);
    let lines = ["HR=81 T=98.6F", "ping", "HR=? T=37.0C", "HR=900 T=37.2C", "nothing"];
    put(&topic, &(0..).zip(lines).map(|(second, line)| record(second, line)).collect::<Vec<_>>());
    let log = first.run_once();
    assert!(log.contains("1 ignored"), "{log}");
    let readings =
        || database.rows("SELECT source_offset, heart_rate, temperature FROM readings ORDER BY source_offset");
    assert_eq!(readings(), ["0|81|37", "3|NULL|37.2", "4|NULL|NULL"]);
    let rejects = database.rows("SELECT `offset`, reason, LENGTH(raw) > 0, patient_id FROM rejects");
    assert_eq!(rejects.len(), 1);
    assert!(rejects[0].starts_with("2|source.sql: ") && rejects[0].ends_with("|1|P1"), "{rejects:?}");
    assert!(rejects[0].contains(r#""?""#), "{rejects:?}");
    let artefacts = database.rows("SELECT `offset`, column_name, value, reason FROM artefacts");
    assert_eq!(artefacts, ["3|heart_rate|900|is outside the plausible range 10–300"]);

    // Mended, what was rejected is read again.
    let mended = SOURCE.replace("CAST(regexp_match(line, 'HR", "TRY_CAST(regexp_match(line, 'HR");
    let second = job(&topic, &database, &mended);
    let mut replay = crate::fixtures::wardwatch();
    let asked = told(&replay.args(["rejects", "replay"]).arg(second.file()).args(["--all"]).output().unwrap());
    assert!(asked.contains("1 rejects will be read again"), "{asked}");
    second.run_once();
    assert_eq!(readings()[1], "2|NULL|37");
    let sampled = told(&second.command("sample").output().unwrap());
    assert!(sampled.contains("temperature") && sampled.contains("37.2"), "{sampled}");
}

#[test]
fn a_list_in_a_text_becomes_rows_that_are_numbered_in_their_record() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let source =
        "SELECT patient_id, event_time, CAST(unnest(string_to_array(line, ',')) AS DOUBLE) AS heart_rate FROM decoded";
    let job = job(&topic, &database, source).query(
        "tables/items",
        "-- @key: source_offset, item\nSELECT _offset AS source_offset, _item AS item, heart_rate FROM vitals",
    );
    put(&topic, &[record(1, "80,81,82"), record(2, "90")]);
    job.run_once();
    let items = database.rows("SELECT source_offset, item, heart_rate FROM items ORDER BY 1, 2");
    assert_eq!(items, ["0|0|80", "0|1|81", "0|2|82", "1|0|90"]);
}

#[test]
fn a_wrong_source_is_told_before_the_job_runs_and_an_edit_waits_for_the_next_start() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let wrong = job(&topic, &database, "SELECT patient_id, event_time, 1 AS hart_rate FROM decoded");
    let check = told(&wrong.command("check").output().unwrap());
    assert!(check.contains("source.sql:1:1") && check.contains("did you mean \"heart_rate\"?"), "{check}");
    let grouped = "SELECT patient_id, max(event_time) AS event_time FROM decoded GROUP BY patient_id";
    let check = told(&job(&topic, &database, grouped).command("check").output().unwrap());
    assert!(check.contains("source.sql makes rows of one record each"), "{check}");

    let job = job(&topic, &database, SOURCE).more("[trigger]\nevery = \"50ms\"");
    put(&topic, &[record(1, "HR=81 T=37.0C")]);
    let mut running = job.start();
    let readings = || database.rows("SHOW TABLES LIKE 'readings'").len() == 1;
    running.wait_until("it reads", || readings() && database.rows("SELECT COUNT(*) FROM readings") == ["1"]);
    let job = job.sql_file("source.sql", &SOURCE.replace("AS heart_rate", "+ 100 AS heart_rate"));
    running.wait_until("the edit is told", || {
        database.rows("SELECT error FROM edits").iter().any(|error| error.contains("start it again"))
    });
    put(&topic, &[record(2, "HR=82 T=37.0C")]);
    running.wait_until("the next is read", || database.rows("SELECT COUNT(*) FROM readings") == ["2"]);
    running.signal("TERM");
    assert_eq!(running.wait(), Some(0), "{}", running.log());
    put(&topic, &[record(3, "HR=83 T=37.0C")]);
    job.run_once();
    assert_eq!(database.rows("SELECT heart_rate FROM readings ORDER BY source_offset"), ["81", "82", "183"]);
}

#[test]
fn tests_of_queries_see_what_the_select_makes() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let test = format!(
        "[[test]]\nname = \"a line is read\"\nquery = \"readings\"\n\n[[test.batch]]\ngiven = '''\n{}\n{}\n'''\n\
         expect.readings = \"\"\"\n| patient_id | heart_rate | temperature | ... |\n| P1 | 81 | 37 | |\n\"\"\"\n",
        record(1, "HR=81 T=98.6F"),
        record(2, "ping")
    );
    let job = job(&topic, &database, SOURCE).sql_file("tests/lines.toml", &test);
    let run = job.command("test").output().unwrap();
    assert!(run.status.success(), "{}", told(&run));
}

//! The analyst's commands as they are typed: `test --update`, `--junit`, `preview`, `explain`, `check --json`.

use std::process::Output;

use crate::fixtures::{Database, READINGS, TACHYCARDIA, TestJob, Topic, mysql_url};

const LIES: &str = "# @key: patient_id\npatient_id,ward\n";
const WARDS: &str = "-- @key: patient_id, event_time
SELECT v.patient_id, v.event_time, l.ward
FROM vitals AS v LEFT JOIN lies AS l ON l.patient_id = v.patient_id
";
const MINUTES: &str = "-- @key: patient_id, window_start
SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records
FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')
";

fn job() -> TestJob {
    TestJob::new("topic", "sqlite://x.db")
        .query("tables/readings", READINGS)
        .query("tables/wards", WARDS)
        .query("tables/minutes", MINUTES)
        .query("rules/fast", TACHYCARDIA)
        .sql_file("seeds/lies.csv", LIES)
}

/// Three readings of P1 a second apart, and one that is none.
fn sample(job: &TestJob) -> String {
    let record = |second: u32, rate: u32| {
        format!("{{\"patient_id\": \"P1\", \"event_time\": \"2026-01-01T00:00:0{second}Z\", \"heart_rate\": {rate}}}\n")
    };
    let file = job.folder.path().join("sample.jsonl");
    std::fs::write(&file, record(0, 130) + &record(1, 90) + "{\"patient_id\": \"P1\"}\n" + &record(2, 140)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn preview_shows_rows_and_notes_apart_and_fills_tables_from_files() {
    let job = job();
    let sample = sample(&job);
    let preview = |query: &str, more: &[&str]| {
        said(&job.command("preview").args([query, "--input", &sample]).args(more).output().unwrap())
    };
    let (rows, notes) = preview("wards", &["--csv"]);
    assert_eq!(
        rows,
        "patient_id,event_time,ward\nP1,2026-01-01T00:00:00Z,\nP1,2026-01-01T00:00:01Z,\nP1,2026-01-01T00:00:02Z,\n"
    );
    assert!(
        notes.contains("note: 1 records are none of the job's; the first, line 3: column \"event_time\""),
        "{notes}"
    );
    assert!(notes.contains("note: the reference table \"lies\" is empty"), "{notes}");

    let file = job.folder.path().join("lies.csv");
    let table = format!("lies={}", file.display());
    std::fs::write(&file, "patient_id,ward\nP1,icu\n").unwrap();
    let (rows, notes) = preview("wards", &["--json", "--table", &table]);
    let first: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(first["ward"], "icu");
    assert!(!notes.contains("empty"), "{notes}");
    std::fs::write(&file, "patient_id,wrad\nP1,icu\n").unwrap();
    let (_, told) = preview("wards", &["--table", &table]);
    assert!(told.contains("lies.csv:1:1: unknown column \"wrad\"; did you mean \"ward\"?"), "{told}");
    let (_, told) = preview("wards", &["--table", "lie=x.csv"]);
    assert!(told.contains("unknown reference table \"lie\"; did you mean \"lies\"?"), "{told}");
    let (_, told) = preview("wrads", &[]);
    assert!(told.contains("unknown query \"wrads\"; did you mean \"wards\"?"), "{told}");

    let (rows, _) = preview("minutes", &["--csv"]);
    assert_eq!(rows, "patient_id,window_start,records\nP1,2026-01-01T00:00:00Z,3\n", "open windows are shown");
    let (rows, _) = preview("fast", &["--limit", "1"]);
    assert!(rows.contains("and 1 more rows; --limit shows more"), "{rows}");
    assert!(rows.contains("PATIENT") && rows.contains("HR 140 > 120"), "the alert that it opens: {rows}");
}

/// A name that a WITH gives hides the table of the same name, but not inside its own definition.
#[test]
fn a_with_may_hide_the_table_that_it_reads_and_preview_never_panics() {
    let job = job();
    let sample = sample(&job);
    let preview = |name: &str, sql: &str| {
        let draft = job.folder.path().join(format!("{name}.sql"));
        std::fs::write(&draft, sql).unwrap();
        said(&job.command("preview").arg(&draft).args(["--input", &sample, "--csv"]).output().unwrap())
    };
    let high = "WITH VITALS AS (SELECT patient_id, heart_rate AS rate FROM \"vitals\" WHERE heart_rate > 100)
        SELECT patient_id, rate FROM Vitals ORDER BY rate";
    assert_eq!(preview("high", high).0, "patient_id,rate\nP1,130.0\nP1,140.0\n");
    let nested = "WITH a AS (WITH readings AS (SELECT heart_rate FROM readings) SELECT * FROM readings)
        SELECT heart_rate FROM a ORDER BY heart_rate";
    assert_eq!(preview("nested", nested).0, "heart_rate\n90.0\n130.0\n140.0\n");
    let hidden = "WITH lies AS (SELECT 'P1' AS patient_id, 'icu' AS ward), fast AS (SELECT 1 AS x)
        SELECT v.heart_rate, l.ward FROM vitals AS v JOIN lies AS l ON l.patient_id = v.patient_id, fast ORDER BY 1 LIMIT 1";
    let (rows, notes) = preview("hidden", hidden);
    assert_eq!(rows, "heart_rate,ward\n90.0,icu\n", "{notes}");
    assert!(!notes.contains("\"lies\" is empty"), "it does not read the seed: {notes}");
    let history = "WITH vitals_history AS (SELECT patient_id, count(*) AS n FROM vitals_history GROUP BY patient_id)
        SELECT n FROM vitals_history";
    assert_eq!(preview("history", history).0, "n\n3\n");
    let recursive = "WITH RECURSIVE vitals AS (SELECT patient_id FROM vitals) SELECT patient_id FROM vitals";
    let (rows, told) = preview("recursive", recursive);
    assert!(rows.is_empty() && told.contains("recursive.sql:1:"), "refused, with its place: {rows}{told}");
    assert!(!told.contains("panicked"), "{told}");

    // Windows and rules too: a rule whose input is not found would be judged on nothing.
    let windows = "-- @key: patient_id, window_start
        WITH vitals AS (SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 100)
        SELECT patient_id, tumble(event_time, INTERVAL '1 minute') AS window_start, count(*) AS records
        FROM vitals GROUP BY patient_id, tumble(event_time, INTERVAL '1 minute')";
    assert_eq!(preview("windows", windows).0, "patient_id,window_start,records\nP1,2026-01-01T00:00:00Z,2\n");
    let rule = "-- @severity: high\n-- @message: HR {heart_rate:.0}
        WITH vitals AS (SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 100)
        SELECT patient_id, event_time, heart_rate FROM vitals WHERE heart_rate > 135";
    std::fs::write(job.folder.path().join("sql/rules/hiding.sql"), rule).unwrap();
    let explained = said(&job.command("explain").arg("hiding").output().unwrap());
    assert!(explained.0.contains("judged at every sample"), "{}{}", explained.0, explained.1);
    let (alerts, _) = said(&job.command("preview").args(["hiding", "--input", &sample]).output().unwrap());
    assert!(alerts.contains("HR 140"), "{alerts}");
}

#[test]
fn preview_takes_a_draft_and_the_newest_records_of_the_topic() {
    let topic = Topic::create(2);
    let job = TestJob::new(&topic.name, "sqlite://x.db").query("tables/readings", READINGS);
    topic.put_samples("P1", &[(0, 90.0), (1, 91.0), (2, 92.0)]);
    topic.put_samples("P2", &[(3, 93.0)]);
    let draft = job.folder.path().join("newest.sql");
    std::fs::write(&draft, "SELECT patient_id, heart_rate FROM vitals ORDER BY heart_rate").unwrap();
    let preview = job.command("preview").arg(&draft).args(["--last", "2", "--csv"]).output().unwrap();
    let (rows, notes) = said(&preview);
    assert_eq!(rows, "patient_id,heart_rate\nP1,92.0\nP2,93.0\n", "{notes}");
}

#[test]
fn explain_tells_of_inputs_window_plan_and_what_the_running_job_pays() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let job =
        TestJob::new(&topic.name, &database.url).query("tables/minutes", MINUTES).query("rules/fast", TACHYCARDIA);
    let explain = |query: &str| said(&job.command("explain").arg(query).output().unwrap());
    let (told, _) = explain("minutes");
    assert!(told.contains("tumbling windows of 1m") && told.contains("mode=PartialReduce"), "{told}");
    assert!(told.contains("cost\n  unknown: the job has not told yet"), "{told}");
    let (told, _) = explain("fast");
    assert!(told.contains("judged at every sample") && told.contains("heart_rate"), "{told}");
    let (_, told) = explain("fats");
    assert!(told.contains("unknown query \"fats\"; did you mean \"fast\"?"), "{told}");

    topic.put_samples("P1", &[(0, 130.0), (1, 131.0)]);
    assert!(job.command("run").arg("--once").output().unwrap().status.success());
    let (told, _) = explain("fast");
    assert!(told.contains("ms per batch in the mean of 1 batches") && told.contains("2.0 rows per batch"), "{told}");
}

#[test]
fn update_writes_what_was_found_and_nothing_else_and_junit_tells_of_failures() {
    let test = "# What people wrote stays.
[[test]]
name = \"fast\"   # a remark
query = \"fast\"

[[test.batch]]
given = '''
| patient_id | event_time           | heart_rate |
| P1         | 2026-01-01T00:00:00Z | 130        |
'''
expect.alerts = \"\"

[[test.batch]]
now = 2026-01-01T00:00:01Z
expect.alerts = '''
| patient_id | state |
| P1         | ended |
'''
";
    let job = job().sql_file("tests/fast.toml", test);
    let junit = job.folder.path().join("out.xml");
    let run = |more: &[&str]| job.command("test").args(more).output().unwrap();
    let failed = run(&["--junit", junit.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(1));
    let (told, _) = said(&failed);
    for expected in
        ["fast.toml:3: \"fast\" failed", "alerts after batch 1", "- | P1         | ended", "+ | P1         | pending"]
    {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("failures=\"1\"") && xml.contains("name=\"fast\""), "{xml}");

    let (told, _) = said(&run(&["--update"]));
    assert!(told.contains("2 expectations rewritten"), "{told}");
    let rewritten = std::fs::read_to_string(job.folder.path().join("sql/tests/fast.toml")).unwrap();
    let expected = test
        .replace(
            "expect.alerts = \"\"\n",
            "expect.alerts = '''\n| patient_id | state   | started_at           | firing_at | text         |\n| P1         | pending | 2026-01-01T00:00:00Z |           | HR 130 > 120 |\n'''\n",
        )
        .replace("| patient_id | state |\n| P1         | ended |", "| patient_id | state   |\n| P1         | pending |");
    assert_eq!(rewritten, expected);
    assert!(run(&[]).status.success());
    let (told, _) = said(&run(&[]));
    assert!(told.contains("no test is about minutes, readings, wards"), "{told}");
    let none = run(&["fats"]);
    assert!(said(&none).1.contains("no test has fats in its name; did you mean \"fast\"?"), "{none:?}");
}

#[test]
fn check_tells_editors_of_faults_and_warnings_as_json() {
    let job =
        job().query("rules/odd", "-- @severity: low\nSELECT patient_id, event_time FROM vitals WHERE hart_rate > 3");
    let output = job.command("check").arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_str(&said(&output).0).unwrap();
    let fault = &told[0];
    assert_eq!((&fault["line"], &fault["column"], &fault["end_column"]), (&2.into(), &49.into(), &58.into()));
    assert_eq!(fault["severity"], "error");
    let job =
        job.query("rules/odd", "-- @severity: low\nSELECT patient_id, event_time FROM vitals WHERE heart_rate > 3");
    let output = job.command("check").arg("--json").output().unwrap();
    assert!(output.status.success());
    let told: serde_json::Value = serde_json::from_str(&said(&output).0).unwrap();
    assert_eq!((&told[0]["severity"], &told[0]["name"]), (&"warning".into(), &"no-delay".into()));
}

//! People and alerts, at the command line: who takes what on, who wants quiet, whose limits hold; and a rule on the past.

use mysql::prelude::Queryable;

use crate::fixtures::{Database, READINGS, TACHYCARDIA, TestJob, Topic, mysql_url, repository, told, wait_until};

fn ward() -> (TestJob, Topic, Database) {
    let (job, topic, database) = TestJob::on_mysql();
    let latching = ["-- @latch: no\n", "-- @for: 3s\n", "-- @clear_after: 3s\n"]
        .iter()
        .fold(TACHYCARDIA.to_owned(), |rule, line| rule.replace(line, ""));
    (job.query("rules/tachycardia", &latching), topic, database)
}

/// Runs `wardwatch GROUP COMMAND JOB …` and returns its exit code and what it said.
fn say(job: &TestJob, group: &str, command: &str, more: &[&str]) -> (i32, String) {
    let mut wardwatch = crate::fixtures::wardwatch();
    let output = wardwatch
        .args([group, command])
        .arg(job.file())
        .args(more)
        .env("USER", "nurse")
        .current_dir(job.folder.path())
        .output()
        .unwrap();
    let said = told(&output);
    (output.status.code().unwrap(), said)
}

fn done(job: &TestJob, group: &str, command: &str, more: &[&str]) -> String {
    let (code, said) = say(job, group, command, more);
    assert_eq!(code, 0, "{said}");
    said
}

fn refused(job: &TestJob, group: &str, command: &str, more: &[&str], expected: &str) {
    let (code, said) = say(job, group, command, more);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains(expected), "\"{expected}\" in\n{said}");
}

#[test]
fn an_episode_is_listed_acknowledged_with_a_note_and_over_and_a_second_one_is_refused() {
    let (job, topic, database) = ward();
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0), (1, 140.0)]);
    running.wait_until("it fires", || database.so_far("SELECT state FROM alerts") == "firing");
    let id = database.so_far("SELECT id FROM alerts");
    let list = done(&job, "alerts", "list", &[]);
    assert!(list.contains(&id) && list.contains("high") && list.contains("HR 140 > 120"), "{list}");

    refused(&job, "alerts", "ack", &["ffffff"], "unknown episode \"ffffff\"");
    let acknowledged = done(&job, "alerts", "ack", &[&id[..6], "--note", "moved, not ill"]);
    assert!(acknowledged.contains(&format!("episode {id} is acknowledged")), "{acknowledged}");
    refused(&job, "alerts", "ack", &[&id], "nurse has acknowledged it at");
    topic.put_samples("P1", &[(2, 80.0)]);
    running.wait_until("an acknowledged one does not latch", || database.so_far("SELECT state FROM alerts") == "ended");
    refused(&job, "alerts", "ack", &[&id], "is over since 2026-01-01T00:00:02Z (cleared)");

    let shown = done(&job, "alerts", "show", &[&id]);
    for expected in ["pending", "firing", "acknowledged", "nurse", "moved, not ill", "ended"] {
        assert!(shown.contains(expected), "\"{expected}\" in\n{shown}");
    }
    assert!(!done(&job, "alerts", "list", &[]).contains(&id));
    // In the batch's own row, too: others see who it was.
    let row = database.so_far("SELECT acknowledged_by, acknowledged_note, peak_value, end_reason FROM alerts");
    assert_eq!(row, "nurse|moved, not ill|140|cleared");
}

#[test]
fn a_latched_episode_outlasts_its_condition_and_a_restart_and_ends_with_the_acknowledgement() {
    let (job, topic, database) = ward();
    topic.put_samples("P1", &[(0, 130.0), (1, 80.0)]);
    job.run_once();
    assert_eq!(database.so_far("SELECT state, cleared_at FROM alerts"), "latched|2026-01-01 00:00:01.000000");
    let id = database.so_far("SELECT id FROM alerts");
    let put_down = done(&job, "alerts", "ack", &[&id, "--wait", "100ms"]);
    assert!(put_down.contains("put down; the job does it with its next batch"), "{put_down}");
    topic.put_samples("P2", &[(2, 80.0)]);
    job.run_once();
    assert_eq!(database.so_far("SELECT state, end_reason FROM alerts"), "ended|acknowledged");
}

#[test]
fn readings_that_contradict_each_other_at_one_time_stop_no_job() {
    let (job, topic, database) = ward();
    let job = job
        .query("rules/tachycardia", &TACHYCARDIA.replace("-- @for: 3s\n", "").replace("-- @clear_after: 3s\n", ""))
        .more("[[notify]]\nkind = \"log\"");
    let states = ["firing", "ended", "ended, firing", "ended, ended"];
    for (rate, states) in [130.0, 80.0, 140.0, 81.0].into_iter().zip(states) {
        topic.put_samples("P1", &[(0, rate)]);
        job.run_once();
        assert_eq!(database.rows("SELECT state FROM alerts ORDER BY peak_value").join(", "), states);
    }
    assert_eq!(database.rows("SELECT peak_value FROM alerts ORDER BY peak_value"), ["130", "140"]);
}

#[test]
fn cron_lets_time_pass_though_no_record_comes() {
    let (job, topic, database) = TestJob::on_mysql();
    let job = job.query("rules/tachycardia", &TACHYCARDIA.replace("-- @latch: no\n", ""));
    topic.put_samples("P1", &[(0, 130.0)]);
    job.run_once();
    assert_eq!(database.rows("SELECT state FROM alerts"), ["pending"]);
    wait_until("a reading that holds fires", || {
        job.run_once();
        database.rows("SELECT state FROM alerts") == ["firing"]
    });
}

#[test]
fn an_episode_that_is_over_stays_as_it_was_when_its_records_are_sent_again() {
    let (job, topic, database) = ward();
    topic.put_samples("P1", &[(0, 130.0), (1, 131.0), (2, 80.0)]);
    job.run_once();
    let id = database.so_far("SELECT id FROM alerts");
    assert_eq!(database.so_far("SELECT state FROM alerts"), "latched");
    done(&job, "alerts", "ack", &[&id, "--note", "seen", "--wait", "100ms"]);
    topic.put_samples("P1", &[(3, 80.0)]);
    job.run_once();
    let row = format!("SELECT * FROM alerts WHERE id = '{id}'");
    let events = format!("SELECT * FROM alert_events WHERE episode = '{id}' ORDER BY number");
    let (before, happened) = (database.rows(&row), database.rows(&events));
    assert!(before[0].contains("nurse|seen") && before[0].contains("ended"), "{before:?}");

    // The gateway sends its buffer again, after a restart of the job, with a reading that was not in it before.
    topic.put_samples("P1", &[(0, 130.0), (1, 150.0)]);
    job.run_once();
    assert_eq!(database.rows(&row), before);
    assert_eq!(database.rows(&events), happened);
    let others = "SELECT COUNT(*) FROM alert_events WHERE episode NOT IN (SELECT id FROM alerts)";
    assert_eq!(database.rows(others), ["0"]);
}

#[test]
fn a_pause_is_short_a_silence_has_a_reason_and_an_end_and_both_are_shown_and_ended() {
    let (job, topic, database) = ward();
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("a batch", || !database.so_far("SELECT COUNT(*) FROM silences").is_empty());

    refused(&job, "alerts", "silence", &["--patient", "P1", "--reason", "x"], "--for <TIME>|--until <TIME>");
    refused(&job, "alerts", "silence", &["--for", "1h", "--reason", "x"], "--patient <ID>|--ward <WARD>|--rule <RULE>");
    refused(&job, "alerts", "silence", &["--patient", "P1", "--for", "1h"], "--reason <TEXT>");
    refused(
        &job,
        "alerts",
        "silence",
        &["--rule", "tachicardia", "--for", "1h", "--reason", "x"],
        "unknown rule \"tachicardia\"; did you mean \"tachycardia\"?",
    );
    // Alerts of the job's own are silenced by their names, too.
    done(&job, "alerts", "silence", &["--rule", "unjudged", "--for", "1h", "--reason", "cuffs are changed"]);
    refused(
        &job,
        "alerts",
        "silence",
        &["--rule", "unjugded", "--for", "1h", "--reason", "x"],
        "unknown rule \"unjugded\"; did you mean \"unjudged\"?",
    );
    done(&job, "alerts", "end", &[&database.so_far("SELECT id FROM silences WHERE kind = 'silence'")]);
    refused(
        &job,
        "alerts",
        "silence",
        &["--patient", "P1", "--until", "2026-01-01T00:00:00Z", "--reason", "x"],
        "is past",
    );
    refused(&job, "alerts", "pause", &["--patient", "P1", "--for", "10m"], "a pause lasts 2m at the most");

    done(&job, "alerts", "pause", &["--patient", "P1", "--for", "90s"]);
    done(&job, "alerts", "silence", &["--ward", "icu", "--for", "4h", "--reason", "drill", "--up-to", "medium"]);
    let silences = done(&job, "alerts", "silences", &[]);
    for expected in ["pause", "patient P1", "silence", "ward icu", "medium", "drill", "nurse"] {
        assert!(silences.contains(expected), "\"{expected}\" in\n{silences}");
    }
    let id = database.so_far("SELECT id FROM silences WHERE kind = 'silence' AND reason = 'drill'");
    refused(&job, "alerts", "end", &["nothing"], "unknown silence \"nothing\"");
    done(&job, "alerts", "end", &[&id]);
    assert!(!done(&job, "alerts", "silences", &[]).contains("drill"));
}

fn limited() -> (TestJob, Topic, Database) {
    let (job, topic, database) = TestJob::on_mysql();
    let shipped = |name: &str| std::fs::read_to_string(repository().join("sql/vitals").join(name)).unwrap();
    let job = job
        .sql_file("seeds/limits.csv", &shipped("seeds/limits.csv"))
        .sql_file("seeds/patients.csv", "# @key: patient_id\npatient_id,ward,age_band,spo2_scale:int\nP2,icu,,\nP3,icu,child,\n")
        .sql_file("views/limits_now.sql", &shipped("views/limits_now.sql"))
        .sql_file("views/thresholds.sql", &shipped("views/thresholds.sql"))
        .query(
            "tables/limits_seen",
            "-- @key: patient_id, vital\nSELECT patient_id, vital, low, high FROM thresholds WHERE vital = 'heart_rate'",
        );
    (job, topic, database)
}

#[test]
fn limits_are_set_with_author_and_reason_resolved_as_the_rules_resolve_them_and_never_lost() {
    let (job, topic, database) = limited();
    let job = job.more("reference_refresh = \"100ms\"");
    let since = ["--from", "2025-12-31T00:00:00Z", "--vital", "heart_rate"];
    let set = |more: &[&str]| done(&job, "limits", "set", &[&since[..], more].concat());
    set(&["--ward", "icu", "--high", "110", "--reason", "unit policy"]);
    set(&["--patient", "P1", "--low", "40", "--reason", "athlete", "--by", "dr_a"]);
    set(&["--patient", "P3", "--high", "180", "--reason", "fever, expected", "--until", "2026-01-02T00:00:00Z"]);

    let refuse = |more: &[&str], expected: &str| {
        let all = [&["--vital", "heart_rate", "--reason", "x"][..], more].concat();
        refused(&job, "limits", "set", &all, expected);
    };
    refuse(&["--patient", "P1", "--low", "130", "--high", "120"], "is not below the upper limit");
    refuse(&["--patient", "P1", "--high", "1300"], "1300 is no value that heart_rate can have: 0 to 300");
    refuse(&["--patient", "P1"], "give --low, --high or both");
    refuse(&["--high", "100"], "say whose limit it is");
    let wrong = ["--patient", "P1", "--vital", "hart_rate", "--high", "100", "--reason", "x"];
    refused(&job, "limits", "set", &wrong, "unknown vital \"hart_rate\"; did you mean \"heart_rate\"?");

    for patient in ["P1", "P2", "P3", "P4"] {
        topic.put_samples(patient, &[(0, 80.0)]);
    }
    job.run_once();
    let seen = database.rows("SELECT patient_id, low, high FROM limits_seen ORDER BY patient_id");
    assert_eq!(seen, ["P1|40|120", "P2|50|110", "P3|75|180", "P4|50|120"], "what rules see");
    let listed = |patient: &str| {
        let list = done(&job, "limits", "list", &["--patient", patient, "--at", "2026-01-01T00:00:00Z"]);
        list.lines().find(|line| line.contains("heart_rate")).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(listed("P1").contains("40 patient P1, by dr_a: athlete 120 default, by shipped"), "{}", listed("P1"));
    assert!(
        listed("P2").contains("50 default, by shipped: makers' default for adults 110 ward icu"),
        "{}",
        listed("P2")
    );
    assert!(listed("P3").contains("75 age band child"), "{}", listed("P3"));
    assert!(listed("P3").contains("180 patient P3"), "{}", listed("P3"));

    done(&job, "limits", "remove", &["--patient", "P1", "--vital", "heart_rate", "--reason", "gone home"]);
    refused(
        &job,
        "limits",
        "remove",
        &["--patient", "P1", "--vital", "heart_rate", "--reason", "x"],
        "patient P1 has no heart_rate limit of its own",
    );
    let now = done(&job, "limits", "list", &["--patient", "P1"]);
    assert!(now.contains("50") && !now.contains("athlete"), "{now}");
    let history = done(&job, "limits", "history", &["--patient", "P1"]);
    assert!(history.contains("athlete") && history.contains("gone home"), "{history}");
}

#[test]
fn default_limits_are_not_taken_away_and_where_they_are_gone_people_are_told() {
    let slow = "-- @severity: high\n-- @message: HR {heart_rate:.0}
SELECT v.patient_id, v.event_time, v.heart_rate FROM vitals AS v
JOIN thresholds AS t ON t.patient_id = v.patient_id AND t.vital = 'heart_rate' WHERE v.heart_rate < t.low\n";
    let (job, topic, database) = limited();
    let job = job.more("reference_refresh = \"100ms\"").query("rules/slow", slow);
    let of = |vital: &'static str, more: &[&'static str]| {
        [&["--default", "--vital", vital, "--reason", "x"][..], more].concat()
    };
    let expected = "without a default, nobody has a lower limit of heart_rate but those with a narrower one";
    refused(&job, "limits", "set", &of("heart_rate", &["--low", "none"]), expected);
    refused(&job, "limits", "remove", &of("heart_rate", &[]), "without a default");
    done(&job, "limits", "set", &of("heart_rate", &["--low", "45"]));

    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("a batch", || database.so_far("SELECT COUNT(*) FROM limits_seen") == "1");
    let delete = |vital: &str| {
        format!("DELETE FROM limits WHERE vital = '{vital}' AND patient_id = '' AND ward = '' AND age_band = ''")
    };
    database.connect().query_drop(delete("spo2")).unwrap();
    database.connect().query_drop(delete("heart_rate")).unwrap();
    let alert = "SELECT state, patient_id, text FROM alerts WHERE rule='limit_missing'";
    running.wait_until("it is an alert of the ward", || database.so_far(alert).starts_with("firing||"));
    let text = database.so_far(alert);
    assert!(
        text.starts_with("firing||no default limit of heart_rate (low, high): "),
        "no rule goes by that of spo2: {text}"
    );
    let status = job.command("status").output().unwrap();
    let said = told(&status);
    assert!(
        status.status.code() == Some(4) && said.contains("limit_missing · no default limit of heart_rate"),
        "{said}"
    );
    done(&job, "limits", "set", &of("heart_rate", &["--low", "50", "--high", "120", "--from", "2025-12-31T00:00:00Z"]));
    running.wait_until("it is over", || database.so_far(alert).starts_with("ended|"));
}

#[test]
fn a_change_of_a_limit_is_an_event_that_says_before_and_after() {
    let (job, topic, database) = limited();
    let job = job.more("reference_refresh = \"100ms\"");
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 80.0)]);
    running.wait_until("a batch", || database.so_far("SELECT COUNT(*) FROM limits_seen") == "1");
    database
        .connect()
        .query_drop("UPDATE limits SET high = 125 WHERE vital = 'heart_rate' AND age_band = '' AND patient_id = ''")
        .unwrap();
    wait_until("the job has seen it", || database.so_far("SELECT COUNT(*) FROM reference_changes") == "1");
    let change = database.so_far("SELECT before_row, after_row FROM reference_changes");
    assert!(change.contains("\"high\":\"120.0\"") && change.contains("\"high\":\"125.0\""), "{change}");
    assert!(done(&job, "limits", "history", &[]).contains("SEEN BY THE JOB"));
}

#[test]
fn metrics_tell_how_the_job_stands_its_alerts_and_its_failing_queries() {
    let (job, topic, database) = ward();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let job = job.more(&format!("[dashboard]\nlisten = \"127.0.0.1:{port}\"")).query(
        "tables/bad",
        "-- @key: patient_id\nSELECT patient_id, 1 / (max(_offset) - max(_offset)) AS x FROM vitals GROUP BY 1",
    );
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 130.0)]);
    running.wait_until("it fires", || database.so_far("SELECT state FROM alerts") == "firing");
    let scraped = || {
        let output =
            std::process::Command::new("curl").args(["-sf", &format!("http://127.0.0.1:{port}/metrics")]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let metrics = scraped();
    for expected in [
        "# TYPE wardwatch_records_total counter",
        "wardwatch_records_total 1",
        "wardwatch_next_offset{partition=\"0\"} 1",
        "wardwatch_open_episodes{severity=\"high\"} 1",
        "wardwatch_query_failing{query=\"bad\"} 1",
        "wardwatch_edit_refused 0",
    ] {
        assert!(metrics.lines().any(|line| line == expected), "\"{expected}\" in\n{metrics}");
    }
    std::fs::write(job.folder.path().join("sql/tables/bad.sql"), "-- @key: patient_id\nSELECT nothing").unwrap();
    running.wait_until("a refused edit is shown", || {
        topic.put_samples("P1", &[(1, 130.0)]);
        scraped().contains("wardwatch_edit_refused 1")
    });
}

const LINES: &str = r#"{"patient_id":"P1","event_time":"2026-01-01T00:00:00Z","heart_rate":130}
{"patient_id":"P1","event_time":"2026-01-01T00:00:01Z","heart_rate":131}
{"patient_id":"P1","event_time":"2026-01-01T00:00:02Z","heart_rate":80}
{"patient_id":"P2","event_time":"2026-01-01T00:00:00Z","heart_rate":130}
{"patient_id":"P2","event_time":"2026-01-01T00:00:09Z","heart_rate":150}
{"patient_id":"P2","event_time":"2026-01-01T00:00:12Z","heart_rate":80}
nonsense
"#;

fn backtest(job: &TestJob, more: &[&str]) -> (i32, String) {
    let output = job.command("backtest").args(more).output().unwrap();
    (output.status.code().unwrap(), told(&output))
}

#[test]
fn a_rule_is_tried_on_the_past_with_its_lifecycle_and_several_delays() {
    let (job, topic, _database) = ward();
    let folder = job.folder.path();
    std::fs::write(folder.join("records.jsonl"), LINES).unwrap();
    let draft = TACHYCARDIA.replace("@for: 3s", "@for: 0s").replace("@clear_after: 3s", "@clear_after: 0s");
    std::fs::write(folder.join("draft.sql"), draft).unwrap();

    let (code, report) = backtest(&job, &["draft.sql", "--input", "records.jsonl", "--for", "0s,5s,10s"]);
    assert_eq!(code, 0, "{report}");
    let line = |start: &str| -> String {
        let found = report.lines().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("\"{start}\" in\n{report}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("draft:"), "draft: 6 rows of 2 patients, 0.00 patient-hours; 1 records are none of the job's");
    assert!(line("0s (the").starts_with("0s (the rule's own) 2 2 "), "{}", line("0s (the"));
    assert!(line("5s").starts_with("5s 1 1 "), "{report}");
    assert!(line("10s").starts_with("10s 1 1 "), "{report}");
    assert_eq!(line("tachycardia"), "tachycardia 2 of 2");
    assert!(line("P2").contains("HR 150 > 120"), "{report}");

    // The same from what the store has.
    for record in LINES.lines().filter(|line| line.starts_with('{')) {
        topic.put(0, None, record.as_bytes());
    }
    topic.flush();
    job.run_once();
    let (code, stored) = backtest(&job, &["draft.sql", "--for", "0s,5s,10s"]);
    assert_eq!(code, 0, "{stored}");
    let without = |report: &str| report.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without(&stored), without(&report));

    for (more, expected) in [
        (&["nothing"][..], "unknown rule \"nothing\""),
        (&["absent.sql"], "absent.sql:1:1: cannot be read"),
        (&["tachycardia", "--from", "2030-01-01T00:00:00Z"], "there are no records in that time"),
        (
            &["tachycardia", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"],
            "--from is not before --to",
        ),
        (&["tachycardia", "--input", "absent.jsonl"], "\"absent.jsonl\" cannot be read"),
    ] {
        let (code, said) = backtest(&job, more);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(expected), "\"{expected}\" in\n{said}");
    }
}

#[test]
fn a_rule_that_reads_artefacts_or_doubtful_values_is_tried_on_the_past_as_it_would_have_been_live() {
    let (topic, database) = (Topic::create(1), Database::create(&mysql_url()));
    let columns =
        crate::fixtures::COLUMNS.replace("plausible = [50, 100]", "plausible = [50, 100], doubtful = [0, 100]");
    let job = TestJob::new(&topic.name, &database.url).columns(&columns).query("tables/readings", READINGS);
    let folder = job.folder.path();
    let records: String = ["97", "44", "43", "42", "\"--\"", "98"]
        .iter()
        .zip(0..)
        .map(|(spo2, second)| {
            let at = format!("2026-01-01T00:00:0{second}Z");
            format!("{{\"patient_id\":\"P1\",\"event_time\":\"{at}\",\"heart_rate\":80,\"spo2\":{spo2}}}\n")
        })
        .collect();
    std::fs::write(folder.join("records.jsonl"), &records).unwrap();
    let doubtful = "-- @severity: high\n-- @latch: no\n-- @message: SpO₂ {low:.0}
SELECT patient_id, event_time, coalesce(spo2, spo2_doubtful) AS low FROM vitals WHERE coalesce(spo2, spo2_doubtful) < 90
";
    let implausible = "-- @severity: technical\n-- @message: {text} {reason}
SELECT patient_id, event_time, text, reason FROM vitals_artefacts WHERE column_name = 'spo2' AND value IS NULL
";
    std::fs::write(folder.join("low.sql"), doubtful).unwrap();
    std::fs::write(folder.join("no_number.sql"), implausible).unwrap();
    records.lines().for_each(|record| topic.put(0, None, record.as_bytes()));
    topic.flush();
    job.run_once();
    for source in [&["--input", "records.jsonl"][..], &[]] {
        for (rule, started, text) in [
            ("low.sql", "2026-01-01T00:00:01Z", "SpO₂ 44"),
            ("no_number.sql", "2026-01-01T00:00:04Z", "-- is not a valid number"),
        ] {
            let (code, report) = backtest(&job, &[&[rule, "--for", "0s"], source].concat());
            assert_eq!(code, 0, "{report}");
            let episode = report.lines().find(|line| line.trim_start().starts_with("P1 "));
            let episode = episode.unwrap_or_else(|| panic!("no episode of {rule} by {source:?} in\n{report}"));
            assert!(episode.contains(started) && episode.trim_end().ends_with(text), "{source:?}\n{report}");
        }
    }
    // What lies before the time that is asked for is not given.
    let (_, report) = backtest(&job, &["no_number.sql", "--from", "2026-01-01T00:00:05Z"]);
    assert!(!report.contains("is not a valid number"), "{report}");
}

#[test]
fn an_odd_request_is_refused_with_what_is_expected_and_holds_nothing_up() {
    let (job, topic, database) = ward();
    let mut running = job.start();
    topic.put_samples("P1", &[(0, 140.0)]);
    running.wait_until("it fires", || database.so_far("SELECT state FROM alerts") == "firing");
    let id = database.so_far("SELECT id FROM alerts");
    let put = |name: &str, values: &str| {
        let columns = "job, id, is_open, asked_at, author, note, kind, episode, patient_id, up_to, until_at";
        let sql = format!("INSERT INTO alert_actions ({columns}) VALUES ('test', '{name}', {values})");
        database.connect().query_drop(sql).unwrap();
    };
    put("nobody", "1, NOW(6), NULL, '', 'silence', '', 'P1', '', NOW() + INTERVAL 1 HOUR");
    put("never", "1, NULL, 'eve', '', 'silence', '', 'P1', '', NOW() + INTERVAL 1 HOUR");
    put("what", "1, NOW(6), 'eve', '', 'silense', '', 'P1', '', NOW() + INTERVAL 1 HOUR");
    put("endless", "1, NOW(6), 'eve', '', 'silence', '', 'P1', '', NULL");
    put("past", "1, NOW(6), 'eve', '', 'silence', '', 'P1', '', '2020-01-01'");
    put("up_to", "1, NOW(6), 'eve', '', 'silence', '', 'P1', 'hihg', NOW() + INTERVAL 1 HOUR");
    put("which", "1, NOW(6), 'eve', '', 'acknowledge', NULL, NULL, NULL, NULL");
    put("bare", "NULL, NOW(6), 'eve', NULL, 'silence', NULL, 'P2', NULL, NOW() + INTERVAL 1 HOUR");
    // Nobody has to think of an id.
    let bare = "INSERT INTO alert_actions (job, asked_at, author, kind, patient_id, until_at)
        VALUES ('test', NOW(6), 'eve', 'silence', 'P4', NOW() + INTERVAL 1 HOUR)";
    database.connect().query_drop(bare).unwrap();
    put("good", &format!("1, NOW(6), 'dr_a', NULL, 'acknowledge', '{id}', NULL, NULL, NULL"));
    topic.put_samples("P3", &[(5, 150.0)]);
    running.wait_until("the alarm of the next batch", || {
        database.so_far("SELECT state FROM alerts WHERE patient_id = 'P3'") == "firing"
    });
    running.wait_until("all are answered", || {
        database.so_far("SELECT COUNT(*) FROM alert_actions WHERE is_open = 0") == "10"
    });
    let refusal = |name: &str| database.so_far(&format!("SELECT refusal FROM alert_actions WHERE id = '{name}'"));
    for (name, expected) in [
        ("nobody", "`author` is missing: write who asks for it"),
        ("never", "`asked_at` is missing or no time"),
        ("what", "`kind`: unknown kind \"silense\"; did you mean \"silence\"?"),
        ("endless", "`until_at` is missing or no time"),
        ("past", "it would have ended at 2020-01-01"),
        ("up_to", "`up_to`: unknown severity \"hihg\"; did you mean \"high\"?"),
        ("which", "`episode` is missing: write the id of the episode in `alerts`"),
    ] {
        assert!(refusal(name).contains(expected), "{name}: {}", refusal(name));
    }
    assert_eq!((refusal("bare"), refusal("good")), (String::new(), String::new()));
    assert_eq!(database.so_far(&format!("SELECT acknowledged_by FROM alerts WHERE id = '{id}'")), "dr_a");
    assert_eq!(database.so_far("SELECT GROUP_CONCAT(patient_id ORDER BY 1) FROM silences"), "P2,P4");
    assert!(!running.log().contains("does not take the batch"), "{}", running.log());
}

#[test]
fn odd_rows_of_alerts_silences_and_queries_are_left_out_and_told_and_the_job_goes_on() {
    let (job, topic, database) = ward();
    topic.put_samples("P1", &[(0, 140.0)]);
    topic.put_samples("P2", &[(0, 150.0)]);
    job.run_once();
    let mut store = database.connect();
    for sql in [
        "UPDATE alerts SET state = 'fireing' WHERE patient_id = 'P1'",
        "INSERT INTO silences (job, id, kind, patient_id, ward, rule, up_to, from_at, until_at, author, reason)
         VALUES ('test', 's1', 'silence', 'P2', '', '', 'hihg', NOW(6), NOW(6) + INTERVAL 1 HOUR, 'eve', 'x')",
        "INSERT INTO queries (job, query, state, failures, retry_batch, error) VALUES ('test', 'readings', NULL, 3, NULL, NULL)",
        "INSERT INTO users (job, name, password, role, changed_at) VALUES ('test', 'eve', 'x', 'nurze', NULL)",
    ] {
        store.query_drop(sql).unwrap();
    }
    topic.put_samples("P1", &[(1, 141.0)]);
    topic.put_samples("P2", &[(1, 151.0)]);
    job.run_once();
    let texts = "SELECT patient_id, samples FROM alerts WHERE state = 'firing' ORDER BY patient_id, started_at";
    assert_eq!(database.rows(texts), ["P1|1", "P2|2"], "one that cannot be read alarms again, the other goes on");
    assert_eq!(database.rows("SELECT COUNT(*) FROM readings"), ["4"]);
    let status = told(&job.command("status").output().unwrap());
    for expected in [
        "table \"alerts\": column \"state\" holds \"fireing\" that wardwatch did not write",
        "table \"silences\": column \"up_to\" holds \"hihg\" that wardwatch did not write, in the row \"s1\"",
        "3 rows cannot be read and count for nothing",
    ] {
        assert!(status.contains(expected), "\"{expected}\" in\n{status}");
    }
    assert!(!done(&job, "users", "list", &[]).contains("nurze"));
    assert!(done(&job, "alerts", "list", &[]).contains("HR 151"), "people see the others");

    store.query_drop("UPDATE offsets SET next_offset = NULL").unwrap();
    let start = job.command("run").arg("--once").output().unwrap();
    assert_eq!(start.status.code(), Some(1), "{}", told(&start));
    assert!(told(&start).contains("table \"offsets\": column \"next_offset\" holds NULL"), "{}", told(&start));
    assert!(told(&start).contains("of partition 0"), "{}", told(&start));
}
